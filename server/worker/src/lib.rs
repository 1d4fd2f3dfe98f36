//! The worker: reads the network. It has no rights of its own: no files, no sockets but those it is passed,
//! an exact list of system calls. It speaks SSH, asks the monitor who may come in, and asks the login's helper
//! for everything that touches the machine. It knows no configuration and no policy.
//!
//! ```text
//!   client ══ SSH ══ Session (drive, proto) ──events──▶ Application ──▶ monitor: sign, let in
//!                       ▲                                    │      └──▶ helper: open, listen, execute
//!                       └──── connected descriptors ◀────────┘
//! ```
//!
//! [`Login`], the part behind the login, serves the gate too, which has no other.

mod application;
mod enter;
mod forwards;
mod idle;
mod logger;
mod login;
mod process;
mod sessions;
mod timers;
mod traffic;

pub use application::LinkEnd;
pub use enter::run;
pub use login::Login;
