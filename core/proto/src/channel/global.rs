//! Global requests in both directions and the order of their answers (RFC 4254 §4).

use std::collections::VecDeque;

use sockward_wire::global::{
    Request, RequestKind, decode_failure, decode_success, encode_failure, encode_success,
};
use sockward_wire::number;

use super::receive::{NAME_MAX, REQUEST_MAX};
use super::replies::Replies;
use super::{Channels, Context};
use crate::error::{Misbehaved, Result};
use crate::event::{Event, GlobalQuestion, GlobalRequest};
use crate::question::Owed;

/// One of our global requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalId(u64);

/// Global requests under way.
#[derive(Debug, Default)]
pub(super) struct Globals {
    replies: Replies<Option<Vec<u8>>>,
    /// Ours that wait for an answer, oldest first; none for a keep-alive, whose answer is just a sign of life.
    awaited: VecDeque<Option<GlobalId>>,
    next: u64,
}

impl Globals {
    /// The application or a rule decided: fields of a success, or none for failure.
    pub(super) fn decided(
        &mut self,
        serial: u64,
        answer: Option<Vec<u8>>,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        self.replies.decided(serial, answer);
        while let Some(answer) = self.replies.next_ready() {
            cx.send(|out| match answer {
                Some(fields) => encode_success(&fields, out),
                None => encode_failure(out),
            })?;
        }
        Ok(())
    }

    /// An answer to the oldest of ours.
    pub(super) fn reply(&mut self, payload: &[u8], cx: &mut Context<'_>) -> Result<()> {
        let reply = match payload.first() {
            Some(&number::REQUEST_SUCCESS) => Some(decode_success(payload)?.to_vec()),
            _ => {
                decode_failure(payload)?;
                None
            }
        };
        let asked = self.awaited.pop_front().ok_or(Misbehaved::UnwantedReply)?;
        if let Some(id) = asked {
            cx.event(Event::GlobalAnswered { id, reply });
        }
        Ok(())
    }
}

impl Channels {
    pub(super) fn global_request(&mut self, payload: &[u8], cx: &mut Context<'_>) -> Result<()> {
        let request = Request::decode(payload)?;
        let serial = if request.want_reply { Some(self.globals.replies.asked()?) } else { None };
        let asked = match &request.kind {
            RequestKind::NoMoreSessions => {
                self.disable_sessions();
                None
            }
            kind if payload.len() > REQUEST_MAX || longest_name(kind) > NAME_MAX => None,
            kind => global_request(kind),
        };
        match (asked, serial) {
            (Some(request), serial) => {
                let owed = serial.map(|serial| Owed::GlobalFailure { serial });
                let ticket = cx.dropped.optional_ticket(owed);
                cx.event(Event::Global(GlobalQuestion { request, ticket }));
                Ok(())
            }
            // Keep-alives, what we do not know and what cannot be: failure says "I am here".
            (None, Some(serial)) => self.globals.decided(serial, None, cx),
            (None, None) => Ok(()),
        }
    }

    /// Answers a global request of the peer, in its turn.
    pub(crate) fn answer_global(
        &mut self,
        question: GlobalQuestion,
        answer: Option<Vec<u8>>,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        match question.ticket.redeem() {
            Some(Owed::GlobalFailure { serial }) => self.globals.decided(serial, answer, cx),
            // The peer wanted no answer.
            _ => Ok(()),
        }
    }

    /// Sends a global request whose answer comes as an event.
    pub(crate) fn ask_global(&mut self, request: &GlobalRequest, cx: &mut Context<'_>) -> Result<GlobalId> {
        let id = GlobalId(self.globals.next);
        self.globals.next += 1;
        self.globals.awaited.push_back(Some(id));
        let kind = request_kind(request);
        cx.send(|out| Request { want_reply: true, kind }.encode(out))?;
        Ok(id)
    }

    /// Sends a global request that wants no answer.
    pub(crate) fn tell_global(&mut self, kind: RequestKind<'_>, cx: &mut Context<'_>) -> Result<()> {
        cx.send(|out| Request { want_reply: false, kind }.encode(out))
    }

    /// Asks for a sign of life.
    pub(crate) fn ask_alive(&mut self, cx: &mut Context<'_>) -> Result<()> {
        self.globals.awaited.push_back(None);
        cx.send(|out| Request { want_reply: true, kind: RequestKind::KeepAlive }.encode(out))
    }
}

/// Of what the application keeps while it decides. Lists of keys are bounded as a whole.
fn longest_name(kind: &RequestKind<'_>) -> usize {
    match kind {
        RequestKind::TcpipForward { host, .. } | RequestKind::CancelTcpipForward { host, .. } => host.len(),
        RequestKind::StreamlocalForward { path } | RequestKind::CancelStreamlocalForward { path } => {
            path.len()
        }
        RequestKind::ForwardProbe(asked) => asked.name().len(),
        RequestKind::HostKeys(_)
        | RequestKind::HostKeysProve(_)
        | RequestKind::KeepAlive
        | RequestKind::NoMoreSessions
        | RequestKind::Unknown(_) => 0,
    }
}

fn global_request(kind: &RequestKind<'_>) -> Option<GlobalRequest> {
    let owned = |keys: &[&[u8]]| keys.iter().map(|k| k.to_vec()).collect();
    Some(match kind {
        RequestKind::TcpipForward { host, port } => {
            GlobalRequest::TcpipForward { host: host.to_vec(), port: *port }
        }
        RequestKind::CancelTcpipForward { host, port } => {
            GlobalRequest::CancelTcpipForward { host: host.to_vec(), port: *port }
        }
        RequestKind::StreamlocalForward { path } => GlobalRequest::StreamlocalForward { path: path.to_vec() },
        RequestKind::CancelStreamlocalForward { path } => {
            GlobalRequest::CancelStreamlocalForward { path: path.to_vec() }
        }
        RequestKind::ForwardProbe(asked) => GlobalRequest::ForwardProbe(asked.map(<[u8]>::to_vec)),
        RequestKind::HostKeys(keys) => GlobalRequest::HostKeys(owned(keys)),
        RequestKind::HostKeysProve(keys) => GlobalRequest::HostKeysProve(owned(keys)),
        RequestKind::KeepAlive | RequestKind::NoMoreSessions | RequestKind::Unknown(_) => return None,
    })
}

fn request_kind(request: &GlobalRequest) -> RequestKind<'_> {
    match request {
        GlobalRequest::TcpipForward { host, port } => RequestKind::TcpipForward { host, port: *port },
        GlobalRequest::CancelTcpipForward { host, port } => {
            RequestKind::CancelTcpipForward { host, port: *port }
        }
        GlobalRequest::StreamlocalForward { path } => RequestKind::StreamlocalForward { path },
        GlobalRequest::CancelStreamlocalForward { path } => RequestKind::CancelStreamlocalForward { path },
        GlobalRequest::ForwardProbe(asked) => RequestKind::ForwardProbe(asked.map(|bytes| bytes)),
        GlobalRequest::HostKeys(keys) => RequestKind::HostKeys(keys.iter().map(Vec::as_slice).collect()),
        GlobalRequest::HostKeysProve(keys) => {
            RequestKind::HostKeysProve(keys.iter().map(Vec::as_slice).collect())
        }
    }
}
