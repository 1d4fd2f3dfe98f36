//! The network side of a session: one descriptor both ways, or two one-way ones (a proxy command, `-i`, the gate).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use sockward_sys::stream::Stream;

use crate::halves::{Read, Source};

/// The descriptors SSH packets travel on.
#[derive(Debug)]
pub struct Net {
    fds: Fds,
    pub(crate) source: Source,
    pub(crate) writable: bool,
}

#[derive(Debug)]
enum Fds {
    /// Non-blocking; none where the one read from is written to.
    Own(OwnedFd, Option<OwnedFd>),
    /// Inherited ones, whose flags are others' too.
    Shared(Box<(Stream, Stream)>),
}

impl Net {
    /// A socket, non-blocking.
    #[must_use]
    pub fn socket(fd: OwnedFd) -> Self {
        Net::new(Fds::Own(fd, None))
    }

    /// Two descriptors, non-blocking.
    #[must_use]
    pub fn pair(read: OwnedFd, write: OwnedFd) -> Self {
        Net::new(Fds::Own(read, Some(write)))
    }

    /// Two streams that others may hold too; they must be of a kind that epoll takes.
    #[must_use]
    pub fn shared(read: Stream, write: Stream) -> Self {
        Net::new(Fds::Shared(Box::new((read, write))))
    }

    fn new(fds: Fds) -> Self {
        Net { fds, source: Source::default(), writable: true }
    }

    /// What is read from.
    #[must_use]
    pub fn read_fd(&self) -> BorrowedFd<'_> {
        match &self.fds {
            Fds::Own(read, _) => read.as_fd(),
            Fds::Shared(streams) => streams.0.as_fd(),
        }
    }

    /// What is written to, where that is another descriptor.
    #[must_use]
    pub fn write_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.fds {
            Fds::Own(_, write) => write.as_ref().map(AsFd::as_fd),
            Fds::Shared(streams) => Some(streams.1.as_fd()),
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let Net { fds, source, .. } = self;
        match fds {
            Fds::Own(read, _) => source.read(read.as_fd(), &mut [io::IoSliceMut::new(buffer)]),
            Fds::Shared(streams) => match streams.0.read(buffer) {
                Ok(0) => Read::End,
                // A short read does not tell that nothing is left: the next one does.
                Ok(n) => Read::Some(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    source.readable = false;
                    Read::Empty
                }
                Err(_) => Read::Broken,
            },
        }
    }

    /// Writes what goes; none = the peer is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Option<usize> {
        let fd = match &self.fds {
            Fds::Own(read, write) => write.as_ref().unwrap_or(read),
            Fds::Shared(streams) => {
                let written = write_all(&streams.1, bytes)?;
                self.writable = written == bytes.len();
                return Some(written);
            }
        };
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

/// Until nothing more is taken: only then does the poller tell of room.
fn write_all(to: &Stream, bytes: &[u8]) -> Option<usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match to.write(rest) {
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    Some(written)
}
