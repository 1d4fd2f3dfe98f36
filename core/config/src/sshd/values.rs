//! The values of sshd_config that are more than a word or a number.

use sockward_policy::{AddressList, Source};

/// One `ListenAddress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// An address, or a name that the caller resolves.
    pub host: String,
    /// None is every `Port`.
    pub port: Option<u16>,
}

/// One `HostKey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyFile {
    /// The file.
    pub path: Vec<u8>,
    /// Whether it was asked for: one of the default ones may be missing.
    pub given: bool,
}

/// One pattern of `AllowUsers` or `DenyUsers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPattern {
    /// As written.
    pub text: String,
    /// The part before the last `@`.
    pub user: Vec<u8>,
    /// The part behind it.
    pub host: Option<AddressList>,
    /// Where it stands.
    pub source: Source,
}

/// One pattern of `AllowGroups` or `DenyGroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPattern {
    /// As written.
    pub text: String,
    /// Where it stands.
    pub source: Source,
}

/// `PermitRootLogin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootLogin {
    /// By any method.
    Yes,
    /// Not by password or keyboard-interactive.
    ProhibitPassword,
    /// By public key, if the key has a forced command.
    ForcedCommandsOnly,
    /// Not at all.
    No,
}

/// `WorkerIsolation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// A worker process for each SSH connection.
    Connection,
    /// A worker process for each core.
    Shared,
}

/// `AuditLog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// This file.
    File(Vec<u8>),
    /// The system's log.
    Syslog,
}

/// What decides the permission bits of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode {
    /// `StreamLocalBindMask`: bits taken from 0777.
    pub mask: Option<u16>,
    /// `StreamLocalBindMode`: the bits.
    pub mode: Option<u16>,
    pub(super) pass: Pass,
}

impl SocketMode {
    /// The permission bits. With both, which only two `Match` blocks that hold at once can do, what both leave.
    #[must_use]
    pub fn bits(&self) -> u16 {
        let by_mask = 0o777 & !self.mask.unwrap_or(0);
        self.mode.map_or(by_mask, |mode| mode & by_mask)
    }

    /// The two keywords are one setting: what a `Match` block says of it takes the place of all that was said globally.
    pub(super) fn set(&mut self, pass: Pass, mask: Option<u16>, mode: Option<u16>) {
        if pass > self.pass {
            *self = SocketMode { mask: None, mode: None, pass };
        }
        // The last mask holds, as in OpenSSH, and the first mode.
        self.mask = mask.or(self.mask);
        self.mode = self.mode.or(mode);
    }
}

/// One entry of `ChannelTimeout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTimeout {
    /// A pattern of channel types, or `global`.
    pub channel: String,
    /// Seconds; 0 is none.
    pub seconds: u32,
    /// As written.
    pub text: String,
}

/// One `Subsystem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsystemLine {
    /// What a client asks for.
    pub name: Vec<u8>,
    /// The command line.
    pub command: Vec<u8>,
    pub(super) pass: Pass,
}

/// `MaxStartups`: unauthenticated connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxStartups {
    /// From this many on some are dropped.
    pub start: u32,
    /// How many in a hundred at `start`.
    pub rate: u32,
    /// From this many on all are dropped.
    pub full: u32,
}

/// `RekeyLimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyLimit {
    /// Bytes; 0 is the cipher's own limit.
    pub bytes: u64,
    /// Seconds; none is no limit.
    pub seconds: Option<u32>,
}

/// `PermitUserEnvironment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEnvironment {
    /// The user sets nothing.
    No,
    /// Everything.
    Yes,
    /// Names that the list of patterns, joined by commas, matches.
    Matching(Vec<u8>),
}

/// Which reading of the configuration sets a value. What a later one sets takes the place of what an earlier did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pass {
    /// The defaults.
    Default,
    /// The command line and the global section.
    Global,
    /// The `Match` blocks that hold.
    Match,
}
