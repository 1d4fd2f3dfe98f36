//! Private keys: making them, signing with them. How they are kept in files is in `keyfile`.

use std::fmt;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};
use crypto_bigint::{BoxedUint, NonZero};
use sockward_wire::Put;
use zeroize::{Zeroize, Zeroizing};

use crate::{CryptoError, CryptoResult, KeyType, PublicKey, SignatureAlg};

/// The library signs with RSA keys from this size on: below, signatures are no longer safe.
const RSA_SIGN_BITS_MIN: u32 = 2048;
/// And up to this one.
const RSA_SIGN_BITS_MAX: u32 = 8192;

/// A private key. Its numbers live in the library, which wipes them.
pub struct PrivateKey {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// The numbers of an RSA key as an OpenSSH file holds them, big-endian without leading zeros.
pub(crate) struct RsaNumbers<'a> {
    pub(crate) n: &'a [u8],
    pub(crate) e: &'a [u8],
    pub(crate) d: &'a [u8],
    /// The inverse of q modulo p.
    pub(crate) iqmp: &'a [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
}

impl PrivateKey {
    /// Draws a new Ed25519 or ECDSA key.
    pub fn generate(key_type: KeyType) -> CryptoResult<PrivateKey> {
        let failed = |_| CryptoError::Library("key generation");
        match key_type {
            KeyType::Ed25519 => PrivateKey::from_ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => {
                let pair = EcdsaKeyPair::generate(signing_algorithm(key_type)?).map_err(failed)?;
                PrivateKey::from_ecdsa(key_type, pair)
            }
            KeyType::Rsa => Err(CryptoError::Unsupported("making RSA keys")),
            KeyType::SkEd25519 | KeyType::SkEcdsaP256 => {
                Err(CryptoError::Unsupported("making keys in FIDO tokens"))
            }
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `data`; the result is a whole SSH signature blob. RSA keys sign with either SHA-2 algorithm.
    pub fn sign(&self, alg: SignatureAlg, data: &[u8]) -> CryptoResult<Vec<u8>> {
        if alg.key_type() != self.public.key_type() {
            return Err(CryptoError::AlgorithmMismatch);
        }
        let failed = |_| CryptoError::Library("signing");
        let random = SystemRandom::new();
        let mut blob = Vec::new();
        blob.put_string(alg.name().as_bytes());
        match &self.secret {
            Secret::Ed25519(pair) => blob.put_string(pair.sign(data).as_ref()),
            Secret::Ecdsa(pair) => {
                let fixed = pair.sign(&random, data).map_err(failed)?;
                let (r, s) = fixed.as_ref().split_at(fixed.as_ref().len() / 2);
                blob.put_nested(|out| {
                    out.put_mpint(r);
                    out.put_mpint(s);
                });
            }
            Secret::Rsa(pair) => {
                let encoding = match alg {
                    SignatureAlg::RsaSha512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, data, &mut signature).map_err(failed)?;
                blob.put_string(&signature);
            }
        }
        Ok(blob)
    }

    /// Appends the key as the private part of an OpenSSH key file has it (PROTOCOL.key §3).
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> CryptoResult<()> {
        let failed = |_| CryptoError::Library("reading a key back");
        match &self.secret {
            Secret::Ed25519(pair) => {
                let public = pair.public_key().as_ref();
                let seed = pair.seed().and_then(|s| s.as_be_bytes()).map_err(failed)?;
                out.put_raw(self.public.blob());
                out.put_nested(|out| {
                    out.put_raw(seed.as_ref());
                    out.put_raw(public);
                });
            }
            Secret::Ecdsa(pair) => {
                let scalar = pair.private_key().as_be_bytes().map_err(failed)?;
                out.put_raw(self.public.blob());
                out.put_mpint(scalar.as_ref());
            }
            Secret::Rsa(_) => return Err(CryptoError::Unsupported("writing RSA keys")),
        }
        Ok(())
    }

    pub(crate) fn from_ed25519(pair: Ed25519KeyPair) -> CryptoResult<PrivateKey> {
        let public =
            pair.public_key().as_ref().try_into().map_err(|_| CryptoError::Invalid("Ed25519 key"))?;
        Ok(PrivateKey { public: PublicKey::ed25519(public), secret: Secret::Ed25519(pair) })
    }

    /// From a seed and the public key that belongs to it.
    pub(crate) fn from_ed25519_seed(seed: &[u8], public: &[u8]) -> CryptoResult<PrivateKey> {
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)
            .map_err(|_| CryptoError::Invalid("Ed25519 key"))?;
        PrivateKey::from_ed25519(pair)
    }

    pub(crate) fn from_ecdsa(key_type: KeyType, pair: EcdsaKeyPair) -> CryptoResult<PrivateKey> {
        let public = PublicKey::ecdsa(key_type, pair.public_key().as_ref())?;
        Ok(PrivateKey { public, secret: Secret::Ecdsa(pair) })
    }

    /// From a scalar without leading zeros and the point that belongs to it.
    pub(crate) fn from_ecdsa_scalar(
        key_type: KeyType,
        scalar: &[u8],
        point: &[u8],
    ) -> CryptoResult<PrivateKey> {
        let invalid = CryptoError::Invalid("ECDSA key");
        let width = key_type.curve().ok_or(invalid)?.width;
        let mut fixed = Zeroizing::new(vec![0; width]);
        let at = width.checked_sub(scalar.len()).ok_or(invalid)?;
        fixed.get_mut(at..).ok_or(invalid)?.copy_from_slice(scalar);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(signing_algorithm(key_type)?, &fixed, point)
            .map_err(|_| invalid)?;
        PrivateKey::from_ecdsa(key_type, pair)
    }

    pub(crate) fn from_rsa(pair: RsaKeyPair) -> CryptoResult<PrivateKey> {
        let public = pair.public_key();
        let public = PublicKey::rsa(
            public.modulus().big_endian_without_leading_zero(),
            public.exponent().big_endian_without_leading_zero(),
        )?;
        Ok(PrivateKey { public, secret: Secret::Rsa(pair) })
    }

    /// From the numbers of a file, which lack two that the library wants. It checks that all fit together.
    pub(crate) fn from_rsa_numbers(numbers: &RsaNumbers<'_>) -> CryptoResult<PrivateKey> {
        // Bounds the arithmetic below, too.
        let public = PublicKey::rsa(numbers.n, numbers.e)?;
        rsa_can_sign(public.bits())?;
        let invalid = CryptoError::Invalid("RSA key");
        if [numbers.d, numbers.iqmp, numbers.p, numbers.q].iter().any(|x| x.len() > numbers.n.len()) {
            return Err(invalid);
        }
        let dp = crt_exponent(numbers.d, numbers.p).ok_or(invalid)?;
        let dq = crt_exponent(numbers.d, numbers.q).ok_or(invalid)?;
        let components = KeyPairComponents {
            public_key: PublicKeyComponents { n: numbers.n, e: numbers.e },
            d: numbers.d,
            p: numbers.p,
            q: numbers.q,
            dP: &dp,
            dQ: &dq,
            qInv: numbers.iqmp,
        };
        let pair = RsaKeyPair::from_components(&components).map_err(|_| invalid)?;
        Ok(PrivateKey { public, secret: Secret::Rsa(pair) })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "private half of {:?}", self.public)
    }
}

