//! The other client's end: asks the master for what the plan wants, lends it the standard streams, and waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use sockward_config::forward::{Form, Forward, Target};
use sockward_config::ssh::{ControlCommand, ControlMaster, ForwardProbe, SessionType};
use sockward_sys::link::{Link, MESSAGE_MAX};
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::{fd, terminal as tty, unix};

use super::messages::{Ask, Tell};
use crate::background::Background;
use crate::connect::reason;
use crate::plan::Plan;
use crate::sessions::{Request, raw_terminal};
use crate::{FAILURE, messages, terminal};

/// What became of it.
pub(crate) enum Attempt {
    /// There is no master, or none that is to be used: a connection of our own is to be made.
    NoMaster,
    /// Everything is done; the exit status.
    Ended(u8),
}

/// Does with a master what the plan wants, if there is one.
pub(crate) fn attempt(plan: &Plan) -> Attempt {
    let Some(path) = plan.control_path() else { return Attempt::NoMaster };
    let settings = &plan.configuration.settings;
    let commanded = plan.control.is_some();
    if !commanded && (plan.target_owner().is_some() || settings.forward_probe != ForwardProbe::No) {
        log::debug!("TargetOwner and ForwardProbe: a connection of our own is made, past any master");
        return Attempt::NoMaster;
    }
    match settings.control_master {
        // With -M a connection of our own is wanted, unless it is to be told something.
        ControlMaster::Yes | ControlMaster::Ask if !commanded => return Attempt::NoMaster,
        ControlMaster::Auto | ControlMaster::AutoAsk => {
            log::debug!("auto-mux: Trying existing master at '{}'", path.display());
        }
        ControlMaster::No | ControlMaster::Yes | ControlMaster::Ask => {}
    }
    let link = match unix::connect_links(path.as_os_str().as_encoded_bytes()) {
        Ok(link) => link,
        Err(e) => return no_master(plan, &e),
    };
    let result = link.set_nonblocking(false).and_then(|()| match plan.control {
        Some(command) => Talk { link: &link, plan }.command(command),
        None => Talk { link: &link, plan }.use_it(),
    });
    match result {
        Ok(attempt) => attempt,
        Err(e) => {
            log::error!(target: "fatal", "control connection: {}", reason(&e));
            Attempt::Ended(FAILURE)
        }
    }
}

/// EPROTOTYPE: it is a stream, as OpenSSH's control sockets are.
const OTHER_KIND: i32 = 91;

fn no_master(plan: &Plan, error: &io::Error) -> Attempt {
    let Some(path) = plan.control_path() else { return Attempt::NoMaster };
    let shown = path.display();
    let why = match error.raw_os_error() {
        Some(OTHER_KIND) => {
            format!("{}; its master is another program, OpenSSH's ssh for one", reason(error))
        }
        Some(_) | None => reason(error),
    };
    if plan.control.is_some() {
        log::error!(target: "fatal", "Control socket connect({shown}): {why}");
        return Attempt::Ended(FAILURE);
    }
    match error.kind() {
        io::ErrorKind::NotFound => log::debug!("Control socket \"{shown}\" does not exist"),
        io::ErrorKind::ConnectionRefused if plan.is_master() => {
            // Making ours replaces it.
            log::debug!("Stale control socket {shown}");
        }
        _ => log::error!("Control socket connect({shown}): {why}"),
    }
    Attempt::NoMaster
}

struct Talk<'t> {
    link: &'t Link,
    plan: &'t Plan,
}

