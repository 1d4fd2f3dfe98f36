//! The helper: the one process that acts as a logged-in user. It has that user's rights and nobody else's, so the
//! kernel decides; each login's permit decides besides. It binds, listens, accepts, connects and executes, and
//! passes the worker connected descriptors only. It reads no network bytes.
//!
//! There is one helper for each uid, with a link to the monitor (logins and their permits come in, facts for log
//! and audit go out) and a link to a worker for each login. A login whose worker talks nonsense is ended; the
//! others go on. One thread; whatever could wait is waited for in the poller.
//!
//! ```text
//!   monitor ──Login──▶ Process ──▶ Login ─┬─ Opens      decide ─▶ resolve ─▶ connect ─▶ Opened, fd
//!           ◀──Event──                    ├─ Listeners  decide ─▶ bind ─▶ accept ─▶ peer ─▶ Accepted, fd
//!   worker ◀──Request, Answer──▶          └─ Sessions   decide ─▶ environment ─▶ execute ─▶ Stream ×3, Exited
//! ```

mod caller;
mod connections;
mod enter;
mod forward;
mod login;
mod names;
mod poller;
mod process;
mod refused;
mod report;
mod resolver;
mod session;
mod shown;
mod timers;

pub use enter::run;
pub use forward::{PathRefused, explain_path};
