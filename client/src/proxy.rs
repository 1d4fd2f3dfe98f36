//! Reaching the server through a command: ProxyCommand by the user's shell, ProxyJump by this program itself, which
//! joins its standard streams with the server (`-W`) from the jump host.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use sockward_config::ssh::JumpCommand;
use sockward_drive::Net;
use sockward_sys::fd;
use sockward_sys::spawn::{Child, Exit, Tool};

use crate::jobs::{Job, Jobs};
use crate::plan::Plan;
use crate::{start, stdio};

/// The running binary, whatever its path holds by now.
const OURSELVES: &str = "/proc/self/exe";

/// What stands between us and the server.
#[derive(Debug)]
pub(crate) enum Proxy {
    /// A command that is running. Dropped, it is told to end (SIGHUP), as ssh does.
    Command(Option<Child>),
    /// Our standard output, which a thread writes to.
    OwnStreams(Option<Job<()>>),
}

impl Proxy {
    /// How a command ended, if it has. Never waits.
    pub(crate) fn exit(&mut self) -> Option<Exit> {
        match self {
            // One that cannot be waited for has no status.
            Proxy::Command(child) => child.as_mut()?.try_wait().ok().flatten(),
            Proxy::OwnStreams(_) => None,
        }
    }

    pub(crate) fn is_command(&self) -> bool {
        matches!(self, Proxy::Command(Some(_)))
    }

    /// Another connection will be made: the command is told to end, and handed back to be waited for.
    pub(crate) fn retire(mut self) -> Option<Child> {
        match &mut self {
            Proxy::Command(child) => {
                let child = child.take()?;
                // One that is gone already needs no signal.
                let _ = child.signal(HANGUP);
                Some(child)
            }
            Proxy::OwnStreams(_) => None,
        }
    }

    /// The connection is over: the command ends, too. What still writes the last bytes is handed back.
    pub(crate) fn end(&mut self) -> Option<Job<()>> {
        match self {
            Proxy::Command(child) => {
                if let Some(child) = child.take() {
                    // One that is gone already needs no signal.
                    let _ = child.signal(HANGUP);
                }
                None
            }
            Proxy::OwnStreams(output) => output.take(),
        }
    }
}

/// SIGHUP is 1 everywhere.
const HANGUP: i32 = 1;

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts the command and returns the stream that leads through it.
pub(crate) fn start(plan: &Plan, jobs: &Jobs) -> Result<(Net, Proxy), String> {
    let settings = &plan.configuration.settings;
    if settings.proxy_command.as_ref().is_some_and(|command| command.0 == "-") {
        return own_streams(jobs).map_err(|e| format!("cannot use standard input and output: {e}"));
    }
    let tool = match &settings.proxy_jump {
        Some(jump) => {
            let with = JumpCommand {
                config_file: plan.config_file.as_ref(),
                verbosity: plan.verbosity,
                host: plan.host(),
                port: plan.configuration.port,
            };
            let arguments = jump
                .arguments(&with, &plan.configuration.tokens.proxy_table())
                .map_err(|e| format!("ProxyJump: {e}"))?;
            let argv: Vec<OsString> = std::iter::once("ssh".into()).chain(arguments).collect();
            let shown: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
            log::debug!("Setting implicit ProxyCommand from ProxyJump: {}", shown.join(" "));
            Command::Program(PathBuf::from(OURSELVES), argv)
        }
        None => {
            let command = plan.configuration.proxy_command().map_err(|e| format!("ProxyCommand: {e}"))?;
            let mut text = OsString::from("exec ");
            text.push(command.unwrap_or_default());
            log::debug!("Executing proxy command: {}", text.display());
            Command::Shell(text)
        }
    };
    run(&tool, None).map_err(|e| format!("cannot run the proxy command: {e}"))
}

/// Runs a program between us and the far end: its standard input and output are the stream. Its standard error is
/// ours, unless another is given.
pub(crate) fn through(
    program: PathBuf,
    argv: Vec<OsString>,
    stderr: Option<OwnedFd>,
) -> io::Result<(Net, Proxy)> {
    run(&Command::Program(program, argv), stderr)
}

enum Command {
    Shell(OsString),
    Program(PathBuf, Vec<OsString>),
}

fn run(command: &Command, errors: Option<OwnedFd>) -> io::Result<(Net, Proxy)> {
    let (read, stdout) = fd::pipe()?;
    let (stdin, write) = fd::pipe()?;
    let own = io::stderr();
    let stderr = errors.as_ref().map_or_else(|| own.as_fd(), AsFd::as_fd);
    let (stdin_end, stdout_end) = (stdin.as_fd(), stdout.as_fd());
    let tool = match command {
        Command::Shell(text) => start::shell(text, stdin_end, stdout_end, stderr),
        Command::Program(program, argv) => Tool {
            program: program.clone(),
            argv: argv.clone(),
            env: Vec::new(),
            stdin: stdin_end,
            stdout: stdout_end,
            stderr,
        },
    };
    let child = tool.spawn()?;
    for end in [&read, &write] {
        fd::set_nonblocking(end, true)?;
    }
    Ok((Net::pair(read, write), Proxy::Command(Some(child))))
}

/// `ProxyCommand -`: whoever started us has connected our standard streams to the server.
fn own_streams(jobs: &Jobs) -> io::Result<(Net, Proxy)> {
    let read = stdio::input(jobs, fd::duplicate(io::stdin())?)?;
    let output = stdio::output(jobs, fd::take_stdout()?)?;
    Ok((Net::pair(read, output.end), Proxy::OwnStreams(Some(output.done))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_stream_and_is_told_to_end() {
        let (net, proxy) = run(&Command::Shell("exec cat".into()), None).unwrap();
        let write = net.write_fd().unwrap();
        fd::write(write, b"there and back").unwrap();
        fd::wait_readable_long(net.read_fd()).unwrap();
        let mut buffer = [0; 32];
        assert_eq!(fd::read(net.read_fd(), &mut buffer).unwrap(), 14);
        let Proxy::Command(Some(child)) = &proxy else { panic!("no child") };
        let pid = child.pid();
        let stat = format!("/proc/{pid}/stat");
        drop(proxy);
        // Nobody reaps it: it stays as a zombie.
        while std::fs::read_to_string(&stat).unwrap().split(") ").nth(1).unwrap().starts_with(['S', 'R']) {
            std::thread::yield_now();
        }
    }
}
