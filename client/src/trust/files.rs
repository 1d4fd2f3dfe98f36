//! The known_hosts files of the configuration: reading them all, adding a line to the first.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sockward_config::known_hosts::{FILE_MAX, HmacSha1, HostName, KnownHosts, hashed_line, plain_line};
use sockward_config::lookup::Lookup;
use sockward_config::ssh::{Settings, Words};
use sockward_crypto::{PublicKey, Random, SystemRandom};
use sockward_sys::file::{Links, read_small};

use crate::start::ThisMachine;

/// For hashed names.
const HMAC: HmacSha1 = |key, data| sockward_crypto::hmac_sha1(key, data);

/// What people write for a file that knows nobody and keeps nothing. Other devices are told of: a list of hosts, with
/// its revoked keys, that is not read must not go unnoticed.
const NOTHING: &str = "/dev/null";

/// Reads all files: the user's, then the machine's. What is not there knows nobody.
pub(crate) fn read_all(settings: &Settings) -> KnownHosts {
    let mut known = KnownHosts::new(HMAC);
    let files = user_files(settings).chain(machine_files(settings));
    for path in files.filter(|path| path != Path::new(NOTHING)) {
        match read_small(&path, FILE_MAX, Links::Follow) {
            Ok(text) => known.read(&path.display().to_string(), &text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                log::debug!("load_hostkeys: fopen {}: No such file or directory", path.display());
            }
            Err(e) => log::warn!("cannot read known hosts from {}: {e}", path.display()),
        }
    }
    for problem in known.problems() {
        log::debug!("{problem}");
    }
    known
}

/// The user's files; new hosts go to the first.
pub(super) fn user_files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    files(&settings.user_known_hosts_files)
}

fn machine_files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    files(&settings.global_known_hosts_files)
}

/// `none` stands for no file at all.
fn files(words: &Words) -> impl Iterator<Item = PathBuf> {
    words.0.iter().filter(|word| !word.eq_ignore_ascii_case("none")).map(PathBuf::from)
}

/// Adds a key of one host, by one name or several; hashed names get a line each.
pub(super) fn add(path: &Path, names: &[&HostName], key: &PublicKey, hash: bool) -> io::Result<()> {
    let key_type = key.key_type().name();
    let text = if hash {
        let mut random = SystemRandom::new();
        let line = |name: &&HostName| {
            let mut salt = [0; 20];
            random.fill(&mut salt);
            hashed_line(name.name(), salt, HMAC, key_type, key.blob())
        };
        names.iter().map(line).collect()
    } else {
        let names: Vec<&str> = names.iter().map(|name| name.name()).collect();
        plain_line(&names, key_type, key.blob())
    };
    make_ssh_directory(path);
    append(path, &text)
}

/// Appends whole lines. Two clients that do so at once do not mix them.
fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.lock()?;
    let text = if ends_with_newline(&mut file)? { lines.to_owned() } else { format!("\n{lines}") };
    file.write_all(text.as_bytes())
}

/// Whether the file is empty or its last line is complete.
fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

/// A first host makes ~/.ssh, for its user alone. Other directories are not made.
fn make_ssh_directory(path: &Path) {
    let Some(home) = ThisMachine.home(None::<&OsStr>) else { return };
    let directory = Path::new(&home).join(".ssh");
    if path.parent() == Some(&directory)
        && !directory.exists()
        && let Err(e) = sockward_sys::create::private_directory(&directory)
    {
        log::error!("Could not create directory '{}' ({e}).", directory.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_config::known_hosts::{Presented, Verdict};
    use sockward_crypto::{KeyType, PrivateKey};
    use std::os::unix::fs::PermissionsExt;

    fn verdict(path: &Path, host: &HostName, key: &PublicKey) -> Verdict {
        let mut known = KnownHosts::new(HMAC);
        known.read("f", &std::fs::read(path).unwrap());
        let presented = Presented { key_type: key.key_type().name(), key: key.blob(), signer: None };
        known.check(host, &presented).verdict()
    }

    #[test]
    fn what_is_added_is_known_plain_and_hashed() {
        let path = std::env::temp_dir().join(format!("sockward-known-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let key = key.public();
        let (host, address) = (HostName::new("host", 2222), HostName::new("192.0.2.1", 2222));
        add(&path, &[&host, &address], key, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap().trim_end()).unwrap();
        let hidden = HostName::new("secret", 22);
        add(&path, &[&hidden], key, true).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("[host]:2222,[192.0.2.1]:2222 ssh-ed25519 ") && !text.contains("secret"));
        assert_eq!(text.lines().count(), 2);
        for name in [&host, &address, &hidden] {
            assert_eq!(verdict(&path, name, key), Verdict::Known);
        }
        assert_eq!(verdict(&path, &HostName::new("other", 22), key), Verdict::New);
        std::fs::remove_file(path).unwrap();
    }
}
