//! The network side of a session: one descriptor both ways, or two one-way ones (a proxy command, `-i`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::halves::{Read, Source};

/// The descriptors SSH packets travel on. Non-blocking.
#[derive(Debug)]
pub struct Net {
    read: OwnedFd,
    /// None where the same descriptor is written to.
    write: Option<OwnedFd>,
    pub(crate) source: Source,
    pub(crate) writable: bool,
}

impl Net {
    /// A socket.
    #[must_use]
    pub fn socket(fd: OwnedFd) -> Self {
        Net { read: fd, write: None, source: Source::default(), writable: true }
    }

    /// Two descriptors.
    #[must_use]
    pub fn pair(read: OwnedFd, write: OwnedFd) -> Self {
        Net { read, write: Some(write), source: Source::default(), writable: true }
    }

    /// What is read from.
    #[must_use]
    pub fn read_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// What is written to, where that is another descriptor.
    #[must_use]
    pub fn write_fd(&self) -> Option<BorrowedFd<'_>> {
        self.write.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let Net { read, source, .. } = self;
        source.read(read.as_fd(), &mut [std::io::IoSliceMut::new(buffer)])
    }

    /// Writes what goes; none = the peer is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Option<usize> {
        let fd = self.write.as_ref().unwrap_or(&self.read);
        loop {
            return match rustix::io::write(fd, bytes) {
                Ok(n) => {
                    self.writable = n == bytes.len();
                    Some(n)
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    Some(0)
                }
                Err(_) => None,
            };
        }
    }
}
