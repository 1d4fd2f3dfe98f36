//! Messages about channels as they arrive. Each is checked against the channel's state; one that does not
//! fit ends the connection.

use std::ops::Range;

use sockward_wire::channel::{
    Close, Eof, ExtendedData, Failure, Open, OpenConfirmation, OpenFailure, OpenKind, Request, RequestKind,
    Success, TcpPair, WindowAdjust, open_failure,
};
use sockward_wire::{Reader, number};

use super::replies::Replies;
use super::table::{ChannelId, PeerClose, SendState};
use super::window::SendWindow;
use super::{Channels, Context, MAX_PACKET};
use crate::error::{Misbehaved, Result};
use crate::event::{ChannelRequest, Event, OpenQuestion, OpenRequest, RequestQuestion, TcpEnds};
use crate::question::Owed;

/// OPENs of a peer that wait for the application at once; more are refused.
const OPENS_WAITING_MAX: u32 = 4096;

/// No host name and no path is longer (PATH_MAX). Questions that wait for the application hold them.
pub(super) const NAME_MAX: usize = 4096;

/// Longer requests fail. No command line and no variable is longer on Linux (MAX_ARG_STRLEN, 128 KiB), and what
/// asks another process must fit a message.
pub(super) const REQUEST_MAX: usize = 120 * 1024;

/// Where received channel data stands in the payload.
pub(crate) struct DataArrived {
    pub(crate) channel: ChannelId,
    /// The type of extended data.
    pub(crate) extended: Option<u32>,
    /// Within the payload.
    pub(crate) range: Range<usize>,
    /// The application closed the channel: nobody waits for the data.
    pub(crate) unwanted: bool,
}

impl Channels {
    /// CHANNEL_DATA and CHANNEL_EXTENDED_DATA: the hot path, which allocates nothing.
    pub(crate) fn data(&mut self, payload: &[u8]) -> Result<DataArrived> {
        let mut r = Reader::new(payload);
        let extended = r.u8("data.number")? == ExtendedData::NUMBER;
        let number = r.u32("data.recipient")?;
        let extended = if extended { Some(r.u32("data.kind")?) } else { None };
        let data = r.string("data.data")?;
        r.finish("channel data")?;
        let (channel, entry) = self.table.open_of_peer(number)?;
        if data.len() > MAX_PACKET as usize {
            return Err(Misbehaved::PacketTooLarge.into());
        }
        if entry.recv.eof {
            return Err(Misbehaved::DataAfterEof.into());
        }
        entry.recv.window.arrived(data.len())?;
        let unwanted = entry.send.state == SendState::CloseSent;
        Ok(DataArrived { channel, extended, range: payload.len() - data.len()..payload.len(), unwanted })
    }

    /// Every other message of the connection layer.
    pub(crate) fn handle(&mut self, payload: &[u8], cx: &mut Context<'_>) -> Result<()> {
        match payload.first().copied().unwrap_or(0) {
            number::GLOBAL_REQUEST => self.global_request(payload, cx),
            number::REQUEST_SUCCESS | number::REQUEST_FAILURE => self.globals.reply(payload, cx),
            number::CHANNEL_OPEN => self.open_requested(&Open::decode(payload)?, cx),
            number::CHANNEL_OPEN_CONFIRMATION => self.confirmed(&OpenConfirmation::decode(payload)?, cx),
            number::CHANNEL_OPEN_FAILURE => self.open_failed(&OpenFailure::decode(payload)?, cx),
            number::CHANNEL_WINDOW_ADJUST => self.adjusted(&WindowAdjust::decode(payload)?, cx),
            number::CHANNEL_EOF => self.eof_received(&Eof::decode(payload)?, cx),
            number::CHANNEL_CLOSE => self.close_received(&Close::decode(payload)?, cx),
            number::CHANNEL_REQUEST => {
                let keep = payload.len() <= REQUEST_MAX;
                self.requested(&Request::decode(payload)?, keep, cx)
            }
            number::CHANNEL_SUCCESS => self.answered(Success::decode(payload)?.recipient, true, cx),
            number::CHANNEL_FAILURE => self.answered(Failure::decode(payload)?.recipient, false, cx),
            other => Err(Misbehaved::Unexpected(other).into()),
        }
    }

