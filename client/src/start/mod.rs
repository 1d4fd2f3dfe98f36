//! From the arguments to a plan: command line, configuration files, where messages go, what is printed at once.
//!
//! ```text
//!   arguments ─▶ Invocation ─┬─ -Q, -V ─▶ printed
//!                            └─ files ─▶ Configuration ─┬─ -G ─▶ printed
//!                                                       └─▶ Plan
//! ```

mod algorithms;
mod machine;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use sockward_config::algorithms::Algorithms;
use sockward_config::choice::LogLevel;
use sockward_config::forward::Target;
use sockward_config::lookup::Lookup;
use sockward_config::ssh::{
    self, Action, CommandLineError, ConfigFile, ConfigFiles, Configuration, ControlCommand, Invocation,
    Remark, RequestTty, SessionType, Severity, Transport, USAGE, Via,
};
use sockward_crypto::AlgorithmNames;
use sockward_sys::log as logger;

pub(crate) use machine::{ThisMachine, shell};

use crate::forwards::far::NO_PORTS;
use crate::gate;
use crate::notice::Notices;
use crate::plan::Plan;

/// The system's configuration file.
const SYSTEM_FILE: &str = "/etc/ssh/ssh_config";

/// What the arguments lead to.
pub(crate) enum Start {
    /// Everything is done.
    Done,
    /// A connection is to be made.
    Connect(Box<Plan>),
}

/// The program ends here; what there is to say has been said.
pub(crate) struct Failed;

/// Follows the arguments, the first of which is the program's name.
pub(crate) fn start(args: Vec<OsString>) -> Result<Start, Failed> {
    let supported = AlgorithmNames::available();
    let names = algorithms::of(&supported);
    let action = ssh::parse_arguments(args.iter().skip(1).cloned(), &ThisMachine, &names);
    let invocation = match action {
        Ok(Action::Run(invocation)) => invocation,
        Ok(Action::Query(query)) => {
            return print(
                algorithms::list(query).into_iter().flat_map(|name| [name, "\n"]).collect::<String>(),
            );
        }
        Ok(Action::Version) => {
            eprintln!("{}", crate::VERSION);
            return Ok(Start::Done);
        }
        Err(error) => return Err(refuse(&error)),
    };
    let target = log_target(&invocation)?;
    set_log(target.clone(), invocation.options.log_level.unwrap_or(LogLevel::Info))?;
    let configuration = load(&invocation, &names).map_err(fatal)?;
    set_log(with_facility(target, &configuration), configuration.settings.log_level)?;
    for remark in &configuration.remarks {
        tell(remark);
    }
    if invocation.print_configuration {
        return print(configuration.dump(&names));
    }
    let missing = ssh::missing(&configuration.settings, &names);
    for remark in &missing {
        tell(remark);
    }
    if missing.iter().any(|remark| remark.severity == Severity::Refuse) {
        return Err(Failed);
    }
    refuse_what_is_missing(&invocation).map_err(fatal)?;
    refuse_owner_without_socket(&invocation, &configuration).map_err(fatal)?;
    let mut plan = plan(&invocation, configuration);
    lead_to_gate(&mut plan, &args).map_err(fatal)?;
    Ok(Start::Connect(Box::new(plan)))
}

/// A fault of the command line, before there is a logger.
fn refuse(error: &CommandLineError) -> Failed {
    match error {
        CommandLineError::Usage(text) => {
            if let Some(text) = text {
                eprintln!("{text}");
            }
            eprint!("{USAGE}");
        }
        CommandLineError::Message(text) => eprintln!("{text}"),
    }
    Failed
}

fn fatal(text: impl AsRef<str>) -> Failed {
    log::error!(target: "fatal", "{}", text.as_ref());
    Failed
}

fn print(text: impl AsRef<[u8]>) -> Result<Start, Failed> {
    let mut out = io::stdout();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Start::Done),
        Err(e) => Err(fatal(format!("cannot write: {e}"))),
    }
}

fn log_target(invocation: &Invocation) -> Result<logger::Target, Failed> {
    if invocation.syslog {
        let facility = logger::Facility::from_name("USER");
        return facility.map(|facility| logger::Target::Syslog { ident: "ssh", facility }).ok_or(Failed);
    }
    Ok(match &invocation.log_file {
        Some(path) => logger::Target::File(PathBuf::from(path)),
        None => logger::Target::Stderr,
    })
}

