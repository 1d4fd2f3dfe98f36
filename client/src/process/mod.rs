//! The client's loop: one poller for the network, forwarded connections, listeners, signals and jobs. How a connection
//! is made, served and made again is in `stages.rs`, how the program ends in `end.rs`.

mod end;
mod stages;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use sockward_drive::{Buffers, Env, Session, Subject};
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::spawn::Child;
use sockward_sys::{limits, terminal};

use crate::FAILURE;
use crate::authenticate::Unlocked;
use crate::background::{Background, Beside};
use crate::control::client::{self, Attempt};
use crate::control::master::Master;
use crate::forwards::local::Listeners;
use crate::jobs::Jobs;
use crate::login::Lasting;
use crate::plan::Plan;
use crate::reconnect::{Kept, Reconnect};
use crate::watched::Watched;
use end::Haste;
use stages::{Connected, Stage, Turn};

/// Events taken from the poller at once.
const EVENTS: usize = 1024;

/// An exit status.
type Exit = u8;

/// The process. What stands beside the stage outlives a connection.
struct Process {
    plan: Arc<Plan>,
    poll: Poll,
    buffers: Buffers,
    jobs: Jobs,
    signals: Signals,
    lasting: Lasting,
    /// Whether a lost connection is made again, and how far that is.
    reconnect: Option<Reconnect>,
    kept: Kept,
    /// Proxy commands of connections before, until they have ended.
    retired: Vec<Child>,
    stage: Stage,
}

/// Makes the connection that is planned and serves it to its end.
pub(crate) fn run(plan: Plan) -> Exit {
    let result = if plan.persists() { run_beside(plan) } else { run_here(plan) };
    result.unwrap_or_else(|e| {
        log::error!(target: "fatal", "{e}");
        FAILURE
    })
}

fn run_here(plan: Plan) -> io::Result<Exit> {
    let background = Background::prepare(&plan)?;
    Process::new(plan, background)?.serve()
}

/// ControlPersist: the connection is made and kept by a process that goes to the background; this one uses it as
/// any other client.
fn run_beside(mut plan: Plan) -> io::Result<Exit> {
    match Background::beside()? {
        Beside::Child(background) => {
            plan.keep_connection_only();
            Process::new(plan, background)?.serve()
        }
        Beside::Parent(attendant) => {
            attendant.wait();
            plan.use_connection_only();
            match client::attempt(&plan) {
                Attempt::Ended(exit) => Ok(exit),
                Attempt::NoMaster => Err(io::Error::other("Failed to connect to new control master")),
            }
        }
    }
}

