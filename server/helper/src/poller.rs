//! What the poller watches, and what each watched descriptor is about. Numbers are never used twice, so that a
//! late event can only be about something that is gone.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// What an event or a deadline is about. Logins by the monitor's number, the rest by numbers of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    /// The monitor's link.
    Monitor,
    /// A signal.
    Signals,
    /// A login's link.
    Link(u64),
    /// A connection being opened.
    Open(u64, u64),
    /// A listener being made.
    Birth(u64, u64),
    /// A listener.
    Listener(u64, u64),
    /// A child that looks up a name.
    Lookup(u64),
    /// A child that looks up who stands behind the names of a permit.
    Names(u64),
}

impl Subject {
    /// Whose it is.
    pub(crate) fn login(self) -> Option<u64> {
        match self {
            Subject::Monitor | Subject::Signals | Subject::Lookup(_) | Subject::Names(_) => None,
            Subject::Link(login)
            | Subject::Open(login, _)
            | Subject::Birth(login, _)
            | Subject::Listener(login, _) => Some(login),
        }
    }
}

/// The poller.
#[derive(Debug)]
pub(crate) struct Poller {
    poll: Poll,
    subjects: HashMap<Token, Subject>,
    next: usize,
}

/// A watched descriptor; to be handed back with it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Watched(Token);

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Poller { poll: Poll::new()?, subjects: HashMap::new(), next: 0 })
    }

    /// Has a descriptor watched, edge-triggered.
    pub(crate) fn watch(
        &mut self,
        fd: impl AsFd,
        subject: Subject,
        interest: Interest,
    ) -> io::Result<Watched> {
        let token = Token(self.next);
        self.next += 1;
        self.poll.registry().register(&mut SourceFd(&fd.as_fd().as_raw_fd()), token, interest)?;
        self.subjects.insert(token, subject);
        Ok(Watched(token))
    }

    /// Before a descriptor is closed or passed on: a copy elsewhere would keep it in the poller.
    pub(crate) fn unwatch(&mut self, fd: impl AsFd, watched: Watched) {
        self.subjects.remove(&watched.0);
        // It is watched; and if it were not, that is what is wanted.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_fd().as_raw_fd()));
    }

    /// A login is gone, and its descriptors are closed.
    pub(crate) fn forget_login(&mut self, login: u64) {
        self.subjects.retain(|_, subject| subject.login() != Some(login));
    }

    /// What an event is about; none if that is gone.
    pub(crate) fn subject(&self, token: Token) -> Option<Subject> {
        self.subjects.get(&token).copied()
    }

    /// Waits for events.
    pub(crate) fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }
}
