//! Listeners on this machine (`-L`, `-D`): ports and sockets. They outlive a connection: whoever connects while there is
//! none is held (`waiting.rs`); while no more channels can be opened, the backlog holds him.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use sockward_config::forward::{BindScope, Form, Forward, ForwardPath, Listen, Target};
use sockward_sys::path::Place;
use sockward_sys::resolve::{NotResolved, forward_blocking};
use sockward_sys::unix::{BirthError, Newborn, Occupant};
use sockward_sys::{tcp, unix};

use super::guard::Guard;
use super::waiting::{Pending, Waiting};
use crate::connect::{family, reason};
use crate::plan::Plan;
use crate::watched::Watched;

/// As OpenSSH's SSH_LISTEN_BACKLOG.
const BACKLOG: i32 = 128;

/// How long nobody is accepted after descriptors have run out.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(500);

/// How many that may not come are sent away before others of the loop have their turn.
const REFUSALS_AT_ONCE: u32 = 64;

/// How many are taken to wait before others of the loop have their turn.
const HELD_AT_ONCE: u32 = 64;

/// All listeners.
#[derive(Default)]
pub(crate) struct Listeners {
    /// By number; none where one has been closed.
    open: Vec<Option<Listener>>,
    paused_until: Option<Instant>,
    waiting: Waiting,
    /// How long they wait; no limit where there is none.
    patience: Option<Duration>,
}

struct Listener {
    socket: Socket,
    guard: Guard,
    forward: Arc<Forward>,
    ready: bool,
}

enum Socket {
    Tcp(tcp::Listener),
    Unix(unix::Listener),
}

/// Somebody has connected.
pub(crate) struct Accepted {
    /// To this forwarding's listener.
    pub(crate) forward: Arc<Forward>,
    /// From there; none on a socket.
    pub(crate) origin: Option<SocketAddr>,
    /// The connection.
    pub(crate) socket: OwnedFd,
}

impl Listeners {
    /// Binds one forwarding's listener, on all addresses that it means. False: it cannot be, and why has been said.
    pub(crate) fn bind(&mut self, forward: &Forward, plan: &Plan, registry: &Registry) -> bool {
        let (sockets, guard) = match &forward.listen {
            Listen::Tcp { port, .. } => bind_tcp(&forward.listen, *port, plan),
            Listen::Unix(path) => (bind_unix(path, plan), Guard::Open),
        };
        let forward = Arc::new(forward.clone());
        let mut any = false;
        for socket in sockets {
            let token = Watched::Listener(self.open.len()).token();
            let fd = socket.fd().as_raw_fd();
            if let Err(e) = registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
                log::error!("cannot watch a listener: {}", reason(&e));
                continue;
            }
            self.open.push(Some(Listener {
                socket,
                guard: guard.clone(),
                forward: Arc::clone(&forward),
                ready: true,
            }));
            any = true;
        }
        any
    }

    /// Whether this forwarding listens.
    pub(crate) fn has(&self, forward: &Forward) -> bool {
        self.open.iter().flatten().any(|listener| *listener.forward == *forward)
    }

    /// Stops a forwarding's listeners. False: there are none.
    pub(crate) fn stop(&mut self, forward: &Forward) -> bool {
        let had = self.has(forward);
        for slot in &mut self.open {
            if let Some(listener) = slot.take_if(|listener| *listener.forward == *forward) {
                self.waiting.forget(&listener.forward);
            }
        }
        had
    }

    /// The poller says that somebody may have connected to the n-th.
    pub(crate) fn ready(&mut self, n: usize) {
        if let Some(Some(listener)) = self.open.get_mut(n) {
            listener.ready = true;
        }
    }

    /// When to ask [`Self::next`] again although nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.paused_until.filter(|_| self.is_ready())
    }

    fn is_ready(&self) -> bool {
        self.open.iter().flatten().any(|listener| listener.ready)
    }

    // ---- while the server is away ----

    /// From now on connections wait, for so long at most. These come first: the server had not answered for them.
    pub(crate) fn begin_to_hold(
        &mut self,
        unanswered: Vec<Pending>,
        patience: Option<Duration>,
        now: Instant,
    ) {
        self.patience = patience;
        unanswered.into_iter().for_each(|pending| self.waiting.push(pending, now));
    }

    /// Takes connections that have to wait, and refuses those that have waited long enough. True if there is more to
    /// do at once.
    pub(crate) fn hold(&mut self, now: Instant) -> bool {
        for _ in 0..HELD_AT_ONCE {
            self.waiting.expire(self.patience, now);
            if self.waiting.is_full() {
                return false;
            }
            let Some(accepted) = self.accept(now) else { break };
            self.waiting.push(Pending::Forward(accepted), now);
        }
        self.waiting.expire(self.patience, now);
        self.is_ready() && self.paused_until.is_none()
    }

    /// When to call [`Self::hold`] again although nothing happened.
    pub(crate) fn hold_deadline(&self) -> Option<Instant> {
        [self.waiting.deadline(self.patience), self.deadline()].into_iter().flatten().min()
    }

    // ---- while it is there ----

    /// The next connection to serve: one that waits, or from whichever listener has one.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Pending> {
        self.waiting.pop().or_else(|| self.accept(now).map(Pending::Forward))
    }

    fn accept(&mut self, now: Instant) -> Option<Accepted> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        let mut refused = 0;
        for listener in self.open.iter_mut().flatten() {
            while listener.ready {
                match listener.socket.accept() {
                    Ok((socket, origin)) => match listener.guard.check(&socket) {
                        Ok(()) => {
                            let forward = Arc::clone(&listener.forward);
                            return Some(Accepted { forward, origin, socket });
                        }
                        Err(why) => {
                            log::warn!("connection to {} refused: {why}", listener.place());
                            refused += 1;
                        }
                    },
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => listener.ready = false,
                    Err(e) => {
                        // They wait in the backlog meanwhile.
                        log::error!("accept: {}", reason(&e));
                        self.paused_until = Some(now + OUT_OF_DESCRIPTORS);
                        return None;
                    }
                }
                if refused == REFUSALS_AT_ONCE {
                    self.paused_until = Some(now);
                    return None;
                }
            }
        }
        None
    }
}

