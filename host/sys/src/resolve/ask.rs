//! The system's resolver itself: getaddrinfo(3) and getnameinfo(3), waiting.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{Family, Forward, NAME_MAX, NotResolved, Reverse};

/// More addresses of one name are left out.
const ADDRESSES_MAX: usize = 64;

pub(super) fn ask_forward(host: &str, port: u16, family: Family) -> Forward {
    let family = match family {
        Family::Any => libc::AF_UNSPEC,
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    getaddrinfo(host, port, family, 0)
}

/// OpenSSH's UseDNS (ssh_remote_hostname).
pub(super) fn ask_reverse(address: IpAddr) -> Reverse {
    let name = getnameinfo(address)?;
    if getaddrinfo(&name, 0, libc::AF_UNSPEC, libc::AI_NUMERICHOST).is_ok() {
        return Err(NotResolved(format!("its name \"{name}\" is an address")));
    }
    let name = name.to_ascii_lowercase();
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let addresses = getaddrinfo(&name, 0, family, 0).map_err(|NotResolved(reason)| {
        NotResolved(format!("looking up its name \"{name}\" failed: {reason}"))
    })?;
    if addresses.iter().any(|found| found.ip() == address) {
        Ok(name)
    } else {
        Err(NotResolved(format!("its name \"{name}\" does not lead back to it")))
    }
}

fn getaddrinfo(host: &str, port: u16, family: i32, flags: i32) -> Forward {
    let host = CString::new(host).map_err(|_| NotResolved("not a host name".into()))?;
    // SAFETY: an addrinfo of zero bytes is valid: numbers and null pointers.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = family;
    hints.ai_socktype = libc::SOCK_STREAM;
    hints.ai_flags = flags;
    let mut list: *mut libc::addrinfo = std::ptr::null_mut();
    // SAFETY: a string, no service, valid hints and a place for the result.
    let rc = unsafe { libc::getaddrinfo(host.as_ptr(), std::ptr::null(), &raw const hints, &raw mut list) };
    if rc != 0 {
        return Err(gai_error(rc));
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() && addresses.len() < ADDRESSES_MAX {
        // SAFETY: not null, so an entry of the list, which is freed below.
        let entry = unsafe { &*next };
        addresses.extend(socket_address(entry, port));
        next = entry.ai_next;
    }
    // SAFETY: the list that getaddrinfo made, once; no entry is used any more.
    unsafe { libc::freeaddrinfo(list) };
    if addresses.is_empty() { Err(NotResolved("no address of a known kind".into())) } else { Ok(addresses) }
}

fn socket_address(entry: &libc::addrinfo, port: u16) -> Option<SocketAddr> {
    let length = usize::try_from(entry.ai_addrlen).ok()?;
    match entry.ai_family {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family and the length say what is there; it need not be aligned.
            let v4 = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), port).into())
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above.
            let v6 = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn getnameinfo(address: IpAddr) -> Result<String, NotResolved> {
    let address = socket2::SockAddr::from(SocketAddr::new(address, 0));
    // NI_MAXHOST.
    let mut name: [libc::c_char; 1025] = [0; 1025];
    // SAFETY: an address with its length, a buffer with its length, and no service wanted.
    let rc = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            name.as_mut_ptr(),
            1025,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if rc != 0 {
        return Err(gai_error(rc));
    }
    // SAFETY: on success the buffer holds a NUL-terminated string.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    match name.to_str() {
        Ok(name) if !name.is_empty() && name.len() <= NAME_MAX => Ok(name.to_owned()),
        _ => Err(NotResolved("its name is not a host name".into())),
    }
}

fn gai_error(code: i32) -> NotResolved {
    if code == libc::EAI_SYSTEM {
        return NotResolved(io::Error::last_os_error().to_string());
    }
    // SAFETY: takes any number.
    let text = unsafe { libc::gai_strerror(code) };
    // SAFETY: it returns a constant, NUL-terminated string for every number.
    let text = unsafe { CStr::from_ptr(text) };
    NotResolved(text.to_string_lossy().into_owned())
}
