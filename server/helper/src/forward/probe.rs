//! May this be opened or listened on? Answered from the permit, the walk and the rights of the files; nothing is
//! connected, bound or looked up. Whoever asks learns no more than by trying.

use std::io;

use sockward_policy::{
    BindAddress, Decision, Permit, SocketBirth, Unlink, decide_listen_tcp, decide_open_tcp,
};
use sockward_privsep::login::{Answer, Endpoint, Found};
use sockward_sys::unix::{self, BirthError, Occupant};

use super::open::names_of;
use super::paths;
use crate::caller::Caller;
use crate::refused::Refused;

/// Answers the worker.
pub(crate) fn answer(id: u64, listen: bool, at: &Endpoint, caller: &mut Caller<'_>) -> io::Result<()> {
    let found = if listen { may_listen(at, caller) } else { may_open(at, caller.permit) };
    let result = found.map_err(|Refused { why, text, .. }| (why, text));
    caller.answer(&Answer::Probed { id, result })
}

fn may_open(target: &Endpoint, permit: &Permit) -> Result<Found, Refused> {
    match target {
        Endpoint::Tcp { host, port } => match decide_open_tcp(permit, host, port_of(*port)?) {
            Decision::Allowed { .. } => Ok(Found::default()),
            Decision::Refused(refusal) => Err(refusal.into()),
        },
        Endpoint::Path(path) => {
            let (place, _) = paths::permitted(permit, path, &paths::OPEN)?;
            unix::may_connect(&place, names_of(permit))?;
            Ok(Found { place: place.path(), who: String::new() })
        }
    }
}

fn may_listen(at: &Endpoint, caller: &Caller<'_>) -> Result<Found, Refused> {
    let permit = caller.permit;
    match at {
        Endpoint::Tcp { host, port } => match decide_listen_tcp(permit, host, port_of(*port)?) {
            Decision::Allowed { grant, .. } => {
                Ok(Found { place: Vec::new(), who: who_may_connect_to_port(permit, &grant) })
            }
            Decision::Refused(refusal) => Err(refusal.into()),
        },
        Endpoint::Path(path) => {
            let (place, _) = paths::permitted(permit, path, &paths::LISTEN)?;
            let resolved = place.path();
            unix::may_create(&place)?;
            // What this login listens at is there, and its own.
            if caller.shared.held.holder(&resolved) != Some(caller.login)
                && Occupant::look(&place)?.is_some()
                && permit.birth.unlink == Unlink::No
            {
                return Err(BirthError::Exists.into());
            }
            Ok(Found { place: resolved, who: who_may_connect(permit) })
        }
    }
}

fn port_of(port: u32) -> Result<u16, Refused> {
    u16::try_from(port).map_err(|_| Refused::failed("no such port"))
}

/// Who may connect to a socket of this login's: whoever the file lets, and of those the ones on every list.
fn who_may_connect(permit: &Permit) -> String {
    let SocketBirth { mode, group, .. } = &permit.birth;
    let group = group.as_ref().map_or("the socket's group".to_owned(), |g| format!("group {}", g.name));
    let classes = [(0o200, permit.account.name.clone()), (0o020, group), (0o002, "every user".to_owned())];
    let named: Vec<_> = classes.into_iter().filter(|(bit, _)| mode & bit != 0).map(|(_, who)| who).collect();
    let named = if named.is_empty() { "root alone".to_owned() } else { named.join(", ") };
    with_lists(format!("{named} (mode {mode:04o})"), permit)
}

fn who_may_connect_to_port(permit: &Permit, bound: &BindAddress) -> String {
    let everybody = match bound {
        BindAddress::Loopback => "every user of the host",
        BindAddress::Wildcard | BindAddress::Host(_) => "whoever reaches the port",
    };
    with_lists(everybody.to_owned(), permit)
}

fn with_lists(mut who: String, permit: &Permit) -> String {
    for list in &permit.peers {
        let names: Vec<_> = list.texts().collect();
        who.push_str(&format!(", of those only {} (PermitPeer)", names.join(", ")));
    }
    who
}
