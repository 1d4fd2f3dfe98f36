//! Key exchange, first and repeated: a small machine beside the connection's main phase (RFC 4253 §7–9,
//! RFC 5656, RFC 8731). One struct for each state that knows something; a step consumes it.
//! It does not know channels or authentication, and asks the application about host keys and signatures.
//!
//! ```text
//!            KEXINIT sent        KEXINIT received
//!   Idle ──▶ InitSent ──▶ client: ExpectReply ──(31)──▶ AwaitVerdict ──accept──▶ ExpectNewKeys ──▶ Idle
//!                         server: ExpectShare ──(30)──▶ AwaitSignature ─signed─▶ ExpectNewKeys ──▶ Idle
//! ```

mod client;
mod keys;
mod negotiate;
mod server;

pub use client::HostKeyOffer;
pub(crate) use keys::NewKeys;
pub use negotiate::{Algorithms, DirectionAlgorithms, Negotiated};
pub use server::{HostSignature, SignatureInput};

use sockward_crypto::Digest;
use sockward_wire::names::kex_extension;
use sockward_wire::transport::KexInit;
use sockward_wire::{NameList, Put, number, transport};

use crate::Side;
use crate::error::{Error, Misbehaved, Result};
use crate::transport::Packets;

/// What the machine reports.
pub(crate) enum KexEvent {
    /// Client: the server proved that it holds this key; may we trust it?
    HostKey(HostKeyOffer),
    /// Server: a signature over this exchange is needed.
    Signature(SignatureInput),
    /// Both directions use new keys. True for the first time.
    Done { first: bool, negotiated: Box<Negotiated> },
}

/// The machine.
pub(crate) struct Kex {
    side: Side,
    offer: Algorithms,
    state: State,
    /// The identification lines, as hashed.
    client_version: Vec<u8>,
    server_version: Vec<u8>,
    /// The cookie for our next KEXINIT. A server's comes from whoever holds the host keys, one at a time.
    cookie: Option<[u8; 16]>,
    strict: bool,
    /// The peer's next message of the exchange was a wrong guess, and is thrown away whatever it is (RFC 4253 §7).
    skip_guess: bool,
    /// Until the first NEWKEYS has arrived.
    first_exchange: bool,
    session_id: Option<Digest>,
    /// The client announced that it takes EXT_INFO.
    pub(crate) peer_takes_ext_info: bool,
    /// The key accepted before, which a rekey may show again without a question.
    trusted_host_key: Option<Vec<u8>>,
}

enum State {
    /// The identification lines are not exchanged, or the keys are fresh enough.
    Idle,
    InitSent(InitSent),
    ExpectShare(Box<server::ExpectShare>),
    AwaitSignature(Box<server::AwaitSignature>),
    ExpectReply(Box<client::ExpectReply>),
    AwaitVerdict(Box<client::AwaitVerdict>),
    ExpectNewKeys(Box<ExpectNewKeys>),
}

/// Our KEXINIT is out, the peer's is awaited; it may still be sending under the old keys.
struct InitSent {
    ours: Vec<u8>,
}

/// We send under new keys; the peer's NEWKEYS is awaited.
struct ExpectNewKeys {
    opener: sockward_crypto::Opener,
    negotiated: Box<Negotiated>,
}

/// Both KEXINIT messages: I_C and I_S.
struct Inits {
    client: Vec<u8>,
    server: Vec<u8>,
}

impl Kex {
    pub(crate) fn new(side: Side, offer: Algorithms, cookie: Option<[u8; 16]>) -> Self {
        Kex {
            side,
            offer,
            state: State::Idle,
            client_version: Vec::new(),
            server_version: Vec::new(),
            cookie,
            strict: false,
            skip_guess: false,
            first_exchange: true,
            session_id: None,
            peer_takes_ext_info: false,
            trusted_host_key: None,
        }
    }

    /// The first exchange hash, once there is one (RFC 4253 §7.2).
    pub(crate) fn session_id(&self) -> Option<&Digest> {
        self.session_id.as_ref()
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Between our KEXINIT and our NEWKEYS: nothing but the exchange may be sent (RFC 4253 §7.1).
    pub(crate) fn holds_sending(&self) -> bool {
        !matches!(self.state, State::Idle | State::ExpectNewKeys(_))
    }

    /// Between the peer's KEXINIT and its NEWKEYS: nothing but the exchange may arrive.
    pub(crate) fn peer_is_bound(&self) -> bool {
        !matches!(self.state, State::Idle | State::InitSent(_))
    }

    /// The application must answer before the next packet is looked at.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(self.state, State::AwaitSignature(_) | State::AwaitVerdict(_))
    }

    /// Still in the first exchange, and the peer keeps strict key exchange: not even IGNORE is allowed.
    pub(crate) fn forbids_chatter(&self) -> bool {
        self.strict && self.first_exchange
    }

    /// The identification lines, client's first.
    pub(crate) fn set_versions(&mut self, client: Vec<u8>, server: Vec<u8>) {
        self.client_version = client;
        self.server_version = server;
    }

