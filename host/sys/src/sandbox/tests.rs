//! From inside the cage: each forbidden call kills, the rest is refused, and a worker's work goes on.

use super::calls::{ALLOWED, KILLED, KILLED_HERE};
use super::*;
use crate::fd;
use crate::link::Link;
use crate::spawn::Exit;
use crate::testing::{Ended, in_child};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

fn caged(body: impl FnOnce()) -> Ended {
    in_child(|| {
        crate::signal::ignore_sigpipe();
        crate::limits::no_core_files().unwrap();
        harden_worker(Links::Any).unwrap();
        body();
    })
}

/// A call with harmless arguments; the errno, or 0.
fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> i32 {
    let [a, b, c, d] = arguments;
    // SAFETY: the tests pass numbers and null pointers, which the kernel checks.
    let rc = unsafe { libc::syscall(number, a, b, c, d, 0, 0) };
    if rc < 0 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

fn long(value: i32) -> libc::c_long {
    value.into()
}

#[test]
fn every_named_call_kills() {
    for number in KILLED.iter().chain(KILLED_HERE) {
        let ended = caged(|| {
            call(*number, [-1, 0, 0, 0]);
        });
        assert!(
            matches!(ended.0, Exit::Signal { number: libc::SIGSYS, .. }),
            "system call {number}: {:?}",
            ended.0
        );
    }
}

fn caged_gate(body: impl FnOnce()) -> Ended {
    in_child(|| {
        crate::signal::ignore_sigpipe();
        crate::limits::no_core_files().unwrap();
        let (helper, _other) = Link::pair().unwrap();
        harden_gate(helper.as_fd()).unwrap();
        helper.send(b"end", None).unwrap();
        body();
    })
}

#[test]
fn a_gate_does_its_work_and_nothing_else() {
    for number in KILLED.iter().chain(KILLED_HERE).filter(|number| **number != libc::SYS_sendto) {
        let ended = caged_gate(|| {
            call(*number, [-1, 0, 0, 0]);
        });
        assert!(matches!(ended.0, Exit::Signal { number: libc::SIGSYS, .. }), "{number}: {:?}", ended.0);
    }
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let (_from, stdout) = std::os::unix::net::UnixStream::pair().unwrap();
    caged_gate(|| {
        let stream = crate::stream::Stream::shared(stdout.into());
        assert_eq!(stream.write(b"x").unwrap(), 1);
        assert!(ours.send(b"x").is_ok());
    })
    .success();
    caged_gate(|| {
        let _ = theirs.send_to(b"x", "/nowhere");
    })
    .killed_by(libc::SIGSYS);
}

#[test]
fn the_lists_do_not_overlap() {
    for number in ALLOWED {
        assert!(!KILLED.contains(number) && !KILLED_HERE.contains(number), "{number}");
    }
}

#[test]
fn unknown_calls_are_refused_without_harm() {
    caged(|| {
        for number in
            [libc::SYS_getcwd, libc::SYS_dup, libc::SYS_pipe2, libc::SYS_prctl, libc::SYS_recvfrom, 461, 9999]
        {
            assert_eq!(call(number, [0; 4]), libc::ENOSYS, "{number}");
        }
    })
    .success();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x32_calls_kill() {
    // read(2) by its x32 number.
    caged(|| {
        call(0x4000_0000, [-1, 0, 0, 0]);
    })
    .killed_by(libc::SIGSYS);
}

#[test]
fn executable_memory_and_signals_to_others_kill() {
    let rwx = long(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    let private = long(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    caged(|| {
        call(libc::SYS_mmap, [0, 4096, rwx, private]);
    })
    .killed_by(libc::SIGSYS);
    caged(|| {
        call(libc::SYS_mprotect, [0, 4096, rwx, 0]);
    })
    .killed_by(libc::SIGSYS);
    caged(|| {
        call(libc::SYS_tgkill, [1, 1, 0, 0]);
    })
    .killed_by(libc::SIGSYS);
    // The high half of the register does not hide the bit.
    caged(|| {
        call(libc::SYS_mprotect, [0, 4096, rwx | 1 << 40, 0]);
    })
    .killed_by(libc::SIGSYS);
}

#[test]
fn flags_and_options_are_limited() {
    let (socket, _peer) = crate::unix::pair().unwrap();
    let (pipe, _w) = fd::pipe().unwrap();
    let (s, p) = (long(socket.as_raw_fd()), long(pipe.as_raw_fd()));
    let mut value = [0_i32, 4];
    let pointer = value.as_mut_ptr() as libc::c_long;
    let null_fd = fd::dev_null().unwrap();
    let file = long(null_fd.as_raw_fd());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let t = long(client.as_raw_fd());
    caged(|| {
        fd::set_nonblocking(&socket, false).unwrap();
        fd::set_nonblocking(&socket, true).unwrap();
        assert_eq!(call(libc::SYS_fcntl, [s, long(libc::F_SETFL), long(libc::O_ASYNC), 0]), libc::ENOSYS);
        for command in
            [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_SETOWN, libc::F_SETPIPE_SZ, libc::F_SETLK]
        {
            assert_eq!(call(libc::SYS_fcntl, [s, long(command), 0, 0]), libc::ENOSYS, "{command}");
        }
        assert_eq!(fd::readable_bytes(&pipe).unwrap(), 0);
        assert_eq!(call(libc::SYS_ioctl, [p, libc::FIOASYNC as libc::c_long, 0, 0]), libc::ENOSYS);
        assert_eq!(call(libc::SYS_ioctl, [p, libc::TIOCSTI as libc::c_long, 0, 0]), libc::ENOSYS);
        crate::tcp::set_nodelay(&client).unwrap();
        crate::tcp::set_notsent_lowat(&client, 4096).unwrap();
        crate::tcp::round_trip_time(&client).unwrap();
        rustix::net::sockopt::socket_error(&client).unwrap().unwrap();
        for (level, name) in [(libc::IPPROTO_TCP, libc::TCP_ULP), (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER)]
        {
            let arguments = [t, long(level), long(name), pointer];
            assert_eq!(call(libc::SYS_setsockopt, arguments), libc::ENOSYS);
            assert_eq!(call(libc::SYS_getsockopt, arguments), libc::ENOSYS);
        }
        // A mapping of a file, executable or not.
        assert_eq!(
            call(libc::SYS_mmap, [0, 4096, long(libc::PROT_READ), long(libc::MAP_PRIVATE)]),
            libc::ENOSYS
        );
        assert!(fd::read(&null_fd, &mut [0; 1]).is_ok() && file > 2);
    })
    .success();
}

#[test]
fn descriptors_come_over_the_given_links_alone() {
    let (inside, outside) = Link::pair().unwrap();
    let (other, other_end) = Link::pair().unwrap();
    for end in [&outside, &other_end] {
        end.send(b"message", Some(outside.as_fd())).unwrap();
    }
    in_child(|| {
        harden_worker(Links::Only(&[inside.as_fd()])).unwrap();
        assert!(inside.recv(&mut [0; 64]).unwrap().unwrap().fd.is_some());
        inside.send_plain(b"answer").unwrap();
    })
    .success();
    in_child(|| {
        crate::limits::no_core_files().unwrap();
        harden_worker(Links::Only(&[inside.as_fd()])).unwrap();
        let _ = other.recv(&mut [0; 64]);
    })
    .killed_by(libc::SIGSYS);
    in_child(|| {
        crate::limits::no_core_files().unwrap();
        harden_worker(Links::Only(&[])).unwrap();
        let _ = inside.recv(&mut [0; 64]);
    })
    .killed_by(libc::SIGSYS);
    assert_eq!(outside.recv(&mut [0; 64]).unwrap().unwrap().len, 6);
}

#[test]
fn a_passed_connection_cannot_be_turned_elsewhere() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let passed = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // connect(AF_UNSPEC) frees the socket, so that it can be connected to something else.
    let unspecified = [0_u8; 16];
    caged(|| {
        let arguments = [long(passed.as_raw_fd()), unspecified.as_ptr() as libc::c_long, 16, 0];
        call(libc::SYS_connect, arguments);
    })
    .killed_by(libc::SIGSYS);
}

#[test]
fn the_event_loop_memory_and_randomness_work() {
    let (inside, outside) = Link::pair().unwrap();
    let mut poll = mio::Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), mio::Token(1)).unwrap();
    let (stream, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    outside.send(b"a descriptor", Some(stream.as_fd())).unwrap();
    drop(stream);
    in_child(move || {
        crate::signal::ignore_sigpipe();
        harden_worker(Links::Only(&[inside.as_fd()])).unwrap();
        let mut events = mio::Events::with_capacity(16);
        poll.registry()
            .register(
                &mut mio::unix::SourceFd(&inside.as_fd().as_raw_fd()),
                mio::Token(0),
                mio::Interest::READABLE,
            )
            .unwrap();
        poll.poll(&mut events, None).unwrap();
        let passed = inside.recv(&mut [0; 64]).unwrap().unwrap().fd.unwrap();
        fd::set_nonblocking(&passed, true).unwrap();
        poll.registry()
            .register(&mut mio::unix::SourceFd(&passed.as_raw_fd()), mio::Token(2), mio::Interest::WRITABLE)
            .unwrap();
        poll.poll(&mut events, Some(std::time::Duration::from_millis(1))).unwrap();
        waker.wake().unwrap();
        poll.poll(&mut events, None).unwrap();
        // Small and large growth: brk, mmap, mremap, madvise.
        let mut grown: Vec<u8> = Vec::new();
        for size in [10, 10_000, 1_000_000, 50_000_000] {
            grown.resize(size, 1);
            grown.shrink_to_fit();
        }
        drop(grown);
        let map: std::collections::HashMap<u32, u32> = (0..1000).map(|n| (n, n)).collect();
        assert_eq!(map.len(), 1000);
        assert_ne!(crate::random_u64().unwrap(), crate::random_u64().unwrap());
        let later = std::time::Instant::now() + std::time::Duration::from_millis(1);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(std::time::Instant::now() > later && crate::time::unix_seconds() > 0);
        fd::write_vectored(&passed, &[io::IoSlice::new(b"out"), io::IoSlice::new(b"wards")]).unwrap();
        rustix::net::shutdown(&passed, rustix::net::Shutdown::Write).unwrap();
        poll.registry().deregister(&mut mio::unix::SourceFd(&passed.as_raw_fd())).unwrap();
        // The reader is gone: an error, not a signal.
        let (gone, written) = (std::mem::ManuallyDrop::new(passed), fd::write(&inside, b""));
        assert!(written.is_ok() && fd::write(&*gone, b"x").is_err());
    })
    .success();
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "outwards");
}

#[test]
fn an_abort_and_a_panic_end_as_they_should() {
    caged(|| std::process::abort()).killed_by(libc::SIGABRT);
    assert_eq!(caged(|| panic!("this message is part of a test")).0, Exit::Code(101));
}

#[test]
fn landlock_is_on_where_the_kernel_has_it() {
    in_child(|| {
        let report = landlock_all().unwrap();
        let refused = std::fs::read_dir("/etc").is_err();
        assert_eq!(refused, report != Landlock::None, "{report}");
        if report != Landlock::None {
            let listener = std::net::TcpListener::bind("127.0.0.1:0");
            assert!(listener.is_err() || report == Landlock::Partial);
        }
    })
    .success();
}
