//! From a command line and files to what holds for one connection: files in order, defaults, tokens, checks; and
//! the printing of it for `-G`.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sockward_policy::Source;

use crate::ConfigError;
use crate::forward::Target;
use crate::lookup::{Lookup, NoLookup};
use crate::tokens::{self, Table, TokenError};

use super::command_line::{Action, Invocation, parse_arguments};
use super::criteria::{Subject, hostname};
use super::destination::is_safe_user;
use super::expand::{Facts, Tokens};
use super::kinds::{ForwardAgent, IdentityAgent, VersionAddendum};
use super::lists::Forwards;
use super::machine::{Local, Machine};
use super::not_yet::Remark;
use super::reader::{Findings, Owner, Reader};
use super::settings::{KEYWORDS, Options, Settings, Shown, USUAL_KNOWN_HOSTS};
use super::value::{Command, Printer};
use super::words::{SessionType, Tunnel, YesNoAsk};
use crate::algorithms::Algorithms;

/// No configuration file is bigger; the caller reads no more.
pub const CONFIG_MAX: usize = 1 << 20;

/// The files to read, by name and content. The caller has checked who owns them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigFiles<'f> {
    /// ~/.ssh/config, or what `-F` named.
    pub user: Option<(&'f str, &'f [u8])>,
    /// /etc/ssh/ssh_config; not read with `-F`.
    pub system: Option<(&'f str, &'f [u8])>,
}

/// What holds for one connection.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// All keywords. Tokens are expanded but in ProxyCommand, ProxyJump, LocalCommand, KnownHostsCommand,
    /// IdentityFile and CertificateFile: those are expanded when they are used. User, Hostname and Port are as
    /// written: what counts is in the fields below.
    pub settings: Settings,
    /// The host as given.
    pub original_host: String,
    /// The name or address to connect to.
    pub host: String,
    /// The TCP port to connect to.
    pub port: u16,
    /// The login.
    pub user: String,
    /// What to run: the command line's command or RemoteCommand; empty for a shell.
    pub command: Vec<u8>,
    /// `-W`.
    pub stdio_forward: Option<Target>,
    /// What tokens stand for.
    pub tokens: Tokens,
    /// What to tell the user.
    pub remarks: Vec<Remark>,
}

/// Which agent to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSocket {
    /// None.
    None,
    /// The one at this path.
    Path(OsString),
}

/// Reads the files and makes of all what holds for the connection. All errors of all files come at once.
pub fn load(
    invocation: &Invocation,
    files: &ConfigFiles<'_>,
    local: &Local,
    machine: &dyn Machine,
    algorithms: &Algorithms<'_>,
) -> Result<Configuration, Vec<ConfigError>> {
    let mut options = invocation.options.clone();
    let mut subject = Subject {
        host: &invocation.host,
        original_host: &invocation.host,
        command: &invocation.command,
        final_pass: false,
        local,
        machine,
    };
    let first = read(&mut options, subject, files, algorithms)?;
    let mut remarks = [invocation.remarks.clone(), first.remarks].concat();
    let host = final_host(&options, &invocation.host)?;
    if first.wants_final {
        options.hostname = Some(Some(host.clone()));
        subject.host = &host;
        subject.final_pass = true;
        for again in read(&mut options, subject, files, algorithms)?.remarks {
            if !remarks.contains(&again) {
                remarks.push(again);
            }
        }
    }
    let settings = fill(options, invocation, algorithms);
    let usual_port = machine.service("ssh").unwrap_or(22);
    let port = settings.port.map_or(usual_port, |p| p.0);
    let tokens = Tokens::without_user(local, &facts(&settings, &invocation.host, &host, port, ""));
    let mut loaded = Configuration {
        original_host: invocation.host.clone(),
        host,
        port,
        user: local.user.clone(),
        command: invocation.command.clone(),
        stdio_forward: invocation.stdio_forward.clone(),
        tokens,
        settings,
        remarks,
    };
    loaded.expand(invocation, local, machine)?;
    loaded.check(invocation, usual_port)?;
    Ok(loaded)
}

