//! A listening Unix socket and its file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::owned::{OwnedSocketFile, Removal};

/// A socket that listens at a path. Dropped, it stops and removes its file if that is still ours.
#[derive(Debug)]
pub struct Listener {
    // Dropped in this order: the file goes while connections can still be made, not the reverse,
    // so that nobody finds it dead.
    file: OwnedSocketFile,
    socket: OwnedFd,
    path: Vec<u8>,
}

impl Listener {
    pub(super) fn new(socket: OwnedFd, file: OwnedSocketFile, path: Vec<u8>) -> Listener {
        Listener { file, socket, path }
    }

    /// The path without links at which it was published.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next connection, non-blocking and close-on-exec. `WouldBlock` when there is none;
    /// EMFILE and ENFILE mean that it waits in the backlog: stop asking for a while.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        crate::fd::accept(&self.socket).map(|(socket, _)| socket)
    }

    /// Stops listening and removes the file.
    pub fn close(self) -> io::Result<Removal> {
        self.file.remove()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
