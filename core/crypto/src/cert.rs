//! OpenSSH certificates (draft-miller-ssh-cert, OpenSSH PROTOCOL.certkeys): reading one, checking the
//! authority's signature, and saying whether it holds for a purpose at a time.
//!
//! Whether the authority is trusted, whether key or serial are revoked and what the options mean for a
//! session is for the caller.

mod options;

use std::fmt;

use sockward_wire::{Reader, WireError, pattern};

pub use options::{CriticalOption, Extension};

use crate::key::algorithm_of;
use crate::{CryptoError, CryptoResult, KeyAlgorithm, KeyType, PublicKey, SignatureAlg};

/// More names than this a certificate may not list; OpenSSH's cap.
const PRINCIPALS_MAX: usize = 256;

/// Whom a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertType {
    /// To log in with.
    User,
    /// For a server to show.
    Host,
}

/// A certificate whose authority's signature was verified when it was made.
///
/// That says it is genuine, not that it is good: ask [`Certificate::check`], and whether `authority` is
/// trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// The certificate as received.
    pub blob: Vec<u8>,
    /// What the authority put in to make it unpredictable.
    pub nonce: Vec<u8>,
    /// The key certified.
    pub key: PublicKey,
    /// The authority's number for it, zero if it gives none.
    pub serial: u64,
    /// For users or for hosts.
    pub cert_type: CertType,
    /// The authority's name for it, for logs and revocation. Any bytes but NUL.
    pub key_id: Vec<u8>,
    /// The users or hosts it is for. An empty list is for nobody.
    pub principals: Vec<Vec<u8>>,
    /// First second of its validity, in Unix time.
    pub valid_after: u64,
    /// First second after its validity.
    pub valid_before: u64,
    /// Restrictions, every one of which must be understood and kept.
    pub critical_options: Vec<CriticalOption>,
    /// Permissions; those not understood may be left aside.
    pub extensions: Vec<Extension>,
    /// The authority's key.
    pub authority: PublicKey,
    /// How the authority signed, for `CASignatureAlgorithms`.
    pub signature_algorithm: SignatureAlg,
    /// The authority's signature.
    pub signature: Vec<u8>,
}

impl Certificate {
    /// Takes a certificate's blob and verifies the authority's signature over its bytes as received.
    ///
    /// Refused are also an authority that is a certificate itself, a signature by SHA-1, options given
    /// twice or with a value of the wrong form, more than 256 principals, and whatever
    /// [`PublicKey::from_blob`] refuses of a key.
    pub fn parse(blob: &[u8]) -> CryptoResult<Certificate> {
        let mut r = Reader::new(blob);
        let name = r.string("certificate type")?;
        let key_type = KeyType::from_certificate_name(name).ok_or(CryptoError::UnknownKeyType)?;
        let nonce = r.string("nonce")?.to_vec();
        let key = PublicKey::read(&mut r, key_type)?;
        let serial = r.u64("serial")?;
        let cert_type = match r.u32("certificate kind")? {
            1 => CertType::User,
            2 => CertType::Host,
            _ => return Err(CryptoError::Invalid("certificate kind")),
        };
        let key_id = without_nul(r.string("key id")?, "key id")?;
        let principals = principals(r.string("principals")?)?;
        let valid_after = r.u64("valid after")?;
        let valid_before = r.u64("valid before")?;
        let critical_options = options::critical(r.string("critical options")?)?;
        let extensions = options::extensions(r.string("extensions")?)?;
        // Reserved: nothing is defined for it, and OpenSSH does not look either.
        r.string("reserved")?;
        let authority = PublicKey::from_blob(r.string("authority")?)?;
        let signed_len = blob.len() - r.rest().len();
        let signature = r.string("signature")?.to_vec();
        r.finish("certificate")?;
        let signed = blob.get(..signed_len).ok_or(WireError::Short("certificate"))?;
        // The algorithm is the signature's to name; `verify` makes sure that it fits the authority's key.
        let signature_algorithm = algorithm_of(&signature)?
            .ok_or(CryptoError::Unsupported("the authority's signature algorithm"))?;
        // Of an authority in a FIDO token no touch is asked, as OpenSSH: it signed once, long ago.
        let _ = authority.verify(signature_algorithm, signed, &signature)?;
        Ok(Certificate {
            blob: blob.to_vec(),
            nonce,
            key,
            serial,
            cert_type,
            key_id,
            principals,
            valid_after,
            valid_before,
            critical_options,
            extensions,
            authority,
            signature_algorithm,
            signature,
        })
    }

