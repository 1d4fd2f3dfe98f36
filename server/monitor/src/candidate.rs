//! The key or certificate of one request: whether it is of a kind that is taken at all, what it is called, what
//! those who search files need to know of it, and whether it signed. A certificate's own restrictions are read
//! here, before anybody is asked about it.

use sockward_config::sshd::Effective;
use sockward_crypto::{
    CertType, Certificate, CertificateRefusal, CriticalOption, Extension, KeyAlgorithm, KeyOrCert, PublicKey,
    sha1, sha256, write_public_line,
};
use sockward_policy::address::Peer;
use sockward_policy::{AddressList, CertificateIdentity, KeyIdentity, KeyOptions, Presented, Source};

use crate::audit::{CertificateName, ShownKey};

/// A key that somebody shows, and it may be one to log in with.
#[derive(Debug)]
pub(crate) struct Candidate {
    algorithm: KeyAlgorithm,
    key: KeyOrCert,
    pub(crate) presented: Presented,
    /// Of a certificate: what it permits and restricts.
    pub(crate) certificate: Option<KeyOptions>,
}

impl Candidate {
    /// Takes what a request brings. The error says why a key like this is not taken.
    pub(crate) fn new(
        algorithm: &str,
        key: &[u8],
        effective: &Effective,
        peer: &Peer<'_>,
        unix_time: u64,
    ) -> Result<Self, String> {
        let accepted = effective.pubkey_accepted_algorithms.iter().any(|a| a == algorithm);
        let Some(algorithm) = KeyAlgorithm::from_name(algorithm).filter(|_| accepted) else {
            return Err(format!("key type {} not in PubkeyAcceptedAlgorithms", algorithm.escape_debug()));
        };
        let key = KeyOrCert::parse(key).map_err(|e| format!("key cannot be read: {e}"))?;
        key.check_algorithm(algorithm).map_err(|e| e.to_string())?;
        key.public_key().check_rsa_size(effective.required_rsa_size).map_err(|e| e.to_string())?;
        let certificate = match key.certificate() {
            Some(cert) => Some(check(cert, effective, peer, unix_time).map_err(|why| {
                let id = cert.key_id.escape_ascii();
                format!("Refusing certificate ID \"{id}\" serial={}: {why}", cert.serial)
            })?),
            None => None,
        };
        let presented = Presented {
            key: identity(key.public_key()),
            certificate: key.certificate().map(|cert| CertificateIdentity {
                authority: identity(&cert.authority),
                serial: cert.serial,
                key_id: cert.key_id.clone(),
                principals: cert.principals.clone(),
            }),
        };
        Ok(Candidate { algorithm, key, presented, certificate })
    }

    /// The key that signs: a certificate and its plain key are one.
    pub(crate) fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// The certificate, if it is one.
    pub(crate) fn cert(&self) -> Option<&Certificate> {
        self.key.certificate()
    }

    /// "type base64", of the certificate if it is one.
    pub(crate) fn line(&self) -> String {
        write_public_line(self.key.blob(), "").unwrap_or_default()
    }

