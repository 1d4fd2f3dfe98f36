//! The two halves of a pump: a source that is read into channel data, a sink that channel data is written
//! to. Each ends on its own (half-close), and each knows the readiness the poller last told.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::queue::Queue;

/// Where bytes come from.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Something may be there to read.
    pub(crate) readable: bool,
    /// The other end has closed: read until the end, however short the reads.
    pub(crate) closed: bool,
    /// A short read says nothing: a terminal gives what it has in pieces. Read until nothing is there.
    pub(crate) to_the_last: bool,
    /// Nothing there is the end: whoever wrote is gone, and nobody waits for what others may still write.
    pub(crate) last: bool,
    /// Ended, or never there.
    pub(crate) done: bool,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Some(usize),
    /// Nothing now.
    Empty,
    /// The end.
    End,
    /// The other end broke off.
    Broken,
}

impl Source {
    pub(crate) fn is_ready(&self) -> bool {
        self.readable && !self.done
    }

    /// Reads once into the slices.
    pub(crate) fn read(&mut self, fd: BorrowedFd<'_>, slices: &mut [IoSliceMut<'_>]) -> Read {
        let room: usize = slices.iter().map(|s| s.len()).sum();
        if room == 0 {
            return Read::Empty;
        }
        loop {
            return match rustix::io::readv(fd, slices) {
                Ok(0) => Read::End,
                Ok(n) => {
                    // Less than asked for: nothing is left, and the poller will tell of more. Not so after a
                    // hang-up, which it has told already.
                    self.readable = n == room || self.closed || self.to_the_last;
                    Read::Some(n)
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) if self.last => Read::End,
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    Read::Empty
                }
                // A terminal whose last user is gone says EIO: that is its end.
                Err(Errno::IO) => Read::End,
                Err(_) => Read::Broken,
            };
        }
    }
}

/// Where bytes go.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) queue: Queue,
    pub(crate) writable: bool,
    pub(crate) state: SinkState,
}

/// How far a sink has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinkState {
    Open,
    /// No more will come: ends when the queue is empty.
    Ending,
    /// Ended; what still comes is thrown away.
    Done,
}

impl Default for Sink {
    fn default() -> Self {
        Sink { queue: Queue::default(), writable: true, state: SinkState::Open }
    }
}

/// The reader of a sink is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Sink {
    pub(crate) fn is_done(&self) -> bool {
        self.state == SinkState::Done
    }

    /// Whether it holds something back, be it only its end.
    pub(crate) fn wants_to_write(&self) -> bool {
        self.state == SinkState::Ending || !self.queue.is_empty()
    }

    /// Nothing more will come: ends when the queue is empty.
    pub(crate) fn no_more(&mut self) {
        if self.state == SinkState::Open {
            self.state = SinkState::Ending;
        }
    }

    /// Ends at once. Returns how many bytes are lost.
    pub(crate) fn finish(&mut self) -> usize {
        self.state = SinkState::Done;
        std::mem::take(&mut self.queue).pending().len()
    }

    /// Writes what the reader takes now and queues the rest. Returns how many bytes of old and new the reader took.
    pub(crate) fn push(
        &mut self,
        fd: Option<BorrowedFd<'_>>,
        slices: &[IoSlice<'_>],
    ) -> Result<usize, Broken> {
        if self.is_done() {
            return Ok(slices.iter().map(|s| s.len()).sum());
        }
        let Some(fd) = fd.filter(|_| self.queue.is_empty() && self.writable) else {
            self.queue.append(slices, 0);
            return Ok(0);
        };
        let written = attempt(|| rustix::io::writev(fd, slices))?;
        if written < slices.iter().map(|s| s.len()).sum() {
            self.writable = false;
            self.queue.append(slices, written);
        }
        Ok(written)
    }

    /// Writes what is queued. Returns how many bytes the reader took.
    pub(crate) fn drain(&mut self, fd: BorrowedFd<'_>) -> Result<usize, Broken> {
        let mut total = 0;
        while self.writable && !self.queue.is_empty() {
            let pending = self.queue.pending();
            let written = attempt(|| rustix::io::write(fd, pending))?;
            self.writable = written == pending.len();
            self.queue.advance(written);
            total += written;
        }
        Ok(total)
    }
}

/// One write; 0 = the reader takes nothing now.
fn attempt(mut call: impl FnMut() -> rustix::io::Result<usize>) -> Result<usize, Broken> {
    loop {
        return match call() {
            Ok(n) => Ok(n),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(0),
            Err(_) => Err(Broken),
        };
    }
}
