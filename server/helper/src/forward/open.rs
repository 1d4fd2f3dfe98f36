//! Connections to targets (`-L`, `-D`, `-W`): decided, looked up, connected to without waiting, passed on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, vec};

use mio::Interest;
use sockward_policy::{By, Decision, ListKind, Permit, decide_open_tcp, names_some_paths};
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, Connection, Endpoint};
use sockward_sys::path::Place;
use sockward_sys::resolve::Forward;
use sockward_sys::{tcp, unix};

use super::paths;
use crate::caller::{Caller, Shared};
use crate::connections::Connections;
use crate::poller::{Subject, Watched};
use crate::refused::{Refused, though_allowed};
use crate::shown;

/// Connections of one login that are being opened. Their answers fit in the queue of the worker's link.
const OPENS_MAX: usize = 2048;
/// The longest name of a user (LOGIN_NAME_MAX of Linux).
const NAME_MAX: usize = 256;
/// How long one address is tried. The kernel asks five times within it (RFC 6298 §2 timing, doubled each time).
const TRY: Duration = Duration::from_secs(32);
/// How long a socket whose backlog is full is tried, and the pause at first and at most.
const BACKLOG_TRY: Duration = Duration::from_secs(10);
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// One login's connections that are being opened, by the worker's number.
#[derive(Debug, Default)]
pub(crate) struct Opens {
    pending: HashMap<u64, Opening>,
}

#[derive(Debug)]
struct Opening {
    asked: Asked,
    step: Step,
}

/// What was asked for, in words, and the line that allows it.
#[derive(Debug)]
struct Asked {
    target: Rc<str>,
    by: By,
}

/// What an opening waits for.
#[derive(Debug)]
enum Step {
    /// The addresses of the host.
    Addresses { port: u16 },
    /// A connection; the other addresses are tried after it.
    Connection { socket: OwnedFd, watched: Watched, address: SocketAddr, rest: vec::IntoIter<SocketAddr> },
    /// Who the user is that must listen there.
    Owner { place: Place, name: String },
    /// Room in a socket's backlog.
    Backlog { place: Place, owner: Option<u32>, pause: Duration, until: Instant },
}

/// What a step led to.
enum Outcome {
    /// Connected; and to what, in words.
    Connected(OwnedFd, String),
    /// The next step, and when it is over at the latest.
    Wait(Step, Option<Instant>),
}

impl Opens {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The worker asks for a connection.
    pub(crate) fn requested(
        &mut self,
        id: u64,
        target: &Endpoint,
        owner: Option<&[u8]>,
        connections: &mut Connections,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let shown: Rc<str> = shown::endpoint(target).into();
        let begun = connections.check_room(self.pending.len(), caller).and_then(|()| {
            if self.pending.len() >= OPENS_MAX {
                return Err(Refused::shortage("too many connections are being opened"));
            }
            begin(id, target, owner, caller)
        });
        match begun {
            Ok((by, outcome)) => {
                self.settle(id, Asked { target: shown, by }, Ok(outcome), connections, caller)
            }
            Err(refused) => refuse(id, &shown, refused, caller),
        }
    }

    /// A connection was made or failed, or its time is over.
    pub(crate) fn progressed(
        &mut self,
        id: u64,
        time_is_over: bool,
        connections: &mut Connections,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let Some(Opening { asked, step }) = self.pending.remove(&id) else { return Ok(()) };
        let subject = Subject::Open(caller.login, id);
        let outcome = match step {
            // The look-up has its own time.
            Step::Addresses { port } => Ok(Outcome::Wait(Step::Addresses { port }, None)),
            Step::Connection { socket, watched, address, rest } => match tcp::connect_result(&socket) {
                Ok(false) if !time_is_over => {
                    self.pending.insert(
                        id,
                        Opening { asked, step: Step::Connection { socket, watched, address, rest } },
                    );
                    return Ok(());
                }
                result => {
                    caller.shared.poller.unwatch(&socket, watched);
                    match result {
                        Ok(true) => Ok(connected(socket, address)),
                        Ok(false) => connect(rest, io::ErrorKind::TimedOut.into(), subject, caller.shared),
                        Err(e) => connect(rest, e, subject, caller.shared),
                    }
                }
            },
            Step::Owner { place, name } => connect_owned(place, name, caller),
            Step::Backlog { place, owner, pause, until } => {
                connect_path(place, owner, pause, until, caller.permit, caller.shared)
            }
        };
        self.settle(id, asked, outcome, connections, caller)
    }

