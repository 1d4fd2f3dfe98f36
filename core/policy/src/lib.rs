//! Facts to decisions: who may listen, open, connect, execute.

mod source;

pub use source::{COMMAND_LINE, Source};
