//! Giving up rights for good: user and group ids, dumping and tracing, gaining by exec, the root
//! directory. The order that each process of the server follows:
//!
//! - helper: [`become_user`] → [`forbid_tracing`] → only then the permit is received.
//! - reader: the same, when the monitor names the user.
//! - worker: [`EmptyRoot::enter`] (needs root) → [`become_user`] → [`crate::sandbox::harden_worker`].
//!
//! nix's calls go through libc, which changes every thread of the process; the kernel's own calls,
//! and rustix with them, change one thread.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::{Gid, Uid};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::process::DumpableBehavior;

/// The user id this process acts with.
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Which groups besides the primary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// All that the group database has for this login name (initgroups(3)).
    Of(String),
    /// The primary group alone: for uids without an account's memberships, as the worker's.
    None,
}

/// Takes on the ids of a user, never to go back: groups, then gid, then uid, then a check that
/// nothing of the old rights is left or can be had again.
///
/// A process that is not root may "become" the user it is already; its groups stay.
/// After an error the process may be half-way and must end.
pub fn become_user(uid: u32, gid: u32, groups: &Groups) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if uid.as_raw() == u32::MAX || gid.as_raw() == u32::MAX {
        // To setresuid -1 means "leave as it is".
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such user or group id"));
    }
    let (old_uid, old_gid) = (Uid::effective(), Gid::effective());
    if old_uid.is_root() {
        match groups {
            Groups::Of(name) => nix::unistd::initgroups(&CString::new(name.as_str())?, gid)?,
            Groups::None => nix::unistd::setgroups(&[gid])?,
        }
    }
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)?;
    verify(uid, gid, old_uid, old_gid)
}

fn verify(uid: Uid, gid: Gid, old_uid: Uid, old_gid: Gid) -> io::Result<()> {
    let kept = |what: &str| Err(io::Error::other(format!("rights were not given up: {what}")));
    let (uids, gids) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    if [uids.real, uids.effective, uids.saved] != [uid; 3] {
        return kept("user id");
    }
    if [gids.real, gids.effective, gids.saved] != [gid; 3] {
        return kept("group id");
    }
    if uid.is_root() {
        return Ok(());
    }
    if old_uid != uid && nix::unistd::setresuid(old_uid, old_uid, old_uid).is_ok() {
        return kept("the old user id could be had again");
    }
    if old_gid != gid && nix::unistd::setresgid(old_gid, old_gid, old_gid).is_ok() {
        return kept("the old group id could be had again");
    }
    let sets = rustix::thread::capabilities(None)?;
    // Without root the process may have been given some by its service manager, and keeps them.
    if old_uid.is_root() && !(sets.effective | sets.permitted).is_empty() {
        return kept("capabilities");
    }
    Ok(())
}

/// Forbids that others of the same uid trace this process, read its memory or its /proc entries,
/// and that it writes a core file (prctl PR_SET_DUMPABLE 0).
///
/// An exec and a change of ids set the attribute anew: call it after them.
pub fn forbid_tracing() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Forbids that an exec gains rights (set-user-ID files, file capabilities), in this process and all
/// it starts. Not for a helper: the user's commands would inherit it and sudo would break.
pub fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// A directory that is empty and removed: as a root directory nothing can be found in it and
/// nothing can be made in it (Linux refuses new entries in a removed directory).
///
/// The monitor makes it once at start, as root, and passes the descriptor to its workers.
#[derive(Debug)]
pub struct EmptyRoot(OwnedFd);

impl EmptyRoot {
    /// Makes one under /run, or /tmp where that cannot be written.
    pub fn create() -> io::Result<EmptyRoot> {
        EmptyRoot::create_in("/run").or_else(|_| EmptyRoot::create_in("/tmp"))
    }

    fn create_in(parent: &str) -> io::Result<EmptyRoot> {
        let path = format!("{parent}/.sockward-{:016x}", crate::random_u64()?);
        rustix::fs::mkdirat(CWD, &path, Mode::RUSR | Mode::XUSR)?;
        let opened = rustix::fs::open(
            &path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR)?;
        EmptyRoot::from_fd(opened?)
    }

