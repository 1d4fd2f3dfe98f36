//! The helper's loop: hears the monitor, gives each login that has something to do its turn, keeps the time, reaps.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use mio::{Events, Interest};
use sockward_privsep::helper::{self, FromHelper, ToHelper};
use sockward_privsep::login::{Answer, Request};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::spawn::Child;

use crate::caller::Shared;
use crate::forward::{Conflicts, HeldNames};
use crate::login::{End, Login, Status};
use crate::names::Names;
use crate::poller::{Poller, Subject};
use crate::report::Monitor;
use crate::resolver::Resolver;
use crate::timers::Timers;

/// Events taken from the poller at once.
const EVENTS: usize = 256;
/// What sshd takes from its mask at least, so that nobody else can write what commands make.
const UMASK_AT_LEAST: u32 = 0o022;

/// The process.
#[derive(Debug)]
pub(crate) struct Process {
    shared: Shared,
    signals: Signals,
    logins: HashMap<u64, Login>,
    /// Logins whose turn comes.
    turns: VecDeque<u64>,
    /// Commands of logins that are over.
    orphans: Vec<Child>,
    buffer: Vec<u8>,
    /// The monitor knows that there is nothing left.
    resting: bool,
}

/// Whether the process goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    Out,
}

impl Process {
    /// `descriptors`: the most that this process may have.
    pub(crate) fn new(
        monitor: Monitor,
        signals: Signals,
        descriptors: u64,
    ) -> Result<Self, (Monitor, io::Error)> {
        let watched = |poller: &mut Poller| {
            let (both, read) = (Interest::READABLE | Interest::WRITABLE, Interest::READABLE);
            let _ = poller.watch(&monitor, Subject::Monitor, both)?;
            let _ = poller.watch(&signals, Subject::Signals, read)?;
            io::Result::Ok(())
        };
        let poller = Poller::new().and_then(|mut poller| watched(&mut poller).map(|()| poller));
        let poller = match poller {
            Ok(poller) => poller,
            Err(e) => return Err((monitor, e)),
        };
        let shared = Shared {
            monitor,
            poller,
            timers: Timers::default(),
            resolver: Resolver::default(),
            names: Names::default(),
            held: HeldNames::default(),
            conflicts: Conflicts::default(),
            groups: HashMap::new(),
            next_group: 0,
            now: Instant::now(),
            umask: own_umask() | UMASK_AT_LEAST,
            descriptors,
        };
        Ok(Process {
            shared,
            signals,
            logins: HashMap::new(),
            turns: VecDeque::new(),
            orphans: Vec::new(),
            buffer: Channel::<Answer, Request>::buffer(),
            resting: true,
        })
    }

