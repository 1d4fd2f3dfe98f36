//! Whether a local user gets to a socket or a port: PermitPeer, then what the file system lets through.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sockward_policy::peer::PeerName;
use sockward_policy::{Decision, ListKind, PeerFacts, Permit, Refusal, decide_peer};
use sockward_sys::account::{Account, Group};
use sockward_sys::file;

use crate::ask::{Place, remedy};

/// A user of this machine and all groups.
pub(crate) struct Local {
    name: String,
    uid: u32,
    groups: BTreeSet<u32>,
}

impl Local {
    /// Looks the user up.
    pub(crate) fn find(name: &str) -> Result<Local, String> {
        let account = Account::by_name(name).map_err(|e| e.to_string())?;
        let account = account.ok_or_else(|| format!("there is no user {name}"))?;
        let groups = account.groups().map_err(|e| e.to_string())?.into_iter().collect();
        Ok(Local { name: name.to_owned(), uid: account.uid, groups })
    }

    /// Which of the names on the permit's lists are this user's.
    fn facts(&self, permit: &Permit) -> PeerFacts {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for name in permit.peers.iter().flat_map(|list| &list.peers) {
            match name {
                PeerName::User(user) => {
                    let found = Account::by_name(user).ok().flatten();
                    users.extend(found.filter(|a| a.uid == self.uid).map(|_| user.clone()));
                }
                PeerName::Group(group) => {
                    let found = Group::by_name(group).ok().flatten();
                    groups.extend(found.filter(|g| self.groups.contains(&g.gid)).map(|_| group.clone()));
                }
            }
        }
        PeerFacts { uid: self.uid, users, groups }
    }

    /// Whether permission bits let this user do something (4 read, 2 write, 1 search). Access lists are not looked
    /// at: see [`say_lists`].
    fn passes(&self, (owner, group, mode): (u32, u32, u32), wanted: u32) -> bool {
        let class = match () {
            () if self.uid == 0 => return true,
            () if self.uid == owner => mode >> 6,
            () if self.groups.contains(&group) => mode >> 3,
            () => mode,
        };
        class & wanted == wanted
    }
}

/// Says whether the user gets there; true if so.
pub(crate) fn connects(permit: &Permit, at: &OsStr, who: &Local) -> bool {
    let name = &who.name;
    let by = match decide_peer(permit, Some(&who.facts(permit))) {
        Decision::Allowed { by, grant: () } => by,
        Decision::Refused(Refusal { by, why }) => {
            println!("{name} may not connect to it: {}", Refusal { by, why: why.clone() });
            if let Some(remedy) = remedy(&why) {
                println!("  to change that: {remedy}");
            }
            return false;
        }
    };
    let Place::Path(path) = Place::of(at) else {
        println!("{name} may connect to it: allowed by {by}");
        return true;
    };
    let Ok((real, _)) = sockward_helper::explain_path(permit, ListKind::PermitListen, &path) else {
        return false;
    };
    let real = Path::new(OsStr::from_bytes(&real));
    say_lists(real);
    for directory in real.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
        let Ok(metadata) = directory.metadata() else {
            println!("{name} may not connect to it: {} cannot be looked at", directory.display());
            return false;
        };
        if !who.passes((metadata.uid(), metadata.gid(), metadata.mode()), 1) {
            println!(
                "{name} may not connect to it: {} cannot be searched (mode {:04o})",
                directory.display(),
                metadata.mode() & 0o7777
            );
            println!("  to change that: the search bit (x) of that directory for {name}");
            return false;
        }
    }
    let group = match &permit.birth.group {
        Some(group) => Group::by_name(&group.name).ok().flatten().map(|g| g.gid),
        None => Some(directory_group(real).unwrap_or(permit.account.gid)),
    };
    let mode = u32::from(permit.birth.mode);
    if !who.passes((permit.account.uid, group.unwrap_or(u32::MAX), mode), 2) {
        println!(
            "{name} may not connect to it: the socket's mode is {mode:04o}, its owner {}",
            permit.account.name
        );
        println!("  to change that: StreamLocalBindMode and StreamLocalBindGroup");
        return false;
    }
    println!("{name} may connect to it: allowed by {by}, the directories and the mode {mode:04o}");
    true
}

/// Names what has an access list: the kernel goes by it, and the answer by the mode alone.
fn say_lists(real: &Path) {
    for directory in real.ancestors().skip(1).filter(|d| file::has_access_list(d)) {
        println!(
            "  note: {0} has an access list (ACL), which this answer leaves out: see getfacl {0}",
            directory.display()
        );
    }
}

/// The group that a setgid directory gives.
fn directory_group(path: &Path) -> Option<u32> {
    let metadata = path.parent()?.metadata().ok()?;
    (metadata.mode() & 0o2000 != 0).then(|| metadata.gid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_count_by_the_first_class_that_fits() {
        let bob = Local { name: "bob".into(), uid: 5, groups: [7].into() };
        for (file, wanted, passes) in [
            ((5, 7, 0o700), 1, true),
            // The owner's bits hold for the owner, even if the group has more.
            ((5, 7, 0o070), 2, false),
            ((1, 7, 0o060), 2, true),
            ((1, 7, 0o006), 2, false),
            ((1, 1, 0o711), 1, true),
            ((1, 1, 0o660), 2, false),
        ] {
            assert_eq!(bob.passes(file, wanted), passes, "{file:?} {wanted}");
        }
        let root = Local { name: "root".into(), uid: 0, groups: BTreeSet::new() };
        assert!(root.passes((1, 1, 0), 2));
    }
}
