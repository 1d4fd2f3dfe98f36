//! Choosing algorithms from two KEXINIT messages (RFC 4253 §7.1). Pure comparison of lists.

use sockward_crypto::{Cipher, KexMethod, KeyAlgorithm, Mac};
use sockward_wire::NameList;
use sockward_wire::names::kex_extension;
use sockward_wire::transport::KexInit;

use crate::Side;
use crate::error::{Error, Result};

/// The algorithms a side offers, as names in order of preference.
///
/// Names this build does not know are never chosen, even if both sides offer them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms {
    /// Key exchange methods.
    pub kex: Vec<String>,
    /// Host-key algorithms: on a server those it has keys for.
    pub host_key: Vec<String>,
    /// Ciphers, both directions.
    pub ciphers: Vec<String>,
    /// MACs, both directions.
    pub macs: Vec<String>,
}

/// Cipher and MAC of one direction; no MAC where the cipher authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectionAlgorithms {
    /// The cipher.
    pub cipher: Cipher,
    /// The MAC, if the cipher needs one.
    pub mac: Option<Mac>,
}

/// What two KEXINIT messages agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The key exchange method.
    pub kex: KexMethod,
    /// Its name as negotiated (some methods have two).
    pub kex_name: String,
    /// The host-key algorithm.
    pub host_key: KeyAlgorithm,
    /// Client to server.
    pub c2s: DirectionAlgorithms,
    /// Server to client.
    pub s2c: DirectionAlgorithms,
}

/// Chooses; `ours` is the side that complains if nothing fits.
pub(crate) fn negotiate(client: &KexInit<'_>, server: &KexInit<'_>, ours: Side) -> Result<Negotiated> {
    let pick = |what, c: NameList<'_>, s: NameList<'_>| choose(what, c, s, ours);
    let kex_name = pick("key exchange method", client.kex, server.kex)?;
    let host_key = pick("host key type", client.host_key, server.host_key)?;
    let cipher_c2s = pick("cipher", client.cipher_c2s, server.cipher_c2s)?;
    let cipher_s2c = pick("cipher", client.cipher_s2c, server.cipher_s2c)?;
    pick("compression", client.compression_c2s, server.compression_c2s)?;
    pick("compression", client.compression_s2c, server.compression_s2c)?;
    Ok(Negotiated {
        kex: known("key exchange method", &kex_name, KexMethod::from_name)?,
        host_key: known("host key type", &host_key, KeyAlgorithm::from_name)?,
        c2s: direction(&cipher_c2s, || pick("MAC", client.mac_c2s, server.mac_c2s))?,
        s2c: direction(&cipher_s2c, || pick("MAC", client.mac_s2c, server.mac_s2c))?,
        kex_name,
    })
}

/// Whether the key-exchange packet that `theirs` announced as a guess is to be thrown away (RFC 4253 §7).
pub(crate) fn guess_is_wrong(theirs: &KexInit<'_>, ours: &KexInit<'_>) -> bool {
    let first = |list: NameList<'_>| list.iter().next().map(str::to_owned);
    theirs.first_kex_packet_follows
        && (first(theirs.kex) != first(ours.kex) || first(theirs.host_key) != first(ours.host_key))
}

/// Whether both sides announce strict key exchange (OpenSSH PROTOCOL 1.9).
pub(crate) fn is_strict(client: &KexInit<'_>, server: &KexInit<'_>) -> bool {
    client.kex.contains(kex_extension::STRICT_C) && server.kex.contains(kex_extension::STRICT_S)
}

/// The first name of the client's list that the server has, too (RFC 4253 §7.1).
fn choose(what: &'static str, client: NameList<'_>, server: NameList<'_>, ours: Side) -> Result<String> {
    client.iter().find(|name| server.contains(name) && !is_pseudo(name)).map(str::to_owned).ok_or_else(|| {
        let theirs = match ours {
            Side::Client => server,
            Side::Server => client,
        };
        Error::PeerIncompatible { what, offer: theirs.as_str().to_owned() }
    })
}

