//! After the login: forwardings are set up, the session is opened, and what happens on the connection goes to whom it
//! concerns. Says when everything is over. What other clients ask of a master is in `control.rs`. Mirror of the
//! worker's `login.rs`.

mod control;
mod ready;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sockward_config::forward::Form;
use sockward_drive::{Env, PumpEvent, Session};
use sockward_proto::event::{GlobalQuestion, GlobalRequest};
use sockward_proto::{ChannelId, Event, GlobalId, Result};
use sockward_sys::log as logger;

use crate::background::Background;
use crate::control::leave::Leave;
use crate::control::master::Master;
use crate::control::messages::Tell;
use crate::control::users::Users;
use crate::escape::{self, Command, Whose};
use crate::forwards::local::{self, Listeners};
use crate::forwards::remote::{Answered, Held};
use crate::forwards::stdio::Stdio;
use crate::forwards::{Forwards, failure};
use crate::jobs::{Job, Jobs};
use crate::notice::Notice;
use crate::plan::Plan;
use crate::sessions::{ClientSession, Hopeless};
use crate::trust::{Learner, Trust};
use crate::watched::Watched;
use crate::{FAILURE, messages, start, terminal};
use ready::{Announced, NO_OWNERS};

/// How a server of ours begins to introduce itself.
const OURS: &[u8] = b"SSH-2.0-Sockward_";

/// What outlives a connection.
pub(crate) struct Lasting {
    pub(crate) listeners: Listeners,
    pub(crate) background: Background,
    pub(crate) control: Master,
    /// What the server listened for before the connection was lost; none before the first login.
    pub(crate) held: Option<Vec<Held>>,
}

/// What goes on over one connection.
pub(crate) struct Login {
    plan: Arc<Plan>,
    jobs: Jobs,
    trust: Trust,
    learner: Learner,
    state: State,
    forwards: Forwards,
    session: Option<ClientSession>,
    stdio: Option<Stdio>,
    users: Users,
    leave: Leave,
    /// Forwardings asked of the server for other clients.
    asked: HashMap<GlobalId, usize>,
    /// What whoever wants to know is told.
    ready: Announced,
    /// When the last session over a connection that persists has ended.
    idle_since: Option<Instant>,
    /// No more clients are taken. Without a session of its own this ends with the last of theirs.
    stopped: bool,
    /// Set when this program is to end.
    exit: Option<u8>,
}

enum State {
    /// Nothing was done yet.
    New,
    /// LocalCommand runs.
    LocalCommand(Job<()>),
    /// The session, if there is one, has been asked for.
    Running,
}

impl Login {
    /// Just let in; [`Self::turn`] does the rest.
    pub(crate) fn new(plan: Arc<Plan>, jobs: Jobs, trust: Trust, learner: Learner) -> Self {
        Login {
            forwards: Forwards::new(Arc::clone(&plan), jobs.clone()),
            plan,
            jobs,
            trust,
            learner,
            state: State::New,
            session: None,
            stdio: None,
            users: Users::default(),
            leave: Leave::default(),
            asked: HashMap::new(),
            ready: Announced::default(),
            idle_since: None,
            stopped: false,
            exit: None,
        }
    }

    /// Set when this program is to end.
    pub(crate) fn exit(&self) -> Option<u8> {
        self.exit
    }

