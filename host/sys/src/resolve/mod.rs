//! Names to addresses and back, without making anybody wait: the system's resolver blocks, so it
//! runs in a forked child that answers over a pipe. Literals and "localhost" need no child.
//!
//! The child is a copy of a process with one thread (helper, reader, monitor's look-up child); the
//! client, which has threads, uses [`forward_blocking`] on one of them.

mod ask;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ask::{ask_forward, ask_reverse};
use rustix::process::Pid;

use crate::spawn::Child;
use crate::{fd, signal};

/// A domain name has at most 255 bytes (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

/// The longest answer: the ids of two lists of 4096 names and of as many groups, 11 characters each. Addresses,
/// names and reasons are far shorter.
const ANSWER_MAX: usize = 192 * 1024;

/// Which addresses are wanted (AddressFamily).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Both.
    #[default]
    Any,
    /// IPv4 (`-4`).
    V4,
    /// IPv6 (`-6`).
    V6,
}

/// Why there is no answer: the resolver's own words, as "Name or service not known".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotResolved(pub String);

/// The addresses of a name, in the order to try them.
pub type Forward = Result<Vec<SocketAddr>, NotResolved>;

/// The name of an address, lower case, that leads back to the address; the error says why there is
/// none that does (UseDNS: the address then stands for itself).
pub type Reverse = Result<String, NotResolved>;

/// A look-up of addresses that may have its answer already.
#[derive(Debug)]
pub enum ForwardLookup {
    /// It has.
    Done(Forward),
    /// A child is asking.
    Pending(Pending<Vec<SocketAddr>>),
}

/// Looks up the addresses of a host. `port` is put into them.
pub fn forward(host: &str, port: u16, family: Family) -> io::Result<ForwardLookup> {
    if let Some(known) = without_asking(host, port, family) {
        return Ok(ForwardLookup::Done(known));
    }
    let host = host.to_owned();
    Ok(ForwardLookup::Pending(Pending::start(
        move || ask_forward(&host, port, family).map(|found| encode(&found)),
        decode,
    )?))
}

/// The same, waiting. For threads that have nothing else to do.
pub fn forward_blocking(host: &str, port: u16, family: Family) -> Forward {
    without_asking(host, port, family).unwrap_or_else(|| ask_forward(host, port, family))
}

/// The TCP port of a service of the system's table.
#[must_use]
pub fn service(name: &str) -> Option<u16> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: two NUL-terminated strings go in.
    let entry = unsafe { libc::getservbyname(name.as_ptr(), c"tcp".as_ptr()) };
    // SAFETY: null, or an entry that stands until the next such call, which no other thread of ours makes.
    let port = unsafe { entry.as_ref() }?.s_port;
    u16::try_from(port).ok().map(u16::from_be)
}

/// Looks up the name of an address, as OpenSSH does for UseDNS: the name's own addresses must hold
/// the address, and a name that looks like an address is refused.
pub fn reverse(address: IpAddr) -> io::Result<Pending<String>> {
    Pending::start(move || ask_reverse(address), |name| Some(name.to_owned()).filter(|name| !name.is_empty()))
}

/// A child that is asking. Readable ([`AsFd`]) when [`Pending::poll`] has something to do.
/// Dropped, the child is killed: a time limit is the caller's to keep.
#[derive(Debug)]
pub struct Pending<T> {
    child: Child,
    pipe: OwnedFd,
    received: Vec<u8>,
    decode: fn(&str) -> Option<T>,
}

