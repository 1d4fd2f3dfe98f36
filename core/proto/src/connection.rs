//! The connection: transport, phase and channels put together. Receiving and polling are here; what only a
//! client or only a server does is in `client.rs` and `server.rs`, channel commands are in `commands.rs`.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use sockward_crypto::Random;
use sockward_wire::number::{self, Phase as When, Sender};
use sockward_wire::transport::reason;

use crate::Side;
use crate::auth::{ClientAuth, ServerAuth};
use crate::channel::{ChannelId, Channels, Context};
use crate::config::{Config, KeepAlive};
use crate::error::{Error, Misbehaved, Result};
use crate::event::{Event, HostKeyQuestion, SignatureQuestion};
use crate::liveness::{Due, Liveness};
use crate::question::{Dropped, Owed};
use crate::transport::{Incoming, Packet, Transport, TransportEvent};

/// One SSH connection without its descriptors: bytes in, bytes out, events.
///
/// Four families of methods:
/// - getters say what is;
/// - `recv` and `handle_timeout` say what the world did, with the time;
/// - commands do something: open, answer, send, close;
/// - `poll_*` say what to do next: what happened, what to write, when to wake.
///
/// The loop of an application:
///
/// ```text
/// loop {
///     read the socket into a buffer; wait no longer than poll_timeout()
///     while let Progress | Data = recv(rest of the buffer) { use the data; then
///         while let Some(event) = poll_event() { answer it } }
///     write pending_output(); output_written(n)
/// }
/// ```
///
/// After an error the connection is over: what [`Self::pending_output`] still holds may be sent (it ends with
/// a DISCONNECT where one is due), nothing more is received.
pub struct Connection {
    pub(crate) side: Side,
    pub(crate) transport: Transport,
    pub(crate) phase: Phase,
    pub(crate) channels: Channels,
    pub(crate) events: VecDeque<Event>,
    pub(crate) dropped: Dropped,
    liveness: Liveness,
    /// Client: whom to log in as.
    pub(crate) user: Vec<u8>,
    peer_version: Vec<u8>,
    /// The time of the last call that had one; credits and window growth need it.
    pub(crate) now: Instant,
}

/// How far the connection has come.
pub(crate) enum Phase {
    /// Until the first keys are in use.
    Handshake,
    ClientAuth(ClientAuth),
    ServerAuth(ServerAuth),
    /// Authenticated: the connection layer runs.
    Open,
    /// Ended.
    Closed,
}

/// What one call of [`Connection::recv`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// There is no whole packet in the input: read more.
    NeedMore,
    /// A question must be answered before the next packet is looked at. Answer and call again.
    Blocked,
    /// So many bytes of the input are done with. Events may be waiting.
    Progress(usize),
    /// Channel data stands decrypted in the input.
    Data {
        /// So many bytes of the input are done with, once the data has been used.
        consumed: usize,
        /// Whose data. Report it with [`Connection::consumed`] when it went on to its reader.
        channel: ChannelId,
        /// The type of extended data, 1 is stderr.
        extended: Option<u32>,
        /// Where it stands in the input.
        data: Range<usize>,
    },
}

impl Connection {
    /// A connection at its start. What it has to send is in [`Self::pending_output`] at once.
    pub fn new(config: Config, random: Box<dyn Random>, now: Instant) -> Result<Self> {
        let phase = if config.null_transport { Phase::Open } else { Phase::Handshake };
        Ok(Connection {
            side: config.side,
            phase,
            channels: Channels::new(config.limits),
            events: VecDeque::new(),
            dropped: Dropped::default(),
            liveness: Liveness::new(config.keep_alive, now),
            user: Vec::new(),
            peer_version: Vec::new(),
            now,
            transport: Transport::new(config, random, now)?,
        })
    }

    // ---- getters ----

    /// Which side we are.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The peer's identification line; empty until it has come.
    #[must_use]
    pub fn peer_version(&self) -> &[u8] {
        &self.peer_version
    }

    /// The session id, once there is one.
    #[must_use]
    pub fn session_id(&self) -> Option<&[u8]> {
        self.transport.session_id()
    }

    /// Whether the connection layer runs.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// How many channels are open or being opened.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// How many more channels our own limit allows.
    #[must_use]
    pub fn channels_left(&self) -> usize {
        self.channels.left()
    }