    /// It may be known who users are that must listen somewhere.
    pub(crate) fn owners_progressed(
        &mut self,
        connections: &mut Connections,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let waiting = self.pending.iter().filter(|(_, o)| matches!(o.step, Step::Owner { .. }));
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.progressed(id, false, connections, caller)?;
        }
        Ok(())
    }

    /// The addresses of a host have come.
    pub(crate) fn resolved(
        &mut self,
        id: u64,
        answer: &Forward,
        connections: &mut Connections,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let Some(Opening { asked, step: Step::Addresses { port } }) = self.pending.remove(&id) else {
            return Ok(());
        };
        let outcome = connect_any(answer, port, Subject::Open(caller.login, id), caller.shared);
        self.settle(id, asked, outcome, connections, caller)
    }

    fn settle(
        &mut self,
        id: u64,
        asked: Asked,
        outcome: Result<Outcome, Refused>,
        connections: &mut Connections,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let subject = Subject::Open(caller.login, id);
        match outcome {
            Ok(Outcome::Wait(step, until)) => {
                if let Some(until) = until {
                    caller.shared.timers.set(subject, until);
                }
                self.pending.insert(id, Opening { asked, step });
                Ok(())
            }
            Ok(Outcome::Connected(socket, real)) => {
                caller.shared.timers.clear(subject);
                let connection = Connection::Opened(id);
                let Asked { target, by } = asked;
                caller.event(Event::Open {
                    connection,
                    target: target.to_string(),
                    result: Ok(real),
                    by: Some(by),
                });
                connections.began(connection, target, caller.shared.now);
                caller.pass(&Answer::Opened { id }, socket)
            }
            Err(refused) => {
                caller.shared.timers.clear(subject);
                let by = refused.by.or(Some(asked.by));
                refuse(id, &asked.target, Refused { by, ..refused }, caller)
            }
        }
    }
}

fn refuse(id: u64, target: &str, refused: Refused, caller: &mut Caller<'_>) -> io::Result<()> {
    caller.refuse(id, &refused)?;
    let Refused { log, by, .. } = refused;
    let (connection, target) = (Connection::Opened(id), target.to_owned());
    caller.event(Event::Open { connection, target, result: Err(log), by });
    Ok(())
}

fn begin(
    id: u64,
    target: &Endpoint,
    owner: Option<&[u8]>,
    caller: &mut Caller<'_>,
) -> Result<(By, Outcome), Refused> {
    match target {
        Endpoint::Tcp { .. } if owner.is_some() => {
            Err(Refused::failed("a port's listener is not looked at (TargetOwner)"))
        }
        Endpoint::Tcp { host, port } => {
            let port = u16::try_from(*port).map_err(|_| Refused::failed("no such port"))?;
            let by = match decide_open_tcp(caller.permit, host, port) {
                Decision::Allowed { by, grant: () } => by,
                Decision::Refused(refusal) => return Err(refusal.into()),
            };
            let subject = Subject::Open(caller.login, id);
            let outcome = connect_host(host, port, subject, caller.shared);
            though_allowed(outcome, &by).map(|outcome| (by, outcome))
        }
        Endpoint::Path(path) => {
            let (place, by) = paths::permitted(caller.permit, path, &paths::OPEN)?;
            let outcome = match owner.map(owner_name).transpose()? {
                Some(name) => connect_owned(place, name, caller),
                None => connect_first(place, None, caller),
            };
            though_allowed(outcome, &by).map(|outcome| (by, outcome))
        }
    }
}

fn connect_host(host: &[u8], port: u16, subject: Subject, shared: &mut Shared) -> Result<Outcome, Refused> {
    let host = std::str::from_utf8(host).map_err(|_| Refused::failed("not a host name"))?;
    match shared.look_up(host, subject) {
        Some(known) => connect_any(&known, port, subject, shared),
        None => Ok(Outcome::Wait(Step::Addresses { port }, None)),
    }
}

fn connect_any(
    answer: &Forward,
    port: u16,
    subject: Subject,
    shared: &mut Shared,
) -> Result<Outcome, Refused> {
    let addresses = answer.as_ref().map_err(|e| Refused::failed(&e.0))?;
    let with_port = |address: &SocketAddr| {
        let mut address = *address;
        address.set_port(port);
        address
    };
    let addresses: Vec<_> = addresses.iter().map(with_port).collect();
    connect(addresses.into_iter(), io::ErrorKind::AddrNotAvailable.into(), subject, shared)
}