    /// Whether the certificate holds for a user or host at `now`, in seconds of Unix time.
    ///
    /// `principal` is the login or the host name in lower case; without one the caller compares
    /// [`Certificate::principals`] with a list of its own. Names of hosts in a certificate may hold
    /// wildcards, names of users are compared as they are.
    ///
    /// A critical option that is not understood refuses, on a host certificate any critical option.
    /// Keeping the ones that are understood is up to the caller.
    pub fn check(
        &self,
        cert_type: CertType,
        principal: Option<&[u8]>,
        now: u64,
    ) -> Result<(), CertificateRefusal> {
        if self.cert_type != cert_type {
            return Err(CertificateRefusal::WrongType { wanted: cert_type });
        }
        if now < self.valid_after {
            return Err(CertificateRefusal::NotYetValid);
        }
        if now >= self.valid_before {
            return Err(CertificateRefusal::Expired);
        }
        if self.principals.is_empty() {
            return Err(CertificateRefusal::NoPrincipals);
        }
        let matches = |name: &[u8]| {
            self.principals.iter().any(|listed| match cert_type {
                CertType::User => listed == name,
                CertType::Host => pattern::matches(listed, name),
            })
        };
        if principal.is_some_and(|name| !matches(name)) {
            return Err(CertificateRefusal::NotAPrincipal);
        }
        let understood = |option: &CriticalOption| {
            cert_type == CertType::User && !matches!(option, CriticalOption::Unknown { .. })
        };
        match self.critical_options.iter().find(|option| !understood(option)) {
            Some(option) => Err(CertificateRefusal::CriticalOption(option.name())),
            None => Ok(()),
        }
    }
}

/// Why a certificate does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// It is for users where one for hosts is due, or the other way round.
    WrongType {
        /// What was due.
        wanted: CertType,
    },
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// It lists nobody.
    NoPrincipals,
    /// It lists others.
    NotAPrincipal,
    /// It carries a restriction, of this name, that nobody here can keep.
    CriticalOption(String),
}

impl fmt::Display for CertificateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateRefusal::WrongType { wanted: CertType::User } => {
                f.write_str("certificate invalid: not for users")
            }
            CertificateRefusal::WrongType { wanted: CertType::Host } => {
                f.write_str("certificate invalid: not for hosts")
            }
            CertificateRefusal::NotYetValid => f.write_str("certificate invalid: not yet valid"),
            CertificateRefusal::Expired => f.write_str("certificate invalid: expired"),
            CertificateRefusal::NoPrincipals => f.write_str("certificate invalid: lists no principals"),
            CertificateRefusal::NotAPrincipal => {
                f.write_str("certificate invalid: name is not one of its principals")
            }
            CertificateRefusal::CriticalOption(name) => {
                write!(f, "certificate critical option \"{name}\" is not supported")
            }
        }
    }
}

impl std::error::Error for CertificateRefusal {}

/// A key as it comes in a KEXINIT reply, a USERAUTH_REQUEST or a file: plain or certified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrCert {
    /// A plain key.
    Key(PublicKey),
    /// A certificate.
    Cert(Box<Certificate>),
}

impl KeyOrCert {
    /// Takes either kind of blob.
    pub fn parse(blob: &[u8]) -> CryptoResult<KeyOrCert> {
        match PublicKey::from_blob(blob) {
            Err(CryptoError::UnexpectedCertificate) => {
                Ok(KeyOrCert::Cert(Box::new(Certificate::parse(blob)?)))
            }
            plain => plain.map(KeyOrCert::Key),
        }
    }

    /// The key itself, or the one certified: the one that signs.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        match self {
            KeyOrCert::Key(key) => key,
            KeyOrCert::Cert(cert) => &cert.key,
        }
    }

    /// The certificate, if it is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            KeyOrCert::Key(_) => None,
            KeyOrCert::Cert(cert) => Some(cert),
        }
    }

    /// The blob as received.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        match self {
            KeyOrCert::Key(key) => key.blob(),
            KeyOrCert::Cert(cert) => &cert.blob,
        }
    }

    /// The fingerprint of the key, also of the key in a certificate: as OpenSSH shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.public_key().fingerprint()
    }

    /// The word for people, as OpenSSH's logs have it: `ED25519`, `ED25519-CERT`.
    #[must_use]
    pub fn word(&self) -> String {
        let suffix = if self.certificate().is_some() { "-CERT" } else { "" };
        format!("{}{suffix}", self.public_key().key_type().word())
    }

    /// Refuses unless `algorithm`, negotiated or requested, is one for this kind of key in this form.
    pub fn check_algorithm(&self, algorithm: KeyAlgorithm) -> CryptoResult<()> {
        algorithm.check(self.public_key().key_type(), self.certificate().is_some())
    }
}

fn principals(list: &[u8]) -> CryptoResult<Vec<Vec<u8>>> {
    let mut r = Reader::new(list);
    let mut principals = Vec::new();
    while !r.is_empty() {
        if principals.len() == PRINCIPALS_MAX {
            return Err(WireError::TooLong("principals").into());
        }
        principals.push(without_nul(r.string("principal")?, "principal")?);
    }
    Ok(principals)
}

/// Names end up in C strings, environments and logs elsewhere: a NUL in one could hide its end.
fn without_nul(name: &[u8], what: &'static str) -> CryptoResult<Vec<u8>> {
    if name.contains(&0) { Err(CryptoError::Invalid(what)) } else { Ok(name.to_vec()) }
}

#[cfg(test)]
mod tests;
