//! A key or certificate that somebody shows, as far as files can say something of it: what the monitor, which
//! links the cryptography, tells those who search files and do not.

use serde::{Deserialize, Serialize};

use crate::KeyOptions;

/// A plain key: its bytes and what files may hold in their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyIdentity {
    /// The public key in SSH's form (RFC 4253 section 6.6), never a certificate.
    pub blob: Vec<u8>,
    /// SHA-1 of the blob, for old revocation lists alone.
    pub sha1: [u8; 20],
    /// SHA-256 of the blob.
    pub sha256: [u8; 32],
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// The key, or the one that the certificate is for.
    pub key: KeyIdentity,
    /// The certificate, if it is one.
    pub certificate: Option<CertificateIdentity>,
}

/// Of a certificate: who signed it, and what it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateIdentity {
    /// Who signed it.
    pub authority: KeyIdentity,
    /// The authority's number for it; 0 if it gives none.
    pub serial: u64,
    /// The authority's name for it.
    pub key_id: Vec<u8>,
    /// Whom it is for.
    pub principals: Vec<Vec<u8>>,
}

impl CertificateIdentity {
    /// Whether it is for one of these names, compared byte for byte.
    pub fn names_one_of<'n>(&self, names: impl IntoIterator<Item = &'n [u8]>) -> bool {
        names.into_iter().any(|name| self.principals.iter().any(|p| p == name))
    }

    /// Whether it is for `user`, its authority standing in a line of authorized_keys: it must have one of the names
    /// of `principals=`, else that of the account.
    ///
    /// A certificate without names is for everybody where the line has no `principals=` (ssh-keygen(1) of OpenSSH
    /// 9.2 makes those by default and says so; OpenSSH 10 refuses them).
    #[must_use]
    pub fn is_for(&self, authority: &KeyOptions, user: &str) -> bool {
        match &authority.principals {
            Some(names) => self.names_one_of(names.iter().map(Vec::as_slice)),
            None => self.principals.is_empty() || self.names_one_of([user.as_bytes()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn whom_a_certificate_is_for() {
        let list = |names: &[&str]| names.iter().map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>();
        let line = |principals: Option<&[&str]>| KeyOptions {
            cert_authority: true,
            principals: principals.map(list),
            ..KeyOptions::unrestricted(Source::new("keys", 1))
        };
        for (names, principals, admitted) in [
            (&["alex", "bob"][..], None, true),
            (&["Alex", "al*"], None, false),
            (&[], None, true),
            (&["web"], Some(&["db", "web"][..]), true),
            (&["alex"], Some(&["web"]), false),
            (&["alex"], Some(&[]), false),
            (&[], Some(&["web"]), false),
        ] {
            let key = || KeyIdentity { blob: vec![], sha1: [0; 20], sha256: [0; 32] };
            let certificate =
                CertificateIdentity { authority: key(), serial: 0, key_id: vec![], principals: list(names) };
            assert_eq!(certificate.is_for(&line(principals), "alex"), admitted, "{names:?} {principals:?}");
        }
    }
}
