//! From a shared secret to the keys of both directions (RFC 4253 §7.2).

use sockward_crypto::{Digest, HashAlg, Opener, PacketKeys, Sealer, SharedSecret, derive};

use super::Negotiated;
use super::negotiate::DirectionAlgorithms;
use crate::Side;
use crate::error::Result;

/// The keys that one exchange yields.
pub(crate) struct NewKeys {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

impl NewKeys {
    /// Derives both directions' keys.
    pub(crate) fn derive(
        side: Side,
        negotiated: &Negotiated,
        secret: &SharedSecret,
        exchange_hash: &Digest,
        session_id: &Digest,
    ) -> Result<Self> {
        let material =
            Material { hash: negotiated.kex.hash(), secret, exchange_hash, session_id: session_id.as_ref() };
        let (ours, theirs) = match side {
            Side::Client => ((&negotiated.c2s, CLIENT_TO_SERVER), (&negotiated.s2c, SERVER_TO_CLIENT)),
            Side::Server => ((&negotiated.s2c, SERVER_TO_CLIENT), (&negotiated.c2s, CLIENT_TO_SERVER)),
        };
        Ok(NewKeys {
            sealer: material.with_keys(ours.0, ours.1, Sealer::new)?,
            opener: material.with_keys(theirs.0, theirs.1, Opener::new)?,
        })
    }
}

/// RFC 4253 §7.2: the letters for IV, encryption key and integrity key.
struct Letters {
    iv: u8,
    key: u8,
    mac: u8,
}

const CLIENT_TO_SERVER: Letters = Letters { iv: b'A', key: b'C', mac: b'E' };
const SERVER_TO_CLIENT: Letters = Letters { iv: b'B', key: b'D', mac: b'F' };

struct Material<'a> {
    hash: HashAlg,
    secret: &'a SharedSecret,
    exchange_hash: &'a Digest,
    session_id: &'a [u8],
}

impl Material<'_> {
    fn with_keys<T>(
        &self,
        algorithms: &DirectionAlgorithms,
        letters: Letters,
        make: impl FnOnce(PacketKeys<'_>) -> std::result::Result<T, sockward_crypto::CryptoError>,
    ) -> Result<T> {
        let mut iv = zeroize::Zeroizing::new(vec![0; algorithms.cipher.iv_len()]);
        let mut key = zeroize::Zeroizing::new(vec![0; algorithms.cipher.key_len()]);
        let mut mac_key =
            zeroize::Zeroizing::new(vec![0; algorithms.mac.map_or(0, sockward_crypto::Mac::key_len)]);
        for (letter, out) in [(letters.iv, &mut iv), (letters.key, &mut key), (letters.mac, &mut mac_key)] {
            derive(self.hash, self.secret, self.exchange_hash, letter, self.session_id, out);
        }
        Ok(make(PacketKeys {
            cipher: algorithms.cipher,
            mac: algorithms.mac,
            key: &key,
            iv: &iv,
            mac_key: &mac_key,
        })?)
    }
}