impl<T> Pending<T> {
    /// Starts a child that answers with `ask`.
    pub(crate) fn start(
        ask: impl FnOnce() -> Result<String, NotResolved>,
        decode: fn(&str) -> Option<T>,
    ) -> io::Result<Pending<T>> {
        if has_other_threads() {
            return Err(io::Error::other("a process with threads cannot look up names in a child"));
        }
        let (pipe, out) = fd::pipe()?;
        fd::set_nonblocking(&pipe, true)?;
        let blocked = signal::AllBlocked::new()?;
        // SAFETY: this process has one thread, so the child may run any code.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            signal::reset_in_child();
            answer_and_leave(out, ask);
        }
        let error = io::Error::last_os_error();
        drop(blocked);
        let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Err(error) };
        Ok(Pending { child: Child::new(pid), pipe, received: Vec::new(), decode })
    }

    /// The answer, if it is there. After an answer or an error there is nothing more to poll.
    pub fn poll(&mut self) -> io::Result<Option<Result<T, NotResolved>>> {
        let mut buffer = [0; 1024];
        loop {
            match fd::read(&self.pipe, &mut buffer) {
                Ok(0) => break,
                Ok(n) => self.received.extend_from_slice(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.received.len() > ANSWER_MAX {
                return Err(io::Error::other("a name look-up's answer is too long"));
            }
        }
        let text = String::from_utf8_lossy(&self.received);
        if let Some(reason) = text.strip_prefix('-') {
            return Ok(Some(Err(NotResolved(reason.to_owned()))));
        }
        match text.strip_prefix('+').and_then(self.decode) {
            Some(answer) => Ok(Some(Ok(answer))),
            None => Ok(Some(Err(NotResolved("the look-up ended without an answer".into())))),
        }
    }
}

impl<T> AsFd for Pending<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's life. It holds on to nothing of the parent's: a link or a listener that stayed open
/// in a hanging look-up would outlive its process.
fn answer_and_leave(out: OwnedFd, ask: impl FnOnce() -> Result<String, NotResolved>) -> ! {
    let place = 3;
    // SAFETY: the parent's descriptors are copies here that nothing uses any more, and `out` is
    // used under its new number only.
    let moved = out.as_raw_fd() == place || unsafe { libc::dup2(out.as_raw_fd(), place) } == place;
    if moved {
        // SAFETY: as above. Kernels before 5.9 lack the call; then copies stay until the look-up ends.
        unsafe { libc::syscall(libc::SYS_close_range, place + 1, u32::MAX, 0) };
        let mut text = match ask() {
            Ok(answer) => format!("+{answer}"),
            Err(NotResolved(reason)) => format!("-{reason}"),
        };
        text.truncate(text.floor_char_boundary(ANSWER_MAX));
        // SAFETY: the number is the pipe's, as moved above; it is not closed twice, for the
        // child ends by _exit.
        let pipe = unsafe { BorrowedFd::borrow_raw(place) };
        let mut rest = text.as_bytes();
        while let Ok(n) = fd::write(pipe, rest) {
            rest = rest.get(n..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
    }
    std::mem::forget(out);
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(0) }
}

/// The link count of the directory is the number of threads and two.
fn has_other_threads() -> bool {
    rustix::fs::stat("/proc/self/task").is_ok_and(|stat| stat.st_nlink > 3)
}

fn encode(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| format!("{address}\n")).collect()
}

fn decode(text: &str) -> Option<Vec<SocketAddr>> {
    text.lines().map(|line| line.parse().ok()).collect()
}

/// What needs no resolver: literals, and the names that RFC 6761 §6.3 keeps on this machine.
#[must_use]
pub fn without_asking(host: &str, port: u16, family: Family) -> Option<Forward> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(only(vec![(address, port).into()], family));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        let both = [IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv4Addr::LOCALHOST)];
        return Some(only(both.map(|address| (address, port).into()).to_vec(), family));
    }
    if host.is_empty() || host.len() > NAME_MAX || host.contains('\0') {
        return Some(Err(NotResolved("not a host name".into())));
    }
    None
}

