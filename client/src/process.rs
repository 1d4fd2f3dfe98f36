//! The client's loop: one poller for the network, forwarded connections, listeners, signals and jobs. Makes the
//! connection, gives it its turns, makes it again if that is wanted, and ends the program as ssh ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use sockward_drive::{Buffers, End, Env, Net, Session, Status, Subject};
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::spawn::Child;
use sockward_sys::{limits, terminal};

use crate::application::Application;
use crate::authenticate::Unlocked;
use crate::background::{Background, Beside};
use crate::connect::{Connector, Step};
use crate::control::client::{self, Attempt};
use crate::control::master::Master;
use crate::forwards::local::Listeners;
use crate::gate::Meeting;
use crate::jobs::{Job, Jobs};
use crate::login::Lasting;
use crate::notice::Notice;
use crate::plan::Plan;
use crate::proxy::{self, Proxy};
use crate::reconnect::{self, Kept, Reconnect};
use crate::trust::Learner;
use crate::watched::Watched;
use crate::{FAILURE, gate, handshake, messages};

/// The one session's number.
const SESSION: usize = 0;

/// Events taken from the poller at once.
const EVENTS: usize = 1024;

/// How long the last packets may take on their way out.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// An exit status.
type Exit = u8;

/// The process. What stands beside the stage outlives a connection.
struct Process {
    plan: Arc<Plan>,
    poll: Poll,
    buffers: Buffers,
    jobs: Jobs,
    signals: Signals,
    lasting: Lasting,
    /// Whether a lost connection is made again, and how far that is.
    reconnect: Option<Reconnect>,
    kept: Kept,
    /// Proxy commands of connections before, until they have ended.
    retired: Vec<Child>,
    stage: Stage,
}

/// How far the connection is.
enum Stage {
    /// On its way.
    Connecting(Connector),
    /// On its way to a gate; until then, if that matters.
    Meeting(Box<Meeting>, Option<Instant>),
    /// There.
    Connected(Box<Connected>),
    /// Lost: the next attempt is made then.
    Away(Instant),
    /// Gone: the last bytes reach the standard streams.
    Over,
}

struct Connected {
    session: Session,
    app: Application,
    proxy: Option<Proxy>,
    address: Option<SocketAddr>,
    /// ConnectTimeout: until then the server must have shown its key.
    deadline: Option<Instant>,
    /// Until then the server must have let us in.
    limit: Option<Instant>,
}

impl Connected {
    /// When it is too late for what has not happened yet.
    fn too_late_at(&self) -> Option<Instant> {
        let silence = self.deadline.filter(|_| !self.app.has_met_the_server());
        let limit = self.limit.filter(|_| !self.app.is_logged_in());
        [silence, limit].into_iter().flatten().min()
    }
}

/// What a turn came to.
enum Turn {
    Idle,
    /// There is more to do at once.
    Busy,
    End(Exit),
}

/// Whether anybody waits for what was received to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// A signal ends the program.
    Yes,
    No,
}

/// Makes the connection that is planned and serves it to its end.
pub(crate) fn run(plan: Plan) -> Exit {
    let result = if plan.persists() { run_beside(plan) } else { run_here(plan) };
    result.unwrap_or_else(|e| {
        log::error!(target: "fatal", "{e}");
        FAILURE
    })
}

fn run_here(plan: Plan) -> io::Result<Exit> {
    let background = Background::prepare(&plan)?;
    Process::new(plan, background)?.serve()
}

/// ControlPersist: the connection is made and kept by a process that goes to the background; this one uses it as
/// any other client.
fn run_beside(mut plan: Plan) -> io::Result<Exit> {
    match Background::beside()? {
        Beside::Child(background) => {
            plan.keep_connection_only();
            Process::new(plan, background)?.serve()
        }
        Beside::Parent(attendant) => {
            attendant.wait();
            plan.use_connection_only();
            match client::attempt(&plan) {
                Attempt::Ended(exit) => Ok(exit),
                Attempt::NoMaster => Err(io::Error::other("Failed to connect to new control master")),
            }
        }
    }
}

