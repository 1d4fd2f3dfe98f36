//! Public keys: their types, their blobs (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709, OpenSSH PROTOCOL.u2f)
//! and what makes one valid. Certificates are in `cert`, private halves in `private`.

mod algorithm;
mod text;
mod verify;

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, EcdsaVerificationAlgorithm,
    UnparsedPublicKey,
};
use sockward_wire::{Put, Reader};

pub use algorithm::{KeyAlgorithm, SignatureAlg};
pub use text::{fingerprint, parse_public_line, write_public_line};
pub(crate) use verify::algorithm_of;
pub use verify::{SkFacts, Verified};

use crate::{CryptoError, CryptoResult};

/// The shortest RSA modulus that any key may have, as OpenSSH; `RequiredRSASize` can ask for more.
pub const RSA_BITS_MIN: u32 = 1024;
/// The longest, as OpenSSH. Signatures are verified up to 8192 bits, which is the library's limit.
pub const RSA_BITS_MAX: u32 = 16384;

/// The type of a key, whether plain or in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RFC 8709.
    Ed25519,
    /// RFC 5656 with NIST P-256.
    EcdsaP256,
    /// RFC 5656 with NIST P-384.
    EcdsaP384,
    /// RFC 5656 with NIST P-521.
    EcdsaP521,
    /// RFC 4253 §6.6; signs with SHA-2 alone (RFC 8332).
    Rsa,
    /// Ed25519 in a FIDO token.
    SkEd25519,
    /// ECDSA with P-256 in a FIDO token.
    SkEcdsaP256,
}

impl KeyType {
    /// Every type.
    pub const ALL: [KeyType; 7] = [
        KeyType::Ed25519,
        KeyType::EcdsaP256,
        KeyType::EcdsaP384,
        KeyType::EcdsaP521,
        KeyType::Rsa,
        KeyType::SkEd25519,
        KeyType::SkEcdsaP256,
    ];

    /// The name at the start of a plain key's blob and of its line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ssh-ed25519",
            KeyType::EcdsaP256 => "ecdsa-sha2-nistp256",
            KeyType::EcdsaP384 => "ecdsa-sha2-nistp384",
            KeyType::EcdsaP521 => "ecdsa-sha2-nistp521",
            KeyType::Rsa => "ssh-rsa",
            KeyType::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            KeyType::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The name at the start of a certificate of such a key.
    #[must_use]
    pub fn certificate_name(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
            KeyType::EcdsaP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            KeyType::EcdsaP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            KeyType::EcdsaP521 => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
            KeyType::Rsa => "ssh-rsa-cert-v01@openssh.com",
            KeyType::SkEd25519 => "sk-ssh-ed25519-cert-v01@openssh.com",
            KeyType::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        }
    }

    /// The word for people, as OpenSSH's logs and `ssh-keygen -l` have it. With `-CERT` behind it for
    /// certificates.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ED25519",
            KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => "ECDSA",
            KeyType::Rsa => "RSA",
            KeyType::SkEd25519 => "ED25519-SK",
            KeyType::SkEcdsaP256 => "ECDSA-SK",
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<KeyType> {
        KeyType::ALL.into_iter().find(|t| t.name().as_bytes() == name)
    }

    pub(crate) fn from_certificate_name(name: &[u8]) -> Option<KeyType> {
        KeyType::ALL.into_iter().find(|t| t.certificate_name().as_bytes() == name)
    }

    fn is_sk(self) -> bool {
        matches!(self, KeyType::SkEd25519 | KeyType::SkEcdsaP256)
    }
}

/// The curve of an ECDSA key.
pub(crate) struct Curve {
    /// Its name in blobs (RFC 5656 §10.1).
    pub(crate) name: &'static str,
    /// Bytes of a coordinate and of a scalar.
    pub(crate) width: usize,
    pub(crate) bits: u32,
    /// The library's verification, over r and s of fixed length.
    pub(crate) verification: &'static EcdsaVerificationAlgorithm,
}

impl KeyType {
    pub(crate) fn curve(self) -> Option<Curve> {
        match self {
            KeyType::EcdsaP256 | KeyType::SkEcdsaP256 => {
                Some(Curve { name: "nistp256", width: 32, bits: 256, verification: &ECDSA_P256_SHA256_FIXED })
            }
            KeyType::EcdsaP384 => {
                Some(Curve { name: "nistp384", width: 48, bits: 384, verification: &ECDSA_P384_SHA384_FIXED })
            }
            KeyType::EcdsaP521 => {
                Some(Curve { name: "nistp521", width: 66, bits: 521, verification: &ECDSA_P521_SHA512_FIXED })
            }
            KeyType::Ed25519 | KeyType::Rsa | KeyType::SkEd25519 => None,
        }
    }
}

/// A public key that was checked when it was made. Two are equal if their blobs are.
#[derive(Clone)]
pub struct PublicKey {
    key_type: KeyType,
    blob: Box<[u8]>,
    material: Material,
    /// What a FIDO token signs along; empty for other types.
    application: Box<[u8]>,
}

#[derive(Clone)]
enum Material {
    Ed25519([u8; 32]),
    /// Uncompressed.
    Point(Box<[u8]>),
    /// Big-endian without leading zeros.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
}

