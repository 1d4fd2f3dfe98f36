//! Runs a [`sockward_proto::Connection`] on real descriptors: the two-way byte pump of its channels and the
//! network side. One thread runs any number of sessions; a session and its channels never leave it.
//! What events mean is decided by a [`Handler`].
//!
//! ```text
//!   poller ──ready──▶ Session ──work──▶ Connection (decrypt, seal)
//!                        │  ▲
//!                  pumps │  │ one per channel: source ─▶ packets, packets ─▶ sink
//!                        ▼  │
//!                  sockets, pipes
//! ```

mod buffers;
mod flow;
mod halves;
mod inflow;
mod net;
mod outflow;
mod pump;
mod pumps;
mod queue;
mod session;
mod token;

pub use buffers::Buffers;
pub use net::Net;
pub use pump::{Closing, Ends, ErrorEnd, Pipes};
pub use session::{End, Env, Handler, PumpEvent, Session, Status, Totals};
pub use token::{Role, Subject};
