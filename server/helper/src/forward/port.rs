//! Listeners on TCP ports: which addresses, and all of them or none.

use std::net::SocketAddr;

use sockward_policy::{BindAddress, By, Decision, decide_listen_tcp};
use sockward_sys::resolve::Forward;
use sockward_sys::tcp;

use super::listen::{BACKLOG, Outcome, Sockets, Step};
use crate::caller::Caller;
use crate::poller::Subject;
use crate::refused::{Refused, though_allowed};

/// Begins to listen on a port as the client names it; and the line that allows it.
pub(super) fn begin(
    id: u64,
    host: &[u8],
    port: u32,
    caller: &mut Caller<'_>,
) -> Result<(By, Outcome), Refused> {
    let port = u16::try_from(port).map_err(|_| Refused::failed("no such port"))?;
    let (by, address) = match decide_listen_tcp(caller.permit, host, port) {
        Decision::Allowed { by, grant } => (by, grant),
        Decision::Refused(refusal) => return Err(refusal.into()),
    };
    let outcome = match address {
        BindAddress::Loopback => bind(&tcp::loopback(port)),
        BindAddress::Wildcard => bind(&tcp::wildcard(port)),
        BindAddress::Host(host) => bind_host(id, host, port, caller),
    };
    though_allowed(outcome, &by).map(|outcome| (by, outcome))
}

fn bind_host(id: u64, host: Vec<u8>, port: u16, caller: &mut Caller<'_>) -> Result<Outcome, Refused> {
    let host = String::from_utf8(host).map_err(|_| Refused::failed("not a host name"))?;
    match caller.shared.look_up(&host, Subject::Birth(caller.login, id)) {
        Some(known) => resolved(&known, port),
        None => Ok(Outcome::Wait(Step::Addresses { port })),
    }
}

/// The addresses of the host have come.
pub(super) fn resolved(answer: &Forward, port: u16) -> Result<Outcome, Refused> {
    let addresses = answer.as_ref().map_err(|e| Refused::failed(&e.0))?;
    let with_port = |address: &SocketAddr| {
        let mut address = *address;
        address.set_port(port);
        address
    };
    bind(&addresses.iter().map(with_port).collect::<Vec<_>>())
}

/// Listens on all addresses or on none. OpenSSH is content with one of two; but who connects to the other, which
/// somebody else may hold, would not reach this login.
fn bind(addresses: &[SocketAddr]) -> Result<Outcome, Refused> {
    let mut group = tcp::Listener::bind_group(addresses, BACKLOG)?;
    match group.failed.pop() {
        None => Ok(Outcome::Listening(Sockets::Tcp(group.listeners))),
        Some((address, e)) => {
            let refused = Refused::from(e);
            Err(Refused { log: format!("{address}: {}", refused.text), ..refused })
        }
    }
}
