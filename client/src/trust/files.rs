//! The known_hosts files of the configuration: reading them all, adding a line to the first, replacing a host's keys.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sockward_config::known_hosts::{
    FILE_MAX, HmacSha1, HostName, HostNames, KnownHosts, hashed_line, plain_line, replaced,
};
use sockward_config::lookup::Lookup;
use sockward_config::ssh::{Settings, Words};
use sockward_crypto::{PublicKey, Random, SystemRandom};
use sockward_sys::create::secret_file;
use sockward_sys::file::{Links, read_open, read_small};

use crate::start::ThisMachine;

/// For hashed names.
pub(super) const HMAC: HmacSha1 = |key, data| sockward_crypto::hmac_sha1(key, data);

/// What people write for a file that knows nobody and keeps nothing. Other devices are told of: a list of hosts, with
/// its revoked keys, that is not read must not go unnoticed.
const NOTHING: &str = "/dev/null";

/// Reads all files: the user's, then the machine's. What is not there knows nobody.
pub(crate) fn read_all(settings: &Settings) -> KnownHosts {
    read(user_files(settings).chain(machine_files(settings)))
}

/// Reads some of them.
pub(super) fn read(files: impl Iterator<Item = PathBuf>) -> KnownHosts {
    let mut known = KnownHosts::new(HMAC);
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

/// The machine's files, which are never written.
pub(super) fn machine_files(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    files(&settings.global_known_hosts_files)
}

/// `none` stands for no file at all.
fn files(words: &Words) -> impl Iterator<Item = PathBuf> {
    words.0.iter().filter(|word| !word.eq_ignore_ascii_case("none")).map(PathBuf::from)
}

/// Adds a key of one host, by one name or several; hashed names get a line each.
pub(super) fn add(path: &Path, names: &[&HostName], key: &PublicKey, hash: bool) -> io::Result<()> {
    let names: Vec<&str> = names.iter().map(|name| name.name()).collect();
    make_ssh_directory(path);
    append(path, &lines(&names, key, hash))
}

/// The lines for a key.
fn lines(names: &[&str], key: &PublicKey, hash: bool) -> String {
    let key_type = key.key_type().name();
    if !hash {
        return plain_line(names, key_type, key.blob());
    }
    let mut random = SystemRandom::new();
    let line = |name: &&str| {
        let mut salt = [0; 20];
        random.fill(&mut salt);
        hashed_line(name, salt, HMAC, key_type, key.blob())
    };
    names.iter().map(line).collect()
}

/// Makes these keys the only ones of a host in a file; see [`replaced`]. Readers see the old file or the new one; the
/// old one stays beside it as FILE.old. What is not a regular file is an error.
pub(super) fn replace(path: &Path, names: &HostNames, keys: &[PublicKey], hash: bool) -> io::Result<()> {
    // A link to the file stays a link.
    let path = path.canonicalize()?;
    let mut file = locked(&path, OpenOptions::new().read(true))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let text = read_open(&file, &path, FILE_MAX)?;
    let blobs: Vec<&[u8]> = keys.iter().map(PublicKey::blob).collect();
    let line = |names: &[&str], blob: &[u8]| {
        keys.iter().find(|key| key.blob() == blob).map(|key| lines(names, key, hash)).unwrap_or_default()
    };
    let Some(text) = replaced(&text, names, &blobs, HMAC, line) else { return Ok(()) };
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (new, old) = (beside(&format!(".{}", std::process::id())), beside(".old"));
    let written = secret_file(&new, &text)
        .and_then(|()| std::fs::set_permissions(&new, metadata.permissions()))
        .and_then(|()| match std::fs::remove_file(&old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => std::fs::hard_link(&path, &old),
        })
        .and_then(|()| std::fs::rename(&new, &path));
    if written.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::AlreadyExists) {
        // What cannot be removed either is a file that nobody reads.
        let _ = std::fs::remove_file(&new);
    }
    // Until here nobody appends.
    file.flush()?;
    written
}

/// Opens a file and keeps others from writing it: those who do it the same way. Where one of them has put another file
/// in its place meanwhile, that one is opened.
fn locked(path: &Path, options: &OpenOptions) -> io::Result<File> {
    loop {
        let file = options.open(path)?;
        file.lock()?;
        let (opened, named) = (file.metadata()?, std::fs::metadata(path)?);
        if (opened.dev(), opened.ino()) == (named.dev(), named.ino()) {
            return Ok(file);
        }
    }
}

/// Appends whole lines. Two clients that do so at once do not mix them.
fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = locked(path, OpenOptions::new().read(true).append(true).create(true).mode(0o600))?;
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

    #[test]
    fn keys_are_replaced_in_a_file_that_keeps_its_mode_and_its_link() {
        let base = std::env::temp_dir().join(format!("sockward-replace-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let (path, link) = (base.join("real"), base.join("known_hosts"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let keys: Vec<PublicKey> =
            (0..3).map(|_| PrivateKey::generate(KeyType::Ed25519).unwrap().public().clone()).collect();
        let host = HostName::new("host", 22);
        std::fs::write(&path, "# mine\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        add(&link, &[&host], &keys[0], false).unwrap();
        add(&link, &[&host], &keys[1], true).unwrap();
        let before = std::fs::read_to_string(&path).unwrap();
        let names = HostNames { host: "host".into(), address: None };
        replace(&link, &names, &keys[1..], true).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(after.starts_with("# mine\n|1|") && after.lines().count() == 3, "{after}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(base.join("real.old")).unwrap(), before);
        assert_eq!(verdict(&path, &host, &keys[0]), Verdict::Changed);
        assert_eq!(verdict(&path, &host, &keys[1]), Verdict::Known);
        assert_eq!(verdict(&path, &host, &keys[2]), Verdict::Known);
        assert!(replace(Path::new("/dev/null"), &names, &keys, false).is_err());
        let mut left: Vec<_> = std::fs::read_dir(&base).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["known_hosts", "real", "real.old"]);
        std::fs::remove_dir_all(base).unwrap();
    }
}
