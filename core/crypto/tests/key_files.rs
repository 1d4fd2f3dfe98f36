//! Key files and signatures against `ssh-keygen`: what it writes we read, what we write it reads, and each
//! verifies what the other signed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{Dir, have_ssh_keygen, ssh_keygen, ssh_keygen_verifies, sshsig_signature, sshsig_signed_data};
use sockward_crypto::keyfile::{self, KeyFileError};
use sockward_crypto::{
    CryptoError, KeyOrCert, KeyType, PrivateKey, PublicKey, SignatureAlg, parse_public_line, sha256,
    write_public_line,
};
use sockward_wire::{Put, Reader};

const KINDS: [&[&str]; 6] = [
    &["-t", "ed25519"],
    &["-t", "ecdsa", "-b", "256"],
    &["-t", "ecdsa", "-b", "384"],
    &["-t", "ecdsa", "-b", "521"],
    &["-t", "rsa", "-b", "2048"],
    &["-t", "rsa", "-b", "3072"],
];

fn public_of(line: &[u8]) -> (PublicKey, String) {
    let (blob, comment) = parse_public_line(line).unwrap();
    (PublicKey::from_blob(&blob).unwrap(), String::from_utf8(comment.to_vec()).unwrap())
}

/// Signs both ways: ours verified by `ssh-keygen`, its verified by us.
fn check_signatures(dir: &Dir, name: &str, key: &PrivateKey) {
    let public = key.public();
    let line = write_public_line(public.blob(), "").unwrap();
    for alg in SignatureAlg::ALL.into_iter().filter(|alg| alg.key_type() == public.key_type()) {
        let data = sshsig_signed_data("test", b"message");
        let signature = key.sign(alg, &data).unwrap();
        // SSHSIG itself allows RSA with SHA-2 only, both of which are here.
        assert!(ssh_keygen_verifies(dir, &line, public.blob(), &signature, b"message"), "{alg:?}");
        assert!(!ssh_keygen_verifies(dir, &line, public.blob(), &signature, b"other"), "{alg:?}");
    }
    let message = dir.write("message", b"message");
    let _ = std::fs::remove_file(dir.path("message.sig"));
    let path = dir.path(name);
    let args: [&std::path::Path; 7] =
        ["-Y".as_ref(), "sign".as_ref(), "-f".as_ref(), &path, "-n".as_ref(), "test".as_ref(), &message];
    ssh_keygen(&args, b"");
    let signature = sshsig_signature(&dir.read("message.sig"));
    let verified = SignatureAlg::ALL
        .into_iter()
        .filter(|alg| public.verify(*alg, &sshsig_signed_data("test", b"message"), &signature).is_ok())
        .count();
    assert_eq!(verified, 1);
}

#[test]
fn unencrypted_files_of_every_kind() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("plain");
    for kind in KINDS {
        let (text, line) = dir.keygen("key", &[kind, &["-N", "", "-C", "a comment"]].concat());
        let (key, comment) = keyfile::parse(&text, None).unwrap();
        let (public, line_comment) = public_of(&line);
        assert_eq!((key.public(), comment.as_str()), (&public, "a comment"), "{kind:?}");
        assert_eq!(line_comment, comment);
        assert_eq!(keyfile::public_half(&text).as_ref(), Ok(&public));
        let ours = write_public_line(public.blob(), &comment).unwrap();
        assert_eq!(format!("{ours}\n").as_bytes(), line);
        check_signatures(&dir, "key", &key);

        // "256 SHA256:… a comment (ED25519)"
        let shown = ssh_keygen(&["-lf".as_ref(), dir.path("key.pub").as_os_str()], b"");
        let key_type = public.key_type();
        let expected =
            format!("{} {} a comment ({})\n", public.bits(), public.fingerprint(), key_type.word());
        assert_eq!(shown, expected);
    }
}

#[test]
fn encrypted_files_of_every_cipher() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("encrypted");
    let mut files = vec![];
    for cipher in [
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
        "aes128-cbc",
        "aes192-cbc",
        "aes256-cbc",
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
    ] {
        files.push((KINDS[0], vec!["-Z", cipher, "-a", "2"]));
    }
    // The default cipher and rounds with every kind of key.
    files.extend(KINDS.iter().map(|kind| (*kind, vec![])));
    for (kind, options) in files {
        let args = [kind, &options, &["-N", "pass phrase", "-C", "c"]].concat();
        let (text, line) = dir.keygen("key", &args);
        let (public, _) = public_of(&line);
        let (key, comment) = keyfile::parse(&text, Some(b"pass phrase")).unwrap();
        assert_eq!((key.public(), comment.as_str()), (&public, "c"), "{args:?}");
        let alg = SignatureAlg::ALL.into_iter().find(|alg| alg.key_type() == public.key_type()).unwrap();
        let signature = key.sign(alg, b"data").unwrap();
        assert!(public.verify(alg, b"data", &signature).is_ok());

        assert_eq!(keyfile::parse(&text, None).unwrap_err(), KeyFileError::NeedsPassphrase);
        assert_eq!(keyfile::parse(&text, Some(b"")).unwrap_err(), KeyFileError::NeedsPassphrase);
        let wrong = keyfile::parse(&text, Some(b"pass phrasf")).unwrap_err();
        assert_eq!(wrong, KeyFileError::WrongPassphrase, "{args:?}");
        assert_eq!(keyfile::public_half(&text).as_ref(), Ok(&public));
    }
}

