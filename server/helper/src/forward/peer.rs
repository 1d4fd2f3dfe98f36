//! Who connected to a listener, for the permit, the log and the audit.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use sockward_policy::{By, Decision, PeerFacts, Permit, decide_peer};
use sockward_privsep::helper::Peer;
use sockward_sys::account::Identities;
use sockward_sys::{process, sock_diag, unix};

use crate::names;
use crate::refused::Refused;

/// A peer as the kernel knows it.
#[derive(Debug)]
pub(super) struct Identity {
    /// For the log and the audit.
    pub(super) peer: Peer,
    /// What a list is held against; the error says why nobody is known.
    known: Result<Known, String>,
}

#[derive(Debug)]
struct Known {
    uid: u32,
    /// The groups of the process; none by TCP, where the kernel tells the uid alone.
    groups: Option<Vec<u32>>,
}

/// Whoever connected to a socket in the file system: the process, at the time of its connect(2).
pub(super) fn of_process(socket: impl AsFd) -> Identity {
    let found = unix::peer(socket);
    let pid = found.as_ref().ok().and_then(|p| p.pid);
    let about = pid.map(process::about).unwrap_or_default();
    let peer = Peer::Process {
        uid: found.as_ref().ok().and_then(|p| p.uid),
        gid: found.as_ref().ok().and_then(|p| p.gid),
        pid,
        command: about.command,
        executable: about.executable,
    };
    let known = match found {
        Ok(unix::Peer { uid: Some(uid), gid, mut groups, .. }) => {
            groups.extend(gid);
            Ok(Known { uid, groups: Some(groups) })
        }
        Ok(unix::Peer { uid: None, .. }) => Err("a user namespace hides the user".to_owned()),
        Err(e) => Err(e.to_string()),
    };
    Identity { peer, known }
}

/// Whoever connected to a port: the owner of the socket, if it is one of this machine.
pub(super) fn of_connection(socket: impl AsFd, from: SocketAddr) -> Identity {
    let found = sock_diag::peer(socket);
    let uid = found.as_ref().ok().map(|found| found.uid);
    let known = found.map(|found| Known { uid: found.uid, groups: None }).map_err(|e| e.to_string());
    Identity { peer: Peer::Address { from, uid }, known }
}

impl Identity {
    /// Whether names have to be looked up to decide on it; with the uid whose account's groups matter.
    pub(super) fn asks(&self, permit: &Permit) -> Option<Option<u32>> {
        let known = self.known.as_ref().ok().filter(|_| !permit.peers.is_empty())?;
        let (_, groups) = names::listed(permit);
        Some(Some(known.uid).filter(|_| known.groups.is_none() && !groups.is_empty()))
    }

    /// Holds it against the permit. `names`: who stands behind the names of the lists.
    pub(super) fn decide(&self, permit: &Permit, names: Option<&Identities>) -> Result<By, Refused> {
        let facts = match (&self.known, names) {
            (Ok(known), Some(names)) => Some(known.facts(permit, names)),
            (Ok(_), None) | (Err(_), _) => None,
        };
        match decide_peer(permit, facts.as_ref()) {
            Decision::Allowed { by, grant: () } => Ok(by),
            Decision::Refused(refusal) => {
                let refused = Refused::from(refusal);
                Err(match &self.known {
                    Ok(_) => refused,
                    Err(why) => Refused { log: format!("{}: {why}", refused.log), ..refused },
                })
            }
        }
    }
}

impl Known {
    /// Which of the names on the permit's lists are the peer's. They are looked up from the lists, not from the
    /// ids: several may stand for one id.
    fn facts(&self, permit: &Permit, found: &Identities) -> PeerFacts {
        let (users, groups) = names::listed(permit);
        let member_of = self.groups.as_ref().unwrap_or(&found.member_of);
        let users = users.into_iter().zip(&found.users).filter(|(_, uid)| **uid == Some(self.uid));
        let groups = groups
            .into_iter()
            .zip(&found.groups)
            .filter(|(_, gid)| gid.is_some_and(|gid| member_of.contains(&gid)));
        PeerFacts {
            uid: self.uid,
            users: users.map(|(name, _)| name.to_owned()).collect(),
            groups: groups.map(|(name, _)| name.to_owned()).collect(),
        }
    }
}
