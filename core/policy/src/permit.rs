//! A permit: everything one login may do. The monitor builds it from the configuration, the key and the
//! certificate and sends it to the helper; it never passes through the worker.
//!
//! A permit holds the rules side by side, not their intersection: each carries the line it was written in, and all
//! of them must allow (`decide`).

use serde::{Deserialize, Serialize};

use crate::{Account, By, DirectionRule, GatewayPorts, PeerList, RuleList, SessionPermit, Source};

/// Everything one login may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// Who is logged in.
    pub account: Account,
    /// What may be opened and listened on.
    pub forwarding: Forwarding,
    /// How a listening socket comes into the file system.
    pub birth: SocketBirth,
    /// `PermitPeer`, of the configuration and of the key. Each must name a peer; with none, anybody may connect whom
    /// the kernel lets.
    pub peers: Vec<PeerList>,
    /// How much of it at once.
    pub limits: Limits,
    /// What may be executed.
    pub session: SessionPermit,
}

/// What may be opened and listened on. Every rule and every list must allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarding {
    /// What restricts the directions of TCP, and through it of sockets.
    pub tcp: Vec<DirectionRule>,
    /// What restricts the directions of sockets alone.
    pub streamlocal: Vec<DirectionRule>,
    /// The PermitOpen lists of the configuration, the key and the certificate.
    pub open: Vec<RuleList>,
    /// The PermitListen lists.
    pub listen: Vec<RuleList>,
    /// Where remote TCP forwardings bind.
    pub gateway_ports: GatewayPorts,
}

/// How a listening socket comes into the file system. Its owner is the login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketBirth {
    /// The permission bits, exactly.
    pub mode: u16,
    /// The group; none leaves what bind gives.
    pub group: Option<SocketGroup>,
    /// What happens to a socket file that is there already.
    pub unlink: Unlink,
    /// What happens when another login of ours holds the name.
    pub conflict: Conflict,
}

/// `StreamLocalBindGroup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketGroup {
    /// Its name.
    pub name: String,
    /// Its id, which the monitor knows where the administrator chose it; none of a key's choice, and of a group
    /// that does not exist.
    pub gid: Option<u32>,
    /// Whether the administrator chose it (the configuration or a certificate). A key's choice holds only if the
    /// login is in the group: then the helper changes it with the user's own rights.
    pub by_administrator: bool,
    /// Where it stands.
    pub source: Source,
}

/// `StreamLocalBindUnlink`. Nothing but a socket is ever removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unlink {
    /// Replace a socket file that nobody listens on.
    #[default]
    Stale,
    /// Replace a live socket too.
    Yes,
    /// Replace nothing.
    No,
}

/// `StreamLocalConflict`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conflict {
    /// Refuse, unless the holder is the same user's and does not answer.
    #[default]
    Refuse,
}

/// Limits of one login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `MaxSessions`: session channels at once.
    pub sessions: Limit,
    /// `MaxListeners`: listeners at once.
    pub listeners: Limit,
    /// `MaxForwardedConnections`: forwarded connections at once, either way.
    pub forwarded_connections: Limit,
}

/// How many at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The most; none is no limit.
    pub max: Option<u32>,
    /// What says so.
    pub by: By,
}

impl Limit {
    /// No limit.
    pub const NONE: Limit = Limit { max: None, by: By::Default };
}