fn only(mut addresses: Vec<SocketAddr>, family: Family) -> Forward {
    addresses.retain(|address| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    });
    if addresses.is_empty() {
        Err(NotResolved("no address of the wanted family".into()))
    } else {
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;
    use rustix::event::{PollFd, PollFlags, poll};

    fn wait<T>(mut pending: Pending<T>) -> Result<T, NotResolved> {
        loop {
            if let Some(answer) = pending.poll().unwrap() {
                return answer;
            }
            poll(&mut [PollFd::new(&pending, PollFlags::IN)], None).unwrap();
        }
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn literals_and_localhost_need_no_look_up() {
        let known = |host, family| without_asking(host, 80, family);
        assert_eq!(known("192.0.2.1", Family::Any), Some(Ok(addresses(&["192.0.2.1:80"]))));
        assert_eq!(known("::1", Family::V6), Some(Ok(addresses(&["[::1]:80"]))));
        assert!(known("::1", Family::V4).unwrap().is_err());
        for name in ["localhost", "LocalHost.", "a.localhost"] {
            assert_eq!(known(name, Family::Any), Some(Ok(addresses(&["[::1]:80", "127.0.0.1:80"]))));
        }
        assert_eq!(known("localhost", Family::V4), Some(Ok(addresses(&["127.0.0.1:80"]))));
        assert!(known("", Family::Any).unwrap().is_err());
        assert!(without_asking(&"a".repeat(256), 1, Family::Any).unwrap().is_err());
        assert_eq!(known("notlocalhost", Family::Any), None);
    }

    #[test]
    fn a_child_asks_the_system() {
        in_child(|| {
            // What only getaddrinfo understands.
            let ForwardLookup::Pending(pending) = forward("127.1", 7, Family::Any).unwrap() else { panic!() };
            assert_eq!(wait(pending), Ok(addresses(&["127.0.0.1:7"])));
            let ForwardLookup::Pending(pending) = forward("no-such-host.invalid", 7, Family::Any).unwrap()
            else {
                panic!()
            };
            assert!(!wait(pending).unwrap_err().0.is_empty());
        })
        .success();
        assert_eq!(forward_blocking("127.1", 7, Family::Any), Ok(addresses(&["127.0.0.1:7"])));
    }

    #[test]
    fn an_address_has_a_name_that_leads_back() {
        in_child(|| {
            // /etc/hosts has it everywhere; a machine without would say why.
            match wait(reverse(Ipv4Addr::LOCALHOST.into()).unwrap()) {
                Ok(name) => assert!(!name.is_empty() && name == name.to_lowercase()),
                Err(NotResolved(reason)) => assert!(!reason.is_empty()),
            }
        })
        .success();
    }

    #[test]
    fn the_child_holds_nothing_of_the_parents_and_ends_when_dropped() {
        in_child(|| {
            let (link, other) = crate::link::Link::pair().unwrap();
            let hang = || {
                std::thread::sleep(std::time::Duration::from_secs(1000));
                Ok(String::new())
            };
            let pending = Pending::start(hang, decode).unwrap();
            let pid = pending.child.pid();
            drop(link);
            // Wait until the child has closed its copies: then the other end sees the end.
            poll(&mut [PollFd::new(&other, PollFlags::IN)], None).unwrap();
            assert!(other.recv(&mut [0; 8]).unwrap().is_none());
            drop(pending);
            assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        })
        .success();
    }

    #[test]
    fn a_child_that_dies_or_babbles_is_no_answer() {
        in_child(|| {
            let dies = Pending::start(|| -> Result<String, NotResolved> { std::process::abort() }, decode);
            assert!(wait(dies.unwrap()).is_err());
            let babbles = Pending::start(|| Ok("not an address\n".into()), decode);
            assert!(wait(babbles.unwrap()).is_err());
            let long = Pending::start(|| Err(NotResolved("x".repeat(1 << 20))), decode);
            assert_eq!(wait(long.unwrap()).unwrap_err().0.len(), ANSWER_MAX - 1);
        })
        .success();
    }

    #[test]
    fn answers_survive_the_pipe() {
        let all = addresses(&["192.0.2.1:1", "[2001:db8::1]:65535", "[fe80::1%7]:22"]);
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    #[test]
    fn a_process_with_threads_may_not_fork_a_look_up() {
        assert!(reverse(Ipv4Addr::LOCALHOST.into()).is_err(), "the test harness has threads");
    }
}
