//! A link: one end of a SOCK_SEQPACKET socketpair between two of our processes.
//!
//! A message is bytes, at most [`MESSAGE_MAX`], and at most one descriptor. What the bytes mean is
//! `privsep`'s business. The other end may be taken over: everything received is checked here, and
//! whatever is wrong with a message closes every descriptor that came with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};

/// The most bytes of one message. Above what a message needs (the hash input of a key exchange with
/// two KEXINITs of 35000 bytes, a descriptor's facts), below what Linux sends by default.
pub const MESSAGE_MAX: usize = 128 * 1024;

/// Room for this many descriptors, so that a second one is seen, and refused, rather than cut.
const DESCRIPTOR_ROOM: usize = 4;

/// One end of a link.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the buffer are the message; never 0.
    pub len: usize,
    /// The descriptor that came with it, close-on-exec.
    pub fd: Option<OwnedFd>,
}

impl Link {
    /// A new link's two ends, close-on-exec and non-blocking. The flags belong to each end alone.
    pub fn pair() -> io::Result<(Link, Link)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        for end in [&a, &b] {
            // Two full messages fit; the kernel doubles the value for its own bookkeeping and
            // caps it at wmem_max, whose default is above one message.
            sockopt::set_socket_send_buffer_size(end, 2 * MESSAGE_MAX)?;
        }
        Ok((Link(a), Link(b)))
    }

    /// Takes a descriptor that should be the end of a link: inherited, or received over another.
    /// Anything but a Unix SOCK_SEQPACKET socket is refused.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Link> {
        let refused = || io::Error::new(io::ErrorKind::InvalidInput, "descriptor is not a link");
        let domain = sockopt::socket_domain(&fd).map_err(|_| refused())?;
        let kind = sockopt::socket_type(&fd).map_err(|_| refused())?;
        if domain == AddressFamily::UNIX && kind == SocketType::SEQPACKET {
            Ok(Link(fd))
        } else {
            Err(refused())
        }
    }

    /// Makes [`Link::recv`] and the sends wait, or not.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        crate::fd::set_nonblocking(self, on)
    }

    /// Sends a message, whole or not at all, with a descriptor if one is given.
    ///
    /// Errors: `WouldBlock` when the other end is behind; `InvalidInput` for an empty or too long
    /// message; `BrokenPipe` when the other end is gone.
    pub fn send(&self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        check_length(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let passed = fd.as_slice();
        if !passed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(passed)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        loop {
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a message with write(2): the sandboxed worker has no sendmsg(2). The process must
    /// ignore SIGPIPE. Errors as for [`Link::send`].
    pub fn send_plain(&self, message: &[u8]) -> io::Result<()> {
        check_length(message)?;
        loop {
            match rustix::io::write(&self.0, message) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives the next message into `buf`; `None` when the other end is closed and all it sent
    /// has been received. `buf` should hold [`MESSAGE_MAX`] bytes.
    ///
    /// Errors: `WouldBlock`; EMFILE when a descriptor came and this process has no number left for
    /// it (the message is lost); `InvalidData` for a message that is longer than `buf`, carries
    /// more than one descriptor or anything else but a descriptor. After any error but `WouldBlock`
    /// the link should be closed.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Option<Received>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_ROOM))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut reset_seen = false;
        let message = loop {
            let mut iov = [IoSliceMut::new(buf)];
            match rustix::net::recvmsg(&self.0, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                // The other end closed with messages of ours unread. Linux says so once, before it
                // hands out what the other end had sent.
                Err(Errno::CONNRESET) if !reset_seen => reset_seen = true,
                Err(error) => return Err(error.into()),
            }
        };
        // Taken out first: from here on every way out closes them.
        let mut descriptors = Vec::new();
        let mut stray = false;
        for part in control.drain() {
            match part {
                RecvAncillaryMessage::ScmRights(fds) => descriptors.extend(fds),
                _ => stray = true,
            }
        }
        if message.flags.contains(ReturnFlags::TRUNC) {
            return Err(garbage("message is too long"));
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            // With room for four, nothing received but something cut means no free number.
            return Err(if descriptors.is_empty() {
                Errno::MFILE.into()
            } else {
                garbage("too many descriptors")
            });
        }
        if stray || descriptors.len() > 1 {
            return Err(garbage("more than one descriptor with a message"));
        }
        let fd = descriptors.pop();
        match (message.bytes, &fd) {
            (0, None) => Ok(None),
            (0, Some(_)) => Err(garbage("descriptor without a message")),
            (len, _) => Ok(Some(Received { len, fd })),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> OwnedFd {
        link.0
    }
}

/// An empty message would look like the end; a longer one would be refused by the receiver.
fn check_length(message: &[u8]) -> io::Result<()> {
    if message.is_empty() || message.len() > MESSAGE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message is empty or too long"));
    }
    Ok(())
}

fn garbage(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alone, in_child};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// What a hostile end can do with sendmsg.
    fn send_raw(link: &Link, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = vec![MaybeUninit::uninit(); 4096];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        rustix::net::sendmsg(link, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    #[test]
    fn the_longest_message_fits_without_a_reader() {
        alone(|| {
            let (a, b) = Link::pair().unwrap();
            let message = vec![7; MESSAGE_MAX];
            a.send(&message, None).unwrap();
            let mut buf = vec![0; MESSAGE_MAX];
            let got = b.recv(&mut buf).unwrap().unwrap();
            assert_eq!((got.len, buf == message), (MESSAGE_MAX, true));
            assert_eq!(b.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!(
                a.send(&vec![0; MESSAGE_MAX + 1], None).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
            assert_eq!(a.send(b"", None).unwrap_err().kind(), io::ErrorKind::InvalidInput);
            assert_eq!(a.send_plain(b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        });
    }

    #[test]
    fn boundaries_are_kept_and_a_full_link_would_block() {
        alone(|| {
            let (a, b) = Link::pair().unwrap();
            let mut sent = 0;
            let error = loop {
                match a.send_plain(&[1; 3000]) {
                    Ok(()) => sent += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            let mut buf = [0; 4000];
            for _ in 0..sent {
                assert_eq!(b.recv(&mut buf).unwrap().unwrap().len, 3000);
            }
            assert!(b.recv(&mut buf).is_err());
        });
    }

    #[test]
    fn a_descriptor_arrives_close_on_exec() {
        alone(|| {
            let (a, b) = Link::pair().unwrap();
            let (r, w) = crate::fd::pipe().unwrap();
            a.send(b"x", Some(w.as_fd())).unwrap();
            drop(w);
            let got = b.recv(&mut [0; 16]).unwrap().unwrap().fd.unwrap();
            assert!(rustix::io::fcntl_getfd(&got).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            crate::fd::write(&got, b"through").unwrap();
            assert_eq!(crate::fd::read(&r, &mut [0; 16]).unwrap(), 7);
        });
    }

    #[test]
    fn what_was_sent_before_the_end_still_arrives() {
        alone(|| {
            let (a, b) = Link::pair().unwrap();
            b.send(b"unread by a", None).unwrap();
            a.send(b"last words", None).unwrap();
            drop(a);
            let mut buf = [0; 64];
            assert_eq!(b.recv(&mut buf).unwrap().unwrap().len, 10);
            assert!(b.recv(&mut buf).unwrap().is_none());
            assert!(b.recv(&mut buf).unwrap().is_none());
            assert_eq!(b.send(b"x", None).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn garbage_is_an_error_and_leaves_no_descriptor_open() {
        in_child(|| {
            let (a, b) = Link::pair().unwrap();
            let (r, _w) = crate::fd::pipe().unwrap();
            let open = open_descriptors();
            let mut buf = [0; 64];
            for count in [2, 3, 4, 5, 200] {
                send_raw(&a, b"x", &vec![r.as_fd(); count]);
                assert_eq!(b.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::InvalidData, "{count}");
            }
            send_raw(&a, b"", &[r.as_fd()]);
            assert_eq!(b.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::InvalidData);
            send_raw(&a, &[0; 65], &[r.as_fd()]);
            assert_eq!(b.recv(&mut buf).unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(open_descriptors(), open);
            send_raw(&a, b"fine", &[r.as_fd()]);
            assert_eq!(b.recv(&mut buf).unwrap().unwrap().len, 4);
        })
        .success();
    }

    #[test]
    fn a_full_descriptor_table_is_said_and_survived() {
        in_child(|| {
            let (a, b) = Link::pair().unwrap();
            let (r, _w) = crate::fd::pipe().unwrap();
            let maximum = getrlimit(Resource::Nofile).maximum;
            let next = rustix::io::dup(&r).unwrap();
            let limit = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&next)).unwrap();
            drop(next);
            setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
            let mut buf = [0; 64];
            a.send(b"lost", Some(r.as_fd())).unwrap();
            assert_eq!(b.recv(&mut buf).unwrap_err().raw_os_error(), Some(libc::EMFILE));
            a.send(b"plain", None).unwrap();
            assert_eq!(b.recv(&mut buf).unwrap().unwrap().len, 5);
        })
        .success();
    }

    #[test]
    fn only_links_are_taken_for_links() {
        alone(|| {
            let (a, _b) = Link::pair().unwrap();
            assert!(Link::from_fd(a.into()).is_ok());
            let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
            assert!(Link::from_fd(stream.into()).is_err());
            assert!(Link::from_fd(crate::fd::dev_null().unwrap()).is_err());
        });
    }
}
