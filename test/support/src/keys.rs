//! Keys and key files, made by ssh-keygen.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A private key's file; the public half is beside it with `.pub`.
#[must_use]
pub fn key_pair(directory: &Path, name: &str, kind: &str) -> PathBuf {
    let path = directory.join(name);
    let mut keygen = Command::new(crate::stock("ssh-keygen"));
    keygen.args(["-q", "-t", kind, "-N", "", "-C", name, "-f"]).arg(&path);
    let out = keygen.output().unwrap();
    assert!(out.status.success(), "{keygen:?}: {}", String::from_utf8_lossy(&out.stderr));
    path
}

/// What a server and the users of it need.
#[derive(Debug)]
pub struct Keys {
    /// The server's key.
    pub host: PathBuf,
    /// A user's key, which the server's `authorized_keys` holds.
    pub user: PathBuf,
    /// Keys that may log in, one line each.
    pub authorized: PathBuf,
}

impl Keys {
    /// Makes a host key, a user key and an authorized_keys file with `options` before the key.
    #[must_use]
    pub fn new(directory: &Path, options: &str) -> Self {
        let host = key_pair(directory, "host", "ed25519");
        let user = key_pair(directory, "user", "ed25519");
        let public = std::fs::read_to_string(user.with_extension("pub")).unwrap();
        let authorized = directory.join("authorized_keys");
        let space = if options.is_empty() { "" } else { " " };
        std::fs::write(&authorized, format!("{options}{space}{public}")).unwrap();
        Keys { host, user, authorized }
    }

    /// A known_hosts file that knows the server at this port.
    pub fn known_hosts(&self, directory: &Path, port: u16) -> PathBuf {
        let public = std::fs::read_to_string(self.host.with_extension("pub")).unwrap();
        let path = directory.join("known_hosts");
        std::fs::write(&path, format!("[127.0.0.1]:{port} {public}")).unwrap();
        path
    }
}
