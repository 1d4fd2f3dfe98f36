//! UpdateHostKeys against a stock server that changes its keys, and against servers that lie; RevokedHostKeys.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::mini::{Behaviour, Mini, OtherKeys, Prove};
use common::pty::Person;
use common::{Ended, Server, keygen, read, tool};
use sockward_crypto::{KeyType, PrivateKey, SignatureAlg};

/// The key in a file of ssh-keygen's.
fn key(server: &Server, name: &str) -> String {
    read(&server.path(&format!("{name}.pub"))).split_whitespace().nth(1).unwrap().to_owned()
}

fn learn(server: &Server, more: &[&str]) -> Ended {
    let arguments = [&["-v", "-o", "UpdateHostKeys=yes"], more, &["h", "echo in"]].concat();
    let ended = server.run(&arguments);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "in\n"), "{}", ended.stderr);
    ended
}

#[test]
fn keys_are_learned_and_forgotten() {
    let Some(server) = Server::start("") else { return };
    let known = server.path("known");
    let first = format!("# mine\n{}not a line\nother {}", read(&known), read(&server.path("id.pub")));
    std::fs::write(&known, &first).unwrap();
    std::fs::set_permissions(&known, PermissionsExt::from_mode(0o644)).unwrap();
    // With a list of files of one's own the default is no.
    server.run(&["h", "true"]).well();
    assert_eq!(read(&known), first);
    let ended = learn(&server, &[]);
    assert!(ended.stderr.contains("Learned new hostkey: ECDSA SHA256:"), "{}", ended.stderr);
    let name = format!("[127.0.0.1]:{}", server.port);
    let ecdsa = format!("{name} ecdsa-sha2-nistp256 {}\n", key(&server, "host_ecdsa"));
    assert_eq!(read(&known), format!("{first}{ecdsa}"));
    assert_eq!(std::fs::metadata(&known).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(read(&server.path("known.old")), first);
    learn(&server, &[]);
    assert_eq!(read(&known), format!("{first}{ecdsa}"), "there is nothing to change");

    // The server changes its Ed25519 key; it is met by the other one.
    let old = key(&server, "host_ed25519");
    for file in ["host_ed25519", "host_ed25519.pub"] {
        std::fs::remove_file(server.path(file)).unwrap();
    }
    keygen(&server.path("host_ed25519"), "ed25519", "");
    server.append_and_reload("# other keys");
    let ended = learn(&server, &["-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256,ssh-ed25519"]);
    assert!(ended.stderr.contains("Deprecating obsolete hostkey: ED25519 SHA256:"), "{}", ended.stderr);
    let text = read(&known);
    assert!(!text.contains(&old) && text.contains(&key(&server, "host_ed25519")), "{text}");
    assert!(text.starts_with("# mine\nnot a line\nother ssh-ed25519"), "{text}");
    server.run(&["-o", "HostKeyAlgorithms=ssh-ed25519", "h", "true"]).well();
}

#[test]
fn only_what_the_configuration_takes_is_learned() {
    let Some(server) = Server::start("") else { return };
    let known = server.path("known");
    let before = read(&known);
    learn(&server, &["-o", "HostKeyAlgorithms=ssh-ed25519"]);
    assert_eq!(read(&known), before);
    // Nobody vouches for a key that was taken without a question.
    std::fs::write(&known, "").unwrap();
    learn(&server, &["-o", "StrictHostKeyChecking=accept-new"]);
    assert_eq!(read(&known).lines().count(), 1);
    learn(&server, &["-o", "HashKnownHosts=yes"]);
    let text = read(&known);
    assert!(text.lines().count() == 2 && text.lines().nth(1).unwrap().starts_with("|1|"), "{text}");
    // A key that also stands for another name is left to its people, as are lists and patterns.
    for line in
        [format!("other {}", read(&server.path("host_ecdsa.pub"))), before.replace("[127.0.0.1]", "[127.*]")]
    {
        let text = format!("{before}{line}");
        std::fs::write(&known, &text).unwrap();
        learn(&server, &[]);
        assert_eq!(read(&known), text);
    }
    // Of the machine's file nothing is taken.
    std::fs::rename(&known, server.path("global")).unwrap();
    std::fs::write(server.path("global"), &before).unwrap();
    let global = format!("GlobalKnownHostsFile={}", server.path("global").display());
    learn(&server, &["-o", &global]);
    assert!(!known.exists());
}

#[test]
fn a_certificate_introduces_nobody() {
    let Some(server) = Server::start("") else { return };
    keygen(&server.path("ca"), "ed25519", "");
    let (ca, host) = (server.path("ca"), server.path("host_ed25519.pub"));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    tool("ssh-keygen", &["-q", "-s", &path(&ca), "-I", "host", "-h", "-n", "127.0.0.1", &path(&host)]);
    server.append_and_reload(&format!("HostCertificate {}", server.path("host_ed25519-cert.pub").display()));
    let line = format!("@cert-authority [127.0.0.1]:{} {}", server.port, read(&server.path("ca.pub")));
    std::fs::write(server.path("known"), &line).unwrap();
    learn(&server, &[]);
    assert_eq!(read(&server.path("known")), line);
}

#[test]
fn whoever_wants_to_be_asked_is_asked_when_the_shell_has_ended() {
    let Some(server) = Server::start("") else { return };
    let before = read(&server.path("known"));
    for (answer, lines) in [("no", 1), ("yes", 2)] {
        let mut person = Person::start(&server.ssh(&["-o", "UpdateHostKeys=ask", "h"]));
        person.types("exit\r");
        person.sees("Accept updated hostkeys? (yes/no): ");
        assert_eq!(read(&server.path("known")), before);
        assert!(person.echoes());
        person.types(&format!("{answer}\r"));
        let (status, rest) = person.ends();
        assert!(status.success(), "{rest:?}");
        assert_eq!(read(&server.path("known")).lines().count(), lines, "{answer}");
    }
}

// ---- servers that lie ----

fn sign(with: &PrivateKey, of: &[u8], session_id: &[u8]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        out.extend_from_slice(bytes);
    };
    let mut data = Vec::new();
    for part in [b"hostkeys-prove-00@openssh.com", session_id, of] {
        put(&mut data, part);
    }
    let mut out = Vec::new();
    put(&mut out, &with.sign(SignatureAlg::from_name("ssh-ed25519").unwrap(), &data).unwrap());
    out
}

