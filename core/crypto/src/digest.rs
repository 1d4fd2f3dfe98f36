//! Hashes: those of key exchanges and fingerprints, and SHA-1 for what OpenSSH's files and paths still have of it.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};
use zeroize::Zeroize;

/// The longest digest, that of SHA-512.
const MAX: usize = 64;

/// A hash function that a key exchange method can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlg {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl HashAlg {
    /// The digest of the parts, one after the other.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> Digest {
        let mut context = digest::Context::new(match self {
            HashAlg::Sha256 => &digest::SHA256,
            HashAlg::Sha384 => &digest::SHA384,
            HashAlg::Sha512 => &digest::SHA512,
        });
        for part in parts {
            context.update(part);
        }
        let result = context.finish();
        let mut bytes = [0; MAX];
        for (to, from) in bytes.iter_mut().zip(result.as_ref()) {
            *to = *from;
        }
        Digest { bytes, len: result.as_ref().len() }
    }
}

/// A digest, kept in place. Comparison takes the same time wherever two of one length differ.
#[derive(Clone)]
pub struct Digest {
    bytes: [u8; MAX],
    len: usize,
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(self.as_ref(), other.as_ref()).is_ok()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl Zeroize for Digest {
    fn zeroize(&mut self) {
        self.bytes.zeroize();
    }
}

/// SHA-256 of the parts, one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Digest {
    HashAlg::Sha256.hash(parts)
}

/// SHA-1, for the `%C` of ssh_config(5) alone: it names files, it protects nothing.
#[must_use]
pub fn sha1(data: &[u8]) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data);
    let mut out = [0; 20];
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// HMAC-SHA-1 (RFC 2104), for hashed host names in known_hosts alone: it hides names, it protects nothing.
#[must_use]
pub fn hmac_sha1(key: &[u8], data: &[u8]) -> [u8; 20] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), data);
    let mut out = [0; 20];
    for (to, from) in out.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn published_digests_of_abc() {
        for (alg, expected) in [
            (HashAlg::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                HashAlg::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                HashAlg::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd\
                 454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(alg.hash(&[b"a", b"", b"bc"]).as_ref(), hex(expected));
            assert_eq!(format!("{:?}", alg.hash(&[b"abc"])), expected.replace(' ', ""));
        }
    }

    #[test]
    fn sha_1_of_abc() {
        assert_eq!(sha1(b"abc").as_slice(), hex("a9993e364706816aba3e25717850c26c9cd0d89d"));
    }

    #[test]
    fn rfc_2202_case_2() {
        let tag = hmac_sha1(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(tag.as_slice(), hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"));
    }

    #[test]
    fn digests_of_different_functions_differ() {
        assert_eq!(sha256(&[b"x"]), HashAlg::Sha256.hash(&[b"x"]));
        assert_ne!(sha256(&[b"x"]), sha256(&[b"y"]));
        assert_ne!(HashAlg::Sha384.hash(&[b"x"]), HashAlg::Sha512.hash(&[b"x"]));
    }
}
