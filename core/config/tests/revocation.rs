//! Key revocation lists against the installed OpenSSH: lists that `ssh-keygen -k` makes, and what `ssh-keygen -Q`
//! says of keys and certificates beside what we say.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "starts ssh-keygen and reads its files"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest;
use sockward_config::revocation::{check, keys};
use sockward_policy::{CertificateIdentity, KeyIdentity, Presented};
use sockward_test_support::missing;

/// A directory with two authorities, some keys and certificates of them.
struct Keygen(PathBuf);

impl Drop for Keygen {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Keygen {
    fn new() -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("sockward-krl-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let keygen = Keygen(directory);
        for (name, kind) in
            [("ca1", "ed25519"), ("ca2", "ecdsa"), ("k0", "ed25519"), ("k1", "ecdsa"), ("k2", "rsa")]
        {
            if !keygen.run(&["-q", "-N", "", "-t", kind, "-f", name]) {
                assert!(missing("ssh-keygen is not installed"));
                return None;
            }
        }
        Some(keygen)
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let status = Command::new("ssh-keygen").args(arguments).current_dir(&self.0).output();
        status.is_ok_and(|output| output.status.success())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn blob(&self, name: &str) -> Vec<u8> {
        let text = std::fs::read(self.path(&format!("{name}.pub"))).unwrap();
        keys(&text).next().unwrap().blob.unwrap()
    }

    fn identity(&self, name: &str) -> KeyIdentity {
        let blob = self.blob(name);
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref().try_into().unwrap();
        let sha256 = digest::digest(&digest::SHA256, &blob).as_ref().try_into().unwrap();
        KeyIdentity { blob, sha1, sha256 }
    }

    /// Makes a certificate and says what it is.
    fn certify(&self, key: &str, authority: &str, serial: u64, id: &str) -> Presented {
        let (number, file) = (serial.to_string(), format!("{key}.pub"));
        assert!(self.run(&["-q", "-s", authority, "-z", &number, "-I", id, "-n", "alex", &file]));
        let certificate = CertificateIdentity {
            authority: self.identity(authority),
            serial,
            key_id: id.into(),
            principals: vec![b"alex".to_vec()],
        };
        Presented { key: self.identity(key), certificate: Some(certificate) }
    }

    /// What ssh-keygen says of a file with a key or certificate.
    fn revoked(&self, krl: &Path, file: &str) -> bool {
        let out =
            Command::new("ssh-keygen").args(["-Q", "-f"]).arg(krl).arg(self.path(file)).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.contains("REVOKED") || text.contains(": ok"), "{text}");
        text.contains("REVOKED")
    }
}

#[test]
fn lists_say_what_ssh_keygen_says_they_do() {
    let Some(keygen) = Keygen::new() else { return };
    let line = |name: &str| std::fs::read_to_string(keygen.path(&format!("{name}.pub"))).unwrap();
    let specs = [
        ("ca1.pub", String::new()),
        ("ca1.pub", "serial: 5\nserial: 7\nserial: 64\nserial: 1000000\n".to_owned()),
        ("ca1.pub", "serial: 5-9\n".to_owned()),
        ("ca2.pub", "serial: 1-18446744073709551615\n".to_owned()),
        (
            "ca1.pub",
            "serial: 1\nserial: 2\nserial: 4\nserial: 8\nserial: 16\nserial: 63\nserial: 65\n".to_owned(),
        ),
        ("ca1.pub", "id: laptop\nid: phone\n".to_owned()),
        ("NONE", "id: laptop\n".to_owned()),
        ("none", format!("key: {}", line("k1"))),
        ("none", format!("sha1: {}", line("k0"))),
        ("none", format!("sha256: {}", line("k2"))),
        ("none", format!("key: {}", line("ca2"))),
        ("ca1.pub", format!("serial: 7\nsha256: {}id: phone\n", line("k1"))),
    ];
    let mut revocations = 0;
    for (i, (authority, spec)) in specs.iter().enumerate() {
        let krl = keygen.path("krl");
        std::fs::write(keygen.path("spec"), spec).unwrap();
        let made = match *authority {
            "none" => keygen.run(&["-q", "-k", "-f", "krl", "spec"]),
            authority => keygen.run(&["-q", "-k", "-f", "krl", "-s", authority, "spec"]),
        };
        assert!(made, "spec {i}");
        let bytes = std::fs::read(&krl).unwrap();
        for key in ["k0", "k1", "k2"] {
            let shown = Presented { key: keygen.identity(key), certificate: None };
            let theirs = keygen.revoked(&krl, &format!("{key}.pub"));
            assert_eq!(check(&bytes, &shown).unwrap().is_some(), theirs, "spec {i}: {key}");
            revocations += u32::from(theirs);
        }
        for (key, authority, serial, id) in [
            ("k0", "ca1", 0, "laptop"),
            ("k0", "ca1", 5, "x"),
            ("k1", "ca1", 7, "phone"),
            ("k2", "ca1", 10, "x"),
            ("k0", "ca1", 64, "x"),
            ("k0", "ca1", 63, "x"),
            ("k0", "ca1", u64::MAX, "x"),
            ("k0", "ca2", 5, "laptop"),
            ("k2", "ca2", u64::MAX, "x"),
        ] {
            let shown = keygen.certify(key, authority, serial, id);
            let theirs = keygen.revoked(&krl, &format!("{key}-cert.pub"));
            let ours = check(&bytes, &shown).unwrap();
            assert_eq!(ours.is_some(), theirs, "spec {i}: {key} of {authority} number {serial}: {ours:?}");
            revocations += u32::from(theirs);
        }
    }
    assert!(revocations > 20, "hardly anything was revoked: {revocations}");
}
