//! Lists of addresses, networks and host names: `Match Address`, `from=`, USER@HOST, source-address.
//!
//! The rules are OpenSSH's: entries are joined by commas; `!` negates, and a negated entry that matches outweighs
//! the others; an entry that is an address or a network in CIDR form is compared by its bits, any other is a
//! wildcard pattern over the address as text, or over the host's name.
//!
//! Differences: an address is written in the usual form (`127.1` and `0x7f000001` are patterns here, not
//! addresses), and scoped addresses (`fe80::1%eth0`) are not addresses.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sockward_wire::pattern::{self, ListMatch};

/// The longest list taken, in bytes. OpenSSH cuts one entry at 1024 bytes; a list of a whole provider's networks fits.
const LIST_MAX: usize = 64 * 1024;

/// A list of addresses, networks and patterns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressList(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    negated: bool,
    text: Vec<u8>,
    network: Option<Network>,
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Network {
    address: IpAddr,
    bits: u32,
}

/// Why text is no list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressListError {
    /// An entry is empty.
    Empty,
    /// The mask is longer than the address, or bits behind it are set.
    Mask(String),
    /// Only addresses and networks may stand here.
    NotAnAddress(String),
    /// Longer than any list in use.
    TooLong,
}

impl fmt::Display for AddressListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressListError::Empty => f.write_str("an entry of the address list is empty"),
            AddressListError::Mask(entry) => write!(
                f,
                "inconsistent mask length in '{entry}': the bits behind the mask must be zero and the mask fit the address"
            ),
            AddressListError::NotAnAddress(entry) => {
                write!(f, "'{entry}' is neither an address nor a network in CIDR form")
            }
            AddressListError::TooLong => write!(f, "the address list is longer than {LIST_MAX} bytes"),
        }
    }
}

impl std::error::Error for AddressListError {}

impl AddressList {
    /// Reads a list of addresses, networks and patterns.
    pub fn parse(list: &[u8]) -> Result<Self, AddressListError> {
        if list.len() > LIST_MAX {
            return Err(AddressListError::TooLong);
        }
        list.split(|&b| b == b',').map(Entry::parse).collect::<Result<_, _>>().map(AddressList)
    }

    /// Reads a certificate's source-address: addresses and networks alone, nothing negated.
    pub fn parse_networks(list: &[u8]) -> Result<Self, AddressListError> {
        let list = Self::parse(list)?;
        match list.0.iter().find(|e| e.negated || e.network.is_none()) {
            Some(entry) => Err(AddressListError::NotAnAddress(lossy(&entry.text))),
            None => Ok(list),
        }
    }

    /// What the list says of an address.
    #[must_use]
    pub fn matches(&self, address: IpAddr) -> ListMatch {
        let address = address.to_canonical();
        let text = address.to_string();
        let mut found = ListMatch::No;
        for entry in &self.0 {
            let hit = match entry.network {
                Some(network) => network.contains(address),
                None => pattern::matches(&entry.text, text.as_bytes()),
            };
            match (hit, entry.negated) {
                (true, true) => return ListMatch::Negated,
                (true, false) => found = ListMatch::Yes,
                (false, _) => {}
            }
        }
        found
    }

    /// Whether it names this peer, by address or by name (`from=`, USER@HOST). A negated entry that matches
    /// either one decides.
    #[must_use]
    pub fn admits(&self, peer: &Peer<'_>) -> bool {
        let by_address = peer.address.map_or(ListMatch::No, |a| self.matches(a));
        let by_name = self.matches_name(peer.host);
        by_address != ListMatch::Negated
            && by_name != ListMatch::Negated
            && (by_address == ListMatch::Yes || by_name == ListMatch::Yes)
    }

    fn matches_name(&self, host: &str) -> ListMatch {
        let host = host.to_ascii_lowercase();
        let mut found = ListMatch::No;
        for entry in &self.0 {
            match (pattern::matches(&entry.text.to_ascii_lowercase(), host.as_bytes()), entry.negated) {
                (true, true) => return ListMatch::Negated,
                (true, false) => found = ListMatch::Yes,
                (false, _) => {}
            }
        }
        found
    }
}

impl Entry {
    fn parse(entry: &[u8]) -> Result<Self, AddressListError> {
        let (negated, text) = entry.strip_prefix(b"!").map_or((false, entry), |rest| (true, rest));
        if text.is_empty() {
            return Err(AddressListError::Empty);
        }
        let network = std::str::from_utf8(text).ok().map_or(Ok(None), Network::parse)?;
        Ok(Entry { negated, text: text.to_vec(), network })
    }
}

