//! Commands on channels and global requests, for both sides. The work is done in `channel`; here errors end
//! the connection.

use std::io::IoSliceMut;

use sockward_wire::transport::Debug;

use crate::channel::{ChannelId, Channels, Context, GlobalId};
use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::event::{
    ChannelRequest, GlobalQuestion, GlobalRequest, OpenQuestion, OpenRequest, RequestQuestion,
};

impl Connection {
    /// Asks for a channel; [`crate::Event::Opened`] or [`crate::Event::OpenFailed`] follows.
    pub fn open_channel(&mut self, request: &OpenRequest) -> Result<ChannelId> {
        self.on_channels(|channels, cx| channels.open(request, cx))
    }

    /// Takes a channel the peer asked for.
    pub fn accept_channel(&mut self, question: OpenQuestion) -> Result<ChannelId> {
        self.on_channels(|channels, cx| channels.accept(question, cx))
    }

    /// Refuses one, with a reason of `wire::channel::open_failure` and words for the peer.
    pub fn refuse_channel(&mut self, question: OpenQuestion, reason: u32, text: &str) -> Result<()> {
        self.on_channels(|channels, cx| channels.refuse(question, reason, text, cx))
    }

    /// How many bytes may be sent on a channel now; 0 also while a key exchange holds everything up.
    #[must_use]
    pub fn sendable(&self, channel: ChannelId) -> usize {
        if self.is_open() && self.transport.takes_data() { self.channels.sendable(channel) } else { 0 }
    }

    /// Sends up to `want` bytes that `fill` writes straight into the packets, so that they need not be
    /// copied. `fill` gets one slice for each packet, fills them in order and returns how many bytes it wrote;
    /// its result is handed through. It gets no slice when [`Self::sendable`] is 0.
    pub fn send_data<E>(
        &mut self,
        channel: ChannelId,
        extended: Option<u32>,
        want: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> std::result::Result<usize, E>,
    ) -> Result<std::result::Result<usize, E>> {
        if self.sendable(channel) == 0 {
            return Ok(fill(&mut []));
        }
        let sent = self.on_channels(|channels, cx| channels.send_data(channel, extended, want, cx, fill))?;
        let now = self.now;
        let result = self.transport.rekey_if_due(now);
        self.check(result)?;
        Ok(sent)
    }

    /// `n` bytes of a channel's data went on to their reader: the peer may send as many more.
    pub fn consumed(&mut self, channel: ChannelId, n: usize) -> Result<()> {
        self.on_channels(|channels, cx| channels.consumed(channel, n, cx))
    }

    /// No more data will be sent on a channel.
    pub fn send_eof(&mut self, channel: ChannelId) -> Result<()> {
        self.on_channels(|channels, cx| channels.send_eof(channel, cx))
    }

    /// From now on the peer's CLOSE of this channel is not answered at once: [`crate::Event::PeerClosed`] tells of it,
    /// and the channel stays, for an exit status still to be sent, until [`Self::close_channel`].
    pub fn hold_close(&mut self, channel: ChannelId) {
        self.channels.hold_close(channel);
    }

    /// Ends a channel; [`crate::Event::Closed`] follows when the peer has ended it, too. Data that still
    /// arrives is thrown away.
    pub fn close_channel(&mut self, channel: ChannelId) -> Result<()> {
        self.on_channels(|channels, cx| channels.close(channel, cx))
    }

    /// Sends a request on a channel; with `want_reply` [`crate::Event::RequestAnswered`] follows.
    pub fn request(&mut self, channel: ChannelId, request: &ChannelRequest, want_reply: bool) -> Result<()> {
        self.on_channels(|channels, cx| channels.request(channel, request, want_reply, cx))
    }

    /// Answers a request of the peer. Answers leave in the order of the requests.
    pub fn answer_request(&mut self, question: RequestQuestion, ok: bool) -> Result<()> {
        self.on_channels(|channels, cx| channels.answer(question, ok, cx))
    }

    /// Sends a global request; [`crate::Event::GlobalAnswered`] follows.
    pub fn global_request(&mut self, request: &GlobalRequest) -> Result<GlobalId> {
        self.on_channels(|channels, cx| channels.ask_global(request, cx))
    }

    /// Answers a global request: the reply's fields, or none to refuse.
    pub fn answer_global(&mut self, question: GlobalQuestion, answer: Option<Vec<u8>>) -> Result<()> {
        self.on_channels(|channels, cx| channels.answer_global(question, answer, cx))
    }

    /// Text for the other side's debug log, or for its user (RFC 4253 §11.3).
    pub fn send_debug(&mut self, text: &str, always_display: bool) -> Result<()> {
        let mut out = Vec::new();
        Debug { always_display, text: text.as_bytes(), language: b"" }.encode(&mut out);
        let result = self.transport.send(&out);
        self.check(result)
    }

    /// Changes keys now.
    pub fn rekey(&mut self) -> Result<()> {
        let result = if self.session_id().is_some() { self.transport.rekey_now() } else { Ok(()) };
        self.check(result)
    }

    fn on_channels<T>(
        &mut self,
        command: impl FnOnce(&mut Channels, &mut Context<'_>) -> Result<T>,
    ) -> Result<T> {
        if !self.is_open() {
            return Err(Error::ApiMisuse("the connection layer is not running"));
        }
        let (channels, mut cx) = self.channel_layer();
        let result = command(channels, &mut cx);
        self.check(result)
    }
}