    /// Takes a descriptor that should be such a directory, and checks that it is: owned by root,
    /// no longer linked anywhere.
    pub fn from_fd(fd: OwnedFd) -> io::Result<EmptyRoot> {
        let stat = rustix::fs::fstat(&fd)?;
        let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        if !directory || stat.st_nlink != 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an empty, removed directory"));
        }
        Ok(EmptyRoot(fd))
    }

    /// Makes it this process's root and working directory. Needs root, and must come before the
    /// change of ids. Descriptors of directories outside would lead out again: have none open.
    pub fn enter(self) -> io::Result<()> {
        rustix::process::fchdir(&self.0)?;
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")?;
        match rustix::fs::statat(CWD, "/proc", AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            _ => Err(io::Error::other("the new root directory is not empty")),
        }
    }
}

impl AsFd for EmptyRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALEX, EVE, as_user, in_child, root_or_skip};

    #[test]
    fn all_ids_change_in_every_thread_and_nothing_comes_back() {
        if !root_or_skip("become_user") {
            return;
        }
        in_child(|| {
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let other = std::thread::spawn(move || {
                wait.recv().unwrap();
                std::fs::read_to_string("/proc/thread-self/status").unwrap()
            });
            become_user(ALEX, EVE, &Groups::None).unwrap();
            go.send(()).unwrap();
            let status = other.join().unwrap();
            assert!(status.contains(&format!("Uid:\t{ALEX}\t{ALEX}\t{ALEX}\t{ALEX}")), "{status}");
            assert!(status.contains(&format!("Groups:\t{EVE} ")), "{status}");
            assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
            assert!(become_user(0, 0, &Groups::None).is_err());
            become_user(ALEX, EVE, &Groups::None).unwrap();
        })
        .success();
    }

    #[test]
    fn groups_come_from_the_database() {
        if !root_or_skip("initgroups") {
            return;
        }
        in_child(|| {
            become_user(ALEX, ALEX, &Groups::Of("root".into())).unwrap();
            let groups = nix::unistd::getgroups().unwrap();
            assert!(groups.contains(&Gid::from_raw(ALEX)));
        })
        .success();
    }

    #[test]
    fn kept_capabilities_are_noticed() {
        if !root_or_skip("kept capabilities") {
            return;
        }
        in_child(|| {
            rustix::thread::set_keep_capabilities(true).unwrap();
            assert!(become_user(ALEX, ALEX, &Groups::None).is_err());
        })
        .success();
    }

    #[test]
    fn minus_one_is_no_user() {
        assert!(become_user(u32::MAX, 1, &Groups::None).is_err());
        assert!(become_user(1, u32::MAX, &Groups::None).is_err());
    }

    #[test]
    fn the_empty_root_has_nothing_and_takes_nothing() {
        if !root_or_skip("empty root") {
            return;
        }
        in_child(|| {
            EmptyRoot::create().unwrap().enter().unwrap();
            become_user(ALEX, ALEX, &Groups::None).unwrap();
            for path in ["/etc/passwd", "/proc/self", "../../etc", "/x"] {
                assert!(rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).is_err(), "{path}");
            }
        })
        .success();
        in_child(|| {
            // Even root can make nothing in it.
            EmptyRoot::create().unwrap().enter().unwrap();
            assert!(rustix::fs::mkdirat(CWD, "/x", Mode::RWXU).is_err());
            assert!(rustix::fs::open("/x", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).is_err());
        })
        .success();
        let tmp = rustix::fs::open("/tmp", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(EmptyRoot::from_fd(tmp).is_err());
    }

    #[test]
    fn an_undumpable_process_cannot_be_looked_into_by_its_own_user() {
        if !root_or_skip("dumpable") {
            return;
        }
        as_user(ALEX, || {
            let pid = std::process::id();
            forbid_tracing().unwrap();
            let status = crate::testing::in_child(move || {
                assert!(std::fs::read_link(format!("/proc/{pid}/exe")).is_err());
                assert!(std::fs::read_dir(format!("/proc/{pid}/fd")).is_err());
            });
            status.success();
            // Its own entries stay within its reach.
            assert!(std::fs::read_link("/proc/self/exe").is_ok());
        })
        .success();
    }
}
