//! User authentication (RFC 4252, RFC 4256): the order of messages on each side. Who is let in, and with
//! what, is decided elsewhere: by the monitor's process on our server, by the application on our client.

mod client;
mod server;

pub(crate) use client::{ClientAuth, ClientRequest};
pub(crate) use server::{ServerAuth, Verdict};
