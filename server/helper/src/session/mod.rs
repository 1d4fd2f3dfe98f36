//! Session channels: what a login executes.

mod command;
mod environment;
mod sessions;

pub(crate) use sessions::Sessions;
