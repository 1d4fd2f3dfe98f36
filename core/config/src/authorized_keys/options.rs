//! The options of a key. Names are compared without regard to case; values stand in double quotes, in which `\"`
//! is a quote and any other backslash itself.

use std::fmt;

use sockward_policy::{
    AddressList, KeyOptions, ListKind, Origin, PeerList, RuleList, Services, Source, Variable,
};

use super::time::{self, LocalTime};
use crate::sshd::NOT_YET_KEY_OPTIONS;

/// OpenSSH's bound for `environment=`.
const ENVIRONMENT_MAX: usize = 1024;

/// What reading options needs to know.
#[derive(Clone, Copy)]
pub struct OptionContext<'a> {
    /// Ports of services by name.
    pub services: Services<'a>,
    /// The system's time zone.
    pub local_time: LocalTime<'a>,
}

/// Why the options of a key are not accepted: the key is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// Nobody knows the option.
    Unknown(String),
    /// OpenSSH's or ours, and not enforced by this version.
    NotYet(&'static str),
    /// It may be given once.
    Multiple(&'static str),
    /// A value without a quote before it.
    StartQuote(String),
    /// A value without a quote behind it.
    EndQuote(String),
    /// The last character is a comma.
    EndOfOptions,
    /// The value is none of the option's; and what is wrong with it.
    Value(&'static str, String),
    /// It has no meaning here (in a list of principals).
    NotHere(&'static str),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::Unknown(name) => write!(f, "unknown key option '{}'", name.escape_debug()),
            OptionError::NotYet(name) => write!(f, "key option '{name}' is not enforced by this version"),
            OptionError::Multiple(name) => write!(f, "multiple \"{name}\" clauses"),
            OptionError::StartQuote(name) => write!(f, "{name}: missing start quote"),
            OptionError::EndQuote(name) => write!(f, "{name}: missing end quote"),
            OptionError::EndOfOptions => f.write_str("unexpected end-of-options behind a comma"),
            OptionError::Value(name, what) => write!(f, "{name}: {what}"),
            OptionError::NotHere(name) => write!(f, "key option '{name}' cannot stand here"),
        }
    }
}

impl std::error::Error for OptionError {}

/// Reads the options of one line.
pub fn parse(text: &[u8], source: Source, context: &OptionContext<'_>) -> Result<KeyOptions, OptionError> {
    let mut reading = Reading {
        options: KeyOptions::unrestricted(source),
        open: Vec::new(),
        listen: Vec::new(),
        peers: Vec::new(),
        context,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| b"=,\" \t".contains(b)).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let after = match after.strip_prefix(b"=") {
            Some(quoted) => {
                let (value, after) = dequote(&name, quoted)?;
                reading.value(&name, value)?;
                after
            }
            None => {
                reading.flag(&name)?;
                after
            }
        };
        rest = match after {
            [] => break,
            [b','] => return Err(OptionError::EndOfOptions),
            [b',', next @ ..] => next,
            _ => return Err(OptionError::Unknown(name)),
        };
    }
    reading.finish()
}

fn dequote<'t>(name: &str, text: &'t [u8]) -> Result<(Vec<u8>, &'t [u8]), OptionError> {
    let mut rest = text.strip_prefix(b"\"").ok_or_else(|| OptionError::StartQuote(name.to_owned()))?;
    let mut value = Vec::new();
    loop {
        rest = match rest {
            [] => return Err(OptionError::EndQuote(name.to_owned())),
            [b'"', after @ ..] => return Ok((value, after)),
            [b'\\', b'"', after @ ..] => {
                value.push(b'"');
                after
            }
            [byte, after @ ..] => {
                value.push(*byte);
                after
            }
        };
    }
}

struct Reading<'a> {
    options: KeyOptions,
    open: Vec<Vec<u8>>,
    listen: Vec<Vec<u8>>,
    peers: Vec<Vec<u8>>,
    context: &'a OptionContext<'a>,
}

