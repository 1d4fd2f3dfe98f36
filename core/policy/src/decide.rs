//! Who may open, listen, connect and execute: the functions from a permit and a request to a decision.
//!
//! # TCP
//!
//! A request is allowed if every line below allows it.
//!
//! | line | opening (`-L`) | listening (`-R`) |
//! | --- | --- | --- |
//! | `DisableForwarding yes` | no | no |
//! | `AllowTcpForwarding no` / `local` / `remote` / `yes` | no / yes / no / yes | no / no / yes / yes |
//! | key with `restrict` or `no-port-forwarding`, certificate without `permit-port-forwarding` | no | no |
//! | `AllowStreamLocalForwarding`, a forced command | not asked | not asked |
//! | each `PermitOpen` list | it names host and port as written | not asked |
//! | each `PermitListen` list | not asked | it names host (pattern) and port as requested |
//! | `PermitPeer` | not asked | only where the address that is bound is loopback |
//!
//! # Sockets
//!
//! | line | opening | listening |
//! | --- | --- | --- |
//! | all of the first three lines above | the same | the same |
//! | `AllowStreamLocalForwarding no` / `local` / `remote` / `yes` | no / yes / no / yes | no / no / yes / yes |
//! | each `PermitOpen` list | it names the resolved path | not asked |
//! | each `PermitListen` list | not asked | it names the resolved path |
//! | a forced command | only beside a `PermitOpen` list | only beside a `PermitListen` list |
//!
//! Beside the configuration's `ForceCommand` the list must be the configuration's, beside a key's `command=` (or a
//! certificate's force-command) it may be the key's too.
//!
//! A list of ports alone names no path, and one of paths alone no port; `any` names both and `none` neither.
//!
//! # Sessions
//!
//! | line | shell, command | subsystem | terminal |
//! | --- | --- | --- | --- |
//! | no execution (`WorkerIsolation shared` as root) | no | no | no |
//! | `PermitTTY no`, `no-pty`, `restrict` | yes | yes | no |
//! | forced command | runs it | runs it, if the name is known | yes |
//! | none of these | runs it | if the name is known | yes |
//!
//! # Peers
//!
//! | peer | no list | lists |
//! | --- | --- | --- |
//! | not identified, or the overflow id | yes | no |
//! | known | yes | if each list names it |
//!
//! Without a rule forwarding is allowed as in OpenSSH; everything that restricts is in the permit itself, so a
//! permit that was not built allows nothing to anybody.

use std::collections::BTreeMap;

use crate::peer::OVERFLOW_ID;
use crate::{
    BindAddress, By, Decision, Direction, DirectionRule, Execution, ForcedCommand, Limit, Limited, ListKind,
    Origin, PathPattern, PeerFacts, Permit, Reason, Refusal, RuleList, SessionKind, Source, Target,
};

/// What the host layer found out about a requested path.
#[derive(Clone, Copy, Debug)]
pub struct PathFacts<'a> {
    /// The path after the walk: no symbolic link, `.` or `..` in it.
    pub resolved: &'a [u8],
    /// Each directory that [`pattern_directories`] named, and what the same walk made of it. One that is missing
    /// does not exist or may not be followed: patterns in it match nothing.
    pub directories: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The directories of a permit's path patterns that the host layer is to resolve for a decision on a path.
#[must_use]
pub fn pattern_directories(permit: &Permit, list: ListKind) -> Vec<Vec<u8>> {
    let patterns = lists(permit, list).iter().flat_map(RuleList::paths);
    let globs = patterns.filter_map(|p| p.expand(&permit.account).ok().flatten());
    let mut directories: Vec<_> = globs.map(|g| g.directory()).collect();
    directories.sort_unstable();
    directories.dedup();
    directories
}

/// Whether the server may connect to this host and port for the client.
pub fn decide_open_tcp(permit: &Permit, host: &[u8], port: u16) -> Decision {
    let names = |target: &Target| match target {
        Target::Tcp(rule) => rule.opens(host, port),
        Target::Path(_) => false,
    };
    decision(
        direction(&permit.forwarding.tcp, Direction::Local)
            .and_then(|by| listed(permit, ListKind::PermitOpen, by, names)),
    )
}

