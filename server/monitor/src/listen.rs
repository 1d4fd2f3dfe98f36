//! The server's own listening sockets, and how a reload changes them.

use std::net::SocketAddr;

use sockward_config::choice::AddressFamily;
use sockward_config::sshd::Effective;
use sockward_sys::resolve::{self, Family};
use sockward_sys::tcp::Listener;

/// What the kernel keeps waiting; sshd asks for as many.
const BACKLOG: i32 = 128;

/// Binds what the configuration names and lets go of what it names no more. An address that cannot be bound is
/// logged; none at all is an error, which leaves `present` as it was.
pub(crate) fn bind(values: &Effective, present: &mut Vec<Listener>) -> Result<(), String> {
    let mut listeners = Vec::new();
    for wanted in wanted(values)? {
        if let Some(at) = present.iter().position(|l| l.address() == wanted) {
            listeners.push(present.swap_remove(at));
            continue;
        }
        match Listener::bind(wanted, BACKLOG) {
            Ok(listener) => {
                let address = listener.address();
                log::info!("Server listening on {} port {}.", address.ip(), address.port());
                listeners.push(listener);
            }
            Err(e) => log::error!("Bind to port {} on {} failed: {e}.", wanted.port(), wanted.ip()),
        }
    }
    if listeners.is_empty() {
        return Err("Cannot bind any address.".into());
    }
    *present = listeners;
    Ok(())
}

fn wanted(values: &Effective) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let family = match values.address_family {
        AddressFamily::Any => Family::Any,
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
    };
    for (host, port) in values.listeners() {
        let found = resolve::forward_blocking(&host, port, family);
        for address in found.map_err(|e| format!("ListenAddress {host}: {}", e.0))? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}