impl Process {
    fn new(plan: Plan, background: Background) -> io::Result<Self> {
        // Whoever started us with a signal ignored (nohup) means it.
        let endings = [Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate];
        let mut wanted: Vec<Signal> = endings.into_iter().filter(|signal| !signal.is_ignored()).collect();
        wanted.push(Signal::WindowChange);
        let signals = Signals::new(&wanted)?;
        let poll = Poll::new()?;
        let jobs = Jobs::new(&poll, Watched::Jobs.token())?;
        let fd = signals.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Watched::Signals.token(), Interest::READABLE)?;
        if let Err(e) = limits::raise_nofile().and_then(|_| limits::no_core_files()) {
            log::debug!("cannot set limits: {e}");
        }
        let unlocked = Unlocked::keeping(plan.reconnects());
        let mut process = Process {
            reconnect: Reconnect::of(&plan),
            kept: Kept { host_key: None, unlocked },
            retired: Vec::new(),
            plan: Arc::new(plan),
            poll,
            buffers: Buffers::default(),
            jobs,
            signals,
            lasting: Lasting {
                listeners: Listeners::default(),
                background,
                control: Master::default(),
                held: None,
            },
            stage: Stage::Over,
        };
        process.connect()?;
        Ok(process)
    }

    /// Sets out for the server.
    fn connect(&mut self) -> io::Result<()> {
        let token = Watched::Connector.token();
        if self.plan.is_via_gate() {
            // The first time the other ssh may ask and warn the user itself.
            let jobs = self.is_away().then_some(&self.jobs);
            let meeting = Meeting::start(&self.plan, self.poll.registry(), token, jobs);
            let meeting = meeting.map_err(io::Error::other)?;
            self.stage = Stage::Meeting(Box::new(meeting), self.limit());
            return Ok(());
        }
        if self.plan.has_proxy() {
            let (net, proxy) = proxy::start(&self.plan, &self.jobs).map_err(io::Error::other)?;
            let timeout = self.plan.configuration.settings.connect_timeout.0;
            let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
            return self.begin(net, Some(proxy), None, deadline);
        }
        self.stage = Stage::Connecting(Connector::new(Arc::clone(&self.plan), &self.jobs, token)?);
        Ok(())
    }

    /// The server is reached.
    fn begin(
        &mut self,
        net: Net,
        proxy: Option<Proxy>,
        address: Option<SocketAddr>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let now = Instant::now();
        let session = handshake::start(&self.plan, net, SESSION, self.poll.registry(), now);
        let session = session.map_err(io::Error::other)?;
        let app = self.application(address);
        let connected = Connected { session, app, proxy, address, deadline, limit: self.limit() };
        self.stage = Stage::Connected(Box::new(connected));
        Ok(())
    }

    fn application(&self, address: Option<SocketAddr>) -> Application {
        Application::new(Arc::clone(&self.plan), self.jobs.clone(), address, self.kept.clone())
    }

    /// Until when an attempt that begins now may take.
    fn limit(&self) -> Option<Instant> {
        self.reconnect.as_ref()?.limit(Instant::now())
    }

    /// The gate is reached: there is nothing before the connection layer.
    fn begin_behind_gate(&mut self, net: Net, proxy: Proxy) -> io::Result<()> {
        let session = gate::session(net, SESSION, self.plan.keep_alive(), self.poll.registry())?;
        let mut app = self.application(None);
        app.behind_gate();
        let proxy = Some(proxy);
        let connected = Connected { session, app, proxy, address: None, deadline: None, limit: None };
        self.stage = Stage::Connected(Box::new(connected));
        Ok(())
    }

    fn serve(&mut self) -> io::Result<Exit> {
        let mut events = Events::with_capacity(EVENTS);
        let mut busy = true;
        loop {
            let until = if busy { Some(Instant::now()) } else { self.deadline() };
            self.wait(&mut events, until)?;
            let now = Instant::now();
            for event in &events {
                self.ready(event, now);
            }
            if let Some(exit) = self.signalled()? {
                return Ok(exit);
            }
            busy = match self.turn(now)? {
                Turn::Idle => false,
                Turn::Busy => true,
                Turn::End(exit) => return Ok(exit),
            };
        }
    }

    fn wait(&mut self, events: &mut Events, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let (stage, other) = match &self.stage {
            Stage::Connecting(connector) => (connector.deadline(), None),
            Stage::Meeting(meeting, limit) => (meeting.deadline(), *limit),
            Stage::Connected(connected) => {
                let all = [connected.session.deadline(), connected.app.deadline()];
                (all.into_iter().flatten().min(), connected.too_late_at())
            }
            Stage::Away(until) => (Some(*until), None),
            Stage::Over => (None, None),
        };
        let listeners = &self.lasting.listeners;
        let listeners = if self.is_away() { listeners.hold_deadline() } else { listeners.deadline() };
        [stage, other, listeners].into_iter().flatten().min()
    }

    /// Whether there was a connection and is none.
    fn is_away(&self) -> bool {
        self.reconnect.as_ref().is_some_and(Reconnect::is_away)
    }

    /// Notes what the poller says, for the turn.
    fn ready(&mut self, event: &mio::event::Event, now: Instant) {
        let subject = Subject::of(event.token());
        let watched = match subject {
            Some(Subject::App(number)) => Watched::of(number),
            Some(Subject::Net { .. } | Subject::Pump { .. }) | None => None,
        };
        match watched {
            Some(Watched::Listener(n)) => self.lasting.listeners.ready(n),
            Some(Watched::Control(n)) => self.lasting.control.ready(n),
            _ => {}
        }
        let Stage::Connected(connected) = &mut self.stage else { return };
        let Connected { session, app, .. } = &mut **connected;
        match watched {
            Some(watched) => {
                let mut env = Env { registry: self.poll.registry(), buffers: &mut self.buffers, now };
                // An error has ended the connection, which the turn finds out.
                let _ = app.ready(watched, session, &mut env);
            }
            None => note(session, event),
        }
    }

    /// Obeys signals. Before the login one ends this process as if nobody handled it.
    fn signalled(&mut self) -> io::Result<Option<Exit>> {
        while let Some(signal) = self.signals.next()? {
            let connected = match &mut self.stage {
                Stage::Connected(connected) => Some(&mut **connected),
                Stage::Connecting(_) | Stage::Meeting(..) | Stage::Away(_) | Stage::Over => None,
            };
            let established = self.reconnect.as_ref().is_some_and(Reconnect::is_established);
            match (signal, connected) {
                (Signal::WindowChange | Signal::Child, Some(connected)) => {
                    // An error has ended the connection, which the turn finds out.
                    let _ = connected.app.window_changed(&mut connected.session);
                }
                (Signal::WindowChange | Signal::Child, None) => {}
                (_, connected)
                    if !established && connected.as_ref().is_none_or(|c| !c.app.is_logged_in()) =>
                {
                    terminal::restore_all();
                    self.stage = Stage::Over;
                    signal.end_process();
                }
                (Signal::Terminate, _) if !self.plan.has_session() => {
                    return self.finish(0, Haste::Yes).map(Some);
                }
                (Signal::Hangup | Signal::Interrupt | Signal::Quit | Signal::Terminate, _) => {
                    let exit = self.finish(FAILURE, Haste::Yes)?;
                    log::info!(target: "verbose", "Killed by signal {}.", signal.raw());
                    return Ok(Some(exit));
                }
            }
        }
        Ok(None)
    }

    fn turn(&mut self, now: Instant) -> io::Result<Turn> {
        let more = self.is_away() && self.lasting.listeners.hold(now);
        match self.step(now)? {
            Turn::Idle if more => Ok(Turn::Busy),
            turn => Ok(turn),
        }
    }

    fn step(&mut self, now: Instant) -> io::Result<Turn> {
        match &mut self.stage {
            Stage::Connecting(connector) => match connector.step(self.poll.registry(), now) {
                Step::Waiting => Ok(Turn::Idle),
                Step::Failed => self.failed(now),
                Step::Connected { socket, address, deadline } => {
                    let begun = self.begin(Net::socket(socket), None, Some(address), deadline);
                    self.begun(begun, now)
                }
            },
            Stage::Meeting(meeting, limit) => match meeting.step(now) {
                Ok(false) if limit.is_none_or(|at| now < at) => Ok(Turn::Idle),
                Ok(false) => {
                    log::error!("no gate answered in time");
                    self.failed(now)
                }
                Ok(true) => {
                    let Stage::Meeting(meeting, _) = std::mem::replace(&mut self.stage, Stage::Over) else {
                        return Ok(Turn::Idle);
                    };
                    let (net, proxy) = meeting.into_stream(self.poll.registry());
                    let begun = self.begin_behind_gate(net, proxy);
                    self.begun(begun, now)
                }
                Err(none) if none.is_final && self.is_away() => {
                    log::error!(target: "fatal", "{}", none.why);
                    self.plan.notices.tell(&Notice::Refused(none.why));
                    self.finish(FAILURE, Haste::Yes).map(Turn::End)
                }
                Err(none) => self.begun(Err(io::Error::other(none.why)), now),
            },
            Stage::Connected(_) => self.work(now),
            Stage::Away(until) if now < *until => Ok(Turn::Idle),
            Stage::Away(_) => {
                let begun = self.connect();
                self.begun(begun, now)
            }
            Stage::Over => Ok(Turn::End(FAILURE)),
        }
    }

    /// An attempt has got one step further, or not.
    fn begun(&mut self, begun: io::Result<()>, now: Instant) -> io::Result<Turn> {
        match begun {
            Ok(()) => Ok(Turn::Busy),
            Err(e) if self.is_away() => {
                log::error!("{e}");
                self.failed(now)
            }
            Err(e) => Err(e),
        }
    }

    /// An attempt has failed; why has been said.
    fn failed(&mut self, now: Instant) -> io::Result<Turn> {
        if self.is_away() {
            self.leave(now);
            return Ok(Turn::Idle);
        }
        self.finish(FAILURE, Haste::Yes).map(Turn::End)
    }

    fn work(&mut self, now: Instant) -> io::Result<Turn> {
        let Stage::Connected(connected) = &mut self.stage else { return Ok(Turn::Idle) };
        if connected.too_late_at().is_some_and(|at| at <= now) {
            messages::too_late(connected.address);
            return self.failed(now);
        }
        let Connected { session, app, .. } = &mut **connected;
        let mut env = Env { registry: self.poll.registry(), buffers: &mut self.buffers, now };
        let result = session.work(&mut env, app).and_then(|status| {
            // What the events led to; what it has to say to the server goes out with the next work.
            let turned = app.turn(session, &mut env, &mut self.lasting);
            turned.map(|()| status).map_err(End::Protocol)
        });
        if let Some(reconnect) = self.reconnect.as_mut().filter(|_| app.is_logged_in())
            && reconnect.arrived(now, self.plan.host())
        {
            self.kept.host_key = app.host_key();
        }
        if let Some(exit) = app.exit() {
            return self.finish(exit, Haste::No).map(Turn::End);
        }
        match result {
            Ok(Status::Idle) if !session.can_flush() => Ok(Turn::Idle),
            Ok(Status::Idle | Status::Busy) => Ok(Turn::Busy),
            Err(end) => self.ended(&end, now),
        }
    }

    /// The connection has ended without anybody here wanting it.
    fn ended(&mut self, end: &End, now: Instant) -> io::Result<Turn> {
        let Stage::Connected(connected) = &self.stage else { return Ok(Turn::Idle) };
        let (app, host) = (&connected.app, self.plan.host());
        let again = self.reconnect.as_ref().is_some_and(Reconnect::is_established)
            && !app.is_stopped()
            && !reconnect::is_final(end, app.stage());
        if again && app.is_logged_in() {
            reconnect::say_lost(end, host);
            self.plan.notices.tell(&Notice::Lost);
        } else if self.plan.is_via_gate() {
            messages::gate_ended(end, host);
        } else {
            messages::ended(end, app.stage(), host, connected.address);
        }
        if again {
            self.leave(now);
            return Ok(Turn::Idle);
        }
        self.finish(FAILURE, Haste::No).map(Turn::End)
    }

    /// The connection is lost, or an attempt to make it again has failed: what is left of it goes, and after a pause
    /// there is another attempt.
    fn leave(&mut self, now: Instant) {
        // One that had the time of an attempt to end and did not is ended.
        self.retired.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        for child in &self.retired {
            let _ = child.kill();
        }
        let proxy = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Connected(connected) => {
                let Connected { mut session, app, proxy, .. } = *connected;
                // A last word, if one is due and goes out at once.
                session.flush_last();
                app.leave(&mut self.lasting, now);
                proxy
            }
            Stage::Meeting(meeting, _) => Some(meeting.into_proxy()),
            Stage::Connecting(_) | Stage::Away(_) | Stage::Over => None,
        };
        self.retired.extend(proxy.and_then(Proxy::retire));
        let Some(reconnect) = &mut self.reconnect else { return };
        if let Some(again) = reconnect.plan() {
            self.plan = Arc::new(again);
        }
        self.stage = Stage::Away(reconnect.leave(now, self.plan.host()));
    }

    // ---- the end ----

    /// Says good-bye, and waits until what was received has reached the standard streams.
    fn finish(&mut self, exit: Exit, haste: Haste) -> io::Result<Exit> {
        let Stage::Connected(connected) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(exit);
        };
        let Connected { mut session, mut app, mut proxy, .. } = *connected;
        let had_session = app.is_logged_in();
        session.conn.disconnect("disconnected by user");
        self.until(Some(Instant::now() + GOOD_BYE), |_, events| {
            events.iter().for_each(|event| note(&mut session, event));
            session.flush_last()
        })?;
        if let Some(channel) = app.main_channel().filter(|_| haste == Haste::No) {
            self.until(None, |process, events| {
                events.iter().for_each(|event| note(&mut session, event));
                let Process { poll, buffers, .. } = process;
                let mut env = Env { registry: poll.registry(), buffers, now: Instant::now() };
                session.write_out(channel, &mut env, &mut app)
            })?;
        }
        let (mut outputs, learner) = app.into_last();
        outputs.extend(proxy.as_mut().and_then(Proxy::end));
        // Closes our ends of the pipes: the threads write what is in them, and end.
        drop(session);
        if haste == Haste::No {
            self.until(None, |_, _| {
                outputs.retain(|job: &Job<()>| job.poll().is_none());
                outputs.is_empty()
            })?;
            if let Some(job) = learner.and_then(Learner::end) {
                self.until(None, |_, _| job.poll().is_some())?;
            }
        }
        if had_session && self.plan.terminal {
            messages::session_closed(&self.plan);
        }
        Ok(exit)
    }

    /// Waits for something, until a time or until a signal says that this is enough.
    fn until(
        &mut self,
        end: Option<Instant>,
        mut done: impl FnMut(&mut Self, &Events) -> bool,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !done(self, &events) && end.is_none_or(|at| Instant::now() < at) {
            self.wait(&mut events, end)?;
            while let Some(signal) = self.signals.next()? {
                if !matches!(signal, Signal::WindowChange | Signal::Child) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Notes what the poller says about the connection's descriptors.
fn note(session: &mut Session, event: &mio::event::Event) {
    match Subject::of(event.token()) {
        Some(Subject::Net { .. }) => session.net_ready(event),
        Some(Subject::Pump { pump, role, .. }) => session.pump_ready(pump, role, event),
        // Jobs, signals and the connector are looked after in each turn.
        Some(Subject::App(_)) | None => {}
    }
}
