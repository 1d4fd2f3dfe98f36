//! Session channels: what a login executes.

mod command;
mod environment;
mod sessions;
mod terminal;

pub(crate) use sessions::Sessions;
pub(crate) use terminal::Asked;
