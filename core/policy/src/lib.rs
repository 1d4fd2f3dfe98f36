//! Facts to decisions: who may listen, open, connect, execute.
//!
//! A [`Permit`] is everything one login may do. `decide` turns it and a request into a [`Decision`], which names
//! the line that decided. Nothing here touches the machine: paths are resolved, names looked up and peers
//! identified by the host layer, whose findings come in as facts. What travels between processes is serde's.
//!
//! ```text
//!   sshd_config ─┐
//!   key line    ─┼─(config)─▶ Permit ──┐
//!   certificate ─┘                     ├─(decide)─▶ Decision
//!   request, facts of the host layer ──┘
//! ```

mod account;
pub mod address;
pub mod decide;
mod decision;
mod direction;
mod key_options;
pub mod path;
pub mod peer;
mod permit;
mod presented;
mod rules;
mod session;
mod source;
pub mod tcp;

pub use account::Account;
pub use address::AddressList;
pub use decide::{
    PathFacts, decide_listen_path, decide_listen_tcp, decide_one_more, decide_open_path, decide_open_tcp,
    decide_peer, decide_session, decide_tty, names_some_paths, pattern_directories,
};
pub use decision::{Decision, Limited, Reason, Refusal};
pub use direction::{Direction, DirectionRule, Switch};
pub use key_options::{KeyOptions, KeyRefusal};
pub use path::PathPattern;
pub use peer::{OVERFLOW_ID, PeerFacts, PeerList, PeerName};
pub use permit::{Conflict, Forwarding, Limit, Limits, Permit, SocketBirth, SocketGroup, Unlink};
pub use presented::{CertificateIdentity, KeyIdentity, Presented};
pub use rules::{ListKind, Rule, RuleList, RuleListError, Rules, Target};
pub use session::{Execution, ForcedCommand, SessionKind, SessionPermit, Subsystem, Variable};
pub use source::{By, COMMAND_LINE, Origin, Source};
pub use tcp::{BindAddress, GatewayPorts, HostPort, Services};