/// One pass over both files.
fn read(
    options: &mut Options,
    subject: Subject<'_>,
    files: &ConfigFiles<'_>,
    algorithms: &Algorithms<'_>,
) -> Result<Findings, Vec<ConfigError>> {
    let mut reader = Reader { options, subject, algorithms, findings: Findings::default() };
    for (file, owner) in [(files.user, Owner::User), (files.system, Owner::System)] {
        if let Some((name, text)) = file {
            reader.file(name, text, owner);
        }
    }
    let findings = reader.findings;
    if findings.errors.is_empty() { Ok(findings) } else { Err(findings.errors) }
}

/// What Hostname makes of the host. Names are in small letters, addresses in their usual form.
fn final_host(options: &Options, host: &str) -> Result<String, Vec<ConfigError>> {
    let name = match &options.hostname {
        Some(Some(name)) => {
            hostname(name, host).map_err(|e| vec![fault(options.sources.get("Hostname"), "Hostname", &e)])?
        }
        Some(None) | None => host.to_owned(),
    };
    Ok(match name.parse::<IpAddr>() {
        Ok(address) if !address.to_string().eq_ignore_ascii_case(&name) => address.to_string(),
        Ok(_) => name,
        // A scope (`%eth0`) is an interface's name.
        Err(_) if name.contains(['%', ':']) => name,
        Err(_) => name.to_ascii_lowercase(),
    })
}

/// Defaults, first those that depend on other keywords.
fn fill(mut options: Options, invocation: &Invocation, algorithms: &Algorithms<'_>) -> Settings {
    let stdio = invocation.stdio_forward.is_some();
    options.exit_on_forward_failure.get_or_insert(stdio);
    options.clear_all_forwardings.get_or_insert(stdio);
    if options.update_host_keys.is_none() {
        let usual_files = options.user_known_hosts_files.as_ref().is_none_or(|f| f.0 == [USUAL_KNOWN_HOSTS]);
        let dns = options.verify_host_key_dns.unwrap_or(YesNoAsk::No);
        let learn = usual_files && dns == YesNoAsk::No;
        options.update_host_keys = Some(if learn { YesNoAsk::Yes } else { YesNoAsk::No });
    }
    let mut settings = options.fill(algorithms);
    if settings.clear_all_forwardings {
        settings.local_forwards = Forwards::default();
        settings.dynamic_forwards = Forwards::default();
        settings.remote_forwards = Forwards::default();
        settings.tunnel = Tunnel::No;
    }
    for command in [
        &mut settings.known_hosts_command,
        &mut settings.local_command,
        &mut settings.proxy_command,
        &mut settings.remote_command,
    ] {
        command.take_if(|c| c.0.eq_ignore_ascii_case("none"));
    }
    for path in
        [&mut settings.control_path, &mut settings.pkcs11_provider, &mut settings.security_key_provider]
    {
        path.take_if(|p| p.eq_ignore_ascii_case("none"));
    }
    settings.version_addendum.take_if(|v| v.0.eq_ignore_ascii_case("none"));
    if let Some(alias) = &mut settings.host_key_alias {
        alias.make_ascii_lowercase();
    }
    settings
}

fn facts<'f>(
    settings: &'f Settings,
    original_host: &'f str,
    host: &'f str,
    port: u16,
    user: &'f str,
) -> Facts<'f> {
    Facts {
        host,
        original_host,
        key_alias: settings.host_key_alias.as_deref().unwrap_or(original_host),
        port,
        user,
        jump_host: settings.proxy_jump.as_ref().map_or("", |jump| &jump.last().host),
    }
}

fn fault(source: Option<&Source>, keyword: &str, message: &str) -> ConfigError {
    let source = source.cloned().unwrap_or_else(Source::command_line);
    ConfigError::new(source, format!("{keyword}: {message}"))
}

impl Configuration {
    fn fault(&self, keyword: &'static str, message: impl ToString) -> Vec<ConfigError> {
        vec![fault(self.settings.sources.get(keyword), keyword, &message.to_string())]
    }

