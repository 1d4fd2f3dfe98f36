//! The gate's loop: the near end's packets, the helper's answers and facts, signals.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use sockward_crypto::{Random, SystemRandom};
use sockward_drive::{Buffers, End, Env, Handler, Net, PumpEvent, Session, Status, Subject};
use sockward_privsep::worker::LoggedIn;
use sockward_proto::{Config, Connection, Event, KeepAlive, Side};
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::stream::Stream;
use sockward_sys::{fd, limits, sandbox};
use sockward_worker::{LinkEnd, Login};

use crate::audit::Audit;
use crate::helper::Helper;
use crate::meeting::{Met, meet};
use crate::options::Options;

/// The poller's numbers of our own.
const FACTS: usize = 0;
const LINK: usize = 1;
const SIGNALS: usize = 2;
/// The one session's number.
const SESSION: usize = 0;

/// Events taken from the poller at once.
const EVENTS: usize = 1024;
/// How long the last packets may take on their way out.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// A near end that is gone without a word must not hold its sockets for hours.
const KEEP_ALIVE: KeepAlive = KeepAlive { interval: Duration::from_secs(30), count_max: 3 };

/// The process.
struct Process {
    poll: Poll,
    buffers: Buffers,
    message: Vec<u8>,
    session: Session,
    app: Application,
    helper: Helper,
    audit: Audit,
    signals: Signals,
    /// What may have something to say.
    facts_ready: bool,
    link_ready: bool,
}

/// What a turn came to.
enum Turn {
    Going(Status),
    /// The near end has gone.
    Over,
}

/// What the session's events lead to.
struct Application {
    login: Login,
}

