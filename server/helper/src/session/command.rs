//! One command, shell or subsystem: decided, put together and started, with pipes or a terminal for its streams.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sockward_policy::{Decision, Execution, Origin, Permit, SessionKind, Variable, decide_session};
use sockward_privsep::login::{Program, Stream};
use sockward_sys::fd;
use sockward_sys::spawn::{Child, Started, UserCommand};

use super::environment::Environment;
use super::terminal::Terminal;
use crate::caller::Shared;
use crate::refused::Refused;
use crate::shown;

/// What runs where the account names no shell.
const DEFAULT_SHELL: &[u8] = b"/bin/sh";

/// A started command.
pub(super) struct Command {
    pub(super) child: Child,
    /// The worker's ends of its streams.
    pub(super) streams: Vec<(Stream, OwnedFd)>,
    /// Whether the client may send it signals: not what it did not choose, as in OpenSSH.
    pub(super) takes_signals: bool,
}

/// A command's standard streams, and the worker's ends of them, non-blocking.
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) worker: Vec<(Stream, OwnedFd)>,
}

/// What was asked for, in words. A command is not named: it may hold what nobody else should read.
pub(super) fn describe(what: &Program) -> String {
    match what {
        Program::Shell => "shell".into(),
        Program::Exec(_) => "command".into(),
        Program::Subsystem(name) => {
            format!("subsystem '{}'", name.get(..256).unwrap_or(name).escape_ascii())
        }
    }
}

/// What runs, in words.
pub(super) fn describe_run(permit: &Permit, what: &Program) -> String {
    match &permit.session.forced {
        Some(forced) => {
            let from = match forced.origin {
                Origin::Configuration => "config",
                Origin::Key => "key-option",
            };
            let command = forced.command.get(..900).unwrap_or(&forced.command);
            format!("forced-command ({from}) '{}'", command.escape_ascii())
        }
        None => describe(what),
    }
}

/// Starts what was asked for, or what the permit says instead.
pub(super) fn start(
    what: &Program,
    variables: &[Variable],
    connection: &[String; 4],
    permit: &Permit,
    terminal: Option<&Terminal>,
    shared: &Shared,
) -> Result<Command, Refused> {
    let kind = match what {
        Program::Shell => SessionKind::Shell,
        Program::Exec(command) => SessionKind::Exec(command),
        Program::Subsystem(name) => SessionKind::Subsystem(name),
    };
    let Execution { command, original } = match decide_session(permit, kind) {
        Decision::Allowed { grant, .. } => grant,
        Decision::Refused(refusal) => return Err(refusal.into()),
    };
    let account = &permit.account;
    let shell: &[u8] = if account.shell.is_empty() { DEFAULT_SHELL } else { &account.shell };
    let env = Environment::new(permit, variables, shell, connection, terminal, original.as_deref());
    let Streams { stdin, stdout, stderr, worker } = match terminal {
        Some(terminal) => terminal.streams()?,
        None => pipes()?,
    };
    if shared.is_short(&stderr) {
        return Err(Refused::shortage("too many open files"));
    }
    let Started { child, .. } = UserCommand {
        program: path(shell),
        argv: arguments(shell, command),
        env: env.into_pairs(),
        directory: directory(&path(&account.home), &stderr),
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
        terminal: terminal.is_some(),
        umask: Some(shared.umask),
    }
    .spawn()?;
    Ok(Command {
        child,
        streams: worker,
        takes_signals: permit.session.forced.is_none() && !matches!(what, Program::Subsystem(_)),
    })
}

fn pipes() -> Result<Streams, Refused> {
    let (stdin, to_stdin) = fd::pipe()?;
    let (from_stdout, stdout) = fd::pipe()?;
    let (from_stderr, stderr) = fd::pipe()?;
    for end in [&to_stdin, &from_stdout, &from_stderr] {
        fd::set_nonblocking(end, true)?;
    }
    let worker =
        vec![(Stream::Stdin, to_stdin), (Stream::Stdout, from_stdout), (Stream::Stderr, from_stderr)];
    Ok(Streams { stdin, stdout, stderr, worker })
}

/// `sh -c command`, or `-sh` for a login shell.
fn arguments(shell: &[u8], command: Option<Vec<u8>>) -> Vec<OsString> {
    let name = shell.rsplit(|&b| b == b'/').next().unwrap_or(shell);
    match command {
        None => vec![OsString::from_vec([b"-", name].concat())],
        Some(command) => {
            vec![OsString::from_vec(name.to_vec()), "-c".into(), OsString::from_vec(command)]
        }
    }
}

/// The home directory, or `/` and a word about it on the command's standard error. The pipe, or
/// the terminal, is empty yet, so the word fits, and it comes before anything that the command says.
fn directory(home: &Path, stderr: &OwnedFd) -> PathBuf {
    // "." in it asks for the right to enter it, as changing to it will.
    match std::fs::metadata(home.join(".")) {
        Ok(_) if home.is_absolute() => home.to_owned(),
        looked => {
            let why = match looked {
                Ok(_) => "not an absolute path".to_owned(),
                Err(e) => shown::error(&e),
            };
            let text = format!("Could not chdir to home directory {}: {why}\n", home.display());
            // Nobody reads it any more if the command's stream is gone.
            let _ = fd::write(stderr, text.as_bytes());
            "/".into()
        }
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