    /// Every channel there is.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelId> {
        self.channels.ids()
    }

    // ---- what the world did ----

    /// Looks at the start of the received bytes. Takes at most one packet.
    pub fn recv(&mut self, input: &mut [u8], now: Instant) -> Result<Received> {
        self.now = now;
        if self.is_closed() {
            return Err(Error::ApiMisuse("the connection has ended"));
        }
        let result = self.settle_dropped().and_then(|()| self.step(input));
        self.check(result)
    }

    /// The time has come that [`Self::poll_timeout`] told.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        self.now = now;
        if self.is_closed() {
            return Ok(());
        }
        let result = self.tick(now);
        self.check(result)
    }

    /// Whether and when to ask a silent peer if it is there, from now on.
    pub fn set_keep_alive(&mut self, settings: Option<KeepAlive>) {
        self.liveness.set(settings);
    }

    /// Asks the peer for a sign of life now, whatever the settings; [`Self::last_heard`] tells of it.
    pub fn ask_alive(&mut self) -> Result<()> {
        if !self.is_open() {
            return Ok(());
        }
        let (channels, mut cx) = self.channel_layer();
        let result = channels.ask_alive(&mut cx);
        self.check(result)
    }

    /// When anything was last heard of the peer.
    #[must_use]
    pub fn last_heard(&self) -> Instant {
        self.liveness.last_heard()
    }

    /// The round-trip time as measured on the transport; windows grow by it.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.channels.set_rtt(rtt);
    }

    // ---- what to do next ----

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes to write to the peer.
    pub fn pending_output(&mut self) -> Result<&[u8]> {
        let result = self.settle_dropped();
        self.check(result)?;
        Ok(self.transport.pending())
    }

    /// How many bytes wait to be written; what dropped questions are owed is not among them yet.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.transport.pending().len()
    }

    /// `n` bytes of [`Self::pending_output`] were written.
    pub fn output_written(&mut self, n: usize) {
        self.transport.outbound().written(n);
    }

    /// Lends the connection a large buffer to build packets in while it is busy. Gives back a smaller one.
    pub fn lend_buffer(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        self.transport.outbound().lend(buffer)
    }

    /// Takes the large buffer back; what waits in it is kept in one of its own size.
    pub fn reclaim_buffer(&mut self) -> Vec<u8> {
        self.transport.outbound().reclaim()
    }

    /// When to call [`Self::handle_timeout`]; none = not needed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Before the login nothing of this is due, after the end nothing would come of it.
        if !self.is_open() {
            return None;
        }
        [self.liveness.deadline(), self.transport.rekey_deadline()].into_iter().flatten().min()
    }

    // ---- the end ----

    /// Says good-bye; nothing more is received. The rest of the output may still be written.
    pub fn disconnect(&mut self, text: &str) {
        self.disconnect_because(reason::BY_APPLICATION, text);
    }

    /// The same with one of `wire::transport::reason`.
    pub fn disconnect_because(&mut self, reason: u32, text: &str) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            // If even this cannot be sealed, the peer learns it from the closed socket.
            let _ = self.transport.disconnect(reason, text);
        }
    }

    // ---- within ----

    /// On an error: tells the peer, where that is due, and ends.
    pub(crate) fn check<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            match error.disconnect_reason() {
                Some(reason) => self.disconnect_because(reason, &error.to_string()),
                None => self.phase = Phase::Closed,
            }
        }
        result
    }

    /// The channel layer and what it works with.
    pub(crate) fn channel_layer(&mut self) -> (&mut Channels, Context<'_>) {
        let Connection { transport, channels, events, dropped, now, .. } = self;
        (channels, Context { transport, events, dropped, now: *now })
    }

    /// Refuses what the application dropped without an answer.
    pub(crate) fn settle_dropped(&mut self) -> Result<()> {
        let dropped = self.dropped.take();
        if self.is_closed() {
            // Nobody is owed anything after the good-bye.
            return Ok(());
        }
        for owed in dropped {
            match owed {
                Owed::HostKey => return Err(Error::HostKeyRefused),
                Owed::Signature => return Err(Error::SignatureRefused),
                Owed::AuthFailure => {
                    if let Phase::ServerAuth(auth) = &mut self.phase {
                        auth.refuse(&mut self.transport)?;
                    }
                }
                owed => {
                    let (channels, mut cx) = self.channel_layer();
                    channels.settle(owed, &mut cx)?;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, input: &mut [u8]) -> Result<Received> {
        if matches!(&self.phase, Phase::ServerAuth(auth) if auth.is_blocked()) {
            return Ok(Received::Blocked);
        }
        match self.transport.recv(input, self.now)? {
            Incoming::NeedMore => Ok(Received::NeedMore),
            Incoming::Blocked => Ok(Received::Blocked),
            Incoming::Consumed(n, event) => {
                self.liveness.heard(self.now);
                if let Some(event) = event {
                    self.transport_event(event)?;
                }
                Ok(Received::Progress(n))
            }
            Incoming::Payload(packet) => {
                self.liveness.heard(self.now);
                let received = self.payload(input, &packet)?;
                self.transport.rekey_if_due(self.now)?;
                Ok(received)
            }
        }
    }

    fn payload(&mut self, input: &[u8], packet: &Packet) -> Result<Received> {
        let payload = input.get(packet.payload.clone()).unwrap_or_default();
        let message = payload.first().copied().unwrap_or(0);
        if matches!(message, number::CHANNEL_DATA | number::CHANNEL_EXTENDED_DATA) && self.is_open() {
            return self.data(payload, packet);
        }
        let Some(row) = number::row(message) else {
            self.transport.unimplemented(packet.sequence)?;
            return Ok(Received::Progress(packet.total));
        };
        let from_peer = match row.sender {
            Sender::Either => true,
            Sender::Client => self.side == Side::Server,
            Sender::Server => self.side == Side::Client,
        };
        if !from_peer {
            return Err(Misbehaved::Unexpected(message).into());
        }
        match (&mut self.phase, row.phase) {
            (Phase::Open, When::Connection) => {
                let (channels, mut cx) = self.channel_layer();
                channels.handle(payload, &mut cx)?;
            }
            // RFC 4252 §5.1: requests after SUCCESS are ignored in silence.
            (Phase::Open, When::Authentication) if self.side == Side::Server => {}
            (Phase::ClientAuth(auth), When::Service | When::Authentication) => {
                let (event, authenticated) = auth.handle(payload)?;
                self.events.extend(event);
                if authenticated {
                    self.authenticated();
                }
            }
            (Phase::ServerAuth(auth), When::Service | When::Authentication) => {
                let event = auth.handle(payload, &mut self.transport, &self.dropped)?;
                self.events.extend(event);
            }
            _ => return Err(Misbehaved::Unexpected(message).into()),
        }
        Ok(Received::Progress(packet.total))
    }

    fn data(&mut self, payload: &[u8], packet: &Packet) -> Result<Received> {
        let arrived = self.channels.data(payload)?;
        if arrived.unwanted {
            let (channels, mut cx) = self.channel_layer();
            channels.consumed(arrived.channel, arrived.range.len(), &mut cx)?;
            return Ok(Received::Progress(packet.total));
        }
        let at = packet.payload.start;
        Ok(Received::Data {
            consumed: packet.total,
            channel: arrived.channel,
            extended: arrived.extended,
            data: at + arrived.range.start..at + arrived.range.end,
        })
    }

    fn transport_event(&mut self, event: TransportEvent) -> Result<()> {
        match event {
            TransportEvent::Version(line) => {
                self.peer_version.clone_from(&line);
                self.events.push_back(Event::PeerVersion(line));
            }
            TransportEvent::HostKey(offer) => {
                let ticket = self.dropped.ticket(Owed::HostKey);
                self.events.push_back(Event::HostKey(HostKeyQuestion { offer, ticket }));
            }
            TransportEvent::Signature(input) => {
                let ticket = self.dropped.ticket(Owed::Signature);
                self.events.push_back(Event::Signature(SignatureQuestion { input, ticket }));
            }
            TransportEvent::Keys { first, negotiated } => {
                if first {
                    self.phase = match self.side {
                        Side::Server => Phase::ServerAuth(ServerAuth::default()),
                        Side::Client => {
                            Phase::ClientAuth(ClientAuth::start(self.user.clone(), &mut self.transport)?)
                        }
                    };
                }
                self.events.push_back(Event::Keys { first, negotiated });
            }
            TransportEvent::Debug { always_display, text } => {
                self.events.push_back(Event::Debug { always_display, text });
            }
            TransportEvent::Extensions => {}
        }
        Ok(())
    }

    /// The connection layer starts.
    pub(crate) fn authenticated(&mut self) {
        self.phase = Phase::Open;
        self.transport.authenticated();
        self.liveness.heard(self.now);
    }

    fn tick(&mut self, now: Instant) -> Result<()> {
        self.settle_dropped()?;
        self.transport.rekey_if_due(now)?;
        if !self.is_open() {
            return Ok(());
        }
        match self.liveness.due(now) {
            Due::Nothing => Ok(()),
            Due::GiveUp => Err(Error::Timeout),
            Due::Ask => {
                let (channels, mut cx) = self.channel_layer();
                channels.ask_alive(&mut cx)
            }
        }
    }
}