    /// Puts in what tokens stand for, the login first: the others may hold it.
    fn expand(
        &mut self,
        invocation: &Invocation,
        local: &Local,
        lookup: &dyn Lookup,
    ) -> Result<(), Vec<ConfigError>> {
        if let Some(user) = self.settings.user.clone() {
            self.user = user;
            if !invocation.user_given {
                let expanded = self.tokens.expand_text(OsStr::new(&self.user), lookup);
                let expanded = expanded.map_err(|e| self.fault("User", e))?.to_string_lossy().into_owned();
                if expanded != self.user && !is_safe_user(&expanded) {
                    return Err(self.fault("User", "remote username contains invalid characters"));
                }
                self.user = expanded;
            }
        }
        let facts = facts(&self.settings, &self.original_host, &self.host, self.port, &self.user);
        self.tokens = Tokens::new(local, &facts);

        let mut values = Expansion { tokens: &self.tokens, lookup, sources: &self.settings.sources.clone() };
        let settings = &mut self.settings;
        if let Some(Command(command)) = &mut settings.remote_command {
            values.with("RemoteCommand", command, |t, text, _| t.expand(text))?;
        }
        if let Some(path) = &mut settings.control_path {
            values.with("ControlPath", path, Tokens::expand_path)?;
        }
        if let Some(IdentityAgent(path)) = &mut settings.identity_agent {
            values.with("IdentityAgent", path, Tokens::expand_path)?;
        }
        if let ForwardAgent::Socket(path) = &mut settings.forward_agent {
            values.with("ForwardAgent", path, Tokens::expand_path)?;
        }
        if let Some(VersionAddendum(text)) = &mut settings.version_addendum {
            values.with("VersionAddendum", text, Tokens::expand_text)?;
        }
        for path in &mut settings.revoked_host_keys.0 {
            values.with("RevokedHostKeys", path, Tokens::expand_path)?;
        }
        for path in &mut settings.user_known_hosts_files.0 {
            values.with("UserKnownHostsFile", path, Tokens::expand_path)?;
        }
        for (_, value) in &mut settings.set_env.0 {
            values.with("SetEnv", value, Tokens::expand_text)?;
        }
        for (keyword, forwards) in [
            ("LocalForward", &mut settings.local_forwards),
            ("DynamicForward", &mut settings.dynamic_forwards),
            ("RemoteForward", &mut settings.remote_forwards),
        ] {
            for path in forwards.0.iter_mut().flat_map(|f| f.paths_mut()) {
                let expanded = path.expanded(&self.tokens.table());
                *path = expanded.map_err(|e| vec![values.fault(keyword, &e.to_string())])?;
            }
        }
        Ok(())
    }

    /// Settings that do not go together.
    fn check(&mut self, invocation: &Invocation, usual_port: u16) -> Result<(), Vec<ConfigError>> {
        let settings = &self.settings;
        if settings.connection_attempts == 0 {
            return Err(
                self.fault("ConnectionAttempts", "invalid number of ConnectionAttempts, expected 1 or more")
            );
        }
        if let Some(jump) = &settings.proxy_jump
            && jump.is_loop(&self.host, self.port, &self.user, usual_port)
        {
            return Err(self.fault("ProxyJump", format!("jumphost loop via {}", jump.last().host)));
        }
        if let Some(Command(command)) = &settings.remote_command {
            if !self.command.is_empty() {
                return Err(self.fault("RemoteCommand", "cannot execute command-line and remote command"));
            }
            self.command = command.as_bytes().to_vec();
        }
        let nothing_to_run = self.command.is_empty() && settings.session_type != SessionType::None;
        if settings.fork_after_authentication && nothing_to_run {
            let what = "cannot fork into background without a command to execute";
            return Err(self.fault("ForkAfterAuthentication", what));
        }
        if invocation.control.is_some() && settings.control_path.is_none() && !invocation.print_configuration
        {
            return Err(self.fault("ControlPath", "no ControlPath specified for \"-O\" command"));
        }
        Ok(())
    }

    /// Expands `~`, tokens and `${VARIABLE}` in a value that was left as it is: IdentityFile, CertificateFile.
    pub fn expand_path(&self, path: &OsStr, lookup: &dyn Lookup) -> Result<OsString, TokenError> {
        self.tokens.expand_path(path, lookup)
    }

    /// ProxyCommand for a shell, tokens put in.
    pub fn proxy_command(&self) -> Result<Option<OsString>, TokenError> {
        command(self.settings.proxy_command.as_ref(), &self.tokens.proxy_table())
    }

