//! Key exchange methods: from two shares to a shared secret (RFC 5656, RFC 8731,
//! draft-ietf-sshm-mlkem-hybrid-kex, draft-josefsson-ntruprime-ssh).
//!
//! Every method is an elliptic-curve exchange; the hybrid ones put a key-encapsulation share before it.
//! Which messages carry the shares and who signs what is `proto`'s business.

mod exchange;

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::kem;
use aws_lc_rs::rand::SystemRandom;
use rand_core::{Infallible, TryCryptoRng, TryRng};
use sntrup::sntrup761;
use zeroize::Zeroizing;

pub use exchange::{ExchangeInput, SharedSecret, derive};

use crate::{CryptoError, CryptoResult, HashAlg, random};

/// A key exchange method. Methods differ in more than one name sometimes; see [`KexMethod::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KexMethod {
    /// ML-KEM-768 and X25519.
    Mlkem768X25519,
    /// Streamlined NTRU Prime 761 and X25519.
    Sntrup761X25519,
    /// X25519.
    Curve25519,
    /// NIST P-256.
    EcdhP256,
    /// NIST P-384.
    EcdhP384,
    /// NIST P-521.
    EcdhP521,
}

impl KexMethod {
    /// Every name, in our order of preference, which is OpenSSH's.
    pub const NAMES: &'static [(&'static str, KexMethod)] = &[
        ("mlkem768x25519-sha256", KexMethod::Mlkem768X25519),
        ("sntrup761x25519-sha512", KexMethod::Sntrup761X25519),
        ("sntrup761x25519-sha512@openssh.com", KexMethod::Sntrup761X25519),
        ("curve25519-sha256", KexMethod::Curve25519),
        ("curve25519-sha256@libssh.org", KexMethod::Curve25519),
        ("ecdh-sha2-nistp256", KexMethod::EcdhP256),
        ("ecdh-sha2-nistp384", KexMethod::EcdhP384),
        ("ecdh-sha2-nistp521", KexMethod::EcdhP521),
    ];

    /// The method of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<KexMethod> {
        KexMethod::NAMES.iter().find(|(n, _)| *n == name).map(|(_, method)| *method)
    }

    /// The hash of the exchange and of key derivation.
    #[must_use]
    pub fn hash(self) -> HashAlg {
        match self {
            KexMethod::Mlkem768X25519 | KexMethod::Curve25519 | KexMethod::EcdhP256 => HashAlg::Sha256,
            KexMethod::EcdhP384 => HashAlg::Sha384,
            KexMethod::Sntrup761X25519 | KexMethod::EcdhP521 => HashAlg::Sha512,
        }
    }

    fn curve(self) -> &'static agreement::Algorithm {
        match self {
            KexMethod::Mlkem768X25519 | KexMethod::Sntrup761X25519 | KexMethod::Curve25519 => {
                &agreement::X25519
            }
            KexMethod::EcdhP256 => &agreement::ECDH_P256,
            KexMethod::EcdhP384 => &agreement::ECDH_P384,
            KexMethod::EcdhP521 => &agreement::ECDH_P521,
        }
    }

    /// The size of a point as it goes over the wire: uncompressed, but for X25519.
    fn point_len(self) -> usize {
        match self {
            KexMethod::Mlkem768X25519 | KexMethod::Sntrup761X25519 | KexMethod::Curve25519 => 32,
            KexMethod::EcdhP256 => 1 + 2 * 32,
            KexMethod::EcdhP384 => 1 + 2 * 48,
            KexMethod::EcdhP521 => 1 + 2 * 66,
        }
    }

    /// Parts a share into the encapsulation's part and the point. Any other size than the due one is refused.
    fn split(self, share: &[u8]) -> CryptoResult<(&[u8], &[u8])> {
        let at = share.len().checked_sub(self.point_len()).ok_or(CryptoError::BadShare)?;
        share.split_at_checked(at).ok_or(CryptoError::BadShare)
    }

    /// The library would take compressed and DER points, too; SSH knows the plain form alone (RFC 5656 §4).
    fn check_point(self, point: &[u8]) -> CryptoResult<()> {
        let plain = self.curve() == &agreement::X25519 || point.first() == Some(&4);
        if plain && point.len() == self.point_len() { Ok(()) } else { Err(CryptoError::BadShare) }
    }
}

/// What a client keeps between its share and the server's. Good for one answer.
pub struct ClientSecret {
    method: KexMethod,
    ecdh: EphemeralPrivateKey,
    kem: ClientKem,
}

enum ClientKem {
    None,
    Mlkem(kem::DecapsulationKey),
    Sntrup(Box<sntrup761::DecapsulationKey>),
}

