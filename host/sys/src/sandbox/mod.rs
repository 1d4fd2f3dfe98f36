//! The worker's cage: what a process that reads network bytes may still ask of the kernel.
//!
//! It comes last, when the event loop and everything else is built: afterwards no descriptor can be
//! made but by receiving one over a link, no thread and no process started, no file opened. Two
//! things to do before: draw a random number once with the cryptographic library (at its first use
//! it opens a device file), and leave RUST_BACKTRACE unset (a panic would open the binary).
//! Data moves with read(2), write(2) and their vectored forms only; std's and socket2's `send` and
//! `recv` are other calls, see [`crate::fd::read`].

mod calls;
mod filter;

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};

use crate::identity;

/// On which descriptors recvmsg(2), which is how further descriptors arrive, is allowed.
#[derive(Clone, Copy, Debug)]
pub enum Links<'a> {
    /// On these numbers alone: a worker for one connection has all its links from the start.
    Only(&'a [BorrowedFd<'a>]),
    /// On any: a shared worker gets the links of later connections over its first.
    Any,
}

/// What is in force besides the system-call list, which always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// No file system, no TCP bind or connect, no abstract Unix socket or signal outside.
    Full,
    /// What the kernel's older Landlock has of that.
    Partial,
    /// This kernel has none, or it is switched off.
    None,
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Landlock::Full => "Landlock enforced",
            Landlock::Partial => "Landlock enforced in part (older kernel)",
            Landlock::None => "Landlock not available",
        })
    }
}

/// Cages this process, all its threads, for good. In this order: not traceable, nothing gained by
/// exec, Landlock, system-call list. After an error the process must end.
///
/// The change of ids and the change of root directory come before. A call that the list names as
/// forbidden kills the process (SIGSYS); any other that it does not allow fails with ENOSYS.
pub fn harden_worker(links: Links<'_>) -> io::Result<Landlock> {
    identity::forbid_tracing()?;
    identity::no_new_privs()?;
    let landlock = landlock_all().map_err(io::Error::other)?;
    filter::install(links).map_err(io::Error::other)?;
    Ok(landlock)
}

/// Cages a gate, in the same order. It goes on with standard streams that others hold too, and waits for its helper, so
/// there is no exact list: what a gate never does kills, everything else is allowed. `helper` is where it may send
/// messages to.
pub fn harden_gate(helper: BorrowedFd<'_>) -> io::Result<Landlock> {
    identity::forbid_tracing()?;
    identity::no_new_privs()?;
    let landlock = landlock_all().map_err(io::Error::other)?;
    filter::install_for_gate(helper).map_err(io::Error::other)?;
    Ok(landlock)
}

/// The system calls that kill a caged process whatever their arguments.
pub fn killing_calls() -> impl Iterator<Item = libc::c_long> {
    calls::KILLED.iter().chain(calls::KILLED_HERE).copied()
}

/// Takes away everything that the kernel's Landlock knows of.
fn landlock_all() -> Result<Landlock, landlock::RulesetError> {
    let newest = ABI::V10;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Landlock::Full,
        RulesetStatus::PartiallyEnforced => Landlock::Partial,
        RulesetStatus::NotEnforced => Landlock::None,
    })
}

#[cfg(test)]
mod tests;