/// Whether the server may listen on this host and port for the client, both as requested, and where it binds.
pub fn decide_listen_tcp(permit: &Permit, host: &[u8], port: u16) -> Decision<BindAddress> {
    let names = |target: &Target| match target {
        Target::Tcp(rule) => rule.listens(host, port),
        Target::Path(_) => false,
    };
    let by = direction(&permit.forwarding.tcp, Direction::Remote)
        .and_then(|by| listed(permit, ListKind::PermitListen, by, names));
    let address = permit.forwarding.gateway_ports.bind_address(host);
    match (by, permit.peers.first()) {
        (Err(refusal), _) => Decision::Refused(refusal),
        (Ok(_), Some(peers)) if !address.is_loopback() => {
            Decision::refused(By::Rule(peers.source.clone()), Reason::PeersNeedLoopback)
        }
        (Ok(by), _) => Decision::Allowed { by, grant: address },
    }
}

/// Whether the server may connect to this socket for the client.
pub fn decide_open_path(permit: &Permit, path: PathFacts<'_>) -> Decision {
    decide_path(permit, ListKind::PermitOpen, Direction::Local, path)
}

/// Whether a list names some socket paths and not others. Then a socket with a second name (a hard link) is not to
/// be connected to: its other name may be one that the list leaves out.
#[must_use]
pub fn names_some_paths(permit: &Permit, list: ListKind) -> bool {
    let any = |target: &Target| matches!(target, Target::Path(p) if p.expand(&permit.account) == Ok(None));
    lists(permit, list).iter().any(|rules| !rules.permits(any))
}

/// Whether the server may listen on this socket for the client.
pub fn decide_listen_path(permit: &Permit, path: PathFacts<'_>) -> Decision {
    decide_path(permit, ListKind::PermitListen, Direction::Remote, path)
}

fn decide_path(permit: &Permit, list: ListKind, way: Direction, path: PathFacts<'_>) -> Decision {
    let names = |target: &Target| match target {
        Target::Tcp(_) => false,
        Target::Path(pattern) => path_matches(permit, pattern, path),
    };
    let by = direction(&permit.forwarding.streamlocal, way)
        // What restricts TCP restricts sockets in the same direction, as in OpenSSH.
        .and_then(|by| {
            direction(&permit.forwarding.tcp, way).map(|tcp| if by == By::Default { tcp } else { by })
        })
        .and_then(|by| match &permit.session.forced {
            Some(forced) if !lists(permit, list).iter().any(|l| grants_beside(forced, l)) => {
                Err(Refusal { by: By::Rule(forced.source.clone()), why: Reason::ForcedCommand(list) })
            }
            Some(_) | None => listed(permit, list, by, names),
        });
    decision(by)
}

/// A list of the configuration grants sockets beside any forced command, one of the key beside the key's alone:
/// users must not lift a `ForceCommand` with a line in their own file.
fn grants_beside(forced: &ForcedCommand, list: &RuleList) -> bool {
    match (forced.origin, list.origin) {
        (_, Origin::Configuration) | (Origin::Key, Origin::Key) => true,
        (Origin::Configuration, Origin::Key) => false,
    }
}

fn path_matches(permit: &Permit, pattern: &PathPattern, path: PathFacts<'_>) -> bool {
    match pattern.expand(&permit.account) {
        Ok(None) => true,
        Ok(Some(glob)) => path
            .directories
            .get(&glob.directory())
            .is_some_and(|directory| glob.matches(directory, path.resolved)),
        // A login name or home that is not literal text: the entry names nothing.
        Err(_) => false,
    }
}

