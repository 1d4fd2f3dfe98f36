//! Listeners (`-R`): the requests for them, those that listen, and their end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use mio::Interest;
use sockward_policy::{BindAddress, By, Decision, Limited, PeerList, decide_listen_tcp, decide_one_more};
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, Endpoint, Refusal};
use sockward_sys::resolve::Forward;
use sockward_sys::{tcp, unix};

use super::birth::{Birth, Births};
use super::held::Held;
use crate::caller::{Caller, Shared};
use crate::poller::{Subject, Watched};
use crate::refused::Refused;
use crate::shown;

/// Connections that wait in the kernel while the worker is behind. OpenSSH has 128, which a burst of a browser's
/// or a load test's connections overruns; the system's own limit (somaxconn) holds besides.
pub(super) const BACKLOG: i32 = 1024;
/// Listeners of one login, whatever the permit says. Each takes up to three descriptors.
const LISTENERS_MAX: usize = 1024;

/// One login's listeners.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(super) all: BTreeMap<u64, Listener>,
    births: Births,
    next: u64,
}

/// What listens for one request.
#[derive(Debug)]
pub(super) struct Listener {
    /// As asked for; with port 0, the port that was bound.
    at: Endpoint,
    pub(super) shown: Rc<str>,
    pub(super) sockets: Sockets,
    watched: Vec<Watched>,
    /// Somebody may have connected.
    pub(super) ready: bool,
    /// Nothing is accepted for a moment: there is no room.
    pub(super) paused: bool,
    _held: Option<Held>,
}

/// One or more sockets.
#[derive(Debug)]
pub(super) enum Sockets {
    /// One for each address, on one port.
    Tcp(Vec<tcp::Listener>),
    /// One in the file system.
    Unix(unix::Listener),
}

/// A listener that was asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) at: Endpoint,
    pub(super) shown: String,
    /// The line that allows it.
    pub(super) by: By,
    /// Its name in the file system.
    pub(super) held: Option<Held>,
}

/// What a request led to so far.
pub(super) enum Outcome {
    Listening(Wanted, Sockets),
    Wait(Birth),
}

impl Listeners {
    /// Those that listen and those that are being made.
    fn count(&self) -> usize {
        self.all.len() + self.births.len()
    }

    /// The worker asks for a listener.
    pub(crate) fn requested(&mut self, id: u64, at: Endpoint, caller: &mut Caller<'_>) -> io::Result<()> {
        let shown = shown::endpoint(&at);
        let outcome = self.begin(id, at, shown.clone(), caller);
        self.settle(id, &shown, outcome, caller)
    }

    fn begin(
        &mut self,
        id: u64,
        at: Endpoint,
        shown: String,
        caller: &mut Caller<'_>,
    ) -> Result<Outcome, Refused> {
        decide_one_more(caller.permit, Limited::Listeners, self.count()).into_result()?;
        if self.count() >= LISTENERS_MAX {
            return Err(Refused::shortage(format!(
                "too many: a login has at most {LISTENERS_MAX} listeners"
            )));
        }
        if self.all.values().any(|l| l.at == at) {
            return Err(Refused::failed("this login listens there already"));
        }
        match &at {
            Endpoint::Tcp { host, port } => {
                let port = u16::try_from(*port).map_err(|_| Refused::failed("no such port"))?;
                let (by, address) = match decide_listen_tcp(caller.permit, host, port) {
                    Decision::Allowed { by, grant } => (by, grant),
                    Decision::Refused(refusal) => return Err(refusal.into()),
                };
                if let Some(PeerList { source, .. }) = caller.permit.peers.first() {
                    // Until the kernel is asked whose the other end is, nobody could be let in.
                    let what = "who connects to a port cannot be told by this version (PermitPeer)";
                    return Err(Refused::by(By::Rule(source.clone()), what));
                }
                let wanted = Wanted { at, shown, by, held: None };
                match address {
                    BindAddress::Loopback => bind(wanted, &tcp::loopback(port)),
                    BindAddress::Wildcard => bind(wanted, &tcp::wildcard(port)),
                    BindAddress::Host(host) => {
                        let host = String::from_utf8(host).map_err(|_| Refused::failed("not a host name"))?;
                        match caller.shared.look_up(&host, Subject::Birth(caller.login, id)) {
                            Some(known) => bind_any(wanted, &known, port),
                            None => Ok(Outcome::Wait(Birth::of_addresses(wanted, port))),
                        }
                    }
                }
            }
            Endpoint::Path(path) => {
                let path = path.clone();
                Birth::begin(id, at, &path, shown, caller)
            }
        }
    }

    /// The addresses to listen on have come.
    pub(crate) fn resolved(&mut self, id: u64, answer: &Forward, caller: &mut Caller<'_>) -> io::Result<()> {
        let Some((wanted, port)) = self.births.take_waiting_for_addresses(id) else { return Ok(()) };
        let shown = wanted.shown.clone();
        self.settle(id, &shown, bind_any(wanted, answer, port), caller)
    }

    /// A listener that is being made has waited long enough.
    pub(crate) fn birth_due(&mut self, id: u64, caller: &mut Caller<'_>) -> io::Result<()> {
        let Some(birth) = self.births.take(id) else { return Ok(()) };
        let shown = birth.wanted.shown.clone();
        self.settle(id, &shown, birth.due(id, caller), caller)
    }

    /// The monitor has set the group of a socket, or not.
    pub(crate) fn group_set(
        &mut self,
        id: u64,
        error: Option<String>,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let Some(birth) = self.births.take(id) else { return Ok(()) };
        caller.shared.timers.clear(Subject::Birth(caller.login, id));
        let shown = birth.wanted.shown.clone();
        self.settle(id, &shown, birth.group_set(error), caller)
    }

