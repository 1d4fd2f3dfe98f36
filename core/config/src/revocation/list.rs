//! Keys line by line, without options: RevokedKeys as a list, and TrustedUserCAKeys.

use sockward_policy::Presented;
use sockward_wire::{Put, Reader};

use super::{RevocationError, Revoked, whose};
use crate::authorized_keys::bare_key;

/// How the type of a certificate ends (OpenSSH's PROTOCOL.certkeys).
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// Its number, from 1.
    pub line: u32,
    /// The key or certificate in SSH's form; none where the line has no key.
    pub blob: Option<Vec<u8>>,
}

/// The lines that are neither blank nor comments.
pub fn keys(file: &[u8]) -> impl Iterator<Item = ListedKey> {
    (1u32..).zip(file.split(|&b| b == b'\n')).filter_map(|(line, text)| {
        let text = text.trim_ascii();
        let wanted = !text.is_empty() && !text.starts_with(b"#");
        wanted.then(|| ListedKey { line, blob: bare_key(text) })
    })
}

/// A certificate in the list revokes the key that it is for, as in OpenSSH.
pub(super) fn check(file: &[u8], presented: &Presented) -> Result<Option<Revoked>, RevocationError> {
    let mut revoked = None;
    for key in keys(file) {
        let plain = key.blob.and_then(plain).ok_or(RevocationError::Line(key.line))?;
        revoked = revoked.or_else(|| whose(presented, |shown| shown.blob == plain));
    }
    Ok(revoked)
}

/// The plain key of a certificate; any other key as it is.
fn plain(blob: Vec<u8>) -> Option<Vec<u8>> {
    let mut reader = Reader::new(&blob);
    let name = reader.text("key.type").ok()?;
    let Some(stem) = name.strip_suffix(CERTIFICATE) else { return Some(blob) };
    let (plain_name, fields) = match stem {
        "ssh-ed25519" => ("ssh-ed25519".to_owned(), 1),
        "ssh-rsa" => ("ssh-rsa".to_owned(), 2),
        "ssh-dss" => ("ssh-dss".to_owned(), 4),
        "sk-ssh-ed25519" => ("sk-ssh-ed25519@openssh.com".to_owned(), 2),
        "sk-ecdsa-sha2-nistp256" => ("sk-ecdsa-sha2-nistp256@openssh.com".to_owned(), 3),
        _ if stem.starts_with("ecdsa-sha2-") => (stem.to_owned(), 2),
        _ => return None,
    };
    let mut plain = Vec::new();
    plain.put_string(plain_name.as_bytes());
    reader.string("nonce").ok()?;
    for _ in 0..fields {
        plain.put_string(reader.string("key").ok()?);
    }
    Some(plain)
}
