//! Any number of connections (`fork`), in one process and one loop. Each gets an end of its own at the second
//! address. One that fails concerns nobody else.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use sockward_sys::limits;
use sockward_sys::signal::Signals;
use sockward_sys::spawn::Child;

use crate::address::Address;
use crate::end::End;
use crate::failure::{Side, words};
use crate::flow::Tools;
use crate::joint::{Joint, Status};
use crate::listen::Listener;
use crate::open::{For, Opening};
use crate::solo::{Settings, Stop, check};

/// Events taken from the poller at once.
const EVENTS: usize = 1024;
/// Connections accepted before others have their turn.
const ACCEPTS: usize = 64;
/// How long nothing is accepted after descriptors have run out: the kernel keeps the connections meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often commands that have ended are looked for.
const REAP: Duration = Duration::from_millis(500);

const LISTENER: usize = 0;
const SIGNALS: usize = 1;
const FIRST: usize = 2;

/// The process.
struct Many<'a> {
    first: &'a Rc<Address>,
    second: &'a Rc<Address>,
    settings: &'a Settings,
    listener: Listener,
    poll: Poll,
    tools: Tools,
    connections: HashMap<usize, Connection>,
    /// Connections that have something to do.
    turns: VecDeque<usize>,
    next: usize,
    ready: bool,
    paused_until: Option<Instant>,
    children: Vec<Child>,
}

/// One connection.
struct Connection {
    stage: Stage,
    queued: bool,
    /// When something last happened.
    last: Instant,
    moved: (u64, u64),
}

enum Stage {
    /// The second address is being opened.
    Opening {
        first: End,
        opening: Opening,
        watched: u32,
    },
    Joined(Box<Joint>),
}

/// Serves until a signal comes.
pub(crate) fn run(
    listener: Listener,
    first: &Rc<Address>,
    second: &Rc<Address>,
    settings: &Settings,
    signals: &Signals,
) -> Result<(), Stop> {
    if let Err(e) = limits::raise_nofile() {
        log::debug!("cannot raise the limit of descriptors: {}", words(&e));
    }
    let poll = Poll::new()?;
    for fd in listener.fds() {
        watch(&poll, fd.as_raw_fd(), LISTENER, Interest::READABLE)?;
    }
    watch(&poll, signals.as_fd().as_raw_fd(), SIGNALS, Interest::READABLE)?;
    let many = Many {
        first,
        second,
        settings,
        listener,
        poll,
        tools: Tools::new(),
        connections: HashMap::new(),
        turns: VecDeque::new(),
        next: FIRST,
        ready: true,
        paused_until: None,
        children: Vec::new(),
    };
    many.serve(signals)
}