impl PublicKey {
    /// Takes a plain key's blob.
    ///
    /// Refused are unknown types, certificates, points that are not on their curve, RSA keys that cannot
    /// be or are outside [`RSA_BITS_MIN`] to [`RSA_BITS_MAX`], numbers with needless zeros, and bytes
    /// left over: a key has one blob, so that blobs can be compared.
    pub fn from_blob(blob: &[u8]) -> CryptoResult<PublicKey> {
        let mut r = Reader::new(blob);
        let name = r.string("key type")?;
        let key_type = KeyType::from_name(name).ok_or_else(|| {
            if KeyType::from_certificate_name(name).is_some() {
                CryptoError::UnexpectedCertificate
            } else {
                CryptoError::UnknownKeyType
            }
        })?;
        let key = PublicKey::read(&mut r, key_type)?;
        r.finish("public key")?;
        Ok(key)
    }

    /// Reads what follows the type's name, in plain keys and, behind the nonce, in certificates.
    pub(crate) fn read(r: &mut Reader<'_>, key_type: KeyType) -> CryptoResult<PublicKey> {
        let material = match key_type {
            KeyType::Ed25519 | KeyType::SkEd25519 => {
                let key = r.string("Ed25519 key")?;
                Material::Ed25519(key.try_into().map_err(|_| CryptoError::Invalid("Ed25519 key"))?)
            }
            KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 | KeyType::SkEcdsaP256 => {
                let curve = key_type.curve().ok_or(CryptoError::UnknownKeyType)?;
                if r.string("ECDSA curve")? != curve.name.as_bytes() {
                    return Err(CryptoError::Invalid("ECDSA curve"));
                }
                Material::Point(point(&curve, r.string("ECDSA point")?)?)
            }
            KeyType::Rsa => {
                let e = r.mpint("RSA exponent")?;
                let n = r.mpint("RSA modulus")?;
                rsa_numbers(n, e)?
            }
        };
        let application = if key_type.is_sk() { r.string("application")? } else { b"" };
        Ok(PublicKey::assemble(key_type, material, application))
    }

    /// From the raw 32 bytes.
    pub(crate) fn ed25519(key: [u8; 32]) -> PublicKey {
        PublicKey::assemble(KeyType::Ed25519, Material::Ed25519(key), b"")
    }

    /// From an uncompressed point.
    pub(crate) fn ecdsa(key_type: KeyType, bytes: &[u8]) -> CryptoResult<PublicKey> {
        let curve = key_type.curve().ok_or(CryptoError::UnknownKeyType)?;
        Ok(PublicKey::assemble(key_type, Material::Point(point(&curve, bytes)?), b""))
    }

    /// From big-endian numbers without leading zeros.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> CryptoResult<PublicKey> {
        Ok(PublicKey::assemble(KeyType::Rsa, rsa_numbers(n, e)?, b""))
    }

    fn assemble(key_type: KeyType, material: Material, application: &[u8]) -> PublicKey {
        let mut blob = Vec::new();
        blob.put_string(key_type.name().as_bytes());
        match &material {
            Material::Ed25519(key) => blob.put_string(key),
            Material::Point(point) => {
                blob.put_string(key_type.curve().map_or("", |c| c.name).as_bytes());
                blob.put_string(point);
            }
            Material::Rsa { n, e } => {
                blob.put_mpint(e);
                blob.put_mpint(n);
            }
        }
        if key_type.is_sk() {
            blob.put_string(application);
        }
        PublicKey { key_type, blob: blob.into(), material, application: application.into() }
    }

    /// The key as it goes over the wire and into files.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Its type.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Its size in bits, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn bits(&self) -> u32 {
        match &self.material {
            Material::Rsa { n, .. } => bit_length(n),
            Material::Ed25519(_) => 256,
            Material::Point(_) => self.key_type.curve().map_or(0, |c| c.bits),
        }
    }

    /// `RequiredRSASize`: refuses an RSA key of fewer bits than `min`; other types pass.
    pub fn check_rsa_size(&self, min: u32) -> CryptoResult<()> {
        match self.bits() {
            bits if self.key_type == KeyType::Rsa && bits < min => {
                Err(CryptoError::RsaTooShort { bits, min })
            }
            _ => Ok(()),
        }
    }

    /// `SHA256:` and the digest of the blob in base64 without padding.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.blob == other.blob
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.blob.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key_type.word(), self.fingerprint())
    }
}

/// An uncompressed point that is on the curve (RFC 5656 §3.1). Compressed ones, which that RFC allows and
/// OpenSSH takes, nobody writes; they would give a key a second blob.
fn point(curve: &Curve, bytes: &[u8]) -> CryptoResult<Box<[u8]>> {
    let plain = bytes.len() == 1 + 2 * curve.width && bytes.first() == Some(&4);
    if !plain || UnparsedPublicKey::new(curve.verification, bytes).parse().is_err() {
        return Err(CryptoError::Invalid("ECDSA point"));
    }
    Ok(bytes.into())
}

/// Both numbers odd, the exponent above one, the modulus within our bounds.
fn rsa_numbers(n: &[u8], e: &[u8]) -> CryptoResult<Material> {
    let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
    if !odd(e) || bit_length(e) < 2 || e.len() > n.len() {
        return Err(CryptoError::Invalid("RSA exponent"));
    }
    match bit_length(n) {
        bits if bits < RSA_BITS_MIN => Err(CryptoError::RsaTooShort { bits, min: RSA_BITS_MIN }),
        bits if bits > RSA_BITS_MAX || !odd(n) => Err(CryptoError::Invalid("RSA modulus")),
        _ => Ok(Material::Rsa { n: n.into(), e: e.into() }),
    }
}

/// Bits of a big-endian number without leading zeros.
fn bit_length(number: &[u8]) -> u32 {
    let bits = number.len().saturating_mul(8);
    let unused = number.first().map_or(0, |b| b.leading_zeros());
    u32::try_from(bits).unwrap_or(u32::MAX).saturating_sub(unused)
}

#[cfg(test)]
mod tests;
