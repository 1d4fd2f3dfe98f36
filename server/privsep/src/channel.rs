//! A link with types: what one end may say and what it may hear.

use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sockward_sys::link::{Link, MESSAGE_MAX};

/// Messages that wait for a peer that is behind. A peer that lets more pile up is given up.
const QUEUE_MAX: usize = 4096;
/// The same in bytes.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// One end of a link that says `Out` and hears `In`.
#[derive(Debug)]
pub struct Channel<Out, In> {
    link: Link,
    queue: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    queued_bytes: usize,
    /// Send with write(2): the sandboxed worker has no sendmsg(2).
    plain: bool,
    types: PhantomData<fn(Out) -> In>,
}

/// What a receive came to.
#[derive(Debug)]
pub enum Outcome<In> {
    /// A message, and the descriptor that came with it.
    Message(In, Option<OwnedFd>),
    /// Nothing now.
    Empty,
    /// The other end is gone.
    End,
}

impl<Out, In> Channel<Out, In> {
    /// A link with its types.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Channel { link, queue: VecDeque::new(), queued_bytes: 0, plain: false, types: PhantomData }
    }

    /// The worker's end, which sends without sendmsg(2) and so never a descriptor.
    #[must_use]
    pub fn plain(link: Link) -> Self {
        Channel { plain: true, ..Channel::new(link) }
    }
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// Says something, with a descriptor if one is given; what the peer does not take yet waits.
    ///
    /// Errors mean that the link is of no more use: the peer is gone, or has let too much pile up.
    pub fn say(&mut self, message: &Out, fd: Option<OwnedFd>) -> io::Result<()> {
        let bytes = postcard::to_allocvec(message).map_err(io::Error::other)?;
        if bytes.len() > MESSAGE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message is too long for its link"));
        }
        if self.queue.len() >= QUEUE_MAX || self.queued_bytes + bytes.len() > QUEUE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the other process does not keep up"));
        }
        self.queued_bytes += bytes.len();
        self.queue.push_back((bytes, fd));
        self.flush()
    }

    /// Messages that wait because the other end is behind. Whoever can choose says no more until it catches up.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// Sends what waits, as far as the peer takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, fd)) = self.queue.front() {
            let sent = match (self.plain, fd) {
                (true, None) => self.link.send_plain(bytes),
                (true, Some(_)) => return Err(io::Error::other("this end sends no descriptors")),
                (false, fd) => self.link.send(bytes, fd.as_ref().map(AsFd::as_fd)),
            };
            match sent {
                Ok(()) => {
                    self.queued_bytes -= bytes.len();
                    self.queue.pop_front();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Hears the next message. `buffer` holds [`MESSAGE_MAX`] bytes. Errors mean that the link is of no more use.
    pub fn hear(&mut self, buffer: &mut [u8]) -> io::Result<Outcome<In>> {
        let received = match self.link.recv(buffer) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(Outcome::End),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Outcome::Empty),
            Err(e) => return Err(e),
        };
        let bytes = buffer.get(..received.len).unwrap_or_default();
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Ok(Outcome::Message(message, received.fd)),
            Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not a message of this link")),
        }
    }

    /// A buffer for [`Self::hear`].
    #[must_use]
    pub fn buffer() -> Vec<u8> {
        vec![0; MESSAGE_MAX]
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::{Answer, Request};

    #[test]
    fn messages_and_their_descriptors_arrive_in_order_however_slow_the_peer() {
        let (a, b) = Link::pair().unwrap();
        let mut helper = Channel::<Answer, Request>::new(a);
        let mut worker = Channel::<Request, Answer>::plain(b);
        for id in 0..3000 {
            let (r, _w) = sockward_sys::fd::pipe().unwrap();
            helper.say(&Answer::Opened { id }, (id % 1000 == 0).then_some(r)).unwrap();
        }
        assert!(helper.backlog() > 0, "no peer takes that many unread");
        let mut buffer = Channel::<Request, Answer>::buffer();
        let mut next = 0;
        while next < 3000 {
            match worker.hear(&mut buffer).unwrap() {
                Outcome::Message(Answer::Opened { id }, fd) => {
                    assert_eq!((id, fd.is_some()), (next, next % 1000 == 0));
                    next += 1;
                }
                Outcome::Empty => helper.flush().unwrap(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(helper.backlog(), 0);
        drop(helper);
        assert!(matches!(worker.hear(&mut buffer).unwrap(), Outcome::End));
    }

    #[test]
    fn a_peer_that_never_reads_is_given_up() {
        let (a, _b) = Link::pair().unwrap();
        let mut helper = Channel::<Answer, Request>::new(a);
        let gave_up = (0..100_000).find_map(|id| helper.say(&Answer::Opened { id }, None).err());
        assert_eq!(gave_up.unwrap().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn garbage_is_an_error() {
        let (a, b) = Link::pair().unwrap();
        let mut worker = Channel::<Request, Answer>::new(b);
        let mut buffer = Channel::<Request, Answer>::buffer();
        for bytes in [&[255; 40][..], &[0], &[1, 255, 255, 255, 255, 255, 255, 255]] {
            a.send(bytes, None).unwrap();
            assert!(worker.hear(&mut buffer).is_err(), "{bytes:?}");
        }
        let mut good = postcard::to_allocvec(&Answer::Opened { id: 1 }).unwrap();
        good.push(0);
        a.send(&good, None).unwrap();
        assert!(worker.hear(&mut buffer).is_err(), "stray bytes pass");
    }
}
