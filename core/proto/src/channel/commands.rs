//! What the application does with channels: open, answer, send, credit, end.
//!
//! A channel that is gone meanwhile (the peer closed it) is no error here: commands on it do nothing.

use std::io::IoSliceMut;

use sockward_wire::channel::{
    Close, Eof, Failure, Open, OpenConfirmation, OpenFailure, OpenKind, Request, RequestKind, Success,
    TcpPair, WindowAdjust, open_failure,
};

use super::table::{Channel, ChannelId, PeerClose, RecvHalf, SendHalf, SendState};
use super::window::{RecvWindow, SendWindow};
use super::{Channels, Context, MAX_PACKET};
use crate::error::{Error, Result};
use crate::event::{ChannelRequest, Event, OpenQuestion, OpenRequest, RequestQuestion, TcpEnds};
use crate::question::Owed;
use crate::transport::DataTarget;

impl Channels {
    /// Asks the peer for a channel.
    pub(crate) fn open(&mut self, request: &OpenRequest, cx: &mut Context<'_>) -> Result<ChannelId> {
        if self.table.has_room().is_err() {
            return Err(Error::ApiMisuse("too many channels"));
        }
        let window = self.budget.grant(self.limits.window);
        let id = self.table.insert(channel(None, window, 0, 0));
        let kind = open_kind(request);
        cx.send(|out| Open { sender: id.slot, window, max_packet: MAX_PACKET, kind }.encode(out))?;
        Ok(id)
    }

    /// Takes the channel the peer asked for.
    pub(crate) fn accept(&mut self, question: OpenQuestion, cx: &mut Context<'_>) -> Result<ChannelId> {
        self.open_was_answered();
        question.ticket.redeem();
        let window = self.budget.grant(self.limits.window);
        let (remote, theirs, max_packet) = (question.remote, question.window, question.max_packet);
        let id = self.table.insert(channel(Some(remote), window, theirs, max_packet));
        let confirmation =
            OpenConfirmation { recipient: remote, sender: id.slot, window, max_packet: MAX_PACKET };
        cx.send(|out| confirmation.encode(out))?;
        Ok(id)
    }

    /// Refuses the channel the peer asked for.
    pub(crate) fn refuse(
        &mut self,
        question: OpenQuestion,
        reason: u32,
        text: &str,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        let remote = question.remote;
        question.ticket.redeem();
        self.open_was_answered();
        self.open_failure(remote, reason, text, cx)
    }

    /// The question was dropped.
    pub(super) fn refuse_number(&mut self, remote: u32, text: &str, cx: &mut Context<'_>) -> Result<()> {
        self.open_was_answered();
        self.open_failure(remote, open_failure::ADMINISTRATIVELY_PROHIBITED, text, cx)
    }

    pub(super) fn open_failure(
        &mut self,
        recipient: u32,
        reason: u32,
        text: &str,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        let failure = OpenFailure { recipient, reason, description: text.as_bytes(), language: b"" };
        cx.send(|out| failure.encode(out))
    }

    /// How many bytes may be sent on a channel now.
    pub(crate) fn sendable(&self, id: ChannelId) -> usize {
        match self.table.get(id) {
            Some(c)
                if c.send.state == SendState::Open
                    && c.recv.close != PeerClose::Arrived
                    && c.remote.is_some()
                    && c.send.max_packet > 0 =>
            {
                c.send.window.left() as usize
            }
            _ => 0,
        }
    }

    /// Lets `fill` write up to `want` bytes into the packets that carry them; see [`crate::Connection::send_data`].
    pub(crate) fn send_data<E>(
        &mut self,
        id: ChannelId,
        extended: Option<u32>,
        want: usize,
        cx: &mut Context<'_>,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> std::result::Result<usize, E>,
    ) -> Result<std::result::Result<usize, E>> {
        let want = want.min(self.sendable(id));
        let Some(channel) = self.table.get_mut(id).filter(|_| want > 0) else { return Ok(fill(&mut [])) };
        let Some(recipient) = channel.remote else { return Ok(fill(&mut [])) };
        let max_packet = channel.send.max_packet.min(MAX_PACKET) as usize;
        let target = DataTarget { recipient, extended };
        let sent = cx.transport.send_data(target, want, max_packet, fill)?;
        if let Ok(n) = sent {
            channel.send.window.sent(n);
        }
        Ok(sent)
    }

    /// `n` received bytes went on to their reader.
    pub(crate) fn consumed(&mut self, id: ChannelId, n: usize, cx: &mut Context<'_>) -> Result<()> {
        let Some(channel) = self.table.get_mut(id) else { return Ok(()) };
        let Some(recipient) = channel.remote else { return Ok(()) };
        let max = self.limits.window_max;
        let Some(bytes) = channel.recv.window.consumed(n, max, &mut self.budget, cx.now) else {
            return Ok(());
        };
        // After EOF or our CLOSE nothing more is wanted.
        if channel.recv.eof || channel.send.state == SendState::CloseSent {
            return Ok(());
        }
        cx.send(|out| WindowAdjust { recipient, bytes }.encode(out))
    }

    /// No more data from us.
    pub(crate) fn send_eof(&mut self, id: ChannelId, cx: &mut Context<'_>) -> Result<()> {
        let Some(channel) = self.table.get_mut(id) else { return Ok(()) };
        match (channel.send.state, channel.remote) {
            // Who has closed waits for no data, and so not for its end.
            (SendState::Open, Some(recipient)) if channel.recv.close != PeerClose::Arrived => {
                channel.send.state = SendState::EofSent;
                cx.send(|out| Eof { recipient }.encode(out))
            }
            _ => Ok(()),
        }
    }

