//! Listeners (`-R`): the requests for them, those that listen, and their end. How they are made is in `port.rs` and
//! `socket.rs`, what connects to them in `accept.rs`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;

use mio::Interest;
use sockward_policy::{By, Limited, decide_one_more};
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, Endpoint, Refusal};
use sockward_sys::resolve::Forward;
use sockward_sys::{tcp, unix};

use super::accept::Waiting;
use super::held::Held;
use super::{port, socket};
use crate::caller::{Caller, Shared};
use crate::poller::{Subject, Watched};
use crate::refused::{Refused, though_allowed};
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
    /// Those that are being made, by the worker's number.
    births: HashMap<u64, Birth>,
    /// Connections on which it cannot be decided yet.
    pub(super) waiting: Vec<Waiting>,
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
}

/// One or more sockets.
#[derive(Debug)]
pub(super) enum Sockets {
    /// One for each address, on one port.
    Tcp(Vec<tcp::Listener>),
    /// One in the file system, and its name.
    Unix { listener: unix::Listener, held: Held },
}

/// A listener that is being made.
#[derive(Debug)]
struct Birth {
    at: Endpoint,
    /// The line that allows it.
    by: By,
    step: Step,
}

/// What a birth waits for.
#[derive(Debug)]
pub(super) enum Step {
    /// The addresses to bind.
    Addresses { port: u16 },
    /// Something in the file system.
    Socket(socket::Stage),
}

/// What a step led to.
pub(super) enum Outcome {
    Listening(Sockets),
    Wait(Step),
}

impl Listeners {
    /// The worker asks for a listener.
    pub(crate) fn requested(&mut self, id: u64, at: Endpoint, caller: &mut Caller<'_>) -> io::Result<()> {
        let begun = self.check_room(&at, caller).and_then(|()| match &at {
            Endpoint::Tcp { host, port } => port::begin(id, host, *port, caller),
            Endpoint::Path(path) => socket::begin(id, path, caller),
        });
        match begun {
            Ok((by, outcome)) => self.settle(id, at, by, Ok(outcome), caller),
            Err(refused) => refuse(id, &at, refused, caller),
        }
    }

    fn check_room(&self, at: &Endpoint, caller: &Caller<'_>) -> Result<(), Refused> {
        let count = self.all.len() + self.births.len();
        decide_one_more(caller.permit, Limited::Listeners, count).into_result()?;
        if count >= LISTENERS_MAX {
            return Err(Refused::shortage(format!(
                "too many: a login has at most {LISTENERS_MAX} listeners"
            )));
        }
        if self.all.values().any(|l| l.at == *at) {
            return Err(Refused::failed("this login listens there already"));
        }
        Ok(())
    }

    /// The addresses to listen on have come.
    pub(crate) fn resolved(&mut self, id: u64, answer: &Forward, caller: &mut Caller<'_>) -> io::Result<()> {
        self.progress(id, caller, |step, _| match step {
            Step::Addresses { port } => port::resolved(answer, port),
            Step::Socket(stage) => Ok(Outcome::Wait(Step::Socket(stage))),
        })
    }

    /// A listener that is being made has waited long enough.
    pub(crate) fn birth_due(&mut self, id: u64, caller: &mut Caller<'_>) -> io::Result<()> {
        self.progress(id, caller, |step, caller| match step {
            // The look-up has its own time.
            Step::Addresses { port } => Ok(Outcome::Wait(Step::Addresses { port })),
            Step::Socket(stage) => stage.progress(id, caller),
        })
    }

    /// The monitor has set the group of a socket, or not.
    pub(crate) fn group_set(
        &mut self,
        id: u64,
        error: Option<String>,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        self.progress(id, caller, |step, _| match step {
            Step::Addresses { port } => Ok(Outcome::Wait(Step::Addresses { port })),
            Step::Socket(stage) => stage.group_set(error),
        })
    }

    /// The login that holds the name is alive and keeps it.
    pub(crate) fn holder_is_there(&mut self, id: u64, caller: &mut Caller<'_>) -> io::Result<()> {
        self.progress(id, caller, |step, _| match step {
            Step::Addresses { port } => Ok(Outcome::Wait(Step::Addresses { port })),
            Step::Socket(stage) => stage.holder_is_there(),
        })
    }

    /// Gives a name up to another login of the same user.
    pub(crate) fn evict(&mut self, path: &[u8], caller: &mut Caller<'_>) -> io::Result<()> {
        let holds = |step: &Step| matches!(step, Step::Socket(stage) if stage.holds(path));
        if let Some(id) = self.births.iter().find(|(_, birth)| holds(&birth.step)).map(|(id, _)| *id) {
            return self.progress(id, caller, |_, _| Err(socket::taken()));
        }
        let holds = |listener: &Listener| matches!(&listener.sockets, Sockets::Unix { held, .. } if held.path() == path);
        let number = self.all.iter().find(|(_, listener)| holds(listener)).map(|(number, _)| *number);
        if let Some((number, listener)) = number.and_then(|n| Some((n, self.all.remove(&n)?))) {
            log::error!(
                "{}: the client is silent, and another session of this user takes the name",
                listener.shown
            );
            self.waiting.retain(|waiting| waiting.listener != number);
            listener.close(caller.login, number, caller.shared);
        }
        Ok(())
    }