impl Talk<'_> {
    /// `-O`.
    fn command(&self, command: ControlCommand) -> io::Result<Attempt> {
        let quiet = self.plan.configuration.settings.log_level == sockward_config::choice::LogLevel::Quiet;
        let say = |text: &str| {
            if !quiet {
                messages::to_terminal(text);
            }
        };
        match command {
            ControlCommand::Check => match self.ask(&Ask::Check)? {
                Tell::Alive(pid) => messages::to_terminal(&format!("Master running (pid={pid})\r\n")),
                other => return Ok(failed(other)),
            },
            ControlCommand::Exit => match self.ask(&Ask::Exit)? {
                Tell::Done => say("Exit request sent.\r\n"),
                other => return Ok(failed(other)),
            },
            ControlCommand::Stop => match self.ask(&Ask::Stop)? {
                Tell::Done => say("Stop listening request sent.\r\n"),
                other => return Ok(failed(other)),
            },
            ControlCommand::Forward | ControlCommand::Cancel => {
                let ok = self.forwards(command == ControlCommand::Cancel, true)?;
                return Ok(Attempt::Ended(if ok { 0 } else { FAILURE }));
            }
            // OpenSSH's client would now speak the connection layer itself, through a master that renumbers channels
            // both ways. Here the master speaks it for all its clients: a session or `-W` looks the same to whoever
            // asked, and what remains is that no connection but the master's is used.
            ControlCommand::Proxy => return self.use_it(),
            // Refused at the start.
            ControlCommand::Channels | ControlCommand::ConnInfo => return Ok(Attempt::Ended(FAILURE)),
        }
        Ok(Attempt::Ended(0))
    }

    /// A session or standard streams over the master's connection.
    fn use_it(&self) -> io::Result<Attempt> {
        if !self.forwards(false, false)? && self.plan.configuration.settings.exit_on_forward_failure {
            log::error!("master forward request failed");
            return Ok(Attempt::Ended(FAILURE));
        }
        if let Some(target) = &self.plan.configuration.stdio_forward {
            return self.stdio(target);
        }
        if self.plan.configuration.settings.session_type == SessionType::None {
            // The master has the forwardings: there is nothing to stay for but that the user wants to see it stay.
            return self.stay();
        }
        self.session()
    }

    /// All forwardings of the plan. False: not all of them could be.
    fn forwards(&self, cancel: bool, by_command: bool) -> io::Result<bool> {
        let settings = &self.plan.configuration.settings;
        let mut all_well = true;
        for (form, forwards) in [
            (Form::Local, &settings.local_forwards),
            (Form::Dynamic, &settings.dynamic_forwards),
            (Form::Remote, &settings.remote_forwards),
        ] {
            for forward in &forwards.0 {
                let spec = self.spec(form, forward);
                let ask = if cancel { Ask::Cancel(form, spec) } else { Ask::Forward(form, spec) };
                match self.ask(&ask)? {
                    Tell::Done => {}
                    Tell::Port(port) => {
                        let target = crate::forwards::local::target(&forward.target);
                        log::info!("Allocated port {port} for remote forward to {target}");
                        if by_command {
                            use std::io::Write;
                            writeln!(io::stdout(), "{port}")?;
                        }
                    }
                    other => {
                        failed(other);
                        all_well = false;
                    }
                }
            }
        }
        Ok(all_well)
    }

    /// Relative paths of this machine are ours, and the master may be elsewhere.
    fn spec(&self, form: Form, forward: &Forward) -> Vec<u8> {
        let mut forward = forward.clone();
        if let (Some(near), Ok(here)) = (forward.near_path(form).cloned(), std::env::current_dir())
            && near.place() == sockward_config::forward::Place::Relative
            && let Ok(path) = sockward_config::forward::ForwardPath::new(
                [here.as_os_str().as_encoded_bytes(), b"/", near.written().as_bytes()].concat(),
            )
        {
            forward.set_near_path(form, path);
        }
        forward.to_spec()
    }

    fn session(&self) -> io::Result<Attempt> {
        let mut background = Background::prepare(self.plan)?;
        let input = io::stdin();
        let null;
        let stdin = if self.plan.configuration.settings.stdin_null {
            null = fd::dev_null()?;
            null.as_fd()
        } else {
            input.as_fd()
        };
        self.link.send(&Ask::Session(Request::of(self.plan)).encode(), None)?;
        let (stdout, stderr) = (io::stdout(), io::stderr());
        self.lend([stdin, stdout.as_fd(), stderr.as_fd()])?;
        match self.hear()? {
            Tell::Opened => {}
            other => return Ok(failed(other)),
        }
        background.enter(self.plan);
        let raw = if self.plan.terminal { raw_terminal() } else { None };
        let status = self.wait()?;
        drop(raw);
        if self.plan.terminal {
            messages::shared_session_closed(self.plan);
        }
        Ok(Attempt::Ended(status))
    }

    fn stdio(&self, target: &Target) -> io::Result<Attempt> {
        self.link.send(&Ask::Stdio(target.to_spec()).encode(), None)?;
        let (stdin, stdout) = (io::stdin(), io::stdout());
        self.lend([stdin.as_fd(), stdout.as_fd()])?;
        match self.hear()? {
            Tell::Opened => Ok(Attempt::Ended(self.wait()?)),
            other => Ok(failed(other)),
        }
    }

    /// `-N`: until the master ends or we are told to.
    fn stay(&self) -> io::Result<Attempt> {
        let mut background = Background::prepare(self.plan)?;
        background.enter(self.plan);
        Ok(Attempt::Ended(self.wait()?))
    }

    fn lend<'f>(&self, streams: impl IntoIterator<Item = BorrowedFd<'f>>) -> io::Result<()> {
        let message = Ask::Stream.encode();
        streams.into_iter().try_for_each(|stream| self.link.send(&message, Some(stream)))
    }

    fn ask(&self, ask: &Ask) -> io::Result<Tell> {
        self.link.send(&ask.encode(), None)?;
        self.hear()
    }

    /// The next word of the master's.
    fn hear(&self) -> io::Result<Tell> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let gone = || io::Error::other("the master has gone");
        let received = self.link.recv(&mut buffer)?.ok_or_else(gone)?;
        Tell::decode(buffer.get(..received.len).unwrap_or_default()).map_err(io::Error::other)
    }

    /// Waits for the end of the session; tells of the terminal's size meanwhile.
    fn wait(&self) -> io::Result<u8> {
        let endings = [Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate];
        let mut wanted: Vec<Signal> = endings.into_iter().filter(|signal| !signal.is_ignored()).collect();
        wanted.push(Signal::WindowChange);
        let signals = Signals::new(&wanted)?;
        let mut poll = Poll::new()?;
        for (n, fd) in [signals.as_fd(), self.link.as_fd()].into_iter().enumerate() {
            poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), Token(n), Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(4);
        loop {
            match poll.poll(&mut events, None) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            while let Some(signal) = signals.next()? {
                if signal == Signal::WindowChange {
                    self.link.send(&Ask::Window(terminal::size()).encode(), None)?;
                } else if signal != Signal::Child {
                    tty::restore_all();
                    signal.end_process();
                }
            }
            if events.iter().any(|event| event.token() == Token(1)) {
                match self.hear() {
                    Ok(Tell::Status(status)) => return Ok(status),
                    Ok(Tell::Failed(why)) => log::error!("{why}"),
                    Ok(Tell::Say(text)) => messages::to_terminal(&text),
                    Ok(Tell::Alive(_) | Tell::Done | Tell::Port(_) | Tell::Opened) => {}
                    Err(_) => {
                        log::debug!("master has gone");
                        return Ok(FAILURE);
                    }
                }
            }
        }
    }
}

fn failed(tell: Tell) -> Attempt {
    match tell {
        Tell::Failed(why) => log::error!("{why}"),
        other => log::error!("unexpected word of the master: {other:?}"),
    }
    Attempt::Ended(FAILURE)
}
