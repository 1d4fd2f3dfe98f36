//! The typed messages between the server's processes: one enum for each link and direction.
//!
//! Each process can say just what its enum holds. No message carries a session number where the link itself
//! says which connection or login it belongs to. A message travels whole, with at most one descriptor
//! (`sys::link`). Whoever receives decides what a message may lead to; decoding hostile bytes is an error,
//! which ends the link.
//!
//! ```text
//!              worker.rs                 login.rs
//!   monitor ───────────────▶ worker ─────────────────▶ helper
//!      │  └── reader.rs ──▶ reader                       ▲
//!      └────────────────────── helper.rs ────────────────┘
//! ```

mod channel;
#[cfg(feature = "permits")]
pub mod helper;
pub mod login;
#[cfg(feature = "permits")]
pub mod reader;
pub mod role;
pub mod worker;

pub use channel::{Channel, Outcome};
