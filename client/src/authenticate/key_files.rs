//! Key files of the user: public halves to offer, private ones to sign with, passphrases. Reads files and may wait
//! for the user: for jobs.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sockward_crypto::keyfile::{self, FILE_MAX, KeyFileError};
use sockward_crypto::{KeyOrCert, PrivateKey, parse_public_line};
use sockward_sys::file::{Links, open_regular, read_open, read_small};
use sockward_sys::identity;
use zeroize::Zeroizing;

use super::unlocked::Unlocked;
use crate::prompt::{self, Echo};

/// The public half that belongs to a file: in it, in the one beside it with `.pub`, or in the clear part of a private
/// key.
pub(super) fn load_public(path: &Path) -> Option<KeyOrCert> {
    let text = read_small(path, FILE_MAX, Links::Follow).ok().map(Zeroizing::new);
    if let Some(key) = text.as_ref().and_then(|text| public_in(text)) {
        return Some(key);
    }
    let beside = read_small(&with_suffix(path, ".pub"), FILE_MAX, Links::Follow).ok();
    if let Some(key) = beside.and_then(|text| public_in(&text)) {
        return Some(key);
    }
    keyfile::public_half(&text?).ok().map(KeyOrCert::Key)
}

/// The first line that holds a key.
fn public_in(text: &[u8]) -> Option<KeyOrCert> {
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.trim_ascii_start().starts_with(b"#"));
    lines.filter_map(|line| parse_public_line(line).ok()).find_map(|(blob, _)| KeyOrCert::parse(&blob).ok())
}

/// A path with something behind it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// How a passphrase is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passphrases {
    /// So often at most; 0 in batch mode.
    pub(super) tries: u32,
    /// Whether the user named the file, and so wants to hear of it.
    pub(super) by_user: bool,
}

/// A private key, from memory if it was unlocked before. `None`: it cannot be used, and why has been said.
pub(super) fn load_private(
    path: &Path,
    passphrases: Passphrases,
    unlocked: &Unlocked,
) -> Option<Arc<PrivateKey>> {
    if let Some(key) = unlocked.find(path) {
        return Some(key);
    }
    let (key, typed) = unlock(path, passphrases)?;
    let key = Arc::new(key);
    if typed {
        unlocked.note(path, &key);
    }
    Some(key)
}

/// Reads a private key, and tells whether a passphrase was typed for it.
fn unlock(path: &Path, passphrases: Passphrases) -> Option<(PrivateKey, bool)> {
    let shown = path.display();
    let text = match read_private(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let text = format!("no such identity: {shown}: No such file or directory");
            if passphrases.by_user {
                log::info!("{text}");
            } else {
                log::trace!(target: "debug3", "{text}");
            }
            return None;
        }
        Err(e) => {
            log::error!("Load key \"{shown}\": {e}");
            return None;
        }
    };
    let prompt = format!("Enter passphrase for key '{shown}': ");
    let mut passphrase: Option<prompt::Answer> = None;
    for tries_left in (0..=passphrases.tries).rev() {
        match keyfile::parse(&text, passphrase.as_ref().map(|p| p.as_slice())) {
            Ok((key, _comment)) => return Some((key, passphrase.is_some())),
            Err(KeyFileError::NeedsPassphrase | KeyFileError::WrongPassphrase) if tries_left > 0 => {
                if passphrase.is_some() {
                    log::trace!("bad passphrase given, try again...");
                }
                passphrase = prompt::ask(&prompt, Echo::Off).filter(|answer| !answer.is_empty());
                if passphrase.is_none() {
                    log::trace!("no passphrase given, try next key");
                    return None;
                }
            }
            Err(KeyFileError::NeedsPassphrase | KeyFileError::WrongPassphrase) => return None,
            Err(e) => {
                log::error!("Load key \"{shown}\": {e}");
                return None;
            }
        }
    }
    None
}

/// A file of our own that others can read is no secret: it is refused.
fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open_regular(path, Links::Follow)?;
    check_mode(&file, path)?;
    read_open(&file, path, FILE_MAX).map(Zeroizing::new)
}

fn check_mode(file: &File, path: &Path) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.uid() != identity::effective_uid() || metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    const RULE: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";
    log::error!("{RULE}");
    log::error!("@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @");
    log::error!("{RULE}");
    log::error!("Permissions {:04o} for '{}' are too open.", metadata.mode() & 0o777, path.display());
    log::error!("It is required that your private key files are NOT accessible by others.");
    log::error!("This private key will be ignored.");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "bad permissions"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::{KeyType, write_public_line};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn public_halves_are_found_where_they_may_be() {
        let dir = std::env::temp_dir().join(format!("sockward-keys-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("id");
        let (one, two) = (
            PrivateKey::generate(KeyType::Ed25519).unwrap(),
            PrivateKey::generate(KeyType::EcdsaP256).unwrap(),
        );
        std::fs::write(&path, keyfile::write(&one, "").unwrap().as_bytes()).unwrap();
        assert_eq!(load_public(&path).unwrap().public_key(), one.public());
        let line = write_public_line(two.public().blob(), "comment").unwrap();
        std::fs::write(dir.join("id.pub"), format!("# a comment\n\n{line}\n")).unwrap();
        assert_eq!(load_public(&path).unwrap().public_key(), two.public());
        assert_eq!(load_public(&dir.join("id.pub")).unwrap().public_key(), two.public());
        assert!(load_public(&dir.join("none")).is_none());

        let passphrases = Passphrases { tries: 0, by_user: true };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let load = || load_private(&path, passphrases, &Unlocked::default());
        assert!(load().is_none());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(load().unwrap().public(), one.public());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