fn generate() -> PrivateKey {
    PrivateKey::generate(KeyType::Ed25519).unwrap()
}

/// Meets a server that names other keys: the text of known_hosts afterwards, what was said, what was asked.
fn meet(other_keys: OtherKeys) -> (bool, String, Vec<String>) {
    let dir = common::TempDir::new();
    let mini = Mini::start(Behaviour { other_keys: Some(other_keys), ..Behaviour::default() });
    let known = dir.path().join("known");
    std::fs::write(&known, &mini.known).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--foreground", "-k", "5", "120"]).arg(common::client()).args(["-F", "none", "-v"]);
    command.args(["-p", &mini.port.to_string(), "-o", "IdentityFile=none", "-o", "UpdateHostKeys=yes"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display()));
    command.args(["-o", "IdentityAgent=none", "alex@127.0.0.1", "true"]).stdin(Stdio::null());
    let ended = Ended::of(command);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "done\n"), "{}", ended.stderr);
    let changed = read(&known) != mini.known;
    (changed, ended.stderr.clone(), mini.requests())
}

#[test]
fn a_key_has_to_be_proved_for_this_very_session() {
    let asked = |requests: &[String]| requests.iter().any(|request| request == "prove 1 keys");
    type Liar = fn(PrivateKey) -> Box<Prove>;
    let proofs: [(&str, Liar); 6] = [
        ("", |key| Box::new(move |of, id| Some(sign(&key, &of[0], id)))),
        ("bad signature", |key| Box::new(move |of, _| Some(sign(&key, &of[0], &[7; 32])))),
        ("bad signature", |_| Box::new(|of, id| Some(sign(&generate(), &of[0], id)))),
        ("parse sig", |_| Box::new(|_, _| Some(Vec::new()))),
        ("bad signature", |_| Box::new(|_, _| Some(vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]))),
        // Nothing at all is waited for no longer than some seconds.
        ("", |_| Box::new(|_, _| None)),
    ];
    for (n, (complaint, proof)) in proofs.into_iter().enumerate() {
        let key = generate();
        let named = vec![key.public().blob().to_vec()];
        let (changed, said, requests) = meet(OtherKeys { named, proof: proof(key) });
        assert_eq!(changed, n == 0, "{n}: {said}");
        assert!(asked(&requests) && said.contains(complaint), "{n}: {said}");
    }
}

#[test]
fn lists_without_measure_or_sense_are_not_looked_at() {
    let blob = || generate().public().blob().to_vec();
    let twice = blob();
    for (named, complaint) in [
        ((0..500).map(|_| blob()).collect(), "the server names 501 host keys: not looked at"),
        (vec![twice.clone(), twice], "received duplicated ssh-ed25519 host key"),
        (vec![b"junk".to_vec(), Vec::new()], "no new or deprecated keys from server"),
    ] {
        let (changed, said, requests) = meet(OtherKeys { named, proof: Box::new(|_, _| None) });
        assert!(!changed && said.contains(complaint), "{said}");
        assert!(!requests.iter().any(|request| request.starts_with("prove")));
    }
}

// ---- RevokedHostKeys ----

#[test]
fn a_revoked_host_key_is_refused() {
    let Some(server) = Server::start("") else { return };
    let file = server.path("revoked");
    let option = format!("RevokedHostKeys={}", file.display());
    let meets = || server.run(&["-o", &option, "-o", "HostKeyAlgorithms=ssh-ed25519", "h", "echo in"]);
    meets().failed("No such file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(meets().well(), "in\n");
    std::fs::copy(server.path("id.pub"), &file).unwrap();
    assert_eq!(meets().well(), "in\n");
    std::fs::copy(server.path("host_ed25519.pub"), &file).unwrap();
    meets().failed("revoked by file");
    let (krl, host) = (file.to_str().unwrap(), server.path("host_ed25519.pub"));
    tool("ssh-keygen", &["-q", "-k", "-f", krl, host.to_str().unwrap()]);
    meets().failed("revoked by file");
    std::fs::write(&file, "neither\n").unwrap();
    meets().failed("there is no public key in line 1");
}
