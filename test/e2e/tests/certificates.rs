//! Kinds of keys and certificates that ssh-keygen(1) alone does not try: each server is asked the same, ours and
//! OpenSSH's. A security key is one of software, behind an agent of the test's own.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use sockward_crypto::{KeyType, PrivateKey, SignatureAlg, sha256, write_public_line};
use sockward_test_e2e::access::CLIENTS;
use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{Client, Kind, Server, ServerSetup, TempDir, key_pair, stock};
use sockward_wire::Reader;

const SERVERS: [Kind; 2] = [Kind::Ours, Kind::OpenSsh];

/// Has an authority sign a key, for these principals.
fn certify(ca: &Path, key: &Path, arguments: &[&str]) {
    let mut sign = Command::new(stock("ssh-keygen"));
    sign.args(["-q", "-s"]).arg(ca).args(["-I", "id"]).args(arguments).arg(key.with_extension("pub"));
    assert!(sign.status().unwrap().success(), "{sign:?}");
}

fn comes_in(client: Kind, server: &Server, key: &Path) -> bool {
    let out = Client::new(client, server).args(["-i".as_ref(), key.as_os_str()]).run("echo in");
    assert_eq!(out.status.success(), out.stdout == b"in\n", "{out:?}");
    out.status.success()
}

#[test]
fn certificates_of_every_kind_let_their_principals_in() {
    if !as_root() {
        return;
    }
    let dir = TempDir::new();
    for (key_kind, ca_kind) in [("rsa", "rsa"), ("ecdsa", "ed25519"), ("ed25519", "ecdsa")] {
        let ca = key_pair(dir.path(), &format!("ca-of-{key_kind}"), ca_kind);
        // Keys of RSA take their time: one is enough.
        let one = key_pair(dir.path(), key_kind, key_kind);
        let copy = |name: &str| {
            let path = dir.join(&format!("{key_kind}-{name}"));
            for (from, to) in
                [(one.clone(), path.clone()), (one.with_extension("pub"), path.with_extension("pub"))]
            {
                std::fs::copy(from, to).unwrap();
            }
            path
        };
        for kind in SERVERS {
            let server =
                Server::start(kind, &ServerSetup::with(&format!("TrustedUserCAKeys {}.pub\n", ca.display())));
            // The plain key is not to come in.
            std::fs::write(&server.keys.authorized, "").unwrap();
            let user = server.user.name.clone();
            for (what, arguments, yes) in [
                ("his", vec!["-n", &user], true),
                ("hers", vec!["-n", "sockward-eve"], false),
                ("nobodys", vec![], false),
                ("old", vec!["-n", &user, "-V", "20200101:20200102"], false),
                ("elsewhere", vec!["-n", &user, "-O", "source-address=192.0.2.1"], false),
                ("here", vec!["-n", &user, "-O", "source-address=127.0.0.0/8"], true),
            ] {
                let key = copy(what);
                certify(&ca, &key, &arguments);
                for client in CLIENTS {
                    assert_eq!(comes_in(client, &server, &key), yes, "{client:?} {kind:?} {key_kind} {what}");
                }
            }
        }
    }
}

