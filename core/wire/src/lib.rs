//! Bytes to typed SSH messages and back: RFC 4251 data types, the message table and every message
//! this project sends or accepts, the agent protocol, identification lines; and SOCKS, which forwardings serve.
//!
//! No state and no decisions: whether a message is welcome *now* is `proto`'s business; what a
//! signature or a key means is `crypto`'s. A decoder never reads past its input, never allocates
//! more than the input holds and never leaves bytes over.
//!
//! ```text
//!   &[u8] ──Reader──▶ Message fields ──▶ message struct (borrows from the input)
//!   message struct ──encode──▶ Vec<u8>
//! ```

mod error;
mod field;
mod macros;
mod reader;
mod socket_path;
mod version;
mod writer;

pub mod agent;
pub mod auth;
pub mod channel;
pub mod gate;
pub mod global;
pub mod names;
pub mod number;
pub mod pattern;
pub mod probe;
pub mod socks;
pub mod transport;

pub use error::{WireError, WireResult};
pub use field::{Field, NameList};
pub use reader::Reader;
pub use socket_path::{SUN_PATH_MAX, SocketPath, SocketPathError};
pub use version::{Identification, VersionError, read_identification};
pub use writer::Put;
