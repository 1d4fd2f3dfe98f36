//! Reaching the server by TCP: the name looked up, its addresses tried in turn, again if ConnectionAttempts says so.
//! A small machine in the loop; it never waits. Proxies are in `proxy`.
//!
//! ```text
//!   Resolving ─▶ Trying ─┬─ connected ─▶ (socket, address, time left of ConnectTimeout)
//!                  ▲     ├─ refused, timed out: the next address
//!                  └─────┴─ none left: Pausing, a second, while there are attempts
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use sockward_config::choice::AddressFamily;
use sockward_sys::resolve::{Family, Forward, NotResolved, forward_blocking};
use sockward_sys::{interface, tcp};

use crate::jobs::{Job, Jobs};
use crate::plan::Plan;

/// Between two attempts at all addresses.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection on its way.
pub(crate) struct Connector {
    plan: Arc<Plan>,
    token: Token,
    state: State,
    addresses: Vec<SocketAddr>,
    sources: Vec<SocketAddr>,
    attempts_left: u32,
    last_error: Option<io::Error>,
}

enum State {
    Resolving(Job<Names>),
    Trying { socket: OwnedFd, address: SocketAddr, left: VecDeque<SocketAddr>, deadline: Option<Instant> },
    Pausing(Instant),
}

/// The addresses of the server and those to connect from.
struct Names {
    server: Forward,
    sources: Result<Vec<SocketAddr>, String>,
}

/// How far it is.
pub(crate) enum Step {
    /// Wait for the socket, a job or the deadline.
    Waiting,
    /// Connected.
    Connected {
        /// The socket, not watched.
        socket: OwnedFd,
        /// Where it leads.
        address: SocketAddr,
        /// Until when the key exchange has to be done.
        deadline: Option<Instant>,
    },
    /// It cannot be; why has been said.
    Failed,
}

impl Connector {
    /// Begins. The socket is watched under `token`.
    pub(crate) fn new(plan: Arc<Plan>, jobs: &Jobs, token: Token) -> io::Result<Self> {
        let (host, port) = (plan.configuration.host.clone(), plan.configuration.port);
        let settings = &plan.configuration.settings;
        let family = family(settings.address_family);
        let (address, from) = (settings.bind_address.clone(), settings.bind_interface.clone());
        log::trace!("resolving \"{host}\" port {port}");
        let look_up = move || Names {
            server: forward_blocking(&host, port, family),
            sources: match (address, from) {
                (Some(address), _) => forward_blocking(&address, 0, family)
                    .map_err(|NotResolved(why)| format!("getaddrinfo: {address}: {why}")),
                (None, Some(name)) => addresses_of(&name.to_string_lossy()),
                (None, None) => Ok(Vec::new()),
            },
        };
        Ok(Connector {
            state: State::Resolving(jobs.start(look_up)?),
            attempts_left: settings.connection_attempts,
            plan,
            token,
            addresses: Vec::new(),
            sources: Vec::new(),
            last_error: None,
        })
    }

    /// When to call [`Self::step`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Resolving(_) => None,
            State::Trying { deadline, .. } => *deadline,
            State::Pausing(until) => Some(*until),
        }
    }

    /// Goes on as far as it goes without waiting.
    pub(crate) fn step(&mut self, registry: &Registry, now: Instant) -> Step {
        match &self.state {
            State::Resolving(job) => match job.poll() {
                None => Step::Waiting,
                Some(names) => self.resolved(names, registry, now),
            },
            State::Pausing(until) if now < *until => Step::Waiting,
            State::Pausing(_) => {
                log::debug!("Trying again...");
                self.try_all(registry, now)
            }
            State::Trying { socket, deadline, .. } => match tcp::connect_result(socket) {
                Ok(true) => self.connected(registry),
                Ok(false) if deadline.is_none_or(|at| now < at) => Step::Waiting,
                Ok(false) => self.failed(io::Error::from_raw_os_error(TIMED_OUT), registry, now),
                Err(error) => self.failed(error, registry, now),
            },
        }
    }

    fn resolved(&mut self, names: Names, registry: &Registry, now: Instant) -> Step {
        let host = self.plan.host();
        self.addresses = match names.server {
            Ok(addresses) => addresses,
            Err(NotResolved(why)) => {
                log::error!("ssh: Could not resolve hostname {host}: {why}");
                return Step::Failed;
            }
        };
        match names.sources {
            Ok(sources) => self.sources = sources,
            Err(why) => {
                log::error!("{why}");
                return Step::Failed;
            }
        }
        self.try_all(registry, now)
    }

    fn try_all(&mut self, registry: &Registry, now: Instant) -> Step {
        self.attempts_left = self.attempts_left.saturating_sub(1);
        let left = self.addresses.clone().into();
        self.try_next(left, registry, now)
    }

    fn try_next(&mut self, mut left: VecDeque<SocketAddr>, registry: &Registry, now: Instant) -> Step {
        while let Some(address) = left.pop_front() {
            log::debug!("Connecting to {} [{}] port {}.", self.plan.host(), address.ip(), address.port());
            match self.begin(address, registry) {
                Ok(socket) => {
                    let timeout = self.plan.configuration.settings.connect_timeout.0;
                    let deadline = timeout.map(|seconds| now + Duration::from_secs(seconds.into()));
                    self.state = State::Trying { socket, address, left, deadline };
                    return Step::Waiting;
                }
                Err(error) => self.note(address, error),
            }
        }
        if self.attempts_left > 0 {
            self.state = State::Pausing(now + PAUSE);
            return Step::Waiting;
        }
        let why = self.last_error.as_ref().map_or_else(|| "failure".to_owned(), reason);
        let configuration = &self.plan.configuration;
        log::error!("ssh: connect to host {} port {}: {why}", configuration.host, configuration.port);
        Step::Failed
    }

    fn begin(&self, address: SocketAddr, registry: &Registry) -> io::Result<OwnedFd> {
        let source = self.sources.iter().find(|source| source.is_ipv4() == address.is_ipv4()).copied();
        if source.is_none() && !self.sources.is_empty() {
            return Err(io::Error::other("no suitable address to connect from"));
        }
        let settings = &self.plan.configuration.settings;
        let socket = tcp::connect_with(address, source, settings.ip_qos.interactive.0)?;
        if settings.tcp_keep_alive {
            tcp::set_keepalive(&socket, true)?;
        }
        tcp::set_nodelay(&socket)?;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), self.token, Interest::WRITABLE)?;
        Ok(socket)
    }

    fn connected(&mut self, registry: &Registry) -> Step {
        match std::mem::replace(&mut self.state, State::Pausing(Instant::now())) {
            State::Trying { socket, address, deadline, .. } => {
                log::debug!("Connection established.");
                unwatch(&socket, registry);
                Step::Connected { socket, address, deadline }
            }
            other => {
                self.state = other;
                Step::Waiting
            }
        }
    }

    fn failed(&mut self, error: io::Error, registry: &Registry, now: Instant) -> Step {
        match std::mem::replace(&mut self.state, State::Pausing(now)) {
            State::Trying { socket, address, left, .. } => {
                unwatch(&socket, registry);
                self.note(address, error);
                self.try_next(left, registry, now)
            }
            other => {
                self.state = other;
                Step::Waiting
            }
        }
    }

    fn note(&mut self, address: SocketAddr, error: io::Error) {
        log::debug!("connect to address {} port {}: {}", address.ip(), address.port(), reason(&error));
        self.last_error = Some(error);
    }
}

