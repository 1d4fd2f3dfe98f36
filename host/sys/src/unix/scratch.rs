//! A private directory inside the directory we work in: what is in it, nobody else can touch.
//!
//! Linux has no "bind, but tell me which file it became" and no "unlink if it is this file". In a
//! directory of mode 0700 both are safe: sockets are born in it and moved out complete; what is to
//! be removed is moved in, looked at, and unlinked or put back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Removed when dropped, if it is empty then.
#[derive(Debug)]
pub(super) struct Scratch {
    parent: OwnedFd,
    name: String,
    fd: OwnedFd,
}

impl Scratch {
    /// Makes one. Needs what binding a socket there needs: the right to write in `parent`.
    pub(super) fn create(parent: BorrowedFd<'_>) -> io::Result<Scratch> {
        let parent = parent.try_clone_to_owned()?;
        let name = format!(".sockward-{:016x}", crate::random_u64()?);
        rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&parent, &name, flags, Mode::empty());
        let fd = match opened {
            Ok(fd) => fd,
            Err(error) => {
                let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR);
                return Err(error.into());
            }
        };
        let scratch = Scratch { parent, name, fd };
        let stat = rustix::fs::fstat(&scratch.fd)?;
        // Where others can write, one of them may have put another directory there meanwhile.
        let private = FileType::from_raw_mode(stat.st_mode).is_dir()
            && stat.st_uid == rustix::process::geteuid().as_raw()
            && stat.st_mode & 0o077 == 0;
        if private { Ok(scratch) } else { Err(io::Error::other("a private directory was replaced")) }
    }

    /// Moves `inner` out to `name` in the parent, where nothing may be yet (EEXIST).
    pub(super) fn move_out(&self, inner: &[u8], name: &[u8]) -> Result<(), Errno> {
        match rustix::fs::renameat_with(&self.fd, inner, &self.parent, name, RenameFlags::NOREPLACE) {
            // File systems without the flag (NFS): a hard link never replaces anything either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&self.fd, inner, &self.parent, name, AtFlags::empty())?;
                rustix::fs::unlinkat(&self.fd, inner, AtFlags::empty())
            }
            other => other,
        }
    }

    /// Moves `name` in, to `inner`.
    pub(super) fn move_in(&self, name: &[u8], inner: &[u8]) -> Result<(), Errno> {
        rustix::fs::renameat(&self.parent, name, &self.fd, inner)
    }

    /// Lets `inner` and the parent's `name` change places.
    pub(super) fn exchange(&self, inner: &[u8], name: &[u8]) -> Result<(), Errno> {
        rustix::fs::renameat_with(&self.fd, inner, &self.parent, name, RenameFlags::EXCHANGE)
    }

    /// Puts something of others back where it came from. If its name is taken by now it stays
    /// beside it under a name of its own, which is returned: nothing of others is ever removed.
    pub(super) fn put_back(&self, inner: &[u8], name: &[u8]) -> Result<Option<String>, Errno> {
        match self.move_out(inner, name) {
            Err(Errno::EXIST) => {
                let aside = format!("{}.displaced", self.name);
                self.move_out(inner, aside.as_bytes())?;
                Ok(Some(aside))
            }
            other => other.map(|()| None),
        }
    }
}

impl AsFd for Scratch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}
