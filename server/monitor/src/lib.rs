//! The monitor: the process that owns the facts. It accepts connections, holds the host keys, decides who is
//! let in, and starts the processes that do the rest: workers read the network, readers read key files,
//! helpers act as users. It reads no network bytes and runs no protocol.
//!
//! ```text
//!   run ─▶ load settings, keys ─▶ listen ─▶ background ─▶ Server::run
//!                                                          ├─ accept ─▶ worker   (sessions.rs)
//!                                                          ├─ sign               (sign.rs)
//!                                                          ├─ let in  ─▶ reader  (auth.rs)
//!                                                          └─ log in  ─▶ helper  (helpers.rs)
//! ```

mod audit;
mod auth;
#[cfg(test)]
mod auth_tests;
mod candidate;
#[cfg(test)]
mod certificate_tests;
mod connection;
mod dump;
mod facts;
mod helpers;
mod host_keys;
mod listen;
mod options;
mod processes;
mod reload;
mod search;
mod server;
mod sessions;
mod settings;
mod sign;
mod startups;

pub use options::{Options, Test};

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sockward_config::sshd::{Config, Effective, Isolation};
use sockward_sys::account::Account;
use sockward_sys::daemon::{self, PidFile};
use sockward_sys::log::{self as logging, Facility, LogLevel, Target};
use sockward_sys::spawn::SelfExe;
use sockward_sys::{fd, identity, limits, signal, tcp};

use audit::Audit;
use auth::ServerSelf;
use facts::Facts;
use host_keys::HostKeys;
use processes::Processes;
use server::{Parts, Server};
use settings::Settings;

/// The configuration that a server with these options would have, or what is wrong with it.
pub fn configuration(options: &Options) -> Result<Config, Vec<String>> {
    settings::load(options).map(|settings| settings.config)
}

/// Runs the server. The status to end with.
#[must_use]
pub fn run(mut options: Options) -> u8 {
    // Before a change of directory, and before the file can be replaced.
    options.config = options.config.map(|path| settings::absolute(&path));
    options.log_file = options.log_file.map(|path| settings::absolute(&path));
    match prepare_and_run(options) {
        Ok(status) => status,
        Err(faults) => {
            for fault in faults {
                log::error!("{fault}");
            }
            255
        }
    }
}

fn prepare_and_run(options: Options) -> Result<u8, Vec<String>> {
    let one = |e: &dyn std::fmt::Display| vec![e.to_string()];
    logging::init(early_target(&options), LogLevel::Info).map_err(|e| one(&e))?;
    let exe = SelfExe::open().map_err(|e| one(&format!("/proc/self/exe: {e}")))?;
    let settings = settings::load(&options)?;
    let values = settings.config.global();
    let me = server_self(values).map_err(|e| one(&e))?;
    check_isolation(values, me).map_err(|e| one(&e))?;
    let keys = HostKeys::load(&values.host_keys, &values.host_certificates).map_err(|e| one(&e))?;
    if let Some(test) = options.test {
        return dump::run(test, &settings, &options).map_err(|e| one(&e));
    }
    // Before the log and the background: who starts us is told of a log that cannot be opened.
    let mut audit = Audit::default();
    audit.open(values).map_err(|e| one(&e))?;
    start_log(&options, values).map_err(|e| one(&e))?;
    for warning in settings.config.warnings() {
        log::warn!("{warning}");
    }
    let identification = identification(values);
    let worker_ids = (me.uid == 0).then_some(me.worker);
    let level = log_level(&options, values).name().to_owned();
    let mut listeners = Vec::new();
    if !options.inetd {
        listen::bind(values, &mut listeners).map_err(|e| one(&e))?;
        greet(&settings, &listeners);
    }
    if !options.inetd && !options.foreground && options.debug == 0 {
        daemon::daemonise(options.log_to_stderr).map_err(|e| one(&e))?;
    }
    harden().map_err(|e| one(&e))?;
    let processes = Processes::new(exe, worker_ids, level).map_err(|e| one(&e))?;
    let parts = Parts { options, settings, keys, me, identification, processes, listeners, audit };
    let mut server = Server::new(parts).map_err(|e| one(&e))?;
    if server.me.shared {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        server.start_carriers(count).map_err(|e| one(&e))?;
    }
    if server.options.inetd {
        serve_standard_streams(&mut server).map_err(|e| one(&e))?;
    } else {
        write_pid_file(&server.settings.config, &mut server.pid_file).map_err(|e| one(&e))?;
    }
    let result = server.run();
    if let Some(file) = server.pid_file.take() {
        // A successor may have written its own by now; then it is not ours to remove.
        let _ = file.remove();
    }
    result.map_err(|e| one(&e)).map(|()| server.status)
}

