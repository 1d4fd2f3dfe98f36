//! A worker that has been taken over. The test plays the attacker: it stops a real worker of a real server and has
//! it make system calls of the test's choice (ptrace(2), with root's rights), so that what stands in the way is
//! just what stands there in production.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use sockward_sys::sandbox::killing_calls;
use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{
    Client, Kind, Origin, Running, Server, ServerSetup, Service, free_port, wait_until,
};

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The process is dead, by SIGSYS.
    Killed,
    /// What the kernel returned: a value, or an errno below zero.
    Returned(i64),
}

/// A stopped worker.
struct Captive {
    pid: Pid,
    alive: bool,
}

impl Captive {
    /// Stops a worker that waits for events.
    fn take(pid: i32) -> Self {
        let id = Pid::from_raw(pid);
        wait_until("the worker is caged and waits", || {
            let waits = status(pid, "State").is_some_and(|state| state.starts_with('S'));
            status(pid, "Seccomp").as_deref() == Some("2") && waits
        });
        ptrace::attach(id).unwrap();
        assert!(matches!(waitpid(id, None).unwrap(), WaitStatus::Stopped(_, Signal::SIGSTOP)));
        Captive { pid: id, alive: true }
    }

    /// Has it make one call.
    fn call(&mut self, number: i64, arguments: [u64; 4]) -> Fate {
        let saved = ptrace::getregs(self.pid).unwrap();
        let mut registers = saved;
        // It stands behind the instruction that waits for events.
        registers.rip -= 2;
        assert_eq!(self.peek(registers.rip), [0x0f, 0x05], "not a system call instruction");
        registers.rax = number.cast_unsigned();
        // Nothing is to be started again.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10] = arguments;
        (registers.r8, registers.r9) = (0, 0);
        ptrace::setregs(self.pid, registers).unwrap();
        ptrace::step(self.pid, None).unwrap();
        match waitpid(self.pid, None).unwrap() {
            WaitStatus::Signaled(_, Signal::SIGSYS, _) => {
                self.alive = false;
                Fate::Killed
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {
                let result = ptrace::getregs(self.pid).unwrap().rax.cast_signed();
                ptrace::setregs(self.pid, saved).unwrap();
                Fate::Returned(result)
            }
            other => panic!("system call {number}: {other:?}"),
        }
    }

    fn peek(&self, address: u64) -> [u8; 2] {
        let mut bytes = [0; 2];
        self.memory().read_exact_at(&mut bytes, address).unwrap();
        bytes
    }

    /// Puts bytes into its memory, where nothing of its own is, and tells where.
    fn poke(&self, bytes: &[u8]) -> u64 {
        let below = ptrace::getregs(self.pid).unwrap().rsp - 2048;
        self.memory().write_all_at(bytes, below).unwrap();
        below
    }

    fn memory(&self) -> std::fs::File {
        std::fs::File::options().read(true).write(true).open(format!("/proc/{}/mem", self.pid)).unwrap()
    }
}

impl Drop for Captive {
    fn drop(&mut self) {
        if self.alive {
            let _ = ptrace::kill(self.pid);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// A line of /proc/PID/status.
fn status(pid: i32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn workers(server: &Server) -> BTreeSet<i32> {
    let pid = server.pid().to_string();
    let out = Command::new("pgrep").args(["-P", &pid, "-f", "role=worker"]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

/// Connects, and takes the worker that is started for it.
fn fresh(server: &Server) -> (TcpStream, Captive) {
    let before = workers(server);
    let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut worker = None;
    wait_until("a worker is started", || {
        worker = workers(server).difference(&before).next().copied();
        worker.is_some()
    });
    (stream, Captive::take(worker.unwrap()))
}

/// The worker of a login with one forwarded connection under way.
fn busy() -> (Server, Running, TcpStream, Captive) {
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    let origin = Origin::tcp(Service::Echo);
    let port = free_port();
    let forward = format!("{port}:127.0.0.1:{}", origin.port);
    let client = Client::new(Kind::Ours, &server).args(["-L", &forward]).forward();
    wait_until("the port listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // What comes back has gone through the worker.
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let worker = workers(&server).into_iter().next().unwrap();
    wait_until("it has the descriptor", || sockets(worker).len() >= 4);
    let captive = Captive::take(worker);
    (server, client, stream, captive)
}

/// The numbers of a process's sockets.
fn sockets(pid: i32) -> Vec<u64> {
    let directory = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let is_socket =
        |path: &Path| std::fs::read_link(path).is_ok_and(|t| t.to_string_lossy().starts_with("socket:"));
    let entries = directory.flatten().filter(|e| is_socket(&e.path()));
    let mut numbers: Vec<u64> = entries.map(|e| e.file_name().to_string_lossy().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// The passed descriptor: the last that came.
fn passed(captive: &Captive) -> u64 {
    *sockets(captive.pid.as_raw()).last().unwrap()
}

#[test]
fn every_call_that_means_an_attack_kills() {
    if !as_root() {
        return;
    }
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    // The instrument itself: a call that is allowed comes back.
    let (_stream, mut captive) = fresh(&server);
    let pid = i64::from(captive.pid.as_raw());
    assert_eq!(captive.call(libc::SYS_getpid, [0; 4]), Fate::Returned(pid));
    assert_eq!(captive.call(libc::SYS_getcwd, [0; 4]), Fate::Returned(-i64::from(libc::ENOSYS)));
    drop(captive);
    let all: BTreeSet<i64> = killing_calls().collect();
    for named in [
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_open_by_handle_at,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_ptrace,
        libc::SYS_prlimit64,
        libc::SYS_execve,
        libc::SYS_clone,
    ] {
        assert!(all.contains(&named), "system call {named} is not on the list");
    }
    for number in all {
        let (_stream, mut captive) = fresh(&server);
        assert_eq!(captive.call(number, [u64::MAX, 0, 0, 0]), Fate::Killed, "system call {number}");
    }
}

#[test]
fn a_passed_connection_can_be_made_nothing_else_of() {
    if !as_root() {
        return;
    }
    // AF_UNSPEC would free the socket for another target; a listener would take what comes from anywhere.
    let unspecified = [0; 16];
    for number in [libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept4] {
        let (_server, _client, _stream, mut captive) = busy();
        let (fd, address) = (passed(&captive), captive.poke(&unspecified));
        if number == libc::SYS_listen {
            assert_eq!(captive.call(libc::SYS_shutdown, [fd, 2, 0, 0]), Fate::Returned(0));
        }
        assert_eq!(captive.call(number, [fd, address, 16, 0]), Fate::Killed, "system call {number}");
    }
    let (_server, _client, _stream, mut captive) = busy();
    let fd = passed(&captive);
    for (command, value) in [(libc::F_DUPFD, 0), (libc::F_DUPFD_CLOEXEC, 0), (libc::F_SETFL, libc::O_ASYNC)] {
        let arguments = [fd, u64::try_from(command).unwrap(), u64::try_from(value).unwrap(), 0];
        assert_eq!(captive.call(libc::SYS_fcntl, arguments), Fate::Returned(-i64::from(libc::ENOSYS)));
    }
    for number in [libc::SYS_dup, libc::SYS_dup3, libc::SYS_splice, libc::SYS_getpeername, libc::SYS_recvfrom]
    {
        let refused = Fate::Returned(-i64::from(libc::ENOSYS));
        assert_eq!(captive.call(number, [fd, 0, 0, 0]), refused, "system call {number}");
    }
    // Descriptors come over the links alone, whose numbers are known from the start.
    let header = captive.poke(&[0; 56]);
    assert_eq!(captive.call(libc::SYS_recvmsg, [fd, header, 0, 0]), Fate::Killed);
}

#[test]
fn a_worker_has_nothing_but_its_connection() {
    if !as_root() {
        return;
    }
    let (server, _client, _stream, captive) = busy();
    let pid = captive.pid.as_raw();
    let id = |name: &str| {
        let text = status(pid, name).unwrap();
        let ids: BTreeSet<u32> = text.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(ids.len(), 1, "{name}: {text}");
        ids.into_iter().next().unwrap()
    };
    assert!(id("Uid") != 0 && id("Uid") != server.user.uid && id("Gid") != 0);
    for (name, value) in [
        // No more than the gid.
        ("Groups", id("Gid").to_string().as_str()),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Threads", "1"),
    ] {
        assert_eq!(status(pid, name).as_deref(), Some(value), "{name}");
    }
    let root = format!("/proc/{pid}/root/");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "its root directory holds something");
    // Not traceable by others of its uid: what is its own in /proc is root's.
    let meta = std::fs::metadata(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 0);
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap();
        let target = target.to_string_lossy();
        let harmless =
            ["socket:", "anon_inode:[eventpoll]", "/dev/null", "pipe:"].iter().any(|w| target.starts_with(w));
        let is_stderr = entry.file_name() == "2";
        assert!(harmless || is_stderr, "descriptor {:?} is {target}", entry.file_name());
    }
    drop(captive);
}
