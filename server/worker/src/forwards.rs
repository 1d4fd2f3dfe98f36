//! Forwarded connections and listeners of one login, as the worker sees them: channels joined to descriptors
//! that the helper has connected.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use sockward_drive::{Closing, Ends, Env, Session, Totals};
use sockward_privsep::login::{Connection, Endpoint, Found, Refusal, Request};
use sockward_proto::event::{GlobalQuestion, GlobalRequest, OpenQuestion, OpenRequest, TcpEnds};
use sockward_proto::{ChannelId, Error, Result};
use sockward_wire::Put;
use sockward_wire::channel::open_failure;
use sockward_wire::names;
use sockward_wire::probe::{self, At, Status};

use crate::login::{Asked, Helper};

/// One login's forwardings.
#[derive(Default)]
pub(crate) struct Forwards {
    /// What a listener was asked for as; that is how a forwarded connection is announced.
    listeners: HashMap<u64, Endpoint>,
    /// Channels announced for accepted connections, with the descriptors that wait for them.
    opening: HashMap<ChannelId, Opening>,
    /// Forwarded connections by channel.
    joined: HashMap<ChannelId, Connection>,
}

/// A channel that the client has not taken yet.
struct Opening {
    fd: OwnedFd,
    connection: u64,
    /// The channel's type.
    kind: &'static str,
}

impl Forwards {
    /// Whether nothing is forwarded, whatever is listened on.
    pub(crate) fn is_empty(&self) -> bool {
        self.opening.is_empty() && self.joined.is_empty()
    }

    /// The client wants a connection to a target (`-L`).
    pub(crate) fn open_requested(
        &mut self,
        question: OpenQuestion,
        session: &mut Session,
        helper: &mut Helper<'_>,
    ) -> Result<()> {
        let target = match &question.kind {
            OpenRequest::DirectTcpip(ends) => Endpoint::Tcp { host: ends.host.clone(), port: ends.port },
            OpenRequest::DirectStreamlocal { path, owner: None } => Endpoint::Path(path.clone()),
            OpenRequest::DirectStreamlocal { path, owner: Some(owner) } => {
                let (path, owner) = (path.clone(), owner.clone());
                let asked = Asked::Open(question);
                return helper.ask(asked, |id| Request::OpenOwned { id, path, owner }).map(drop);
            }
            OpenRequest::Session
            | OpenRequest::ForwardedTcpip(_)
            | OpenRequest::ForwardedStreamlocal { .. } => {
                let reason = open_failure::UNKNOWN_CHANNEL_TYPE;
                return session.conn.refuse_channel(question, reason, "not for a server");
            }
        };
        helper.ask(Asked::Open(question), |id| Request::Open { id, target }).map(drop)
    }

