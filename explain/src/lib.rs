//! `sockward explain`: may a user listen on, open or run something, and may somebody connect to it? By which line,
//! and what would have to change. The status is 0 if everything that was asked is allowed, 1 if something is not.
//!
//! A crate of its own, above the server: it reads the configuration with the monitor's code and decides on paths
//! with the helper's, so that it cannot say anything else than they do. None of them depends on it.
//!
//! As root it becomes the user before it looks at any path, so that the kernel answers as it would for the login.

mod ask;
mod peer;
mod question;
mod sandbox;

pub use question::main;