fn with_facility(target: logger::Target, configuration: &Configuration) -> logger::Target {
    let named = logger::Facility::from_name(configuration.settings.syslog_facility.word());
    match (target, named) {
        (logger::Target::Syslog { ident, .. }, Some(facility)) => logger::Target::Syslog { ident, facility },
        (target, _) => target,
    }
}

fn set_log(target: logger::Target, level: LogLevel) -> Result<(), Failed> {
    let path = match &target {
        logger::Target::File(path) => path.display().to_string(),
        logger::Target::Stderr | logger::Target::Syslog { .. } | logger::Target::Callback(_) => String::new(),
    };
    logger::init(target, log_level(level)).map_err(|e| {
        eprintln!("Couldn't open logfile {path}: {e}");
        Failed
    })
}

/// The same level in the logger's terms.
pub(crate) fn log_level(level: LogLevel) -> logger::LogLevel {
    match level {
        LogLevel::Quiet => logger::LogLevel::Quiet,
        LogLevel::Fatal => logger::LogLevel::Fatal,
        LogLevel::Error => logger::LogLevel::Error,
        LogLevel::Info => logger::LogLevel::Info,
        LogLevel::Verbose => logger::LogLevel::Verbose,
        LogLevel::Debug1 => logger::LogLevel::Debug1,
        LogLevel::Debug2 => logger::LogLevel::Debug2,
        LogLevel::Debug3 => logger::LogLevel::Debug3,
    }
}

fn tell(remark: &Remark) {
    match remark.severity {
        Severity::Refuse => log::error!("{}", remark.what),
        Severity::Warn => log::warn!("{}", remark.what),
        Severity::Note => log::debug!("{}", remark.what),
    }
}

/// Reads the files that count and makes of all what holds for the connection.
fn load(invocation: &Invocation, names: &Algorithms<'_>) -> Result<Configuration, String> {
    let local = machine::local()?;
    let (user, system) = match &invocation.config_file {
        ConfigFile::None => (None, None),
        ConfigFile::Named(path) => {
            let path = Path::new(path);
            let cannot = |e| format!("Can't open user config file {}: {e}", path.display());
            let file = File::open(path).map_err(cannot)?;
            (Some((path.display().to_string(), machine::read(file, path)?)), None)
        }
        ConfigFile::Usual => {
            let path = Path::new(&local.home).join(".ssh/config");
            let user = machine::private_file(&path)?.map(|content| (path.display().to_string(), content));
            let system = Path::new(SYSTEM_FILE);
            let content = File::open(system).ok().map(|file| machine::read(file, system)).transpose()?;
            (user, content.map(|content| (SYSTEM_FILE.to_owned(), content)))
        }
    };
    for (name, _) in [&user, &system].into_iter().flatten() {
        log::debug!("Reading configuration data {name}");
    }
    let files = ConfigFiles {
        user: user.as_ref().map(|(name, content)| (name.as_str(), content.as_slice())),
        system: system.as_ref().map(|(name, content)| (name.as_str(), content.as_slice())),
    };
    ssh::load(invocation, &files, &local, &ThisMachine, names).map_err(|errors| {
        let (last, others) =
            errors.split_last().map_or((None, &[][..]), |(last, others)| (Some(last), others));
        others.iter().for_each(|error| log::error!("{error}"));
        last.map_or_else(|| "the configuration cannot be read".to_owned(), ToString::to_string)
    })
}

/// Things that would go wrong silently if nobody said that they are not there.
fn refuse_what_is_missing(invocation: &Invocation) -> Result<(), String> {
    match invocation.control {
        Some(ControlCommand::Channels | ControlCommand::ConnInfo) => {
            Err("this -O command is not implemented: there are check, exit, stop, forward, cancel and proxy"
                .to_owned())
        }
        _ => Ok(()),
    }
}

/// TargetOwner is enforced wherever something is reached, or nothing is.
fn refuse_owner_without_socket(invocation: &Invocation, configuration: &Configuration) -> Result<(), String> {
    let settings = &configuration.settings;
    if settings.target_owner.is_none() {
        return Ok(());
    }
    if matches!(invocation.control, Some(ControlCommand::Forward | ControlCommand::Proxy)) {
        return Err("TargetOwner is the master's to enforce: give it to the master".to_owned());
    }
    let ports = |target: &Target| !matches!(target, Target::Unix(_));
    let local = settings.local_forwards.0.iter().any(|forward| ports(&forward.target));
    let stdio = configuration.stdio_forward.as_ref().is_some_and(ports);
    if local || stdio || !settings.dynamic_forwards.0.is_empty() {
        return Err(NO_PORTS.to_owned());
    }
    Ok(())
}

