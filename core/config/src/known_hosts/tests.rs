//! Tests of known_hosts.

use base64ct::{Base64, Encoding};
use proptest::prelude::*;

use super::*;

/// Not HMAC-SHA1, but as good for telling names apart.
fn hmac(key: &[u8; 20], data: &[u8]) -> [u8; 20] {
    let mut out = *key;
    for (i, b) in data.iter().enumerate() {
        if let Some(byte) = out.get_mut(i % 20) {
            *byte = byte.wrapping_mul(31).wrapping_add(*b);
        }
    }
    out
}

fn blob(key_type: &str, body: &str) -> Vec<u8> {
    let mut key = Vec::new();
    for part in [key_type, body] {
        key.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        key.extend(part.as_bytes());
    }
    key
}

fn ed(body: &str) -> Vec<u8> {
    blob("ssh-ed25519", body)
}

/// Puts keys in for `{type body}`.
fn file(text: &str) -> KnownHosts {
    let mut out = String::new();
    for line in text.lines() {
        match line
            .split_once('{')
            .and_then(|(names, key)| Some((names, key.strip_suffix('}')?.split_once(' ')?)))
        {
            Some((names, (kind, body))) => {
                let kind = if kind == "ed" { "ssh-ed25519" } else { "ssh-rsa" };
                out += &format!("{names}{kind} {} comment\n", Base64::encode_string(&blob(kind, body)));
            }
            None => out += &format!("{line}\n"),
        }
    }
    let mut known = KnownHosts::new(hmac);
    known.read("known_hosts", out.as_bytes());
    known
}

fn verdict(known: &KnownHosts, host: &HostName, key: &[u8], signer: Option<&[u8]>) -> Verdict {
    known.check(host, &Presented { key_type: "ssh-ed25519", key, signer }).verdict()
}

#[test]
fn the_truth_table() {
    let lines = [
        ("@revoked h {ed key}\n", "revoked"),
        ("@cert-authority h {ed ca}\n", "authority"),
        ("h {ed key}\n", "matched"),
        ("h {ed other}\n", "changed"),
        ("h {rsa key}\n", "other type"),
    ];
    let host = HostName::new("H", 22);
    for rows in 0..1 << lines.len() {
        let there = |i: usize| rows & (1 << i) != 0;
        let text: String =
            lines.iter().enumerate().filter(|(i, _)| there(*i)).map(|(_, (l, _))| *l).collect();
        let known = file(&text);
        let plain = if there(0) {
            Verdict::Revoked
        } else if there(2) {
            Verdict::Known
        } else if there(3) || there(4) {
            Verdict::Changed
        } else {
            Verdict::New
        };
        assert_eq!(verdict(&known, &host, &ed("key"), None), plain, "{text}");
        let certified = if there(1) && !there(0) { Verdict::Authority } else { plain };
        assert_eq!(verdict(&known, &host, &ed("key"), Some(&ed("ca"))), certified, "{text}");
        // No line stands for another host.
        assert_eq!(verdict(&known, &HostName::new("g", 22), &ed("key"), Some(&ed("ca"))), Verdict::New);
    }
}

#[test]
fn a_revoked_signer_revokes_its_certificates() {
    let known = file("@cert-authority * {ed ca}\n@revoked * {ed ca}\nh {ed key}");
    let host = HostName::new("h", 22);
    assert_eq!(verdict(&known, &host, &ed("key"), Some(&ed("ca"))), Verdict::Revoked);
    assert_eq!(verdict(&known, &host, &ed("key"), None), Verdict::Known);
}

#[test]
fn findings_name_their_lines() {
    let known = file("# comment\n\nh {ed a}\nh {rsa a}\nh {ed b}\ng {ed b}");
    let host = HostName::new("h", 22);
    let found = known.check(&host, &Presented { key_type: "ssh-ed25519", key: &ed("b"), signer: None });
    let lines = |entries: &[&Entry]| entries.iter().map(|e| e.source.line).collect::<Vec<_>>();
    assert_eq!(lines(&found.matched), [5]);
    assert_eq!(lines(&found.changed), [3]);
    assert_eq!(lines(&found.other_types), [4]);
    let elsewhere: Vec<_> = known.other_names(&host, &ed("b")).map(|e| e.hosts.to_string()).collect();
    assert_eq!(elsewhere, ["g"]);
}

#[test]
fn names_patterns_and_ports() {
    let known = file(
        "a.example.com,192.0.2.1 {ed 1}\n*.example.net,!bad.example.net {ed 1}\n[p]:2222 {ed 1}\nUPPER {ed 1}",
    );
    let is = |host: &str, port| verdict(&known, &HostName::new(host, port), &ed("1"), None);
    for (host, port, expected) in [
        ("A.example.com", 22, Verdict::Known),
        ("192.0.2.1", 22, Verdict::Known),
        ("b.example.com", 22, Verdict::New),
        ("x.example.net", 22, Verdict::Known),
        ("bad.example.net", 22, Verdict::New),
        ("p", 2222, Verdict::Known),
        ("p", 22, Verdict::New),
        ("p", 2223, Verdict::New),
        ("upper", 22, Verdict::Known),
        // A key known for the bare name is good at any port.
        ("a.example.com", 2222, Verdict::Known),
    ] {
        assert_eq!(is(host, port), expected, "{host} {port}");
    }
    assert_eq!(verdict(&known, &HostName::alias("A.example.com"), &ed("1"), None), Verdict::Known);
}

