//! The identification line (RFC 4253 §4.2): finding it in the first bytes of a connection, writing ours.

use std::fmt;

/// The longest line, CR LF included (RFC 4253 §4.2).
const LINE_MAX: usize = 255;
/// Lines a server may send before its identification; OpenSSH's client takes 1024 of up to 8 KiB.
const LINES_BEFORE_MAX: usize = 1024;
/// All bytes together before the identification ends.
const BYTES_MAX: usize = 64 * 1024;

/// A received identification line, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// The line, as it goes into the exchange hash.
    pub line: Vec<u8>,
    /// How many bytes of the input it and the lines before it took.
    pub consumed: usize,
}

impl Identification {
    /// The software version: what stands after `SSH-2.0-`, up to a blank.
    #[must_use]
    pub fn software(&self) -> &[u8] {
        let rest = self.line.splitn(3, |&b| b == b'-').nth(2).unwrap_or_default();
        rest.split(|&b| b == b' ').next().unwrap_or_default()
    }
}

/// Why a connection's first bytes are not an identification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionError {
    /// A line of a client that is no identification (the start of it), or an over-long line.
    NotSsh(Vec<u8>),
    /// SSH, but not 2.0 or 1.99.
    WrongVersion(Vec<u8>),
    /// Too much before the identification.
    TooMuch,
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionError::NotSsh(line) => {
                write!(f, "banner exchange: invalid format: \"{}\"", line.escape_ascii())
            }
            VersionError::WrongVersion(line) => {
                write!(f, "protocol version of \"{}\" is not 2.0", line.escape_ascii())
            }
            VersionError::TooMuch => write!(f, "banner exchange: too much before the SSH identification"),
        }
    }
}

impl std::error::Error for VersionError {}

/// Looks for the identification line at the start of `input`; none while it is not complete.
///
/// `lines_before`: whether other lines may come first, which RFC 4253 grants to servers alone.
pub fn read_identification(input: &[u8], lines_before: bool) -> Result<Option<Identification>, VersionError> {
    let mut at = 0;
    for _ in 0..LINES_BEFORE_MAX {
        let rest = input.get(at..).unwrap_or_default();
        let Some(n) = rest.iter().position(|&b| b == b'\n') else {
            return incomplete(rest, at, lines_before);
        };
        let line = rest.get(..n).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += n + 1;
        if line.starts_with(b"SSH-") {
            return identification(line, at).map(Some);
        }
        if !lines_before {
            return Err(VersionError::NotSsh(excerpt(line)));
        }
        if at > BYTES_MAX {
            return Err(VersionError::TooMuch);
        }
    }
    Err(VersionError::TooMuch)
}

/// No line end yet: go on waiting unless it can no longer become good.
fn incomplete(
    rest: &[u8],
    before: usize,
    lines_before: bool,
) -> Result<Option<Identification>, VersionError> {
    let could_be_ssh = rest.iter().zip(b"SSH-").all(|(a, b)| a == b);
    if rest.len() >= LINE_MAX && could_be_ssh || !lines_before && !could_be_ssh {
        return Err(VersionError::NotSsh(excerpt(rest)));
    }
    if before + rest.len() > BYTES_MAX { Err(VersionError::TooMuch) } else { Ok(None) }
}

fn identification(line: &[u8], consumed: usize) -> Result<Identification, VersionError> {
    if line.len() + 2 > LINE_MAX || line.contains(&0) {
        return Err(VersionError::NotSsh(excerpt(line)));
    }
    // "1.99" is how servers that also spoke SSH 1 announced 2.0 (RFC 4253 §5.1).
    if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
        Ok(Identification { line: line.to_vec(), consumed })
    } else {
        Err(VersionError::WrongVersion(excerpt(line)))
    }
}

fn excerpt(line: &[u8]) -> Vec<u8> {
    line.iter().copied().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_however_it_is_chopped() {
        let whole = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nrest";
        for n in 0..32 {
            assert_eq!(read_identification(&whole[..n], false), Ok(None), "{n}");
        }
        let id = read_identification(whole, false).unwrap().unwrap();
        assert_eq!(id.line, b"SSH-2.0-OpenSSH_9.2p1 Debian-2");
        assert_eq!(id.consumed, 32);
        assert_eq!(id.software(), b"OpenSSH_9.2p1");
    }

    #[test]
    fn only_a_server_may_send_lines_before() {
        let text = b"hello\nSSH-2.0-x\n";
        assert_eq!(read_identification(text, true).unwrap().unwrap().line, b"SSH-2.0-x");
        assert!(matches!(read_identification(text, false), Err(VersionError::NotSsh(_))));
    }

    #[test]
    fn endless_or_wrong_beginnings_are_refused() {
        assert!(matches!(read_identification(b"GET / HTTP", false), Err(VersionError::NotSsh(_))));
        assert!(matches!(read_identification(b"SSH-1.5-old\n", false), Err(VersionError::WrongVersion(_))));
        let endless = vec![b'S'; 70_000];
        assert!(read_identification(&endless, false).is_err());
        assert!(read_identification(&endless, true).is_err());
        let lines = b"x\n".repeat(2000);
        assert_eq!(read_identification(&lines, true), Err(VersionError::TooMuch));
        let mut long = b"SSH-2.0-".to_vec();
        long.resize(300, b'a');
        assert!(read_identification(&long, false).is_err());
    }
}
