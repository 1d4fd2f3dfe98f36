//! A listening socket comes into the world complete: nobody can connect to it before it has its
//! final owner, group and mode and listens, and nobody ever sees it at its name without them.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketType};
use sockward_wire::SUN_PATH_MAX;

use super::connect::{self, proc_path};
use super::listener::Listener;
use super::occupant::Replaceable;
use super::owned::OwnedSocketFile;
use super::scratch::Scratch;
use crate::path::{Place, is_name_of, open_name, unlink};

/// The permission bits a socket can have.
const MODE_BITS: u32 = 0o777;

/// Why there is no listening socket. Nothing of it is left over, except as `Displaced` says.
#[derive(Debug)]
pub enum BirthError {
    /// The name is taken (by something nobody asked to replace).
    Exists,
    /// The name is taken by something that is not a socket, which is never replaced.
    NotASocket,
    /// What was to be replaced is not there any more; what is there now was left alone.
    Changed,
    /// The file system cannot exchange two names, so a socket cannot be replaced safely.
    NoExchange,
    /// Somebody took the name at the worst moment: what was there before now has this name beside it.
    Displaced(String),
    /// The system refused a step.
    Io {
        /// Which step, as a verb phrase for a message: "bind".
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl BirthError {
    pub(super) fn io(step: &'static str, error: impl Into<io::Error>) -> BirthError {
        BirthError::Io { step, source: error.into() }
    }
}

impl fmt::Display for BirthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BirthError::Exists => f.write_str("a file of that name exists"),
            BirthError::NotASocket => f.write_str("a file that is not a socket has that name"),
            BirthError::Changed => f.write_str("the socket to be replaced was replaced by somebody else"),
            BirthError::NoExchange => f.write_str("this file system cannot replace a socket safely"),
            BirthError::Displaced(name) => write!(f, "the name was taken; what had it is now \"{name}\""),
            BirthError::Io { step, source } => write!(f, "cannot {step}: {source}"),
        }
    }
}

impl std::error::Error for BirthError {}

/// A bound socket that nobody can reach yet: it lies in a private directory beside its place,
/// mode 0600, and does not listen. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Newborn {
    socket: OwnedFd,
    file: OwnedFd,
    inner: Vec<u8>,
    scratch: Scratch,
    place: Place,
}

impl Newborn {
    /// Binds. The owner is this process's user; the group is that of a setgid directory, else
    /// this process's.
    pub fn bind(place: Place) -> Result<Newborn, BirthError> {
        Newborn::of_kind(place, SocketType::STREAM)
    }

    /// The same for what accepts [`crate::link::Link`]s.
    pub fn bind_links(place: Place) -> Result<Newborn, BirthError> {
        Newborn::of_kind(place, SocketType::SEQPACKET)
    }

    fn of_kind(place: Place, kind: SocketType) -> Result<Newborn, BirthError> {
        let scratch =
            Scratch::create(place.dir().as_fd()).map_err(|e| BirthError::io("write in the directory", e))?;
        let socket = connect::socket(kind).map_err(|e| BirthError::io("make a socket", e))?;
        // The mode of the file that bind(2) makes is the socket's own, less the umask.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|e| BirthError::io("make a socket", e))?;
        let directory = proc_path(scratch.as_fd());
        // getpeername(2) and ss(8) show the bound path for ever: the real name, where it fits.
        let fits = directory.len() + 1 + place.name().len() < SUN_PATH_MAX;
        let inner = if fits { place.name().to_vec() } else { b"socket".to_vec() };
        let path = [directory.as_bytes(), b"/", &inner].concat();
        let address = SocketAddrUnix::new(path).map_err(|e| BirthError::io("bind", e))?;
        rustix::net::bind(&socket, &address).map_err(|e| BirthError::io("bind", e))?;
        match open_name(scratch.as_fd(), &inner) {
            Ok(file) => Ok(Newborn { socket, file, inner, scratch, place }),
            Err(error) => {
                let _ = unlink(scratch.as_fd(), &inner);
                Err(BirthError::io("open the socket", error))
            }
        }
    }

    /// The O_PATH descriptor of the file, for somebody with more rights to change its group.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Gives the file a group that this process's user is in.
    pub fn set_group(&self, gid: u32) -> io::Result<()> {
        set_group(self.file(), gid)
    }

