//! Is this the host's key? What the lines say, and what follows.

use super::{Entry, HmacSha1, HostName, KnownHosts, Marker};

/// What a server showed.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'k> {
    /// The type of the key, without the `-cert-v01@openssh.com` of a certificate: `ssh-ed25519`, `ssh-rsa`, …
    pub key_type: &'k str,
    /// The key; of a certificate the certified key in its plain form.
    pub key: &'k [u8],
    /// The key that signed it, if it is a certificate.
    pub signer: Option<&'k [u8]>,
}

/// The lines that say something about the key a host showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings<'e> {
    /// `@revoked` lines with the key or with the certificate's signer.
    pub revoked: Vec<&'e Entry>,
    /// `@cert-authority` lines with the certificate's signer.
    pub authorities: Vec<&'e Entry>,
    /// Lines with the key.
    pub matched: Vec<&'e Entry>,
    /// Lines with another key of the same type.
    pub changed: Vec<&'e Entry>,
    /// Lines with a key of another type.
    pub other_types: Vec<&'e Entry>,
}

/// What follows from the lines, before StrictHostKeyChecking has its say.
///
/// | revoked | authority line has the signer | line has the key | lines have other keys | verdict |
/// | --- | --- | --- | --- | --- |
/// | yes | – | – | – | `Revoked` |
/// | no | yes | – | – | `Authority` |
/// | no | no | yes | – | `Known` |
/// | no | no | no | yes | `Changed` |
/// | no | no | no | no | `New` |
///
/// As in OpenSSH a host that is known by a key of another type has changed: who sits in the middle would
/// otherwise show the type that is not known yet and get a harmless question asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Never to be accepted, whatever else is said.
    Revoked,
    /// The certificate is to be checked (name, time, signature algorithm). If it does not hold, the plain verdict
    /// decides about the key in it.
    Authority,
    /// The host has this key.
    Known,
    /// The host has another key.
    Changed,
    /// Nothing is known.
    New,
}

impl Findings<'_> {
    /// What follows.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.revoked.is_empty() && !self.authorities.is_empty() {
            Verdict::Authority
        } else {
            self.plain_verdict()
        }
    }

    /// What follows if the certificate around the key is left out of account. A revoked signer still counts.
    #[must_use]
    pub fn plain_verdict(&self) -> Verdict {
        if !self.revoked.is_empty() {
            Verdict::Revoked
        } else if !self.matched.is_empty() {
            Verdict::Known
        } else if !self.changed.is_empty() || !self.other_types.is_empty() {
            Verdict::Changed
        } else {
            Verdict::New
        }
    }
}

impl KnownHosts {
    /// What the lines say of a key that `host` showed.
    ///
    /// A host at a port of its own is looked up as `[host]:port`. Lines of `host` alone also revoke; and where
    /// `[host]:port` has no key (no authority) at all, those that match count, while those that do not are some
    /// other server's.
    #[must_use]
    pub fn check<'e>(&'e self, host: &'e HostName, presented: &Presented<'_>) -> Findings<'e> {
        let (mut found, own_authority) = self.find(&host.name, presented);
        if let Some(bare) = &host.bare {
            let (fallback, _) = self.find(bare, presented);
            found.revoked.extend(fallback.revoked);
            if !own_authority {
                found.authorities = fallback.authorities;
            }
            if found.matched.is_empty() && found.changed.is_empty() && found.other_types.is_empty() {
                found.matched = fallback.matched;
            }
        }
        found
    }

    /// The findings for one name, and whether it has an authority line at all.
    fn find<'e>(&'e self, name: &'e str, presented: &Presented<'_>) -> (Findings<'e>, bool) {
        let mut found = Findings::default();
        let mut has_authority = false;
        for entry in self.lines_for(name) {
            let is_key = entry.key == presented.key;
            let is_signer = presented.signer.is_some_and(|signer| entry.key == signer);
            match entry.marker {
                Some(Marker::Revoked) if is_key || is_signer => found.revoked.push(entry),
                Some(Marker::Revoked) => {}
                Some(Marker::CertAuthority) => {
                    has_authority = true;
                    if is_signer {
                        found.authorities.push(entry);
                    }
                }
                None if is_key => found.matched.push(entry),
                None if entry.key_type == presented.key_type => found.changed.push(entry),
                None => found.other_types.push(entry),
            }
        }
        (found, has_authority)
    }
}

/// For the fuzzer: reads anything, looks a name up and never panics.
#[doc(hidden)]
pub fn fuzz_known_hosts(input: &[u8]) {
    let hmac: HmacSha1 = |key, _| *key;
    let mut known = KnownHosts::new(hmac);
    known.read("fuzz", input);
    let host = HostName::new("localhost", 2222);
    let key = known.entries().first().map(|e| e.key.clone()).unwrap_or_default();
    let presented = Presented { key_type: "ssh-ed25519", key: &key, signer: Some(&key) };
    let _ = known.check(&host, &presented).verdict();
    let _ = known.key_types(&host);
    assert!(known.other_names(&host, &key).count() <= known.entries().len());
}
