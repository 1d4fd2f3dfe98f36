//! This machine in its networks: its name, and the addresses of its interfaces.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An address of an interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's name, as "eth0".
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// The interface's number where the address counts within it alone (IPv6 link-local), else 0.
    pub scope: u32,
}

/// All addresses of the interfaces that are up.
pub fn addresses() -> io::Result<Vec<Address>> {
    let mut all = Vec::new();
    for interface in getifaddrs()? {
        if !interface.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let (address, scope) = if let Some(v4) = address.as_sockaddr_in() {
            (IpAddr::V4(v4.ip()), 0)
        } else if let Some(v6) = address.as_sockaddr_in6() {
            (IpAddr::V6(v6.ip()), v6.scope_id())
        } else {
            continue;
        };
        all.push(Address { interface: interface.interface_name, address, scope });
    }
    Ok(all)
}

/// The name of this machine, as gethostname(2) has it.
#[must_use]
pub fn hostname() -> OsString {
    use std::os::unix::ffi::OsStringExt;
    OsString::from_vec(rustix::system::uname().nodename().to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_is_there_and_the_machine_has_a_name() {
        let all = addresses().unwrap();
        assert!(all.iter().any(|a| a.interface == "lo" && a.address == Ipv4Addr::LOCALHOST), "{all:?}");
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(hostname().to_str(), Some(name.trim()));
    }
}
