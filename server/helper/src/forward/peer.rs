//! Who connected to a listener, for the permit, the log and the audit.

use sockward_policy::peer::PeerName;
use sockward_policy::{By, Decision, PeerFacts, Permit, decide_peer};
use sockward_privsep::helper::Peer;
use sockward_sys::account::{Account, Group};
use sockward_sys::unix;

use crate::refused::Refused;

/// Decides on a process that has connected to a socket; it is told who, as far as known, in either case.
pub(super) fn process(permit: &Permit, socket: impl std::os::fd::AsFd) -> (Peer, Result<By, Refused>) {
    // An error means: not identified.
    let found = unix::peer(socket).ok();
    let peer = Peer::Process {
        uid: found.as_ref().and_then(|p| p.uid),
        gid: found.as_ref().and_then(|p| p.gid),
        pid: found.as_ref().and_then(|p| p.pid),
    };
    let facts = found.as_ref().and_then(|found| facts(permit, found));
    (peer, decision(permit, facts.as_ref()))
}

/// Decides on a peer of a TCP listener: who that is cannot be told, so a list refuses it.
pub(super) fn unidentified(permit: &Permit) -> Result<By, Refused> {
    decision(permit, None)
}

fn decision(permit: &Permit, facts: Option<&PeerFacts>) -> Result<By, Refused> {
    match decide_peer(permit, facts) {
        Decision::Allowed { by, grant: () } => Ok(by),
        Decision::Refused(refusal) => Err(refusal.into()),
    }
}

/// Which of the names on the permit's lists are the peer's. Names are looked up from the lists, not from the ids:
/// several may stand for one id. They are looked up anew for each peer, and one that cannot be is not the peer's.
fn facts(permit: &Permit, found: &unix::Peer) -> Option<PeerFacts> {
    let uid = found.uid?;
    let mut facts = PeerFacts { uid, users: Vec::new(), groups: Vec::new() };
    for name in permit.peers.iter().flat_map(|list| &list.peers) {
        match name {
            PeerName::User(user) => {
                let account = Account::by_name(user).ok().flatten();
                facts.users.extend(account.filter(|a| a.uid == uid).map(|_| user.clone()));
            }
            PeerName::Group(group) => {
                let entry = Group::by_name(group).ok().flatten();
                facts.groups.extend(entry.filter(|g| found.in_group(g.gid)).map(|_| group.clone()));
            }
        }
    }
    Some(facts)
}
