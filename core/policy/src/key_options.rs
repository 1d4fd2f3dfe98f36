//! The options of an authorized key or a certificate, as values: what the reader found and the monitor merges into
//! a permit. Reading their text is `config`'s business.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::Peer;
use crate::{AddressList, PeerList, RuleList, Source, Variable};

/// What one line of authorized_keys, or one certificate, says of those who log in with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOptions {
    /// The line, or the certificate.
    pub source: Source,
    /// `cert-authority`: the key signs certificates and is not one to log in with.
    pub cert_authority: bool,
    /// `principals=`: one of them must be in the certificate.
    pub principals: Option<Vec<Vec<u8>>>,
    /// `command=`, force-command.
    pub forced_command: Option<Vec<u8>>,
    /// `from=`: hosts and addresses to log in from.
    pub from: Option<AddressList>,
    /// A certificate's source-address.
    pub source_address: Option<AddressList>,
    /// `expiry-time=`: the last second, in seconds since 1970, in which it is accepted.
    pub expires: Option<u64>,
    /// `environment=`; used only with PermitUserEnvironment.
    pub environment: Vec<Variable>,
    /// `permitopen=`.
    pub open: Option<RuleList>,
    /// `permitlisten=`.
    pub listen: Option<RuleList>,
    /// `permitpeer=`.
    pub peers: Option<PeerList>,
    /// `streamlocalbindgroup=`.
    pub socket_group: Option<String>,
    /// `streamlocalbindmode=`: at most these permission bits.
    pub socket_mode: Option<u16>,
    /// Whether forwarding is left: no `restrict` and no `no-port-forwarding`, or `permit-port-forwarding`.
    pub port_forwarding: bool,
    /// Whether a terminal is left.
    pub pty: bool,
    /// Whether a security key must attest a touch (not with `no-touch-required`).
    pub touch_required: bool,
    /// Whether a security key must attest that it verified its user.
    pub verify_required: bool,
}

/// Why a key or certificate that is there is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyRefusal {
    /// `expiry-time=` is over.
    Expired,
    /// `from=` does not name the peer, or it is not known who the peer is.
    From,
    /// The certificate's source-address does not name the peer.
    SourceAddress,
    /// `principals=` on a key that is no certificate authority.
    Principals,
}

impl fmt::Display for KeyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyRefusal::Expired => "the key's expiry-time is over",
            KeyRefusal::From => "the key's from= does not name the host it is used from",
            KeyRefusal::SourceAddress => {
                "the certificate's source-address does not name the address it is used from"
            }
            KeyRefusal::Principals => "the key has principals= but is no cert-authority",
        })
    }
}

impl std::error::Error for KeyRefusal {}

impl KeyOptions {
    /// A key without options: nothing is restricted.
    #[must_use]
    pub fn unrestricted(source: Source) -> Self {
        KeyOptions { port_forwarding: true, pty: true, ..Self::restricted(source) }
    }

    /// What a certificate without extensions leaves, and `restrict`.
    #[must_use]
    pub fn restricted(source: Source) -> Self {
        KeyOptions {
            source,
            cert_authority: false,
            principals: None,
            forced_command: None,
            from: None,
            source_address: None,
            expires: None,
            environment: Vec::new(),
            open: None,
            listen: None,
            peers: None,
            socket_group: None,
            socket_mode: None,
            port_forwarding: false,
            pty: false,
            touch_required: true,
            verify_required: false,
        }
    }

    /// Whether the line accepts this peer at this time (`now` in seconds since 1970).
    ///
    /// A peer without an address (pipes) is refused by `from=` and source-address, whatever they say. OpenSSH
    /// compares the word UNKNOWN with the patterns, so there `from="*"` lets it in.
    pub fn admit(&self, peer: &Peer<'_>, now: u64) -> Result<(), KeyRefusal> {
        if self.expires.is_some_and(|last| last < now) {
            return Err(KeyRefusal::Expired);
        }
        if self.principals.is_some() && !self.cert_authority {
            return Err(KeyRefusal::Principals);
        }
        if self.from.as_ref().is_some_and(|from| peer.address.is_none() || !from.admits(peer)) {
            return Err(KeyRefusal::From);
        }
        let listed = |list: &AddressList| {
            peer.address.is_some_and(|a| list.matches(a) == sockward_wire::pattern::ListMatch::Yes)
        };
        if self.source_address.as_ref().is_some_and(|list| !listed(list)) {
            return Err(KeyRefusal::SourceAddress);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::UNKNOWN_HOST;

    fn options() -> KeyOptions {
        KeyOptions::unrestricted(Source::new("keys", 1))
    }

    fn list(text: &str) -> Option<AddressList> {
        Some(AddressList::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn time_and_place() {
        let here = Peer { address: Some("127.0.0.1".parse().unwrap()), host: "127.0.0.1" };
        let pipes = Peer { address: None, host: UNKNOWN_HOST };
        for (options, peer, result) in [
            (options(), here, Ok(())),
            (options(), pipes, Ok(())),
            (KeyOptions { expires: Some(100), ..options() }, here, Ok(())),
            (KeyOptions { expires: Some(99), ..options() }, here, Err(KeyRefusal::Expired)),
            (KeyOptions { from: list("127.0.0.0/8"), ..options() }, here, Ok(())),
            (KeyOptions { from: list("10.0.0.0/8"), ..options() }, here, Err(KeyRefusal::From)),
            (KeyOptions { from: list("*"), ..options() }, pipes, Err(KeyRefusal::From)),
            (KeyOptions { from: list("!10.0.0.1,*"), ..options() }, here, Ok(())),
            (KeyOptions { source_address: list("127.0.0.0/8"), ..options() }, here, Ok(())),
            (
                KeyOptions { source_address: list("10.0.0.0/8"), ..options() },
                here,
                Err(KeyRefusal::SourceAddress),
            ),
            (KeyOptions { source_address: list("::/0"), ..options() }, pipes, Err(KeyRefusal::SourceAddress)),
            (KeyOptions { principals: Some(vec![]), ..options() }, here, Err(KeyRefusal::Principals)),
            (KeyOptions { principals: Some(vec![]), cert_authority: true, ..options() }, here, Ok(())),
        ] {
            assert_eq!(options.admit(&peer, 100), result, "{options:?}");
        }
    }
}
