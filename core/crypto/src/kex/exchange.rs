//! The shared secret, the exchange hash over it, and the keys derived from both (RFC 4253 §7.2, §8).

use std::fmt;

use sockward_wire::{Put, Reader};
use zeroize::{Zeroize, Zeroizing};

use crate::{CryptoError, CryptoResult, Digest, HashAlg};

/// K, in the encoding in which it is hashed: an mpint for plain curves (RFC 5656 §4), a string for
/// hybrid methods. Wiped when dropped.
pub struct SharedSecret(Zeroizing<Vec<u8>>);

/// The longest K of our methods: a number of 66 bytes, a sign byte and the length.
const ENCODED_MAX: usize = 4 + 1 + 66;

impl SharedSecret {
    /// K as it goes into the exchange hash, its length first.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// Takes K back in the form of [`SharedSecret::encoded`]: the process that holds the host keys gets it
    /// so, and hashes for itself.
    ///
    /// The bytes come from a process that is not trusted: they must be one whole string, else the end of
    /// the hash input could be shifted into fields of the sender's choice.
    pub fn from_encoded(encoded: Vec<u8>) -> CryptoResult<SharedSecret> {
        let encoded = Zeroizing::new(encoded);
        let mut r = Reader::new(&encoded);
        let secret = r.string_max(ENCODED_MAX, "shared secret")?;
        if secret.is_empty() {
            return Err(CryptoError::Invalid("shared secret"));
        }
        r.finish("shared secret")?;
        Ok(SharedSecret(encoded))
    }

    /// From the big-endian result of an elliptic-curve exchange.
    pub(super) fn from_number(k: &[u8]) -> SharedSecret {
        // Room for all of it at once: a vector that grows leaves copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(ENCODED_MAX));
        out.put_mpint(k);
        SharedSecret(out)
    }

    /// HASH(encapsulated secret || result of the curve), as a string.
    pub(super) fn from_hybrid(alg: HashAlg, encapsulated: &[u8], k: &[u8]) -> SharedSecret {
        let mut digest = alg.hash(&[encapsulated, k]);
        let mut out = Zeroizing::new(Vec::with_capacity(ENCODED_MAX));
        out.put_string(digest.as_ref());
        digest.zeroize();
        SharedSecret(out)
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret")
    }
}

/// Everything the exchange hash H covers (RFC 4253 §8, RFC 5656 §4). The slices are hashed as strings.
pub struct ExchangeInput<'a> {
    /// V_C: the client's identification line, without its end.
    pub client_version: &'a [u8],
    /// V_S: the server's.
    pub server_version: &'a [u8],
    /// I_C: the payload of the client's KEXINIT, message number included.
    pub client_kexinit: &'a [u8],
    /// I_S: the server's.
    pub server_kexinit: &'a [u8],
    /// K_S: the host key or certificate.
    pub host_key: &'a [u8],
    /// Q_C or C_INIT.
    pub client_share: &'a [u8],
    /// Q_S or S_REPLY.
    pub server_share: &'a [u8],
    /// K.
    pub secret: &'a SharedSecret,
}

impl ExchangeInput<'_> {
    /// H.
    #[must_use]
    pub fn hash(&self, alg: HashAlg) -> Digest {
        let mut head = Vec::new();
        for field in [
            self.client_version,
            self.server_version,
            self.client_kexinit,
            self.server_kexinit,
            self.host_key,
            self.client_share,
            self.server_share,
        ] {
            head.put_string(field);
        }
        alg.hash(&[&head, self.secret.encoded()])
    }
}

