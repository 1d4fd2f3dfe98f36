//! Verification of SSH signatures: the blob around them (RFC 4253 §6.6, RFC 5656 §3.1.2, RFC 8332 §3,
//! OpenSSH PROTOCOL.u2f) and what the library says of the numbers inside.

use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use sockward_wire::{Put, Reader};

use super::{Material, PublicKey, SignatureAlg};
use crate::{CryptoError, CryptoResult, sha256};

/// The longest modulus with which the library verifies.
const RSA_VERIFY_BITS_MAX: u32 = 8192;

/// Proof that a signature was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "of a FIDO token the facts must be looked at, too"]
pub struct Verified {
    sk: Option<SkFacts>,
}

impl Verified {
    /// What a FIDO token vouches for; none for other keys.
    ///
    /// Whoever accepts a token's signature for a login **must** look: unless the key or certificate says
    /// `no-touch-required`, [`SkFacts::user_present`] is due, and with `verify-required`
    /// [`SkFacts::user_verified`] as well. The signature alone does not say that anybody touched the token.
    #[must_use]
    pub fn sk(&self) -> Option<SkFacts> {
        self.sk
    }
}

/// What a FIDO token signed along with the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkFacts {
    /// All its flags.
    pub flags: u8,
    /// Its count of signatures, for those who keep the last one.
    pub counter: u32,
}

impl SkFacts {
    /// Somebody touched the token.
    #[must_use]
    pub fn user_present(self) -> bool {
        self.flags & 0x01 != 0
    }

    /// The token checked who it was, by PIN or by fingerprint.
    #[must_use]
    pub fn user_verified(self) -> bool {
        self.flags & 0x04 != 0
    }
}

impl PublicKey {
    /// Whether `signature` is of this key over `data`.
    ///
    /// `signature` is an SSH signature blob. It must name `alg`, and `alg` must fit the key.
    pub fn verify(&self, alg: SignatureAlg, data: &[u8], signature: &[u8]) -> CryptoResult<Verified> {
        if alg.key_type() != self.key_type {
            return Err(CryptoError::AlgorithmMismatch);
        }
        let mut r = Reader::new(signature);
        if r.string("signature algorithm")? != alg.name().as_bytes() {
            return Err(CryptoError::AlgorithmMismatch);
        }
        let inner = r.string("signature")?;
        if !self.key_type.is_sk() {
            r.finish("signature")?;
            self.verify_inner(alg, data, inner)?;
            return Ok(Verified { sk: None });
        }
        let facts = SkFacts { flags: r.u8("signature flags")?, counter: r.u32("signature counter")? };
        r.finish("signature")?;
        let mut signed = Vec::with_capacity(32 + 1 + 4 + 32);
        signed.put_raw(sha256(&[&self.application]).as_ref());
        signed.put_u8(facts.flags);
        signed.put_u32(facts.counter);
        signed.put_raw(sha256(&[data]).as_ref());
        self.verify_inner(alg, &signed, inner)?;
        Ok(Verified { sk: Some(facts) })
    }

    fn verify_inner(&self, alg: SignatureAlg, data: &[u8], signature: &[u8]) -> CryptoResult<()> {
        let outcome = match &self.material {
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(data, signature),
            Material::Point(point) => {
                let curve = self.key_type.curve().ok_or(CryptoError::AlgorithmMismatch)?;
                let fixed = fixed_width(signature, curve.width)?;
                UnparsedPublicKey::new(curve.verification, point).verify(data, &fixed)
            }
            Material::Rsa { n, e } => {
                if self.bits() > RSA_VERIFY_BITS_MAX {
                    return Err(CryptoError::Unsupported("an RSA key of more than 8192 bits"));
                }
                // The bounds in these names are those of OpenSSH's default; a higher one is the caller's
                // to ask for with `check_rsa_size`.
                let params = if alg == SignatureAlg::RsaSha512 {
                    &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
                } else {
                    &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
                };
                // Some signers drop leading zeros, which RFC 8332 forbids; OpenSSH puts them back.
                let padded = left_pad(signature, n.len())?;
                RsaPublicKeyComponents { n, e }.verify(params, data, &padded)
            }
        };
        outcome.map_err(|_| CryptoError::BadSignature)
    }
}

/// The signature algorithm that a blob names, none if we do not know it.
pub(crate) fn algorithm_of(signature: &[u8]) -> CryptoResult<Option<SignatureAlg>> {
    let name = Reader::new(signature).string("signature algorithm")?;
    Ok(SignatureAlg::ALL.into_iter().find(|alg| alg.name().as_bytes() == name))
}

/// The mpints r and s of an ECDSA signature, each as `width` bytes.
///
/// Needless zeros before a number are dropped, as OpenSSH does: some agents write them.
fn fixed_width(signature: &[u8], width: usize) -> CryptoResult<Vec<u8>> {
    let mut r = Reader::new(signature);
    let mut fixed = Vec::with_capacity(2 * width);
    for what in ["signature r", "signature s"] {
        let number = r.string(what)?;
        if number.first().is_some_and(|&b| b >= 0x80) {
            return Err(CryptoError::Invalid(what));
        }
        let digits = number.iter().position(|&b| b != 0).and_then(|at| number.get(at..));
        fixed.extend_from_slice(&left_pad(digits.unwrap_or_default(), width)?);
    }
    r.finish("signature")?;
    Ok(fixed)
}

fn left_pad(number: &[u8], width: usize) -> CryptoResult<Vec<u8>> {
    let zeros = width.checked_sub(number.len()).ok_or(CryptoError::BadSignature)?;
    let mut out = vec![0; zeros];
    out.extend_from_slice(number);
    Ok(out)
}

#[cfg(test)]
mod tests;