impl Network {
    /// `None` if it is not of the form of a network, an error if it is one with a wrong mask.
    fn parse(text: &str) -> Result<Option<Self>, AddressListError> {
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else { return Ok(None) };
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = match mask.map(decimal) {
            None => whole,
            Some(Some(bits)) => bits,
            Some(None) => return Ok(None),
        };
        let network = Network { address, bits };
        if bits > whole || network.masked(address) != Some(number(address)) {
            return Err(AddressListError::Mask(text.to_owned()));
        }
        Ok(Some(network))
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && self.masked(address) == Some(number(self.address))
    }

    /// The network's part of an address of its family.
    fn masked(self, address: IpAddr) -> Option<u128> {
        let whole = if address.is_ipv4() { 32u32 } else { 128 };
        let behind = whole.checked_sub(self.bits)?;
        let shifted = number(address).checked_shr(behind).unwrap_or(0);
        Some(shifted.checked_shl(behind).unwrap_or(0))
    }
}

fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// The name of a peer that no address is known of (a connection over pipes).
pub const UNKNOWN_HOST: &str = "UNKNOWN";

/// The other end of the SSH connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// Its address, from the monitor's own accept; none on pipes.
    pub address: Option<IpAddr>,
    /// Its verified name with `UseDNS yes`, else its address as text, else [`UNKNOWN_HOST`].
    pub host: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(list: &str, address: &str) -> ListMatch {
        AddressList::parse(list.as_bytes()).unwrap().matches(address.parse().unwrap())
    }

    #[test]
    fn networks_patterns_and_negation() {
        use ListMatch::{Negated, No, Yes};
        const LIST: &str = "192.168.0.0/16,!192.168.30.0/24,10.0.0.0/8,host.example.com";
        for (list, address, result) in [
            (LIST, "192.168.0.1", Yes),
            (LIST, "192.168.30.1", Negated),
            (LIST, "19.0.0.1", No),
            (LIST, "10.255.255.254", Yes),
            (LIST, "::ffff:10.0.0.1", Yes),
            ("1.1.1.1,::1,!::3,2000::/16", "::1", Yes),
            ("1.1.1.1,::1,!::3,2000::/16", "::3", Negated),
            ("1.1.1.1,::1,!::3,2000::/16", "2000:ffff::1", Yes),
            ("1.1.1.1,::1,!::3,2000::/16", "2001::1", No),
            ("0.0.0.0/0", "9.9.9.9", Yes),
            ("0.0.0.0/0", "::1", No),
            ("::/0", "::1", Yes),
            ("::/0", "9.9.9.9", No),
            ("10.1.*", "10.1.2.3", Yes),
            ("10.1.*", "10.10.2.3", No),
            ("*,!10.1.2.3", "10.1.2.3", Negated),
        ] {
            assert_eq!(says(list, address), result, "{list} {address}");
        }
    }

    #[test]
    fn wrong_masks_and_empty_entries_are_errors() {
        for bad in ["10.0.1.0/8", "10.0.0.1/24", "2000:aa:bb:01::/56", "10.0.0.0/33", "::/129"] {
            assert_eq!(AddressList::parse(bad.as_bytes()), Err(AddressListError::Mask(bad.into())), "{bad}");
        }
        for empty in ["", "!", "10.0.0.0/8,", ",::1"] {
            assert_eq!(AddressList::parse(empty.as_bytes()), Err(AddressListError::Empty), "{empty}");
        }
        assert!(AddressList::parse_networks(b"10.0.0.0/8,::1").is_ok());
        for not in ["10.0.0.*", "!10.0.0.0/8", "host"] {
            assert!(AddressList::parse_networks(not.as_bytes()).is_err(), "{not}");
        }
    }

    #[test]
    fn names_and_addresses_are_both_asked() {
        for (list, address, host, admitted) in [
            ("127.0.0.1", Some("127.0.0.1"), "127.0.0.1", true),
            ("127.0.0.0/8", None, UNKNOWN_HOST, false),
            ("*.example.com", Some("10.0.0.1"), "WWW.example.com", true),
            ("*.Example.com,!10.0.0.1", Some("10.0.0.1"), "www.example.com", false),
            ("10.0.0.0/8,!*.evil.com", Some("10.0.0.1"), "a.evil.com", false),
            // A host that names itself like an address.
            ("192.168.0.0/16", Some("10.0.0.1"), "192.168.0.1", false),
        ] {
            let list = AddressList::parse(list.as_bytes()).unwrap();
            let peer = Peer { address: address.map(|a| a.parse().unwrap()), host };
            assert_eq!(list.admits(&peer), admitted, "{list:?} {peer:?}");
        }
    }
}
