//! Addresses that listen. Sockets in the file system come to be complete, take the place of nothing but a dead
//! socket (of a live one with `unlink-early`), and go with this process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use sockward_policy::peer::PeerName;
use sockward_sys::account::{Account, Group};
use sockward_sys::path::Place;
use sockward_sys::resolve::{self, Family, NotResolved};
use sockward_sys::unix::{FirstLook, Newborn, Occupant, Replaceable, SecondLook};
use sockward_sys::{limits, tcp, unix};

use crate::address::{Address, Kind};
use crate::end::End;
use crate::failure::words;
use crate::open::prepare_tcp;

/// What listens for one address.
pub(crate) struct Listener {
    sockets: Sockets,
    peers: Option<Peers>,
}

enum Sockets {
    Tcp(Vec<tcp::Listener>),
    Unix(unix::Listener),
}

/// Who may connect.
struct Peers {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Listener {
    /// Listens. The error is a sentence that does not name the address. Waits 200 ms where a socket may be dead.
    pub(crate) fn bind(address: &Address) -> Result<Listener, String> {
        let peers = address.options.permit_peer.as_deref().map(Peers::look_up).transpose()?;
        let sockets = match &address.kind {
            Kind::TcpListen { host, port, family } => {
                Sockets::Tcp(bind_tcp(address, host.as_deref(), *port, *family)?)
            }
            Kind::UnixListen { path } => Sockets::Unix(bind_unix(address, path)?),
            Kind::Stdio | Kind::Tcp { .. } | Kind::Unix { .. } | Kind::Exec { .. } => {
                return Err("this address does not listen".into());
            }
        };
        Ok(Listener { sockets, peers })
    }

    /// What to wait for.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match &self.sockets {
            Sockets::Tcp(all) => all.iter().map(AsFd::as_fd).collect(),
            Sockets::Unix(listener) => vec![listener.as_fd()],
        }
    }

    /// Where it really listens, for messages.
    pub(crate) fn places(&self) -> String {
        match &self.sockets {
            Sockets::Tcp(all) => all.iter().map(|l| l.address().to_string()).collect::<Vec<_>>().join(" "),
            Sockets::Unix(listener) => listener.path().escape_ascii().to_string(),
        }
    }

    /// The next connection of somebody who may, or `WouldBlock`. Others are closed, and that is said.
    pub(crate) fn accept(&self, address: &Address) -> io::Result<End> {
        match &self.sockets {
            Sockets::Tcp(all) => {
                for listener in all {
                    match listener.accept() {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        Err(e) => return Err(e),
                        Ok((socket, from)) => {
                            log::debug!("{}: connection from {from}", address.text);
                            prepare_tcp(&socket, address);
                            return Ok(End::socket(socket));
                        }
                    }
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
            Sockets::Unix(listener) => loop {
                let socket = listener.accept()?;
                if self.lets_in(&socket, address) {
                    return Ok(End::socket(socket));
                }
            },
        }
    }

    fn lets_in(&self, socket: &OwnedFd, address: &Address) -> bool {
        let found = unix::peer(socket).ok();
        let who = match &found {
            Some(unix::Peer { uid: Some(uid), pid, .. }) => match pid {
                Some(pid) => format!("uid {uid} pid {pid}"),
                None => format!("uid {uid}"),
            },
            Some(_) | None => "an unknown user".to_owned(),
        };
        let allowed = self.peers.as_ref().is_none_or(|peers| found.is_some_and(|found| peers.name(&found)));
        if allowed {
            log::debug!("{}: connection from {who}", address.text);
        } else {
            log::warn!("{}: connection from {who} refused: not in permit-peer", address.text);
        }
        allowed
    }
}

impl Peers {
    fn look_up(names: &[PeerName]) -> Result<Peers, String> {
        let mut peers = Peers { uids: Vec::new(), gids: Vec::new() };
        for name in names {
            match name {
                PeerName::User(name) => peers.uids.push(user(name)?),
                PeerName::Group(name) => peers.gids.push(group(name)?),
            }
        }
        Ok(peers)
    }

    fn name(&self, peer: &unix::Peer) -> bool {
        peer.uid.is_some_and(|uid| self.uids.contains(&uid))
            || self.gids.iter().any(|gid| peer.in_group(*gid))
    }
}

fn user(name: &str) -> Result<u32, String> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    let account = Account::by_name(name).map_err(|e| words(&e))?;
    account.map(|a| a.uid).ok_or_else(|| format!("there is no user {}", name.escape_debug()))
}