impl Listener {
    /// Where it listens, for people.
    fn place(&self) -> String {
        match &self.forward.listen {
            Listen::Tcp { port, .. } => format!("port {port}"),
            Listen::Unix(path) => path.to_string(),
        }
    }
}

impl Socket {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(listener) => listener.as_fd(),
        }
    }

    fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        match self {
            Socket::Tcp(listener) => listener.accept().map(|(socket, from)| {
                // A connection that has broken meanwhile shows that soon enough.
                let _ = tcp::set_nodelay(&socket);
                (socket, Some(from))
            }),
            Socket::Unix(listener) => listener.accept().map(|socket| (socket, None)),
        }
    }
}

fn bind_tcp(listen: &Listen, port: u16, plan: &Plan) -> (Vec<Socket>, Guard) {
    let none = (Vec::new(), Guard::Open);
    let settings = &plan.configuration.settings;
    let family = family(settings.address_family);
    let wanted = |address: &SocketAddr| match family {
        sockward_sys::resolve::Family::Any => true,
        sockward_sys::resolve::Family::V4 => address.is_ipv4(),
        sockward_sys::resolve::Family::V6 => address.is_ipv6(),
    };
    let mut addresses = match listen.local_scope(settings.gateway_ports) {
        Some(BindScope::Loopback) => tcp::loopback(port).to_vec(),
        Some(BindScope::All) => tcp::wildcard(port).to_vec(),
        Some(BindScope::Address(name)) => match forward_blocking(name, port, family) {
            Ok(addresses) => addresses,
            Err(NotResolved(why)) => {
                log::error!("cannot listen on {name}: {why}");
                return none;
            }
        },
        None => Vec::new(),
    };
    addresses.retain(wanted);
    let Some(guard) = Guard::of(&settings.permit_peer, &addresses) else {
        log::error!("cannot listen on port {port}: PermitPeer can be kept at loopback addresses alone");
        return none;
    };
    for address in &addresses {
        log::debug!("Local forwarding listening on {} port {port}.", address.ip());
    }
    match tcp::Listener::bind_group(&addresses, BACKLOG) {
        Ok(group) => {
            // One loopback address may be somebody else's: whoever connects to it reaches him.
            for (address, error) in &group.failed {
                log::error!("bind {}: {}", shown(*address), reason(error));
            }
            (group.listeners.into_iter().map(Socket::Tcp).collect(), guard)
        }
        Err(error) => {
            if let Some(address) = addresses.first() {
                log::error!("bind {}: {}", shown(*address), reason(&error));
            }
            log::error!("channel_setup_fwd_listener_tcpip: cannot listen to port: {port}");
            none
        }
    }
}

fn shown(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}

fn bind_unix(path: &ForwardPath, plan: &Plan) -> Vec<Socket> {
    let settings = &plan.configuration.settings;
    let born = forwarded_place(path, plan).and_then(|place| {
        let over = match Occupant::look(&place).map_err(|e| why(&e))? {
            Some(occupant) if settings.stream_local_bind_unlink => Some(occupant.live_or_not()),
            Some(_) | None => None,
        };
        let newborn = Newborn::bind(place).map_err(|e| why(&e))?;
        newborn.publish(0o777 & !settings.stream_local_bind_mask.0, BACKLOG, over).map_err(|e| why(&e))
    });
    match born {
        Ok(listener) => {
            log::debug!("Local forwarding listening on path {path}.");
            vec![Socket::Unix(listener)]
        }
        Err(why) => {
            log::error!("unix_listener: cannot bind to path {path}: {why}");
            Vec::new()
        }
    }
}

fn forwarded_place(path: &ForwardPath, plan: &Plan) -> Result<Place, String> {
    use std::os::unix::ffi::OsStrExt;
    let near = path.near(plan.home().as_bytes()).map_err(|e| e.to_string())?;
    place(Path::new(std::ffi::OsStr::from_bytes(near.as_bytes())))
}

