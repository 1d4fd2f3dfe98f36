//! The command line of ssh(1).
//!
//! Flags and `-o` lines set [`Options`] in the order they come, by ssh's rules: most keep the first value, some
//! (`-4`, `-c`, `-n`, `-q`, …) replace it. So `-p 22 -o Port=23` and `-o Port=23 -p 22` differ, as they should.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use lexopt::Arg;

use crate::choice::{AddressFamily, LogLevel};
use crate::forward::{Form, Forward, Target};
use crate::lookup::{Lookup, port};

use super::algorithms::AlgorithmNames;
use super::destination::{Destination, is_safe_host, is_safe_user};
use super::jump::ProxyJump;
use super::kinds::{EscapeChar, ForwardAgent, TunnelDevice};
use super::lists::{Forwards, KeyFile};
use super::not_yet::Remark;
use super::reader::option_line;
use super::settings::Options;
use super::usage::Query;
use super::value::Port;
use super::words::{ControlMaster, RequestTty, SessionType, Tunnel};
use crate::algorithms::Algorithms;

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Action {
    /// A connection, or `-G`.
    Run(Box<Invocation>),
    /// `-Q`: print a list and end with status 0.
    Query(Query),
    /// `-V`: print the version to standard error and end with status 0.
    Version,
}

/// A command line for a connection.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// What flags, `-o` lines and the destination set.
    pub options: Options,
    /// The host as given.
    pub host: String,
    /// Whether the login came with `-l` or the destination: then it holds no tokens.
    pub user_given: bool,
    /// The command's words, joined by blanks; empty if there are none.
    pub command: Vec<u8>,
    /// `-F`.
    pub config_file: ConfigFile,
    /// `-G`: print the configuration and end.
    pub print_configuration: bool,
    /// `-O`: have a master do something.
    pub control: Option<ControlCommand>,
    /// `-W`: join standard input and output with this, from the server; never SOCKS.
    pub stdio_forward: Option<Target>,
    /// `-E`: where messages go instead of standard error.
    pub log_file: Option<OsString>,
    /// `-y`: messages go to syslog.
    pub syslog: bool,
    /// How often `-v` was given, up to 3.
    pub verbosity: u8,
    /// What to tell the user.
    pub remarks: Vec<Remark>,
}

/// Which configuration files are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfigFile {
    /// ~/.ssh/config and /etc/ssh/ssh_config.
    #[default]
    Usual,
    /// `-F none`.
    None,
    /// This one alone; it must be there.
    Named(OsString),
}

/// What `-O` asks of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCommand {
    /// Stop a forwarding.
    Cancel,
    /// List the channels.
    Channels,
    /// Is it there?
    Check,
    /// Tell about the connection.
    ConnInfo,
    /// End.
    Exit,
    /// Start a forwarding.
    Forward,
    /// Serve this client's standard streams.
    Proxy,
    /// Take no more sessions.
    Stop,
}

/// Why a command line cannot be followed. The exit code is 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLineError {
    /// Print this, if there is something, and the usage.
    Usage(Option<String>),
    /// Print this.
    Message(String),
}

impl fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandLineError::Usage(None) => f.write_str("the command line is not complete"),
            CommandLineError::Usage(Some(text)) | CommandLineError::Message(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CommandLineError {}

/// Reads the arguments after the program's name.
pub fn parse_arguments(
    arguments: impl IntoIterator<Item = OsString>,
    lookup: &dyn Lookup,
    algorithms: &Algorithms<'_>,
) -> Result<Action, CommandLineError> {
    let mut parser = lexopt::Parser::from_args(arguments);
    // `-o=x` is the option line `=x`, as getopt(3) has it.
    parser.set_short_equals(false);
    let mut flags = Flags { lookup, algorithms, found: Invocation::default(), destination: false };
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Arg::Short(flag) => {
                if let Some(action) = flags.flag(flag, &mut parser)? {
                    return Ok(action);
                }
            }
            Arg::Long(name) => return Err(CommandLineError::Usage(Some(format!("unknown option --{name}")))),
            Arg::Value(destination) if !flags.destination => flags.destination(&destination)?,
            Arg::Value(word) => {
                let words = std::iter::once(word).chain(parser.raw_args().map_err(usage)?);
                flags.found.command = words.collect::<Vec<_>>().join(OsStr::new(" ")).as_bytes().to_vec();
                break;
            }
        }
    }
    flags.finish()
}

