//! The path of a socket in a forwarding: as written, with who owns the file system it names.

use std::fmt;

use sockward_wire::{SocketPath, SocketPathError};

use crate::tokens::{self, Table, TokenError};

/// A socket's path in a forwarding specification.
#[derive(Clone, PartialEq, Eq)]
pub struct ForwardPath(SocketPath);

/// From where a path goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the root.
    Root,
    /// `~/…`: from the home directory. The side that owns the file system expands it.
    Home,
    /// From the working directory (this side) or the login's home (the server's side).
    Relative,
}

/// Why bytes are no path for a forwarding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Empty, a NUL byte, too long.
    Bytes(SocketPathError),
    /// `~user/…`: who that is is known only to the side that owns the file system, and no server is asked.
    OtherHome,
    /// A token cannot be expanded.
    Token(TokenError),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::Bytes(e) => e.fmt(f),
            PathError::OtherHome => {
                f.write_str("only '~/' is expanded in a forwarding, write another user's home from the root")
            }
            PathError::Token(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PathError {}

impl ForwardPath {
    /// Checks and takes a path, without `unix:` and with escapes taken out.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let path = SocketPath::new(path).map_err(PathError::Bytes)?;
        match path.as_bytes() {
            [b'~', b'/', ..] => {}
            [b'~', ..] => return Err(PathError::OtherHome),
            _ => {}
        }
        Ok(ForwardPath(path))
    }

    /// The path as written. This is also what goes to a server, which expands `~/` and relative paths if it is ours.
    #[must_use]
    pub fn written(&self) -> &SocketPath {
        &self.0
    }

    /// From where it goes.
    #[must_use]
    pub fn place(&self) -> Place {
        match self.0.as_bytes() {
            [b'/', ..] => Place::Root,
            [b'~', ..] => Place::Home,
            _ => Place::Relative,
        }
    }

    /// The path on this machine, `~/` expanded with the user's home; a relative one stays so.
    pub fn near(&self, home: &[u8]) -> Result<SocketPath, SocketPathError> {
        match self.0.as_bytes() {
            [b'~', rest @ ..] => SocketPath::new([home.strip_suffix(b"/").unwrap_or(home), rest].concat()),
            whole => SocketPath::new(whole),
        }
    }

    /// What to tell the user if the path is the server's and the server is not ours: such a server expands neither
    /// `~` nor relative names. `None` if it can do with the path.
    #[must_use]
    pub fn stock_server_remedy(&self) -> Option<String> {
        let what = match self.place() {
            Place::Root => return None,
            Place::Home => "does not expand '~'",
            Place::Relative => "does not know from where a relative path goes",
        };
        Some(format!(
            "the server {what} in '{self}': write the path from the root, or run sockward sshd there"
        ))
    }

    /// The same with `%` tokens expanded.
    pub fn expanded(&self, table: &Table<'_>) -> Result<Self, PathError> {
        ForwardPath::new(tokens::percent(self.0.as_bytes(), table).map_err(PathError::Token)?)
    }

    /// As part of a specification: `unix:` where no slash tells that it is a path, and a backslash before what
    /// would end or change it.
    #[must_use]
    pub fn to_spec(&self) -> Vec<u8> {
        let path = self.0.as_bytes();
        let mut out = Vec::with_capacity(path.len() + 5);
        if !path.contains(&b'/') {
            out.extend_from_slice(b"unix:");
            if path.iter().all(u8::is_ascii_digit) {
                // `unix:80` would be port 80 of a host.
                out.push(b'\\');
            }
        }
        let mut before = None;
        for &b in path {
            let special = match before {
                None => b == b'[' || b.is_ascii_whitespace() || b == 0x0b,
                Some(b'$') => b == b'{',
                Some(_) => false,
            };
            if special || b == b':' || b == b'\\' {
                out.push(b'\\');
            }
            out.push(b);
            before = Some(b);
        }
        out
    }
}

/// For people: `unix:` where no slash tells that it is a path.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.as_bytes().contains(&b'/') {
            f.write_str("unix:")?;
        }
        self.0.fmt(f)
    }
}

impl fmt::Debug for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