#[test]
fn the_bare_name_helps_but_does_not_accuse() {
    let host = HostName::new("h", 2222);
    let key = ed("key");
    assert_eq!(verdict(&file("h {ed other}"), &host, &key, None), Verdict::New);
    assert_eq!(verdict(&file("@revoked h {ed key}\n[h]:2222 {ed key}"), &host, &key, None), Verdict::Revoked);
    assert_eq!(verdict(&file("h {ed key}\n[h]:2222 {ed other}"), &host, &key, None), Verdict::Changed);
    let ca = ed("ca");
    let with_ca = |text: &str| verdict(&file(text), &host, &key, Some(&ca));
    assert_eq!(with_ca("@cert-authority h {ed ca}"), Verdict::Authority);
    assert_eq!(with_ca("@cert-authority h {ed ca}\n@cert-authority [h]:2222 {ed x}"), Verdict::New);
}

#[test]
fn bad_lines_are_named_and_lose_no_other() {
    let known = file(
        "h\n@other h {ed 1}\nh ssh-ed25519\nh ssh-ed25519 %%%\nh 1024 35 1234\n|1|x|y {ed 1}\nh ssh-rsa \
         AAAAC3NzaC1lZDI1NTE5\n@revoked @cert-authority h {ed 1}\n@revoked\nh {ed 1}",
    );
    assert_eq!(known.problems().len(), 9, "{:#?}", known.problems());
    assert_eq!(
        known.problems().first().map(|p| p.to_string()).as_deref(),
        Some("known_hosts line 1: the key type is missing")
    );
    assert_eq!(known.entries().len(), 1);
    assert_eq!(known.entries().first().map(|e| e.source.line), Some(10));
}

#[test]
fn new_lines_are_found_again() {
    let key = ed("new");
    let mut known = KnownHosts::new(hmac);
    let (a, b) = (HostName::new("a", 22), HostName::new("b", 2222));
    known.read("f", plain_line(&[a.name(), "192.0.2.1"], "ssh-ed25519", &key).as_bytes());
    known.read("f", hashed_line(b.name(), [7; 20], hmac, "ssh-ed25519", &key).as_bytes());
    assert_eq!(known.problems(), []);
    for host in [&a, &b, &HostName::new("192.0.2.1", 22)] {
        assert_eq!(verdict(&known, host, &key, None), Verdict::Known);
    }
    let names: Vec<_> = known.entries().iter().map(|e| e.hosts.to_string()).collect();
    assert_eq!(names, ["a,192.0.2.1", "[hashed name]"]);
}

#[test]
fn names_that_would_be_something_else_are_not_recorded() {
    for bad in ["a,b", "*", "h?", "|x", "@revoked", "#x", "[h]", "a b", "!x", ""] {
        assert!(!is_recordable(bad), "{bad}");
    }
    assert!(is_recordable("host.example.com") && is_recordable("fe80::1%eth0"));
}

#[test]
fn known_types_come_first() {
    let algorithms: Vec<String> = [
        "ssh-ed25519-cert-v01@openssh.com",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ]
    .map(str::to_owned)
    .to_vec();
    let ordered = |text: &str| file(text).key_types(&HostName::new("h", 22)).order(&algorithms).join(" ");
    let unchanged = algorithms.join(" ");
    assert_eq!(ordered(""), unchanged);
    assert_eq!(ordered("h {ed 1}\nh {rsa 1}"), unchanged);
    let rsa = "rsa-sha2-512 rsa-sha2-256 ssh-ed25519-cert-v01@openssh.com ssh-ed25519 ecdsa-sha2-nistp256";
    assert_eq!(ordered("h {rsa 1}"), rsa);
    assert_eq!(ordered("h {rsa 1}\nh {ed 1}\n@revoked * {ed 1}"), rsa);
    let with_ca =
        "ssh-ed25519-cert-v01@openssh.com rsa-sha2-512 rsa-sha2-256 ssh-ed25519 ecdsa-sha2-nistp256";
    assert_eq!(ordered("h {rsa 1}\n@cert-authority * {ed ca}"), with_ca);
}

proptest! {
    #[test]
    fn arbitrary_input_never_panics(input in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_known_hosts(&input);
    }

    #[test]
    fn almost_right_input_never_panics(input in "((@revoked|@cert-authority|localhost|[|]1[|]|ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA|[=!*,]|[ \t\r\n#])){0,12}") {
        fuzz_known_hosts(input.as_bytes());
    }
}