#[test]
fn encryption_that_we_do_not_do() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("unsupported");
    let (text, line) =
        dir.keygen("key", &["-t", "ed25519", "-N", "x", "-a", "1", "-Z", "chacha20-poly1305@openssh.com"]);
    assert!(matches!(keyfile::parse(&text, Some(b"x")), Err(KeyFileError::Unsupported(_))));
    assert_eq!(keyfile::public_half(&text), Ok(public_of(&line).0));
}

#[test]
fn files_that_older_tools_write() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("pem");
    for kind in KINDS {
        for format in ["PEM", "PKCS8"] {
            // Ed25519 keys are always written in the new format.
            let (text, line) = dir.keygen("key", &[kind, &["-m", format, "-N", ""]].concat());
            let (public, _) = public_of(&line);
            let (key, _) = keyfile::parse(&text, None).unwrap();
            assert_eq!(*key.public(), public, "{kind:?} {format}");
            assert_eq!(keyfile::public_half(&text).as_ref(), Ok(&public));
            check_signatures(&dir, "key", &key);

            let (text, _) = dir.keygen("key", &[kind, &["-m", format, "-N", "secret"]].concat());
            if !text.starts_with(b"-----BEGIN OPENSSH") {
                let Err(KeyFileError::Unsupported(message)) = keyfile::parse(&text, Some(b"secret")) else {
                    panic!("{kind:?} {format}")
                };
                assert!(message.contains("ssh-keygen -p"));
            }
        }
    }
}

#[test]
fn short_rsa_keys() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("short");
    let (text, line) = dir.keygen("key", &["-t", "rsa", "-b", "1024", "-N", ""]);
    // They cannot sign here, but what they signed elsewhere can be verified, if policy lets them.
    let answer = keyfile::parse(&text, None).unwrap_err();
    assert_eq!(answer, KeyFileError::Key(CryptoError::RsaTooShort { bits: 1024, min: 2048 }));
    let (public, _) = public_of(&line);
    assert!(public.check_rsa_size(1024).is_ok() && public.check_rsa_size(2048).is_err());
    let message = dir.write("message", b"message");
    let path = dir.path("key");
    let args: [&std::path::Path; 7] =
        ["-Y".as_ref(), "sign".as_ref(), "-f".as_ref(), &path, "-n".as_ref(), "test".as_ref(), &message];
    ssh_keygen(&args, b"");
    let signature = sshsig_signature(&dir.read("message.sig"));
    let data = sshsig_signed_data("test", b"message");
    assert!(public.verify(SignatureAlg::RsaSha512, &data, &signature).is_ok());
}

#[test]
fn files_that_we_write() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("written");
    for t in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
        let key = PrivateKey::generate(t).unwrap();
        dir.write("key", keyfile::write(&key, "root@host").unwrap().as_bytes());
        let line = ssh_keygen(&["-y".as_ref(), "-f".as_ref(), dir.path("key").as_os_str()], b"");
        let expected = write_public_line(key.public().blob(), "root@host").unwrap();
        assert_eq!(line.trim_end(), expected);
        check_signatures(&dir, "key", &key);
    }
}

/// A FIDO token in software: `ssh-keygen` agrees with us on what one signs (OpenSSH PROTOCOL.u2f).
#[test]
fn signatures_of_a_token() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("token");
    for (alg, inside) in [
        (SignatureAlg::SkEd25519, SignatureAlg::Ed25519),
        (SignatureAlg::SkEcdsaP256, SignatureAlg::EcdsaP256),
    ] {
        let secret = PrivateKey::generate(inside.key_type()).unwrap();
        // The blob is the plain key's with another name, and the application behind it.
        let mut fields = Reader::new(secret.public().blob());
        fields.string("name").unwrap();
        let mut blob = Vec::new();
        blob.put_string(alg.name().as_bytes());
        blob.put_raw(fields.rest());
        blob.put_string(b"ssh:");
        let public = PublicKey::from_blob(&blob).unwrap();

        let data = sshsig_signed_data("test", b"message");
        let signed = [sha256(&[b"ssh:"]).as_ref(), &[1, 0, 0, 0, 9], sha256(&[&data]).as_ref()].concat();
        let plain = secret.sign(inside, &signed).unwrap();
        let mut fields = Reader::new(&plain);
        fields.string("name").unwrap();
        let mut signature = Vec::new();
        signature.put_string(alg.name().as_bytes());
        signature.put_raw(fields.rest());
        signature.put_raw(&[1, 0, 0, 0, 9]);

        let facts = public.verify(alg, &data, &signature).unwrap().sk().unwrap();
        assert!(facts.user_present() && facts.counter == 9);
        let line = write_public_line(&blob, "").unwrap();
        assert!(ssh_keygen_verifies(&dir, &line, &blob, &signature, b"message"), "{alg:?}");
        assert!(!ssh_keygen_verifies(&dir, &line, &blob, &signature, b"other"), "{alg:?}");
    }
}

#[test]
fn parsing_a_line_ssh_keygen_would_list() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("lines");
    let (_, line) = dir.keygen("key", &["-t", "ecdsa", "-b", "384", "-N", ""]);
    let (blob, _) = parse_public_line(&line).unwrap();
    let key = KeyOrCert::parse(&blob).unwrap();
    assert_eq!((key.word().as_str(), key.certificate()), ("ECDSA", None));
}