/// A certificate without principals: where a line of the user's own names its authority and no `principals=`, it is
/// for everybody, as in OpenSSH 9.2; with `principals=` for nobody.
#[test]
fn a_certificate_for_nobody_in_particular() {
    if !as_root() {
        return;
    }
    let dir = TempDir::new();
    let (ca, key) = (key_pair(dir.path(), "ca", "ed25519"), key_pair(dir.path(), "key", "ed25519"));
    certify(&ca, &key, &[]);
    let public = std::fs::read_to_string(ca.with_extension("pub")).unwrap();
    for kind in SERVERS {
        let server = Server::start(kind, &ServerSetup::default());
        for (options, yes) in [("cert-authority", true), ("cert-authority,principals=\"x\"", false)] {
            std::fs::write(&server.keys.authorized, format!("{options} {public}")).unwrap();
            assert_eq!(comes_in(Kind::OpenSsh, &server, &key), yes, "{kind:?} {options}");
        }
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

/// An agent with one security key, of software (PROTOCOL.u2f).
struct Agent {
    key: PrivateKey,
    blob: Vec<u8>,
    /// What it attests: 1 a touch, 4 that it verified its user.
    attests: AtomicU8,
    /// What it says that it attests: the signature is over the former.
    says: AtomicU8,
}

impl Agent {
    const TYPE: &'static [u8] = b"sk-ssh-ed25519@openssh.com";

    fn start(socket: &Path) -> Arc<Agent> {
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let mut reader = Reader::new(key.public().blob());
        let _ = reader.string("type").unwrap();
        let mut blob = Vec::new();
        string(&mut blob, Self::TYPE);
        string(&mut blob, reader.string("key").unwrap());
        string(&mut blob, b"ssh:");
        let agent = Arc::new(Agent { key, blob, attests: AtomicU8::new(1), says: AtomicU8::new(1) });
        let listener = UnixListener::bind(socket).unwrap();
        let served = Arc::clone(&agent);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let served = Arc::clone(&served);
                std::thread::spawn(move || served.serve(stream.unwrap()));
            }
        });
        agent
    }

    fn serve(&self, mut stream: UnixStream) {
        loop {
            let mut length = [0; 4];
            if stream.read_exact(&mut length).is_err() {
                return;
            }
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut body).unwrap();
            let mut answer = Vec::new();
            match body.first() {
                // SSH_AGENTC_REQUEST_IDENTITIES
                Some(11) => {
                    answer.push(12);
                    answer.extend(1_u32.to_be_bytes());
                    string(&mut answer, &self.blob);
                    string(&mut answer, b"soft");
                }
                // SSH_AGENTC_SIGN_REQUEST
                Some(13) => {
                    let mut reader = Reader::new(body.get(1..).unwrap());
                    assert_eq!(reader.string("key").unwrap(), self.blob);
                    answer.push(14);
                    string(&mut answer, &self.sign(reader.string("data").unwrap()));
                }
                _ => answer.push(5),
            }
            let mut framed = Vec::new();
            string(&mut framed, &answer);
            if stream.write_all(&framed).is_err() {
                return;
            }
        }
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let counter = 7_u32.to_be_bytes();
        let mut signed = sha256(&[b"ssh:"]).as_ref().to_vec();
        signed.push(self.attests.load(Ordering::SeqCst));
        signed.extend(counter);
        signed.extend(sha256(&[data]).as_ref());
        let plain = self.key.sign(SignatureAlg::Ed25519, &signed).unwrap();
        let mut reader = Reader::new(&plain);
        let _ = reader.string("algorithm").unwrap();
        let mut signature = Vec::new();
        string(&mut signature, Self::TYPE);
        string(&mut signature, reader.string("signature").unwrap());
        signature.push(self.says.load(Ordering::SeqCst));
        signature.extend(counter);
        signature
    }
}

#[test]
fn a_security_key_attests_what_is_asked_of_it() {
    if !as_root() {
        return;
    }
    let dir = TempDir::new();
    let socket: PathBuf = dir.join("agent");
    let agent = Agent::start(&socket);
    let line = write_public_line(&agent.blob, "soft").unwrap();
    let key = dir.join("soft");
    std::fs::write(key.with_extension("pub"), format!("{line}\n")).unwrap();
    for kind in SERVERS {
        for (config, options, attests, says, yes) in [
            ("", "", 1, 1, true),
            // No touch.
            ("", "", 0, 0, false),
            // A touch that was not signed for.
            ("", "", 0, 1, false),
            ("", "no-touch-required ", 0, 0, true),
            ("", "verify-required ", 1, 1, false),
            ("", "verify-required ", 5, 5, true),
            ("", "verify-required ", 1, 5, false),
            ("PubkeyAuthOptions verify-required\n", "", 1, 1, false),
            ("PubkeyAuthOptions touch-required\n", "no-touch-required ", 0, 0, false),
        ] {
            let server = Server::start(kind, &ServerSetup::with(config));
            std::fs::write(&server.keys.authorized, format!("{options}{line}\n")).unwrap();
            agent.attests.store(attests, Ordering::SeqCst);
            agent.says.store(says, Ordering::SeqCst);
            for client in CLIENTS {
                let agent = format!("IdentityAgent={}", socket.display());
                let identity = format!("IdentityFile={}", key.display());
                let out = Client::new(client, &server).args(["-o", &agent, "-o", &identity]).run("echo in");
                let stderr = String::from_utf8_lossy(&out.stderr);
                assert_eq!(
                    out.stdout == b"in\n",
                    yes,
                    "{client:?} {kind:?} {config}{options} {attests} {says}: {stderr}"
                );
            }
        }
    }
}
