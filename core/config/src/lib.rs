//! Text to values: configuration, key and host files, forwarding specifications.

pub mod algorithms;
pub mod authorized_keys;
pub mod choice;
mod error;
pub mod forward;
pub mod ipqos;
pub mod known_hosts;
pub mod lex;
pub mod lookup;
pub mod revocation;
pub mod ssh;
pub mod sshd;
pub mod tokens;
pub mod units;

pub use error::ConfigError;
