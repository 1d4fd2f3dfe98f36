//! Socket paths as clients name them: to absolute ones, through the walk, past the permit.

use std::collections::BTreeMap;

use sockward_policy::{By, Decision, ListKind, PathFacts, Permit, Reason, pattern_directories};
use sockward_sys::path::{Place, ResolvedDir, WalkError};
use sockward_wire::SocketPath;

use crate::refused::Refused;

/// How a path is walked and what decides on the result.
pub(super) struct Way {
    pub(super) list: ListKind,
    pub(super) walk: fn(&[u8]) -> Result<Place, WalkError>,
    pub(super) decide: fn(&Permit, PathFacts<'_>) -> Decision,
}

/// To connect: links in the last component are followed under the rule of all others.
pub(super) const OPEN: Way = Way {
    list: ListKind::PermitOpen,
    walk: Place::of_existing,
    decide: |permit, facts| sockward_policy::decide_open_path(permit, facts),
};

/// To listen: what has the name is what would be replaced.
pub(super) const LISTEN: Way = Way {
    list: ListKind::PermitListen,
    walk: Place::for_new,
    decide: |permit, facts| sockward_policy::decide_listen_path(permit, facts),
};

/// The place that a client names, if the permit lets it be used so, and the line that does.
///
/// Whether something exists on the way is told only to those who may use it: a path that cannot be walked is held
/// against the permit as it was written, and a refusal of the permit comes first.
pub(super) fn permitted(permit: &Permit, asked: &[u8], way: &Way) -> Result<(Place, By), Refused> {
    let path = absolute(asked, &permit.account.home)?;
    let place = (way.walk)(&path);
    let mut directories = resolved_directories(permit, way.list);
    let resolved = match &place {
        Ok(place) => place.path(),
        Err(_) => {
            for directory in pattern_directories(permit, way.list) {
                directories.entry(directory.clone()).or_insert(directory);
            }
            path
        }
    };
    match (way.decide)(permit, PathFacts { resolved: &resolved, directories: &directories }) {
        Decision::Allowed { by, grant: () } => Ok((place?, by)),
        Decision::Refused(refusal) => Err(refusal.into()),
    }
}

/// Why a path may not be used, for `explain`.
#[derive(Clone, Debug)]
pub struct PathRefused {
    /// In words, with the line that decided.
    pub why: String,
    /// The permit's reason; none where the path leads nowhere.
    pub reason: Option<Reason>,
}

/// What a helper with the rights of this process would decide on a path: where it really is, and the line that
/// allows it. For `explain`: nothing is done with the path.
pub fn explain_path(permit: &Permit, list: ListKind, asked: &[u8]) -> Result<(Vec<u8>, By), PathRefused> {
    let way = match list {
        ListKind::PermitOpen => &OPEN,
        ListKind::PermitListen => &LISTEN,
    };
    match permitted(permit, asked, way) {
        Ok((place, by)) => Ok((place.path(), by)),
        Err(refused) => Err(PathRefused { why: refused.log, reason: refused.reason }),
    }
}

/// A path without a slash at its start is under the home directory, and so is what follows `~/`.
fn absolute(asked: &[u8], home: &[u8]) -> Result<Vec<u8>, Refused> {
    let path = SocketPath::new(asked).map_err(Refused::failed)?;
    match path.as_bytes() {
        [b'/', ..] => Ok(path.as_bytes().to_vec()),
        _ if !home.starts_with(b"/") => Err(Refused::failed("the home directory is not an absolute path")),
        [b'~', b'/', name @ ..] | name => Ok([home, b"/", name].concat()),
    }
}

/// The directories of the permit's patterns through the same walk. One that cannot be walked is left out. They are
/// walked anew for each decision: what was true of a directory a moment ago permits nothing.
fn resolved_directories(permit: &Permit, list: ListKind) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let walked = |directory: Vec<u8>| {
        let resolved = ResolvedDir::of(&directory).ok()?.path().to_vec();
        Some((directory, resolved))
    };
    pattern_directories(permit, list).into_iter().filter_map(walked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_slash_are_under_the_home() {
        for (asked, path) in [
            ("/run/x", Some("/run/x")),
            ("x", Some("/home/alex/x")),
            ("~/x", Some("/home/alex/x")),
            ("~x", Some("/home/alex/~x")),
            ("~//x", Some("/home/alex//x")),
            ("./x", Some("/home/alex/./x")),
            ("", None),
            ("a\0b", None),
        ] {
            let found = absolute(asked.as_bytes(), b"/home/alex").ok();
            assert_eq!(found.as_deref(), path.map(str::as_bytes), "{asked}");
        }
        for home in ["", "home/alex"] {
            assert!(absolute(b"x", home.as_bytes()).is_err(), "{home:?} is no home");
            assert_eq!(absolute(b"/x", home.as_bytes()).unwrap(), b"/x");
        }
    }
}