/// Who we are and whom workers become.
fn server_self(values: &Effective) -> Result<ServerSelf, String> {
    let uid = identity::effective_uid();
    let isolated = values.worker_isolation.unwrap_or(Isolation::Connection) == Isolation::Connection;
    if uid != 0 {
        return Ok(ServerSelf { uid, worker: (uid, 0), shared: true });
    }
    for name in ["sockward", "sshd", "nobody"] {
        if let Some(account) = Account::by_name(name).map_err(|e| format!("account {name}: {e}"))? {
            if name == "nobody" {
                log::warn!("there is no user \"sockward\" and no user \"sshd\": workers run as nobody");
            }
            return Ok(ServerSelf { uid, worker: (account.uid, account.gid), shared: !isolated });
        }
    }
    Err("there is no user for the workers: make one with useradd --system sockward".into())
}

/// `WorkerIsolation` and who runs the server must go together.
fn check_isolation(values: &Effective, me: ServerSelf) -> Result<(), String> {
    match values.worker_isolation {
        Some(Isolation::Connection) if me.uid != 0 => {
            Err("WorkerIsolation connection needs a server that root starts".into())
        }
        _ => Ok(()),
    }
}

/// Nobody else of our uid traces us, and no core file holds our keys.
fn harden() -> io::Result<()> {
    signal::ignore_sigpipe();
    limits::no_core_files()?;
    limits::raise_nofile()?;
    identity::forbid_tracing()
}

/// `-i`: the connection is standard input and output, a socket or two pipes.
fn serve_standard_streams(server: &mut Server) -> io::Result<()> {
    let (input, output) = (fd::duplicate(io::stdin())?, fd::duplicate(io::stdout())?);
    let facts = Facts::new(tcp::peer_address(&input)?, tcp::local_address(&input)?);
    // What is passed must not block the worker. The streams are ours alone: nobody else started this process.
    fd::set_nonblocking(&input, true)?;
    fd::set_nonblocking(&output, true)?;
    let kept = fd::duplicate(&input)?;
    server.begin(input, Some(output), facts, Some(kept))
}

/// Says how to come in, where an ordinary user has started us without a configuration.
fn greet(settings: &Settings, listeners: &[tcp::Listener]) {
    let (Some(personal), Some(listener)) = (&settings.personal, listeners.first()) else { return };
    let address = listener.address();
    println!(
        "sockward sshd serves {user} on {ip} port {port}\n  sockward ssh -p {port} {user}@{ip}\n\
         Keys that may log in stand in ~/.ssh/authorized_keys.",
        user = personal.user,
        ip = address.ip(),
        port = address.port(),
    );
}

fn identification(values: &Effective) -> String {
    let addendum = values.version_addendum.as_str();
    let space = if addendum.is_empty() { "" } else { " " };
    format!("SSH-2.0-Sockward_{}{space}{addendum}", env!("CARGO_PKG_VERSION"))
}

fn log_level(options: &Options, values: &Effective) -> LogLevel {
    match (options.quiet, options.debug) {
        (true, _) => LogLevel::Quiet,
        (false, 0) => LogLevel::from_name(values.log_level.word()).unwrap_or(LogLevel::Info),
        (false, 1) => LogLevel::Debug1,
        (false, 2) => LogLevel::Debug2,
        (false, _) => LogLevel::Debug3,
    }
}

/// Until the configuration is known: to the terminal, as sshd does. With `-i` there is none: standard error may be
/// the client's.
fn early_target(options: &Options) -> Target {
    chosen_target(options).unwrap_or(match options.inetd {
        true => syslog(Facility::AUTH),
        false => Target::Stderr,
    })
}

fn start_log(options: &Options, values: &Effective) -> io::Result<()> {
    let target = match chosen_target(options) {
        Some(target) => target,
        None => {
            let facility = Facility::from_name(values.syslog_facility.word());
            syslog(facility.ok_or_else(|| io::Error::other("no such SyslogFacility"))?)
        }
    };
    logging::init(target, log_level(options, values))
}

/// What the command line says of the log.
fn chosen_target(options: &Options) -> Option<Target> {
    match &options.log_file {
        Some(path) => Some(Target::File(path.clone())),
        None => (options.log_to_stderr || options.debug > 0).then_some(Target::Stderr),
    }
}

fn syslog(facility: Facility) -> Target {
    Target::Syslog { ident: "sockward-sshd", facility }
}

fn write_pid_file(config: &Config, present: &mut Option<PidFile>) -> Result<(), String> {
    let Some(path) = &config.global().pid_file else { return Ok(()) };
    let path = path_of(path);
    match PidFile::write(&path) {
        Ok(file) => {
            *present = Some(file);
            Ok(())
        }
        Err(e) => Err(format!("PidFile {}: {e}", path.display())),
    }
}

/// A path as bytes, as the configuration has it.
fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}
