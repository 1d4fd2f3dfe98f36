//! The monitor's loop: accepts, hears its links, keeps the time. One thread, never blocked: whatever could
//! wait is done by another process.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use sockward_privsep::Outcome;
use sockward_privsep::worker::{Control, Nothing};
use sockward_sys::daemon::PidFile;
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::spawn::Child;
use sockward_sys::tcp::Listener;
use sockward_sys::time;

use crate::audit::Audit;
use crate::auth::ServerSelf;
use crate::connection::{Connection, World};
use crate::helpers::Helpers;
use crate::host_keys::HostKeys;
use crate::options::Options;
use crate::processes::{Processes, Started};
use crate::search::Job;
use crate::settings::Settings;
use crate::startups::Startups;

/// Messages taken off one link before others have their turn.
pub(crate) const MESSAGES_AT_ONCE: usize = 64;
/// How long an ended process may take to go before it is killed.
const DYING: Duration = Duration::from_secs(10);
/// How long the end of the server waits for helpers to remove their sockets.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// What an event of the poller is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    Listener(usize),
    Worker(usize),
    Reader(Job, usize),
    Helper(usize),
}

impl Source {
    pub(crate) fn token(self) -> Token {
        let (kind, index) = match self {
            Source::Signals => (0, 0),
            Source::Listener(i) => (1, i),
            Source::Worker(i) => (2, i),
            Source::Helper(i) => (3, i),
            Source::Reader(Job::Account, i) => (4, i),
            Source::Reader(Job::Guard, i) => (5, i),
            Source::Reader(Job::Command, i) => (6, i),
        };
        Token(index << 3 | kind)
    }

    fn of(token: Token) -> Option<Self> {
        let index = token.0 >> 3;
        Some(match token.0 & 7 {
            0 => Source::Signals,
            1 => Source::Listener(index),
            2 => Source::Worker(index),
            3 => Source::Helper(index),
            4 => Source::Reader(Job::Account, index),
            5 => Source::Reader(Job::Guard, index),
            6 => Source::Reader(Job::Command, index),
            _ => return None,
        })
    }
}

/// The server.
pub(crate) struct Server {
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    pub(crate) keys: HostKeys,
    pub(crate) me: ServerSelf,
    pub(crate) identification: String,
    pub(crate) processes: Processes,
    pub(crate) helpers: Helpers,
    pub(crate) audit: Audit,
    /// For the numbers of connections.
    pub(crate) started: u64,
    pub(crate) next_connection: u64,
    pub(crate) connections: Vec<Option<Box<Connection>>>,
    pub(crate) startups: Startups,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) pid_file: Option<PidFile>,
    /// Shared workers: none where each connection has its own.
    pub(crate) carriers: Vec<Carrier>,
    pub(crate) poll: Poll,
    pub(crate) message: Vec<u8>,
    pub(crate) now: Instant,
    /// `LoginGraceTime` of each connection.
    pub(crate) deadlines: BTreeSet<(Instant, usize)>,
    /// Processes whose links have ended.
    dying: Vec<(Child, Instant)>,
    /// Ends with its one connection (`-i`, `-d`).
    pub(crate) single: bool,
    /// The status to end with.
    pub(crate) status: u8,
    ending: bool,
}

/// A shared worker.
pub(crate) struct Carrier {
    pub(crate) process: Started<Control, Nothing>,
    pub(crate) load: usize,
}

/// What a server is made of.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    pub(crate) keys: HostKeys,
    pub(crate) me: ServerSelf,
    pub(crate) identification: String,
    pub(crate) processes: Processes,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) audit: Audit,
}

