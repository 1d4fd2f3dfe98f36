//! The transport layer: identification lines, packets, key exchange, and the messages that may come at any
//! time (RFC 4253). It hands payloads of the layers above up and takes theirs, holding them back while a
//! key exchange forbids sending. It does not know what they mean.

mod inbound;
mod outbound;
mod rekey;

pub use inbound::PACKET_MAX;
pub(crate) use inbound::{Inbound, Packet};
pub(crate) use outbound::{DataTarget, Outbound};
pub use rekey::RekeyLimit;

use std::io::IoSliceMut;
use std::time::Instant;

use sockward_crypto::Random;
use sockward_wire::names::extension;
use sockward_wire::transport::{Debug, Disconnect, ExtInfo, Ignore, Ping, Pong, Unimplemented};
use sockward_wire::{VersionError, number, read_identification};

use crate::Side;
use crate::config::Config;
use crate::error::{Error, Misbehaved, Result};
use crate::kex::{HostKeyOffer, HostSignature, Kex, KexEvent, Negotiated, SignatureInput};
use rekey::RekeyClock;

/// Payload bytes held back during one key exchange. Peers cause them (answers to their requests), so there is a bound.
const HELD_MAX: usize = 1 << 20;
/// What holding back one payload costs beside its bytes, about: an answer can be a single byte.
const HELD_EACH: usize = 48;

/// Both halves of the packet layer and the randomness for padding.
pub(crate) struct Packets {
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Outbound,
    random: Box<dyn Random>,
}

impl Packets {
    /// Seals one packet now, whatever the state.
    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<()> {
        self.outbound.packet(payload, self.random.as_mut())
    }

    pub(crate) fn random_array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.random.fill(&mut out);
        out
    }
}

/// What one step of receiving led to.
pub(crate) enum Incoming {
    /// The input does not hold a whole packet.
    NeedMore,
    /// The application has to answer something first.
    Blocked,
    /// This many bytes were for the transport itself.
    Consumed(usize, Option<TransportEvent>),
    /// A message for the layers above.
    Payload(Packet),
}

/// What the transport reports.
pub(crate) enum TransportEvent {
    /// The peer's identification line arrived.
    Version(Vec<u8>),
    HostKey(HostKeyOffer),
    Signature(SignatureInput),
    /// New keys are in use.
    Keys {
        first: bool,
        negotiated: Box<Negotiated>,
    },
    /// The peer's extensions are known.
    Extensions,
    /// A DEBUG message.
    Debug {
        always_display: bool,
        text: Vec<u8>,
    },
}

/// What the peer announced in EXT_INFO.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerExtensions {
    pub(crate) server_sig_algs: Option<String>,
    pub(crate) ping: bool,
}

/// The transport layer of one connection.
pub(crate) struct Transport {
    side: Side,
    packets: Packets,
    kex: Kex,
    rekey: RekeyClock,
    /// Our identification line until the peer's has come.
    identification: Option<Vec<u8>>,
    /// No key exchange at all: the stream below protects us (the gate).
    null: bool,
    held: Vec<Vec<u8>>,
    held_bytes: usize,
    server_sig_algs: String,
    pub(crate) extensions: PeerExtensions,
    /// The keys last agreed on are in use since then.
    now: Instant,
}

impl Transport {
    pub(crate) fn new(config: Config, random: Box<dyn Random>, now: Instant) -> Result<Self> {
        let packets = Packets {
            inbound: Inbound::new(config.packet_max_before_auth),
            outbound: Outbound::new(),
            random,
        };
        let mut transport = Transport {
            side: config.side,
            packets,
            kex: Kex::new(config.side, config.algorithms, config.cookie),
            rekey: RekeyClock::new(config.rekey_limit),
            identification: Some(config.identification),
            null: config.null_transport,
            held: Vec::new(),
            held_bytes: 0,
            server_sig_algs: config.server_sig_algs,
            extensions: PeerExtensions::default(),
            now,
        };
        if transport.null {
            transport.identification = None;
            return Ok(transport);
        }
        if let Some(line) = &transport.identification {
            transport.packets.outbound.raw(line);
            transport.packets.outbound.raw(b"\r\n");
        }
        // RFC 4253 §7.1 lets both sides send KEXINIT at once; a server that waited would cost a round trip.
        transport.kex.start(&mut transport.packets)?;
        Ok(transport)
    }

