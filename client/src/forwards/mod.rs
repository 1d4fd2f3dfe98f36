//! Forwarded connections of one SSH connection: channels joined to descriptors.
//!
//! ```text
//!   local:   a listener here accepts ─▶ open a channel ─▶ opened ─▶ joined      (-L)
//!   remote:  the server announces a connection ─▶ targets: connect ─▶ joined    (-R)
//!   stdio:   our own standard streams                                           (-W)
//! ```

pub(crate) mod local;
pub(crate) mod remote;
pub(crate) mod stdio;
pub(crate) mod targets;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use mio::Token;
use sockward_config::forward::Target;
use sockward_drive::{Closing, Ends, Env, Session};
use sockward_proto::event::{OpenQuestion, OpenRequest, TcpEnds};
use sockward_proto::{ChannelId, Connection, GlobalId, Result};
use sockward_wire::channel::open_failure;

use crate::connect::family;
use crate::jobs::Jobs;
use crate::plan::Plan;
use local::Accepted;
use remote::{Answered, Remote};
use targets::Targets;

/// All of one connection.
pub(crate) struct Forwards {
    plan: Arc<Plan>,
    jobs: Jobs,
    remote: Remote,
    targets: Targets,
    /// Channels asked for, with the connections that wait for them.
    opening: HashMap<ChannelId, OwnedFd>,
    /// Channels joined to a connection.
    live: HashSet<ChannelId>,
}

impl Forwards {
    /// None yet. `token` makes the poller's tokens for connections under way.
    pub(crate) fn new(plan: Arc<Plan>, jobs: Jobs, token: fn(usize) -> Token) -> Self {
        let family = family(plan.configuration.settings.address_family);
        Forwards {
            plan,
            jobs,
            remote: Remote::default(),
            targets: Targets::new(token, family),
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
        self.targets.deadline()
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
    pub(crate) fn accepted(&mut self, accepted: Accepted, conn: &mut Connection) -> Result<()> {
        let (origin_host, origin_port) = local::origin(accepted.origin);
        log::debug!(
            "Connection from {origin_host} port {origin_port}, forwarding to {} requested.",
            local::target(&accepted.forward.target)
        );
        let origin_host = origin_host.into_bytes();
        let request = match &accepted.forward.target {
            Target::Tcp { host, port } => OpenRequest::DirectTcpip(TcpEnds {
                host: host.clone().into_bytes(),
                port: u32::from(*port),
                origin_host,
                origin_port,
            }),
            Target::Unix(path) => OpenRequest::DirectStreamlocal { path: path.written().as_bytes().to_vec() },
            // Refused at the start; the connection is dropped and so closed.
            Target::Socks => return Ok(()),
        };
        let channel = conn.open_channel(&request)?;
        self.opening.insert(channel, accepted.socket);
        Ok(())
    }

    /// The server has connected. False if the channel is not ours.
    pub(crate) fn opened(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<bool> {
        match self.opening.remove(&channel) {
            Some(socket) => self.join(channel, socket, session, env).map(|()| true),
            None => Ok(false),
        }
    }

    /// The server cannot or will not. Whoever connected sees the end.
    pub(crate) fn open_failed(&mut self, channel: ChannelId) {
        self.opening.remove(&channel);
    }

    // ---- listeners on the server ----

    /// Asks the server for all of them.
    pub(crate) fn ask_remote(&mut self, ours: bool, conn: &mut Connection) -> Result<Vec<String>> {
        let plan = Arc::clone(&self.plan);
        let mut impossible = Vec::new();
        for forward in &plan.configuration.settings.remote_forwards.0 {
            match remote::remedy(forward, ours) {
                Some(remedy) => impossible.push(remedy),
                None => self.remote.ask(forward, conn)?,
            }
        }
        Ok(impossible)
    }

    /// Whether the server has still to answer for one.
    pub(crate) fn is_asking(&self) -> bool {
        self.remote.is_waiting()
    }

    /// The server has answered. What it refused, if it did.
    pub(crate) fn answered(&mut self, id: GlobalId, reply: Option<&[u8]>) -> Option<String> {
        match self.remote.answered(id, reply)? {
            Answered::Listening => None,
            Answered::Refused(what) => Some(what),
        }
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
        let home = self.plan.home().to_owned();
        self.targets.connect(question, &target, home.as_encoded_bytes(), &self.jobs, env.registry, env.now);
        self.connected(session, env)
    }

    /// The poller says that the n-th connection under way has got somewhere.
    pub(crate) fn target_ready(&mut self, n: usize, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        self.targets.ready(n, env.registry);
        self.connected(session, env)
    }

    /// A job has ended, or the deadline has come.
    pub(crate) fn wake(&mut self, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        self.targets.wake(env.registry, env.now);
        self.connected(session, env)
    }

    fn connected(&mut self, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        for (question, outcome) in self.targets.finished() {
            match outcome {
                Ok(socket) => {
                    let channel = session.conn.accept_channel(question)?;
                    self.join(channel, socket, session, env)?;
                }
                Err(why) => session.conn.refuse_channel(question, open_failure::CONNECT_FAILED, &why)?,
            }
        }
        Ok(())
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
        if let Err(e) = session.set_ends(channel, Ends::Socket(socket), env) {
            log::error!("cannot watch a connection: {e}");
            return session.conn.close_channel(channel);
        }
        Ok(())
    }

    /// A channel is gone and everything received on it has been written.
    pub(crate) fn finished(&mut self, channel: ChannelId) {
        self.live.remove(&channel);
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
