//! One login: its link to the worker, and everything it has going on.
//!
//! The worker may have been taken over. What it can do is ask for what the permit allows, at the price of its own
//! login's room; nonsense ends the login and nothing else.

use std::io;

use sockward_policy::{Permit, Variable};
use sockward_privsep::helper;
use sockward_privsep::login::{Answer, Endpoint, Refusal, Request};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;
use sockward_sys::resolve::Forward;
use sockward_sys::spawn::Child;

use crate::caller::{Caller, Shared};
use crate::connections::Connections;
use crate::forward::{Listeners, Opens, answer_probe};
use crate::session::{self, Sessions};

/// Requests taken before other logins have their turn.
const REQUESTS_AT_ONCE: usize = 64;

/// One login.
#[derive(Debug)]
pub(crate) struct Login {
    id: u64,
    permit: Permit,
    /// For SSH_CONNECTION.
    addresses: [String; 4],
    pub(crate) link: Channel<Answer, Request>,
    /// Something may be there to read.
    link_ready: bool,
    /// The highest number of a question so far.
    last: Option<u64>,
    opens: Opens,
    listeners: Listeners,
    sessions: Sessions,
    connections: Connections,
    /// Stands in the list of logins whose turn comes.
    pub(crate) queued: bool,
    /// Its client was heard of.
    alive: bool,
}

/// Whether a login has more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Busy,
    Idle,
}

/// The end of a login.
#[derive(Debug)]
pub(crate) enum End {
    /// The worker has closed the link.
    Closed,
    /// The link is of no more use.
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => End::Closed,
            _ => End::Broken(e),
        }
    }
}

impl Login {
    pub(crate) fn new(login: helper::Login, link: Link) -> Self {
        let helper::Login { id, permit, connection, label: _ } = login;
        Login {
            id,
            permit,
            addresses: connection,
            link: Channel::new(link),
            link_ready: true,
            last: None,
            opens: Opens::default(),
            listeners: Listeners::default(),
            sessions: Sessions::default(),
            connections: Connections::default(),
            queued: false,
            alive: false,
        }
    }

    /// Something may have come on the link, or there may be room on it again.
    pub(crate) fn link_is_ready(&mut self) {
        self.link_ready = true;
    }

    /// Takes requests, then connections, as far as the worker keeps up with the answers.
    pub(crate) fn turn(&mut self, shared: &mut Shared, buffer: &mut [u8]) -> Result<Status, End> {
        self.link.flush()?;
        let mut left = REQUESTS_AT_ONCE;
        while self.link_ready && left > 0 {
            let (_, caller) = self.parts(shared);
            if caller.is_behind() {
                // The link wakes us when the worker has caught up.
                return Ok(Status::Idle);
            }
            left -= 1;
            match self.link.hear(buffer)? {
                Outcome::Message(request, None) => self.requested(request, shared)?,
                Outcome::Message(_, Some(_)) => {
                    return Err(End::Broken(io::Error::other("a descriptor from a worker")));
                }
                Outcome::Empty => self.link_ready = false,
                Outcome::End => return Err(End::Closed),
            }
        }
        let (parts, mut caller) = self.parts(shared);
        parts.opens.owners_progressed(parts.connections, &mut caller)?;
        let more = parts.listeners.accept(parts.opens.len(), parts.connections, &mut caller)?;
        let behind = caller.is_behind();
        Ok(if more || (self.link_ready && !behind) { Status::Busy } else { Status::Idle })
    }

    fn requested(&mut self, request: Request, shared: &mut Shared) -> io::Result<()> {
        let number = number(&request);
        let fresh = number.is_none_or(|n| self.last.is_none_or(|last| n > last));
        self.last = number.max(self.last);
        let (parts, mut caller) = self.parts(shared);
        let caller = &mut caller;
        if let (false, Some(id)) = (fresh, number) {
            let text = "the number of a question was used before".to_owned();
            return caller.answer(&Answer::Refused { id, why: Refusal::Failed, text });
        }
        let Parts { opens, listeners, sessions, connections, addresses } = parts;
        match request {
            Request::Open { id, target } => opens.requested(id, &target, None, connections, caller),
            Request::OpenOwned { id, path, owner } => {
                opens.requested(id, &Endpoint::Path(path), Some(&owner), connections, caller)
            }
            Request::Probe { id, listen, at } => answer_probe(id, listen, &at, caller),
            Request::Listen { id, at } => listeners.requested(id, at, caller),
            Request::Unlisten { id, at } => listeners.cancelled(id, &at, caller),
            Request::Closed { connection, received, sent } => {
                connections.closed(connection, received, sent, caller);
                Ok(())
            }
            Request::OpenSession { id } => sessions.requested(id, caller),
            Request::Env { id, session, name, value } => {
                sessions.variable(id, session, Variable { name, value }, caller)
            }
            Request::Execute { id, session, what } => sessions.execute(id, session, &what, addresses, caller),
            Request::Terminal { id, session, term, size, modes } => {
                sessions.terminal(id, session, session::Asked { term, size, modes }, caller)
            }
            Request::WindowChange { session, size } => {
                sessions.resize(session, size);
                Ok(())
            }
            Request::Signal { session, name } => {
                sessions.signal(session, &name);
                Ok(())
            }
            Request::CloseSession { session } => {
                sessions.closed(session);
                Ok(())
            }
            Request::Alive => {
                self.alive = true;
                Ok(())
            }
        }
    }

