//! Opening an address that connects: names looked up in a child, addresses tried in turn, a socket whose backlog is
//! full tried again, commands started. Never waits; what it waits for it says.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sockward_sys::fd;
use sockward_sys::resolve::{self, Family, Forward, ForwardLookup, NotResolved, Pending};
use sockward_sys::spawn::Tool;
use sockward_sys::{tcp, unix};

use crate::address::{Address, Kind};
use crate::end::End;
use crate::failure::words;

/// How long a socket whose backlog is full is tried, and the pause between.
const BACKLOG_TRY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
/// The longest that nobody says anything: a name server's, a host's that is down.
const TRY: Duration = Duration::from_secs(130);

/// An address being opened.
pub(crate) struct Opening {
    address: Rc<Address>,
    step: Step,
    /// When all of it is too late.
    until: Instant,
    /// Counts the descriptors waited for, so that a loop sees a new one.
    turn: u32,
}

enum Step {
    Names(Pending<Vec<SocketAddr>>),
    Trying { socket: OwnedFd, rest: std::vec::IntoIter<SocketAddr>, source: Option<SocketAddr> },
    Backlog { again: Instant },
    Begin,
}

/// What is waited for.
pub(crate) enum For<'a> {
    Readable(BorrowedFd<'a>),
    Writable(BorrowedFd<'a>),
    Time,
}

impl Opening {
    /// Nothing is done yet: call [`Self::progress`].
    pub(crate) fn new(address: &Rc<Address>, now: Instant) -> Opening {
        let limit = match address.kind {
            Kind::Unix { .. } => BACKLOG_TRY,
            _ => TRY,
        };
        let until = now + address.options.connect_timeout.unwrap_or(limit);
        Opening { address: Rc::clone(address), step: Step::Begin, until, turn: 0 }
    }

    /// Goes on as far as it goes. None: wait for [`Self::waits_for`] or until [`Self::deadline`]. The error is a
    /// sentence that does not name the address.
    pub(crate) fn progress(&mut self, now: Instant) -> Result<Option<End>, String> {
        match std::mem::replace(&mut self.step, Step::Begin) {
            Step::Begin => self.begin(now),
            Step::Names(mut pending) => match pending.poll().map_err(|e| words(&e))? {
                Some(answer) => self.try_all(answer),
                None => self.wait(Step::Names(pending), now),
            },
            Step::Trying { socket, rest, source } => match tcp::connect_result(&socket) {
                Ok(true) => self.connected(socket).map(Some),
                Ok(false) if now < self.until => self.wait(Step::Trying { socket, rest, source }, now),
                Ok(false) => Err("Connection timed out".into()),
                Err(e) => self.try_next(rest, source, words(&e)),
            },
            Step::Backlog { .. } => self.connect_path(now),
        }
    }

    /// What to wait for, and a number that changes with it.
    pub(crate) fn waits_for(&self) -> (For<'_>, u32) {
        let what = match &self.step {
            Step::Names(pending) => For::Readable(pending.as_fd()),
            Step::Trying { socket, .. } => For::Writable(socket.as_fd()),
            Step::Backlog { .. } | Step::Begin => For::Time,
        };
        (what, self.turn)
    }

    /// When to go on even if nothing happens.
    pub(crate) fn deadline(&self) -> Instant {
        match self.step {
            Step::Backlog { again } => again,
            Step::Names(_) | Step::Trying { .. } | Step::Begin => self.until,
        }
    }

    fn wait(&mut self, step: Step, now: Instant) -> Result<Option<End>, String> {
        self.step = step;
        if now < self.until { Ok(None) } else { Err("Connection timed out".into()) }
    }

    fn begin(&mut self, now: Instant) -> Result<Option<End>, String> {
        let address = Rc::clone(&self.address);
        match &address.kind {
            Kind::Stdio => End::stdio().map(Some).map_err(|e| words(&e)),
            Kind::Unix { .. } => self.connect_path(now),
            Kind::Exec { argv } => execute(argv, &address).map(Some),
            Kind::Tcp { host, port, family } => match resolve::forward(host, *port, *family) {
                Ok(ForwardLookup::Done(answer)) => self.try_all(answer),
                Ok(ForwardLookup::Pending(pending)) => {
                    self.turn += 1;
                    self.wait(Step::Names(pending), now)
                }
                Err(e) => Err(words(&e)),
            },
            Kind::TcpListen { .. } | Kind::UnixListen { .. } => Err("this address listens".into()),
        }
    }

    fn try_all(&mut self, answer: Forward) -> Result<Option<End>, String> {
        let addresses = answer.map_err(|NotResolved(why)| why)?;
        let source = match &self.address.options.bind {
            None => None,
            Some(name) => {
                let found =
                    resolve::forward_blocking(name, 0, Family::Any).map_err(|NotResolved(why)| why)?;
                found.into_iter().find(|s| addresses.iter().any(|a| a.is_ipv4() == s.is_ipv4()))
            }
        };
        self.try_next(addresses.into_iter(), source, "no address".into())
    }

    /// Tries addresses until one is connected or takes its time. `last` is what the one before said.
    fn try_next(
        &mut self,
        mut rest: std::vec::IntoIter<SocketAddr>,
        source: Option<SocketAddr>,
        mut last: String,
    ) -> Result<Option<End>, String> {
        while let Some(address) = rest.next() {
            if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
                continue;
            }
            let tried = tcp::connect(address, source).and_then(|s| Ok((tcp::connect_result(&s)?, s)));
            match tried {
                Ok((true, socket)) => return self.connected(socket).map(Some),
                Ok((false, socket)) => {
                    self.turn += 1;
                    self.step = Step::Trying { socket, rest, source };
                    return Ok(None);
                }
                Err(e) => last = words(&e),
            }
        }
        Err(last)
    }

    fn connected(&self, socket: OwnedFd) -> Result<End, String> {
        prepare_tcp(&socket, &self.address);
        Ok(End::socket(socket))
    }

    fn connect_path(&mut self, now: Instant) -> Result<Option<End>, String> {
        let Kind::Unix { path } = &self.address.kind else { return Err("not a path".into()) };
        match unix::connect_path(path) {
            Ok(socket) => Ok(Some(End::socket(socket))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && now < self.until => {
                self.step = Step::Backlog { again: now + PAUSE };
                Ok(None)
            }
            Err(e) => Err(words(&e)),
        }
    }
}

/// What every TCP connection gets. One that is gone again says so to whoever uses it.
pub(crate) fn prepare_tcp(socket: &OwnedFd, address: &Address) {
    let _ = tcp::set_nodelay(socket);
    if address.options.keepalive {
        let _ = tcp::set_keepalive(socket, true);
    }
}

fn execute(argv: &[OsString], address: &Address) -> Result<End, String> {
    let name = argv.first().ok_or("a command is missing")?;
    let program = find(name).ok_or_else(|| format!("{}: command not found", Path::new(name).display()))?;
    let error = |e: io::Error| words(&e);
    let own_stderr = io::stderr();
    let tool = |stdin: &OwnedFd, stdout: &OwnedFd| {
        let stderr = if address.options.stderr { stdout.as_fd() } else { own_stderr.as_fd() };
        let (stdin, stdout) = (stdin.as_fd(), stdout.as_fd());
        let tool =
            Tool { program: program.clone(), argv: argv.to_vec(), env: Vec::new(), stdin, stdout, stderr };
        tool.spawn().map_err(|e| e.to_string())
    };
    if address.options.pipes {
        let (input, to_command) = fd::pipe().map_err(error)?;
        let (from_command, output) = fd::pipe().map_err(error)?;
        for ours in [&to_command, &from_command] {
            fd::set_nonblocking(ours, true).map_err(error)?;
        }
        let child = tool(&input, &output)?;
        return Ok(End::command_pipes(from_command, to_command, child));
    }
    let (ours, theirs) = unix::pair().map_err(error)?;
    // The two ends are open files of their own: ours stays as it is.
    fd::set_nonblocking(&theirs, false).map_err(error)?;
    let child = tool(&theirs, &theirs)?;
    Ok(End::command_socket(ours, child))
}

/// The file of a command: along PATH, unless it has a slash.
fn find(name: &OsString) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .filter(|d| !d.as_os_str().is_empty())
        .map(|d| d.join(name))
        .find(|p| p.is_file())
}
