//! A decision and its reason, and the two sentences of a refusal: one for the log, which names the line, and one
//! for the SSH peer, which names the kind of rule and no path of the server.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{By, Direction, ListKind, Switch};

/// Whether something is allowed, and what said so. `T` is what the caller needs in order to do it.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<T = ()> {
    /// It is.
    Allowed {
        /// The line that allows it.
        by: By,
        /// What is allowed, worked out.
        grant: T,
    },
    /// It is not.
    Refused(Refusal),
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The line that refuses it.
    pub by: By,
    /// The reason.
    pub why: Reason,
}

/// The reasons there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// This kind of line leaves out the direction.
    Direction(Switch, Direction),
    /// The list does not name it.
    NotListed(ListKind),
    /// A socket, a forced command, and no list of this kind: a socket may be a way to run code.
    ForcedCommand(ListKind),
    /// PermitPeer is set and the listener would be reached from other machines.
    PeersNeedLoopback,
    /// PermitPeer is set and it is not known who connects.
    PeerUnknown,
    /// PermitPeer does not name who connects.
    PeerNotListed,
    /// Nothing may be executed in this server's mode of isolation.
    NoExecution,
    /// There is no subsystem of that name.
    NoSubsystem,
    /// No terminal.
    NoTty,
    /// This many there are already.
    Limit(Limited, u32),
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limited {
    /// `MaxSessions`.
    Sessions,
    /// `MaxListeners`.
    Listeners,
    /// `MaxForwardedConnections`.
    ForwardedConnections,
}

impl<T> Decision<T> {
    /// Whether it is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed { .. })
    }

    /// What is allowed, or why not.
    pub fn into_result(self) -> Result<T, Refusal> {
        match self {
            Decision::Allowed { grant, .. } => Ok(grant),
            Decision::Refused(refusal) => Err(refusal),
        }
    }

    pub(crate) fn refused(by: By, why: Reason) -> Self {
        Decision::Refused(Refusal { by, why })
    }
}

impl Limited {
    /// The keyword, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Limited::Sessions => "MaxSessions",
            Limited::Listeners => "MaxListeners",
            Limited::ForwardedConnections => "MaxForwardedConnections",
        }
    }
}

/// For the SSH peer: the kind of rule, no paths, no lines.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Direction(switch, direction) => {
                let what = match direction {
                    Direction::Local => "opening connections",
                    Direction::Remote => "listening",
                    Direction::Yes | Direction::No => "forwarding",
                };
                write!(f, "{what} is switched off ({})", switch.name())
            }
            Reason::NotListed(list) => write!(f, "not in the server's list ({})", list.name()),
            Reason::ForcedCommand(list) => {
                write!(f, "sockets are refused beside a forced command without a list ({})", list.name())
            }
            Reason::PeersNeedLoopback => f.write_str(
                "local users are chosen (PermitPeer), so only loopback addresses can be listened on",
            ),
            Reason::PeerUnknown => f.write_str("it is not known who connects (PermitPeer)"),
            Reason::PeerNotListed => f.write_str("who connects is not in the list (PermitPeer)"),
            Reason::NoExecution => f.write_str("this server runs no commands (WorkerIsolation)"),
            Reason::NoSubsystem => f.write_str("there is no such subsystem (Subsystem)"),
            Reason::NoTty => f.write_str("no terminal is permitted (PermitTTY)"),
            Reason::Limit(limited, max) => write!(f, "too many: the limit is {max} ({})", limited.name()),
        }
    }
}

/// For the log: the reason and the line that decided.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.why)?;
        match &self.by {
            By::Rule(source) => write!(f, ", decided by {source}"),
            By::Default => f.write_str(", by default"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn the_peer_is_told_the_kind_and_the_log_the_line() {
        let by = By::Rule(Source::new("/etc/ssh/sshd_config", 9));
        let refusal = Refusal { by, why: Reason::NotListed(ListKind::PermitListen) };
        assert_eq!(refusal.why.to_string(), "not in the server's list (PermitListen)");
        assert_eq!(
            refusal.to_string(),
            "not in the server's list (PermitListen), decided by /etc/ssh/sshd_config:9"
        );
        let off = Reason::Direction(Switch::DisableForwarding, Direction::Remote);
        assert_eq!(off.to_string(), "listening is switched off (DisableForwarding)");
    }
}
