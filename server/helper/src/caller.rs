//! What the parts of a login are lent to do their work: the login's permit and link, and what all logins share.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use sockward_policy::Permit;
use sockward_privsep::Channel;
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, Request};

use crate::forward::{Conflicts, HeldNames};
use crate::names::Names;
use crate::poller::Poller;
use crate::refused::Refused;
use crate::report::Monitor;
use crate::resolver::Resolver;
use crate::timers::Timers;

/// Answers that may wait for a worker before no more requests and connections are taken for it. The link bears
/// far more: what is under way by then still fits.
pub(crate) const ANSWERS_MAX: usize = 64;

/// Descriptors that are kept free: a new login's link must not meet a full table, for then the monitor's link
/// would be lost, and every login with it.
const DESCRIPTORS_FREE: u64 = 64;

/// What all logins share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) monitor: Monitor,
    pub(crate) poller: Poller,
    pub(crate) timers: Timers,
    pub(crate) resolver: Resolver,
    pub(crate) names: Names,
    /// The names in the file system that logins of this helper listen at.
    pub(crate) held: HeldNames,
    /// Logins that want a name of another's.
    pub(crate) conflicts: Conflicts,
    /// Sockets whose group the monitor was asked to set: the login and its question, by our own.
    pub(crate) groups: HashMap<u64, (u64, u64)>,
    pub(crate) next_group: u64,
    pub(crate) now: Instant,
    /// The file mode creation mask of commands.
    pub(crate) umask: u32,
    /// The most descriptors of this process.
    pub(crate) descriptors: u64,
}

impl Shared {
    /// Whether a descriptor that was just made is among the last ones. The kernel hands out the lowest free
    /// number, so its number tells how full the table is.
    pub(crate) fn is_short(&self, fd: impl AsFd) -> bool {
        let number = u64::try_from(fd.as_fd().as_raw_fd()).unwrap_or(0);
        number + DESCRIPTORS_FREE >= self.descriptors
    }

    /// A login is gone.
    pub(crate) fn forget_login(&mut self, login: u64) {
        self.poller.forget_login(login);
        self.timers.forget_login(login);
        self.groups.retain(|_, (of, _)| *of != login);
        self.forget_lookups(login);
        self.forget_names(login);
        self.conflicts.forget_login(login);
    }
}

/// A login as its parts see it.
pub(crate) struct Caller<'a> {
    pub(crate) login: u64,
    pub(crate) permit: &'a Permit,
    pub(crate) link: &'a mut Channel<Answer, Request>,
    pub(crate) shared: &'a mut Shared,
}

/// Errors mean that the worker's link is of no more use: the login ends.
impl Caller<'_> {
    /// Answers the worker.
    pub(crate) fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        self.link.say(answer, None)
    }

    /// Passes the worker a descriptor: a connected stream socket or the end of a pipe, never anything else.
    pub(crate) fn pass(&mut self, answer: &Answer, fd: OwnedFd) -> io::Result<()> {
        self.link.say(answer, Some(fd))
    }

    /// Refuses a request.
    pub(crate) fn refuse(&mut self, id: u64, refused: &Refused) -> io::Result<()> {
        self.answer(&Answer::Refused { id, why: refused.why, text: refused.text.clone() })
    }

    /// Tells the monitor a fact.
    pub(crate) fn event(&mut self, event: Event) {
        self.shared.monitor.event(self.login, event);
    }

    /// Whether the worker is behind: nothing more is taken for it until it catches up.
    pub(crate) fn is_behind(&self) -> bool {
        self.link.backlog() >= ANSWERS_MAX
    }
}