impl Process {
    fn new(plan: Plan, background: Background) -> io::Result<Self> {
        // Whoever started us with a signal ignored (nohup) means it.
        let endings = [Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate];
        let mut wanted: Vec<Signal> = endings.into_iter().filter(|signal| !signal.is_ignored()).collect();
        wanted.push(Signal::WindowChange);
        let signals = Signals::new(&wanted)?;
        let poll = Poll::new()?;
        let jobs = Jobs::new(&poll, Watched::Jobs.token())?;
        let fd = signals.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Watched::Signals.token(), Interest::READABLE)?;
        if let Err(e) = limits::raise_nofile().and_then(|_| limits::no_core_files()) {
            log::debug!("cannot set limits: {e}");
        }
        let unlocked = Unlocked::keeping(plan.reconnects());
        let mut process = Process {
            reconnect: Reconnect::of(&plan),
            kept: Kept { host_key: None, unlocked },
            retired: Vec::new(),
            plan: Arc::new(plan),
            poll,
            buffers: Buffers::default(),
            jobs,
            signals,
            lasting: Lasting {
                listeners: Listeners::default(),
                background,
                control: Master::default(),
                held: None,
            },
            stage: Stage::Over,
        };
        process.connect()?;
        Ok(process)
    }

    fn serve(&mut self) -> io::Result<Exit> {
        let mut events = Events::with_capacity(EVENTS);
        let mut busy = true;
        loop {
            let until = if busy { Some(Instant::now()) } else { self.deadline() };
            self.wait(&mut events, until)?;
            let now = Instant::now();
            for event in &events {
                self.ready(event, now);
            }
            if let Some(exit) = self.signalled()? {
                return Ok(exit);
            }
            busy = match self.turn(now)? {
                Turn::Idle => false,
                Turn::Busy => true,
                Turn::End(exit) => return Ok(exit),
            };
        }
    }

    fn wait(&mut self, events: &mut Events, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let (stage, other) = match &self.stage {
            Stage::Connecting(connector) => (connector.deadline(), None),
            Stage::Meeting(meeting, limit) => (meeting.deadline(), *limit),
            Stage::Connected(connected) => {
                let all = [connected.session.deadline(), connected.app.deadline()];
                (all.into_iter().flatten().min(), connected.too_late_at())
            }
            Stage::Away(until) => (Some(*until), None),
            Stage::Over => (None, None),
        };
        let listeners = &self.lasting.listeners;
        let listeners = if self.is_away() { listeners.hold_deadline() } else { listeners.deadline() };
        [stage, other, listeners].into_iter().flatten().min()
    }

    /// Whether there was a connection and is none.
    fn is_away(&self) -> bool {
        self.reconnect.as_ref().is_some_and(Reconnect::is_away)
    }

    /// Notes what the poller says, for the turn.
    fn ready(&mut self, event: &mio::event::Event, now: Instant) {
        let subject = Subject::of(event.token());
        let watched = match subject {
            Some(Subject::App(number)) => Watched::of(number),
            Some(Subject::Net { .. } | Subject::Pump { .. }) | None => None,
        };
        match watched {
            Some(Watched::Listener(n)) => self.lasting.listeners.ready(n),
            Some(Watched::Control(n)) => self.lasting.control.ready(n),
            _ => {}
        }
        let Stage::Connected(connected) = &mut self.stage else { return };
        let Connected { session, app, .. } = &mut **connected;
        match watched {
            Some(watched) => {
                let mut env = Env { registry: self.poll.registry(), buffers: &mut self.buffers, now };
                // An error has ended the connection, which the turn finds out.
                let _ = app.ready(watched, session, &mut env);
            }
            None => note(session, event),
        }
    }

    /// Obeys signals. Before the login one ends this process as if nobody handled it.
    fn signalled(&mut self) -> io::Result<Option<Exit>> {
        while let Some(signal) = self.signals.next()? {
            let connected = match &mut self.stage {
                Stage::Connected(connected) => Some(&mut **connected),
                Stage::Connecting(_) | Stage::Meeting(..) | Stage::Away(_) | Stage::Over => None,
            };
            let established = self.reconnect.as_ref().is_some_and(Reconnect::is_established);
            match (signal, connected) {
                (Signal::WindowChange | Signal::Child, Some(connected)) => {
                    // An error has ended the connection, which the turn finds out.
                    let _ = connected.app.window_changed(&mut connected.session);
                }
                (Signal::WindowChange | Signal::Child, None) => {}
                (_, connected)
                    if !established && connected.as_ref().is_none_or(|c| !c.app.is_logged_in()) =>
                {
                    terminal::restore_all();
                    self.stage = Stage::Over;
                    signal.end_process();
                }
                (Signal::Terminate, _) if !self.plan.has_session() => {
                    return self.finish(0, Haste::Yes).map(Some);
                }
                (Signal::Hangup | Signal::Interrupt | Signal::Quit | Signal::Terminate, _) => {
                    let exit = self.finish(FAILURE, Haste::Yes)?;
                    log::info!(target: "verbose", "Killed by signal {}.", signal.raw());
                    return Ok(Some(exit));
                }
            }
        }
        Ok(None)
    }
}

/// Notes what the poller says about the connection's descriptors.
fn note(session: &mut Session, event: &mio::event::Event) {
    match Subject::of(event.token()) {
        Some(Subject::Net { .. }) => session.net_ready(event),
        Some(Subject::Pump { pump, role, .. }) => session.pump_ready(pump, role, event),
        // Jobs, signals and the connector are looked after in each turn.
        Some(Subject::App(_)) | None => {}
    }
}