/// The user's own links lead where he wants; the last name is not followed.
pub(crate) fn place(near: &Path) -> Result<Place, String> {
    use std::os::unix::ffi::OsStrExt;
    let (Some(name), Some(directory)) = (near.file_name(), near.parent()) else {
        return Err("the path does not end in a file name".to_owned());
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let real = directory.canonicalize().map_err(|e| reason(&e))?;
    Place::for_new(real.join(name).as_os_str().as_bytes()).map_err(|e| e.to_string())
}

/// As bind(2) would say it where it would.
pub(crate) fn why(error: &BirthError) -> String {
    match error {
        BirthError::Exists | BirthError::NotASocket => "Address already in use".to_owned(),
        BirthError::Io { source, .. } => reason(source),
        other => other.to_string(),
    }
}

/// What is said about a forwarding at its start, in OpenSSH's words.
pub(crate) fn describe(forward: &Forward, gateway: bool) -> String {
    let (listen, port) = match &forward.listen {
        Listen::Tcp { bind, port } => {
            let default = if gateway { "*" } else { "LOCALHOST" };
            (bind.clone().unwrap_or_else(|| default.to_owned()), i32::from(*port))
        }
        // PORT_STREAMLOCAL
        Listen::Unix(path) => (path.to_string(), -2),
    };
    format!("{listen}:{port} forwarded to remote address {}", target(&forward.target))
}

/// A target as OpenSSH's messages have it.
pub(crate) fn target(target: &Target) -> String {
    match target {
        Target::Tcp { host, port } => format!("{host}:{port}"),
        Target::Unix(path) => format!("{path}:-2"),
        Target::Socks => "socks:0".to_owned(),
    }
}

/// The origin that is told of a connection: of one from a socket, what OpenSSH tells.
pub(crate) fn origin(origin: Option<SocketAddr>) -> (String, u32) {
    match origin {
        Some(origin) => (origin.ip().to_string(), u32::from(origin.port())),
        None => (IpAddr::from([127, 0, 0, 1]).to_string(), 65_535),
    }
}

/// The remedy for a far path that a stock server cannot do with.
pub(crate) fn remedy(forward: &Forward, form: Form, ours: bool) -> Option<String> {
    forward.far_path(form).filter(|_| !ours)?.stock_server_remedy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Poll;
    use sockward_config::lookup::NoLookup;
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::UnixStream;

    fn parse(spec: &str) -> Forward {
        Forward::parse(spec.as_bytes(), Form::Local, &NoLookup).unwrap()
    }

    fn accept(listeners: &mut Listeners) -> Option<Accepted> {
        listeners.accept(Instant::now())
    }

    #[test]
    fn a_socket_is_ours_alone_and_goes_with_us() {
        let poll = Poll::new().unwrap();
        let dir = std::env::temp_dir().join(format!("sockward-local-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, dir.join("link")).unwrap();
        let forward = parse(&format!("{}/link/s:host:80", dir.display()));
        let plan = crate::testing::plan(&[]);
        let mut listeners = Listeners::default();
        assert!(listeners.bind(&forward, &plan, poll.registry()));
        let metadata = std::fs::symlink_metadata(dir.join("s")).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(accept(&mut listeners).is_none());
        let _client = UnixStream::connect(dir.join("s")).unwrap();
        assert!(accept(&mut listeners).is_none(), "not asked before the poller has told");
        listeners.ready(0);
        assert!(accept(&mut listeners).is_some_and(|a| a.origin.is_none() && *a.forward == forward));
        assert!(!Listeners::default().bind(&forward, &plan, poll.registry()), "taken");
        let unlink =
            crate::testing::plan(&["-o", "StreamLocalBindUnlink=yes", "-o", "StreamLocalBindMask=007"]);
        let mut others = Listeners::default();
        assert!(others.bind(&forward, &unlink, poll.registry()));
        assert_eq!(std::fs::symlink_metadata(dir.join("s")).unwrap().permissions().mode() & 0o777, 0o770);
        drop(listeners);
        assert!(dir.join("s").exists(), "the successor's stays");
        drop(others);
        assert!(!dir.join("s").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_port_listens_on_loopback_and_a_taken_one_is_an_error() {
        let poll = Poll::new().unwrap();
        let plan = crate::testing::plan(&["-4"]);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut listeners = Listeners::default();
        assert!(listeners.bind(&parse(&format!("{free}:h:1")), &plan, poll.registry()));
        let mut client = std::net::TcpStream::connect(("127.0.0.1", free)).unwrap();
        listeners.ready(0);
        let accepted = accept(&mut listeners).unwrap();
        assert_eq!(accepted.origin, Some(client.local_addr().unwrap()));
        drop(accepted);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(!Listeners::default().bind(&parse(&format!("{free}:h:1")), &plan, poll.registry()));
    }

    #[test]
    fn stock_servers_get_paths_from_the_root_alone() {
        for (spec, wrong) in [("1:/a/b", false), ("1:~/b", true), ("1:unix:b", true), ("/x:h:1", false)] {
            assert_eq!(remedy(&parse(spec), Form::Local, false).is_some(), wrong, "{spec}");
            assert_eq!(remedy(&parse(spec), Form::Local, true), None, "{spec}");
        }
    }
}
