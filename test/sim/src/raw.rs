//! A peer that sends whatever the test wants, in clear packets, to a connection without key exchange
//! (`Config::null`): for messages that our own side would never send.

use std::time::Instant;

use sockward_crypto::SystemRandom;
use sockward_proto::{Config, Connection, Error, Received, Side};

/// One clear packet (RFC 4253 §6) around a payload.
#[must_use]
pub fn packet(payload: &[u8]) -> Vec<u8> {
    let mut padding = 8 - (payload.len() + 5) % 8;
    if padding < 4 {
        padding += 8;
    }
    let mut out = ((payload.len() + 1 + padding) as u32).to_be_bytes().to_vec();
    out.push(padding as u8);
    out.extend_from_slice(payload);
    out.resize(out.len() + padding, 0);
    out
}

/// The payloads of clear packets.
#[must_use]
pub fn payloads(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some((head, _)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        let (packet, rest) = bytes.split_at(4 + length);
        out.push(packet[5..packet.len() - usize::from(packet[4])].to_vec());
        bytes = rest;
    }
    out
}

/// A connection under test and the raw side of it.
pub struct Raw {
    /// The connection.
    pub conn: Connection,
    /// The clock.
    pub now: Instant,
}

impl Raw {
    /// A connection that starts at the connection layer.
    #[must_use]
    pub fn new(side: Side) -> Self {
        let now = Instant::now();
        Raw { conn: Connection::new(Config::null(side), Box::new(SystemRandom::new()), now).unwrap(), now }
    }

    /// Feeds one message.
    pub fn feed(&mut self, payload: &[u8]) -> Result<Received, Error> {
        let mut bytes = packet(payload);
        self.conn.recv(&mut bytes, self.now)
    }

    /// Feeds a message that some encoder writes.
    pub fn feed_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Received, Error> {
        let mut payload = Vec::new();
        encode(&mut payload);
        self.feed(&payload)
    }

    /// The messages the connection has sent since the last call.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let out = self.conn.pending_output().unwrap().to_vec();
        self.conn.output_written(out.len());
        payloads(&out)
    }
}