    /// Looks at the start of the input. With [`Incoming::Payload`] the payload stands decrypted in it.
    pub(crate) fn recv(&mut self, input: &mut [u8], now: Instant) -> Result<Incoming> {
        self.now = now;
        if self.identification.is_some() {
            return self.recv_identification(input);
        }
        if self.kex.is_blocked() {
            return Ok(Incoming::Blocked);
        }
        let Some(packet) = self.packets.inbound.next(input)? else { return Ok(Incoming::NeedMore) };
        let payload = input.get(packet.payload.clone()).unwrap_or_default();
        let message = payload.first().copied().unwrap_or(0);
        if self.is_for_transport(message)? {
            let event = self.handle(message, payload, packet.sequence)?;
            return Ok(Incoming::Consumed(packet.total, event));
        }
        Ok(Incoming::Payload(packet))
    }

    /// Sends a payload of the layers above, or holds it back while a key exchange is under way.
    pub(crate) fn send(&mut self, payload: &[u8]) -> Result<()> {
        if !self.kex.holds_sending() {
            return self.packets.send(payload);
        }
        self.held_bytes += payload.len() + HELD_EACH;
        if self.held_bytes > HELD_MAX {
            return Err(Misbehaved::HeldTooMuch.into());
        }
        self.held.push(payload.to_vec());
        Ok(())
    }

    /// Whether channel data may be sent now.
    pub(crate) fn takes_data(&self) -> bool {
        !self.kex.holds_sending()
    }

    /// See [`Outbound::data`]. Only while [`Self::takes_data`].
    pub(crate) fn send_data<E>(
        &mut self,
        target: DataTarget,
        want: usize,
        max_packet: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> std::result::Result<usize, E>,
    ) -> Result<std::result::Result<usize, E>> {
        let Packets { outbound, random, .. } = &mut self.packets;
        outbound.data(target, want, max_packet, random.as_mut(), fill)
    }

    pub(crate) fn outbound(&mut self) -> &mut Outbound {
        &mut self.packets.outbound
    }

    pub(crate) fn pending(&self) -> &[u8] {
        self.packets.outbound.pending()
    }

    /// Larger packets are welcome once the peer is known, and new keys when they are due: before, OpenSSH's server
    /// takes no second exchange, and what a login moves reaches no bound.
    pub(crate) fn authenticated(&mut self) {
        self.rekey.enable();
        self.packets.inbound.set_max(PACKET_MAX);
    }

    pub(crate) fn session_id(&self) -> Option<&[u8]> {
        self.kex.session_id().map(AsRef::as_ref)
    }

    pub(crate) fn accept_host_key(&mut self) -> Result<()> {
        self.kex.accept_host_key(&mut self.packets)?;
        self.release_held()
    }

    pub(crate) fn signed(&mut self, answer: &HostSignature) -> Result<()> {
        let first = self.kex.session_id().is_none();
        self.kex.signed(answer, &mut self.packets)?;
        if first && self.kex.peer_takes_ext_info {
            self.send_ext_info()?;
        }
        self.release_held()
    }

    /// Starts a key exchange if one is due by the limits.
    pub(crate) fn rekey_if_due(&mut self, now: Instant) -> Result<()> {
        let Packets { inbound, outbound, .. } = &self.packets;
        if self.kex.is_idle() && self.rekey.is_due(inbound, outbound, now) {
            self.kex.start(&mut self.packets)?;
        }
        Ok(())
    }

    /// Starts a key exchange now.
    pub(crate) fn rekey_now(&mut self) -> Result<()> {
        if self.null { Ok(()) } else { self.kex.start(&mut self.packets) }
    }

    /// When the time limit of the keys is reached; none while an exchange is under way.
    pub(crate) fn rekey_deadline(&self) -> Option<Instant> {
        if self.kex.is_idle() { self.rekey.deadline() } else { None }
    }

    /// Says good-bye. Sealed at once, even in the middle of a key exchange (RFC 4253 §7.1 allows it).
    pub(crate) fn disconnect(&mut self, reason: u32, text: &str) -> Result<()> {
        let mut out = Vec::new();
        Disconnect { reason, description: text.as_bytes(), language: b"" }.encode(&mut out);
        self.packets.send(&out)
    }

