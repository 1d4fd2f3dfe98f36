//! The sans-I/O SSH connection, both sides: version, key exchange, authentication, channels.
//!
//! No descriptors, no clock, no keys of the server and no policy: bytes come in, bytes go out, and every
//! decision is asked of the application as an owned question ([`event`]). A question dropped without an
//! answer is a refusal.
//!
//! ```text
//!            recv(bytes, now)                         poll_event()
//!  network ──────────────────▶ transport ─▶ phase ─▶ channels ───────────▶ application
//!          ◀────────────────── (packets,   (hand-    (windows, ◀─────────
//!            pending_output()   kex beside) shake,    halves)    commands
//!                                           auth)
//! ```

mod auth;
mod channel;
mod client;
mod commands;
mod config;
mod connection;
mod error;
pub mod event;
#[doc(hidden)]
pub mod fuzz;
mod kex;
mod liveness;
mod question;
mod server;
#[cfg(test)]
mod testing;
mod transport;

pub use channel::{ChannelId, GlobalId, MAX_PACKET};
pub use config::{ChannelLimits, Config, KeepAlive};
pub use connection::{Connection, Received};
pub use error::{Error, Misbehaved, Result};
pub use event::Event;
pub use kex::{Algorithms, DirectionAlgorithms, HostKeyOffer, HostSignature, Negotiated, SignatureInput};
pub use transport::{PACKET_MAX, RekeyLimit};

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opened the connection.
    Client,
    /// Was connected to.
    Server,
}
