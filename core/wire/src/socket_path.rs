//! Socket paths are bytes: no NUL, not empty, bounded, maybe not UTF-8.

use std::fmt;

/// The bytes `sockaddr_un.sun_path` holds on Linux; a path must leave room for a NUL.
pub const SUN_PATH_MAX: usize = 108;

/// No path is longer than this on Linux (PATH_MAX, NUL included).
const PATH_MAX: usize = 4096;

/// The path of a Unix domain socket, as it came from the wire, a command line or a configuration.
///
/// It may be longer than `sun_path`: the host layer reaches such paths through their directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketPath(Vec<u8>);

/// Why bytes are not a socket path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketPathError {
    /// Nothing there.
    Empty,
    /// Contains a NUL byte.
    Nul,
    /// Longer than any path can be.
    TooLong,
}

impl fmt::Display for SocketPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SocketPathError::Empty => "the socket path is empty",
            SocketPathError::Nul => "the socket path contains a NUL byte",
            SocketPathError::TooLong => "the socket path is longer than 4095 bytes",
        })
    }
}

impl std::error::Error for SocketPathError {}

impl SocketPath {
    /// Checks and takes a path.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, SocketPathError> {
        let path = path.into();
        if path.is_empty() {
            Err(SocketPathError::Empty)
        } else if path.contains(&0) {
            Err(SocketPathError::Nul)
        } else if path.len() >= PATH_MAX {
            Err(SocketPathError::TooLong)
        } else {
            Ok(SocketPath(path))
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it starts at the root.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.0.first() == Some(&b'/')
    }
}

/// For people: bytes that are not printable ASCII or UTF-8 text are escaped.
impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_cannot_be_a_path_are_refused() {
        assert_eq!(SocketPath::new(*b""), Err(SocketPathError::Empty));
        assert_eq!(SocketPath::new(*b"/a\0b"), Err(SocketPathError::Nul));
        assert_eq!(SocketPath::new(vec![b'a'; 4096]), Err(SocketPathError::TooLong));
        assert!(SocketPath::new(vec![b'a'; 4095]).is_ok());
    }

    #[test]
    fn display_never_prints_control_bytes() {
        let p = SocketPath::new(b"/run/\x1b[31m\xff".to_vec()).unwrap();
        assert_eq!(p.to_string(), "/run/\\x1b[31m\\xff");
    }
}