/// Announcements that ride in the list of methods but are none.
fn is_pseudo(name: &str) -> bool {
    use kex_extension::{EXT_INFO_C, EXT_INFO_S, STRICT_C, STRICT_S};
    [EXT_INFO_C, EXT_INFO_S, STRICT_C, STRICT_S].contains(&name)
}

fn known<T>(what: &'static str, name: &str, find: impl Fn(&str) -> Option<T>) -> Result<T> {
    find(name).ok_or_else(|| Error::PeerIncompatible { what, offer: name.to_owned() })
}

fn direction(cipher: &str, mac: impl FnOnce() -> Result<String>) -> Result<DirectionAlgorithms> {
    let cipher = known("cipher", cipher, Cipher::from_name)?;
    let mac = if cipher.is_aead() { None } else { Some(known("MAC", &mac()?, Mac::from_name)?) };
    Ok(DirectionAlgorithms { cipher, mac })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer<'a>(kex: &'a str, cipher: &'a str, mac: &'a str) -> KexInit<'a> {
        let list = |s: &'a str| NameList::new(s).unwrap();
        KexInit {
            cookie: [0; 16],
            kex: list(kex),
            host_key: list("ssh-ed25519"),
            cipher_c2s: list(cipher),
            cipher_s2c: list(cipher),
            mac_c2s: list(mac),
            mac_s2c: list(mac),
            compression_c2s: list("none"),
            compression_s2c: list("none"),
            languages_c2s: b"",
            languages_s2c: b"",
            first_kex_packet_follows: false,
            reserved: 0,
        }
    }

    #[test]
    fn the_clients_order_decides() {
        let client =
            offer("curve25519-sha256,ecdh-sha2-nistp256", "aes256-ctr", "hmac-sha2-512,hmac-sha2-256");
        let server = offer("ecdh-sha2-nistp256,curve25519-sha256", "aes128-ctr,aes256-ctr", "hmac-sha2-256");
        let n = negotiate(&client, &server, Side::Server).unwrap();
        assert_eq!(n.kex_name, "curve25519-sha256");
        assert_eq!(n.c2s.cipher, Cipher::Aes256Ctr);
        assert_eq!(n.c2s.mac, Some(Mac::HmacSha256));
    }

    #[test]
    fn an_aead_cipher_needs_no_common_mac() {
        let client = offer("curve25519-sha256", "aes128-gcm@openssh.com", "hmac-md5");
        let server = offer("curve25519-sha256", "aes128-gcm@openssh.com", "umac-64@openssh.com");
        assert_eq!(negotiate(&client, &server, Side::Client).unwrap().s2c.mac, None);
    }

    #[test]
    fn announcements_are_never_chosen_as_methods() {
        let client = offer("ext-info-c,kex-strict-c-v00@openssh.com", "aes128-ctr", "hmac-sha2-256");
        let mut server = client.clone();
        let refused = negotiate(&client, &server, Side::Server);
        assert!(matches!(refused, Err(Error::PeerIncompatible { what: "key exchange method", .. })));
        server.kex = NameList::new("kex-strict-s-v00@openssh.com").unwrap();
        assert!(is_strict(&client, &server));
        assert!(!is_strict(&server, &client));
    }

    #[test]
    fn the_complaint_carries_the_others_offer() {
        let client = offer("diffie-hellman-group1-sha1", "aes128-ctr", "hmac-sha2-256");
        let server = offer("curve25519-sha256", "aes128-ctr", "hmac-sha2-256");
        let Err(Error::PeerIncompatible { offer, .. }) = negotiate(&client, &server, Side::Server) else {
            panic!()
        };
        assert_eq!(offer, "diffie-hellman-group1-sha1");
    }

    #[test]
    fn a_guess_is_right_only_if_both_first_names_agree() {
        let ours = offer("curve25519-sha256", "aes128-ctr", "hmac-sha2-256");
        let mut theirs = offer("ecdh-sha2-nistp256,curve25519-sha256", "aes128-ctr", "hmac-sha2-256");
        assert!(!guess_is_wrong(&theirs, &ours), "no guess was announced");
        theirs.first_kex_packet_follows = true;
        assert!(guess_is_wrong(&theirs, &ours));
        theirs.kex = NameList::new("curve25519-sha256").unwrap();
        assert!(!guess_is_wrong(&theirs, &ours));
    }
}
