//! Streams of bytes of any kind, read and written without waiting and without touching the flags of what was
//! inherited: O_NONBLOCK belongs to the open file, which a shell or another process may share. And splice(2),
//! which moves bytes between sockets and pipes inside the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::SpliceFlags;

/// What a pipe that poll(2) calls writable takes at least (PIPE_BUF).
const SURE: usize = 4096;

/// A descriptor and how it is kept from waiting.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    manner: Manner,
    kind: Kind,
}

/// How a descriptor is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// The open file is ours alone, and non-blocking.
    Own,
    /// A socket that others may hold too: each call says that it does not wait.
    SharedSocket,
    /// Anything else that others may hold: asked before each call. Writes are kept short.
    Shared,
}

/// What a stream is, as far as splice(2) and endings are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP socket, or any but a Unix one.
    Tcp,
    /// A Unix socket.
    Unix,
    /// A pipe or a FIFO.
    Pipe,
    /// A terminal.
    Terminal,
    /// A file, a device.
    File,
}

impl Stream {
    /// A descriptor of this process's own, non-blocking.
    #[must_use]
    pub fn own(fd: OwnedFd) -> Stream {
        let kind = kind(&fd);
        Stream { fd, manner: Manner::Own, kind }
    }

    /// A descriptor that others may hold too, such as standard input. A pipe is opened anew where this user may,
    /// which gives an open file of our own.
    #[must_use]
    pub fn shared(fd: OwnedFd) -> Stream {
        match kind(&fd) {
            kind @ (Kind::Tcp | Kind::Unix) => Stream { fd, manner: Manner::SharedSocket, kind },
            Kind::Pipe => match open_anew(fd.as_fd()) {
                Ok(own) => Stream { fd: own, manner: Manner::Own, kind: Kind::Pipe },
                Err(_) => Stream { fd, manner: Manner::Shared, kind: Kind::Pipe },
            },
            kind @ (Kind::Terminal | Kind::File) => Stream { fd, manner: Manner::Shared, kind },
        }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether splice(2) is of use: it moves pages, which is not right for files that change meanwhile, and it
    /// waits on sockets whose open file does.
    #[must_use]
    pub fn splices(&self) -> bool {
        self.manner == Manner::Own && !matches!(self.kind, Kind::Terminal | Kind::File)
    }

    /// Reads what is there. 0 is the end, `WouldBlock` nothing now.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        retry(|| match self.manner {
            Manner::Own => rustix::io::read(&self.fd, &mut *buf),
            Manner::SharedSocket => {
                rustix::net::recv(&self.fd, &mut *buf, RecvFlags::DONTWAIT).map(|(n, _)| n)
            }
            Manner::Shared => {
                self.ask(PollFlags::IN)?;
                rustix::io::read(&self.fd, &mut *buf)
            }
        })
    }

    /// Writes what is taken. `WouldBlock` is nothing now. SIGPIPE must be ignored.
    pub fn write(&self, buf: &[u8]) -> io::Result<usize> {
        retry(|| match self.manner {
            Manner::Own => rustix::io::write(&self.fd, buf),
            Manner::SharedSocket => {
                rustix::net::send(&self.fd, buf, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            Manner::Shared => {
                self.ask(PollFlags::OUT)?;
                rustix::io::write(&self.fd, buf.get(..SURE).unwrap_or(buf))
            }
        })
    }

    fn ask(&self, what: PollFlags) -> rustix::io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&self.fd, what)], Some(&now))? {
            0 => Err(rustix::io::Errno::AGAIN),
            _ => Ok(()),
        }
    }

    /// Tells the other end that no more will come. Closes anything but a socket.
    pub fn end(self) {
        if matches!(self.kind, Kind::Tcp | Kind::Unix) {
            end_writing(&self.fd);
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// shutdown(2) of a socket's sending direction. One whose other end is gone has nobody to tell.
pub fn end_writing(socket: impl AsFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// splice(2) from or to a pipe, not waiting on the pipe. 0 is the end, `WouldBlock` nothing now, `InvalidInput`
/// that the kernel has no splice for this.
pub fn splice(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    retry(|| rustix::pipe::splice(&from, None, &to, None, len, flags))
}

/// One descriptor to wait for, and for what.
#[derive(Debug)]
pub struct Wait<'a> {
    fd: PollFd<'a>,
}

impl<'a> Wait<'a> {
    /// Waits for the other end's end in any case.
    #[must_use]
    pub fn new(fd: &'a impl AsFd, read: bool, write: bool) -> Wait<'a> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        Wait { fd: PollFd::new(fd, flags) }
    }

    /// Whether both directions of a socket have ended, or it broke.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

/// Waits until one of them is ready or the time is over (false). For processes that serve one thing at a time;
/// takes what epoll(7) does not: files and /dev/null.
pub fn wait(waits: &mut [Wait<'_>], timeout: Option<std::time::Duration>) -> io::Result<bool> {
    let timeout = timeout.map(|t| Timespec::try_from(t).map_err(io::Error::other)).transpose()?;
    let mut fds: Vec<PollFd<'_>> = waits.iter().map(|wait| wait.fd.clone()).collect();
    let ready = match poll(&mut fds, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) => 1,
        other => other?,
    };
    waits.iter_mut().zip(fds).for_each(|(wait, fd)| wait.fd = fd);
    Ok(ready > 0)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn kind(fd: &OwnedFd) -> Kind {
    let Ok(stat) = rustix::fs::fstat(fd) else { return Kind::File };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => match rustix::net::sockopt::socket_domain(fd) {
            Ok(rustix::net::AddressFamily::UNIX) => Kind::Unix,
            Ok(_) | Err(_) => Kind::Tcp,
        },
        FileType::Fifo => Kind::Pipe,
        FileType::CharacterDevice if rustix::termios::isatty(fd) => Kind::Terminal,
        _ => Kind::File,
    }
}

/// A second open file of the same pipe, non-blocking. Refused to others than the pipe's maker.
fn open_anew(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let access = rustix::fs::fcntl_getfl(fd)? & OFlags::RWMODE;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(rustix::fs::open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::{duplicate, pipe, readable_bytes};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn is_nonblocking(fd: impl AsFd) -> bool {
        rustix::fs::fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    #[test]
    fn shared_streams_never_wait_and_keep_their_flags() {
        let (r, w) = pipe().unwrap();
        let (a, b) = UnixStream::pair().unwrap();
        let (input, output) =
            (Stream::shared(duplicate(&r).unwrap()), Stream::shared(duplicate(&w).unwrap()));
        let socket = Stream::shared(duplicate(&a).unwrap());
        for stream in [&input, &socket] {
            let error = stream.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{stream:?}");
        }
        while output.write(&[1; 9000]).is_ok() {}
        while socket.write(&[1; 9000]).is_ok() {}
        assert!(!is_nonblocking(&r) && !is_nonblocking(&w) && !is_nonblocking(&a));
        assert!(readable_bytes(&r).unwrap() >= 9000 && readable_bytes(&b).unwrap() >= 9000);
    }

    #[test]
    fn a_shared_pipe_that_cannot_be_opened_anew_does_not_wait_either() {
        let (r, w) = pipe().unwrap();
        let shared =
            |fd: &OwnedFd| Stream { fd: duplicate(fd).unwrap(), manner: Manner::Shared, kind: Kind::Pipe };
        assert_eq!(shared(&r).read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let output = shared(&w);
        while output.write(&[1; 70_000]).is_ok() {}
        drop((output, w));
        let mut all = Vec::new();
        std::fs::File::from(r).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 65_536);
    }

    #[test]
    fn files_and_dev_null_are_read_to_their_end() {
        let null = Stream::shared(crate::fd::dev_null().unwrap());
        assert_eq!((null.read(&mut [0; 8]).unwrap(), null.write(b"x").unwrap()), (0, 1));
        let file = Stream::shared(std::fs::File::open("/proc/self/comm").unwrap().into());
        assert!(file.read(&mut [0; 64]).unwrap() > 0 && !file.splices());
    }

    #[test]
    fn ends_are_told_apart() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let mut waits = [Wait::new(&a, false, false)];
        assert!(!wait(&mut waits, Some(std::time::Duration::ZERO)).unwrap());
        b.write_all(b"x").unwrap();
        end_writing(&b);
        assert!(!wait(&mut waits, Some(std::time::Duration::ZERO)).unwrap(), "half an end is none");
        drop(b);
        assert!(wait(&mut waits, None).unwrap() && waits.iter().all(Wait::is_hung_up));
    }
}
