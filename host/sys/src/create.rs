//! Making files and directories that are their owner's alone: keys, a first ~/.ssh.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a file with mode 0600 and this content, which is on the disk when this returns.
///
/// A file that is there already, a symbolic link too, is `AlreadyExists` and stays as it is. After any other
/// error no file is left behind.
pub fn secret_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    write_all(&mut file, content).inspect_err(|_| {
        // What cannot be removed either is an incomplete file; the error says why.
        let _ = std::fs::remove_file(path);
    })
}

/// Makes a directory with mode 0700, and those above it that are missing. One that is there stays as it is.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn write_all(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_is_private_and_what_is_there_stays() {
        let base = std::env::temp_dir().join(format!("sockward-create-{}", std::process::id()));
        let directory = base.join("a/b");
        private_directory(&directory).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&directory), 0o700);
        let path = directory.join("key");
        secret_file(&path, b"secret").unwrap();
        assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (0o600, b"secret".to_vec()));
        assert_eq!(secret_file(&path, b"other").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::os::unix::fs::symlink("/nonexistent", directory.join("link")).unwrap();
        assert!(secret_file(&directory.join("link"), b"x").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"secret");
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_full_disk_leaves_no_file() {
        let path = Path::new("/dev/full");
        let mut full = OpenOptions::new().write(true).open(path).unwrap();
        assert!(write_all(&mut full, b"x").is_err());
    }
}