/// Fills `out` with the key for `letter` (`A` to `F`): HASH(K || H || letter || session_id), lengthened by
/// HASH(K || H || all so far) as often as needed (RFC 4253 §7.2).
pub fn derive(
    alg: HashAlg,
    secret: &SharedSecret,
    exchange_hash: &Digest,
    letter: u8,
    session_id: &[u8],
    out: &mut [u8],
) {
    let mut done = Zeroizing::new(Vec::with_capacity(out.len() + 64));
    while done.len() < out.len() {
        let (k, h) = (secret.encoded(), exchange_hash.as_ref());
        let mut block =
            if done.is_empty() { alg.hash(&[k, h, &[letter], session_id]) } else { alg.hash(&[k, h, &done]) };
        done.extend_from_slice(block.as_ref());
        block.zeroize();
    }
    for (to, from) in out.iter_mut().zip(done.iter()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    /// Compared with `openssl kdf … SSHKDF` (OpenSSL 3.0), whose key is K with its length.
    #[test]
    fn derived_keys_are_those_of_another_implementation() {
        let secret = SharedSecret::from_encoded(hex("00000005 00ff010203")).unwrap();
        let exchange_hash = HashAlg::Sha256.hash(&[b"exchange"]);
        let session_id = HashAlg::Sha256.hash(&[b"session"]);
        let derived = |alg, letter, n| {
            let mut out = vec![0; n];
            derive(alg, &secret, &exchange_hash, letter, session_id.as_ref(), &mut out);
            out
        };
        assert_eq!(derived(HashAlg::Sha256, b'A', 12), hex("a0e17c04911a563b5b1bb3f3"));
        assert_eq!(
            derived(HashAlg::Sha256, b'C', 64),
            hex("\
             6a479eb23fc0a931fa1bf06b73f1f8ea89717062942cd072a2117858ad6713d82f99fa7b726d0e80\
             d289b8e4284b1895ce4978847f30e59f37434b64983ca63f")
        );
        assert_eq!(
            derived(HashAlg::Sha384, b'D', 32),
            hex("30c6f0e07b90187f802bb2930c54881de931ea52504e1b0b41ac6647fdfa5d28")
        );
        assert_eq!(
            derived(HashAlg::Sha512, b'F', 200),
            hex("\
             219e87dbf92058a96bc2ff0065ca20f27e5cd7fa72048b0f2956605feb535b587f9a22dde9d4d447\
             a5bba728fcae2ea0702d7b39d4aaf4caf04db692fdf012f5a366da092d97e0be2296558df4a812c6\
             fe94c33d7a1c62624c02085dafb2be25d6ee7fd0225044b54444bdc0a01f3cfedf00504e730b8a90\
             63d85da599c4f677175222d89e44b9c73385c7f554a0d740653e6abbd04fcd2c0f7746e3efff7322\
             3270f2bc0d4061b6cad2434dc021b5a4232dcdd47e30f9f2260ea411b7dcc6d04c994d7122fa79f3")
        );
        assert!(derived(HashAlg::Sha256, b'A', 0).is_empty());
    }

    /// Compared with the same hash computed by hand with Python's hashlib.
    #[test]
    fn the_exchange_hash_covers_its_fields_in_order() {
        let secret = SharedSecret::from_number(&[0x80, 1]);
        let input = ExchangeInput {
            client_version: b"SSH-2.0-a",
            server_version: b"SSH-2.0-b",
            client_kexinit: &[20, 1],
            server_kexinit: &[20, 2],
            host_key: b"key",
            client_share: b"qc",
            server_share: b"qs",
            secret: &secret,
        };
        let expected = "1ed7db6983afc6ecb9073d23c4c144203453a2cbb5bc7b507a87bb2a82e407e2";
        assert_eq!(input.hash(HashAlg::Sha256).as_ref(), hex(expected));
        let other = ExchangeInput { client_share: b"qcq", server_share: b"s", ..input };
        assert_ne!(other.hash(HashAlg::Sha256).as_ref(), hex(expected));
    }

    #[test]
    fn numbers_are_encoded_as_mpints_and_hybrids_as_strings() {
        assert_eq!(SharedSecret::from_number(&[0, 0, 0x7f]).encoded(), [0, 0, 0, 1, 0x7f]);
        assert_eq!(SharedSecret::from_number(&[0x80]).encoded(), [0, 0, 0, 2, 0, 0x80]);
        let hybrid = SharedSecret::from_hybrid(HashAlg::Sha256, b"ab", b"c");
        let abc = hex("00000020 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hybrid.encoded(), abc);
    }

    #[test]
    fn a_secret_from_elsewhere_must_be_one_string() {
        for bad in [&[][..], &[0, 0, 0], &[0, 0, 0, 0], &[0, 0, 0, 2, 1], &[0, 0, 0, 1, 1, 1]] {
            assert!(SharedSecret::from_encoded(bad.to_vec()).is_err(), "{bad:?}");
        }
        let mut long = Vec::new();
        long.put_string(&[1; 100]);
        assert!(SharedSecret::from_encoded(long).is_err());
        let good = SharedSecret::from_encoded(vec![0, 0, 0, 1, 9]).unwrap();
        assert_eq!(good.encoded(), [0, 0, 0, 1, 9]);
        assert_eq!(format!("{good:?}"), "SharedSecret");
    }
}
