//! Pseudo-terminals for a user's commands: opened by a process with the user's rights, sized and set up as an SSH
//! client says (RFC 4254 §6.2, §8). The invoking user's own terminal is `terminal`'s business.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::terminal::{CHARACTERS, INPUT, ISPEED, LOCAL, OSPEED, OUTPUT, Size, UNSET};
use crate::{fd, identity};

/// RFC 4254 §8: the end of the modes.
const TTY_OP_END: u8 = 0;
/// RFC 4254 §8: opcodes from here on have no known length, and end the reading.
const UNDEFINED_FROM: u8 = 160;

/// The speeds that POSIX and Linux name. Not 0, which hangs up.
const SPEEDS: [u32; 24] = [
    50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200,
    230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_500_000,
];

/// A new pseudo-terminal. It is nobody's controlling terminal yet.
#[derive(Debug)]
pub struct Pty {
    /// The side that types and reads the screen. Non-blocking, for this and all its duplicates. When the last
    /// one is closed, the session on the other side is hung up.
    pub master: OwnedFd,
    /// The side of the command.
    pub slave: OwnedFd,
    /// Its file, `/dev/pts/…`.
    pub name: PathBuf,
}

impl Pty {
    /// Opens one. Its file belongs to this process's user; others cannot read it, and none but the group that
    /// the mount names (tty, for write(1)) can write to it.
    pub fn open() -> io::Result<Pty> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        // Through the master, so that it is its other side whatever lies at that name.
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let uid = identity::effective_uid();
        let stat = rustix::fs::fstat(&slave)?;
        if stat.st_uid != uid {
            let text = format!("{} belongs to uid {}", name.to_string_lossy(), stat.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        if let Some(mode) = tightened(stat.st_mode, stat.st_gid == rustix::process::getegid().as_raw()) {
            rustix::fs::fchmod(&slave, mode)?;
        }
        fd::set_nonblocking(&master, true)?;
        let name = PathBuf::from(std::ffi::OsString::from(name.to_string_lossy().into_owned()));
        Ok(Pty { master, slave, name })
    }
}

/// The mode that a terminal's file should have where it has more. A mount without `gid=` gives it the opener's own
/// group, whose members have no business there.
fn tightened(mode: u32, own_group: bool) -> Option<Mode> {
    let allowed = if own_group { 0o600 } else { 0o620 };
    let mode = mode & 0o777;
    (mode & !allowed != 0).then(|| Mode::from_raw_mode(mode & allowed))
}

/// Sets the size of a terminal's window; what runs there is told by SIGWINCH.
pub fn set_size(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let Size { columns, rows, width, height } = size;
    Ok(tcsetwinsize(
        terminal,
        Winsize { ws_col: columns, ws_row: rows, ws_xpixel: width, ws_ypixel: height },
    )?)
}

/// Sets a terminal's modes from what a client sent (RFC 4254 §8). What the system does not know is left out; what
/// is broken off ends the reading.
pub fn set_modes(terminal: impl AsFd, encoded: &[u8]) -> io::Result<()> {
    let mut modes = tcgetattr(&terminal)?;
    for (opcode, value) in Decoder(encoded) {
        set(&mut modes, opcode, value);
    }
    Ok(tcsetattr(terminal, OptionalActions::Now, &modes)?)
}

/// Opcodes and values.
struct Decoder<'a>(&'a [u8]);

impl Iterator for Decoder<'_> {
    type Item = (u8, u32);

    fn next(&mut self) -> Option<(u8, u32)> {
        let (&opcode, rest) = self.0.split_first()?;
        if opcode == TTY_OP_END || opcode >= UNDEFINED_FROM {
            return None;
        }
        let (value, rest) = rest.split_first_chunk()?;
        self.0 = rest;
        Some((opcode, u32::from_be_bytes(*value)))
    }
}

