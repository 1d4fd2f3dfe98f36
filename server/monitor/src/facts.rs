//! The facts of a connection: they come from the monitor's own accept, never from the worker.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use sockward_config::sshd::ConnectionFacts;

/// What stands for an address where there is none (pipes), as in OpenSSH.
pub(crate) const UNKNOWN: &str = "UNKNOWN";
/// Its port.
const UNKNOWN_PORT: u16 = 65535;

/// Where a connection comes from and where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The client's end; none on pipes.
    pub(crate) peer: Option<SocketAddr>,
    /// Our end.
    pub(crate) local: Option<SocketAddr>,
}

impl Facts {
    /// Of two addresses as the kernel tells them: IPv4 in IPv6 clothes is IPv4.
    pub(crate) fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
        Facts { peer: peer.map(plain), local: local.map(plain) }
    }

    /// The client's address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.peer.map(|a| a.ip())
    }

    /// The client's address as text.
    pub(crate) fn address_text(&self) -> String {
        self.address().map_or_else(|| UNKNOWN.to_owned(), |a| a.to_string())
    }

    /// For SSH_CONNECTION: client, its port, server, its port.
    pub(crate) fn ssh_connection(&self) -> [String; 4] {
        let parts = |a: Option<SocketAddr>| match a {
            Some(a) => (a.ip().to_string(), a.port().to_string()),
            None => (UNKNOWN.to_owned(), UNKNOWN_PORT.to_string()),
        };
        let ((peer, peer_port), (local, local_port)) = (parts(self.peer), parts(self.local));
        [peer, peer_port, local, local_port]
    }

    /// For the configuration, before the user is known.
    pub(crate) fn for_config<'a>(&self, host: &'a str) -> ConnectionFacts<'a> {
        ConnectionFacts {
            host: Some(host),
            address: self.address(),
            local_address: self.local.map(|a| a.ip()),
            local_port: self.local.map(|a| a.port()),
            ..ConnectionFacts::default()
        }
    }
}

/// For the log: "192.0.2.7 port 4242".
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.peer.map_or(UNKNOWN_PORT, |a| a.port());
        write!(f, "{} port {port}", self.address_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_have_no_address_and_say_so() {
        let facts = Facts::new(None, None);
        assert_eq!(facts.ssh_connection().join(" "), "UNKNOWN 65535 UNKNOWN 65535");
        assert_eq!(facts.for_config(UNKNOWN).address, None);
    }

    #[test]
    fn mapped_addresses_are_what_they_stand_for() {
        let facts = Facts::new(Some("[::ffff:192.0.2.7]:4242".parse().unwrap()), None);
        assert_eq!(facts.to_string(), "192.0.2.7 port 4242");
    }
}