fn group(name: &str) -> Result<u32, String> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    let group = Group::by_name(name).map_err(|e| words(&e))?;
    group.map(|g| g.gid).ok_or_else(|| format!("there is no group {}", name.escape_debug()))
}

fn bind_tcp(
    address: &Address,
    host: Option<&str>,
    port: u16,
    family: Family,
) -> Result<Vec<tcp::Listener>, String> {
    let addresses = match address.options.bind.as_deref().or(host) {
        Some(name) => resolve::forward_blocking(name, port, family).map_err(|NotResolved(why)| why)?,
        None => {
            log::warn!("{}: listens on all addresses; bind=127.0.0.1 keeps it to this machine", address.text);
            let wildcard = tcp::wildcard(port).into_iter();
            wildcard
                .filter(|a| match family {
                    Family::Any => true,
                    Family::V4 => a.is_ipv4(),
                    Family::V6 => a.is_ipv6(),
                })
                .collect()
        }
    };
    let mut group = tcp::Listener::bind_group(&addresses, address.options.backlog).map_err(|e| words(&e))?;
    match group.failed.pop() {
        None => Ok(group.listeners),
        // Who connects there would reach somebody else.
        Some((at, e)) => Err(format!("{at}: {}", words(&e))),
    }
}

fn bind_unix(address: &Address, path: &[u8]) -> Result<unix::Listener, String> {
    let options = &address.options;
    let place = place(path)?;
    let over = match Occupant::look(&place).map_err(|e| e.to_string())? {
        None => None,
        Some(occupant) if options.unlink_early => Some(occupant.live_or_not()),
        Some(occupant) => Some(dead(occupant)?),
    };
    let born = Newborn::bind(place).map_err(|e| e.to_string())?;
    if let Some(name) = &options.group {
        let gid = group(name)?;
        born.set_group(gid).map_err(|e| format!("cannot set the group {name}: {}", words(&e)))?;
    }
    if let Some(name) = &options.user {
        let uid = user(name)?;
        born.set_owner(uid).map_err(|e| format!("cannot set the owner {name}: {}", words(&e)))?;
    }
    let mode = options.mode.unwrap_or_else(|| 0o777 & !limits::umask());
    born.publish(mode, options.backlog, over).map_err(|e| e.to_string())
}

/// The user's own links lead where he wants; the last name is not followed.
fn place(path: &[u8]) -> Result<Place, String> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    let (Some(name), Some(directory)) = (path.file_name(), path.parent()) else {
        return Err("the path does not end in a file name".to_owned());
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let real = directory.canonicalize().map_err(|e| words(&e))?;
    Place::for_new(real.join(name).as_os_str().as_bytes()).map_err(|e| e.to_string())
}

fn dead(occupant: Occupant) -> Result<Replaceable, String> {
    let live = || "Address already in use: somebody listens there".to_owned();
    let mut probe = match occupant.probe().map_err(|e| words(&e))? {
        FirstLook::Live => return Err(live()),
        FirstLook::Unsure(probe) => probe,
    };
    loop {
        let left = probe.due().saturating_duration_since(Instant::now());
        std::thread::sleep(left + Duration::from_millis(1));
        probe = match probe.again().map_err(|e| words(&e))? {
            SecondLook::NotYet(probe) => probe,
            SecondLook::Live => return Err(live()),
            SecondLook::Stale(old) => return Ok(old),
        };
    }
}
