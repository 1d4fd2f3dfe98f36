//! What a connection is told at its birth.

use std::time::Duration;

use crate::Side;
use crate::kex::Algorithms;
use crate::transport::{PACKET_MAX, RekeyLimit};

/// Settings of one connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which side we are.
    pub side: Side,
    /// Our identification line without CR LF, such as `SSH-2.0-Sockward_0.1`.
    pub identification: Vec<u8>,
    /// What we offer in KEXINIT.
    pub algorithms: Algorithms,
    /// Server: the signature algorithms taken for user keys, joined by commas (RFC 8308 §3.1).
    pub server_sig_algs: String,
    /// Server: the cookie of the first KEXINIT, from the holder of the host keys. A client draws its own.
    pub cookie: Option<[u8; 16]>,
    /// When to change keys, beside the ciphers' own bounds.
    pub rekey_limit: RekeyLimit,
    /// The largest packet taken from a peer that has not authenticated.
    pub packet_max_before_auth: usize,
    /// No key exchange and no authentication: start at the connection layer, in clear packets.
    /// For streams that something else protects (the gate).
    pub null_transport: bool,
    /// Whether and when to ask a silent peer if it is there.
    pub keep_alive: Option<KeepAlive>,
    /// Bounds of the connection layer.
    pub limits: ChannelLimits,
}

/// `ClientAliveInterval` / `ServerAliveInterval` and their CountMax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Ask after this much silence.
    pub interval: Duration,
    /// Give up after this many questions without an answer; 0 = never give up.
    pub count_max: u32,
}

/// Bounds of the connection layer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Channels open or being opened at once.
    pub channels: u32,
    /// Bytes a new channel's peer may send at first.
    pub window: u32,
    /// Bytes a channel's window grows to while its reader keeps up.
    pub window_max: u32,
    /// All receive windows together: what stalled readers can make us hold.
    pub window_budget: u64,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        ChannelLimits { channels: 16_384, window: 256 * 1024, window_max: 16 << 20, window_budget: 64 << 20 }
    }
}

impl Config {
    /// A client's settings.
    #[must_use]
    pub fn client(identification: Vec<u8>, algorithms: Algorithms) -> Self {
        Config {
            side: Side::Client,
            identification,
            algorithms,
            server_sig_algs: String::new(),
            cookie: None,
            rekey_limit: RekeyLimit::default(),
            // A server's banner may be large, and the user chose to talk to it.
            packet_max_before_auth: PACKET_MAX,
            null_transport: false,
            keep_alive: None,
            limits: ChannelLimits::default(),
        }
    }

    /// A server's settings. `cookie` is for the first KEXINIT.
    #[must_use]
    pub fn server(
        identification: Vec<u8>,
        algorithms: Algorithms,
        server_sig_algs: String,
        cookie: [u8; 16],
    ) -> Self {
        Config {
            side: Side::Server,
            server_sig_algs,
            cookie: Some(cookie),
            packet_max_before_auth: SERVER_PACKET_MAX_BEFORE_AUTH,
            ..Config::client(identification, algorithms)
        }
    }

    /// The connection layer alone, over a stream that is protected already.
    #[must_use]
    pub fn null(side: Side) -> Self {
        let none = Algorithms { kex: vec![], host_key: vec![], ciphers: vec![], macs: vec![] };
        Config { side, null_transport: true, ..Config::client(Vec::new(), none) }
    }
}

/// RFC 4253 §6.1 asks for 35,000; a certificate of the largest RSA keys and its signature fit as well.
const SERVER_PACKET_MAX_BEFORE_AUTH: usize = 64 * 1024;