    /// A connection that is being opened was made or failed, or its time is over.
    pub(crate) fn open_progressed(
        &mut self,
        id: u64,
        time_is_over: bool,
        shared: &mut Shared,
    ) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.opens.progressed(id, time_is_over, parts.connections, &mut caller)
    }

    /// A listener that is being made has waited long enough.
    pub(crate) fn birth_due(&mut self, id: u64, shared: &mut Shared) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.listeners.birth_due(id, &mut caller)
    }

    /// Another login wants a name of this one: is its client there?
    pub(crate) fn ask_alive(&mut self) -> io::Result<()> {
        self.link.say(&Answer::AskAlive, None)
    }

    /// Whether its client was heard of since that was asked last.
    pub(crate) fn take_alive(&mut self) -> bool {
        std::mem::take(&mut self.alive)
    }

    /// The login that holds a wanted name is alive and keeps it.
    pub(crate) fn holder_is_there(&mut self, id: u64, shared: &mut Shared) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.listeners.holder_is_there(id, &mut caller)
    }

    /// Gives up a name: its client was silent while another login of the same user wanted it.
    pub(crate) fn evict(&mut self, path: &[u8], shared: &mut Shared) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.listeners.evict(path, &mut caller)
    }

    /// The monitor has set the group of a socket, or not.
    pub(crate) fn group_set(
        &mut self,
        id: u64,
        error: Option<String>,
        shared: &mut Shared,
    ) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.listeners.group_set(id, error, &mut caller)
    }

    /// The addresses of a connection's target have come.
    pub(crate) fn target_resolved(
        &mut self,
        id: u64,
        answer: &Forward,
        shared: &mut Shared,
    ) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.opens.resolved(id, answer, parts.connections, &mut caller)
    }

    /// The addresses of a listener have come.
    pub(crate) fn listener_resolved(
        &mut self,
        id: u64,
        answer: &Forward,
        shared: &mut Shared,
    ) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.listeners.resolved(id, answer, &mut caller)
    }

    /// Somebody may have connected to a listener.
    pub(crate) fn listener_ready(&mut self, number: u64) {
        self.listeners.ready(number);
    }

    /// A listener may accept again.
    pub(crate) fn listener_resumes(&mut self, number: u64) {
        self.listeners.resume(number);
    }

    /// Commands may have ended.
    pub(crate) fn reap(&mut self, shared: &mut Shared) -> io::Result<()> {
        let (parts, mut caller) = self.parts(shared);
        parts.sessions.reap(&mut caller)
    }

    /// Ends everything at once, socket files too. What its commands leave running comes back, to be reaped.
    pub(crate) fn close(self, shared: &mut Shared) -> impl Iterator<Item = Child> {
        let Login { id, mut listeners, sessions, .. } = self;
        listeners.close(id, shared);
        shared.forget_login(id);
        sessions.into_children()
    }

    fn parts<'a>(&'a mut self, shared: &'a mut Shared) -> (Parts<'a>, Caller<'a>) {
        let Login { id, permit, addresses, link, opens, listeners, sessions, connections, .. } = self;
        let parts = Parts { opens, listeners, sessions, connections, addresses };
        (parts, Caller { login: *id, permit, link, shared })
    }
}

/// What a login has going on.
struct Parts<'a> {
    opens: &'a mut Opens,
    listeners: &'a mut Listeners,
    sessions: &'a mut Sessions,
    connections: &'a mut Connections,
    addresses: &'a [String; 4],
}

/// The number of a question; none of what is not answered.
fn number(request: &Request) -> Option<u64> {
    match request {
        Request::Open { id, .. }
        | Request::OpenOwned { id, .. }
        | Request::Probe { id, .. }
        | Request::Listen { id, .. }
        | Request::Unlisten { id, .. }
        | Request::OpenSession { id }
        | Request::Env { id, .. }
        | Request::Terminal { id, .. }
        | Request::Execute { id, .. } => Some(*id),
        Request::Closed { .. }
        | Request::WindowChange { .. }
        | Request::Signal { .. }
        | Request::CloseSession { .. }
        | Request::Alive => None,
    }
}
