//! Which way forwarding is permitted, and the rules that say so.

use serde::{Deserialize, Serialize};

use crate::Source;

/// A set of the two ways to forward, as `AllowTcpForwarding` and `AllowStreamLocalForwarding` name them.
///
/// Local is ssh's `-L`: the server opens a connection. Remote is `-R`: the server listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Neither.
    #[default]
    No,
    /// `-L` alone.
    Local,
    /// `-R` alone.
    Remote,
    /// Both (`yes` and `all`).
    Yes,
}

impl Direction {
    /// Whether all of `other` is in it.
    #[must_use]
    pub fn includes(self, other: Direction) -> bool {
        self.intersect(other) == other
    }

    /// What is in both.
    ///
    /// | ∩ | no | local | remote | yes |
    /// | --- | --- | --- | --- | --- |
    /// | **no** | no | no | no | no |
    /// | **local** | no | local | no | local |
    /// | **remote** | no | no | remote | remote |
    /// | **yes** | no | local | remote | yes |
    #[must_use]
    pub fn intersect(self, other: Direction) -> Direction {
        match (self, other) {
            (Direction::Yes, d) | (d, Direction::Yes) => d,
            (Direction::Local, Direction::Local) => Direction::Local,
            (Direction::Remote, Direction::Remote) => Direction::Remote,
            (Direction::No | Direction::Local | Direction::Remote, _) => Direction::No,
        }
    }
}

/// What kind of line restricts a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Switch {
    /// `AllowTcpForwarding`.
    AllowTcpForwarding,
    /// `AllowStreamLocalForwarding`.
    AllowStreamLocalForwarding,
    /// `DisableForwarding`.
    DisableForwarding,
    /// `restrict` or `no-port-forwarding` of a key, or a certificate without `permit-port-forwarding`.
    PortForwarding,
}

impl Switch {
    /// The keyword or option, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Switch::AllowTcpForwarding => "AllowTcpForwarding",
            Switch::AllowStreamLocalForwarding => "AllowStreamLocalForwarding",
            Switch::DisableForwarding => "DisableForwarding",
            Switch::PortForwarding => "no-port-forwarding",
        }
    }
}

/// A line that leaves only some directions. A permit carries all of them; each must include what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionRule {
    /// What it leaves.
    pub leaves: Direction,
    /// What kind of line it is.
    pub switch: Switch,
    /// Where it stands.
    pub source: Source,
}

#[cfg(test)]
mod tests {
    use super::Direction::{self, Local, No, Remote, Yes};

    #[test]
    fn intersection_is_what_both_have() {
        let table: [(Direction, [Direction; 4]); 4] = [
            (No, [No, No, No, No]),
            (Local, [No, Local, No, Local]),
            (Remote, [No, No, Remote, Remote]),
            (Yes, [No, Local, Remote, Yes]),
        ];
        for (a, row) in table {
            for (b, both) in [No, Local, Remote, Yes].into_iter().zip(row) {
                assert_eq!(a.intersect(b), both, "{a:?} {b:?}");
                assert_eq!(a.includes(b), both == b, "{a:?} {b:?}");
            }
        }
    }
}