/// ETIMEDOUT, which the kernel would say after some minutes.
const TIMED_OUT: i32 = 110;

/// An error as strerror(3) has it, without the number that std puts behind it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// AddressFamily in the resolver's terms.
pub(crate) fn family(family: AddressFamily) -> Family {
    match family {
        AddressFamily::Any => Family::Any,
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
    }
}

/// BindInterface: an interface's addresses, those that lead out of this machine first.
fn addresses_of(name: &str) -> Result<Vec<SocketAddr>, String> {
    let all = interface::addresses().map_err(|e| format!("getifaddrs: {name}: {e}"))?;
    let mut found: Vec<_> = all.into_iter().filter(|a| a.interface == name).collect();
    found.sort_by_key(|a| a.address.is_loopback() || a.scope != 0);
    if found.is_empty() {
        return Err(format!("getifaddrs: {name}: no suitable addresses"));
    }
    Ok(found
        .into_iter()
        .map(|found| match found.address {
            std::net::IpAddr::V6(v6) => std::net::SocketAddrV6::new(v6, 0, 0, found.scope).into(),
            std::net::IpAddr::V4(_) => (found.address, 0).into(),
        })
        .collect())
}

fn unwatch(socket: &OwnedFd, registry: &Registry) {
    // It was registered, and closing it would do the same.
    let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};

    /// Steps to the end.
    fn connect(arguments: &[&str], host: &str, addresses: &[SocketAddr]) -> Step {
        let mut poll = Poll::new().unwrap();
        let jobs = Jobs::new(&poll, Token(0)).unwrap();
        let mut plan = crate::testing::plan(arguments);
        plan.configuration.host = host.to_owned();
        let mut connector = Connector::new(Arc::new(plan), &jobs, Token(1)).unwrap();
        let mut events = Events::with_capacity(8);
        loop {
            let wait = connector.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            poll.poll(&mut events, wait).unwrap();
            if let State::Resolving(job) = &connector.state
                && !addresses.is_empty()
                && let Some(mut names) = job.poll()
            {
                names.server = Ok(addresses.to_vec());
                match connector.resolved(names, poll.registry(), Instant::now()) {
                    Step::Waiting => continue,
                    end => return end,
                }
            }
            match connector.step(poll.registry(), Instant::now()) {
                Step::Waiting => {}
                end => return end,
            }
        }
    }

    #[test]
    fn the_second_address_is_tried_when_the_first_refuses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let there = listener.local_addr().unwrap();
        match connect(&[], "localhost", &[gone, there]) {
            Step::Connected { address, deadline, .. } => assert_eq!((address, deadline), (there, None)),
            Step::Failed | Step::Waiting => panic!("not connected"),
        }
        assert!(matches!(connect(&[], "localhost", &[gone]), Step::Failed));
        assert!(matches!(connect(&["-b", "::1"], "localhost", &[there]), Step::Failed));
        let Step::Connected { deadline, .. } =
            connect(&["-b", "127.0.0.3", "-o", "ConnectTimeout=50"], "localhost", &[there])
        else {
            panic!("not connected");
        };
        assert!(deadline.is_some());
        let sources: Vec<_> = (0..2).map(|_| listener.accept().unwrap().1.ip().to_string()).collect();
        assert_eq!(sources, ["127.0.0.1", "127.0.0.3"]);
    }

    #[test]
    fn a_name_that_is_none_fails() {
        assert!(matches!(connect(&[], "no such name", &[]), Step::Failed));
    }

    #[test]
    fn errors_are_told_in_the_system_s_words() {
        assert_eq!(reason(&io::Error::from_raw_os_error(TIMED_OUT)), "Connection timed out");
        assert_eq!(reason(&io::Error::other("x")), "x");
    }
}