    /// When to call [`Self::turn`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.forwards.deadline(), self.persists_until(), self.learner.deadline()].into_iter().flatten().min()
    }

    /// The channel that is joined to our standard streams.
    pub(crate) fn main_channel(&self) -> Option<ChannelId> {
        let session = self.session.as_ref().map(ClientSession::channel);
        session.or_else(|| self.stdio.as_ref().map(Stdio::channel))
    }

    /// What still writes to our standard streams, and what has to wait for that.
    pub(crate) fn into_last(self) -> (Vec<Job<()>>, Option<Learner>) {
        let outputs = self.session.map(ClientSession::into_outputs).unwrap_or_default();
        let stdio = self.stdio.and_then(Stdio::into_output);
        let outputs = outputs.into_iter().chain(stdio).chain(self.users.into_outputs()).collect();
        (outputs, Some(self.learner))
    }

    fn fatal(&mut self, text: &str) {
        log::error!(target: "fatal", "{text}");
        self.plan.notices.tell(&Notice::Refused(text.to_owned()));
        self.exit = Some(FAILURE);
    }

    // ---- setting up ----

    /// Does what has become possible: at first everything, later what jobs, people and listeners bring.
    pub(crate) fn turn(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        lasting: &mut Lasting,
    ) -> Result<()> {
        let Lasting { listeners, background, control, held } = lasting;
        match &self.state {
            State::New => {
                self.set_up(session, env, listeners, held.take())?;
                if self.plan.is_master() && self.exit.is_none() {
                    self.open_control(control, env);
                }
            }
            State::LocalCommand(job) => {
                if job.poll().is_some() {
                    self.open_session(session)?;
                }
            }
            State::Running => {}
        }
        self.probed(session)?;
        let settings = &self.plan.configuration.settings;
        let confirmed = !settings.exit_on_forward_failure || !self.forwards.is_asking();
        if matches!(self.state, State::Running) && confirmed && self.exit.is_none() {
            background.enter(&self.plan);
        }
        self.forwards.wake(session, env)?;
        while session.conn.is_open() && session.conn.channels_left() > 0 {
            let Some(pending) = listeners.next(env.now) else { break };
            self.forwards.serve(pending, &mut session.conn, env.registry)?;
        }
        while let Some(command) = self.session.as_ref().and_then(ClientSession::command) {
            self.command(command, session)?;
        }
        while let Some((n, asked)) = control.asked(env.registry) {
            if let Some(asked) = self.with_leave(n, asked, control) {
                self.serve(n, asked, session, env, listeners, control)?;
            }
        }
        while let Some((n, asked, allowed)) = self.leave.answered(&self.jobs) {
            if allowed {
                self.serve(n, asked, session, env, listeners, control)?;
            } else {
                control.tell(n, &Tell::Failed("Permission denied".to_owned()));
            }
        }
        self.learner.turn(&mut session.conn, env.now)?;
        self.users.wake(|| self.forwards.list(), &mut session.conn)?;
        for (n, what) in self.users.told() {
            control.tell(n, &what);
        }
        self.see_whether_over(env.now);
        Ok(())
    }

    fn set_up(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        listeners: &mut Listeners,
        held: Option<Vec<Held>>,
    ) -> Result<()> {
        self.state = State::Running;
        let plan = Arc::clone(&self.plan);
        let ours = self.is_ours(session);
        if plan.target_owner().is_some() && !ours && plan.reaches_far_targets() {
            self.fatal(NO_OWNERS);
            return Ok(());
        }
        if let Some(target) = &plan.configuration.stdio_forward {
            if let Some(remedy) = stdio_remedy(target).filter(|_| !ours) {
                self.fatal(&remedy);
                return Ok(());
            }
            self.stdio = Stdio::own(target, plan.target_owner(), &mut session.conn)?;
        }
        if let Some(held) = held.filter(|_| self.trust == Trust::Full) {
            // The local ones are there.
            self.forwards.remote().take_back(held, &mut session.conn, env.now)?;
        } else if self.trust == Trust::Full {
            self.set_up_local(ours, env, listeners);
            if self.exit.is_none() {
                self.set_up_remote(ours, session)?;
                self.forwards.probe(ours, &mut session.conn, env)?;
            }
        } else {
            self.refuse_forwards();
        }
        if self.exit.is_some() {
            return Ok(());
        }
        match plan.configuration.local_command() {
            Ok(None) => self.open_session(session),
            Ok(Some(command)) => {
                match self.jobs.start(move || run_local_command(&command)) {
                    Ok(job) => self.state = State::LocalCommand(job),
                    Err(e) => self.fatal(&format!("cannot start a thread: {e}")),
                }
                Ok(())
            }
            Err(e) => {
                self.fatal(&format!("LocalCommand: {e}"));
                Ok(())
            }
        }
    }

    fn set_up_local(&mut self, ours: bool, env: &mut Env<'_>, listeners: &mut Listeners) {
        let plan = Arc::clone(&self.plan);
        let settings = &plan.configuration.settings;
        let forwards: Vec<_> = settings.local_forwards.0.iter().chain(&settings.dynamic_forwards.0).collect();
        if forwards.is_empty() {
            return;
        }
        let mut bound = 0;
        for forward in &forwards {
            log::debug!("Local connections to {}", local::describe(forward, settings.gateway_ports));
            match local::remedy(forward, Form::Local, ours) {
                Some(remedy) => log::error!("{remedy}"),
                None => bound += usize::from(listeners.bind(forward, &plan, env.registry)),
            }
        }
        let failed = "Could not request local forwarding.";
        if bound < forwards.len() && settings.exit_on_forward_failure {
            self.fatal(failed);
        } else if bound == 0 {
            log::error!("{failed}");
        }
    }

    fn set_up_remote(&mut self, ours: bool, session: &mut Session) -> Result<()> {
        let impossible = self.forwards.ask_remote(ours, &mut session.conn)?;
        let strict = self.plan.configuration.settings.exit_on_forward_failure;
        for remedy in impossible {
            if strict {
                self.fatal(&remedy);
            } else {
                log::error!("{remedy}");
            }
        }
        Ok(())
    }

    /// A host that nobody vouches for gets no forwardings.
    fn refuse_forwards(&mut self) {
        let settings = &self.plan.configuration.settings;
        let all = [&settings.local_forwards, &settings.dynamic_forwards, &settings.remote_forwards];
        if all.iter().all(|forwards| forwards.0.is_empty()) {
            return;
        }
        log::error!("Port forwarding is disabled to avoid man-in-the-middle attacks.");
        if settings.exit_on_forward_failure {
            self.fatal("Error: forwarding disabled due to host key check failure");
        }
    }

    fn open_session(&mut self, session: &mut Session) -> Result<()> {
        self.state = State::Running;
        if self.plan.has_session() {
            self.session = Some(ClientSession::own(&self.plan, &mut session.conn)?);
        }
        let knows = [&b"SSH-2.0-OpenSSH_"[..], OURS];
        // A master will open more.
        if !self.plan.is_master() && knows.iter().any(|name| session.conn.peer_version().starts_with(name)) {
            log::debug!("Requesting no-more-sessions@openssh.com");
            session.conn.no_more_sessions()?;
        }
        log::debug!("Entering interactive session.");
        Ok(())
    }

    // ---- what happens ----

    /// The server has said something (DEBUG).
    pub(crate) fn remarked(&mut self, text: &[u8]) {
        self.forwards.remote().remarked(text);
    }

    /// Something happened on the connection layer.
    pub(crate) fn event(&mut self, session: &mut Session, env: &mut Env<'_>, event: Event) -> Result<()> {
        match event {
            Event::Opened(channel) if self.users.owns(channel) => {
                return self.users.opened(channel, session, env, &self.jobs);
            }
            Event::Opened(channel) if self.forwards.probes().opened(channel, &mut session.conn)? => {}
            Event::Opened(channel) => {
                let opened = if let Some(main) = self.session.as_mut().filter(|s| s.is(channel)) {
                    return main.opened(session, env, &self.jobs);
                } else if let Some(stdio) = self.stdio.as_mut().filter(|s| s.is(channel)) {
                    stdio.opened(session, env, &self.jobs)
                } else {
                    return self.forwards.opened(channel, session, env).map(drop);
                };
                if let Err(e) = opened {
                    self.fatal(&format!("cannot use the standard streams: {e}"));
                }
            }
            Event::OpenFailed { channel, reason, text } => {
                let text = String::from_utf8_lossy(&text);
                log::info!("channel {}: open failed: {}: {text}", channel.index(), failure(reason));
                if self.users.owns(channel) {
                    self.users.refused(channel, format!("open failed: {}: {text}", failure(reason)));
                } else if let Some(main) = self.session.as_mut().filter(|s| s.is(channel)) {
                    main.refused();
                } else if self.stdio.as_ref().is_some_and(|s| s.is(channel)) {
                    self.fatal("stdio forwarding failed");
                } else {
                    self.forwards.open_failed(channel);
                    self.forwards.probes().open_failed(channel, &format!("{}: {text}", failure(reason)));
                }
            }
            Event::RequestAnswered { channel, ok } if self.users.owns(channel) => {
                return self.users.answered(channel, ok, &mut session.conn);
            }
            Event::RequestAnswered { channel, ok } => {
                if let Some(main) = self.session.as_mut().filter(|s| s.is(channel))
                    && let Err(Hopeless(text)) = main.answered(ok)
                {
                    self.fatal(&text);
                }
            }
            Event::Requested(question) if self.users.owns(question.channel) => {
                return self.users.requested(question, session);
            }
            Event::Requested(question) => {
                return match self.session.as_mut().filter(|s| s.is(question.channel)) {
                    Some(main) => main.requested(question, session),
                    None => session.conn.answer_request(question, false),
                };
            }
            Event::Closed(channel) => {
                if let Some(main) = self.session.as_mut().filter(|s| s.is(channel)) {
                    main.closed();
                }
                self.users.closed(channel);
                self.forwards.probes().closed(channel);
            }
            Event::GlobalAnswered { id, reply } => {
                if self.learner.answered(id, reply.as_deref(), &session.conn) {
                    return Ok(());
                }
                self.forwards.probes().answered(id, reply.as_deref());
                let answered = self.forwards.remote().answered(id, reply.as_deref(), env.now);
                match (self.asked.remove(&id), answered) {
                    (_, None | Some(Answered::Later)) | (None, Some(Answered::Listening(_))) => {}
                    (None, Some(Answered::Refused(what))) => self.refused(&what),
                    (Some(n), Some(Answered::Listening(None))) => self.users.tell(n, Tell::Done),
                    (Some(n), Some(Answered::Listening(Some(port)))) => {
                        self.users.tell(n, Tell::Port(port.into()));
                    }
                    (Some(n), Some(Answered::Refused(what))) => {
                        let text = format!("remote port forwarding failed for {what}");
                        self.users.tell(n, Tell::Failed(text));
                    }
                }
            }
            Event::OpenRequested(question) => return self.forwards.open_requested(question, session, env),
            Event::Global(GlobalQuestion { request: GlobalRequest::HostKeys(keys), .. }) => {
                self.learner.told(keys);
            }
            // A server asks for no listeners: dropped, and so refused.
            Event::Global(_) => {}
            // The pumps have done what is to be done.
            Event::Writable(_) => {}
            // No CLOSE is held here.
            Event::PeerClosed(_) => {}
            Event::Eof(channel) => self.forwards.ended(channel),
            // A server's events, and those before the login: the application or nobody has them.
            Event::PeerVersion(_)
            | Event::HostKey(_)
            | Event::Signature(_)
            | Event::Keys { .. }
            | Event::Debug { .. }
            | Event::AuthReady
            | Event::AuthFailed { .. }
            | Event::KeyAcceptable { .. }
            | Event::Prompts(_)
            | Event::Banner(_)
            | Event::Authenticated
            | Event::AuthRequested(_) => {}
        }
        Ok(())
    }

    /// The server does not listen where it was asked to.
    fn refused(&mut self, what: &str) {
        let text = format!("remote port forwarding failed for {what}");
        if self.plan.configuration.settings.exit_on_forward_failure {
            self.fatal(&format!("Error: {text}"));
        } else {
            log::warn!("Warning: {text}");
        }
    }

    /// Something happened to a channel's descriptors.
    pub(crate) fn pump(&mut self, session: &mut Session, event: PumpEvent) -> Result<()> {
        match event {
            PumpEvent::InputEnded(_) => {}
            PumpEvent::OutputBroken(channel) if self.users.owns(channel) => {
                return self.users.output_broken(channel, &mut session.conn);
            }
            PumpEvent::OutputBroken(channel) => {
                if let Some(main) = self.session.as_ref().filter(|s| s.is(channel)) {
                    return main.output_broken(&mut session.conn);
                }
            }
            PumpEvent::Finished(channel, _) if self.users.owns(channel) => self.users.finished(channel),
            PumpEvent::Finished(channel, _) => {
                if let Some(main) = self.session.as_mut().filter(|s| s.is(channel)) {
                    main.finished();
                } else if let Some(stdio) = self.stdio.as_mut().filter(|s| s.is(channel)) {
                    stdio.finished();
                } else {
                    self.forwards.finished(channel);
                }
            }
        }
        Ok(())
    }

    /// The poller says something of what forwardings have watched.
    pub(crate) fn ready(&mut self, what: Watched, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        match what {
            Watched::Target(n) => self.forwards.target_ready(n, session, env),
            Watched::Socks(n) => self.forwards.socks_ready(n, &mut session.conn, env.registry),
            Watched::Jobs
            | Watched::Signals
            | Watched::Connector
            | Watched::Listener(_)
            | Watched::Control(_) => Ok(()),
        }
    }

    /// The terminal's window has another size.
    pub(crate) fn window_changed(&self, session: &mut Session) -> Result<()> {
        match &self.session {
            Some(main) => main.window_changed(terminal::size(), &mut session.conn),
            None => Ok(()),
        }
    }

    /// What a person at the terminal typed for this program.
    fn command(&mut self, command: Command, session: &mut Session) -> Result<()> {
        let character = self.session.as_ref().map_or('~', ClientSession::escape);
        match command {
            Command::Terminate => {
                messages::to_terminal(&format!("{character}.\r\n"));
                self.exit = Some(FAILURE);
            }
            Command::Suspend => {
                messages::to_terminal(&format!("{character}^Z [suspend ssh]\r\n"));
                if let Some(main) = &mut self.session {
                    return main.suspend(&mut session.conn);
                }
            }
            Command::List => messages::to_terminal(&format!("{character}#\r\n{}", self.forwards.list())),
            Command::Rekey => return session.conn.rekey(),
            Command::Louder | Command::Quieter => {
                let louder = command == Command::Louder;
                let level = logger::shift_level(louder);
                let typed = if louder { 'v' } else { 'V' };
                messages::to_terminal(&format!("{character}{typed} [LogLevel {}]\r\n", level.name()));
            }
            Command::Break => {
                messages::to_terminal(&format!("{character}B\r\n"));
                if let Some(main) = &self.session {
                    return main.send_break(&mut session.conn);
                }
            }
            Command::Help => messages::to_terminal(&escape::help(character, Whose::Own)),
            Command::Unavailable(_) => {
                messages::to_terminal(&escape::unavailable(character, command, Whose::Own));
            }
        }
        Ok(())
    }

    // ---- the end ----

    /// Whether this ends with the connection, whatever ends it: no more clients are taken.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The connection is lost and will be made again: what is to be kept for then. The control socket comes again with
    /// the next login; whoever uses it sees the end.
    pub(crate) fn leave(self, lasting: &mut Lasting, now: Instant) {
        lasting.control = Master::default();
        if matches!(self.state, State::New) {
            return;
        }
        let patience = self.plan.configuration.settings.reconnect_wait.0;
        let (unanswered, held) = self.forwards.leave();
        lasting.held = Some(held);
        let patience = patience.map(|seconds| Duration::from_secs(seconds.into()));
        lasting.listeners.begin_to_hold(unanswered, patience, now);
    }

    fn see_whether_over(&mut self, now: Instant) {
        if self.exit.is_some() {
            return;
        }
        if !self.users.is_empty() || self.plan.has_session() {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
        if self.persists_until().is_some_and(|until| until <= now) && self.plan.persists() {
            log::debug!("ControlPersist timeout expired");
            self.exit = Some(0);
            return;
        }
        if !self.users.is_empty() || self.learner.holds(now) {
            return;
        }
        if self.stopped && !self.plan.has_session() && !self.forwards.is_busy() {
            self.exit = Some(0);
            return;
        }
        if self.stdio.as_mut().is_some_and(Stdio::is_over) {
            log::debug!("stdio forwarding: done");
            self.exit = Some(0);
        } else if let Some(main) = &mut self.session
            && main.is_over()
            && !self.forwards.is_busy()
        {
            self.exit = Some(main.status());
        }
    }
}

fn stdio_remedy(target: &sockward_config::forward::Target) -> Option<String> {
    match target {
        sockward_config::forward::Target::Unix(path) => path.stock_server_remedy(),
        sockward_config::forward::Target::Tcp { .. } | sockward_config::forward::Target::Socks => None,
    }
}

/// LocalCommand, by the user's shell and with our standard streams.
fn run_local_command(command: &OsString) {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let run = || -> io::Result<()> {
        start::shell(command, stdin.as_fd(), stdout.as_fd(), stderr.as_fd()).spawn()?.wait().map(drop)
    };
    if let Err(e) = run() {
        log::error!("Couldn't execute LocalCommand: {e}");
    }
}