impl Server {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { options, settings, keys, me, identification, processes, listeners, audit } = parts;
        let single = options.inetd || options.debug > 0;
        Ok(Server {
            options,
            settings,
            keys,
            me,
            identification,
            processes,
            helpers: Helpers::default(),
            audit,
            started: time::unix_seconds(),
            next_connection: 0,
            connections: Vec::new(),
            startups: Startups::default(),
            listeners,
            pid_file: None,
            carriers: Vec::new(),
            poll: Poll::new()?,
            message: vec![0; sockward_sys::link::MESSAGE_MAX],
            now: Instant::now(),
            deadlines: BTreeSet::new(),
            dying: Vec::new(),
            single,
            status: 0,
            ending: false,
        })
    }

    /// Serves until a signal says otherwise, or the one connection has ended.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let wanted = [Signal::Child, Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate];
        let signals = Signals::new(&wanted)?;
        watch(&self.poll, signals.as_fd(), Source::Signals, Interest::READABLE)?;
        self.watch_listeners()?;
        let mut events = Events::with_capacity(256);
        while !self.ending {
            let timeout = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            self.now = Instant::now();
            for event in &events {
                match Source::of(event.token()) {
                    Some(Source::Signals) => self.signalled(&signals)?,
                    Some(Source::Listener(index)) => self.accept(index),
                    Some(Source::Worker(index)) => self.hear_worker(index),
                    Some(Source::Reader(job, index)) => self.hear_reader(job, index),
                    Some(Source::Helper(index)) => self.hear_helper(index),
                    None => {}
                }
            }
            self.keep_time();
            self.audit.keep_time(self.now, false);
            self.audit.flush();
        }
        self.last_things();
        Ok(())
    }

    pub(crate) fn unwatch(&self, listener: &Listener) {
        // It is watched; and if it were not, that is what is wanted.
        let _ = self.poll.registry().deregister(&mut SourceFd(&listener.as_fd().as_raw_fd()));
    }

    pub(crate) fn watch_listeners(&self) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            watch(&self.poll, listener.as_fd(), Source::Listener(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// What decisions are made from.
    pub(crate) fn world(&self) -> World<'_> {
        World { config: &self.settings.config, keys: &self.keys, server: self.me, now: self.now }
    }

    /// Ends the loop after this round.
    pub(crate) fn end(&mut self, status: u8) {
        self.ending = true;
        self.status = status;
    }

    /// A process's link has ended: it will go by itself, or be made to.
    pub(crate) fn bury(&mut self, mut child: Child) {
        if !matches!(child.try_wait(), Ok(Some(_))) {
            self.dying.push((child, self.now + DYING));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let dying = self.dying.iter().map(|(_, at)| *at).min();
        let audit = self.audit.next_time();
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(dying).chain(audit).min()
    }

    fn keep_time(&mut self) {
        while let Some((_, index)) = self.deadlines.first().filter(|(at, _)| *at <= self.now).copied() {
            self.grace_over(index);
        }
        for (child, at) in &mut self.dying {
            if *at <= self.now {
                // It may have gone this very moment.
                let _ = child.kill();
                *at = self.now + DYING;
            }
        }
        self.dying.retain_mut(|(child, _)| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
    }

    fn signalled(&mut self, signals: &Signals) -> io::Result<()> {
        while let Some(signal) = signals.next()? {
            match signal {
                Signal::Child => {
                    self.dying.retain_mut(|(child, _)| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
                }
                // With -i there is nothing to reload: a client that ends says so with it (ssh to its ProxyCommand).
                Signal::Hangup if !self.options.inetd => {
                    log::info!("Received SIGHUP; reloading.");
                    self.reload();
                }
                // A terminal's business; never asked for.
                Signal::WindowChange => {}
                Signal::Hangup | Signal::Interrupt | Signal::Quit | Signal::Terminate => {
                    log::info!("Received signal {}; terminating.", signal.raw());
                    self.end(0);
                }
            }
        }
        Ok(())
    }

    /// Takes what a helper says.
    fn hear_helper(&mut self, index: usize) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(helper) = self.helpers.get_mut(index) else { return };
            let heard =
                helper.process.channel.flush().and_then(|()| helper.process.channel.hear(&mut self.message));
            let result = match heard {
                Ok(Outcome::Message(message, fd)) => helper.said(message, fd, &mut self.audit),
                Ok(Outcome::Empty) => return,
                Ok(Outcome::End) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) => Err(e),
            };
            if let Err(e) = result {
                if e.kind() != io::ErrorKind::UnexpectedEof {
                    log::error!("helper of uid {}: {e}", helper.uid());
                }
                // Its logins' links have ended with it, which ends their connections.
                if let Some(helper) = self.helpers.remove(index) {
                    helper.told_all(&mut self.audit);
                    self.bury(helper.process.child);
                }
                return;
            }
        }
        if let Some(helper) = self.helpers.get_mut(index)
            && let Err(e) = again(&self.poll, helper.process.channel.as_fd(), Source::Helper(index))
        {
            log::error!("helper of uid {}: {e}", helper.uid());
        }
    }

    /// All links end; helpers remove their sockets before they go.
    fn last_things(&mut self) {
        let connections = std::mem::take(&mut self.connections);
        for login in connections.iter().flatten().filter_map(|c| c.login.as_ref()) {
            self.audit.end(&login.subject, "the server ends", false, self.now);
        }
        self.audit.keep_time(self.now, true);
        let mut children: Vec<Child> = connections.into_iter().flatten().filter_map(|c| c.worker).collect();
        children.extend(std::mem::take(&mut self.carriers).into_iter().map(|c| c.process.child));
        children.extend(self.helpers.take_all().into_iter().map(|h| h.process.child));
        children.extend(std::mem::take(&mut self.dying).into_iter().map(|(child, _)| child));
        let until = Instant::now() + LAST_WAIT;
        while !children.is_empty() && Instant::now() < until {
            children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            std::thread::sleep(Duration::from_millis(5));
        }
        for child in children {
            let _ = child.kill();
        }
    }
}

/// Has the poller tell once more of a link from which not all was taken: the edge was used up.
pub(crate) fn again(poll: &Poll, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().reregister(&mut SourceFd(&fd.as_raw_fd()), source.token(), interest)
}

/// Has a descriptor watched, edge-triggered.
pub(crate) fn watch(poll: &Poll, fd: BorrowedFd<'_>, source: Source, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), source.token(), interest)
}