fn set(modes: &mut Termios, opcode: u8, value: u32) {
    let on = value != 0;
    if let Some((_, index)) = CHARACTERS.iter().find(|(code, _)| *code == opcode) {
        // 0 is how Linux writes "none".
        modes.special_codes[*index] = if value == UNSET { 0 } else { u8::try_from(value).unwrap_or(0) };
    } else if let Some((_, flag)) = INPUT.iter().find(|(code, _)| *code == opcode) {
        modes.input_modes.set(*flag, on);
    } else if let Some((_, flag)) = LOCAL.iter().find(|(code, _)| *code == opcode) {
        modes.local_modes.set(*flag, on);
    } else if let Some((_, flag)) = OUTPUT.iter().find(|(code, _)| *code == opcode) {
        modes.output_modes.set(*flag, on);
    } else if SPEEDS.contains(&value) {
        // These are all settable, and a pseudo-terminal is as fast at any.
        let _ = match opcode {
            ISPEED => modes.set_input_speed(value),
            OSPEED => modes.set_output_speed(value),
            // Character size and parity (90 to 93) have no meaning here: the kernel keeps 8 bits.
            _ => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal;
    use crate::testing::{ALEX, in_child, root_or_skip};
    use rustix::termios::{LocalModes, SpecialCodeIndex};

    fn encode(pairs: &[(u8, u32)]) -> Vec<u8> {
        pairs.iter().flat_map(|(op, value)| [&[*op][..], &value.to_be_bytes()].concat()).collect()
    }

    #[test]
    fn a_new_terminal_is_its_users_alone() {
        let check = || {
            let pty = Pty::open().unwrap();
            let stat = rustix::fs::fstat(&pty.slave).unwrap();
            assert_eq!(stat.st_uid, identity::effective_uid());
            assert_eq!(stat.st_mode & 0o757, 0o600);
            let named = rustix::fs::stat(&pty.name).unwrap();
            assert_eq!((named.st_rdev, named.st_ino), (stat.st_rdev, stat.st_ino));
            assert_eq!(fd::read(&pty.master, &mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(fd::write(&pty.slave, b"out\n").unwrap(), 4);
            let mut buffer = [0; 16];
            assert_eq!(fd::read(&pty.master, &mut buffer).unwrap(), 5);
            assert_eq!(&buffer[..5], b"out\r\n");
            drop(pty.slave);
            assert_eq!(fd::read(&pty.master, &mut buffer).unwrap_err().raw_os_error(), Some(libc::EIO));
        };
        check();
        if root_or_skip("a_new_terminal_is_its_users_alone") {
            in_child(|| {
                identity::become_user(ALEX, ALEX, &identity::Groups::None).unwrap();
                check();
            })
            .success();
        }
    }

    #[test]
    fn modes_of_a_terminals_file_get_no_looser() {
        for (mode, own_group, expected) in [
            (0o20620, false, None),
            (0o20600, false, None),
            (0o20600, true, None),
            (0o20620, true, Some(0o600)),
            (0o20666, false, Some(0o620)),
            (0o20640, false, Some(0o600)),
            (0o20666, true, Some(0o600)),
        ] {
            let expected = expected.map(Mode::from_raw_mode);
            assert_eq!(tightened(mode, own_group), expected, "{mode:o} {own_group}");
        }
    }

    #[test]
    fn modes_and_sizes_come_back_as_they_were_set() {
        let (one, two) = (Pty::open().unwrap(), Pty::open().unwrap());
        let changes =
            [(1, 7), (5, UNSET), (36, 0), (51, 0), (53, 0), (70, 0), (ISPEED, 9600), (OSPEED, 9600)];
        set_modes(&one.master, &encode(&changes)).unwrap();
        let all = terminal::modes(&one.slave).unwrap();
        for change in changes {
            assert!(all.contains(&change), "{change:?} is not in {all:?}");
        }
        assert_ne!(terminal::modes(&two.slave).unwrap(), all);
        set_modes(&two.master, &encode(&all)).unwrap();
        assert_eq!(terminal::modes(&two.slave).unwrap(), all);
        let size = Size { columns: 132, rows: 43, width: 1, height: 65_535 };
        set_size(&one.master, size).unwrap();
        assert_eq!(terminal::size(&one.slave).unwrap(), size);
    }

    #[test]
    fn broken_modes_are_taken_as_far_as_they_go() {
        let interrupt = |encoded: &[u8]| {
            let pty = Pty::open().unwrap();
            set_modes(&pty.master, encoded).unwrap();
            let modes = tcgetattr(&pty.slave).unwrap();
            (modes.special_codes[SpecialCodeIndex::VINTR], modes.local_modes.contains(LocalModes::ECHO))
        };
        let untouched = interrupt(b"");
        assert_eq!(untouched, (3, true));
        let good = encode(&[(1, 9), (53, 0)]);
        assert_eq!(interrupt(&good), (9, false));
        for (encoded, expected) in [
            (&good[..9], (9, true)),
            (&good[..4], untouched),
            (&[&[0][..], &good].concat(), untouched),
            (&[&[160][..], &good].concat(), untouched),
            (&[&[255][..], &good].concat(), untouched),
            // Unknown, with a value as all below 160.
            (&[&[159, 1, 2, 3, 4][..], &good].concat(), (9, false)),
            (&encode(&[(1, u32::MAX), (ISPEED, 0), (OSPEED, 12_345), (53, u32::MAX)]), (0, true)),
            (&vec![200; 100_000], untouched),
            (&vec![1; 100_000], (0, true)),
        ] {
            assert_eq!(interrupt(encoded), expected, "{:?}", encoded.get(..12).unwrap_or(encoded));
        }
    }
}