/// What runs on a session channel.
pub fn decide_session(permit: &Permit, kind: SessionKind<'_>) -> Decision<Execution> {
    let session = &permit.session;
    if let Some(source) = &session.disabled {
        return Decision::refused(By::Rule(source.clone()), Reason::NoExecution);
    }
    let asked = match kind {
        SessionKind::Shell => None,
        SessionKind::Exec(command) => Some(command.to_vec()),
        SessionKind::Subsystem(name) => match session.subsystems.iter().find(|s| s.name == name) {
            Some(subsystem) => Some(subsystem.command.clone()),
            None => return Decision::refused(By::Default, Reason::NoSubsystem),
        },
    };
    match &session.forced {
        Some(ForcedCommand { command, source, origin: _ }) => Decision::Allowed {
            by: By::Rule(source.clone()),
            grant: Execution { command: Some(command.clone()), original: asked },
        },
        None => Decision::Allowed { by: By::Default, grant: Execution { command: asked, original: None } },
    }
}

/// Whether a session may have a terminal.
pub fn decide_tty(permit: &Permit) -> Decision {
    let refuse = |source: &Source, why| Decision::refused(By::Rule(source.clone()), why);
    match (&permit.session.disabled, permit.session.no_tty.first()) {
        (Some(source), _) => refuse(source, Reason::NoExecution),
        (None, Some(source)) => refuse(source, Reason::NoTty),
        (None, None) => Decision::Allowed { by: By::Default, grant: () },
    }
}

/// Whether a peer may connect to what the login listens on; `None` is a peer that was not identified.
pub fn decide_peer(permit: &Permit, peer: Option<&PeerFacts>) -> Decision {
    let mut by = By::Default;
    for list in &permit.peers {
        let rule = By::Rule(list.source.clone());
        match peer {
            Some(facts) if facts.uid != OVERFLOW_ID && list.names(facts) => by = rule,
            Some(facts) if facts.uid != OVERFLOW_ID => return Decision::refused(rule, Reason::PeerNotListed),
            Some(_) | None => return Decision::refused(rule, Reason::PeerUnknown),
        }
    }
    Decision::Allowed { by, grant: () }
}

/// Whether there may be one more where there are `current`.
pub fn decide_one_more(permit: &Permit, what: Limited, current: usize) -> Decision {
    let Limit { max, by } = match what {
        Limited::Sessions => &permit.limits.sessions,
        Limited::Listeners => &permit.limits.listeners,
        Limited::ForwardedConnections => &permit.limits.forwarded_connections,
    };
    match *max {
        Some(max) if u32::try_from(current).is_ok_and(|current| current < max) => {
            Decision::Allowed { by: by.clone(), grant: () }
        }
        Some(max) => Decision::refused(by.clone(), Reason::Limit(what, max)),
        None => Decision::Allowed { by: by.clone(), grant: () },
    }
}

fn lists(permit: &Permit, list: ListKind) -> &[RuleList] {
    match list {
        ListKind::PermitOpen => &permit.forwarding.open,
        ListKind::PermitListen => &permit.forwarding.listen,
    }
}

/// What allows a direction: each rule must. The last one is named.
fn direction(rules: &[DirectionRule], way: Direction) -> Result<By, Refusal> {
    let mut by = By::Default;
    for rule in rules {
        let source = By::Rule(rule.source.clone());
        if !rule.leaves.includes(way) {
            return Err(Refusal { by: source, why: Reason::Direction(rule.switch, way) });
        }
        by = source;
    }
    Ok(by)
}

/// What allows an item: each list must name it. The last list is named, or `by` where there is none.
fn listed(permit: &Permit, list: ListKind, by: By, names: impl Fn(&Target) -> bool) -> Result<By, Refusal> {
    let mut by = by;
    for rules in lists(permit, list) {
        let source = By::Rule(rules.source.clone());
        if !rules.permits(&names) {
            return Err(Refusal { by: source, why: Reason::NotListed(list) });
        }
        by = source;
    }
    Ok(by)
}

fn decision(by: Result<By, Refusal>) -> Decision {
    match by {
        Ok(by) => Decision::Allowed { by, grant: () },
        Err(refusal) => Decision::Refused(refusal),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
