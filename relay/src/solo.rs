//! One pair of ends, from its opening to its end, with poll(2), which takes every kind of descriptor.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sockward_sys::signal::{Signal, Signals};
use sockward_sys::stream::{Wait, wait};

use crate::address::Address;
use crate::end::End;
use crate::failure::{Failure, Side, words};
use crate::flow::Tools;
use crate::joint::{Directions, Joint, Status};
use crate::listen::Listener;
use crate::open::{For, Opening};

/// How long a person's terminal is still listened to after the other side has said all, as socat's default.
const TERMINAL_LINGERS: Duration = Duration::from_millis(500);

/// What the command line says beside the addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) directions: Directions,
    /// `-t`: how long the second direction may be silent once the first is over.
    pub(crate) linger: Option<Duration>,
    /// `-T`: how long both may be silent.
    pub(crate) idle: Option<Duration>,
}

/// The signals that end a relay; its sockets are removed first.
pub(crate) fn endings() -> Result<Signals, Failure> {
    let all = [Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate];
    // Whoever started us with a signal ignored (nohup) means it.
    let wanted: Vec<Signal> = all.into_iter().filter(|signal| !signal.is_ignored()).collect();
    Ok(Signals::new(&wanted)?)
}

/// Why there is no connection.
pub(crate) enum Stop {
    Failed(Failure),
    /// End as this signal does.
    Signal(Signal),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Stop::Failed(error.into())
    }
}

/// Opens both addresses and joins them.
pub(crate) fn run(
    first: &Rc<Address>,
    second: &Rc<Address>,
    settings: &Settings,
    signals: &Signals,
) -> Result<(), Stop> {
    let a = open(first, Side::First, signals)?;
    let b = open(second, Side::Second, signals)?;
    let mut joint = Joint::new(a, b, settings.directions);
    transfer(&mut joint, settings, signals)?;
    let (there, back) = joint.totals();
    log::debug!("{there} bytes from {}, {back} from {}", first.text, second.text);
    let Joint { first: a, second: b, trouble, .. } = joint;
    if let Some((side, error)) = trouble {
        let address = if side == Side::First { first } else { second };
        return Err(Failure::at(side, &address.text, words(&error)).into());
    }
    for (end, side, address) in [(a, Side::First, first), (b, Side::Second, second)] {
        end.close().map_err(|what| Failure::at(side, &address.text, what))?;
    }
    Ok(())
}

/// Opens one address; waits for the one connection of one that listens.
pub(crate) fn open(address: &Rc<Address>, side: Side, signals: &Signals) -> Result<End, Stop> {
    let failed = |what: String| Failure::at(side, &address.text, what);
    if address.listens() {
        let listener = Listener::bind(address).map_err(failed)?;
        log::debug!("{}: listening on {}", address.text, listener.places());
        return accept(&listener, address, side, signals);
    }
    let mut opening = Opening::new(address, Instant::now());
    loop {
        let now = Instant::now();
        if let Some(end) = opening.progress(now).map_err(failed)? {
            return Ok(end);
        }
        let left = opening.deadline().saturating_duration_since(now);
        let mut waits = vec![Wait::new(signals, true, false)];
        let (what, _) = opening.waits_for();
        match &what {
            For::Readable(fd) => waits.push(Wait::new(fd, true, false)),
            For::Writable(fd) => waits.push(Wait::new(fd, false, true)),
            For::Time => {}
        }
        wait(&mut waits, Some(left))?;
        check(signals)?;
    }
}

/// Waits for a connection.
pub(crate) fn accept(
    listener: &Listener,
    address: &Address,
    side: Side,
    signals: &Signals,
) -> Result<End, Stop> {
    loop {
        match listener.accept(address) {
            Ok(end) => return Ok(end),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(Failure::at(side, &address.text, words(&e)).into()),
        }
        let fds = listener.fds();
        let mut waits: Vec<Wait<'_>> = fds.iter().map(|fd| Wait::new(fd, true, false)).collect();
        waits.push(Wait::new(signals, true, false));
        wait(&mut waits, None)?;
        check(signals)?;
    }
}

/// A signal that has come is the end.
pub(crate) fn check(signals: &Signals) -> Result<(), Stop> {
    match signals.next()? {
        Some(signal) => Err(Stop::Signal(signal)),
        None => Ok(()),
    }
}

fn transfer(joint: &mut Joint, settings: &Settings, signals: &Signals) -> Result<(), Stop> {
    let mut tools = Tools::new();
    let (mut last, mut moved) = (Instant::now(), (0, 0));
    loop {
        let status = joint.turn(&mut tools);
        if status == Status::Over {
            return Ok(());
        }
        if std::mem::replace(&mut moved, joint.totals()) != moved {
            last = Instant::now();
        }
        let until = patience(joint, settings).map(|patience| last + patience);
        if until.is_some_and(|at| at <= Instant::now()) {
            log::debug!("nothing was said for too long");
            return Ok(());
        }
        if status == Status::Busy {
            check(signals)?;
            continue;
        }
        let [first, second] = joint.waits();
        let mut waits = vec![Wait::new(signals, true, false)];
        for (end, (read, write)) in [(&joint.first, first), (&joint.second, second)] {
            // What is not waited for is left out: its end would wake us again and again.
            if let (Some(sink), true) = (end.sink(), write) {
                waits.push(Wait::new(sink, read && same(end), true));
            }
            if read && !(write && same(end)) {
                waits.push(Wait::new(end.source(), true, false));
            }
        }
        wait(&mut waits, until.map(|at| at.saturating_duration_since(Instant::now())))?;
        drop(waits);
        check(signals)?;
        joint.wake();
    }
}

/// Whether an end is read from and written to by one descriptor.
fn same(end: &End) -> bool {
    use std::os::fd::AsRawFd;
    end.sink().is_some_and(|sink| sink.as_fd().as_raw_fd() == end.source().as_fd().as_raw_fd())
}

/// How long nothing may happen.
fn patience(joint: &Joint, settings: &Settings) -> Option<Duration> {
    let linger = match joint.last_source() {
        None => None,
        Some(end) if end.is_terminal() => Some(settings.linger.unwrap_or(TERMINAL_LINGERS)),
        Some(_) => settings.linger,
    };
    linger.filter(|_| joint.is_half_over()).into_iter().chain(settings.idle).min()
}