    /// The helper has connected to the target. The channel and its type.
    pub(crate) fn connected(
        &mut self,
        id: u64,
        question: OpenQuestion,
        fd: OwnedFd,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<(ChannelId, &'static str)> {
        let kind = kind(&question.kind);
        let channel = session.conn.accept_channel(question)?;
        self.join(channel, Connection::Opened(id), fd, session, env)?;
        Ok((channel, kind))
    }

    /// The client wants a listener, or none any more (`-R`).
    pub(crate) fn global_requested(
        &mut self,
        question: GlobalQuestion,
        helper: &mut Helper<'_>,
    ) -> Result<()> {
        let tcp = |host: &Vec<u8>, port: &u32| Endpoint::Tcp { host: host.clone(), port: *port };
        let (listen, at) = match &question.request {
            GlobalRequest::TcpipForward { host, port } => (true, tcp(host, port)),
            GlobalRequest::CancelTcpipForward { host, port } => (false, tcp(host, port)),
            GlobalRequest::StreamlocalForward { path } => (true, Endpoint::Path(path.clone())),
            GlobalRequest::CancelStreamlocalForward { path } => (false, Endpoint::Path(path.clone())),
            GlobalRequest::ForwardProbe(asked) => {
                let listen = asked.listen;
                let at = match &asked.at {
                    At::Tcp { host, port } => tcp(host, port),
                    At::Path(path) => Endpoint::Path(path.clone()),
                };
                return helper.ask(Asked::Global(question), |id| Request::Probe { id, listen, at }).map(drop);
            }
            // Not offered; the question is dropped and so refused.
            GlobalRequest::HostKeys(_) | GlobalRequest::HostKeysProve(_) => return Ok(()),
        };
        let asked = Asked::Global(question);
        match listen {
            true => helper.ask(asked, |id| Request::Listen { id, at }),
            false => helper.ask(asked, |id| Request::Unlisten { id, at }),
        }
        .map(drop)
    }

    /// The helper listens.
    pub(crate) fn listening(
        &mut self,
        question: GlobalQuestion,
        listener: u64,
        bound: Option<u16>,
        session: &mut Session,
    ) -> Result<()> {
        let mut reply = Vec::new();
        let at = match &question.request {
            GlobalRequest::TcpipForward { host, port } => {
                let actual = bound.map_or(*port, u32::from);
                if *port == 0 {
                    // RFC 4254 §7.1: only a request for port 0 is told the port.
                    reply.put_u32(actual);
                }
                Endpoint::Tcp { host: host.clone(), port: actual }
            }
            GlobalRequest::StreamlocalForward { path } => Endpoint::Path(path.clone()),
            _ => return Err(Error::ApiMisuse("a listener nobody asked for")),
        };
        self.listeners.insert(listener, at);
        session.conn.answer_global(question, Some(reply))
    }

    /// The helper has found out whether something may be.
    pub(crate) fn probed(
        &mut self,
        question: GlobalQuestion,
        result: std::result::Result<Found, (Refusal, String)>,
        session: &mut Session,
    ) -> Result<()> {
        let answer = match result {
            Ok(Found { place, who }) => {
                probe::Answer { status: Status::Allowed, text: String::new(), place, who }
            }
            Err((why, text)) => {
                let status = match why {
                    Refusal::Prohibited => Status::Prohibited,
                    Refusal::Failed | Refusal::Shortage => Status::Fails,
                };
                probe::Answer { status, text, place: Vec::new(), who: String::new() }
            }
        };
        session.conn.answer_global(question, Some(answer.encode()))
    }

    /// The helper listens no more.
    pub(crate) fn unlistened(
        &mut self,
        question: GlobalQuestion,
        listener: u64,
        session: &mut Session,
    ) -> Result<()> {
        self.listeners.remove(&listener);
        session.conn.answer_global(question, Some(Vec::new()))
    }

    /// Somebody connected to a listener, and may.
    pub(crate) fn accepted(
        &mut self,
        listener: u64,
        connection: u64,
        origin: Option<(String, u16)>,
        fd: OwnedFd,
        session: &mut Session,
        helper: &mut Helper<'_>,
    ) -> Result<()> {
        let request = match self.listeners.get(&listener) {
            // It was cancelled meanwhile.
            None => return helper.tell(&closed(Connection::Accepted(connection), Totals::default())),
            Some(Endpoint::Path(path)) => OpenRequest::ForwardedStreamlocal { path: path.clone() },
            Some(Endpoint::Tcp { host, port }) => {
                let (origin_host, origin_port) = origin.unwrap_or_default();
                OpenRequest::ForwardedTcpip(TcpEnds {
                    host: host.clone(),
                    port: *port,
                    origin_host: origin_host.into_bytes(),
                    origin_port: u32::from(origin_port),
                })
            }
        };
        if session.conn.channels_left() == 0 {
            // The descriptor is dropped and so closed.
            return helper.tell(&closed(Connection::Accepted(connection), Totals::default()));
        }
        let channel = session.conn.open_channel(&request)?;
        self.opening.insert(channel, Opening { fd, connection, kind: kind(&request) });
        Ok(())
    }

    /// The client has taken the channel of an accepted connection. The channel's type.
    pub(crate) fn opened(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<&'static str> {
        let Some(Opening { fd, connection, kind }) = self.opening.remove(&channel) else {
            return Err(Error::ApiMisuse("a channel nobody opened"));
        };
        self.join(channel, Connection::Accepted(connection), fd, session, env)?;
        Ok(kind)
    }

    /// The client has refused it.
    pub(crate) fn open_failed(&mut self, channel: ChannelId, helper: &mut Helper<'_>) -> Result<()> {
        match self.opening.remove(&channel) {
            Some(Opening { connection, .. }) => {
                helper.tell(&closed(Connection::Accepted(connection), Totals::default()))
            }
            None => Ok(()),
        }
    }

    /// A channel's pump has done its work.
    pub(crate) fn finished(
        &mut self,
        channel: ChannelId,
        totals: Totals,
        helper: &mut Helper<'_>,
    ) -> Result<()> {
        match self.joined.remove(&channel) {
            Some(connection) => helper.tell(&closed(connection, totals)),
            // A session's.
            None => Ok(()),
        }
    }

    fn join(
        &mut self,
        channel: ChannelId,
        connection: Connection,
        fd: OwnedFd,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<()> {
        self.joined.insert(channel, connection);
        session.attach(channel, Closing::Automatic);
        if session.set_ends(channel, Ends::Socket(fd), env).is_err() {
            // The poller has no room for it.
            return session.conn.close_channel(channel);
        }
        Ok(())
    }
}

/// The name of a channel's type.
fn kind(request: &OpenRequest) -> &'static str {
    match request {
        OpenRequest::Session => names::channel::SESSION,
        OpenRequest::DirectTcpip(_) => names::channel::DIRECT_TCPIP,
        OpenRequest::ForwardedTcpip(_) => names::channel::FORWARDED_TCPIP,
        // For its time-out (ChannelTimeout) it is one of OpenSSH's, whoever must listen there.
        OpenRequest::DirectStreamlocal { .. } => names::channel::DIRECT_STREAMLOCAL,
        OpenRequest::ForwardedStreamlocal { .. } => names::channel::FORWARDED_STREAMLOCAL,
    }
}

fn closed(connection: Connection, totals: Totals) -> Request {
    Request::Closed { connection, received: totals.received, sent: totals.sent }
}