/// `Via gate`: what is run to reach it, and that there is something to do there.
fn lead_to_gate(plan: &mut Plan, args: &[OsString]) -> Result<(), String> {
    let settings = &plan.configuration.settings;
    if !plan.is_via_gate() {
        return match settings.transport {
            Transport::Own => Ok(()),
            Transport::Ssh => Err("Transport ssh serves a gate alone: Via gate is missing".to_owned()),
        };
    }
    let forwards = [&settings.local_forwards.0, &settings.remote_forwards.0, &settings.dynamic_forwards.0];
    if forwards.iter().all(|all| all.is_empty()) && plan.configuration.stdio_forward.is_none() {
        return Err("Via gate: a gate forwards and does nothing else; -L, -R, -D or -W is missing".to_owned());
    }
    let command = Some(plan.configuration.command.as_slice()).filter(|command| !command.is_empty());
    let command = command.map(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes);
    let found = gate::ssh_command(args, settings.transport, command);
    plan.far_command = Some(found.ok_or("Transport ssh: there is no ssh on the PATH")?);
    Ok(())
}

fn plan(invocation: &Invocation, configuration: Configuration) -> Plan {
    let config_file = match &invocation.config_file {
        ConfigFile::Usual => None,
        ConfigFile::None => Some(OsString::from("none")),
        ConfigFile::Named(path) => Some(path.clone()),
    };
    Plan {
        terminal: matches!(invocation.control, None | Some(ControlCommand::Proxy))
            && wants_terminal(&configuration, io::stdin().is_terminal()),
        control: invocation.control,
        config_file,
        verbosity: invocation.verbosity,
        far_command: None,
        notices: Notices::default(),
        logs_to_stderr: invocation.log_file.is_none() && !invocation.syslog,
        home: ThisMachine.home(None).unwrap_or_default(),
        configuration,
    }
}

/// Whether a terminal is to be asked for on the server.
fn wants_terminal(configuration: &Configuration, stdin_is_terminal: bool) -> bool {
    let settings = &configuration.settings;
    let wanted = match settings.request_tty {
        RequestTty::No => false,
        RequestTty::Yes | RequestTty::Force => true,
        RequestTty::Auto => configuration.command.is_empty(),
    };
    if !wanted || settings.session_type == SessionType::None || settings.via == Via::Gate {
        return false;
    }
    let can = stdin_is_terminal && !settings.stdin_null || settings.request_tty == RequestTty::Force;
    if !can {
        log::info!("Pseudo-terminal will not be allocated because stdin is not a terminal.");
    }
    can
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(arguments: &[&str]) -> Configuration {
        let supported = AlgorithmNames::available();
        let names = algorithms::of(&supported);
        let arguments = ["-F", "none"].iter().chain(arguments).map(OsString::from);
        let Ok(Action::Run(invocation)) = ssh::parse_arguments(arguments, &ThisMachine, &names) else {
            panic!("not an invocation");
        };
        load(&invocation, &names).unwrap()
    }

    #[test]
    fn a_terminal_is_wanted_where_ssh_wants_one() {
        for (arguments, on_terminal, elsewhere) in [
            (&["host"][..], true, false),
            (&["host", "true"], false, false),
            (&["-t", "host", "true"], true, false),
            (&["-tt", "host", "true"], true, true),
            (&["-T", "host"], false, false),
            (&["-n", "host"], false, false),
            (&["-ntt", "host"], true, true),
            (&["-N", "host"], false, false),
            (&["-s", "host", "sftp"], false, false),
        ] {
            let configuration = configuration(arguments);
            assert_eq!(wants_terminal(&configuration, true), on_terminal, "{arguments:?}");
            assert_eq!(wants_terminal(&configuration, false), elsewhere, "{arguments:?}");
        }
    }

    #[test]
    fn the_whole_configuration_goes_out_and_in_again() {
        let supported = AlgorithmNames::available();
        let dump =
            String::from_utf8(configuration(&["-p", "2222", "host"]).dump(&algorithms::of(&supported)));
        assert!(dump.unwrap().contains("\nport 2222\n"));
    }
}
