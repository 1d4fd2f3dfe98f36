//! The terminal of a session: what the server is told of it (RFC 4254 §6.2, §8).

use std::io;

use sockward_sys::terminal;
use sockward_wire::Put;
use sockward_wire::channel::Size;

/// TTY_OP_END.
const END: u8 = 0;

/// The size of the window; zeros where standard input is no terminal.
pub(crate) fn size() -> Size {
    let size = terminal::size(io::stdin()).unwrap_or_default();
    Size {
        columns: size.columns.into(),
        rows: size.rows.into(),
        width: size.width.into(),
        height: size.height.into(),
    }
}

/// The modes, encoded; none where standard input is no terminal.
pub(crate) fn modes() -> Vec<u8> {
    encode(&terminal::modes(io::stdin()).unwrap_or_default())
}

fn encode(modes: &[(u8, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(modes.len() * 5 + 1);
    for (opcode, value) in modes {
        out.put_u8(*opcode);
        out.put_u32(*value);
    }
    out.put_u8(END);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_pairs_and_an_end() {
        assert_eq!(encode(&[(1, 3), (129, 38_400)]), [1, 0, 0, 0, 3, 129, 0, 0, 0x96, 0, 0]);
        assert_eq!(encode(&[]), [0]);
    }
}