/// Says clearly what the library would just refuse.
pub(crate) fn rsa_can_sign(bits: u32) -> CryptoResult<()> {
    match bits {
        0..RSA_SIGN_BITS_MIN => Err(CryptoError::RsaTooShort { bits, min: RSA_SIGN_BITS_MIN }),
        RSA_SIGN_BITS_MIN..=RSA_SIGN_BITS_MAX => Ok(()),
        _ => Err(CryptoError::Unsupported("an RSA key of more than 8192 bits")),
    }
}

pub(crate) fn signing_algorithm(key_type: KeyType) -> CryptoResult<&'static EcdsaSigningAlgorithm> {
    match key_type {
        KeyType::EcdsaP256 => Ok(&ECDSA_P256_SHA256_FIXED_SIGNING),
        KeyType::EcdsaP384 => Ok(&ECDSA_P384_SHA384_FIXED_SIGNING),
        KeyType::EcdsaP521 => Ok(&ECDSA_P521_SHA512_FIXED_SIGNING),
        KeyType::Ed25519 | KeyType::Rsa | KeyType::SkEd25519 | KeyType::SkEcdsaP256 => {
            Err(CryptoError::AlgorithmMismatch)
        }
    }
}

/// d mod (prime - 1), in constant time. None if the prime cannot be one.
fn crt_exponent(d: &[u8], prime: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let number = |bytes: &[u8]| {
        let bits = u32::try_from(bytes.len()).ok()?.checked_mul(8)?;
        BoxedUint::from_be_slice(bytes, bits).ok()
    };
    let mut prime = number(prime)?;
    let mut d = number(d)?;
    let less_one = Option::from(NonZero::new(prime.wrapping_sub(BoxedUint::one())));
    let result = less_one.map(|less_one: NonZero<BoxedUint>| {
        let mut exponent = d.rem(&less_one);
        less_one.get().zeroize();
        let bytes = Zeroizing::new(exponent.to_be_bytes().into_vec());
        exponent.zeroize();
        bytes
    });
    prime.zeroize();
    d.zeroize();
    result
}

#[cfg(test)]
mod tests;