    fn recv_identification(&mut self, input: &[u8]) -> Result<Incoming> {
        let lines_before = self.side == Side::Client;
        let found = match read_identification(input, lines_before) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Incoming::NeedMore),
            Err(error) => {
                if self.side == Side::Server {
                    self.packets.outbound.raw(words_for_no_client(&error));
                }
                return Err(Error::Version(error));
            }
        };
        let ours = self.identification.take().unwrap_or_default();
        let (client, server) = match self.side {
            Side::Client => (ours, found.line.clone()),
            Side::Server => (found.line.clone(), ours),
        };
        self.kex.set_versions(client, server);
        Ok(Incoming::Consumed(found.consumed, Some(TransportEvent::Version(found.line))))
    }

    /// Whether a message is the transport's own, after checking that it may come now.
    fn is_for_transport(&self, message: u8) -> Result<bool> {
        let own = match message {
            number::DISCONNECT => return Ok(true),
            number::IGNORE | number::DEBUG | number::UNIMPLEMENTED => {
                if self.kex.forbids_chatter() {
                    return Err(Misbehaved::Unexpected(message).into());
                }
                return Ok(true);
            }
            number::KEXINIT..=49 => {
                if self.null {
                    return Err(Misbehaved::Unexpected(message).into());
                }
                return Ok(true);
            }
            number::EXT_INFO | number::PING | number::PONG => true,
            _ => false,
        };
        // Everything else waits for the first keys, and for the end of an exchange the peer has begun.
        if self.kex.peer_is_bound() || (self.session_id().is_none() && !self.null) {
            return Err(Misbehaved::Unexpected(message).into());
        }
        Ok(own)
    }

    fn handle(&mut self, message: u8, payload: &[u8], sequence: u32) -> Result<Option<TransportEvent>> {
        match message {
            number::DISCONNECT => {
                let bye = Disconnect::decode(payload)?;
                Err(Error::Disconnected { reason: bye.reason, text: bye.description.to_vec() })
            }
            number::IGNORE => {
                Ignore::decode(payload)?;
                Ok(None)
            }
            number::DEBUG => {
                let debug = Debug::decode(payload)?;
                let text = debug.text.to_vec();
                Ok(Some(TransportEvent::Debug { always_display: debug.always_display, text }))
            }
            number::UNIMPLEMENTED => {
                // We send nothing that a peer must understand without having offered it: nothing to do.
                Unimplemented::decode(payload)?;
                Ok(None)
            }
            number::EXT_INFO => {
                self.ext_info(&ExtInfo::decode(payload)?);
                Ok(Some(TransportEvent::Extensions))
            }
            number::PING => {
                let mut out = Vec::new();
                Pong { data: Ping::decode(payload)?.data }.encode(&mut out);
                self.send(&out)?;
                Ok(None)
            }
            number::PONG => {
                Pong::decode(payload)?;
                Ok(None)
            }
            number::KEXINIT..=49 => self.exchange(payload),
            _ => self.unimplemented(sequence).map(|()| None),
        }
    }

    /// Answers a message whose number nobody here knows.
    pub(crate) fn unimplemented(&mut self, sequence: u32) -> Result<()> {
        let mut out = Vec::new();
        Unimplemented { sequence }.encode(&mut out);
        self.send(&out)
    }

    fn exchange(&mut self, payload: &[u8]) -> Result<Option<TransportEvent>> {
        let event = self.kex.handle(payload, &mut self.packets)?;
        // A key seen before needs no verdict: our NEWKEYS may be out by now.
        self.release_held()?;
        Ok(match event {
            None => None,
            Some(KexEvent::HostKey(offer)) => Some(TransportEvent::HostKey(offer)),
            Some(KexEvent::Signature(input)) => Some(TransportEvent::Signature(input)),
            Some(KexEvent::Done { first, negotiated }) => {
                self.rekey.started([negotiated.c2s.cipher, negotiated.s2c.cipher], self.now);
                Some(TransportEvent::Keys { first, negotiated })
            }
        })
    }

    fn release_held(&mut self) -> Result<()> {
        if self.kex.holds_sending() || self.held.is_empty() {
            return Ok(());
        }
        self.held_bytes = 0;
        std::mem::take(&mut self.held).iter().try_for_each(|payload| self.packets.send(payload))
    }

    fn send_ext_info(&mut self) -> Result<()> {
        let extensions = vec![
            (extension::SERVER_SIG_ALGS.as_bytes(), self.server_sig_algs.as_bytes()),
            (extension::PING.as_bytes(), b"0".as_slice()),
        ];
        let mut out = Vec::new();
        ExtInfo { extensions }.encode(&mut out);
        // Held messages wait behind it: RFC 8308 §2.4 wants it right after NEWKEYS.
        self.packets.send(&out)
    }

    fn ext_info(&mut self, info: &ExtInfo<'_>) {
        for (name, value) in &info.extensions {
            if *name == extension::SERVER_SIG_ALGS.as_bytes() {
                self.extensions.server_sig_algs = std::str::from_utf8(value).ok().map(str::to_owned);
            } else if *name == extension::PING.as_bytes() {
                self.extensions.ping = *value == b"0";
            }
        }
    }
}

/// What OpenSSH's server says in place of a DISCONNECT to who is no SSH 2 client: it may be a person, or a program that
/// looks for these words.
fn words_for_no_client(error: &VersionError) -> &'static [u8] {
    match error {
        VersionError::NotSsh(_) | VersionError::TooMuch => b"Invalid SSH identification string.\r\n",
        VersionError::WrongVersion(_) => b"Protocol major versions differ.\r\n",
    }
}