    /// LocalCommand for a shell, tokens put in, if PermitLocalCommand lets it run. `%T` is `NONE`: there are no
    /// tunnel devices.
    pub fn local_command(&self) -> Result<Option<OsString>, TokenError> {
        let permitted = self.settings.local_command.as_ref().filter(|_| self.settings.permit_local_command);
        let mut table = self.tokens.table();
        table.push((b'T', b"NONE"));
        command(permitted, &table)
    }

    /// The agent that IdentityAgent and SSH_AUTH_SOCK name.
    #[must_use]
    pub fn agent_socket(&self, lookup: &dyn Lookup) -> AgentSocket {
        let from = |name: &OsStr| {
            lookup.env(name).filter(|v| !v.is_empty()).map_or(AgentSocket::None, AgentSocket::Path)
        };
        match self.settings.identity_agent.as_ref().map(|agent| agent.0.as_bytes()) {
            None | Some(b"SSH_AUTH_SOCK") => from(OsStr::new("SSH_AUTH_SOCK")),
            Some(b"none") => AgentSocket::None,
            Some([b'$', name @ ..]) if !name.starts_with(b"{") => from(OsStr::from_bytes(name)),
            Some(path) => AgentSocket::Path(OsStr::from_bytes(path).to_owned()),
        }
    }

    /// What `-G` prints, in stock's format. Keywords that are newer than OpenSSH 9.2, and ours, are printed if they
    /// are not at their defaults, so that stock reads the output too.
    #[must_use]
    pub fn dump(&self, algorithms: &Algorithms<'_>) -> Vec<u8> {
        let defaults = Options::default().fill(algorithms);
        let mut out = Vec::new();
        let port = self.port.to_string();
        for (keyword, value) in
            [("host", &self.original_host), ("user", &self.user), ("hostname", &self.host), ("port", &port)]
        {
            Printer::new(keyword, &mut out).line(value);
        }
        for row in KEYWORDS {
            let printed = row.printed(&self.settings);
            let shown = match row.shown {
                Shown::Always => true,
                Shown::IfChanged => printed != row.printed(&defaults),
                Shown::Apart => false,
            };
            if shown {
                out.extend(printed);
            }
        }
        out
    }
}

fn command(command: Option<&Command>, table: &Table<'_>) -> Result<Option<OsString>, TokenError> {
    command.map(|c| tokens::percent(c.0.as_bytes(), table).map(OsString::from_vec)).transpose()
}

/// Expands values in place, and says whose fault an error is.
struct Expansion<'e> {
    tokens: &'e Tokens,
    lookup: &'e dyn Lookup,
    sources: &'e std::collections::BTreeMap<&'static str, Source>,
}

impl Expansion<'_> {
    fn with(
        &mut self,
        keyword: &'static str,
        value: &mut OsString,
        expand: impl Fn(&Tokens, &OsStr, &dyn Lookup) -> Result<OsString, TokenError>,
    ) -> Result<(), Vec<ConfigError>> {
        let expanded = expand(self.tokens, value, self.lookup);
        *value = expanded.map_err(|e| vec![self.fault(keyword, &e.to_string())])?;
        Ok(())
    }

    fn fault(&self, keyword: &'static str, message: &str) -> ConfigError {
        fault(self.sources.get(keyword), keyword, message)
    }
}

/// For the fuzzer: any file, one host. What loads prints, and what is printed loads to the same again.
#[doc(hidden)]
pub fn fuzz_ssh_config(input: &[u8]) {
    let none = crate::algorithms::Names { supported: &["none", "aes128-ctr"], default: &["none"] };
    let algorithms = Algorithms {
        ciphers: none,
        macs: none,
        kex: none,
        host_keys: none,
        user_keys: none,
        ca_signatures: none,
    };
    let local = Local {
        user: "alex".to_owned(),
        uid: 1000,
        home: "/home/alex".into(),
        hostname: "here.example.com".to_owned(),
        version: "Sockward".to_owned(),
        sha1: |_| [0; 20],
    };
    let arguments = ["-G", "host"].map(OsString::from);
    let Ok(Action::Run(invocation)) = parse_arguments(arguments, &NoLookup, &algorithms) else { return };
    let files = ConfigFiles { user: Some(("fuzz", input)), system: None };
    if let Ok(configuration) = load(&invocation, &files, &local, &NoLookup, &algorithms) {
        let _ = configuration.dump(&algorithms);
        let _ = super::missing(&configuration.settings, &algorithms);
    }
}
