//! Which host key algorithms to ask for first: those whose keys are known.

use super::{HostName, KnownHosts, Marker};

/// The kinds of keys a host is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownTypes {
    /// The types of its keys that are not revoked, each once.
    pub keys: Vec<String>,
    /// Whether some authority may sign its certificates.
    pub authority: bool,
}

impl KnownHosts {
    /// The kinds of keys a host is known by. As in OpenSSH the bare name of a host at a port of its own does not
    /// count.
    #[must_use]
    pub fn key_types(&self, host: &HostName) -> KnownTypes {
        let mut types = KnownTypes::default();
        let lines: Vec<_> = self.lines_for(host.name()).collect();
        let revoked =
            |key: &[u8]| lines.iter().any(|line| line.marker == Some(Marker::Revoked) && line.key == key);
        for line in &lines {
            match line.marker {
                Some(Marker::CertAuthority) => types.authority = true,
                Some(Marker::Revoked) => {}
                None if types.keys.contains(&line.key_type) || revoked(&line.key) => {}
                None => types.keys.push(line.key_type.clone()),
            }
        }
        types
    }
}

impl KnownTypes {
    /// Orders HostKeyAlgorithms as OpenSSH does: if a key of the first choice's type is known nothing changes;
    /// else what is known comes first, certificates too if an authority is known.
    #[must_use]
    pub fn order(&self, algorithms: &[String]) -> Vec<String> {
        let known = |algorithm: &str| self.keys.iter().any(|key| key == key_type(algorithm).0);
        if algorithms.first().is_some_and(|best| known(best)) {
            return algorithms.to_vec();
        }
        let (first, last): (Vec<_>, Vec<_>) = algorithms.iter().cloned().partition(|algorithm| {
            let (_, certificate) = key_type(algorithm);
            certificate && self.authority || known(algorithm)
        });
        [first, last].concat()
    }
}

/// The type of the plain key that an algorithm is used with, and whether the algorithm is for certificates.
fn key_type(algorithm: &str) -> (&str, bool) {
    let (plain, certificate) = match algorithm.strip_suffix("-cert-v01@openssh.com") {
        Some("sk-ssh-ed25519") => ("sk-ssh-ed25519@openssh.com", true),
        Some("sk-ecdsa-sha2-nistp256" | "webauthn-sk-ecdsa-sha2-nistp256") => {
            ("sk-ecdsa-sha2-nistp256@openssh.com", true)
        }
        Some(plain) => (plain, true),
        None => (algorithm, false),
    };
    // RFC 8332: one type of key, several signatures. OpenSSH PROTOCOL.u2f: the same with webauthn.
    let plain = match plain {
        "rsa-sha2-256" | "rsa-sha2-512" => "ssh-rsa",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com" => "sk-ecdsa-sha2-nistp256@openssh.com",
        other => other,
    };
    (plain, certificate)
}
