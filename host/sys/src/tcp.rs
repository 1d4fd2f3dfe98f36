//! TCP: listening, connecting without waiting, the options that matter for forwarding.
//! Which address a request may bind is `policy`'s, names to addresses are `resolve`'s business.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// How often a free port is drawn again when another address of the group has it taken.
const PORT_TRIES: u32 = 16;

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: SocketAddr,
}

/// What became of a request to listen on several addresses with one port.
#[derive(Debug)]
pub struct Group {
    /// Those that listen, all on one port; at least one.
    pub listeners: Vec<Listener>,
    /// Those that could not be bound, and why. On loopback somebody else may hold them.
    pub failed: Vec<(SocketAddr, io::Error)>,
}

impl Listener {
    /// Listens on one address, non-blocking and close-on-exec; port 0 draws a free one.
    ///
    /// SO_REUSEADDR is set (old connections do not hinder a restart; two listeners still exclude
    /// each other) and an IPv6 socket takes IPv6 only, so that the wildcards of both do not collide.
    pub fn bind(address: SocketAddr, backlog: i32) -> io::Result<Listener> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        let address = local_address(&socket)?.unwrap_or(address);
        Ok(Listener { socket: socket.into(), address })
    }

    /// Takes a listening socket that was inherited (socket activation, a test's).
    pub fn from_fd(socket: OwnedFd) -> io::Result<Listener> {
        let refused =
            || io::Error::new(io::ErrorKind::InvalidInput, "descriptor is not a listening TCP socket");
        if !sockopt::socket_acceptconn(&socket).map_err(|_| refused())? {
            return Err(refused());
        }
        let address = local_address(&socket)?.ok_or_else(refused)?;
        crate::fd::set_nonblocking(&socket, true)?;
        Ok(Listener { socket, address })
    }

    /// Listens on all the addresses, with the same port: theirs, or a free one if that is 0.
    ///
    /// As OpenSSH, it is a success when one of them can be bound; the others are reported. A family
    /// that this machine does not have is no failure. With no address bound, the last error.
    pub fn bind_group(addresses: &[SocketAddr], backlog: i32) -> io::Result<Group> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for _ in 0..PORT_TRIES {
            let mut group = Group { listeners: Vec::new(), failed: Vec::new() };
            let mut port = 0;
            for address in addresses {
                let mut wanted = *address;
                if wanted.port() == 0 {
                    wanted.set_port(port);
                }
                match Listener::bind(wanted, backlog) {
                    Ok(listener) => {
                        port = listener.address.port();
                        group.listeners.push(listener);
                    }
                    Err(error) if is_missing_family(&error) => last = error,
                    Err(error) => group.failed.push((wanted, error)),
                }
            }
            let drawn = addresses.iter().all(|address| address.port() == 0);
            let collided = group.failed.iter().any(|(_, error)| error.kind() == io::ErrorKind::AddrInUse);
            let again = drawn && collided;
            if !again && !group.listeners.is_empty() {
                return Ok(group);
            }
            if let Some((_, error)) = group.failed.pop() {
                last = error;
            }
            if !again {
                break;
            }
        }
        Err(last)
    }

    /// The address it listens on, with the port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, non-blocking and close-on-exec, and where it comes from.
    /// `WouldBlock` when there is none; EMFILE and ENFILE mean that it waits in the backlog: stop
    /// asking for a while.
    pub fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let (socket, from) = crate::fd::accept(&self.socket)?;
        let from = from
            .and_then(|from| SocketAddr::try_from(from).ok())
            .ok_or_else(|| io::Error::other("a connection without an address"))?;
        Ok((socket, normalised(from)))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The loopback addresses of both families with this port.
