//! Names of signature algorithms, and of the key algorithms that are negotiated: each signature algorithm
//! with a plain key and with a certificate.

use super::KeyType;
use crate::{CryptoError, CryptoResult};

/// What makes a signature: its name stands inside the signature (RFC 4253 §6.6).
///
/// SHA-1 with RSA (`ssh-rsa`) is missing on purpose. `webauthn-sk-ecdsa-sha2-nistp256@openssh.com`, made
/// by web browsers alone, is not implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlg {
    /// RFC 8709.
    Ed25519,
    /// RFC 5656, SHA-256.
    EcdsaP256,
    /// RFC 5656, SHA-384.
    EcdsaP384,
    /// RFC 5656, SHA-512.
    EcdsaP521,
    /// RFC 8332.
    RsaSha256,
    /// RFC 8332.
    RsaSha512,
    /// OpenSSH PROTOCOL.u2f.
    SkEd25519,
    /// OpenSSH PROTOCOL.u2f.
    SkEcdsaP256,
}

impl SignatureAlg {
    /// Every algorithm, in OpenSSH's order of preference.
    pub const ALL: [SignatureAlg; 8] = [
        SignatureAlg::Ed25519,
        SignatureAlg::EcdsaP256,
        SignatureAlg::EcdsaP384,
        SignatureAlg::EcdsaP521,
        SignatureAlg::SkEd25519,
        SignatureAlg::SkEcdsaP256,
        SignatureAlg::RsaSha512,
        SignatureAlg::RsaSha256,
    ];

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<SignatureAlg> {
        SignatureAlg::ALL.into_iter().find(|alg| alg.name() == name)
    }

    /// Its name. RSA's says the hash; the others are named as their keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SignatureAlg::RsaSha256 => "rsa-sha2-256",
            SignatureAlg::RsaSha512 => "rsa-sha2-512",
            other => other.key_type().name(),
        }
    }

    /// The type of the keys that it works with.
    #[must_use]
    pub fn key_type(self) -> KeyType {
        match self {
            SignatureAlg::Ed25519 => KeyType::Ed25519,
            SignatureAlg::EcdsaP256 => KeyType::EcdsaP256,
            SignatureAlg::EcdsaP384 => KeyType::EcdsaP384,
            SignatureAlg::EcdsaP521 => KeyType::EcdsaP521,
            SignatureAlg::RsaSha256 | SignatureAlg::RsaSha512 => KeyType::Rsa,
            SignatureAlg::SkEd25519 => KeyType::SkEd25519,
            SignatureAlg::SkEcdsaP256 => KeyType::SkEcdsaP256,
        }
    }
}

/// What is negotiated for host keys and named in a USERAUTH_REQUEST: how to sign, and whether the key
/// comes plain or in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyAlgorithm {
    /// How signatures are made.
    pub signature: SignatureAlg,
    /// Whether the key is a certificate.
    pub certificate: bool,
}

impl KeyAlgorithm {
    /// Every algorithm in OpenSSH's order of preference for host keys: certificates first.
    pub fn all() -> impl Iterator<Item = KeyAlgorithm> {
        [true, false].into_iter().flat_map(|certificate| {
            SignatureAlg::ALL.map(|signature| KeyAlgorithm { signature, certificate })
        })
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<KeyAlgorithm> {
        KeyAlgorithm::all().find(|alg| alg.name() == name)
    }

    /// Its name. Of an RSA certificate this is not the name in the certificate, which tells no hash.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.certificate, self.signature) {
            (false, signature) => signature.name(),
            (true, SignatureAlg::RsaSha256) => "rsa-sha2-256-cert-v01@openssh.com",
            (true, SignatureAlg::RsaSha512) => "rsa-sha2-512-cert-v01@openssh.com",
            (true, signature) => signature.key_type().certificate_name(),
        }
    }

    /// Refuses unless a key of that type, plain or in a certificate, is what this algorithm means.
    pub(crate) fn check(self, key_type: KeyType, certificate: bool) -> CryptoResult<()> {
        if self.signature.key_type() == key_type && self.certificate == certificate {
            Ok(())
        } else {
            Err(CryptoError::AlgorithmMismatch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_alone_are_signature_algorithms() {
        for alg in SignatureAlg::ALL {
            assert_eq!(SignatureAlg::from_name(alg.name()), Some(alg));
        }
        assert_eq!(SignatureAlg::from_name("ssh-rsa"), None);
        assert_eq!(SignatureAlg::from_name("ssh-ed25519-cert-v01@openssh.com"), None);
    }

    /// `ssh -Q HostKeyAlgorithms` of OpenSSH in its order of preference, without webauthn.
    #[test]
    fn the_order_is_openssh_s() {
        let names: Vec<_> = KeyAlgorithm::all().map(KeyAlgorithm::name).collect();
        assert_eq!(
            names.join(","),
            "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,\
             ecdsa-sha2-nistp384-cert-v01@openssh.com,ecdsa-sha2-nistp521-cert-v01@openssh.com,\
             sk-ssh-ed25519-cert-v01@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com,\
             rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,\
             ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,\
             sk-ssh-ed25519@openssh.com,sk-ecdsa-sha2-nistp256@openssh.com,rsa-sha2-512,rsa-sha2-256"
        );
        for name in names {
            assert_eq!(KeyAlgorithm::from_name(name).unwrap().name(), name);
        }
        for name in ["", "ssh-rsa", "ssh-rsa-cert-v01@openssh.com", "ssh-dss"] {
            assert_eq!(KeyAlgorithm::from_name(name), None);
        }
    }

    #[test]
    fn an_algorithm_fits_its_key_type_in_its_form_alone() {
        let alg = KeyAlgorithm::from_name("rsa-sha2-256-cert-v01@openssh.com").unwrap();
        assert_eq!(alg.check(KeyType::Rsa, true), Ok(()));
        assert_eq!(alg.check(KeyType::Rsa, false), Err(CryptoError::AlgorithmMismatch));
        assert_eq!(alg.check(KeyType::Ed25519, true), Err(CryptoError::AlgorithmMismatch));
    }
}