    /// Serves until the monitor has gone or a signal says so. Socket files are removed either way.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let result = self.serve();
        for id in self.logins.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
        self.shared.monitor.settle();
        result
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = match (self.turns.is_empty(), self.shared.timers.next()) {
                (false, _) => Some(Duration::ZERO),
                (true, at) => at.map(|at| at.saturating_duration_since(Instant::now())),
            };
            self.shared.poller.wait(&mut events, timeout)?;
            self.shared.now = Instant::now();
            for event in &events {
                // What an event of this round has closed is known no more.
                let Some(subject) = self.shared.poller.subject(event.token()) else { continue };
                if self.happened(subject)? == Going::Out {
                    return Ok(());
                }
            }
            while let Some(subject) = self.shared.timers.expired(self.shared.now) {
                self.due(subject);
            }
            self.hand_out_answers();
            for _ in 0..self.turns.len() {
                if let Some(id) = self.turns.pop_front() {
                    self.turn(id);
                }
            }
            self.hand_out_answers();
            self.rest()?;
            self.shared.monitor.settle();
        }
    }

    fn happened(&mut self, subject: Subject) -> io::Result<Going> {
        match subject {
            Subject::Monitor => return self.hear_monitor(),
            Subject::Signals => return self.signalled(),
            Subject::Link(id) => {
                if let Some(login) = self.logins.get_mut(&id) {
                    login.link_is_ready();
                }
                self.queue(id);
            }
            Subject::Listener(id, number) => {
                if let Some(login) = self.logins.get_mut(&id) {
                    login.listener_ready(number);
                }
                self.queue(id);
            }
            Subject::Open(id, number) => {
                self.with(id, |login, shared| login.open_progressed(number, false, shared));
            }
            Subject::Lookup(key) => self.shared.lookup_progressed(key),
            Subject::Names(key) => {
                if let Some(login) = self.shared.names_progressed(key, false) {
                    self.queue(login);
                }
            }
            // Births are not watched.
            Subject::Birth(..) => {}
        }
        Ok(Going::On)
    }

    fn due(&mut self, subject: Subject) {
        match subject {
            Subject::Open(id, number) => {
                self.with(id, |login, shared| login.open_progressed(number, true, shared));
            }
            Subject::Birth(id, number) => {
                self.with(id, |login, shared| login.birth_due(number, shared));
                for (holder, path) in self.shared.conflicts.take_evicted() {
                    self.with(holder, |login, shared| login.evict(&path, shared));
                }
            }
            Subject::Listener(id, number) => {
                if let Some(login) = self.logins.get_mut(&id) {
                    login.listener_resumes(number);
                }
                self.queue(id);
            }
            Subject::Lookup(key) => self.shared.lookup_expired(key),
            Subject::Names(key) => {
                if let Some(login) = self.shared.names_progressed(key, true) {
                    self.queue(login);
                }
            }
            // These have no deadlines.
            Subject::Monitor | Subject::Signals | Subject::Link(_) => {}
        }
    }

    /// Takes all that the monitor has said.
    fn hear_monitor(&mut self) -> io::Result<Going> {
        loop {
            match self.shared.monitor.hear(&mut self.buffer)? {
                Outcome::Message(ToHelper::Login(login), Some(link)) => self.log_in(*login, link)?,
                Outcome::Message(ToHelper::GroupSet { id, error }, None) => {
                    if let Some((login, birth)) = self.shared.groups.remove(&id) {
                        self.with(login, |login, shared| login.group_set(birth, error, shared));
                    }
                }
                Outcome::Message(ToHelper::EndLogin { login }, None) => self.close(login),
                Outcome::Message(..) => return Err(io::Error::other("a message that makes no sense")),
                Outcome::Empty => return Ok(Going::On),
                Outcome::End => return Ok(Going::Out),
            }
        }
    }

    fn log_in(&mut self, login: helper::Login, link: OwnedFd) -> io::Result<()> {
        let id = login.id;
        self.resting = false;
        let both = Interest::READABLE | Interest::WRITABLE;
        let begun = Link::from_fd(link).and_then(|link| {
            let _ = self.shared.poller.watch(&link, Subject::Link(id), both)?;
            Ok(Login::new(login, link))
        });
        match begun {
            Ok(login) => {
                self.logins.insert(id, login);
                self.queue(id);
                Ok(())
            }
            Err(e) => {
                log::error!("a login cannot begin: {e}");
                self.shared.monitor.tell(&FromHelper::LoginEnded { login: id }, None)
            }
        }
    }

    fn signalled(&mut self) -> io::Result<Going> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                Signal::Child => self.reap(),
                // Not asked for.
                Signal::WindowChange => {}
                Signal::Hangup | Signal::Interrupt | Signal::Quit | Signal::Terminate => {
                    return Ok(Going::Out);
                }
            }
        }
        Ok(Going::On)
    }

    fn reap(&mut self) {
        // One that cannot be waited for is somebody else's by now.
        self.orphans.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        for id in self.logins.keys().copied().collect::<Vec<_>>() {
            self.with(id, |login, shared| login.reap(shared));
        }
    }

    fn queue(&mut self, id: u64) {
        if let Some(login) = self.logins.get_mut(&id)
            && !std::mem::replace(&mut login.queued, true)
        {
            self.turns.push_back(id);
        }
    }

    fn turn(&mut self, id: u64) {
        let Some(login) = self.logins.get_mut(&id) else { return };
        login.queued = false;
        match login.turn(&mut self.shared, &mut self.buffer) {
            Ok(Status::Idle) => {}
            Ok(Status::Busy) => self.queue(id),
            Err(end) => self.end(id, &end),
        }
        for holder in self.shared.conflicts.take_asked() {
            self.with(holder, |login, _| login.ask_alive());
        }
        if self.logins.get_mut(&id).is_some_and(Login::take_alive) {
            for (asker, birth) in self.shared.conflicts.heard_of(id) {
                self.with(asker, |login, shared| login.holder_is_there(birth, shared));
            }
        }
    }

    /// Lets a login do something; an error of its link ends it.
    fn with(&mut self, id: u64, action: impl FnOnce(&mut Login, &mut Shared) -> io::Result<()>) {
        let Some(login) = self.logins.get_mut(&id) else { return };
        if let Err(e) = action(login, &mut self.shared) {
            self.end(id, &e.into());
        }
    }

    fn hand_out_answers(&mut self) {
        for (answer, waiters) in self.shared.take_answered() {
            for waiter in waiters {
                match waiter {
                    Subject::Open(id, number) => {
                        self.with(id, |login, shared| login.target_resolved(number, &answer, shared));
                    }
                    Subject::Birth(id, number) => {
                        self.with(id, |login, shared| login.listener_resolved(number, &answer, shared));
                    }
                    // Nobody else asks.
                    Subject::Monitor
                    | Subject::Signals
                    | Subject::Link(_)
                    | Subject::Listener(..)
                    | Subject::Lookup(_)
                    | Subject::Names(_) => {}
                }
            }
        }
    }

    fn end(&mut self, id: u64, end: &End) {
        if let End::Broken(e) = end {
            log::error!("login {id} is ended: its worker's link: {e}");
        }
        self.close(id);
    }

    fn close(&mut self, id: u64) {
        let Some(login) = self.logins.remove(&id) else { return };
        self.orphans.extend(login.close(&mut self.shared));
        // A link that has ended shows when it is read.
        let _ = self.shared.monitor.tell(&FromHelper::LoginEnded { login: id }, None);
    }

    /// Says that nothing is left, once. A helper ends when its link does, never by itself: a login may be on its
    /// way that only the monitor knows of.
    fn rest(&mut self) -> io::Result<()> {
        if !self.resting && self.logins.is_empty() && self.orphans.is_empty() {
            self.resting = true;
            self.shared.monitor.tell(&FromHelper::Idle, None)?;
        }
        Ok(())
    }
}

/// The mask this process was started with; 0 where it cannot be read.
fn own_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0)
}
