//! Forwarded connections of one SSH connection: channels joined to descriptors.
//!
//! ```text
//!   local:   a listener here accepts ─▶ open a channel ─▶ opened ─▶ joined      (-L)
//!   remote:  the server announces a connection ─▶ targets: connect ─▶ joined    (-R)
//!   socks:   who connects says where to                               (-D, -R port)
//!   stdio:   our own standard streams                                           (-W)
//! ```

pub(crate) mod far;
mod guard;
pub(crate) mod local;
pub(crate) mod probe;
pub(crate) mod remote;
mod socks;
pub(crate) mod stdio;
pub(crate) mod targets;
pub(crate) mod waiting;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;
use sockward_config::forward::Target;
use sockward_drive::{Closing, Ends, Env, Session};
use sockward_proto::event::{OpenQuestion, OpenRequest, TcpEnds};
use sockward_proto::{ChannelId, Connection, Result};
use sockward_wire::channel::open_failure;
use sockward_wire::socks::Outcome;

use crate::connect::family;
use crate::jobs::Jobs;
use crate::plan::Plan;
use probe::Probes;
use remote::{Held, Remote};
use socks::{Locals, Remotes, Step, Wanted};
use targets::{Targets, Whose};
use waiting::Pending;

/// All of one connection.
pub(crate) struct Forwards {
    plan: Arc<Plan>,
    jobs: Jobs,
    remote: Remote,
    probes: Probes,
    targets: Targets,
    socks_here: Locals,
    socks_there: Remotes,
    /// Channels asked for, with the connections that wait for them.
    opening: HashMap<ChannelId, Pending>,
    /// Channels joined to a connection.
    live: HashSet<ChannelId>,
}

impl Forwards {
    /// None yet.
    pub(crate) fn new(plan: Arc<Plan>, jobs: Jobs) -> Self {
        let family = family(plan.configuration.settings.address_family);
        Forwards {
            plan,
            jobs,
            remote: Remote::default(),
            probes: Probes::default(),
            targets: Targets::new(family),
            socks_here: Locals::default(),
            socks_there: Remotes::default(),
            opening: HashMap::new(),
            live: HashSet::new(),
        }
    }

    /// Whether a connection is open or being opened.
    pub(crate) fn is_busy(&self) -> bool {
        !self.opening.is_empty() || !self.live.is_empty()
    }

