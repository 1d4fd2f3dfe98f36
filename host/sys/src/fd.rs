//! Descriptors: flags, pipes, /dev/null, plain reads and writes, and taking over the inherited ones.
//! Reading files safely is `file`'s business.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::FdFlags;

/// Sets or clears O_NONBLOCK. Never on an inherited descriptor: the flag is shared with whoever
/// holds a copy (a shell's terminal breaks).
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let old = rustix::fs::fcntl_getfl(&fd)?;
    let mut new = old;
    new.set(OFlags::NONBLOCK, on);
    if new != old {
        rustix::fs::fcntl_setfl(&fd, new)?;
    }
    Ok(())
}

/// A pipe as (read end, write end), both close-on-exec and blocking.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// /dev/null, open for reading and writing.
pub fn dev_null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// A duplicate, close-on-exec, at the lowest free number not below 3.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Makes a pipe hold up to so many bytes, as far as this user may; it works with less, too.
pub fn grow_pipe(pipe: impl AsFd, bytes: usize) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, bytes);
}

/// Hands over standard output: the returned descriptor is the only one of this process, number 1 is /dev/null
/// from now on. So the reader sees the end when the descriptor is closed.
pub fn take_stdout() -> io::Result<OwnedFd> {
    let taken = duplicate(io::stdout())?;
    rustix::stdio::dup2_stdout(dev_null()?)?;
    Ok(taken)
}

/// Whether this is a socket.
pub fn is_socket(fd: impl AsFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

/// Whether epoll takes it: sockets, pipes, terminals and other character devices except the null
/// device. Regular files and directories need a blocking thread.
pub fn is_pollable(fd: impl AsFd) -> bool {
    use rustix::event::epoll;
    let Ok(probe) = epoll::create(epoll::CreateFlags::CLOEXEC) else { return false };
    epoll::add(&probe, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).is_ok()
}

/// read(2), and nothing else: the worker's sandbox has no recvfrom(2), which std's sockets use.
pub fn read(fd: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buf)?)
}

/// What a socket would give to read; it stays there. 0: the other end sends no more.
pub fn peek(socket: impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::net::recv(socket, buf, rustix::net::RecvFlags::PEEK)?.0)
}

/// write(2), and nothing else. SIGPIPE must be ignored ([`crate::signal::ignore_sigpipe`]).
pub fn write(fd: impl AsFd, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, buf)?)
}

/// readv(2).
pub fn read_vectored(fd: impl AsFd, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
    Ok(rustix::io::readv(fd, bufs)?)
}

/// writev(2); at most 1024 slices (IOV_MAX) are looked at.
pub fn write_vectored(fd: impl AsFd, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
    Ok(rustix::io::writev(fd, bufs.get(..1024).unwrap_or(bufs))?)
}

/// accept4(2), non-blocking and close-on-exec, with the peer's address.
///
/// Connections that ended before they were accepted are passed over.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, Option<rustix::net::SocketAddrAny>)> {
    use rustix::io::Errno;
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    loop {
        match rustix::net::acceptfrom_with(&listener, flags) {
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
            other => return Ok(other?),
        }
    }
}

/// Bytes that can be read at once (FIONREAD).
pub fn readable_bytes(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(fd)?)
}

/// Waits until something can be read or the other end is gone; false when `timeout` is over first.
///
/// For processes that serve one thing at a time; a loop has its poller.
pub fn wait_readable(fd: impl AsFd, timeout: std::time::Duration) -> io::Result<bool> {
    Ok(wait_any([fd.as_fd()], timeout)? != [false])
}

/// The same for two at once: which of them; neither when `timeout` is over first.
pub fn wait_readable_either(
    a: impl AsFd,
    b: impl AsFd,
    timeout: std::time::Duration,
) -> io::Result<(bool, bool)> {
    wait_any([a.as_fd(), b.as_fd()], timeout).map(|[a, b]| (a, b))
}

fn wait_any<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: std::time::Duration) -> io::Result<[bool; N]> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let end = std::time::Instant::now() + timeout;
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            other => {
                other?;
                return Ok(fds.each_ref().map(|fd| !fd.revents().is_empty()));
            }
        }
    }
}

/// The same without an end: for threads that have nothing else to do.
pub fn wait_readable_long(fd: impl AsFd) -> io::Result<()> {
    wait_long(fd, rustix::event::PollFlags::IN)
}

/// Waits until something can be read from one descriptor, or nobody reads what is written to another: false then.
/// For threads that have nothing else to do.
pub fn wait_readable_unless_broken(from: impl AsFd, to: impl AsFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        // Without a flag the end and errors are told.
        let mut fds = [PollFd::new(&from, PollFlags::IN), PollFd::new(&to, PollFlags::empty())];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(fds.iter().skip(1).all(|to| to.revents().is_empty())),
        }
    }
}

