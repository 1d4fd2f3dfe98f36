//! `Match` lines: does what follows count for this connection?

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use sockward_policy::AddressList;
use sockward_wire::pattern::{self, ListMatch};

use crate::lex::Word;
use crate::tokens;

use super::expand::{Facts, Tokens};
use super::machine::{Local, Machine};
use super::settings::Options;
use super::words::SessionType;

/// The connection that a configuration is read for, and how far its reading has come.
#[derive(Clone, Copy)]
pub(super) struct Subject<'s> {
    /// The host as given; in the final pass, as Hostname made it.
    pub(super) host: &'s str,
    /// The host as given.
    pub(super) original_host: &'s str,
    /// The command of the command line; empty if there is none.
    pub(super) command: &'s [u8],
    /// Whether the files are read for the second time.
    pub(super) final_pass: bool,
    pub(super) local: &'s Local,
    pub(super) machine: &'s dyn Machine,
}

/// What a Match line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) matched: bool,
    /// It asks for a second pass.
    pub(super) wants_final: bool,
}

impl Subject<'_> {
    /// The name that is about to be connected to, as far as it is known.
    pub(super) fn current_host(&self, options: &Options) -> Result<String, String> {
        match &options.hostname {
            Some(Some(name)) if self.final_pass => Ok(name.clone()),
            Some(Some(name)) => hostname(name, self.host),
            Some(None) | None => Ok(self.host.to_owned()),
        }
    }

    /// The tokens for `Match exec` and `Include`: with what the options are so far.
    pub(super) fn tokens(&self, options: &Options) -> Result<Tokens, String> {
        let host = self.current_host(options)?;
        let usual_port = self.machine.service("ssh").unwrap_or(22);
        let jump = options.proxy_jump.iter().flatten().next();
        let facts = Facts {
            host: &host,
            original_host: self.original_host,
            key_alias: options.host_key_alias.iter().flatten().next().unwrap_or(&host),
            port: options.port.flatten().map_or(usual_port, |p| p.0),
            user: options.user.iter().flatten().next().unwrap_or(&self.local.user),
            jump_host: jump.map_or("", |jump| &jump.last().host),
        };
        Ok(Tokens::new(self.local, &facts))
    }

    /// Decides a Match line from the words after the keyword. Commands are run only if all before them holds, and
    /// `run` allows it.
    pub(super) fn decide(&self, words: &[Word], options: &Options, run: bool) -> Result<Outcome, String> {
        let mut outcome = Outcome { matched: true, wants_final: false };
        let mut words = words.iter();
        let mut count = 0;
        while let Some(word) = words.next() {
            let text = word.text();
            let (negated, attribute) = text.strip_prefix('!').map_or((false, &*text), |rest| (true, rest));
            let (name, inline) = match attribute.split_once('=') {
                Some((name, value)) => (name.to_ascii_lowercase(), Some(value.as_bytes())),
                None => (attribute.to_ascii_lowercase(), None),
            };
            let holds = match name.as_str() {
                "all" if inline.is_none() => {
                    if count > 1 || words.next().is_some() {
                        return Err(format!("'{text}' cannot be combined with other Match attributes"));
                    }
                    outcome.matched &= !negated;
                    return Ok(outcome);
                }
                "final" | "canonical" if inline.is_none() => {
                    outcome.wants_final |= name == "final" && !negated;
                    self.final_pass
                }
                _ => {
                    let missing = || format!("missing argument for Match '{text}'");
                    let argument = match inline {
                        Some(argument) => argument,
                        None => words.next().map(|w| w.bytes.as_slice()).ok_or_else(missing)?,
                    };
                    if argument.is_empty() && !matches!(name.as_str(), "tagged" | "command") {
                        return Err(missing());
                    }
                    let run = run && outcome.matched;
                    self.holds(&name, argument, options, run)?
                }
            };
            outcome.matched &= holds != negated;
            count += 1;
        }
        if count == 0 { Err("one or more attributes required for Match".to_owned()) } else { Ok(outcome) }
    }

    /// One criterion that has an argument.
    fn holds(&self, name: &str, argument: &[u8], options: &Options, run: bool) -> Result<bool, String> {
        let is = |text: &[u8]| pattern::matches_joined(argument, text) == ListMatch::Yes;
        // Names of hosts are compared in small letters.
        let is_host = |host: &str| {
            let (list, host) = (argument.to_ascii_lowercase(), host.to_ascii_lowercase());
            pattern::matches_joined(&list, host.as_bytes()) == ListMatch::Yes
        };
        // An empty argument stands for nothing being there.
        let is_or_empty = |text: &[u8]| if text.is_empty() { argument.is_empty() } else { is(text) };
        Ok(match name {
            "host" => is_host(&self.current_host(options)?),
            "originalhost" => is_host(self.original_host),
            "user" => is(options.user.iter().flatten().next().unwrap_or(&self.local.user).as_bytes()),
            "localuser" => is(self.local.user.as_bytes()),
            "localnetwork" => {
                let networks = AddressList::parse_networks(argument).map_err(|e| e.to_string())?;
                self.machine.addresses().into_iter().any(|a| networks.matches(a) == ListMatch::Yes)
            }
            "version" => is(self.local.version.as_bytes()),
            "tagged" => is_or_empty(options.tag.iter().flatten().next().map_or(b"", |tag| tag.as_bytes())),
            "command" => is_or_empty(self.command),
            "sessiontype" => is(match (options.session_type, self.command) {
                (Some(SessionType::Subsystem), _) => b"subsystem",
                (Some(SessionType::None), _) => b"none",
                (Some(SessionType::Default) | None, []) => b"shell",
                (Some(SessionType::Default) | None, _) => b"exec",
            }),
            "exec" => {
                let table = self.tokens(options)?;
                let command = tokens::percent(argument, &table.table()).map_err(|e| e.to_string())?;
                run && self
                    .machine
                    .succeeds(OsStr::from_bytes(&command))
                    .map_err(|e| format!("match exec: {e}"))?
            }
            other => return Err(format!("unsupported Match attribute '{}'", other.escape_debug())),
        })
    }
}

/// `Hostname`, which takes `%h` and `%%`.
pub(super) fn hostname(name: &str, host: &str) -> Result<String, String> {
    let expanded = tokens::percent(name.as_bytes(), &[(b'h', host.as_bytes())]).map_err(|e| e.to_string())?;
    // Both parts are UTF-8, and tokens are replaced whole.
    Ok(String::from_utf8_lossy(&expanded).into_owned())
}
