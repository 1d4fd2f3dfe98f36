//! RevokedKeys: does a file revoke a key or certificate? It is a list of keys, or a key revocation list (KRL) of
//! ssh-keygen(1).
//!
//! A file that cannot be understood to its end revokes nobody in particular: it is an error, and the caller refuses
//! everybody. So the whole file is read for each question, whatever was found before.
//!
//! # Differences from OpenSSH
//!
//! - A KRL with a signature in it is an error: it is not checked here. (OpenSSH 9.2 checks it, later ones pass over it.)
//! - A list may name keys of types that are not known here; they can match nobody.

mod krl;
mod list;

use std::fmt;

use sockward_policy::{KeyIdentity, Presented};

pub use list::{ListedKey, keys};

/// The longest file read, in bytes: a KRL of some million fingerprints.
pub const FILE_MAX: usize = 64 * 1024 * 1024;

/// What a file revokes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The key itself, or the one in the certificate.
    Key,
    /// The authority that signed the certificate.
    Authority,
    /// This certificate of its authority, by its number.
    Serial(u64),
    /// All certificates with its name.
    KeyId,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Revoked::Key => f.write_str("the key is revoked"),
            Revoked::Authority => f.write_str("the certificate's authority is revoked"),
            Revoked::Serial(serial) => write!(f, "the certificate's serial number {serial} is revoked"),
            Revoked::KeyId => f.write_str("the certificate's key ID is revoked"),
        }
    }
}

/// Why a file is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevocationError {
    /// This line of a list is no key.
    Line(u32),
    /// The KRL ends early, or a length in it is wrong.
    Malformed(&'static str),
    /// A KRL of a version that is not known.
    Version(u32),
    /// A part of a KRL that is not known and could revoke.
    Section(u8),
    /// An extension that is not known and must be.
    Extension(String),
    /// The KRL is signed.
    Signed,
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RevocationError::Line(line) => write!(f, "there is no public key in line {line}"),
            RevocationError::Malformed(what) => write!(f, "the KRL is malformed: {what}"),
            RevocationError::Version(version) => write!(f, "unsupported KRL format version {version}"),
            RevocationError::Section(kind) => write!(f, "unsupported KRL section {kind}"),
            RevocationError::Extension(name) => {
                write!(f, "the KRL contains the unsupported critical extension \"{name}\"")
            }
            RevocationError::Signed => f.write_str(
                "the KRL contains a signature, which is not checked here; sign it with ssh-keygen -Y sign instead",
            ),
        }
    }
}

impl std::error::Error for RevocationError {}

/// Whether `file` revokes what is shown: the key, or for a certificate also its authority, number or name.
pub fn check(file: &[u8], presented: &Presented) -> Result<Option<Revoked>, RevocationError> {
    if krl::is_krl(file) { krl::check(file, presented) } else { list::check(file, presented) }
}

/// What is revoked when this plain key is.
fn whose(presented: &Presented, is: impl Fn(&KeyIdentity) -> bool) -> Option<Revoked> {
    if is(&presented.key) {
        return Some(Revoked::Key);
    }
    presented.certificate.as_ref().filter(|c| is(&c.authority)).map(|_| Revoked::Authority)
}

/// Asks any bytes about any certificate: the first of them are taken for both. For fuzzing.
#[doc(hidden)]
pub fn fuzz_revocation(data: &[u8]) {
    let identity = |blob: &[u8]| KeyIdentity { blob: blob.to_vec(), sha1: [0; 20], sha256: [0; 32] };
    let certificate = sockward_policy::CertificateIdentity {
        authority: identity(data.get(..51).unwrap_or_default()),
        serial: data.len() as u64,
        key_id: b"id".to_vec(),
        principals: Vec::new(),
    };
    let presented = Presented { key: identity(data), certificate: Some(certificate) };
    let _ = check(data, &presented);
    let mut krl = krl::MAGIC.to_vec();
    krl.extend_from_slice(data);
    let _ = check(&krl, &presented);
}

#[cfg(test)]
mod tests;
