//! Addresses: what is meant by `unix-listen:/run/x.sock,fork` and socat's other spellings.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use sockward_sys::resolve::{self, Family};

use crate::options::{Options, Place, os};
use crate::text;

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// As written, for messages.
    pub(crate) text: String,
    pub(crate) kind: Kind,
    pub(crate) options: Options,
}

/// The kinds there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Standard input and output.
    Stdio,
    /// Connect to a port.
    Tcp { host: String, port: u16, family: Family },
    /// Listen on a port; on all addresses of the family unless `bind` names one.
    TcpListen { host: Option<String>, port: u16, family: Family },
    /// Connect to a socket.
    Unix { path: Vec<u8> },
    /// Listen on a socket.
    UnixListen { path: Vec<u8> },
    /// Run a command, without a shell.
    Exec { argv: Vec<OsString> },
}

impl Address {
    /// Reads an address. The error is a sentence that names the address.
    pub(crate) fn parse(text: &OsStr) -> Result<Address, String> {
        let shown = text.to_string_lossy().escape_debug().to_string();
        read(text.as_bytes(), &shown).map_err(|e| format!("{shown}: {e}"))
    }

    /// Whether it waits for others to connect.
    pub(crate) fn listens(&self) -> bool {
        matches!(self.kind, Kind::TcpListen { .. } | Kind::UnixListen { .. })
    }
}

fn read(bytes: &[u8], shown: &str) -> Result<Address, String> {
    let parts = text::split(bytes)?;
    let argument = || parts.argument.as_deref().filter(|a| !a.is_empty());
    let (place, kind) = match parts.keyword.as_str() {
        "-" | "stdio" => match argument() {
            None => (Place::Stdio, Kind::Stdio),
            Some(_) => return Err("stdio takes nothing behind it".into()),
        },
        "tcp" | "tcp-connect" => (Place::Tcp, tcp(argument(), Family::Any)?),
        "tcp4" | "tcp4-connect" => (Place::Tcp, tcp(argument(), Family::V4)?),
        "tcp6" | "tcp6-connect" => (Place::Tcp, tcp(argument(), Family::V6)?),
        "tcp-listen" | "tcp-l" => (Place::TcpListen, tcp_listen(argument(), Family::Any)?),
        "tcp4-listen" | "tcp4-l" => (Place::TcpListen, tcp_listen(argument(), Family::V4)?),
        "tcp6-listen" | "tcp6-l" => (Place::TcpListen, tcp_listen(argument(), Family::V6)?),
        "unix" | "unix-connect" => (Place::Unix, Kind::Unix { path: path(argument())? }),
        "unix-listen" | "unix-l" => (Place::UnixListen, Kind::UnixListen { path: path(argument())? }),
        "exec" => (Place::Exec, exec(argument())?),
        other => {
            return Err(format!(
                "unknown kind of address '{}', there are -, stdio, tcp, tcp-listen, unix, unix-listen and exec",
                other.escape_debug()
            ));
        }
    };
    let options = Options::read(place, &parts.options)?;
    Ok(Address { text: shown.to_owned(), kind, options })
}

fn tcp(argument: Option<&[u8]>, family: Family) -> Result<Kind, String> {
    match host_and_port(argument)? {
        (Some(host), port) if port > 0 => Ok(Kind::Tcp { host, port, family }),
        _ => Err("expected HOST:PORT".into()),
    }
}

fn tcp_listen(argument: Option<&[u8]>, family: Family) -> Result<Kind, String> {
    let (host, port) = host_and_port(argument)?;
    Ok(Kind::TcpListen { host, port, family })
}

fn host_and_port(argument: Option<&[u8]>) -> Result<(Option<String>, u16), String> {
    let text = String::from_utf8(text::unquote(argument.ok_or("a port is missing")?));
    let text = text.map_err(|_| "host and port are not UTF-8".to_owned())?;
    let (host, name) = match text.rsplit_once(':') {
        Some((host, name)) => (Some(host.trim_start_matches('[').trim_end_matches(']').to_owned()), name),
        None => (None, text.as_str()),
    };
    let port = name.parse().ok().or_else(|| resolve::service(name));
    let port = port.ok_or_else(|| {
        format!("'{}' is no port: a number up to 65535 or a service's name", name.escape_debug())
    })?;
    Ok((host.filter(|h| !h.is_empty()), port))
}

fn path(argument: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let path = text::unquote(argument.ok_or("a path is missing")?);
    if path.contains(&0) { Err("a path holds no NUL".into()) } else { Ok(path) }
}

fn exec(argument: Option<&[u8]>) -> Result<Kind, String> {
    let mut words = text::words(argument.unwrap_or_default());
    if let [whole] = words.as_slice() {
        // Quotes round the whole command that no shell has taken away.
        words = text::words(whole);
    }
    let argv: Vec<OsString> = words.into_iter().map(os).collect();
    if argv.first().is_none_or(|name| name.is_empty()) {
        return Err("a command is missing".into());
    }
    Ok(Kind::Exec { argv })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Kind, String> {
        Address::parse(OsStr::new(text)).map(|a| a.kind)
    }

    #[test]
    fn our_spellings_and_socat_s_mean_the_same() {
        let tcp = |host: &str, port, family| Ok(Kind::Tcp { host: host.into(), port, family });
        for (text, kind) in [
            ("-", Ok(Kind::Stdio)),
            ("STDIO", Ok(Kind::Stdio)),
            ("tcp:localhost:80", tcp("localhost", 80, Family::Any)),
            ("TCP4:h:ssh", tcp("h", 22, Family::V4)),
            ("TCP6:[::1]:8080", tcp("::1", 8080, Family::V6)),
            ("unix:/run/x", Ok(Kind::Unix { path: b"/run/x".to_vec() })),
            ("UNIX-CONNECT:x y", Ok(Kind::Unix { path: b"x y".to_vec() })),
            ("UNIX-LISTEN:/run/x,fork,mode=600", Ok(Kind::UnixListen { path: b"/run/x".to_vec() })),
            (
                "TCP-LISTEN:8080,reuseaddr",
                Ok(Kind::TcpListen { host: None, port: 8080, family: Family::Any }),
            ),
            (
                "tcp-listen:127.0.0.1:0",
                Ok(Kind::TcpListen { host: Some("127.0.0.1".into()), port: 0, family: Family::Any }),
            ),
            (
                "EXEC:'ssh -T host x'",
                Ok(Kind::Exec { argv: ["ssh", "-T", "host", "x"].map(Into::into).to_vec() }),
            ),
            (
                "EXEC:ssh -T 'host x',pipes",
                Ok(Kind::Exec { argv: ["ssh", "-T", "host x"].map(Into::into).to_vec() }),
            ),
        ] {
            assert_eq!(parse(text), kind, "{text}");
        }
    }

    #[test]
    fn errors_name_the_address_and_the_cause() {
        for (text, what) in [
            ("UDP:x:1", "unknown kind of address 'udp'"),
            ("tcp:80", "expected HOST:PORT"),
            ("tcp:h:0", "expected HOST:PORT"),
            ("tcp:h:http-no-such", "is no port"),
            ("unix:", "a path is missing"),
            ("exec:", "a command is missing"),
            ("stdio:x", "takes nothing"),
            ("UNIX-LISTEN:/x,crlf", "unknown option 'crlf'"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("{text}: ")) && error.contains(what), "{error}");
        }
    }
}
