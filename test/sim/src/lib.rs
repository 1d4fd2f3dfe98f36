//! A simulated pair of connections: a client and a server of `core/proto`, a pipe between them that chops,
//! delays and alters what the test wants, and a clock that only the test moves. No descriptors, no threads:
//! what fails here fails again with the same numbers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod pair;
mod pipe;
pub mod raw;

pub use pair::{Pair, Peer, Setup, algorithms};
pub use pipe::{Pipe, Random};
