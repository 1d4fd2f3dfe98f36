//! TCP entries of PermitOpen and PermitListen, and the address a remote forwarding binds.
//!
//! Names are compared as the client wrote them: nothing is resolved here, as in OpenSSH.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sockward_wire::pattern;

/// A host and its ports, as `PermitOpen` and `PermitListen` take them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// What the host must be: for PermitOpen literal text or `*`, for PermitListen a wildcard pattern.
    host: Vec<u8>,
    ports: Ports,
}

/// One port, several, or any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ports {
    /// `*`, port 0 of a listener included.
    Any,
    /// From the first to the last, both included, neither 0.
    Range(u16, u16),
}

/// The port of a service by name, as /etc/services has it; the host layer looks it up.
pub type Services<'s> = &'s dyn Fn(&str) -> Option<u16>;

/// The longest host name taken (NI_MAXHOST of the system's resolver).
const HOST_MAX: usize = 1024;

/// Why an entry is not a host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPortError {
    /// No host, an unclosed bracket, or longer than any host name.
    Host,
    /// Not `*`, a number from 1 to 65535, a range of them or the name of a service.
    Port,
}

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostPortError::Host => "missing or bad host, expected HOST:PORT or [IPv6]:PORT",
            HostPortError::Port => {
                "bad port number, expected 1 to 65535, a range like 8000-8099, the name of a service or '*'"
            }
        })
    }
}

impl std::error::Error for HostPortError {}

impl HostPort {
    /// Reads `HOST:PORT` or `[HOST]:PORT`; as OpenSSH, `/` may stand for the `:`.
    pub fn parse(entry: &[u8], services: Services<'_>) -> Result<Self, HostPortError> {
        let (host, port) = if let Some(inside) = entry.strip_prefix(b"[") {
            let close = inside.iter().position(|&b| b == b']').ok_or(HostPortError::Host)?;
            match inside.split_at_checked(close) {
                Some((host, [b']', b':' | b'/', port @ ..])) => (host, port),
                _ => return Err(HostPortError::Host),
            }
        } else {
            let end = entry.iter().position(|b| b":/".contains(b)).ok_or(HostPortError::Port)?;
            match entry.split_at_checked(end) {
                Some((host, [_, port @ ..])) => (host, port),
                _ => return Err(HostPortError::Host),
            }
        };
        if host.is_empty() || host.len() > HOST_MAX {
            return Err(HostPortError::Host);
        }
        Ok(HostPort { host: host.to_vec(), ports: Ports::parse(port, services).ok_or(HostPortError::Port)? })
    }

    /// As [`HostPort::parse`], and a bare port, which stands for any address to listen on.
    pub fn parse_listen(entry: &[u8], services: Services<'_>) -> Result<Self, HostPortError> {
        if entry.contains(&b':') {
            return Self::parse(entry, services);
        }
        let ports = Ports::parse(entry, services).ok_or(HostPortError::Port)?;
        Ok(HostPort { host: b"*".to_vec(), ports })
    }

    /// Whether it names what a client asks to open: the very same bytes, or `*`.
    #[must_use]
    pub fn opens(&self, host: &[u8], port: u16) -> bool {
        self.ports.contain(port) && (self.host == b"*" || self.host == host)
    }

    /// Whether it names what a client asks to listen on: wildcards, and the case of the request does not matter.
    #[must_use]
    pub fn listens(&self, host: &[u8], port: u16) -> bool {
        self.ports.contain(port) && pattern::matches(&self.host, &host.to_ascii_lowercase())
    }
}

impl Ports {
    fn parse(text: &[u8], services: Services<'_>) -> Option<Self> {
        if text == b"*" {
            return Some(Ports::Any);
        }
        let text = std::str::from_utf8(text).ok()?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) => (first <= last).then_some(Ports::Range(first, last)),
            // A service's name may have a dash in it.
            _ => services(text).filter(|&p| p > 0).map(|p| Ports::Range(p, p)),
        }
    }

    fn contain(self, port: u16) -> bool {
        match self {
            Ports::Any => true,
            Ports::Range(first, last) => (first..=last).contains(&port),
        }
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&p| digits && p > 0)
}

/// `GatewayPorts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayPorts {
    /// Remote forwardings listen on loopback alone.
    #[default]
    No,
    /// They listen on all addresses, whatever the client asks for.
    Yes,
    /// They listen where the client asks.
    ClientSpecified,
}

/// Where a remote forwarding binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindAddress {
    /// The loopback address of each family.
    Loopback,
    /// All addresses of each family.
    Wildcard,
    /// This address or name, as the client wrote it.
    Host(Vec<u8>),
}

impl GatewayPorts {
    /// Where a forwarding binds that asks for `host` ("" and `*` are all addresses).
    ///
    /// | asked for | `no` | `clientspecified` | `yes` |
    /// | --- | --- | --- | --- |
    /// | "" or `*` | loopback | wildcard | wildcard |
    /// | `localhost` | loopback | loopback | wildcard |
    /// | `127.0.0.1`, `::1` | itself | itself | wildcard |
    /// | anything else | loopback | itself | wildcard |
    #[must_use]
    pub fn bind_address(self, host: &[u8]) -> BindAddress {
        match (self, host) {
            (GatewayPorts::Yes, _) | (GatewayPorts::ClientSpecified, b"" | b"*") => BindAddress::Wildcard,
            (GatewayPorts::ClientSpecified, b"localhost") => BindAddress::Loopback,
            (GatewayPorts::No, b"127.0.0.1" | b"::1") | (GatewayPorts::ClientSpecified, _) => {
                BindAddress::Host(host.to_vec())
            }
            (GatewayPorts::No, _) => BindAddress::Loopback,
        }
    }
}