impl Reading<'_> {
    fn flag(&mut self, name: &str) -> Result<(), OptionError> {
        let o = &mut self.options;
        match name {
            "restrict" => (o.port_forwarding, o.pty) = (false, false),
            "cert-authority" => o.cert_authority = true,
            "port-forwarding" => o.port_forwarding = true,
            "no-port-forwarding" => o.port_forwarding = false,
            "pty" => o.pty = true,
            "no-pty" => o.pty = false,
            "touch-required" => o.touch_required = true,
            "no-touch-required" => o.touch_required = false,
            "verify-required" => o.verify_required = true,
            "no-verify-required" => o.verify_required = false,
            // What they permit is not here, and what they forbid does not happen.
            "agent-forwarding"
            | "no-agent-forwarding"
            | "x11-forwarding"
            | "no-x11-forwarding"
            | "user-rc"
            | "no-user-rc" => {}
            _ => return Err(OptionError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    fn value(&mut self, name: &str, value: Vec<u8>) -> Result<(), OptionError> {
        let o = &mut self.options;
        match name {
            "command" => once(&mut o.forced_command, "command", value),
            "principals" => {
                let names = value.split(|&b| b == b',').take_while(|p| !p.is_empty());
                once(&mut o.principals, "principals", names.map(<[u8]>::to_vec).collect())
            }
            "from" => {
                let list =
                    AddressList::parse(&value).map_err(|e| OptionError::Value("from", e.to_string()))?;
                once(&mut o.from, "from", list)
            }
            "expiry-time" => {
                let expires = time::parse(&value, self.context.local_time).ok_or_else(|| {
                    OptionError::Value(
                        "expiry-time",
                        "invalid expires time, expected YYYYMMDD[HHMM[SS]][Z]".into(),
                    )
                })?;
                o.expires = Some(o.expires.map_or(expires, |earlier| earlier.min(expires)));
                Ok(())
            }
            "environment" => self.environment(&value),
            "permitopen" => {
                self.open.push(value);
                Ok(())
            }
            "permitlisten" => {
                self.listen.push(value);
                Ok(())
            }
            "permitpeer" => {
                enforced("permitpeer")?;
                self.peers.extend(value.split(|&b| b == b',').map(<[u8]>::to_vec));
                Ok(())
            }
            "streamlocalbindgroup" => {
                enforced("streamlocalbindgroup")?;
                let group = String::from_utf8(value).ok().filter(|g| !g.is_empty());
                let group = group.ok_or_else(|| {
                    OptionError::Value("streamlocalbindgroup", "not the name of a group".into())
                })?;
                once(&mut o.socket_group, "streamlocalbindgroup", group)
            }
            "streamlocalbindmode" => {
                enforced("streamlocalbindmode")?;
                let octal = value.iter().all(|b| (b'0'..=b'7').contains(b));
                let mode = u16::from_str_radix(&String::from_utf8_lossy(&value), 8).ok();
                let mode = mode.filter(|&m| octal && m <= 0o777).ok_or_else(|| {
                    OptionError::Value("streamlocalbindmode", "expected octal digits up to 0777".into())
                })?;
                once(&mut o.socket_mode, "streamlocalbindmode", mode)
            }
            // There are no tunnel devices; a number that is none is a mistake all the same.
            "tunnel" => {
                let number = std::str::from_utf8(&value).ok().and_then(|v| v.parse::<u32>().ok());
                if number.is_some() || value.eq_ignore_ascii_case(b"any") {
                    return Ok(());
                }
                Err(OptionError::Value("tunnel", "invalid tun device".into()))
            }
            _ => Err(OptionError::Unknown(name.to_owned())),
        }
    }

    fn environment(&mut self, value: &[u8]) -> Result<(), OptionError> {
        let invalid = |what: &str| OptionError::Value("environment", what.into());
        let variable = Variable::parse(value).ok_or_else(|| invalid("expected NAME=value"))?;
        if variable.name.is_empty() || !variable.name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        {
            return Err(invalid("a name has letters, digits and '_' alone"));
        }
        let list = &mut self.options.environment;
        if list.len() >= ENVIRONMENT_MAX {
            return Err(invalid("too many environment strings"));
        }
        // The first of a name holds.
        if !list.iter().any(|v| v.name == variable.name) {
            list.push(variable);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<KeyOptions, OptionError> {
        let source = self.options.source.clone();
        let list = |kind, name, entries: &[Vec<u8>]| {
            if entries.is_empty() {
                return Ok(None);
            }
            let words = entries.iter().map(Vec::as_slice);
            RuleList::parse(kind, Origin::Key, words, self.context.services, source.clone())
                .map(Some)
                .map_err(|e| OptionError::Value(name, e.to_string()))
        };
        self.options.open = list(ListKind::PermitOpen, "permitopen", &self.open)?;
        self.options.listen = list(ListKind::PermitListen, "permitlisten", &self.listen)?;
        if !self.peers.is_empty() {
            self.options.peers = PeerList::parse(self.peers.iter().map(Vec::as_slice), source)
                .map_err(|e| OptionError::Value("permitpeer", e))?;
        }
        Ok(self.options)
    }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), OptionError> {
    if slot.is_some() {
        return Err(OptionError::Multiple(name));
    }
    *slot = Some(value);
    Ok(())
}

fn enforced(name: &'static str) -> Result<(), OptionError> {
    if NOT_YET_KEY_OPTIONS.contains(&name) { Err(OptionError::NotYet(name)) } else { Ok(()) }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