/// Tries the addresses in order until one is connected or takes its time. `last` is what the one before said.
fn connect(
    mut rest: vec::IntoIter<SocketAddr>,
    mut last: io::Error,
    subject: Subject,
    shared: &mut Shared,
) -> Result<Outcome, Refused> {
    while let Some(address) = rest.next() {
        let tried =
            tcp::connect(address, None).and_then(|socket| Ok((tcp::connect_result(&socket)?, socket)));
        match tried {
            Ok((_, socket)) if shared.is_short(&socket) => {
                return Err(Refused::shortage("too many open files"));
            }
            Ok((true, socket)) => return Ok(connected(socket, address)),
            Ok((false, socket)) => {
                let watched = shared.poller.watch(&socket, subject, Interest::WRITABLE)?;
                let until = shared.now + TRY;
                return Ok(Outcome::Wait(Step::Connection { socket, watched, address, rest }, Some(until)));
            }
            Err(e) if shown::is_shortage(&e) => return Err(e.into()),
            Err(e) => last = e,
        }
    }
    Err(last.into())
}

fn connected(socket: OwnedFd, address: SocketAddr) -> Outcome {
    // A connection that is gone again says so to whoever uses it.
    let _ = tcp::set_nodelay(&socket);
    Outcome::Connected(socket, address.to_string())
}

/// A user's name or number. What no name can be is not looked up.
fn owner_name(owner: &[u8]) -> Result<String, Refused> {
    let name = std::str::from_utf8(owner).ok().filter(|name| !name.is_empty() && name.len() <= NAME_MAX);
    match name.filter(|name| !name.chars().any(char::is_control)) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Refused::failed("not a user's name (TargetOwner)")),
    }
}

/// Connects to the socket of one user alone, as soon as it is known who that is.
fn connect_owned(place: Place, name: String, caller: &mut Caller<'_>) -> Result<Outcome, Refused> {
    let uid = match name.parse() {
        Ok(uid) => Some(uid),
        Err(_) => match caller.shared.user_id(caller.login, &name) {
            Some(uid) => uid,
            // The look-up has its own time, and the login gets a turn.
            None => return Ok(Outcome::Wait(Step::Owner { place, name }, None)),
        },
    };
    match uid {
        Some(uid) => connect_first(place, Some(uid), caller),
        None => Err(Refused::failed("no such user on this host (TargetOwner)")),
    }
}

fn connect_first(place: Place, owner: Option<u32>, caller: &Caller<'_>) -> Result<Outcome, Refused> {
    let until = caller.shared.now + BACKLOG_TRY;
    connect_path(place, owner, PAUSE_FIRST, until, caller.permit, caller.shared)
}

/// Whether this user listens at the other end: the kernel tells who called listen(2). Asked of the very connection
/// that is passed on, so nothing can be put in its place.
fn check_owner(socket: &OwnedFd, owner: u32) -> Result<(), Refused> {
    match unix::peer(socket)?.uid {
        Some(uid) if uid == owner => Ok(()),
        Some(uid) => {
            let refused = Refused::failed("another user listens there (TargetOwner)");
            Err(Refused { log: format!("uid {uid} listens there, not {owner} (TargetOwner)"), ..refused })
        }
        None => Err(Refused::failed("it cannot be known who listens there (TargetOwner)")),
    }
}

/// How many names a socket may have that this login connects to.
pub(super) fn names_of(permit: &Permit) -> unix::Names {
    match names_some_paths(permit, ListKind::PermitOpen) {
        true => unix::Names::One,
        false => unix::Names::Any,
    }
}

fn connect_path(
    place: Place,
    owner: Option<u32>,
    pause: Duration,
    until: Instant,
    permit: &Permit,
    shared: &Shared,
) -> Result<Outcome, Refused> {
    match unix::connect(&place, names_of(permit)) {
        Ok(socket) if shared.is_short(&socket) => Err(Refused::shortage("too many open files")),
        Ok(socket) => {
            if let Some(owner) = owner {
                check_owner(&socket, owner)?;
            }
            Ok(Outcome::Connected(socket, shown::path(&place.path())))
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock && shared.now < until => {
            let next = (shared.now + pause).min(until);
            let pause = (pause * 2).min(PAUSE_MAX);
            Ok(Outcome::Wait(Step::Backlog { place, owner, pause, until }, Some(next)))
        }
        Err(e) => Err(e.into()),
    }
}
