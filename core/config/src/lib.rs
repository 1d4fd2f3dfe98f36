//! Text to values: configuration, key and host files, forwarding specifications.

mod error;
pub mod lex;

pub use error::ConfigError;
