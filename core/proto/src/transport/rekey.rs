//! When new keys are due (RFC 4253 §9, RFC 4344 §3; `RekeyLimit` of ssh_config(5)).

use std::time::{Duration, Instant};

use sockward_crypto::Cipher;

use super::{Inbound, Outbound};

/// RFC 4344 §3.1: at the latest after 2^31 packets.
const PACKETS_MAX: u64 = 1 << 31;
/// RFC 4344 §3.2: 2^(L/4) blocks of a cipher with L = 128 bits a block, that is 64 GiB.
const AES_BYTES_MAX: u64 = (1 << 32) * 16;
/// RFC 4253 §9 recommends 1 GiB; a stream cipher has no blocks to count, OpenSSH takes this, too.
const CHACHA_BYTES_MAX: u64 = 1 << 30;

/// `RekeyLimit`: the application's own bounds, which may only tighten the ciphers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RekeyLimit {
    /// Bytes in either direction.
    pub bytes: Option<u64>,
    /// Time since the keys were made.
    pub time: Option<Duration>,
}

/// Watches one connection's keys.
pub(crate) struct RekeyClock {
    limit: RekeyLimit,
    cipher_bytes: u64,
    since: Option<Instant>,
    /// The login is over.
    enabled: bool,
}

impl RekeyClock {
    pub(crate) fn new(limit: RekeyLimit) -> Self {
        RekeyClock { limit, cipher_bytes: AES_BYTES_MAX, since: None, enabled: false }
    }

    /// From now on keys can be due.
    pub(crate) fn enable(&mut self) {
        self.enabled = true;
    }

    /// New keys are in use.
    pub(crate) fn started(&mut self, ciphers: [Cipher; 2], now: Instant) {
        let bytes_max = |c| if c == Cipher::ChaCha20Poly1305 { CHACHA_BYTES_MAX } else { AES_BYTES_MAX };
        self.cipher_bytes = ciphers.into_iter().map(bytes_max).min().unwrap_or(CHACHA_BYTES_MAX);
        self.since = Some(now);
    }

    /// Whether new keys are due.
    pub(crate) fn is_due(&self, inbound: &Inbound, outbound: &Outbound, now: Instant) -> bool {
        let bytes = self.limit.bytes.unwrap_or(u64::MAX).min(self.cipher_bytes);
        self.enabled
            && self.since.is_some()
            && (inbound.bytes.max(outbound.bytes) >= bytes
                || inbound.packets.max(outbound.packets) >= PACKETS_MAX
                || self.deadline().is_some_and(|at| now >= at))
    }

    /// When the time limit is reached.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Beyond what the clock can hold is never.
        if self.enabled { self.since?.checked_add(self.limit.time?) } else { None }
    }
}