    /// Gives the file another owner, which only root may.
    pub fn set_owner(&self, uid: u32) -> io::Result<()> {
        if uid == u32::MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such user id"));
        }
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        Ok(rustix::fs::chownat(self.file(), "", owner, None, AtFlags::EMPTY_PATH)?)
    }

    /// The file's group now: to see that somebody else has changed it.
    pub fn group(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.file)?.st_gid)
    }

    /// Sets the mode, listens, and moves the socket to its name: where nothing is, or in the place
    /// of what may be replaced. Only the lower nine bits of `mode` count.
    pub fn publish(self, mode: u32, backlog: i32, over: Option<Replaceable>) -> Result<Listener, BirthError> {
        set_mode(self.file(), mode).map_err(|e| BirthError::io("set the mode", e))?;
        rustix::net::listen(&self.socket, backlog).map_err(|e| BirthError::io("listen", e))?;
        // Made before the move: afterwards nothing may fail, or a dead file would stay.
        let listener = self.listener().map_err(|e| BirthError::io("listen", e))?;
        match over {
            None => self.move_to_name()?,
            Some(old) => self.replace(&old)?,
        }
        Ok(listener)
    }

    fn listener(&self) -> io::Result<Listener> {
        let file = OwnedSocketFile::new(&self.place, self.file.try_clone()?)?;
        Ok(Listener::new(self.socket.try_clone()?, file, self.place.path()))
    }

    fn move_to_name(&self) -> Result<(), BirthError> {
        self.scratch.move_out(&self.inner, self.place.name()).map_err(|error| match error {
            Errno::EXIST => BirthError::Exists,
            error => BirthError::io("move the socket to its name", error),
        })
    }

    /// Changes places with the old socket, then looks at what came out.
    fn replace(&self, old: &Replaceable) -> Result<(), BirthError> {
        let name = self.place.name();
        match self.scratch.exchange(&self.inner, name) {
            Ok(()) => {}
            Err(Errno::NOENT) => return self.move_to_name(),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Err(BirthError::NoExchange),
            Err(error) => return Err(BirthError::io("replace the old socket", error)),
        }
        let step = |error| BirthError::io("replace the old socket", error);
        if is_name_of(self.scratch.as_fd(), &self.inner, &old.file).map_err(step)? {
            // In the private directory it cannot have been replaced since the look.
            return unlink(self.scratch.as_fd(), &self.inner).map_err(step);
        }
        // Something else came out: it goes back, and ours with it.
        if self.scratch.exchange(&self.inner, name).is_ok()
            && is_name_of(self.scratch.as_fd(), &self.inner, &self.file).map_err(step)?
        {
            return Err(BirthError::Changed);
        }
        // Somebody moved ours away from the name in that moment. What lies in the private
        // directory is of others: it goes out again.
        match self.scratch.put_back(&self.inner, name).map_err(step)? {
            None => Err(BirthError::Changed),
            Some(aside) => Err(BirthError::Displaced(aside)),
        }
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        // After publishing, or with something of others in it, the name is not ours.
        if is_name_of(self.scratch.as_fd(), &self.inner, &self.file).unwrap_or(false) {
            let _ = unlink(self.scratch.as_fd(), &self.inner);
        }
    }
}

/// Changes the group of a socket file through its O_PATH descriptor.
///
/// For the monitor, which got the descriptor from a helper: refuses anything but a socket that
/// belongs to `owner` and has one name only (no hard link to another socket of that user).
pub fn set_group_of(file: BorrowedFd<'_>, owner: u32, gid: u32) -> io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    let socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    if !socket || stat.st_uid != owner || stat.st_nlink != 1 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not a new socket of that user"));
    }
    set_group(file, gid)
}

fn set_group(file: BorrowedFd<'_>, gid: u32) -> io::Result<()> {
    if gid == u32::MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such group id"));
    }
    rustix::fs::chownat(file, "", None, Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)?;
    if rustix::fs::fstat(file)?.st_gid == gid {
        Ok(())
    } else {
        Err(io::Error::other("the group did not change"))
    }
}

/// fchmod(2) refuses O_PATH descriptors and fchmodat2(2) takes them from Linux 6.6 on; chmod(2) by
/// the descriptor's path works everywhere.
fn set_mode(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let mode = mode & MODE_BITS;
    let bits = Mode::from_raw_mode(mode);
    rustix::fs::chmod(proc_path(file), bits)?;
    let now = rustix::fs::fstat(file)?.st_mode & 0o7777;
    if now == mode { Ok(()) } else { Err(io::Error::other("the mode did not change")) }
}