    /// The name of its type: of a certificate without the signature's hash.
    pub(crate) fn type_name(&self) -> &'static str {
        let key_type = self.public_key().key_type();
        if self.cert().is_some() { key_type.certificate_name() } else { key_type.name() }
    }

    /// "ED25519 SHA256:…", and of a certificate its name, number and authority: as OpenSSH's log has it.
    pub(crate) fn described(&self) -> String {
        let key = format!("{} {}", self.key.word(), self.key.fingerprint());
        match self.cert() {
            None => key,
            Some(cert) => format!(
                "{key} ID {} (serial {}) CA {} {}",
                cert.key_id.escape_ascii(),
                cert.serial,
                cert.authority.key_type().word(),
                cert.authority.fingerprint()
            ),
        }
    }

    /// The same in parts, for the audit.
    pub(crate) fn shown(&self) -> ShownKey {
        ShownKey {
            described: self.described(),
            fingerprint: Some(self.public_key().fingerprint()),
            certificate: self.cert().map(|cert| CertificateName {
                id: cert.key_id.escape_ascii().to_string(),
                serial: cert.serial,
                ca: cert.authority.fingerprint(),
            }),
        }
    }

    /// Whether it made this signature over `signed`, and attests what the configuration and all of `options` ask of
    /// a security key.
    pub(crate) fn verify(
        &self,
        signed: &[u8],
        signature: &[u8],
        effective: &Effective,
        options: &[KeyOptions],
    ) -> Result<(), String> {
        let verified = self
            .public_key()
            .verify(self.algorithm.signature, signed, signature)
            .map_err(|e| e.to_string())?;
        let touch = effective.touch_required || options.iter().any(|o| o.touch_required);
        let verify = effective.verify_required || options.iter().any(|o| o.verify_required);
        match verified.sk() {
            // Other keys cannot attest anything; as in OpenSSH these options do not concern them.
            None => Ok(()),
            Some(sk) if touch && !sk.user_present() => Err("the security key does not attest a touch".into()),
            Some(sk) if verify && !sk.user_verified() => {
                Err("the security key does not attest that it verified its user".into())
            }
            Some(_) => Ok(()),
        }
    }
}

fn identity(key: &PublicKey) -> KeyIdentity {
    let mut digest = [0; 32];
    digest.iter_mut().zip(sha256(&[key.blob()]).as_ref()).for_each(|(to, from)| *to = *from);
    KeyIdentity { blob: key.blob().to_vec(), sha1: sha1(key.blob()), sha256: digest }
}

/// Whether a certificate holds here and now, and its options. That it is for this user is seen where its authority
/// is found.
fn check(
    cert: &Certificate,
    effective: &Effective,
    peer: &Peer<'_>,
    unix_time: u64,
) -> Result<KeyOptions, String> {
    let signed_with = cert.signature_algorithm.name();
    if !effective.ca_signature_algorithms.iter().any(|a| a == signed_with) {
        return Err(format!("signed with {signed_with}, which is not in CASignatureAlgorithms"));
    }
    match cert.check(CertType::User, None, unix_time) {
        // A certificate that names nobody: see `CertificateIdentity::is_for`.
        Ok(()) | Err(CertificateRefusal::NoPrincipals) => {}
        Err(refusal) => return Err(refusal.to_string()),
    }
    let options = options(cert)?;
    options.admit(peer, unix_time).map_err(|refusal| refusal.to_string())?;
    Ok(options)
}

/// A certificate permits nothing that it does not name; a critical option that is not understood refuses it.
fn options(cert: &Certificate) -> Result<KeyOptions, String> {
    let id = cert.key_id.escape_ascii();
    let mut options = KeyOptions::restricted(Source::new(format!("certificate \"{id}\""), 0));
    for option in &cert.critical_options {
        match option {
            CriticalOption::ForceCommand(command) => options.forced_command = Some(command.clone()),
            CriticalOption::SourceAddress(list) => {
                let list = AddressList::parse_networks(list).map_err(|e| format!("source-address: {e}"))?;
                options.source_address = Some(list);
            }
            CriticalOption::VerifyRequired => options.verify_required = true,
            CriticalOption::Unknown { .. } => {
                return Err(CertificateRefusal::CriticalOption(option.name()).to_string());
            }
        }
    }
    for extension in &cert.extensions {
        match extension {
            Extension::PermitPortForwarding => options.port_forwarding = true,
            Extension::PermitPty => options.pty = true,
            Extension::NoTouchRequired => options.touch_required = false,
            // What they permit is not here.
            Extension::PermitX11Forwarding
            | Extension::PermitAgentForwarding
            | Extension::PermitUserRc
            | Extension::Unknown { .. } => {}
        }
    }
    Ok(options)
}
