//! Connecting to a socket by the file that was looked at.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::link::Link;
use crate::path::{Place, open_place};

/// How many names a socket may have that is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any number.
    Any,
    /// The one that was asked for. A second one, a hard link, could be one that is not permitted.
    One,
}

/// Connects a stream socket, non-blocking and close-on-exec, to what is at a place.
///
/// The file is opened, checked to be a socket and then connected to by that descriptor, so that
/// nothing put there in between is reached. Never waits: a listener whose backlog is full is
/// `WouldBlock`, to be tried again later.
pub fn connect(place: &Place, names: Names) -> io::Result<OwnedFd> {
    connect_file(std::os::fd::AsFd::as_fd(&socket_file(place, names)?))
}

/// Whether this process has the right to connect to what is at a place, by its real ids. Nothing is connected: it is
/// not said whether anybody listens.
pub fn may_connect(place: &Place, names: Names) -> io::Result<()> {
    let file = socket_file(place, names)?;
    Ok(rustix::fs::access(proc_path(std::os::fd::AsFd::as_fd(&file)), rustix::fs::Access::WRITE_OK)?)
}

/// The same for a path as the kernel follows it ([`connect_path`]).
pub fn may_connect_path(path: &[u8]) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    check_socket(&rustix::fs::fstat(&file)?, Names::Any)?;
    Ok(rustix::fs::access(proc_path(std::os::fd::AsFd::as_fd(&file)), rustix::fs::Access::WRITE_OK)?)
}

/// Whether this process has the right to make a name at a place, by its real ids.
pub fn may_create(place: &Place) -> io::Result<()> {
    let directory = proc_path(std::os::fd::AsFd::as_fd(place.dir()));
    let rights = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::access(directory, rights)?)
}

/// What is at a place, if it is a socket.
fn socket_file(place: &Place, names: Names) -> io::Result<OwnedFd> {
    let file = open_place(place)?;
    check_socket(&rustix::fs::fstat(&file)?, names)?;
    Ok(file)
}

fn check_socket(stat: &rustix::fs::Stat, names: Names) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        // What connect(2) says of a file that is no socket.
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "not a socket"));
    }
    if names == Names::One && stat.st_nlink > 1 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the socket has a second name (a hard link)",
        ));
    }
    Ok(())
}

/// The same for a path as the kernel follows it, relative ones from the working directory: for a process that acts
/// for nobody but its own user, who may lead himself anywhere by links. Paths longer than an address work.
pub fn connect_path(path: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    connect_file(std::os::fd::AsFd::as_fd(&file))
}

/// Two connected stream sockets, non-blocking and close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Connects a [`Link`] to the listener at a path ([`super::Newborn::bind_links`]), as [`connect_path`] follows it.
pub fn connect_links(path: &[u8]) -> io::Result<Link> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Link::from_fd(connect_socket(socket(SocketType::SEQPACKET)?, std::os::fd::AsFd::as_fd(&file))?)
}

/// Connects to the socket file behind an O_PATH descriptor.
pub(super) fn connect_file(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    connect_socket(socket(SocketType::STREAM)?, file)
}

fn connect_socket(socket: OwnedFd, file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    rustix::net::connect(&socket, &SocketAddrUnix::new(proc_path(file))?)?;
    Ok(socket)
}

/// A new socket, non-blocking and close-on-exec.
pub(super) fn socket(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?)
}

/// The path by which a process names what it holds open; at most 24 bytes.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