    /// What a birth waited for has come; one that is gone waited for nothing.
    fn progress(
        &mut self,
        id: u64,
        caller: &mut Caller<'_>,
        next: impl FnOnce(Step, &mut Caller<'_>) -> Result<Outcome, Refused>,
    ) -> io::Result<()> {
        let Some(Birth { at, by, step }) = self.births.remove(&id) else { return Ok(()) };
        caller.shared.timers.clear(Subject::Birth(caller.login, id));
        let outcome = next(step, caller);
        self.settle(id, at, by, outcome, caller)
    }

    fn settle(
        &mut self,
        id: u64,
        at: Endpoint,
        by: By,
        outcome: Result<Outcome, Refused>,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let sockets = match though_allowed(outcome, &by) {
            Ok(Outcome::Listening(sockets)) => sockets,
            Ok(Outcome::Wait(step)) => {
                if let Step::Socket(stage) = &step {
                    caller.shared.timers.set(Subject::Birth(caller.login, id), stage.due());
                }
                self.births.insert(id, Birth { at, by, step });
                return Ok(());
            }
            Err(refused) => return refuse(id, &at, refused, caller),
        };
        let shown = shown::endpoint(&at);
        let real = sockets.to_string();
        let port = sockets.port();
        let bound = match (&at, port) {
            (Endpoint::Tcp { host, .. }, Some(port)) => {
                Endpoint::Tcp { host: host.clone(), port: port.into() }
            }
            (at, _) => at.clone(),
        };
        match self.add(bound, &shown, sockets, caller) {
            Ok(listener) => {
                caller.event(Event::Listen { at: shown, result: Ok(real), by: Some(by) });
                caller.answer(&Answer::Listening { id, listener, port })
            }
            Err(e) => refuse(id, &at, e.into(), caller),
        }
    }

    /// Has a new listener's sockets watched; its number.
    fn add(
        &mut self,
        at: Endpoint,
        shown: &str,
        sockets: Sockets,
        caller: &mut Caller<'_>,
    ) -> io::Result<u64> {
        let number = self.next;
        let subject = Subject::Listener(caller.login, number);
        let poller = &mut caller.shared.poller;
        let watched = match &sockets {
            Sockets::Tcp(all) => {
                all.iter().map(|l| poller.watch(l, subject, Interest::READABLE)).collect::<io::Result<_>>()?
            }
            Sockets::Unix { listener, .. } => vec![poller.watch(listener, subject, Interest::READABLE)?],
        };
        let listener = Listener { at, shown: shown.into(), sockets, watched, ready: false, paused: false };
        self.next += 1;
        self.all.insert(number, listener);
        Ok(number)
    }

    /// The worker wants a listener no more.
    pub(crate) fn cancelled(&mut self, id: u64, at: &Endpoint, caller: &mut Caller<'_>) -> io::Result<()> {
        let number = self.all.iter().find(|(_, l)| l.at == *at).map(|(number, _)| *number);
        let Some((number, listener)) = number.and_then(|n| Some((n, self.all.remove(&n)?))) else {
            let (why, text) = (Refusal::Failed, "this login does not listen there".to_owned());
            return caller.answer(&Answer::Refused { id, why, text });
        };
        self.waiting.retain(|waiting| waiting.listener != number);
        listener.close(caller.login, number, caller.shared);
        caller.answer(&Answer::Unlistened { id, listener: number })
    }

    /// The login is over: listeners and what is being made go with their files.
    pub(crate) fn close(&mut self, login: u64, shared: &mut Shared) {
        self.births.clear();
        self.waiting.clear();
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

fn refuse(id: u64, at: &Endpoint, refused: Refused, caller: &mut Caller<'_>) -> io::Result<()> {
    caller.refuse(id, &refused)?;
    let Refused { log, by, .. } = refused;
    caller.event(Event::Listen { at: shown::endpoint(at), result: Err(log), by });
    Ok(())
}

impl Sockets {
    /// The one port of a TCP listener.
    fn port(&self) -> Option<u16> {
        match self {
            Sockets::Tcp(all) => all.first().map(|l| l.address().port()),
            Sockets::Unix { .. } => None,
        }
    }
}

/// Where they really are.
impl std::fmt::Display for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sockets::Tcp(all) => {
                let addresses: Vec<_> = all.iter().map(|l| l.address().to_string()).collect();
                f.write_str(&addresses.join(" "))
            }
            Sockets::Unix { listener, .. } => f.write_str(&shown::path(listener.path())),
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
            Sockets::Unix { listener, held } => {
                if let Some(watched) = watched.next() {
                    shared.poller.unwatch(&listener, watched);
                }
                match listener.close() {
                    Ok(removal) => log::debug!("{shown}: socket file: {removal:?}"),
                    Err(e) => log::error!("{shown}: the socket file cannot be removed: {e}"),
                }
                // Not before: the name is free now.
                drop(held);
            }
        }
        shared.monitor.event(login, Event::Unlisten { at: shown.to_string() });
    }
}
