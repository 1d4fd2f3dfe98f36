//! Accepting: who connected is asked and held against the permit before the worker hears of it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use sockward_policy::By;
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, Connection};
use sockward_sys::tcp;

use super::listen::{Listener, Listeners, Sockets};
use super::peer::{self, Identity};
use crate::caller::Caller;
use crate::connections::Connections;
use crate::poller::Subject;
use crate::refused::Refused;
use crate::shown;

/// Connections accepted for one login before others have their turn.
const ACCEPTS_AT_ONCE: usize = 64;
/// How long nothing is accepted when there is no room for it: the kernel keeps the connections meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections of one login that wait for the name service; nothing more is accepted meanwhile.
const WAITING_MAX: usize = 16;

/// A connection as it was accepted.
struct Accepted {
    socket: OwnedFd,
    /// Where it comes from, by TCP.
    from: Option<SocketAddr>,
}

/// A connection of which it is known who it is, but not yet who stands behind the names of the permit's lists.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) listener: u64,
    at: Rc<str>,
    socket: OwnedFd,
    from: Option<SocketAddr>,
    identity: Identity,
}

impl Listeners {
    /// Accepts what there is, as far as the worker keeps up. True if there is more for the next turn. `opening` is
    /// how many connections are being opened beside.
    pub(crate) fn accept(
        &mut self,
        opening: usize,
        connections: &mut Connections,
        caller: &mut Caller<'_>,
    ) -> io::Result<bool> {
        for waiting in std::mem::take(&mut self.waiting) {
            self.waiting.extend(take(waiting, opening, connections, caller)?);
        }
        let mut left = ACCEPTS_AT_ONCE;
        for (&number, listener) in &mut self.all {
            while listener.ready && !listener.paused {
                if caller.is_behind() || self.waiting.len() >= WAITING_MAX {
                    // Its link wakes us when it has caught up, and so does the name service.
                    return Ok(false);
                }
                if left == 0 {
                    return Ok(true);
                }
                left -= 1;
                match listener.sockets.accept() {
                    Ok(accepted) if caller.shared.is_short(&accepted.socket) => {
                        listener.pause(number, "too many open files", caller);
                    }
                    Ok(accepted) => {
                        let identified = accepted.identify(number, &listener.shown);
                        self.waiting.extend(take(identified, opening, connections, caller)?);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => listener.ready = false,
                    Err(e) => listener.pause(number, &shown::error(&e), caller),
                }
            }
        }
        Ok(false)
    }
}

impl Listener {
    fn pause(&mut self, number: u64, why: &str, caller: &mut Caller<'_>) {
        log::debug!("{}: accept: {why}", self.shown);
        self.paused = true;
        caller.shared.timers.set(Subject::Listener(caller.login, number), caller.shared.now + PAUSE);
    }
}

impl Sockets {
    fn accept(&self) -> io::Result<Accepted> {
        match self {
            Sockets::Unix { listener, .. } => Ok(Accepted { socket: listener.accept()?, from: None }),
            Sockets::Tcp(all) => {
                for listener in all {
                    match listener.accept() {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        other => return other.map(|(socket, from)| Accepted { socket, from: Some(from) }),
                    }
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

impl Accepted {
    /// Asks the kernel who it is: at once, before the other end can do anything but wait.
    fn identify(self, listener: u64, at: &Rc<str>) -> Waiting {
        let Accepted { socket, from } = self;
        let identity = match from {
            None => peer::of_process(&socket),
            Some(from) => peer::of_connection(&socket, from),
        };
        Waiting { listener, at: Rc::clone(at), socket, from, identity }
    }
}

/// Decides on a connection and passes it on. One that is refused is closed at once; one on which it cannot be
/// decided yet comes back.
fn take(
    waiting: Waiting,
    opening: usize,
    connections: &mut Connections,
    caller: &mut Caller<'_>,
) -> io::Result<Option<Waiting>> {
    let names = match waiting.identity.asks(caller.permit) {
        None => None,
        Some(uid) => match caller.shared.identities(caller.login, caller.permit, uid) {
            Some(names) => names,
            None => return Ok(Some(waiting)),
        },
    };
    let Waiting { listener, at, socket, from, identity } = waiting;
    let room = connections.check_room(opening, caller);
    let decided = identity.decide(caller.permit, names.as_deref());
    let number = connections.next_accepted();
    let connection = Connection::Accepted(number);
    let event = |refused: Option<String>, by: Option<By>| Event::Connection {
        connection,
        at: at.to_string(),
        peer: identity.peer.clone(),
        refused,
        by,
    };
    match room.and(decided) {
        Err(Refused { log, by, .. }) => {
            caller.event(event(Some(log), by));
            Ok(None)
        }
        Ok(by) => {
            caller.event(event(None, Some(by)));
            if from.is_some() {
                // A connection that is gone again says so to whoever uses it.
                let _ = tcp::set_nodelay(&socket);
            }
            connections.began(connection, Rc::clone(&at), caller.shared.now);
            let origin = from.map(|address| (address.ip().to_string(), address.port()));
            caller.pass(&Answer::Accepted { listener, connection: number, origin }, socket)?;
            Ok(None)
        }
    }
}