#[must_use]
pub fn loopback(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// The wildcard addresses of both families with this port.
#[must_use]
pub fn wildcard(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

/// Begins to connect, non-blocking and close-on-exec, from `source` if one is given.
///
/// It may be connected at once or under way: when the socket gets writable, [`connect_result`]
/// tells. Errors that come at once are returned.
pub fn connect(address: SocketAddr, source: Option<SocketAddr>) -> io::Result<OwnedFd> {
    connect_with(address, source, None)
}

/// The same with a type-of-service byte on the very first packet (IPQoS).
pub fn connect_with(
    address: SocketAddr,
    source: Option<SocketAddr>,
    type_of_service: Option<u8>,
) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(value) = type_of_service {
        set_type_of_service(&socket, value)?;
    }
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(error) => Err(error.into()),
    }
}

/// How a connect went: `Ok(false)` while it is under way. Takes the socket's error away.
pub fn connect_result(socket: impl AsFd) -> io::Result<bool> {
    sockopt::socket_error(&socket)??;
    match rustix::net::getpeername(&socket) {
        Ok(_) => Ok(true),
        Err(Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// TCP_NODELAY: every small write goes out at once. For every forwarded connection and for SSH.
pub fn set_nodelay(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

/// TCP_NOTSENT_LOWAT: writable again only when less than this many bytes wait unsent.
pub fn set_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_notsent_lowat(bytes)
}

/// SO_KEEPALIVE (TCPKeepAlive).
pub fn set_keepalive(socket: impl AsFd, on: bool) -> io::Result<()> {
    Ok(sockopt::set_socket_keepalive(socket, on)?)
}

/// The type-of-service byte of outgoing packets (IPQoS), for the socket's own family.
pub fn set_type_of_service(socket: impl AsFd, value: u8) -> io::Result<()> {
    match local_address(&socket)? {
        Some(address) => set_type_of_service_of(&socket, Family::of(address), value),
        None => Ok(()),
    }
}

/// The same for a socket whose family is known: the cage of a worker has no call to ask.
pub fn set_type_of_service_of(socket: impl AsFd, family: Family, value: u8) -> io::Result<()> {
    match family {
        Family::V4 => sockopt::set_ip_tos(socket, value)?,
        Family::V6 => sockopt::set_ipv6_tclass(socket, u32::from(value))?,
    }
    Ok(())
}

/// What the packets of a socket are; those of IPv4 within IPv6 are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address as [`local_address`] tells it.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Ends both directions, for every holder of the socket.
pub fn shutdown(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::shutdown(socket, rustix::net::Shutdown::Both)?)
}

/// The smoothed round-trip time (TCP_INFO).
pub fn round_trip_time(socket: impl AsFd) -> io::Result<Duration> {
    Ok(Duration::from_micros(info(socket)?.tcpi_rtt.into()))
}

/// What the kernel tells of a TCP socket (TCP_INFO).
pub(crate) fn info(socket: impl AsFd) -> io::Result<libc::tcp_info> {
    // SAFETY: all fields are integers, for which zero bytes are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if rc == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// The local address; `None` for anything but an IP socket (a pipe, a Unix socket).
/// IPv4 within IPv6 is told as IPv4.
pub fn local_address(socket: impl AsFd) -> io::Result<Option<SocketAddr>> {
    address(rustix::net::getsockname(socket).map(Some))
}

/// The peer's address; `None` as for [`local_address`], and where there is no peer (yet or any more).
pub fn peer_address(socket: impl AsFd) -> io::Result<Option<SocketAddr>> {
    address(rustix::net::getpeername(socket))
}

fn address(asked: Result<Option<rustix::net::SocketAddrAny>, Errno>) -> io::Result<Option<SocketAddr>> {
    match asked {
        Ok(any) => Ok(any.and_then(|any| SocketAddr::try_from(any).ok()).map(normalised)),
        Err(Errno::NOTSOCK | Errno::NOTCONN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `::ffff:192.0.2.1` is 192.0.2.1: rules and logs know one address by one name.
fn normalised(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

fn is_missing_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;
    use rustix::event::{PollFd, PollFlags, poll};

    fn wait(fd: impl AsFd, what: PollFlags) {
        poll(&mut [PollFd::new(&fd, what)], None).unwrap();
    }

    fn here() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn connections_are_begun_finished_and_accepted_without_waiting() {
        alone(|| {
            let listener = Listener::bind(here(), 16).unwrap();
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let client = connect_with(listener.address(), None, Some(0x48)).unwrap();
            assert_eq!(sockopt::ip_tos(&client).unwrap(), 0x48);
            wait(&client, PollFlags::OUT);
            assert!(connect_result(&client).unwrap());
            wait(&listener, PollFlags::IN);
            let (server, from) = listener.accept().unwrap();
            assert_eq!(Some(from), local_address(&client).unwrap());
            assert_eq!(peer_address(&client).unwrap(), Some(listener.address()));
            set_nodelay(&server).unwrap();
            set_keepalive(&server, true).unwrap();
            set_notsent_lowat(&server, 1 << 16).unwrap();
            set_type_of_service(&server, 0x48).unwrap();
            assert_eq!(sockopt::ip_tos(&server).unwrap(), 0x48);
            crate::fd::write(&server, b"x").unwrap();
            wait(&client, PollFlags::IN);
            assert!(round_trip_time(&server).unwrap() < Duration::from_secs(5));
            assert!(round_trip_time(crate::fd::pipe().unwrap().0).is_err());
        });
    }

    #[test]
    fn a_refused_connection_says_so() {
        alone(|| {
            let gone = Listener::bind(here(), 1).unwrap().address();
            let error = match connect(gone, None) {
                Ok(client) => {
                    wait(&client, PollFlags::OUT);
                    connect_result(&client).unwrap_err()
                }
                Err(error) => error,
            };
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn a_connect_under_way_is_not_connected() {
        alone(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            assert!(!connect_result(&socket).unwrap());
        });
    }

    #[test]
    fn a_group_shares_one_drawn_port() {
        alone(|| {
            let group = Listener::bind_group(&loopback(0), 4).unwrap();
            let port = group.listeners.first().unwrap().address().port();
            assert!(port != 0 && group.failed.is_empty());
            assert!(group.listeners.iter().all(|l| l.address().port() == port));
            let taken = Listener::bind_group(&loopback(port), 4).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
            drop(group);
            // One of the two is somebody else's: the other serves, and it is said.
            let other = Listener::bind((Ipv4Addr::LOCALHOST, port).into(), 1).unwrap();
            if let Ok(group) = Listener::bind_group(&loopback(port), 4) {
                assert_eq!((group.listeners.len(), group.failed.len()), (1, 1));
                assert_eq!(group.failed.first().unwrap().0, other.address());
            }
        });
    }

    #[test]
    fn both_wildcards_can_listen_on_one_port() {
        alone(|| {
            let group = Listener::bind_group(&wildcard(0), 4).unwrap();
            assert!(group.failed.is_empty());
            let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
            assert_eq!(normalised(mapped), "192.0.2.1:7".parse().unwrap());
        });
    }

    #[test]
    fn inherited_listeners_are_checked() {
        alone(|| {
            let listener = Listener::bind(here(), 1).unwrap();
            let address = listener.address();
            assert_eq!(Listener::from_fd(listener.socket).unwrap().address(), address);
            assert!(Listener::from_fd(connect(address, None).unwrap()).is_err());
            assert!(Listener::from_fd(crate::fd::dev_null().unwrap()).is_err());
        });
    }

    #[test]
    fn what_is_no_ip_socket_has_no_address() {
        alone(|| {
            let (r, _w) = crate::fd::pipe().unwrap();
            let (unix, _peer) = crate::unix::pair().unwrap();
            assert_eq!((local_address(&r).unwrap(), peer_address(&r).unwrap()), (None, None));
            assert_eq!((local_address(&unix).unwrap(), peer_address(&unix).unwrap()), (None, None));
        });
    }
}
