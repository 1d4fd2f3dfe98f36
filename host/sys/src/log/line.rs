//! How a message looks: one line of bounded length that cannot harm whoever reads it.

use std::fmt::Write as _;

use super::LogLevel;

/// Longer messages are cut.
const LINE_MAX: usize = 4096;

/// The message as it is shown. Escapes as OpenSSH does (vis(3): octal, a doubled backslash), and
/// leaves printable text beyond ASCII as it is.
pub(super) fn line(level: LogLevel, message: &str, syslog: bool, end: &str) -> String {
    let mut text = String::with_capacity(message.len() + 16);
    text.push_str(level.prefix(syslog));
    for c in message.chars() {
        if text.len() >= LINE_MAX {
            break;
        }
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' if !syslog => text.push(c),
            c if c.is_control() || is_direction(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\{byte:03o}");
                }
            }
            c => text.push(c),
        }
    }
    text.push_str(end);
    text
}

/// Characters that reorder what is shown after them.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sends_cannot_forge_lines_or_drive_a_terminal() {
        let shown = |message| line(LogLevel::Info, message, false, "\n");
        assert_eq!(shown("a\nb\r\x1b[2J\x07\u{9b}1m"), "a\\nb\\015\\033[2J\\007\\302\\2331m\n");
        assert_eq!(shown("back\\slash\tgrün \u{202e}x"), "back\\\\slash\tgrün \\342\\200\\256x\n");
        assert!(shown(&"\x01".repeat(100_000)).len() < LINE_MAX + 8);
    }

    #[test]
    fn prefixes_are_openssh_s() {
        assert_eq!(line(LogLevel::Error, "x", false, ""), "x");
        assert_eq!(line(LogLevel::Error, "x", true, ""), "error: x");
        assert_eq!(line(LogLevel::Debug2, "x", true, ""), "debug2: x");
    }
}