    fn open_requested(&mut self, open: &Open<'_>, cx: &mut Context<'_>) -> Result<()> {
        let kind = match open_request(&open.kind) {
            Some(kind) => kind,
            None => {
                let reason = open_failure::UNKNOWN_CHANNEL_TYPE;
                return self.open_failure(open.sender, reason, "unknown channel type", cx);
            }
        };
        if longest_name(&kind) > NAME_MAX {
            return self.open_failure(open.sender, open_failure::CONNECT_FAILED, "name too long", cx);
        }
        if kind == OpenRequest::Session && self.no_more_sessions {
            return Err(Misbehaved::SessionAfterNoMore.into());
        }
        if self.opens_waiting >= OPENS_WAITING_MAX || self.table.has_room().is_err() {
            let reason = open_failure::RESOURCE_SHORTAGE;
            return self.open_failure(open.sender, reason, "too many channels", cx);
        }
        self.opens_waiting += 1;
        let ticket = cx.dropped.ticket(Owed::OpenFailure { remote: open.sender });
        cx.event(Event::OpenRequested(OpenQuestion {
            kind,
            remote: open.sender,
            window: open.window,
            max_packet: open.max_packet,
            ticket,
        }));
        Ok(())
    }

    fn confirmed(&mut self, message: &OpenConfirmation, cx: &mut Context<'_>) -> Result<()> {
        let (id, channel) = self.table.of_peer(message.recipient)?;
        if channel.remote.is_some() {
            return Err(Misbehaved::NoSuchChannel(message.recipient).into());
        }
        channel.remote = Some(message.sender);
        channel.send.window = SendWindow::new(message.window);
        channel.send.max_packet = message.max_packet;
        cx.event(Event::Opened(id));
        Ok(())
    }

    fn open_failed(&mut self, message: &OpenFailure<'_>, cx: &mut Context<'_>) -> Result<()> {
        let (id, channel) = self.table.of_peer(message.recipient)?;
        if channel.remote.is_some() {
            return Err(Misbehaved::NoSuchChannel(message.recipient).into());
        }
        self.remove(id);
        let text = message.description.to_vec();
        cx.event(Event::OpenFailed { channel: id, reason: message.reason, text });
        Ok(())
    }

    fn adjusted(&mut self, message: &WindowAdjust, cx: &mut Context<'_>) -> Result<()> {
        let (id, channel) = self.table.open_of_peer(message.recipient)?;
        if channel.send.window.adjust(message.bytes)? && channel.send.state == SendState::Open {
            cx.event(Event::Writable(id));
        }
        Ok(())
    }

    fn eof_received(&mut self, message: &Eof, cx: &mut Context<'_>) -> Result<()> {
        let (id, channel) = self.table.open_of_peer(message.recipient)?;
        // A second EOF changes nothing; some clients send one.
        if !std::mem::replace(&mut channel.recv.eof, true) && channel.send.state != SendState::CloseSent {
            cx.event(Event::Eof(id));
        }
        Ok(())
    }

    fn close_received(&mut self, message: &Close, cx: &mut Context<'_>) -> Result<()> {
        let (id, channel) = self.table.open_of_peer(message.recipient)?;
        if channel.send.state != SendState::CloseSent {
            if channel.recv.close == PeerClose::Told {
                channel.recv.close = PeerClose::Arrived;
                channel.recv.eof = true;
                cx.event(Event::PeerClosed(id));
                return Ok(());
            }
            let Some(recipient) = channel.remote else { return Ok(()) };
            // RFC 4254 §5.3: CLOSE is answered with CLOSE. The peer takes nothing more anyway.
            cx.send(|out| Close { recipient }.encode(out))?;
        }
        self.remove(id);
        cx.event(Event::Closed(id));
        Ok(())
    }

    /// `keep`: it is not too long for the application.
    fn requested(&mut self, message: &Request<'_>, keep: bool, cx: &mut Context<'_>) -> Result<()> {
        // After its CLOSE, too: OpenSSH's client tells the size of its window to all terminals whose channels it has.
        let (id, channel) = self.table.confirmed_of_peer(message.recipient)?;
        let closing = channel.send.state == SendState::CloseSent || channel.recv.close == PeerClose::Arrived;
        let serial = match message.want_reply {
            true => Some(channel.replies.get_or_insert_with(Default::default).asked()?),
            false => None,
        };
        let request = if closing || !keep { None } else { channel_request(&message.kind) };
        let Some(request) = request else {
            // Too long ones, unknown requests and keep-alives: failure is the answer OpenSSH gives, too.
            return serial.map_or(Ok(()), |serial| self.answer_serial(id, serial, false, cx));
        };
        let owed =
            serial.map(|serial| Owed::RequestFailure { slot: id.slot, generation: id.generation, serial });
        let ticket = cx.dropped.optional_ticket(owed);
        cx.event(Event::Requested(RequestQuestion { channel: id, request, ticket }));
        Ok(())
    }

