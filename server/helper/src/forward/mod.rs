//! Forwarding: connections to targets, listeners, and what is accepted on them.

mod accept;
mod held;
mod listen;
mod open;
mod paths;
mod peer;
mod port;
mod probe;
mod socket;

pub(crate) use held::{Conflicts, HeldNames};
pub(crate) use listen::Listeners;
pub(crate) use open::Opens;
pub use paths::{PathRefused, explain_path};
pub(crate) use probe::answer as answer_probe;
