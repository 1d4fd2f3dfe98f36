//! Reads a forwarding specification: fields between colons, brackets, backslashes, `unix:`.

use std::fmt;

use super::{Forward, ForwardPath, Listen, PathError, Target};
use crate::lookup::{Lookup, NoLookup, port};
use crate::tokens::{self, TokenError};

/// NI_MAXHOST: no resolver takes a longer name.
const HOST_MAX: usize = 1024;

/// The most fields a specification has is four; each may have `unix:` before it. One more is enough to say so.
const FIELDS_MAX: usize = 9;

/// Which option or keyword a specification belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `-L`, LocalForward.
    Local,
    /// `-R`, RemoteForward.
    Remote,
    /// `-D`, DynamicForward.
    Dynamic,
}

impl Form {
    fn expected(self) -> &'static str {
        match self {
            Form::Local => "[bind_address:]port or socket, then host:hostport or socket",
            Form::Remote => "[bind_address:]port or socket, then host:hostport, socket or nothing (SOCKS)",
            Form::Dynamic => "[bind_address:]port or socket",
        }
    }
}

/// What is wrong with a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardError {
    /// The fields are not those of any form.
    Shape {
        /// What there could have been.
        expected: &'static str,
    },
    /// A `[` without a `]` at the end of its field.
    Bracket,
    /// A backslash at the end.
    Backslash,
    /// Not a port from 0 to 65535 nor a service's name.
    Port(String),
    /// Port 0 where only `-R` may ask for it.
    PortZero,
    /// Not the name or address of a host.
    Host(String),
    /// Not a path.
    Path(PathError),
    /// An environment variable cannot be put in.
    Token(TokenError),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::Shape { expected } => {
                write!(
                    f,
                    "expected {expected}; IPv6 addresses go in brackets, a path needs a slash or 'unix:'"
                )
            }
            ForwardError::Bracket => f.write_str("'[' without a ']' at the end of the field"),
            ForwardError::Backslash => f.write_str("a backslash at the end stands for nothing"),
            ForwardError::Port(port) => {
                write!(f, "'{}' is no port, expected 0 to 65535 or a service's name", port.escape_debug())
            }
            ForwardError::PortZero => {
                f.write_str("port 0 can only be asked of the server, as the port of -R")
            }
            ForwardError::Host(host) if host.is_empty() => f.write_str("the host to connect to is missing"),
            ForwardError::Host(host) => write!(f, "'{}' is no host name or address", host.escape_debug()),
            ForwardError::Path(e) => e.fmt(f),
            ForwardError::Token(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for ForwardError {}

impl Forward {
    /// Reads the argument of `-L`, `-R` or `-D`.
    ///
    /// `${VARIABLE}` is put in first, as in OpenSSH, so that a variable may hold a path. Tokens (`%h`) stay.
    pub fn parse(spec: &[u8], form: Form, lookup: &dyn Lookup) -> Result<Self, ForwardError> {
        let fields = fields(&tokens::environment(spec, lookup).map_err(ForwardError::Token)?)?;
        // -L must have a target, -D can have none.
        let (without, with) = (form != Form::Local, form != Form::Dynamic);
        let (listen, target) = match fields.as_slice() {
            [Field::Path(path)] if without => (Listen::Unix(path.clone()), Target::Socks),
            [Field::Text(at)] if without => (listen(None, at, lookup)?, Target::Socks),
            [Field::Text(bind), Field::Text(at)] if without => {
                (listen(Some(bind), at, lookup)?, Target::Socks)
            }
            [Field::Path(path), Field::Path(to)] if with => {
                (Listen::Unix(path.clone()), Target::Unix(to.clone()))
            }
            [Field::Text(at), Field::Path(to)] if with => {
                (listen(None, at, lookup)?, Target::Unix(to.clone()))
            }
            [Field::Path(path), Field::Text(host), Field::Text(to)] if with => {
                (Listen::Unix(path.clone()), target(host, to, lookup)?)
            }
            [Field::Text(bind), Field::Text(at), Field::Path(to)] if with => {
                (listen(Some(bind), at, lookup)?, Target::Unix(to.clone()))
            }
            [Field::Text(at), Field::Text(host), Field::Text(to)] if with => {
                (listen(None, at, lookup)?, target(host, to, lookup)?)
            }
            [Field::Text(bind), Field::Text(at), Field::Text(host), Field::Text(to)] if with => {
                (listen(Some(bind), at, lookup)?, target(host, to, lookup)?)
            }
            _ => return Err(ForwardError::Shape { expected: form.expected() }),
        };
        if form != Form::Remote && matches!(listen, Listen::Tcp { port: 0, .. }) {
            return Err(ForwardError::PortZero);
        }
        Ok(Forward { listen, target })
    }

    /// Reads the words of a LocalForward, RemoteForward or DynamicForward line.
    pub fn parse_words(
        first: &[u8],
        second: Option<&[u8]>,
        form: Form,
        lookup: &dyn Lookup,
    ) -> Result<Self, ForwardError> {
        match second {
            None => Forward::parse(first, form, lookup),
            Some(second) => Forward::parse(&[first, b":", second].concat(), form, lookup),
        }
    }
}

impl Target {
    /// Reads the argument of `-W`: `host:port` or a socket. Never [`Target::Socks`].
    pub fn parse_stdio(spec: &[u8], lookup: &dyn Lookup) -> Result<Self, ForwardError> {
        let fields = fields(&tokens::environment(spec, lookup).map_err(ForwardError::Token)?)?;
        match fields.as_slice() {
            [Field::Path(path)] => Ok(Target::Unix(path.clone())),
            [Field::Text(host), Field::Text(port)] => target(host, port, lookup),
            _ => Err(ForwardError::Shape { expected: "host:port or a socket" }),
        }
    }
}

enum Field {
    Text(String),
    Path(ForwardPath),
}

/// A field as it stands between colons.
struct Raw {
    bytes: Vec<u8>,
    /// It has brackets or backslashes: `unix` in it is no prefix, and a number in it is no port to `unix:`.
    quoted: bool,
}

/// Splits a specification. One colon at the end has no field after it, as in OpenSSH.
fn fields(spec: &[u8]) -> Result<Vec<Field>, ForwardError> {
    let mut raw = Vec::new();
    let mut rest = spec.trim_ascii_start();
    while !rest.is_empty() && raw.len() < FIELDS_MAX {
        raw.push(take_field(&mut rest)?);
    }
    let mut fields = Vec::new();
    let mut raw = raw.into_iter().peekable();
    while let Some(field) = raw.next() {
        let prefix = field.bytes == b"unix" && !field.quoted;
        let path = match raw.next_if(|next| prefix && !is_port_number(next)) {
            Some(path) => path.bytes,
            None if field.bytes.contains(&b'/') => field.bytes,
            None => {
                let text = String::from_utf8(field.bytes);
                fields.push(Field::Text(text.map_err(|e| ForwardError::Host(e.to_string()))?));
                continue;
            }
        };
        fields.push(Field::Path(ForwardPath::new(path).map_err(ForwardError::Path)?));
    }
    Ok(fields)
}

/// `unix:80` is port 80 of the host or bind address `unix`.
fn is_port_number(field: &Raw) -> bool {
    !field.quoted && field.bytes.iter().all(u8::is_ascii_digit)
}

fn take_field(rest: &mut &[u8]) -> Result<Raw, ForwardError> {
    if let Some(inside) = rest.strip_prefix(b"[") {
        let close = inside.iter().position(|&b| b == b']').ok_or(ForwardError::Bracket)?;
        let bytes = inside.get(..close).unwrap_or_default().to_vec();
        *rest = match inside.get(close + 1..).unwrap_or_default() {
            [] => b"",
            [b':', after @ ..] => after,
            _ => return Err(ForwardError::Bracket),
        };
        return Ok(Raw { bytes, quoted: true });
    }
    let mut field = Raw { bytes: Vec::new(), quoted: false };
    while let [first, tail @ ..] = *rest {
        *rest = tail;
        match first {
            b':' => break,
            b'\\' => {
                let (escaped, tail) = tail.split_first().ok_or(ForwardError::Backslash)?;
                field.bytes.push(*escaped);
                field.quoted = true;
                *rest = tail;
            }
            other => field.bytes.push(*other),
        }
    }
    Ok(field)
}

fn listen(bind: Option<&str>, at: &str, lookup: &dyn Lookup) -> Result<Listen, ForwardError> {
    let bind = match bind {
        Some("") => Some(String::new()),
        Some(bind) => Some(host(bind)?),
        None => None,
    };
    Ok(Listen::Tcp { bind, port: port(at, lookup).ok_or_else(|| ForwardError::Port(at.to_owned()))? })
}

fn target(to: &str, at: &str, lookup: &dyn Lookup) -> Result<Target, ForwardError> {
    let host = host(to)?;
    match port(at, lookup) {
        Some(0) => Err(ForwardError::PortZero),
        Some(port) => Ok(Target::Tcp { host, port }),
        None => Err(ForwardError::Port(at.to_owned())),
    }
}

/// OpenSSH takes anything; what has blanks, controls or brackets is no name and would not print back.
fn host(text: &str) -> Result<String, ForwardError> {
    let strange = |c: char| c.is_whitespace() || c.is_control() || c == '[' || c == ']';
    if text.is_empty() || text.len() > HOST_MAX || text.contains(strange) {
        return Err(ForwardError::Host(text.chars().take(80).collect()));
    }
    Ok(text.to_owned())
}

/// For the fuzzer: what parses prints and parses to the same again, unless what backslashes kept apart looks like
/// a variable when it is printed.
#[doc(hidden)]
pub fn fuzz_forward(input: &[u8]) {
    let has_variable = |spec: &[u8]| spec.windows(2).any(|two| two == b"${");
    for form in [Form::Local, Form::Remote, Form::Dynamic] {
        if let Ok(forward) = Forward::parse(input, form, &NoLookup) {
            let spec = forward.to_spec();
            if !has_variable(&spec) {
                assert_eq!(Forward::parse(&spec, form, &NoLookup).as_ref(), Ok(&forward));
            }
        }
    }
    if let Ok(target) = Target::parse_stdio(input, &NoLookup) {
        let spec = target.to_spec();
        if !has_variable(&spec) {
            assert_eq!(Target::parse_stdio(&spec, &NoLookup).as_ref(), Ok(&target));
        }
    }
}
