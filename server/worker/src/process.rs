//! The worker's loop: waits for descriptors, gives each connection that has something to do its turn.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use sockward_drive::{Buffers, End, Env, Session, Status, Subject};
use sockward_privsep::worker::{Control, FromWorker, Nothing, ToWorker};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;

use crate::application::{Application, LinkEnd};
use crate::logger;
use crate::login::Login;
use crate::timers::Timers;

/// The poller's numbers for our links.
const CONTROL: usize = 0;

pub(crate) fn monitor_link(index: usize) -> usize {
    1 + 2 * index
}

pub(crate) fn helper_link(index: usize) -> usize {
    2 + 2 * index
}

/// Events taken from the poller at once.
const EVENTS: usize = 1024;

/// One connection of this process.
struct Slot {
    app: Application,
    session: Option<Session>,
    monitor_ready: bool,
    helper_ready: bool,
    /// Stands in the list of connections whose turn comes.
    queued: bool,
}

/// The process.
pub(crate) struct Process {
    poll: Poll,
    buffers: Buffers,
    message: Vec<u8>,
    timers: Timers,
    slots: Vec<Option<Box<Slot>>>,
    turns: VecDeque<usize>,
    /// A shared worker's source of connections.
    control: Option<Channel<Nothing, Control>>,
}

impl Process {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Process {
            poll: Poll::new()?,
            buffers: Buffers::default(),
            message: Channel::<FromWorker, ToWorker>::buffer(),
            timers: Timers::default(),
            slots: Vec::new(),
            turns: VecDeque::new(),
            control: None,
        })
    }

    /// Takes connections from a control link.
    pub(crate) fn serve(&mut self, link: Link) -> io::Result<()> {
        let control = Channel::plain(link);
        watch(&self.poll, &control, CONTROL)?;
        self.control = Some(control);
        Ok(())
    }

    /// Takes one connection. `reserved`: see [`Application`].
    pub(crate) fn add(&mut self, link: Link, reserved: Option<OwnedFd>) -> io::Result<()> {
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let app = Application::new(index, link, reserved);
        watch(&self.poll, &app.monitor, monitor_link(index))?;
        let slot = Slot { app, session: None, monitor_ready: true, helper_ready: false, queued: false };
        if index == self.slots.len() {
            self.slots.push(None);
        }
        if let Some(place) = self.slots.get_mut(index) {
            *place = Some(Box::new(slot));
        }
        self.queue(index);
        Ok(())
    }

    /// Runs until there is nothing left to serve.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while self.control.is_some() || self.slots.iter().any(Option::is_some) {
            let timeout = match (self.turns.is_empty(), self.timers.next()) {
                (false, _) => Some(std::time::Duration::ZERO),
                (true, at) => at.map(|at| at.saturating_duration_since(Instant::now())),
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            let now = Instant::now();
            for event in &events {
                self.ready(event)?;
            }
            while let Some(index) = self.timers.expired(now) {
                self.queue(index);
            }
            for _ in 0..self.turns.len() {
                if let Some(index) = self.turns.pop_front() {
                    self.turn(index, now);
                }
            }
        }
        Ok(())
    }

    fn queue(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut)
            && !std::mem::replace(&mut slot.queued, true)
        {
            self.turns.push_back(index);
        }
    }

    /// Notes what the poller says, for the turn of whom it concerns.
    fn ready(&mut self, event: &mio::event::Event) -> io::Result<()> {
        let index = match Subject::of(event.token()) {
            Some(Subject::App(CONTROL)) => return self.new_connections(),
            Some(Subject::App(n)) => {
                let index = (n - 1) / 2;
                if let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) {
                    slot.monitor_ready |= n == monitor_link(index);
                    slot.helper_ready |= n == helper_link(index);
                }
                index
            }
            Some(Subject::Net { session, .. }) => {
                if let Some(session) = self.session(session) {
                    session.net_ready(event);
                }
                session
            }
            Some(Subject::Pump { session, pump, role }) => {
                if let Some(session) = self.session(session) {
                    session.pump_ready(pump, role, event);
                }
                session
            }
            None => return Ok(()),
        };
        self.queue(index);
        Ok(())
    }

    fn session(&mut self, index: usize) -> Option<&mut Session> {
        self.slots.get_mut(index)?.as_mut()?.session.as_mut()
    }

    fn new_connections(&mut self) -> io::Result<()> {
        loop {
            let Some(control) = &mut self.control else { return Ok(()) };
            match control.hear(&mut self.message)? {
                Outcome::Message(Control::Connection, Some(fd)) => self.add(Link::from_fd(fd)?, None)?,
                Outcome::Message(Control::Connection, None) => {
                    return Err(io::Error::other("a connection without its link"));
                }
                Outcome::Empty => return Ok(()),
                // The monitor has gone: no more connections, and those there are end by their own links.
                Outcome::End => self.control = None,
            }
        }
    }

    fn turn(&mut self, index: usize, now: Instant) {
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else { return };
        slot.queued = false;
        let mut env = Env { registry: self.poll.registry(), buffers: &mut self.buffers, now };
        let result = slot.turn(&mut env, &mut self.message);
        slot.send_log();
        match result {
            Ok(status) => {
                let deadline = slot.session.as_ref().and_then(Session::deadline);
                let due = slot.app.login.as_ref().and_then(Login::deadline);
                let deadline = deadline.into_iter().chain(due).min();
                self.timers.set(index, deadline);
                if let Some(place) = self.slots.get_mut(index) {
                    *place = Some(slot);
                }
                if status == Status::Busy {
                    self.queue(index);
                }
            }
            Err(why) => {
                self.timers.set(index, None);
                // The last word goes ahead of the end of the link, if the monitor still listens.
                let _ = slot.app.monitor.say(&FromWorker::Ended { why }, None);
            }
        }
    }
}

