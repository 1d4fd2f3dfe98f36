//! Text to values: configuration, key and host files, forwarding specifications.

pub mod algorithms;
pub mod choice;
mod error;
pub mod ipqos;
pub mod lex;
pub mod units;

pub use error::ConfigError;
