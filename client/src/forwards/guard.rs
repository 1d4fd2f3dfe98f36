//! Who may connect to this client's loopback ports (`PermitPeer`): a port of this machine is open to all its users
//! unless somebody looks. Sockets are not looked at here: their mode says who may.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use sockward_config::ssh::PermitPeer;
use sockward_policy::{OVERFLOW_ID, PeerFacts, PeerList, PeerName};
use sockward_sys::account::Account;
use sockward_sys::{identity, sock_diag};

/// The guard of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Everybody may come.
    Open,
    /// The user who runs this, and root.
    Own,
    /// Those of a list.
    List(PeerList),
}

impl Guard {
    /// The guard for listeners at these addresses; none if the peers of one cannot be told and somebody has asked
    /// for that.
    pub(super) fn of(permit: &PermitPeer, addresses: &[SocketAddr]) -> Option<Guard> {
        let loopback = addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
        match permit {
            PermitPeer::Any => Some(Guard::Open),
            // Whoever asks for another address wants other machines to come.
            PermitPeer::OwnUser if !loopback => Some(Guard::Open),
            PermitPeer::OwnUser => Some(Guard::Own),
            PermitPeer::List(list) => loopback.then(|| Guard::List(list.clone())),
        }
    }

    /// Whether whoever has connected may stay; otherwise why not, for people.
    pub(super) fn check(&self, socket: impl AsFd) -> Result<(), String> {
        if *self == Guard::Open {
            return Ok(());
        }
        let peer = sock_diag::peer(socket).map_err(|e| e.to_string())?;
        let uid = peer.uid;
        if uid == OVERFLOW_ID {
            return Err("a user namespace hides the user".to_owned());
        }
        let may = match self {
            Guard::Open => true,
            Guard::Own => uid == 0 || uid == identity::effective_uid(),
            Guard::List(list) => list.names(&facts(list, uid)),
        };
        if may { Ok(()) } else { Err(format!("user {} is not permitted", name(uid))) }
    }
}

/// Which names of the list are this user's. The kernel tells the uid of a TCP peer and no groups, so they are the
/// account's.
fn facts(list: &PeerList, uid: u32) -> PeerFacts {
    let is_peer = |name: &String| Account::by_name(name).ok().flatten().is_some_and(|a| a.uid == uid);
    let users = list.peers.iter().filter_map(|peer| match peer {
        PeerName::User(user) => Some(user.clone()).filter(is_peer),
        PeerName::Group(_) => None,
    });
    let users = users.collect();
    let groups = Account::by_uid(uid).ok().flatten().and_then(|a| a.group_names().ok()).unwrap_or_default();
    PeerFacts { uid, users, groups }
}

fn name(uid: u32) -> String {
    Account::by_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |account| account.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_policy::Source;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn list(names: &[&str]) -> PeerList {
        let words = names.iter().map(|name| name.as_bytes());
        PeerList::parse(words, Source::command_line()).unwrap().unwrap()
    }

    #[test]
    fn loopback_is_guarded_and_what_cannot_be_is_refused() {
        let (near, far) =
            (addresses(&["[::1]:80", "127.0.0.1:80"]), addresses(&["127.0.0.1:80", "0.0.0.0:80"]));
        assert_eq!(Guard::of(&PermitPeer::OwnUser, &near), Some(Guard::Own));
        assert_eq!(Guard::of(&PermitPeer::OwnUser, &far), Some(Guard::Open));
        assert_eq!(Guard::of(&PermitPeer::Any, &near), Some(Guard::Open));
        let bob = PermitPeer::List(list(&["bob"]));
        assert_eq!(Guard::of(&bob, &near), Some(Guard::List(list(&["bob"]))));
        assert_eq!(Guard::of(&bob, &far), None);
    }

    #[test]
    fn the_kernel_says_who_comes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let own = name(identity::effective_uid());
        assert_eq!(Guard::Own.check(&accepted), Ok(()));
        assert_eq!(Guard::List(list(&[&own])).check(&accepted), Ok(()));
        assert_eq!(
            Guard::List(list(&["none"])).check(&accepted),
            Err(format!("user {own} is not permitted"))
        );
        let group = Account::own().unwrap().unwrap().group_names().unwrap().remove(0);
        assert_eq!(Guard::List(list(&[&format!("@{group}")])).check(&accepted), Ok(()));
        drop(client);
        assert!(Guard::Own.check(&accepted).is_err(), "nobody holds the other end");
        assert_eq!(Guard::Open.check(&accepted), Ok(()));
    }
}
