//! Whose the other end of a loopback TCP connection is. SO_PEERCRED does not tell (it answers pid 0 there); the
//! kernel's sock_diag(7) does: the *other* socket has our peer's address as its own, and an owner.
//!
//! What counts is the socket's owner: who made it, as fsuid at socket(2), wherever the descriptor is now. A proxy
//! that runs as root is root.
//!
//! An answer is believed only if it is that very connection, still held by somebody: the kernel answers with a
//! listener where there is no connection, and a socket that its process has closed has inode 0 (and on older
//! kernels uid 0) while what it sent can still be read. And our own end must be alive *after* the answer: as long as
//! it is, nobody else can have a connection with the same two addresses, so the answer is about its other end.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::{tcp, unix};

/// The other end of a connection on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPeer {
    /// Whose socket it is.
    pub uid: u32,
    /// Its number, as links in /proc/PID/fd have it ("socket:\[4711\]").
    pub inode: u32,
}

/// Why it cannot be told whose the other end is. Such a peer is nobody.
#[derive(Debug)]
pub enum Unidentified {
    /// No connection of that kind is there: the other end is on another machine or in another network
    /// namespace, or has been closed.
    NoSuchConnection,
    /// A user namespace hides the owner.
    Hidden,
    /// The kernel could not be asked.
    Io(io::Error),
}

/// sock_diag(7): `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// netlink(7).
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
/// Any socket of these addresses (`INET_DIAG_NOCOOKIE`, twice).
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// The states of a connection whose holder can be told (`TCP_ESTABLISHED`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2`,
/// `TCP_CLOSE_WAIT`).
const HELD: [u8; 4] = [1, 4, 5, 8];
/// The state of a socket that is over.
const CLOSE: u8 = 7;

/// Whose the other end of this connection is. Nothing waits: the kernel answers while it is asked.
pub fn peer(socket: impl AsFd) -> Result<TcpPeer, Unidentified> {
    let local = tcp::local_address(&socket)?.ok_or(Unidentified::NoSuchConnection)?;
    let remote = tcp::peer_address(&socket)?.ok_or(Unidentified::NoSuchConnection)?;
    let peer = owner_of(remote, local)?;
    match tcp::info(&socket)?.tcpi_state {
        CLOSE => Err(Unidentified::NoSuchConnection),
        _ => Ok(peer),
    }
}

/// Whose the connection from `local` to `remote` is, on this machine.
fn owner_of(local: SocketAddr, remote: SocketAddr) -> Result<TcpPeer, Unidentified> {
    let (local, remote) = (canonical(local), canonical(remote));
    let answer = ask(&question(local, remote))?;
    let found = Found::parse(&answer).ok_or(Unidentified::NoSuchConnection)?;
    if (found.local, found.remote) != (bare(local), bare(remote))
        || !HELD.contains(&found.state)
        || found.inode == 0
    {
        return Err(Unidentified::NoSuchConnection);
    }
    let uid = unix::known(found.uid).ok_or(Unidentified::Hidden)?;
    Ok(TcpPeer { uid, inode: found.inode })
}

/// IPv4 in IPv6 clothes is looked for as IPv4, and so finds sockets of either family.
fn canonical(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (SocketAddr::V6(_), ip @ IpAddr::V4(_)) => (ip, address.port()).into(),
        (address, _) => address,
    }
}

/// To compare: address and port alone.
fn bare(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// `struct inet_diag_req_v2` behind its header.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut body = vec![u8::try_from(family).unwrap_or(0), 6 /* IPPROTO_TCP */, 0, 0];
    body.extend(u32::MAX.to_ne_bytes()); // whatever the state
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(in_sixteen(local.ip()));
    body.extend(in_sixteen(remote.ip()));
    let scope = match local {
        SocketAddr::V6(v6) => v6.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    body.extend(scope.to_ne_bytes());
    body.extend(NO_COOKIE);
    let length = u32::try_from(HEADER + body.len()).unwrap_or(0);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]); // sequence and port: one question on its own socket
    message.extend(body);
    message
}

fn in_sixteen(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(v4) => bytes.iter_mut().zip(v4.octets()).for_each(|(b, o)| *b = o),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    bytes
}

fn ask(question: &[u8]) -> io::Result<Vec<u8>> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    // Connected to the kernel it hears nobody else.
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    rustix::net::send(&socket, question, SendFlags::empty())?;
    let mut answer = vec![0; 4096];
    loop {
        match rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((length, _)) => {
                answer.truncate(length);
                return Ok(answer);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `struct inet_diag_msg`, the fields of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    state: u8,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    uid: u32,
    inode: u32,
}

impl Found {
    /// None for an error, which means that there is no such socket, and for what is no answer.
    fn parse(answer: &[u8]) -> Option<Found> {
        let mut rest = answer;
        let length = usize::try_from(u32::from_ne_bytes(take(&mut rest)?)).ok()?;
        let kind = u16::from_ne_bytes(take(&mut rest)?);
        let _: [u8; 10] = take(&mut rest)?;
        if kind == NLMSG_ERROR || kind != BY_FAMILY || length > answer.len() {
            return None;
        }
        let [family, state, _timer, _retransmits] = take(&mut rest)?;
        let ports: [u16; 2] = [u16::from_be_bytes(take(&mut rest)?), u16::from_be_bytes(take(&mut rest)?)];
        let addresses: [[u8; 16]; 2] = [take(&mut rest)?, take(&mut rest)?];
        // Interface, cookie, expiry, queues.
        let _: [u8; 24] = take(&mut rest)?;
        let uid = u32::from_ne_bytes(take(&mut rest)?);
        let inode = u32::from_ne_bytes(take(&mut rest)?);
        let address = |bytes: [u8; 16]| match i32::from(family) {
            libc::AF_INET => bytes.first_chunk::<4>().map(|v4| IpAddr::from(*v4)),
            libc::AF_INET6 => Some(IpAddr::from(bytes).to_canonical()),
            _ => None,
        };
        let [local, remote] = addresses;
        let [local_port, remote_port] = ports;
        Some(Found {
            state,
            local: (address(local)?, local_port),
            remote: (address(remote)?, remote_port),
            uid,
            inode,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

impl From<io::Error> for Unidentified {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // Not connected (any more).
            io::ErrorKind::NotConnected => Unidentified::NoSuchConnection,
            _ => Unidentified::Io(error),
        }
    }
}

/// For the log.
impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unidentified::NoSuchConnection => f.write_str("the other end is not held by anybody here"),
            Unidentified::Hidden => f.write_str("a user namespace hides whose the other end is"),
            Unidentified::Io(error) => write!(f, "sock_diag: {error}"),
        }
    }
}

impl std::error::Error for Unidentified {}

#[cfg(test)]
#[path = "sock_diag_tests.rs"]
mod tests;