impl BindAddress {
    /// Whether only this machine can connect. A name that would have to be resolved is not taken for loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            BindAddress::Loopback => true,
            BindAddress::Wildcard => false,
            BindAddress::Host(host) => std::str::from_utf8(host)
                .ok()
                .and_then(|h| h.parse::<IpAddr>().ok())
                .is_some_and(|a| a.is_loopback()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(name: &str) -> Option<u16> {
        (name == "http-alt").then_some(8080)
    }

    #[test]
    fn entries() {
        for (entry, host, ports) in [
            ("localhost:80", "localhost", Ports::Range(80, 80)),
            ("192.0.2.1:*", "192.0.2.1", Ports::Any),
            ("[2001:db8::1]:8000-8099", "2001:db8::1", Ports::Range(8000, 8099)),
            ("*:443", "*", Ports::Range(443, 443)),
            ("host/80", "host", Ports::Range(80, 80)),
            ("host:http-alt", "host", Ports::Range(8080, 8080)),
        ] {
            let expected = HostPort { host: host.into(), ports };
            assert_eq!(HostPort::parse(entry.as_bytes(), &services), Ok(expected), "{entry}");
        }
        for (entry, error) in [
            ("80", HostPortError::Port),
            (":80", HostPortError::Host),
            ("[::1:80", HostPortError::Host),
            ("[::1]80", HostPortError::Host),
            ("[]:80", HostPortError::Host),
            ("::1:80", HostPortError::Host),
            ("h:0", HostPortError::Port),
            ("h:65536", HostPortError::Port),
            ("h:+1", HostPortError::Port),
            ("h:", HostPortError::Port),
            ("h:2-1", HostPortError::Port),
            ("h:0-9", HostPortError::Port),
            ("h:http", HostPortError::Port),
        ] {
            assert_eq!(HostPort::parse(entry.as_bytes(), &services), Err(error), "{entry}");
        }
        assert_eq!(HostPort::parse_listen(b"8080", &services), HostPort::parse(b"*:8080", &services));
        assert_eq!(HostPort::parse_listen(b"*", &services), HostPort::parse(b"*:*", &services));
        assert_eq!(HostPort::parse_listen(b"localhost", &services), Err(HostPortError::Port));
    }

    #[test]
    fn open_is_literal_and_listen_a_pattern() {
        // entry, host, port, opens, listens
        for (entry, host, port, opens, listens) in [
            ("localhost:80", "localhost", 80, true, true),
            ("localhost:80", "localhost", 81, false, false),
            ("localhost:80", "LOCALHOST", 80, false, true),
            ("LOCALHOST:80", "LOCALHOST", 80, true, false),
            ("local*:80", "localhost", 80, false, true),
            ("127.0.0.1:80", "localhost", 80, false, false),
            ("*:80", "anything", 80, true, true),
            ("*:80", "", 80, true, true),
            ("h:*", "h", 0, true, true),
            ("h:1-3", "h", 0, false, false),
            ("h:1-3", "h", 3, true, true),
            ("h:1-3", "h", 4, false, false),
        ] {
            let rule = HostPort::parse(entry.as_bytes(), &services).unwrap();
            assert_eq!(rule.opens(host.as_bytes(), port), opens, "open {entry} {host}:{port}");
            assert_eq!(rule.listens(host.as_bytes(), port), listens, "listen {entry} {host}:{port}");
        }
    }

    #[test]
    fn gateway_ports_table() {
        use BindAddress::{Host, Loopback, Wildcard};
        for (asked, no, client, yes) in [
            ("", Loopback, Wildcard, Wildcard),
            ("*", Loopback, Wildcard, Wildcard),
            ("localhost", Loopback, Loopback, Wildcard),
            ("127.0.0.1", Host("127.0.0.1".into()), Host("127.0.0.1".into()), Wildcard),
            ("::1", Host("::1".into()), Host("::1".into()), Wildcard),
            ("0.0.0.0", Loopback, Host("0.0.0.0".into()), Wildcard),
            ("192.0.2.1", Loopback, Host("192.0.2.1".into()), Wildcard),
        ] {
            let asked = asked.as_bytes();
            assert_eq!(GatewayPorts::No.bind_address(asked), no, "{asked:?}");
            assert_eq!(GatewayPorts::ClientSpecified.bind_address(asked), client, "{asked:?}");
            assert_eq!(GatewayPorts::Yes.bind_address(asked), yes, "{asked:?}");
        }
    }

    #[test]
    fn loopback_is_what_only_this_machine_reaches() {
        for (host, loopback) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("0.0.0.0", false),
            ("localhost.evil", false),
        ] {
            assert_eq!(BindAddress::Host(host.into()).is_loopback(), loopback, "{host}");
        }
        assert!(BindAddress::Loopback.is_loopback() && !BindAddress::Wildcard.is_loopback());
    }
}
