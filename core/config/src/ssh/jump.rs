//! `ProxyJump` and `-J`: hosts to go through.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::lookup::Lookup;
use crate::tokens::{self, Table, TokenError};

use super::destination::{Destination, is_safe_host, is_safe_user};
use super::settings::Options;
use super::value::{Arguments, Command, Printer, Value};

/// Hosts to go through, the one nearest to the server last; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyJump {
    last: Destination,
    /// The hosts before it, as written.
    before: Option<String>,
}

/// How to start the client that reaches the last jump host and joins its standard streams with the server.
#[derive(Clone, Copy, Debug)]
pub struct JumpCommand<'c> {
    /// What `-F` said, if it was given.
    pub config_file: Option<&'c OsString>,
    /// How often `-v` was given.
    pub verbosity: u8,
    /// The server's name or address.
    pub host: &'c str,
    /// Its port.
    pub port: u16,
}

impl ProxyJump {
    /// Reads a list of hosts; `none` is `Ok(None)`.
    pub fn parse(text: &str, lookup: &dyn Lookup) -> Result<Option<Self>, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let mut last = None;
        for hop in text.split(',') {
            let parsed = match Destination::parse_uri(hop, lookup) {
                Some(uri) => uri.ok(),
                None => Destination::parse_host_port(hop, lookup),
            };
            let hop = parsed.ok_or_else(|| format!("'{hop}' is no [user@]host[:port] nor ssh:// URI"))?;
            if !is_safe_host(&hop.host) {
                return Err(format!("invalid hostname \"{}\"", hop.host.escape_debug()));
            }
            if let Some(user) = hop.user.as_deref().filter(|u| !is_safe_user(u)) {
                return Err(format!("invalid username \"{}\"", user.escape_debug()));
            }
            last = Some(hop);
        }
        let before = text.rsplit_once(',').map(|(before, _)| before.to_owned());
        Ok(last.map(|last| ProxyJump { last, before }))
    }

    /// A line `ProxyJump …`. It competes with ProxyCommand: whichever is set first keeps the other out.
    pub(super) fn take_line(options: &mut Options, args: &mut Arguments<'_>) -> Result<bool, String> {
        let raw = args.raw();
        let text = raw.split(|&b| b == b'#').next().unwrap_or_default().trim_ascii_end();
        let text = str::from_utf8(text).map_err(|_| "the hosts' names are not UTF-8".to_owned())?;
        if text.is_empty() {
            return Err("missing argument".to_owned());
        }
        let jump = ProxyJump::parse(text, args.lookup)?;
        Ok(args.active && ProxyJump::set(options, jump))
    }

    /// Sets it unless something is set already.
    pub(super) fn set(options: &mut Options, jump: Option<Self>) -> bool {
        if options.proxy_jump.is_some() || jump.is_some() && options.proxy_command.is_some() {
            return false;
        }
        if jump.is_some() {
            options.proxy_command = Some(Some(Command("none".into())));
        }
        options.proxy_jump = Some(jump);
        true
    }

    /// The host nearest to the server.
    #[must_use]
    pub fn last(&self) -> &Destination {
        &self.last
    }

    /// Whether it would go through the server itself to reach it.
    #[must_use]
    pub fn is_loop(&self, host: &str, port: u16, user: &str, usual_port: u16) -> bool {
        let jump_user = self.last.user.as_deref().unwrap_or(user);
        self.last.host == host && self.last.port.unwrap_or(usual_port) == port && jump_user == user
    }

    /// The arguments of that client: `-l user -p port -J … -F … -v… -W [host]:port jumphost`, without a shell.
    /// `table` has the tokens of ProxyCommand.
    pub fn arguments(&self, with: &JumpCommand<'_>, table: &Table<'_>) -> Result<Vec<OsString>, TokenError> {
        let expand = |text: &str| tokens::percent(text.as_bytes(), table).map(OsString::from_vec);
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |flag: &str, value: OsString| arguments.extend([OsString::from(flag), value]);
        if let Some(user) = &self.last.user {
            option("-l", expand(user)?);
        }
        if let Some(port) = self.last.port {
            option("-p", port.to_string().into());
        }
        if let Some(before) = &self.before {
            option("-J", expand(before)?);
        }
        if let Some(file) = with.config_file {
            option("-F", file.clone());
        }
        option("-W", format!("[{}]:{}", with.host, with.port).into());
        if with.verbosity > 0 {
            arguments.push(format!("-{}", "v".repeat(usize::from(with.verbosity.min(3)))).into());
        }
        arguments.extend(["--".into(), expand(&self.last.host)?]);
        Ok(arguments)
    }
}

/// `take_line` is used instead of [`Value::take`], for it has to see ProxyCommand too.
impl Value for ProxyJump {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let text = args.text()?;
        ProxyJump::parse(&text, args.lookup)?.ok_or_else(|| "none".to_owned())
    }

    /// As stock's `-G`: the last host put together again, those before it as written.
    fn print(&self, out: &mut Printer<'_>) {
        let Destination { user, host, port } = &self.last;
        let mut line = String::new();
        if let Some(before) = &self.before {
            line = format!("{before},");
        }
        if let Some(user) = user {
            line += &format!("{user}@");
        }
        let numeric = host.contains(':') || is_dotted_digits(host);
        line += &if numeric { format!("[{host}]") } else { host.clone() };
        if let Some(port) = port {
            line += &format!(":{port}");
        }
        out.line(line);
    }
}

fn is_dotted_digits(host: &str) -> bool {
    host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}