    fn settle(
        &mut self,
        id: u64,
        shown: &str,
        outcome: Result<Outcome, Refused>,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let listening = outcome.and_then(|outcome| match outcome {
            Outcome::Listening(wanted, sockets) => self.watch(wanted, sockets, caller).map(Some),
            Outcome::Wait(birth) => {
                self.births.add(id, birth, caller);
                Ok(None)
            }
        });
        let (result, by, answer) = match listening {
            Ok(None) => return Ok(()),
            Ok(Some((listener, port, real, by))) => {
                (Ok(real), Some(by), Answer::Listening { id, listener, port })
            }
            Err(Refused { why, text, log, by }) => (Err(log), by, Answer::Refused { id, why, text }),
        };
        caller.event(Event::Listen { at: shown.to_owned(), result, by });
        caller.answer(&answer)
    }

    /// Has the sockets of a new listener watched. Its number, its port and where it really is.
    fn watch(
        &mut self,
        wanted: Wanted,
        sockets: Sockets,
        caller: &mut Caller<'_>,
    ) -> Result<(u64, Option<u16>, String, By), Refused> {
        let Wanted { at, shown, by, held } = wanted;
        let number = self.next;
        let subject = Subject::Listener(caller.login, number);
        let poller = &mut caller.shared.poller;
        let (watched, port, real) = match &sockets {
            Sockets::Tcp(all) => {
                let addresses: Vec<_> = all.iter().map(|l| l.address().to_string()).collect();
                let port = all.first().map(|l| l.address().port());
                let watched: io::Result<Vec<_>> =
                    all.iter().map(|l| poller.watch(l, subject, Interest::READABLE)).collect();
                (watched?, port, addresses.join(" "))
            }
            Sockets::Unix(listener) => {
                let watched = poller.watch(listener, subject, Interest::READABLE)?;
                (vec![watched], None, shown::path(listener.path()))
            }
        };
        let at = match (at, port) {
            (Endpoint::Tcp { host, .. }, Some(port)) => Endpoint::Tcp { host, port: port.into() },
            (at, _) => at,
        };
        let shown = shown.into();
        let listener = Listener { at, shown, sockets, watched, ready: false, paused: false, _held: held };
        self.next += 1;
        self.all.insert(number, listener);
        Ok((number, port, real, by))
    }

    /// The worker wants a listener no more.
    pub(crate) fn cancelled(&mut self, id: u64, at: &Endpoint, caller: &mut Caller<'_>) -> io::Result<()> {
        let number = self.all.iter().find(|(_, l)| l.at == *at).map(|(number, _)| *number);
        let Some((number, listener)) = number.and_then(|n| Some((n, self.all.remove(&n)?))) else {
            let (why, text) = (Refusal::Failed, "this login does not listen there".to_owned());
            return caller.answer(&Answer::Refused { id, why, text });
        };
        listener.close(caller.login, number, caller.shared);
        caller.answer(&Answer::Unlistened { id, listener: number })
    }

    /// The login is over: listeners and what is being made go with their files.
    pub(crate) fn close(&mut self, login: u64, shared: &mut Shared) {
        self.births = Births::default();
        for (number, listener) in std::mem::take(&mut self.all) {
            listener.close(login, number, shared);
        }
    }

    /// Somebody may have connected.
    pub(crate) fn ready(&mut self, number: u64) {
        if let Some(listener) = self.all.get_mut(&number) {
            listener.ready = true;
        }
    }

    /// There may be room again.
    pub(crate) fn resume(&mut self, number: u64) {
        if let Some(listener) = self.all.get_mut(&number) {
            listener.paused = false;
        }
    }
}

impl Listener {
    fn close(self, login: u64, number: u64, shared: &mut Shared) {
        let Listener { shown, sockets, watched, .. } = self;
        shared.timers.clear(Subject::Listener(login, number));
        let mut watched = watched.into_iter();
        match sockets {
            Sockets::Tcp(all) => {
                for (socket, watched) in all.iter().zip(watched) {
                    shared.poller.unwatch(socket, watched);
                }
            }
            Sockets::Unix(listener) => {
                if let Some(watched) = watched.next() {
                    shared.poller.unwatch(&listener, watched);
                }
                match listener.close() {
                    Ok(removal) => log::debug!("{shown}: socket file: {removal:?}"),
                    Err(e) => log::error!("{shown}: the socket file cannot be removed: {e}"),
                }
            }
        }
        shared.monitor.event(login, Event::Unlisten { at: shown.to_string() });
    }
}

fn bind_any(wanted: Wanted, answer: &Forward, port: u16) -> Result<Outcome, Refused> {
    let addresses = answer.as_ref().map_err(|e| Refused::failed(&e.0))?;
    let with_port = |address: &SocketAddr| {
        let mut address = *address;
        address.set_port(port);
        address
    };
    bind(wanted, &addresses.iter().map(with_port).collect::<Vec<_>>())
}

/// Listens on all addresses or on none. OpenSSH is content with one of two; but who connects to the other, which
/// somebody else may hold, would not reach this login.
fn bind(wanted: Wanted, addresses: &[SocketAddr]) -> Result<Outcome, Refused> {
    let mut group = tcp::Listener::bind_group(addresses, BACKLOG)?;
    match group.failed.pop() {
        None => Ok(Outcome::Listening(wanted, Sockets::Tcp(group.listeners))),
        Some((address, e)) => {
            let Refused { why, text, .. } = Refused::from(e);
            Err(Refused { why, ..Refused::failed(format!("{address}: {text}")) })
        }
    }
}