/// Draws a client's keys. The bytes are its share: Q_C or C_INIT.
pub fn client_start(method: KexMethod) -> CryptoResult<(ClientSecret, Vec<u8>)> {
    let mut share = Vec::new();
    let kem = match method {
        KexMethod::Mlkem768X25519 => {
            let key = kem::DecapsulationKey::generate(&kem::ML_KEM_768)
                .map_err(|_| CryptoError::Library("ML-KEM-768 key generation"))?;
            let public = key.encapsulation_key().and_then(|k| k.key_bytes());
            share.extend_from_slice(
                public.map_err(|_| CryptoError::Library("ML-KEM-768 public key"))?.as_ref(),
            );
            ClientKem::Mlkem(key)
        }
        KexMethod::Sntrup761X25519 => {
            let (public, key) = sntrup761::generate_key(&mut KemRandom);
            share.extend_from_slice(public.as_ref());
            ClientKem::Sntrup(Box::new(key))
        }
        KexMethod::Curve25519 | KexMethod::EcdhP256 | KexMethod::EcdhP384 | KexMethod::EcdhP521 => {
            ClientKem::None
        }
    };
    let ecdh = ephemeral(method, &mut share)?;
    Ok((ClientSecret { method, ecdh, kem }, share))
}

impl ClientSecret {
    /// The shared secret from the server's share, Q_S or S_REPLY.
    ///
    /// A wrong encapsulation is not told apart here: it yields another secret, and the signature fails.
    pub fn finish(self, server_share: &[u8]) -> CryptoResult<SharedSecret> {
        let ClientSecret { method, ecdh, kem } = self;
        let (ciphertext, point) = method.split(server_share)?;
        let encapsulated = match kem {
            ClientKem::None if ciphertext.is_empty() => None,
            ClientKem::None => return Err(CryptoError::BadShare),
            ClientKem::Mlkem(key) => {
                let secret = key.decapsulate(ciphertext.into()).map_err(|_| CryptoError::BadShare)?;
                Some(Zeroizing::new(secret.as_ref().to_vec()))
            }
            ClientKem::Sntrup(key) => {
                let ciphertext =
                    sntrup761::Ciphertext::try_from(ciphertext).map_err(|_| CryptoError::BadShare)?;
                Some(Zeroizing::new(key.decapsulate(&ciphertext).as_ref().to_vec()))
            }
        };
        agree(method, ecdh, point, encapsulated)
    }
}

/// The server's whole part: its share and the secret, from the client's share.
pub fn server_respond(method: KexMethod, client_share: &[u8]) -> CryptoResult<(Vec<u8>, SharedSecret)> {
    let (public, point) = method.split(client_share)?;
    let mut share = Vec::new();
    let encapsulated = match method {
        KexMethod::Mlkem768X25519 => {
            let (ciphertext, secret) = kem::EncapsulationKey::new(&kem::ML_KEM_768, public)
                .map_err(|_| CryptoError::BadShare)?
                .encapsulate()
                .map_err(|_| CryptoError::BadShare)?;
            share.extend_from_slice(ciphertext.as_ref());
            Some(Zeroizing::new(secret.as_ref().to_vec()))
        }
        KexMethod::Sntrup761X25519 => {
            let public = sntrup761::EncapsulationKey::try_from(public).map_err(|_| CryptoError::BadShare)?;
            let (ciphertext, secret) = public.encapsulate(&mut KemRandom);
            share.extend_from_slice(ciphertext.as_ref());
            Some(Zeroizing::new(secret.as_ref().to_vec()))
        }
        KexMethod::Curve25519 | KexMethod::EcdhP256 | KexMethod::EcdhP384 | KexMethod::EcdhP521 => {
            if !public.is_empty() {
                return Err(CryptoError::BadShare);
            }
            None
        }
    };
    let ecdh = ephemeral(method, &mut share)?;
    let secret = agree(method, ecdh, point, encapsulated)?;
    Ok((share, secret))
}

/// A fresh key on the method's curve; its public half goes to the end of `share`.
fn ephemeral(method: KexMethod, share: &mut Vec<u8>) -> CryptoResult<EphemeralPrivateKey> {
    let failed = |_| CryptoError::Library("ephemeral key");
    let key = EphemeralPrivateKey::generate(method.curve(), &SystemRandom::new()).map_err(failed)?;
    share.extend_from_slice(key.compute_public_key().map_err(failed)?.as_ref());
    Ok(key)
}

/// The exchange on the curve, joined with the encapsulated secret if there is one.
///
/// The library refuses points off the curve and an X25519 result of zero (RFC 8731 §3).
fn agree(
    method: KexMethod,
    ecdh: EphemeralPrivateKey,
    point: &[u8],
    encapsulated: Option<Zeroizing<Vec<u8>>>,
) -> CryptoResult<SharedSecret> {
    method.check_point(point)?;
    let peer = UnparsedPublicKey::new(method.curve(), point);
    agree_ephemeral(ecdh, peer, CryptoError::BadShare, |k| {
        Ok(match encapsulated {
            None => SharedSecret::from_number(k),
            Some(e) => SharedSecret::from_hybrid(method.hash(), &e, k),
        })
    })
}

/// Our randomness in the form that sntrup wants.
struct KemRandom;

impl TryRng for KemRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        random::system(&mut bytes);
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        random::system(&mut bytes);
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        random::system(out);
        Ok(())
    }
}

impl TryCryptoRng for KemRandom {}

#[cfg(test)]
mod tests;
