//! Sockets in the file system: their birth with final owner, group and mode, the replacing of stale
//! ones, removal of our own file only, connecting, and who is at the other end.
//!
//! Everything happens in a directory that `path` resolved, through its descriptor. Linux can bind
//! and connect by path only, so the paths are `/proc/self/fd/N` ones: they cannot be redirected, are
//! short whatever the real path's length, and change neither working directory nor umask (both
//! belong to the whole process). They work for the own process also when it is not dumpable.
//!
//! ```text
//!   Place ─▶ Newborn::bind ─▶ set_group ─▶ publish(mode, what it may replace) ─▶ Listener
//!     └────▶ Occupant::look ─▶ probe, 200 ms, probe ─▶ Replaceable ──┘              │
//!                                                        OwnedSocketFile::remove ◀──┘
//! ```

mod birth;
mod connect;
mod listener;
mod occupant;
mod owned;
mod peer;
mod scratch;

pub use birth::{BirthError, Newborn, set_group_of};
pub use connect::{
    Names, connect, connect_links, connect_path, may_connect, may_connect_path, may_create, pair,
};
pub use listener::Listener;
pub use occupant::{FirstLook, Occupant, Replaceable, SecondLook, StaleProbe};
pub use owned::{OwnedSocketFile, Removal};
pub(crate) use peer::known;
pub use peer::{Peer, overflow_uid, peer};

#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod tests;
