//! Where to: `[user@]host`, `[user@]host:port`, `ssh://[user@]host[:port]`, and which names are safe to use.

use std::net::IpAddr;

use crate::lookup::{Lookup, port};

/// A host with a login and a port, as far as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The login.
    pub user: Option<String>,
    /// The host's name or address, without brackets.
    pub host: String,
    /// The TCP port, not 0.
    pub port: Option<u16>,
}

impl Destination {
    /// Reads an `ssh://` URI; `None` if the text is none. A path is an error: there is nothing it could name.
    pub fn parse_uri(text: &str, lookup: &dyn Lookup) -> Option<Result<Self, String>> {
        Some(
            uri(text.strip_prefix("ssh://")?, lookup)
                .ok_or_else(|| format!("'{text}' is no ssh:// URI of a host")),
        )
    }

    /// Reads `[user@]host[:port]`, with brackets around an IPv6 address that has a port.
    pub fn parse_host_port(text: &str, lookup: &dyn Lookup) -> Option<Self> {
        let (user, rest) = match text.rsplit_once('@') {
            Some(("", _)) => return None,
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (host, at) = split_port(rest)?;
        Some(Destination { user, host: host.to_owned(), port: given_port(at, lookup)? })
    }

    /// Reads the destination of a command line: a URI, or `[user@]host` where the host is taken as it is.
    pub fn parse_argument(text: &str, lookup: &dyn Lookup) -> Option<Self> {
        match Destination::parse_uri(text, lookup) {
            Some(uri) => uri.ok(),
            None => match text.rsplit_once('@') {
                Some(("", _)) => None,
                Some((user, host)) => {
                    Some(Destination { user: Some(user.to_owned()), host: host.to_owned(), port: None })
                }
                None => Some(Destination { user: None, host: text.to_owned(), port: None }),
            },
        }
    }
}

/// Whether a host's name can be put into a command of a shell (`%h`) and into messages.
#[must_use]
pub fn is_safe_host(host: &str) -> bool {
    let bad = |c: char| "'`\"$\\;&<>|(){},".contains(c) || c.is_whitespace() || c.is_control();
    !host.starts_with('-') && !host.contains(bad)
}

/// Whether a login can be put into a command of a shell (`%r`).
#[must_use]
pub fn is_safe_user(user: &str) -> bool {
    let bad = |c: char| "'`\";&<>|(){}".contains(c) || c.is_control();
    let mut after_blank = false;
    for c in user.chars() {
        if bad(c) || after_blank && c == '-' {
            return false;
        }
        after_blank = c.is_whitespace();
    }
    !user.starts_with('-') && !user.ends_with('\\')
}

fn uri(rest: &str, lookup: &dyn Lookup) -> Option<Destination> {
    let (user, rest) = match rest.split_once('@') {
        Some((login, rest)) => {
            // Parameters of the connection may follow a ';': none is known.
            let login = login.split_once(';').map_or(login, |(login, _)| login);
            (Some(url_decode(login).filter(|u| !u.is_empty())?), rest)
        }
        None => (None, rest),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, at) = split_port(rest)?;
    if !is_domain(host) && host.parse::<IpAddr>().is_err() {
        return None;
    }
    Some(Destination { user, host: host.to_owned(), port: given_port(at, lookup)? })
}

/// `host`, `host:port`, `[host]`, `[host]:port`: the host without brackets and what follows the colon.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => text.split_at(text.find([':', '/']).unwrap_or(text.len())),
    };
    let at = match rest {
        "" => None,
        _ => Some(rest.strip_prefix(':')?),
    };
    if host.is_empty() { None } else { Some((host, at)) }
}

/// A missing or empty port is none; what is no port is an error (the outer `None`).
fn given_port(text: Option<&str>, lookup: &dyn Lookup) -> Option<Option<u16>> {
    match text {
        None | Some("") => Some(None),
        Some(text) => port(text, lookup).filter(|&p| p > 0).map(Some),
    }
}

/// As OpenSSH checks names in URIs: letters, digits, `-`, `_` and single dots, not starting with `-` or a dot.
fn is_domain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.bytes().all(allowed) && !name.contains("..") && !name.starts_with(['-', '.']) && !name.is_empty()
}

/// `%41` is A, `+` a blank; no NUL.
fn url_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok().filter(|&b| b != 0)?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::NoLookup;

    fn show(d: Option<Destination>) -> String {
        let Some(d) = d else { return "none".to_owned() };
        format!("{} {} {}", d.user.as_deref().unwrap_or("-"), d.host, d.port.unwrap_or(0))
    }

    #[test]
    fn arguments() {
        for (text, shown) in [
            ("host", "- host 0"),
            ("alex@host", "alex host 0"),
            ("a@b@host", "a@b host 0"),
            ("alex:style@host", "alex:style host 0"),
            ("@host", "none"),
            ("host:22", "- host:22 0"),
            ("ssh://host", "- host 0"),
            ("ssh://host/", "- host 0"),
            ("ssh://alex@host:2222", "alex host 2222"),
            ("ssh://alex@host:2222/", "alex host 2222"),
            ("ssh://a%40b;x=y@host", "a@b host 0"),
            ("ssh://[::1]:2222", "- ::1 2222"),
            ("ssh://host:2222/path", "none"),
            ("ssh://host/path", "none"),
            ("ssh://host:0", "none"),
            ("ssh://host:70000", "none"),
            ("ssh://@host", "none"),
            ("ssh://%00@host", "none"),
            ("ssh://%4@host", "none"),
            ("ssh://ho st", "none"),
            ("ssh://-host", "none"),
            ("ssh://", "none"),
        ] {
            assert_eq!(show(Destination::parse_argument(text, &NoLookup)), shown, "{text}");
        }
    }

    #[test]
    fn hosts_with_ports() {
        for (text, shown) in [
            ("host", "- host 0"),
            ("alex@host:2222", "alex host 2222"),
            ("alex@[fe80::1%eth0]:22", "alex fe80::1%eth0 22"),
            ("host:", "- host 0"),
            ("host:x", "none"),
            ("[::1", "none"),
            ("[::1]x", "none"),
            (":22", "none"),
            ("host/22", "none"),
        ] {
            assert_eq!(show(Destination::parse_host_port(text, &NoLookup)), shown, "{text}");
        }
    }

    #[test]
    fn names_that_a_shell_would_read_are_unsafe() {
        for host in ["-oProxyCommand=x", "a b", "$(x)", "a;b", "a`b", "a,b", "a\nb"] {
            assert!(!is_safe_host(host), "{host}");
        }
        for user in ["-x", "a -x", "a\\", "$(x)", "a'b", "a\x07b"] {
            assert!(!is_safe_user(user), "{user}");
        }
        assert!(is_safe_host("fe80::1%eth0") && is_safe_host("a_b.example.com"));
        assert!(is_safe_user("alex") && is_safe_user("DOM\\alex") && is_safe_user("a b"));
    }
}