impl Many<'_> {
    fn serve(mut self, signals: &Signals) -> Result<(), Stop> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => events.clear(),
                other => other?,
            }
            for event in &events {
                match event.token() {
                    Token(LISTENER) => self.ready = true,
                    Token(SIGNALS) => check(signals)?,
                    Token(number) => self.wake(number),
                }
            }
            self.accept();
            let now = Instant::now();
            self.look_at_times(now);
            for _ in 0..self.turns.len() {
                if let Some(number) = self.turns.pop_front() {
                    self.turn(number, now);
                }
            }
            // One that cannot be waited for is somebody else's by now.
            self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.turns.is_empty() || (self.ready && self.paused_until.is_none() && self.has_room()) {
            return Some(Duration::ZERO);
        }
        let openings = self.connections.values().filter_map(|c| match &c.stage {
            Stage::Opening { opening, .. } => Some(opening.deadline()),
            Stage::Joined(joint) => self.limit(joint).map(|limit| c.last + limit),
        });
        let reap = (!self.children.is_empty()).then(|| Instant::now() + REAP);
        let next = openings.chain(self.paused_until).chain(reap).min();
        next.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// How long a connection may be silent.
    fn limit(&self, joint: &Joint) -> Option<Duration> {
        let linger = self.settings.linger.filter(|_| joint.is_half_over());
        linger.into_iter().chain(self.settings.idle).min()
    }

    fn has_room(&self) -> bool {
        self.first.options.max_children.is_none_or(|max| self.connections.len() < max)
    }

    fn accept(&mut self) {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..ACCEPTS {
            if !self.ready || !self.has_room() {
                return;
            }
            match self.listener.accept(self.first) {
                Ok(first) => self.begin(first),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(e) => {
                    log::error!("{}: accept: {}", self.first.text, words(&e));
                    self.paused_until = Some(Instant::now() + PAUSE);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, first: End) {
        let now = Instant::now();
        let number = self.next;
        self.next += 1;
        let stage = Stage::Opening { first, opening: Opening::new(self.second, now), watched: 0 };
        self.connections.insert(number, Connection { stage, queued: false, last: now, moved: (0, 0) });
        self.wake(number);
    }

    /// Has a connection looked at.
    fn wake(&mut self, number: usize) {
        if let Some(connection) = self.connections.get_mut(&number) {
            if let Stage::Joined(joint) = &mut connection.stage {
                joint.wake();
            }
            if !std::mem::replace(&mut connection.queued, true) {
                self.turns.push_back(number);
            }
        }
    }

    /// Wakes openings whose time has come and ends what was silent for too long.
    fn look_at_times(&mut self, now: Instant) {
        let timed = self.settings.linger.is_some() || self.settings.idle.is_some();
        let due = |c: &Connection| match &c.stage {
            Stage::Opening { opening, .. } => opening.deadline() <= now,
            Stage::Joined(joint) => timed && self.limit(joint).is_some_and(|limit| c.last + limit <= now),
        };
        let numbers: Vec<usize> = self.connections.iter().filter(|(_, c)| due(c)).map(|(n, _)| *n).collect();
        for number in numbers {
            match self.connections.get(&number).map(|c| &c.stage) {
                Some(Stage::Opening { .. }) => self.wake(number),
                Some(Stage::Joined(_)) => self.end(number),
                None => {}
            }
        }
    }

    fn turn(&mut self, number: usize, now: Instant) {
        let Some(mut connection) = self.connections.remove(&number) else { return };
        connection.queued = false;
        let next = match connection.stage {
            Stage::Opening { first, opening, watched } => self.open(number, first, opening, watched, now),
            Stage::Joined(mut joint) => {
                let status = joint.turn(&mut self.tools);
                if joint.totals() != connection.moved {
                    connection.moved = joint.totals();
                    connection.last = now;
                }
                match status {
                    Status::Over => {
                        self.over(*joint);
                        None
                    }
                    Status::Idle => Some((Stage::Joined(joint), false)),
                    Status::Busy => Some((Stage::Joined(joint), true)),
                }
            }
        };
        let Some((stage, more)) = next else {
            // There is room for one more.
            return;
        };
        self.connections.insert(number, Connection { stage, queued: more, ..connection });
        if more {
            self.turns.push_back(number);
        }
    }

    fn open(
        &mut self,
        number: usize,
        first: End,
        mut opening: Opening,
        watched: u32,
        now: Instant,
    ) -> Option<(Stage, bool)> {
        let failed = |why: &str| {
            log::error!("{}: {why}", self.second.text);
            None
        };
        match opening.progress(now) {
            Err(why) => failed(&why),
            Ok(Some(second)) => {
                let joint = Joint::new(first, second, self.settings.directions);
                match self.watch_joint(number, &joint) {
                    Ok(()) => Some((Stage::Joined(Box::new(joint)), true)),
                    Err(e) => failed(&words(&e)),
                }
            }
            Ok(None) => {
                let (what, turn) = opening.waits_for();
                let result = match what {
                    _ if turn == watched => Ok(()),
                    For::Readable(fd) => watch(&self.poll, fd.as_raw_fd(), number, Interest::READABLE),
                    For::Writable(fd) => watch(&self.poll, fd.as_raw_fd(), number, Interest::WRITABLE),
                    For::Time => Ok(()),
                };
                match result {
                    Ok(()) => Some((Stage::Opening { first, opening, watched: turn }, false)),
                    Err(e) => failed(&words(&e)),
                }
            }
        }
    }

    fn watch_joint(&self, number: usize, joint: &Joint) -> io::Result<()> {
        for end in [&joint.first, &joint.second] {
            let source = end.source().as_fd().as_raw_fd();
            let both = Interest::READABLE | Interest::WRITABLE;
            // The second address may have been watched while it was opened.
            let _ = self.poll.registry().deregister(&mut SourceFd(&source));
            watch(&self.poll, source, number, both)?;
            if let Some(sink) = end.sink().map(|sink| sink.as_fd().as_raw_fd()).filter(|sink| *sink != source)
            {
                watch(&self.poll, sink, number, both)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, number: usize) {
        if let Some(Connection { stage: Stage::Joined(joint), .. }) = self.connections.remove(&number) {
            self.over(*joint);
        }
    }

    /// Both directions have ended: what is left is a command that may take its time.
    fn over(&mut self, mut joint: Joint) {
        let (there, back) = joint.totals();
        log::debug!("{}: a connection ended: {there} bytes in, {back} out", self.first.text);
        if let Some((side, error)) = &joint.trouble {
            let address = if *side == Side::First { self.first } else { self.second };
            log::debug!("{}: {}", address.text, words(error));
        }
        self.children.extend([&mut joint.first, &mut joint.second].into_iter().filter_map(End::take_child));
    }
}

fn watch(poll: &Poll, fd: i32, number: usize, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd), Token(number), interest)
}