impl Slot {
    /// What the links said, then what the descriptors allow. The error is the reason of the end.
    fn turn(&mut self, env: &mut Env<'_>, message: &mut [u8]) -> Result<Status, String> {
        let Slot { app, session, monitor_ready, helper_ready, .. } = self;
        if *monitor_ready {
            let more = app.hear_monitor(session, env, message);
            *monitor_ready = ended(more, session)?;
        }
        let Some(session) = session else { return Ok(Status::Idle) };
        if *helper_ready && !app.is_proving() {
            let more = app.hear_helper(session, env, message);
            *helper_ready = match more {
                Ok(more) => more,
                Err(LinkEnd::Broken(why)) => {
                    session.conn.disconnect(&why);
                    false
                }
                Err(LinkEnd::Protocol(e)) => return Err(e.to_string()),
            };
        }
        if let Some(login) = &mut app.login {
            login.keep_time(session, env.now).map_err(|e| e.to_string())?;
        }
        let worked = session.work(env, app);
        if let Some(login) = &mut app.login {
            login.note_use(session, env.now);
        }
        match worked {
            Ok(_) if *monitor_ready || *helper_ready && !app.is_proving() => Ok(Status::Busy),
            Ok(status) => Ok(status),
            Err(End::Lost) => Err("Connection closed by remote host".into()),
            Err(End::Done) => Err("disconnected".into()),
            Err(End::Protocol(e)) => Err(e.to_string()),
        }
    }

    fn send_log(&mut self) {
        for (level, text) in logger::take() {
            // A log line that the monitor does not take is lost; its link's end shows at the next turn.
            let _ = self.app.monitor.say(&FromWorker::Log { level, text }, None);
        }
    }
}

/// The end of the monitor's link ends the connection without a word: its facts are gone.
fn ended(result: Result<bool, LinkEnd>, session: &mut Option<Session>) -> Result<bool, String> {
    result.map_err(|end| {
        *session = None;
        match end {
            LinkEnd::Broken(why) => why,
            LinkEnd::Protocol(e) => e.to_string(),
        }
    })
}

fn watch(poll: &Poll, fd: &impl AsFd, number: usize) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut SourceFd(&fd.as_fd().as_raw_fd()), Subject::App(number).token(), interest)
}
