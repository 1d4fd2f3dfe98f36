//! known_hosts against the installed OpenSSH: which lines stand for a host, `ssh-keygen -F` beside ours; and files
//! that `ssh-keygen -H` has hashed.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "starts ssh-keygen and reads its files"
)]

use sockward_test_support::missing;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use aws_lc_rs::hmac;
use sockward_config::known_hosts::{HostName, KnownHosts, Marker, Presented, Verdict, hashed_line};

fn hmac_sha1(key: &[u8; 20], data: &[u8]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    hmac::sign(&key, data).as_ref().try_into().unwrap()
}

struct Keygen {
    directory: PathBuf,
    keys: Vec<String>,
}

impl Keygen {
    /// `None`, with a message, if there is no ssh-keygen.
    fn find(test: &str) -> Option<Self> {
        let directory =
            std::env::temp_dir().join(format!("sockward-known-hosts-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut keygen = Keygen { directory, keys: Vec::new() };
        for (i, kind) in ["ed25519", "ecdsa", "rsa"].iter().enumerate() {
            let file = keygen.directory.join(format!("key{i}"));
            let made =
                Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&file).status();
            if !made.is_ok_and(|status| status.success()) {
                assert!(missing("ssh-keygen is not installed"));
                return None;
            }
            let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
            keygen.keys.push(public.split(' ').take(2).collect::<Vec<_>>().join(" "));
        }
        Some(keygen)
    }

    /// Puts keys in for `{0}`, `{1}` and `{2}`.
    fn write(&self, text: &str) -> PathBuf {
        let text =
            self.keys.iter().enumerate().fold(text.to_owned(), |t, (i, k)| t.replace(&format!("{{{i}}}"), k));
        let file = self.directory.join("known_hosts");
        std::fs::write(&file, text).unwrap();
        file
    }

    /// The numbers of the lines that stand for a name, with their markers, as ssh-keygen sees it.
    fn lines_for(&self, file: &PathBuf, name: &str) -> Vec<(u32, String)> {
        let out = Command::new("ssh-keygen").args(["-l", "-F", name, "-f"]).arg(file).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let found = text.lines().filter_map(|l| l.split_once("found: line ").map(|(_, rest)| rest));
        found
            .map(|rest| {
                let (number, marker) = rest.split_once(' ').unwrap_or((rest, ""));
                (number.parse().unwrap(), marker.trim().to_owned())
            })
            .collect()
    }

    fn hash(&self, file: &PathBuf) {
        let mut keygen = Command::new("ssh-keygen");
        keygen.arg("-H").arg("-f").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(keygen.status().unwrap().success());
    }
}

impl Drop for Keygen {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const FILE: &str = "\
# comment
a.example.com,192.0.2.1 {0}
A2.Example.COM {0} comment
*.example.net,!bad.example.net {1}
?.q {1}
[port.example.com]:2222 {0}
[*.example.org]:* {1}
@cert-authority *.example.com,!b.example.com {2}
@revoked * {2}
  \t indented {0}
tab\t{0}
@bogus x {0}
x
x ssh-ed25519
x ssh-ed25519 AAAA
x ssh-ed25519 !!!!
x 1024 35 1234567
|1|bad|bad {0}
2001:db8::1 {1}
multi {0}
multi {1}
multi,other {2}
";

const NAMES: &[&str] = &[
    "a.example.com",
    "192.0.2.1",
    "a2.example.com",
    "b.example.com",
    "x.example.net",
    "bad.example.net",
    "z.q",
    "zz.q",
    "[port.example.com]:2222",
    "port.example.com",
    "[w.example.org]:1",
    "indented",
    "tab",
    "x",
    "2001:db8::1",
    "multi",
    "other",
    "nobody",
];

/// The line numbers and markers in our reading.
fn ours(known: &KnownHosts, name: &str) -> Vec<(u32, String)> {
    let mine = known.entries().iter().filter(|e| e.hosts.matches(name, hmac_sha1));
    mine.map(|e| {
        let marker = match e.marker {
            None => "",
            Some(Marker::CertAuthority) => "CA",
            Some(Marker::Revoked) => "REVOKED",
        };
        (e.source.line, marker.to_owned())
    })
    .collect()
}

#[test]
fn the_same_lines_stand_for_a_name() {
    let Some(keygen) = Keygen::find("lines") else { return };
    let file = keygen.write(FILE);
    let mut known = KnownHosts::new(hmac_sha1);
    known.read("known_hosts", &std::fs::read(&file).unwrap());
    let mut found = 0;
    for name in NAMES {
        let stock = keygen.lines_for(&file, name);
        assert_eq!(ours(&known, name), stock, "{name}");
        found += stock.len();
    }
    assert!(found > NAMES.len());
}

#[test]
fn hashed_files_are_read_and_written_alike() {
    let Some(keygen) = Keygen::find("hashed") else { return };
    let file = keygen.write("a.example.com,192.0.2.1 {0}\nb {1}\n[c]:2222 {2}\n");
    keygen.hash(&file);
    let text = std::fs::read(&file).unwrap();
    assert!(!text.windows(4).any(|w| w == b"exam"));
    let mut known = KnownHosts::new(hmac_sha1);
    known.read("known_hosts", &text);
    for name in ["a.example.com", "192.0.2.1", "b", "[c]:2222", "c"] {
        assert_eq!(ours(&known, name), keygen.lines_for(&file, name), "{name}");
    }
    let key = known.entries().first().unwrap();
    let presented = Presented { key_type: &key.key_type, key: &key.key, signer: None };
    assert_eq!(known.check(&HostName::new("A.example.com", 22), &presented).verdict(), Verdict::Known);

    let written = hashed_line("new.example.com", [7; 20], hmac_sha1, &key.key_type, &key.key);
    std::fs::write(&file, written).unwrap();
    assert_eq!(keygen.lines_for(&file, "new.example.com"), [(1, String::new())]);
    assert_eq!(keygen.lines_for(&file, "old.example.com"), []);
}
