//! RevokedHostKeys (ssh_config(5)): lists and KRLs of keys that no host may show, beside the `@revoked` lines of the
//! known_hosts files. What such a file says is `sockward_config::revocation`'s.

use std::ffi::OsString;
use std::path::Path;

use sockward_config::revocation::{self, FILE_MAX};
use sockward_config::ssh::Words;
use sockward_crypto::{KeyOrCert, PublicKey, sha1, sha256};
use sockward_policy::{CertificateIdentity, KeyIdentity, Presented};
use sockward_sys::file::{Links, read_small};

/// The error says why the key must not be accepted. A file that cannot be read or understood revokes every key.
pub(super) fn check(files: &Words, key: &KeyOrCert) -> Result<(), String> {
    let files: Vec<&OsString> = files.0.iter().filter(|file| !file.eq_ignore_ascii_case("none")).collect();
    if files.is_empty() {
        return Ok(());
    }
    let shown = presented(key);
    let plain = key.public_key();
    let name = format!("{} {}", plain.key_type().word(), plain.fingerprint());
    for file in files {
        let shown_file = Path::new(file).display();
        let checked = read_small(Path::new(file), FILE_MAX, Links::Follow)
            .map_err(|e| e.to_string())
            .and_then(|content| revocation::check(&content, &shown).map_err(|e| e.to_string()));
        match checked {
            Ok(None) => {}
            Ok(Some(why)) => return Err(format!("Host key {name} revoked by file {shown_file}: {why}")),
            Err(e) => {
                return Err(format!("Error checking host key {name} in revoked keys file {shown_file}: {e}"));
            }
        }
    }
    Ok(())
}

fn presented(key: &KeyOrCert) -> Presented {
    let certificate = key.certificate().map(|certificate| CertificateIdentity {
        authority: identity(&certificate.authority),
        serial: certificate.serial,
        key_id: certificate.key_id.clone(),
        principals: certificate.principals.clone(),
    });
    Presented { key: identity(key.public_key()), certificate }
}

fn identity(key: &PublicKey) -> KeyIdentity {
    let mut digest = [0; 32];
    digest.iter_mut().zip(sha256(&[key.blob()]).as_ref()).for_each(|(to, from)| *to = *from);
    KeyIdentity { blob: key.blob().to_vec(), sha1: sha1(key.blob()), sha256: digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::{KeyType, PrivateKey};

    #[test]
    fn a_listed_key_and_a_file_that_is_not_there_refuse() {
        let path = std::env::temp_dir().join(format!("sockward-revoked-{}", std::process::id()));
        let files = Words(vec![path.clone().into()]);
        let keys = [(); 2].map(|()| PrivateKey::generate(KeyType::Ed25519).unwrap());
        let [listed, other] = keys.map(|key| key.public().clone());
        std::fs::write(&path, sockward_crypto::write_public_line(listed.blob(), "").unwrap()).unwrap();
        let of = |key: &PublicKey| KeyOrCert::parse(key.blob()).unwrap();
        assert!(check(&files, &of(&listed)).unwrap_err().contains("revoked by file"));
        assert_eq!(check(&files, &of(&other)), Ok(()));
        std::fs::remove_file(&path).unwrap();
        assert!(check(&files, &of(&other)).unwrap_err().contains("No such file"));
        assert_eq!(check(&Words(vec!["none".into()]), &of(&other)), Ok(()));
    }
}