    /// Sends our KEXINIT, unless an exchange is under way already.
    pub(crate) fn start(&mut self, packets: &mut Packets) -> Result<()> {
        if !self.is_idle() {
            return Ok(());
        }
        let cookie = match (self.cookie.take(), self.side) {
            (Some(cookie), _) => cookie,
            (None, Side::Client) => packets.random_array(),
            (None, Side::Server) => return Err(Error::ApiMisuse("no cookie for KEXINIT")),
        };
        let ours = self.kexinit(cookie);
        packets.send(&ours)?;
        self.state = State::InitSent(InitSent { ours });
        Ok(())
    }

    /// Takes one message of the exchange: KEXINIT, NEWKEYS or a method's message.
    pub(crate) fn handle(&mut self, payload: &[u8], packets: &mut Packets) -> Result<Option<KexEvent>> {
        let message = payload.first().copied().unwrap_or(0);
        if message >= number::KEX_INIT && std::mem::take(&mut self.skip_guess) {
            return Ok(None);
        }
        match (message, std::mem::replace(&mut self.state, State::Idle)) {
            (number::KEXINIT, State::Idle) => {
                // The peer starts a new exchange: ours answers first.
                self.start(packets)?;
                self.handle(payload, packets)
            }
            (number::KEXINIT, State::InitSent(sent)) => self.kexinit_received(sent, payload, packets),
            (number::KEX_INIT, State::ExpectShare(state)) => self.share_received(*state, payload),
            (number::KEX_REPLY, State::ExpectReply(state)) => self.reply_received(*state, payload, packets),
            (number::NEWKEYS, State::ExpectNewKeys(state)) => {
                transport::NewKeys::decode(payload)?;
                packets.inbound.rekey(state.opener, self.strict);
                let first = std::mem::replace(&mut self.first_exchange, false);
                Ok(Some(KexEvent::Done { first, negotiated: state.negotiated }))
            }
            (n, _) => Err(Misbehaved::Unexpected(n).into()),
        }
    }

    fn kexinit_received(
        &mut self,
        sent: InitSent,
        payload: &[u8],
        packets: &mut Packets,
    ) -> Result<Option<KexEvent>> {
        let theirs = KexInit::decode(payload)?;
        let ours = KexInit::decode(&sent.ours)?;
        let (client, server) = match self.side {
            Side::Client => (&ours, &theirs),
            Side::Server => (&theirs, &ours),
        };
        if self.first_exchange {
            self.strict = negotiate::is_strict(client, server);
            self.peer_takes_ext_info = theirs.kex.contains(kex_extension::EXT_INFO_C);
            if self.strict && packets.inbound.sequence() != 1 {
                return Err(Misbehaved::KexInitNotFirst.into());
            }
        }
        let negotiated = Box::new(negotiate::negotiate(client, server, self.side)?);
        self.skip_guess = negotiate::guess_is_wrong(&theirs, &ours);
        match self.side {
            Side::Client => {
                let inits = Inits { client: sent.ours, server: payload.to_vec() };
                self.state = State::ExpectReply(Box::new(client::begin(inits, negotiated, packets)?));
            }
            Side::Server => {
                let inits = Inits { client: payload.to_vec(), server: sent.ours };
                self.state = State::ExpectShare(Box::new(server::begin(inits, negotiated)));
            }
        }
        Ok(None)
    }

    /// Our NEWKEYS goes out, and with it the new keys for sending.
    fn switch(&mut self, keys: NewKeys, negotiated: Box<Negotiated>, packets: &mut Packets) -> Result<()> {
        packets.send(&[number::NEWKEYS])?;
        packets.outbound.rekey(keys.sealer, self.strict);
        self.state = State::ExpectNewKeys(Box::new(ExpectNewKeys { opener: keys.opener, negotiated }));
        Ok(())
    }

    fn kexinit(&self, cookie: [u8; 16]) -> Vec<u8> {
        let mut kex: Vec<&str> = self.offer.kex.iter().map(String::as_str).collect();
        // Announcements belong to the first exchange alone (RFC 8308 §2.1, OpenSSH PROTOCOL 1.9).
        if self.first_exchange {
            match self.side {
                Side::Client => kex.extend([kex_extension::EXT_INFO_C, kex_extension::STRICT_C]),
                Side::Server => kex.push(kex_extension::STRICT_S),
            }
        }
        let joined = [
            kex.join(","),
            self.offer.host_key.join(","),
            self.offer.ciphers.join(","),
            self.offer.macs.join(","),
        ];
        let [kex, host_key, ciphers, macs] = joined.each_ref().map(|s| NameList::new(s).unwrap_or(NONE));
        let init = KexInit {
            cookie,
            kex,
            host_key,
            cipher_c2s: ciphers,
            cipher_s2c: ciphers,
            mac_c2s: macs,
            mac_s2c: macs,
            compression_c2s: NONE,
            compression_s2c: NONE,
            languages_c2s: b"",
            languages_s2c: b"",
            first_kex_packet_follows: false,
            reserved: 0,
        };
        let mut out = Vec::new();
        init.encode(&mut out);
        out
    }
}

/// The list for compression; stands also for a list that could not be built, which then matches nothing.
const NONE: NameList<'static> = NameList::NONE;

/// Writes a message that holds one string.
fn share_message(number: u8, share: &[u8]) -> Vec<u8> {
    let mut out = vec![number];
    out.put_string(share);
    out
}