/// Waits until something can be written or the other end is gone: for threads that have nothing else to do.
pub fn wait_writable_long(fd: impl AsFd) -> io::Result<()> {
    wait_long(fd, rustix::event::PollFlags::OUT)
}

fn wait_long(fd: impl AsFd, what: rustix::event::PollFlags) -> io::Result<()> {
    use rustix::event::{PollFd, poll};
    loop {
        match poll(&mut [PollFd::new(&fd, what)], None) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

/// Takes over a descriptor that was open when this program was executed, by its agreed number.
///
/// Each number can be taken once. It must be open and not close-on-exec: whatever this process
/// opened itself is, so nothing that already has an owner is taken. Afterwards it is close-on-exec.
/// The numbers 0 to 2 cannot be taken; duplicate them.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if !(3..1024).contains(&number) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a number for inherited descriptors"));
    }
    let wrong = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("inherited descriptor {number} {what}"))
    };
    // SAFETY: `number` is not -1; the borrow ends before anything could close the number, and a
    // number that is not open makes the calls below fail with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(borrowed).map_err(|_| wrong("is not open"))?;
    if flags.contains(FdFlags::CLOEXEC) {
        return Err(wrong("is already taken"));
    }
    rustix::io::fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    // SAFETY: it was open without close-on-exec, so it came through exec and no owner in this
    // process has it; setting the flag above makes a second take fail.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn nonblocking_can_be_set_and_cleared() {
        let (r, _w) = pipe().unwrap();
        set_nonblocking(&r, true).unwrap();
        assert_eq!(read(&r, &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        set_nonblocking(&r, false).unwrap();
        assert!(!rustix::fs::fcntl_getfl(&r).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_wait_ends_with_something_to_read_or_in_time() {
        use std::time::Duration;
        let (r, w) = pipe().unwrap();
        assert!(!wait_readable(&r, Duration::from_millis(1)).unwrap());
        write(&w, b"x").unwrap();
        assert!(wait_readable(&r, Duration::from_secs(60)).unwrap());
        wait_readable_long(&r).unwrap();
        wait_writable_long(&w).unwrap();
        assert_eq!(read(&r, &mut [0; 4]).unwrap(), 1);
        drop(w);
        assert!(wait_readable(&r, Duration::from_secs(60)).unwrap());
    }

    #[test]
    fn standard_output_can_be_handed_over() {
        let (r, w) = pipe().unwrap();
        in_child(|| {
            rustix::stdio::dup2_stdout(&w).unwrap();
            let taken = take_stdout().unwrap();
            write(io::stdout(), b"lost").unwrap();
            write(&taken, b"kept").unwrap();
        })
        .success();
        grow_pipe(&r, 1 << 17);
        let mut buf = [0; 16];
        assert_eq!(read(&r, &mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"kept");
    }

    #[test]
    fn everything_opened_here_is_close_on_exec() {
        let (r, w) = pipe().unwrap();
        for fd in [dev_null().unwrap(), duplicate(&r).unwrap(), r, w] {
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn epoll_refuses_files_and_the_null_device() {
        let (r, _w) = pipe().unwrap();
        assert!(is_pollable(&r));
        assert!(!is_pollable(dev_null().unwrap()));
        assert!(!is_pollable(std::fs::File::open("/proc/self/exe").unwrap()));
        assert!(!is_socket(&r));
    }

    #[test]
    fn an_inherited_descriptor_is_taken_once() {
        in_child(|| {
            let (r, _w) = pipe().unwrap();
            let number = r.into_raw_fd();
            assert!(inherited(number).is_err(), "ours already");
            // SAFETY: the number was just given up by its owner.
            let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(borrowed, FdFlags::empty()).unwrap();
            let taken = inherited(number).unwrap();
            assert_eq!(taken.as_raw_fd(), number);
            assert!(inherited(number).is_err(), "taken before");
            assert!(inherited(900).is_err(), "not open");
            assert!(inherited(0).is_err());
        })
        .success();
    }

    #[test]
    fn a_longer_list_of_slices_is_cut_not_refused() {
        let (r, w) = pipe().unwrap();
        let one = [b'x'];
        let many: Vec<_> = (0..2000).map(|_| io::IoSlice::new(&one)).collect();
        assert_eq!(write_vectored(&w, &many).unwrap(), 1024);
        assert_eq!(readable_bytes(&r).unwrap(), 1024);
    }
}
