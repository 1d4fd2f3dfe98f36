//! What the tests against OpenSSH's tools share: running them, and a directory for their files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests run tools and read their files; not every test uses every helper"
)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sockward_wire::Put;

/// Whether `ssh-keygen` is there.
pub fn have_ssh_keygen() -> bool {
    sockward_test_support::has_program("ssh-keygen")
}

/// A fresh directory, removed at the end.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("sockward-crypto-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only its owner can read, as `ssh-keygen` wants of private keys.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Makes a key with `ssh-keygen` in the file `name`; its text and that of the public half.
    pub fn keygen<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> (Vec<u8>, Vec<u8>) {
        for old in [name.to_owned(), format!("{name}.pub")] {
            let _ = std::fs::remove_file(self.path(&old));
        }
        let mut all: Vec<&OsStr> = vec!["-q".as_ref(), "-f".as_ref()];
        let path = self.path(name);
        all.push(path.as_ref());
        all.extend(args.iter().map(AsRef::as_ref));
        ssh_keygen(&all, b"");
        (self.read(name), self.read(&format!("{name}.pub")))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `ssh-keygen`, which must succeed; its output.
pub fn ssh_keygen<S: AsRef<OsStr>>(args: &[S], input: &[u8]) -> String {
    let (ok, out, err) = try_ssh_keygen(args, input);
    assert!(ok, "ssh-keygen {:?}: {err}", args.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    out
}

/// Runs `ssh-keygen`: whether it succeeded, its output, its complaints.
pub fn try_ssh_keygen<S: AsRef<OsStr>>(args: &[S], input: &[u8]) -> (bool, String, String) {
    use std::io::Write;
    let mut child = Command::new("ssh-keygen")
        .args(args)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading all.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// What a signature of `ssh-keygen -Y` is over (OpenSSH PROTOCOL.sshsig).
pub fn sshsig_signed_data(namespace: &str, message: &[u8]) -> Vec<u8> {
    let mut out = b"SSHSIG".to_vec();
    out.put_string(namespace.as_bytes());
    out.put_string(b"");
    out.put_string(b"sha512");
    out.put_string(sockward_crypto::HashAlg::Sha512.hash(&[message]).as_ref());
    out
}

/// The armored file that `ssh-keygen -Y verify` takes.
pub fn sshsig_file(key: &[u8], namespace: &str, signature: &[u8]) -> Vec<u8> {
    let mut out = b"SSHSIG".to_vec();
    out.put_u32(1);
    out.put_string(key);
    out.put_string(namespace.as_bytes());
    out.put_string(b"");
    out.put_string(b"sha512");
    out.put_string(signature);
    let encoded = base64(&out);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n")).into_bytes()
}

/// The SSH signature inside an armored file of `ssh-keygen -Y sign`.
pub fn sshsig_signature(file: &[u8]) -> Vec<u8> {
    use base64ct::{Base64, Encoding};
    let text = std::str::from_utf8(file).unwrap();
    let encoded: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let bytes = Base64::decode_vec(&encoded).unwrap();
    let mut r = sockward_wire::Reader::new(bytes.strip_prefix(b"SSHSIG").unwrap());
    assert_eq!(r.u32("version"), Ok(1));
    for what in ["key", "namespace", "reserved", "hash"] {
        r.string(what).unwrap();
    }
    r.string("signature").unwrap().to_vec()
}

pub fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(bytes)
}

/// Whether `ssh-keygen -Y verify` takes `signature` for one of `key` over `message`.
pub fn ssh_keygen_verifies(dir: &Dir, key_line: &str, key: &[u8], signature: &[u8], message: &[u8]) -> bool {
    let signers = dir.write("signers", format!("me {key_line}\n").as_bytes());
    let file = dir.write("message.sig", &sshsig_file(key, "test", signature));
    let args: [&Path; 10] = [
        "-Y".as_ref(),
        "verify".as_ref(),
        "-f".as_ref(),
        &signers,
        "-I".as_ref(),
        "me".as_ref(),
        "-n".as_ref(),
        "test".as_ref(),
        "-s".as_ref(),
        &file,
    ];
    try_ssh_keygen(&args, message).0
}