    /// When to call [`Self::wake`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.targets.deadline(), self.remote.deadline()].into_iter().flatten().min()
    }

    /// What `~#` shows: each open channel.
    pub(crate) fn list(&self) -> String {
        let mut numbers: Vec<_> = self.live.iter().map(|channel| channel.index()).collect();
        numbers.sort_unstable();
        let lines = numbers.into_iter().map(|n| format!("  #{n} forwarded connection\r\n"));
        lines.fold("The following connections are open:\r\n".to_owned(), |text, line| text + &line)
    }

    // ---- listeners on this machine ----

    /// Somebody has connected to one: the server is asked to connect to the target.
    pub(crate) fn serve(
        &mut self,
        pending: Pending,
        conn: &mut Connection,
        registry: &Registry,
    ) -> Result<()> {
        let accepted = match pending {
            Pending::Forward(accepted) => accepted,
            Pending::Socks(wanted) => return self.wanted(wanted, conn),
        };
        let (origin_host, origin_port) = local::origin(accepted.origin);
        log::debug!(
            "Connection from {origin_host} port {origin_port}, forwarding to {} requested.",
            local::target(&accepted.forward.target)
        );
        let request = match &accepted.forward.target {
            Target::Socks => {
                let wanted = self.socks_here.accepted(accepted.socket, accepted.origin, registry);
                return wanted.map_or(Ok(()), |wanted| self.wanted(wanted, conn));
            }
            target => match far::request(target, accepted.origin, self.plan.target_owner()) {
                Some(request) => request,
                None => return Ok(()),
            },
        };
        let channel = conn.open_channel(&request)?;
        self.opening.insert(channel, Pending::Forward(accepted));
        Ok(())
    }

    /// The poller says that the n-th SOCKS client has something to say.
    pub(crate) fn socks_ready(&mut self, n: usize, conn: &mut Connection, registry: &Registry) -> Result<()> {
        match self.socks_here.ready(n, registry) {
            Some(wanted) => self.wanted(wanted, conn),
            None => Ok(()),
        }
    }

    /// A SOCKS client has said where to.
    fn wanted(&mut self, wanted: Wanted, conn: &mut Connection) -> Result<()> {
        let request = &wanted.request;
        let (origin_host, origin_port) = local::origin(wanted.origin);
        log::debug!("SOCKS: connection to {}:{} requested.", request.host.escape_ascii(), request.port);
        let ends = TcpEnds {
            host: request.host.clone(),
            port: u32::from(request.port),
            origin_host: origin_host.into_bytes(),
            origin_port,
        };
        if conn.channels_left() == 0 {
            return Ok(());
        }
        let channel = conn.open_channel(&OpenRequest::DirectTcpip(ends))?;
        self.opening.insert(channel, Pending::Socks(wanted));
        Ok(())
    }

    /// The server has connected. False if the channel is not ours.
    pub(crate) fn opened(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<bool> {
        let Some(pending) = self.opening.remove(&channel) else { return Ok(false) };
        let (socket, request) = pending.into_socket();
        if let Some(request) = request
            && let Err(e) = socks::say(&socket, &request.reply(Outcome::Connected))
        {
            log::debug!("SOCKS client: {e}");
        }
        self.join(channel, socket, session, env).map(|()| true)
    }

    /// The server cannot or will not. Whoever connected sees the end.
    pub(crate) fn open_failed(&mut self, channel: ChannelId) {
        if let Some(pending) = self.opening.remove(&channel) {
            pending.refuse();
        }
    }

    /// The connection is lost: who waits for a channel, and what the server listened for.
    pub(crate) fn leave(self) -> (Vec<Pending>, Vec<Held>) {
        let mut opening: Vec<_> = self.opening.into_iter().collect();
        opening.sort_by_key(|(channel, _)| channel.index());
        (opening.into_iter().map(|(_, pending)| pending).collect(), self.remote.leave())
    }

    // ---- listeners on the server ----

    /// Asks the server for all of them.
    pub(crate) fn ask_remote(&mut self, ours: bool, conn: &mut Connection) -> Result<Vec<String>> {
        let plan = Arc::clone(&self.plan);
        let mut impossible = Vec::new();
        for forward in &plan.configuration.settings.remote_forwards.0 {
            match remote::remedy(forward, ours) {
                Some(remedy) => impossible.push(remedy),
                None => drop(self.remote.ask(forward, conn)?),
            }
        }
        Ok(impossible)
    }

    /// Whether the server has still to answer for one.
    pub(crate) fn is_asking(&self) -> bool {
        self.remote.is_waiting() || self.probes.is_waiting()
    }

    /// The listeners on the server.
    pub(crate) fn remote(&mut self) -> &mut Remote {
        &mut self.remote
    }

    /// The server announces a connection.
    pub(crate) fn open_requested(
        &mut self,
        question: OpenQuestion,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<()> {
        let Some(target) = self.remote.target(&question.kind).cloned() else {
            match &question.kind {
                OpenRequest::ForwardedTcpip(ends) => {
                    log::error!("WARNING: Server requests forwarding for unknown listen_port {}", ends.port);
                }
                OpenRequest::ForwardedStreamlocal { path } => {
                    log::error!(
                        "WARNING: Server requests forwarding for unknown path {}",
                        path.escape_ascii()
                    );
                }
                // RFC 4254 §6.1 and §7.2: a server must not ask a client for these.
                OpenRequest::Session
                | OpenRequest::DirectTcpip(_)
                | OpenRequest::DirectStreamlocal { .. } => {}
            }
            let reason = open_failure::ADMINISTRATIVELY_PROHIBITED;
            return session.conn.refuse_channel(question, reason, "open failed");
        };
        if target == Target::Socks {
            let channel = session.conn.accept_channel(question)?;
            session.attach(channel, Closing::Automatic);
            self.live.insert(channel);
            self.socks_there.opened(channel);
            return Ok(());
        }
        let home = self.plan.home().to_owned();
        self.targets.connect(
            Whose::Question(question),
            &target,
            home.as_encoded_bytes(),
            &self.jobs,
            env.registry,
            env.now,
        );
        self.connected(session, env)
    }

    /// The poller says that the n-th connection under way has got somewhere.
    pub(crate) fn target_ready(&mut self, n: usize, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        self.targets.ready(n, env.registry);
        self.connected(session, env)
    }

    /// A job has ended, something has arrived, or the deadline has come.
    pub(crate) fn wake(&mut self, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        self.targets.wake(env.registry, env.now);
        self.remote.wake(&mut session.conn, env.now)?;
        self.connected(session, env)
    }

    /// A SOCKS client of a listener of the server's has said where to.
    fn connect_socks(&mut self, channel: ChannelId, host: &[u8], port: u16, env: &mut Env<'_>) {
        let permitted = &self.plan.configuration.settings.permit_remote_open;
        // A name that is not UTF-8 is none that could be looked up.
        let Some(host) =
            std::str::from_utf8(host).ok().filter(|host| permitted.permits(host.as_bytes(), port))
        else {
            log::error!(
                "Received request to connect to host {} port {port}, but the request was denied.",
                host.escape_ascii()
            );
            return self.socks_there.connected(channel, Err(Outcome::NotAllowed));
        };
        let target = Target::Tcp { host: host.to_owned(), port };
        let (home, jobs) = (self.plan.home().to_owned(), &self.jobs);
        let whose = Whose::Socks(channel);
        self.targets.connect(whose, &target, home.as_encoded_bytes(), jobs, env.registry, env.now);
    }

    /// Joins what has been connected, and hears what SOCKS clients have to say.
    fn connected(&mut self, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        loop {
            for (whose, outcome) in self.targets.finished() {
                match (whose, outcome) {
                    (Whose::Question(question), Ok(socket)) => {
                        let channel = session.conn.accept_channel(question)?;
                        self.join(channel, socket, session, env)?;
                    }
                    (Whose::Question(question), Err(why)) => {
                        session.conn.refuse_channel(question, open_failure::CONNECT_FAILED, &why)?;
                    }
                    (Whose::Probe, outcome) => self.probes.connected_here(outcome.map(drop)),
                    (Whose::Socks(channel), outcome) => {
                        self.socks_there.connected(channel, outcome.map_err(|_| Outcome::Failed));
                    }
                }
            }
            let steps = self.socks_there.step(session)?;
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                match step {
                    Step::Connect { channel, host, port } => self.connect_socks(channel, &host, port, env),
                    Step::Join { channel, socket } => self.set_ends(channel, socket, session, env)?,
                }
            }
        }
    }

    // ---- joined ----

    fn join(
        &mut self,
        channel: ChannelId,
        socket: OwnedFd,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<()> {
        session.attach(channel, Closing::Automatic);
        self.live.insert(channel);
        self.set_ends(channel, socket, session, env)
    }

    fn set_ends(
        &mut self,
        channel: ChannelId,
        socket: OwnedFd,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<()> {
        if let Err(e) = session.set_ends(channel, Ends::Socket(socket), env) {
            log::error!("cannot watch a connection: {e}");
            return session.conn.close_channel(channel);
        }
        Ok(())
    }

    /// A channel is gone and everything received on it has been written.
    pub(crate) fn finished(&mut self, channel: ChannelId) {
        self.live.remove(&channel);
        self.socks_there.gone(channel);
    }

    /// The server sends no more on a channel.
    pub(crate) fn ended(&mut self, channel: ChannelId) {
        self.socks_there.ended(channel);
    }
}

/// A reason of an OPEN_FAILURE in OpenSSH's words.
pub(crate) fn failure(reason: u32) -> &'static str {
    match reason {
        open_failure::ADMINISTRATIVELY_PROHIBITED => "administratively prohibited",
        open_failure::CONNECT_FAILED => "connect failed",
        open_failure::UNKNOWN_CHANNEL_TYPE => "unknown channel type",
        open_failure::RESOURCE_SHORTAGE => "resource shortage",
        _ => "unknown reason",
    }
}