    fn answered(&mut self, number: u32, ok: bool, cx: &mut Context<'_>) -> Result<()> {
        let (channel, entry) = self.table.open_of_peer(number)?;
        entry
            .replies
            .as_deref_mut()
            .ok_or(Misbehaved::UnwantedReply)
            .map_err(Into::into)
            .and_then(Replies::answered)?;
        if entry.send.state != SendState::CloseSent {
            cx.event(Event::RequestAnswered { channel, ok });
        }
        Ok(())
    }

    /// The application took or refused an OPEN.
    pub(super) fn open_was_answered(&mut self) {
        self.opens_waiting = self.opens_waiting.saturating_sub(1);
    }

    /// The peer disabled further sessions.
    pub(super) fn disable_sessions(&mut self) {
        self.no_more_sessions = true;
    }
}

fn open_request(kind: &OpenKind<'_>) -> Option<OpenRequest> {
    Some(match kind {
        OpenKind::Session => OpenRequest::Session,
        OpenKind::DirectTcpip(pair) => OpenRequest::DirectTcpip(tcp_ends(pair)),
        OpenKind::ForwardedTcpip(pair) => OpenRequest::ForwardedTcpip(tcp_ends(pair)),
        OpenKind::DirectStreamlocal { path } => {
            OpenRequest::DirectStreamlocal { path: path.to_vec(), owner: None }
        }
        OpenKind::DirectStreamlocalOwner { path, owner } => {
            OpenRequest::DirectStreamlocal { path: path.to_vec(), owner: Some(owner.to_vec()) }
        }
        OpenKind::ForwardedStreamlocal { path } => OpenRequest::ForwardedStreamlocal { path: path.to_vec() },
        OpenKind::Unknown(_) => return None,
    })
}

fn longest_name(kind: &OpenRequest) -> usize {
    match kind {
        OpenRequest::Session => 0,
        OpenRequest::DirectTcpip(ends) | OpenRequest::ForwardedTcpip(ends) => {
            ends.host.len().max(ends.origin_host.len())
        }
        OpenRequest::DirectStreamlocal { path, owner } => path.len().max(owner.as_ref().map_or(0, Vec::len)),
        OpenRequest::ForwardedStreamlocal { path } => path.len(),
    }
}

fn tcp_ends(pair: &TcpPair<'_>) -> TcpEnds {
    TcpEnds {
        host: pair.host.to_vec(),
        port: pair.port,
        origin_host: pair.origin_host.to_vec(),
        origin_port: pair.origin_port,
    }
}

fn channel_request(kind: &RequestKind<'_>) -> Option<ChannelRequest> {
    Some(match kind {
        RequestKind::Pty(pty) => {
            ChannelRequest::Pty { term: pty.term.to_vec(), size: pty.size, modes: pty.modes.to_vec() }
        }
        RequestKind::Env { name, value } => {
            ChannelRequest::Env { name: name.to_vec(), value: value.to_vec() }
        }
        RequestKind::Shell => ChannelRequest::Shell,
        RequestKind::Exec { command } => ChannelRequest::Exec(command.to_vec()),
        RequestKind::Subsystem { name } => ChannelRequest::Subsystem(name.to_vec()),
        RequestKind::WindowChange(size) => ChannelRequest::WindowChange(*size),
        RequestKind::Break { milliseconds } => ChannelRequest::Break(*milliseconds),
        RequestKind::Signal { name } => ChannelRequest::Signal(name.to_vec()),
        RequestKind::ExitStatus { status } => ChannelRequest::ExitStatus(*status),
        RequestKind::ExitSignal { name, core_dumped, message } => ChannelRequest::ExitSignal {
            name: name.to_vec(),
            core_dumped: *core_dumped,
            message: message.to_vec(),
        },
        RequestKind::Eow => ChannelRequest::Eow,
        RequestKind::KeepAlive | RequestKind::Unknown(_) => return None,
    })
}
