//! Reading whole small files that others may have put there: key files, configuration, /etc/nologin.
//!
//! A FIFO or a device must not hang or act, a huge file must not fill memory, and with StrictModes
//! nobody but root and the owner may have been able to write the file or a directory above it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Whether the last component of a path may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Links are followed, as everywhere in OpenSSH's files.
    Follow,
    /// A link is refused (ELOOP).
    Refuse,
}

/// Opens a regular file for reading, without waiting (O_NONBLOCK) for a FIFO's writer and without
/// taking a terminal as ours. Anything but a regular file is `InvalidData`.
pub fn open_regular(path: &Path, links: Links) -> io::Result<File> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, links == Links::Refuse);
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(invalid(format!("{} is not a regular file", path.display())));
    }
    Ok(file)
}

/// Opens and reads a regular file of at most `max` bytes; a longer one is `InvalidData`.
pub fn read_small(path: &Path, max: usize, links: Links) -> io::Result<Vec<u8>> {
    read_open(&open_regular(path, links)?, path, max)
}

/// Reads an opened file from where it stands, at most `max` bytes; more is `InvalidData`.
/// `path` is for the message alone.
pub fn read_open(file: &File, path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    let read = file.take(limit).read_to_end(&mut content)?;
    if read > max {
        return Err(invalid(format!("{} is longer than {max} bytes", path.display())));
    }
    Ok(content)
}

/// The files that a pattern with wildcards names, in lexical order; one that cannot be looked at is an error.
pub fn glob(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let found = glob::glob(pattern).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.msg))?;
    found.collect::<Result<_, _>>().map_err(io::Error::from)
}

/// StrictModes (sshd_config(5)): the opened file and every directory above it, up to the home or
/// the root, must belong to root or `owner` and be writable by no group and no others.
///
/// As OpenSSH's safe_path: the path is made canonical first, so links in it are judged by where
/// they lead; the file itself is judged through the descriptor. Errors are `PermissionDenied` with
/// a text that names the culprit, or what the look itself met.
pub fn check_strict_modes(file: &File, path: &Path, owner: u32, home: Option<&Path>) -> io::Result<()> {
    let real = path.canonicalize()?;
    let home = home.and_then(|home| home.canonicalize().ok());
    let loose = |kind: &str, path: &Path| {
        let text = format!("bad ownership or modes for {kind} {}", path.display());
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(invalid(format!("{} is not a regular file", real.display())));
    }
    if !is_strict(&metadata, owner) {
        return loose("file", &real);
    }
    for directory in real.ancestors().skip(1) {
        if !std::fs::metadata(directory).is_ok_and(|metadata| is_strict(&metadata, owner)) {
            return loose("directory", directory);
        }
        if home.as_deref() == Some(directory) {
            break;
        }
    }
    Ok(())
}

/// Whether a program is safe to be run for the administrator: it and every directory above it must belong to
/// root and be writable by nobody else. It need not be readable. Errors as [`check_strict_modes`] has them.
pub fn check_program(path: &Path) -> io::Result<()> {
    let opened = File::from(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    check_strict_modes(&opened, path, 0, None)
}

fn is_strict(metadata: &std::fs::Metadata, owner: u32) -> bool {
    (metadata.uid() == 0 || metadata.uid() == owner) && metadata.mode() & 0o022 == 0
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Whether a file or directory has an access list (ACL) beside its mode, or gives new files one. False where the file
/// system has none or it cannot be told.
#[must_use]
pub fn has_access_list(path: &Path) -> bool {
    ["system.posix_acl_access", "system.posix_acl_default"]
        .iter()
        .any(|name| rustix::fs::lgetxattr(path, *name, &mut [0_u8; 4096]).is_ok_and(|length| length > 0))
}

/// Whether this process, by its real ids, could connect to a socket there: the kernel's own answer.
#[must_use]
pub fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALEX, EVE, TempDir, mode, root_or_skip};
    use std::os::unix::fs::{chown, symlink};

    #[test]
    fn only_regular_files_are_opened_and_nothing_hangs() {
        let tmp = TempDir::new();
        let fifo = tmp.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [fifo.as_path(), tmp.path(), Path::new("/dev/zero")] {
            assert_eq!(read_small(path, 10, Links::Follow).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn the_cap_is_exact_and_links_are_refused_on_request() {
        let tmp = TempDir::new();
        let (file, link) = (tmp.path().join("f"), tmp.path().join("l"));
        std::fs::write(&file, b"0123456789").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read_small(&link, 10, Links::Follow).unwrap(), b"0123456789");
        assert_eq!(read_small(&file, 9, Links::Follow).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_small(&link, 10, Links::Refuse).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

    #[test]
    fn strict_modes_judge_file_and_directories_up_to_the_home() {
        if !root_or_skip("strict modes") {
            return;
        }
        let tmp = TempDir::new();
        // The temporary directory above is writable by everybody: the home must end the walk.
        let home = tmp.dir("home", ALEX, 0o755);
        let ssh = home.join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        let keys = ssh.join("authorized_keys");
        std::fs::write(&keys, b"").unwrap();
        chown(&ssh, Some(ALEX), None).unwrap();
        chown(&keys, Some(ALEX), None).unwrap();
        let check = |home: Option<&Path>| {
            let file = open_regular(&keys, Links::Follow).unwrap();
            check_strict_modes(&file, &keys, ALEX, home).map_err(|e| e.to_string())
        };
        mode(&ssh, 0o700);
        mode(&keys, 0o600);
        assert_eq!(check(Some(&home)), Ok(()));
        assert!(check(None).unwrap_err().contains("directory /tmp"));
        mode(&keys, 0o660);
        assert!(check(Some(&home)).unwrap_err().contains("for file"));
        mode(&keys, 0o600);
        mode(&ssh, 0o770);
        assert!(check(Some(&home)).unwrap_err().contains("for directory"));
        mode(&ssh, 0o700);
        mode(&home, 0o777);
        assert!(check(Some(&home)).unwrap_err().contains("for directory"));
        mode(&home, 0o755);
        chown(&keys, Some(EVE), None).unwrap();
        assert!(check(Some(&home)).unwrap_err().contains("for file"));
        chown(&keys, Some(0), None).unwrap();
        assert_eq!(check(Some(&home)), Ok(()));
    }
}