    /// Has the peer's CLOSE told instead of answered; see [`crate::Connection::hold_close`].
    pub(crate) fn hold_close(&mut self, id: ChannelId) {
        if let Some(channel) = self.table.get_mut(id)
            && channel.recv.close == PeerClose::Ends
        {
            channel.recv.close = PeerClose::Told;
        }
    }

    /// Ends the channel. It is gone when the peer has closed, too.
    pub(crate) fn close(&mut self, id: ChannelId, cx: &mut Context<'_>) -> Result<()> {
        let Some(channel) = self.table.get_mut(id) else { return Ok(()) };
        match (channel.send.state, channel.remote) {
            (SendState::CloseSent, _) => Ok(()),
            (_, None) => Err(Error::ApiMisuse("a channel cannot be closed before it is open")),
            (_, Some(recipient)) => {
                channel.send.state = SendState::CloseSent;
                if channel.recv.close == PeerClose::Arrived {
                    self.remove(id);
                    cx.event(Event::Closed(id));
                }
                cx.send(|out| Close { recipient }.encode(out))
            }
        }
    }

    /// Sends a request; with `want_reply` an event tells the answer.
    pub(crate) fn request(
        &mut self,
        id: ChannelId,
        request: &ChannelRequest,
        want_reply: bool,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        let Some(channel) = self.table.get_mut(id) else { return Ok(()) };
        let Some(recipient) = channel.remote.filter(|_| channel.send.state != SendState::CloseSent) else {
            return Ok(());
        };
        if want_reply {
            channel.replies.get_or_insert_with(Default::default).awaiting();
        }
        let kind = request_kind(request);
        cx.send(|out| Request { recipient, want_reply, kind }.encode(out))
    }

    /// Answers a request of the peer, in its turn.
    pub(crate) fn answer(&mut self, question: RequestQuestion, ok: bool, cx: &mut Context<'_>) -> Result<()> {
        let channel = question.channel;
        match question.ticket.redeem() {
            Some(Owed::RequestFailure { serial, .. }) => self.answer_serial(channel, serial, ok, cx),
            // The peer wanted no answer.
            _ => Ok(()),
        }
    }

    pub(super) fn answer_serial(
        &mut self,
        id: ChannelId,
        serial: u64,
        ok: bool,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        let Some(channel) = self.table.get_mut(id) else { return Ok(()) };
        let (Some(replies), Some(recipient)) = (channel.replies.as_deref_mut(), channel.remote) else {
            return Ok(());
        };
        replies.decided(serial, ok);
        while let Some(ok) = replies.next_ready() {
            if channel.send.state == SendState::CloseSent {
                continue;
            }
            cx.send(|out| match ok {
                true => Success { recipient }.encode(out),
                false => Failure { recipient }.encode(out),
            })?;
        }
        Ok(())
    }
}

fn channel(remote: Option<u32>, ours: u32, theirs: u32, max_packet: u32) -> Channel {
    Channel {
        remote,
        send: SendHalf { window: SendWindow::new(theirs), max_packet, state: SendState::Open },
        recv: RecvHalf { window: RecvWindow::new(ours), eof: false, close: PeerClose::Ends },
        replies: None,
    }
}

fn open_kind(request: &OpenRequest) -> OpenKind<'_> {
    match request {
        OpenRequest::Session => OpenKind::Session,
        OpenRequest::DirectTcpip(ends) => OpenKind::DirectTcpip(tcp_pair(ends)),
        OpenRequest::ForwardedTcpip(ends) => OpenKind::ForwardedTcpip(tcp_pair(ends)),
        OpenRequest::DirectStreamlocal { path, owner: None } => OpenKind::DirectStreamlocal { path },
        OpenRequest::DirectStreamlocal { path, owner: Some(owner) } => {
            OpenKind::DirectStreamlocalOwner { path, owner }
        }
        OpenRequest::ForwardedStreamlocal { path } => OpenKind::ForwardedStreamlocal { path },
    }
}

fn tcp_pair(ends: &TcpEnds) -> TcpPair<'_> {
    TcpPair {
        host: &ends.host,
        port: ends.port,
        origin_host: &ends.origin_host,
        origin_port: ends.origin_port,
    }
}

fn request_kind(request: &ChannelRequest) -> RequestKind<'_> {
    match request {
        ChannelRequest::Pty { term, size, modes } => {
            RequestKind::Pty(sockward_wire::channel::Pty { term, size: *size, modes })
        }
        ChannelRequest::Env { name, value } => RequestKind::Env { name, value },
        ChannelRequest::Shell => RequestKind::Shell,
        ChannelRequest::Exec(command) => RequestKind::Exec { command },
        ChannelRequest::Subsystem(name) => RequestKind::Subsystem { name },
        ChannelRequest::WindowChange(size) => RequestKind::WindowChange(*size),
        ChannelRequest::Break(milliseconds) => RequestKind::Break { milliseconds: *milliseconds },
        ChannelRequest::Signal(name) => RequestKind::Signal { name },
        ChannelRequest::ExitStatus(status) => RequestKind::ExitStatus { status: *status },
        ChannelRequest::ExitSignal { name, core_dumped, message } => {
            RequestKind::ExitSignal { name, core_dumped: *core_dumped, message }
        }
        ChannelRequest::Eow => RequestKind::Eow,
    }
}
