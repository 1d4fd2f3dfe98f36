//! The table of sshd_config: one row for each keyword, OpenSSH's and our own, in the order in which `-T` prints them.
//!
//! Every keyword of OpenSSH stands here. What restricts something and is not enforced is an error at start-up
//! (`Absent` rows, `not_yet`), never ignored.

mod absent;
mod compound;
mod flags;
mod lists;
mod numbers;
mod strings;

use super::keyword::Keyword;

/// All rows.
pub fn keywords() -> impl Iterator<Item = &'static Keyword> {
    let parts = [numbers::ROWS, flags::ROWS, strings::ROWS, lists::ROWS, compound::ROWS, absent::ROWS];
    parts.into_iter().flatten()
}

/// The row of a keyword, under its own or an older name, whatever the case.
pub fn find(name: &[u8]) -> Option<&'static Keyword> {
    let old = |(alias, _): &&(&str, &str)| name.eq_ignore_ascii_case(alias.as_bytes());
    let name = ALIASES.iter().find(old).map_or(name, |(_, new)| new.as_bytes());
    keywords().find(|k| name.eq_ignore_ascii_case(k.name.as_bytes()))
}

/// Older names that stay in the global section, though the newer name may stand in `Match` blocks.
pub(super) const GLOBAL_ALIASES: &[&str] = &["DSAAuthentication", "SkeyAuthentication"];

/// Older names of keywords.
pub const ALIASES: &[(&str, &str)] = &[
    ("HostDSAKey", "HostKey"),
    ("HostbasedAcceptedKeyTypes", "HostbasedAcceptedAlgorithms"),
    ("PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"),
    ("DSAAuthentication", "PubkeyAuthentication"),
    ("ChallengeResponseAuthentication", "KbdInteractiveAuthentication"),
    ("SkeyAuthentication", "KbdInteractiveAuthentication"),
    ("KeepAlive", "TCPKeepAlive"),
    ("GSSAPICleanupCreds", "GSSAPICleanupCredentials"),
];