fn usage(e: lexopt::Error) -> CommandLineError {
    CommandLineError::Usage(Some(match e {
        lexopt::Error::MissingValue { option: Some(option) } => {
            format!("option requires an argument {option}")
        }
        other => other.to_string(),
    }))
}

fn message(text: impl Into<String>) -> CommandLineError {
    CommandLineError::Message(text.into())
}

struct Flags<'f> {
    lookup: &'f dyn Lookup,
    algorithms: &'f Algorithms<'f>,
    found: Invocation,
    destination: bool,
}

impl Flags<'_> {
    /// Follows one flag. An action ends the reading.
    fn flag(&mut self, flag: char, parser: &mut lexopt::Parser) -> Result<Option<Action>, CommandLineError> {
        let options = &mut self.found.options;
        match flag {
            '1' => return Err(message("SSH protocol v.1 is no longer supported")),
            '2' => {}
            '4' => options.address_family = Some(AddressFamily::Inet),
            '6' => options.address_family = Some(AddressFamily::Inet6),
            'A' => options.forward_agent = Some(ForwardAgent::Yes),
            'a' => options.forward_agent = Some(ForwardAgent::No),
            'C' => options.compression = Some(true),
            'f' => {
                options.fork_after_authentication = Some(true);
                options.stdin_null = Some(true);
            }
            'G' => self.found.print_configuration = true,
            'g' => options.gateway_ports = Some(true),
            'K' => {
                options.gssapi_authentication = Some(true);
                options.gssapi_delegate_credentials = Some(true);
            }
            'k' => options.gssapi_delegate_credentials = Some(false),
            'M' => {
                let again = options.control_master == Some(ControlMaster::Yes);
                options.control_master = Some(if again { ControlMaster::Ask } else { ControlMaster::Yes });
            }
            'N' => {
                self.session_type(SessionType::None, "Cannot specify -N with -s/SessionType")?;
                self.found.options.request_tty = Some(RequestTty::No);
            }
            'n' => options.stdin_null = Some(true),
            'q' => options.log_level = Some(LogLevel::Quiet),
            's' => self.session_type(SessionType::Subsystem, "Cannot specify -s with -N/SessionType")?,
            'T' => options.request_tty = Some(RequestTty::No),
            't' => {
                let again = options.request_tty == Some(RequestTty::Yes);
                options.request_tty = Some(if again { RequestTty::Force } else { RequestTty::Yes });
            }
            'V' => return Ok(Some(Action::Version)),
            'v' => self.verbose(),
            'X' => options.forward_x11 = Some(true),
            'x' => options.forward_x11 = Some(false),
            'Y' => {
                options.forward_x11 = Some(true);
                options.forward_x11_trusted = Some(true);
            }
            'y' => self.found.syslog = true,
            'Q' => {
                let name = parser.value().map_err(usage)?;
                let query = Query::from_name(&name.to_string_lossy());
                let unknown = || message(format!("Unsupported query \"{}\"", name.to_string_lossy()));
                return query.map(|q| Some(Action::Query(q))).ok_or_else(unknown);
            }
            'B' | 'b' | 'c' | 'D' | 'E' | 'e' | 'F' | 'I' | 'i' | 'J' | 'L' | 'l' | 'm' | 'O' | 'o' | 'P'
            | 'p' | 'R' | 'S' | 'W' | 'w' => {
                let value = parser.value().map_err(usage)?;
                self.flag_with_value(flag, value)?;
            }
            other => return Err(CommandLineError::Usage(Some(format!("unknown option -- {other}")))),
        }
        Ok(None)
    }

    fn flag_with_value(&mut self, flag: char, value: OsString) -> Result<(), CommandLineError> {
        let shown = value.to_string_lossy().into_owned();
        let text = || {
            value.to_str().ok_or_else(|| message(format!("the argument of -{flag} is not UTF-8: '{shown}'")))
        };
        let options = &mut self.found.options;
        match flag {
            'B' => options.bind_interface = Some(Some(value)),
            'b' => options.bind_address = Some(Some(text()?.to_owned())),
            'c' => {
                options.ciphers = Some(algorithms("Unknown cipher type", text()?, &self.algorithms.ciphers)?)
            }
            'D' | 'L' | 'R' => self.forward(flag, &value)?,
            'E' => self.found.log_file = Some(value),
            'e' => {
                let bad = || message(format!("Bad escape character '{shown}'."));
                options.escape_char = Some(EscapeChar::from_word(value.as_bytes()).ok_or_else(bad)?);
            }
            'F' if value.eq_ignore_ascii_case("none") => self.found.config_file = ConfigFile::None,
            'F' => self.found.config_file = ConfigFile::Named(value),
            'I' => options.pkcs11_provider = Some(Some(value)),
            'i' => {
                let file = KeyFile { path: value, by_user: true };
                options.identity_files.get_or_insert_default().add(file).map_err(message)?;
            }
            'J' => self.jump(text()?)?,
            'l' if options.user.is_none() => {
                options.user = Some(Some(text()?.to_owned()));
                self.found.user_given = true;
            }
            'l' => {}
            'm' => options.macs = Some(algorithms("Unknown mac type", text()?, &self.algorithms.macs)?),
            'O' => self.control(&shown)?,
            'o' => {
                let remarks = &mut self.found.remarks;
                option_line(value.as_bytes(), options, remarks, self.lookup, self.algorithms)
                    .map_err(|e| message(e.to_string()))?;
            }
            'P' => {
                options.tag.get_or_insert(Some(text()?.to_owned()));
            }
            'p' if options.port.is_none() => {
                let given = port(&shown, self.lookup).filter(|&p| p > 0);
                options.port = Some(Some(Port(given.ok_or_else(|| message(format!("Bad port '{shown}'")))?)));
            }
            'p' => {}
            'S' => options.control_path = Some(Some(value)),
            'W' => self.stdio_forward(&value)?,
            // 'w', the last of the list in `flag`.
            _ => {
                let device = TunnelDevice::from_word(&shown);
                options.tunnel_device =
                    Some(device.ok_or_else(|| message(format!("Bad tun device '{shown}'")))?);
                options.tunnel.get_or_insert(Tunnel::PointToPoint);
            }
        }
        Ok(())
    }

    fn session_type(&mut self, wanted: SessionType, conflict: &str) -> Result<(), CommandLineError> {
        match self.found.options.session_type.replace(wanted) {
            Some(other) if other != wanted => Err(message(conflict)),
            Some(_) | None => Ok(()),
        }
    }

    fn verbose(&mut self) {
        let level = &mut self.found.options.log_level;
        *level = Some(match (self.found.verbosity, *level) {
            (0, _) | (_, None) => LogLevel::Debug1,
            (_, Some(LogLevel::Debug1)) => LogLevel::Debug2,
            (_, Some(LogLevel::Debug2 | LogLevel::Debug3)) => LogLevel::Debug3,
            // After a later -q: one step louder.
            (_, Some(LogLevel::Quiet)) => LogLevel::Fatal,
            (_, Some(LogLevel::Fatal)) => LogLevel::Error,
            (_, Some(LogLevel::Error)) => LogLevel::Info,
            (_, Some(LogLevel::Info)) => LogLevel::Verbose,
            (_, Some(LogLevel::Verbose)) => LogLevel::Debug1,
        });
        self.found.verbosity = self.found.verbosity.saturating_add(1).min(3);
    }

    fn forward(&mut self, flag: char, spec: &OsStr) -> Result<(), CommandLineError> {
        let options = &mut self.found.options;
        let (form, name, forwards) = match flag {
            'L' => (Form::Local, "local", &mut options.local_forwards),
            'R' => (Form::Remote, "remote", &mut options.remote_forwards),
            _ => (Form::Dynamic, "dynamic", &mut options.dynamic_forwards),
        };
        let forward = Forward::parse(spec.as_bytes(), form, self.lookup);
        let bad =
            |e| message(format!("Bad {name} forwarding specification '{}': {e}", spec.to_string_lossy()));
        forwards.get_or_insert_with(Forwards::default).add(forward.map_err(bad)?);
        Ok(())
    }

    fn stdio_forward(&mut self, spec: &OsStr) -> Result<(), CommandLineError> {
        if self.found.stdio_forward.is_some() {
            return Err(message("stdio forward already specified"));
        }
        if self.found.control.is_some() {
            return Err(message("Cannot specify stdio forward with -O"));
        }
        let bad =
            |e| message(format!("Bad stdio forwarding specification '{}': {e}", spec.to_string_lossy()));
        self.found.stdio_forward = Some(Target::parse_stdio(spec.as_bytes(), self.lookup).map_err(bad)?);
        self.found.options.request_tty = Some(RequestTty::No);
        self.found.options.session_type = Some(SessionType::None);
        Ok(())
    }

    fn control(&mut self, name: &str) -> Result<(), CommandLineError> {
        if self.found.stdio_forward.is_some() {
            return Err(message("Cannot specify multiplexing command with -W"));
        }
        if self.found.control.is_some() {
            return Err(message("Multiplexing command already specified"));
        }
        self.found.control = Some(match name {
            "cancel" => ControlCommand::Cancel,
            "channels" => ControlCommand::Channels,
            "check" => ControlCommand::Check,
            "conninfo" => ControlCommand::ConnInfo,
            "exit" => ControlCommand::Exit,
            "forward" => ControlCommand::Forward,
            "proxy" => ControlCommand::Proxy,
            "stop" => ControlCommand::Stop,
            _ => return Err(message("Invalid multiplex command.")),
        });
        Ok(())
    }

    fn jump(&mut self, hosts: &str) -> Result<(), CommandLineError> {
        let options = &mut self.found.options;
        if options.proxy_jump.is_some() {
            return Err(message(
                "Only a single -J option is permitted (use commas to separate multiple jump hops)",
            ));
        }
        if options.proxy_command.is_some() {
            return Err(message("Cannot specify -J with ProxyCommand"));
        }
        let jump = ProxyJump::parse(hosts, self.lookup);
        ProxyJump::set(options, jump.map_err(|e| message(format!("Invalid -J argument: {e}")))?);
        Ok(())
    }

    fn destination(&mut self, argument: &OsStr) -> Result<(), CommandLineError> {
        let invalid = || message("hostname contains invalid characters");
        let text = argument.to_str().ok_or_else(invalid)?;
        let given = Destination::parse_argument(text, self.lookup).ok_or(CommandLineError::Usage(None))?;
        let options = &mut self.found.options;
        if let (Some(user), None) = (given.user, &options.user) {
            options.user = Some(Some(user));
            self.found.user_given = true;
        }
        if let (Some(port), None) = (given.port, options.port) {
            options.port = Some(Some(Port(port)));
        }
        self.found.host = given.host;
        self.destination = true;
        Ok(())
    }

    /// What can be told only when all flags are known.
    fn finish(self) -> Result<Action, CommandLineError> {
        let found = self.found;
        if !self.destination {
            return Err(CommandLineError::Usage(None));
        }
        // These go into tokens, and tokens into commands of a shell.
        if found.options.user.iter().flatten().any(|user| !is_safe_user(user)) {
            return Err(message("remote username contains invalid characters"));
        }
        if found.host.is_empty() || !is_safe_host(&found.host) {
            return Err(message("hostname contains invalid characters"));
        }
        if found.options.session_type == Some(SessionType::Subsystem) && found.command.is_empty() {
            return Err(CommandLineError::Usage(Some("You must specify a subsystem to invoke.".to_owned())));
        }
        if found.syslog && found.log_file.is_some() {
            return Err(message("Can't specify both -y and -E"));
        }
        Ok(Action::Run(Box::new(found)))
    }
}

fn algorithms(
    what: &str,
    text: &str,
    names: &crate::algorithms::Names<'_>,
) -> Result<AlgorithmNames, CommandLineError> {
    let (chosen, _) =
        AlgorithmNames::read(text, names).map_err(|e| message(format!("{what} '{text}': {e}")))?;
    Ok(chosen)
}
