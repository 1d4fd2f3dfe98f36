//! Forwarding specifications: what `-L`, `-R`, `-D`, `-W` and the lines LocalForward, RemoteForward and
//! DynamicForward say. See ssh(1).
//!
//! Nothing is resolved, bound or expanded here: a host is a name, a path is as it was written.
//!
//! ```text
//!   [bind_address:]port | socket   :   host:hostport | socket | (nothing: SOCKS)
//!          Listen                                Target
//! ```
//!
//! A path is a field with a slash, as in OpenSSH, or follows `unix:` (`-R unix:web.sock:localhost:80`). Where a
//! number follows `unix:` it is the host or bind address of that name, as in OpenSSH; `[unix]` always is.

mod parse;
mod path;
#[cfg(test)]
mod tests;

use std::fmt;

pub use parse::{Form, ForwardError, fuzz_forward};
pub use path::{ForwardPath, PathError, Place};

/// One listener and what connections to it are joined with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where to listen: here with `-L` and `-D`, on the server with `-R`.
    pub listen: Listen,
    /// Where to connect to, seen from the other side.
    pub target: Target,
}

/// Where a forwarding listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP port.
    Tcp {
        /// The address as written: `None` if none was, empty and `*` for all interfaces.
        bind: Option<String>,
        /// The port; 0, for `-R` alone, lets the server choose.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(ForwardPath),
}

/// What a forwarding connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP port.
    Tcp {
        /// A name or an address without brackets, not empty.
        host: String,
        /// Not 0.
        port: u16,
    },
    /// A Unix domain socket.
    Unix(ForwardPath),
    /// Whatever the one who connects asks for: SOCKS 4 or 5.
    Socks,
}

/// The interfaces that a local listener binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindScope<'a> {
    /// The loopback addresses of all families.
    Loopback,
    /// All interfaces.
    All,
    /// This address or name.
    Address(&'a str),
}

impl Listen {
    /// What a listener on this machine binds; `None` for a socket.
    ///
    /// | bind address | GatewayPorts no | GatewayPorts yes |
    /// | --- | --- | --- |
    /// | none | loopback | all |
    /// | `localhost` | loopback | loopback |
    /// | empty, `*` | all | all |
    /// | any other | that address | that address |
    #[must_use]
    pub fn local_scope(&self, gateway_ports: bool) -> Option<BindScope<'_>> {
        let Listen::Tcp { bind, .. } = self else { return None };
        Some(match bind.as_deref() {
            None if gateway_ports => BindScope::All,
            None | Some("localhost") => BindScope::Loopback,
            Some("" | "*") => BindScope::All,
            Some(address) => BindScope::Address(address),
        })
    }

    /// The address to ask a server for in a tcpip-forward request (RFC 4254 §7.1); `None` for a socket.
    #[must_use]
    pub fn remote_address(&self) -> Option<&str> {
        let Listen::Tcp { bind, .. } = self else { return None };
        Some(match bind.as_deref() {
            None => "localhost",
            Some("*") => "",
            Some(address) => address,
        })
    }
}

impl Forward {
    /// The path, if any, that the server uses: the target of `-L`, the listener of `-R`.
    #[must_use]
    pub fn far_path(&self, form: Form) -> Option<&ForwardPath> {
        match (form, &self.listen, &self.target) {
            (Form::Remote, Listen::Unix(path), _) => Some(path),
            (Form::Local | Form::Dynamic, _, Target::Unix(path)) => Some(path),
            _ => None,
        }
    }

    /// The path, if any, that this machine uses: the listener of `-L`, the target of `-R`.
    #[must_use]
    pub fn near_path(&self, form: Form) -> Option<&ForwardPath> {
        match (form, &self.listen, &self.target) {
            (Form::Remote, _, Target::Unix(path)) => Some(path),
            (Form::Local | Form::Dynamic, Listen::Unix(path), _) => Some(path),
            _ => None,
        }
    }

    /// Puts another path in the place of [`Self::near_path`], where there is one.
    pub fn set_near_path(&mut self, form: Form, path: ForwardPath) {
        match (form, &mut self.listen, &mut self.target) {
            (Form::Remote, _, Target::Unix(near)) => *near = path,
            (Form::Local | Form::Dynamic, Listen::Unix(near), _) => *near = path,
            _ => {}
        }
    }

    /// Both paths, to expand tokens in.
    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut ForwardPath> {
        let listen = match &mut self.listen {
            Listen::Unix(path) => Some(path),
            Listen::Tcp { .. } => None,
        };
        let target = match &mut self.target {
            Target::Unix(path) => Some(path),
            Target::Tcp { .. } | Target::Socks => None,
        };
        listen.into_iter().chain(target)
    }

    /// As an argument of `-L`, `-R` or `-D`; parsed again it gives the same forwarding.
    #[must_use]
    pub fn to_spec(&self) -> Vec<u8> {
        let mut spec = self.listen.to_spec();
        if self.target != Target::Socks {
            spec.push(b':');
            spec.extend(self.target.to_spec());
        }
        spec
    }
}

impl Listen {
    /// As the first word of a LocalForward, RemoteForward or DynamicForward line.
    #[must_use]
    pub fn to_spec(&self) -> Vec<u8> {
        match self {
            Listen::Tcp { bind: None, port } => port.to_string().into_bytes(),
            Listen::Tcp { bind: Some(bind), port } => format!("[{bind}]:{port}").into_bytes(),
            Listen::Unix(path) => path.to_spec(),
        }
    }
}

impl Target {
    /// As the second word of a LocalForward or RemoteForward line; empty for SOCKS.
    #[must_use]
    pub fn to_spec(&self) -> Vec<u8> {
        match self {
            Target::Tcp { host, port } => format!("[{host}]:{port}").into_bytes(),
            Target::Unix(path) => path.to_spec(),
            Target::Socks => Vec::new(),
        }
    }
}

/// For people, as `ssh -G` writes it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp { bind: None, port } => write!(f, "{port}"),
            Listen::Tcp { bind: Some(bind), port } => write!(f, "[{bind}]:{port}"),
            Listen::Unix(path) => path.fmt(f),
        }
    }
}

/// For people, as `ssh -G` writes it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp { host, port } => write!(f, "[{host}]:{port}"),
            Target::Unix(path) => path.fmt(f),
            Target::Socks => f.write_str("socks"),
        }
    }
}

/// For people, as `ssh -G` writes it: `8080 [localhost]:80`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Socks => self.listen.fmt(f),
            target => write!(f, "{} {target}", self.listen),
        }
    }
}