/// Serves the near end until it has gone. The error is a sentence.
pub(crate) fn run(options: Options) -> Result<(), String> {
    let Options { permit, audit, log_level } = options;
    let signals = [Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate, Signal::Child];
    let signals = Signals::new(&signals).map_err(cannot("watch signals"))?;
    let mut audit = Audit::open(audit.as_deref(), &permit.account.name)?;
    audit.started().map_err(cannot("write the audit file"))?;
    let (input, output) = streams()?;
    if meet(&input, &output, &signals)? == Met::Nobody {
        return audit.ended("nobody answered").map_err(cannot("write the audit file"));
    }
    let setup = Process::new(permit, log_level.name(), Net::shared(input, output), audit, signals);
    let mut process = setup.map_err(cannot("start"))?;
    let why = process.serve();
    let (Ok(text) | Err(text)) = &why;
    let text = text.clone();
    let ended = process.finish(&text);
    why?;
    ended.map_err(cannot("write the audit file"))
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> String {
    move |e| format!("cannot {what}: {e}")
}

/// Standard input and output, which others may hold too.
fn streams() -> Result<(Stream, Stream), String> {
    let error = cannot("use standard input and output");
    let input = Stream::shared(fd::duplicate(io::stdin()).map_err(&error)?);
    // The near end sees the end when this is closed, whoever else was given number 1.
    let output = Stream::shared(fd::take_stdout().map_err(&error)?);
    for stream in [&input, &output] {
        if !fd::is_pollable(stream) {
            return Err("standard input and output must be pipes or sockets: run me by an SSH server".into());
        }
    }
    Ok((input, output))
}

impl Process {
    fn new(
        permit: sockward_policy::Permit,
        log_level: &str,
        net: Net,
        audit: Audit,
        signals: Signals,
    ) -> io::Result<Process> {
        // The helper first: what it inherits is what this process began with.
        let (helper, link) = Helper::start(permit, log_level)?;
        limits::raise_nofile()?;
        limits::no_core_files()?;
        let poll = Poll::new()?;
        watch(&poll, helper.as_fd(), FACTS, Interest::READABLE)?;
        watch(&poll, signals.as_fd(), SIGNALS, Interest::READABLE)?;
        let mut config = Config::null(Side::Server);
        config.keep_alive = Some(KEEP_ALIVE);
        let now = Instant::now();
        let conn = Connection::new(config, Box::new(SystemRandom::new()), now).map_err(io::Error::other)?;
        let session = Session::new(SESSION, conn, net, poll.registry())?;
        let mut buffers = Buffers::default();
        let mut env = Env { registry: poll.registry(), buffers: &mut buffers, now };
        // No time is up for channels; silence is the connection's to judge.
        let never = LoggedIn::default();
        let login = Login::new(Subject::App(LINK).token(), link, &never, &mut env)?;
        // Whatever the near end makes of this process: what needs the user's rights, the helper does. The first draw of
        // a random number opens a device file.
        SystemRandom::new().fill(&mut [0; 1]);
        // Not in the macro: what it is given is not looked at where nothing is said.
        let landlock = sandbox::harden_gate(helper.as_fd())?;
        log::debug!("{landlock}");
        Ok(Process {
            poll,
            buffers,
            message: Login::buffer(),
            session,
            app: Application { login },
            helper,
            audit,
            signals,
            facts_ready: true,
            link_ready: true,
        })
    }

    /// Serves to the end. Why it is the end: in good order, or an error; a sentence either way.
    fn serve(&mut self) -> Result<String, String> {
        let mut events = Events::with_capacity(EVENTS);
        let mut busy = true;
        loop {
            let until = if busy { Some(Instant::now()) } else { self.session.deadline() };
            let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => events.clear(),
                other => other.map_err(cannot("wait"))?,
            }
            for event in &events {
                self.note(event);
            }
            while let Some(signal) = self.signals.next().map_err(cannot("read signals"))? {
                match signal {
                    // The helper's end shows on its link.
                    Signal::Child | Signal::WindowChange => {}
                    Signal::Hangup | Signal::Interrupt | Signal::Quit | Signal::Terminate => {
                        return Ok(format!("ended by signal {}", signal.raw()));
                    }
                }
            }
            busy = match self.turn()? {
                Turn::Over => return Ok("the near end has gone".into()),
                Turn::Going(Status::Busy) => true,
                Turn::Going(Status::Idle) => self.link_ready || self.session.can_flush(),
            };
        }
    }

    fn note(&mut self, event: &mio::event::Event) {
        match Subject::of(event.token()) {
            Some(Subject::Net { .. }) => self.session.net_ready(event),
            Some(Subject::Pump { pump, role, .. }) => self.session.pump_ready(pump, role, event),
            Some(Subject::App(FACTS)) => self.facts_ready = true,
            Some(Subject::App(LINK)) => self.link_ready = true,
            // Signals are looked for in each turn.
            Some(Subject::App(_)) | None => {}
        }
    }

    fn turn(&mut self) -> Result<Turn, String> {
        let Process { poll, buffers, message, session, app, helper, audit, facts_ready, link_ready, .. } =
            self;
        let mut env = Env { registry: poll.registry(), buffers, now: Instant::now() };
        if std::mem::take(facts_ready) {
            let heard = helper.hear(|event| audit.event(event));
            if !heard.map_err(|e| format!("cannot keep the record: {e}"))? {
                return Err("the helper process has gone".into());
            }
        }
        if *link_ready {
            *link_ready = app.login.hear(session, &mut env, message).map_err(|end| match end {
                LinkEnd::Broken(why) => why,
                LinkEnd::Protocol(e) => e.to_string(),
            })?;
        }
        let worked = session.work(&mut env, app);
        app.login.note_use(session, env.now);
        match worked {
            Ok(status) => Ok(Turn::Going(status)),
            Err(End::Lost | End::Done | End::Protocol(sockward_proto::Error::Disconnected { .. })) => {
                Ok(Turn::Over)
            }
            Err(End::Protocol(e)) => Err(format!("the near end: {e}")),
        }
    }

    /// Says good-bye, has the sockets removed and completes the record.
    fn finish(mut self, why: &str) -> io::Result<()> {
        self.session.conn.disconnect(why);
        let until = Instant::now() + GOOD_BYE;
        let mut events = Events::with_capacity(EVENTS);
        while !self.session.flush_last() && Instant::now() < until {
            self.poll.poll(&mut events, Some(until.saturating_duration_since(Instant::now())))?;
            events.iter().for_each(|event| self.note(event));
        }
        let Process { session, helper, mut audit, .. } = self;
        drop(session);
        helper.end(|event| audit.event(event))?;
        audit.ended(why)
    }
}

impl Handler for Application {
    fn event(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        event: Event,
    ) -> sockward_proto::Result<()> {
        self.login.event(session, env, event)
    }

    fn pump(
        &mut self,
        session: &mut Session,
        _env: &mut Env<'_>,
        event: PumpEvent,
    ) -> sockward_proto::Result<()> {
        self.login.pump(session, event)
    }
}

fn watch(poll: &Poll, fd: BorrowedFd<'_>, number: usize, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), Subject::App(number).token(), interest)
}
