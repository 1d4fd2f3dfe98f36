//! Tests of key files made here and of damaged ones. Files of `ssh-keygen` are in `tests/key_files.rs`.

use base64ct::{Base64, Encoding};
use proptest::prelude::*;
use sockward_wire::Put;

use super::*;
use crate::testing::rsa_pair;
use crate::{KeyType, SignatureAlg, fuzz};

/// An envelope of the given fields around a private section.
fn envelope(cipher: &[u8], kdf: &[u8], options: &[u8], keys: u32, public: &[u8], section: &[u8]) -> Vec<u8> {
    let mut out = b"openssh-key-v1\0".to_vec();
    out.put_string(cipher);
    out.put_string(kdf);
    out.put_string(options);
    out.put_u32(keys);
    out.put_string(public);
    out.put_string(section);
    armor("OPENSSH PRIVATE KEY", &out)
}

fn armor(label: &str, content: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", Base64::encode_string(content))
        .into_bytes()
}

fn key() -> &'static PrivateKey {
    static KEY: std::sync::OnceLock<PrivateKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| PrivateKey::generate(KeyType::Ed25519).unwrap())
}

/// The private section of [`key`] up to the padding.
fn section(check: [u32; 2]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(check[0]);
    out.put_u32(check[1]);
    key().write(&mut out).unwrap();
    out.put_string(b"comment");
    out
}

fn plain(section: &[u8]) -> Result<(PrivateKey, String), KeyFileError> {
    parse(&envelope(b"none", b"none", b"", 1, key().public().blob(), section), None)
}

#[test]
fn what_we_write_we_read() {
    for t in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
        for comment in ["", "root@host", "a longer comment, ünd so on"] {
            let key = PrivateKey::generate(t).unwrap();
            let text = write(&key, comment).unwrap();
            let (back, found) = parse(text.as_bytes(), None).unwrap();
            assert_eq!((back.public(), found.as_str()), (key.public(), comment));
            assert_eq!(public_half(text.as_bytes()).as_ref(), Ok(key.public()));
            let alg = SignatureAlg::from_name(t.name()).unwrap();
            let signature = back.sign(alg, b"data").unwrap();
            assert!(key.public().verify(alg, b"data", &signature).is_ok());
            assert!(text.lines().all(|line| line.len() <= 70));
        }
    }
    let rsa = PrivateKey::from_rsa(rsa_pair()).unwrap();
    assert!(matches!(write(&rsa, ""), Err(KeyFileError::Key(CryptoError::Unsupported(_)))));
}

#[test]
fn line_ends_and_surroundings_do_not_matter() {
    let text = write(key(), "c").unwrap();
    for variant in [
        text.replace('\n', "\r\n"),
        text.trim_end().to_owned(),
        format!("\n\n{}\n\n", *text),
        format!("some words\n{}", *text),
        text.replace('\n', " \n"),
    ] {
        assert_eq!(parse(variant.as_bytes(), None).unwrap().0.public(), key().public());
    }
}

#[test]
fn a_passphrase_for_a_plain_file_is_not_looked_at() {
    let text = write(key(), "c").unwrap();
    assert!(parse(text.as_bytes(), Some(b"whatever")).is_ok());
}

#[test]
fn files_that_are_no_private_keys_are_named_so() {
    for text in ["", "ssh-ed25519 AAAA comment\n", "-----BEGIN", "hello\n\0\n"] {
        assert_eq!(parse(text.as_bytes(), None).unwrap_err(), KeyFileError::NotAPrivateKey, "{text}");
    }
    let public = armor("PUBLIC KEY", b"x");
    assert_eq!(parse(&public, None).unwrap_err(), KeyFileError::NotAPrivateKey);
    assert_eq!(parse(&vec![b'\n'; FILE_MAX + 1], None).unwrap_err(), KeyFileError::TooLarge);
}

#[test]
fn the_padding_counts_up() {
    let good = section([7, 7]);
    let (read, comment) = plain(&good).unwrap();
    assert_eq!((read.public(), comment.as_str()), (key().public(), "comment"));
    assert!(plain(&[&good[..], &[1, 2, 3]].concat()).is_ok());
    for bad in [&[0][..], &[2], &[1, 2, 2], &[1, 3]] {
        let answer = plain(&[&good[..], bad].concat());
        assert_eq!(answer.unwrap_err(), KeyFileError::Damaged("wrong padding"), "{bad:?}");
    }
    let endless: Vec<u8> = (1..=255).chain(0..=255).collect();
    assert!(plain(&[&good[..], &endless].concat()).is_err());
}

#[test]
fn contradictions_are_refused() {
    assert_eq!(plain(&section([7, 8])).unwrap_err(), KeyFileError::Damaged("check numbers differ"));
    let blob = key().public().blob();
    let good = section([7, 7]);
    let other = PrivateKey::generate(KeyType::Ed25519).unwrap();
    let of_other = envelope(b"none", b"none", b"", 1, other.public().blob(), &good);
    assert!(matches!(parse(&of_other, None), Err(KeyFileError::Damaged(_))));
    let half_encrypted = envelope(b"aes256-ctr", b"none", b"", 1, blob, &good);
    assert!(matches!(parse(&half_encrypted, None), Err(KeyFileError::Damaged(_))));
    for keys in [0, 2] {
        let file = envelope(b"none", b"none", b"", keys, blob, &good);
        assert!(matches!(parse(&file, None), Err(KeyFileError::Unsupported(_))));
    }
    // Seed and public key of different keys, and a second copy of the public key that is another one.
    let private = good.len() - 4 - b"comment".len() - 64;
    for at in [private, private + 32] {
        let mut mixed = good.clone();
        mixed[at] ^= 1;
        assert!(matches!(plain(&mixed), Err(KeyFileError::Key(CryptoError::Invalid(_)))));
    }
    // The encrypted part must be whole blocks, and nothing may follow.
    let odd = envelope(b"aes256-ctr", b"bcrypt", &options(1), 1, blob, &good[..33]);
    assert!(matches!(parse(&odd, Some(b"x")), Err(KeyFileError::Damaged(_))));
}

fn options(rounds: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(b"sixteen of salt.");
    out.put_u32(rounds);
    out
}

#[test]
fn encryption_we_cannot_do_is_refused_with_a_way_out() {
    let blob = key().public().blob();
    let file = |cipher: &[u8], kdf: &[u8], rounds| envelope(cipher, kdf, &options(rounds), 1, blob, &[0; 64]);
    let message = |file: &[u8]| match parse(file, Some(b"x")).unwrap_err() {
        KeyFileError::Unsupported(message) => message,
        other => panic!("{other}"),
    };
    let cipher = message(&file(b"chacha20-poly1305@openssh.com", b"bcrypt", 16));
    assert!(cipher.contains("chacha20-poly1305@openssh.com") && cipher.contains("ssh-keygen -p"));
    let rounds = message(&file(b"aes256-ctr", b"bcrypt", BCRYPT_ROUNDS_MAX + 1));
    assert!(rounds.contains("4097 rounds") && rounds.contains("ssh-keygen -p -a"));
    assert!(message(&file(b"aes256-ctr", b"argon2\n", 1)).contains("argon2\\n"));
    // No rounds at all are nonsense, not much work.
    assert!(matches!(parse(&file(b"aes256-ctr", b"bcrypt", 0), Some(b"x")), Err(KeyFileError::Damaged(_))));
    // Without a passphrase nothing is derived, however many rounds.
    for passphrase in [None, Some(&b""[..])] {
        let answer = parse(&file(b"aes256-ctr", b"bcrypt", u32::MAX), passphrase);
        assert_eq!(answer.unwrap_err(), KeyFileError::NeedsPassphrase);
    }
    assert_eq!(public_half(&file(b"x", b"y", 0)).as_ref(), Ok(key().public()), "the public half is in clear");
}

#[test]
fn keys_in_tokens_are_recognised() {
    let mut blob = Vec::new();
    for s in [&b"sk-ssh-ed25519@openssh.com"[..], &[7; 32], b"ssh:"] {
        blob.put_string(s);
    }
    let mut section = vec![0; 8];
    section.put_raw(&blob);
    section.put_u8(1);
    section.put_string(b"handle");
    section.put_string(b"");
    section.put_string(b"comment");
    let file = envelope(b"none", b"none", b"", 1, &blob, &section);
    let Err(KeyFileError::Unsupported(message)) = parse(&file, None) else { panic!() };
    assert!(message.contains("FIDO token"));
    assert_eq!(public_half(&file).unwrap().key_type(), KeyType::SkEd25519);
}

#[test]
fn pem_files_under_a_passphrase_name_the_remedy() {
    let old = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
                AAAA\n-----END RSA PRIVATE KEY-----\n";
    for file in [&old[..], &armor("ENCRYPTED PRIVATE KEY", b"x")] {
        let Err(KeyFileError::Unsupported(message)) = parse(file, Some(b"x")) else { panic!() };
        assert!(message.contains("ssh-keygen -p"));
    }
    assert!(matches!(parse(&armor("DSA PRIVATE KEY", b"x"), None), Err(KeyFileError::Unsupported(_))));
}

#[test]
fn broken_armor_is_refused() {
    let text = write(key(), "c").unwrap();
    for broken in [
        text.replace("END OPENSSH", "END RSA"),
        text.replace("-----END OPENSSH PRIVATE KEY-----", ""),
        text.replacen("b3BlbnNz", "b3Bl*nNz", 1),
        text.replacen("b3BlbnNz", "c3BlbnNz", 1),
    ] {
        assert!(matches!(parse(broken.as_bytes(), None), Err(KeyFileError::Damaged(_))), "{broken}");
    }
}

#[test]
fn errors_say_what_to_do_and_show_no_key() {
    for e in [
        KeyFileError::NeedsPassphrase,
        KeyFileError::WrongPassphrase,
        KeyFileError::Damaged("x"),
        KeyFileError::Key(CryptoError::Invalid("Ed25519 key")),
    ] {
        let text = e.to_string();
        assert!(text.starts_with(char::is_lowercase) || text.starts_with("Ed25519"), "{text}");
        assert!(!text.ends_with('.'));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_key_file_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz::fuzz_keyfile(&bytes);
        fuzz::fuzz_keyfile(&armor("OPENSSH PRIVATE KEY", &bytes));
        for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"] {
            fuzz::fuzz_keyfile(&armor(label, &bytes));
        }
    }

    #[test]
    fn an_altered_file_is_the_same_key_or_an_error(
        at in any::<prop::sample::Index>(),
        with in 1..=u8::MAX,
        cut in any::<bool>(),
    ) {
        let text = write(key(), "comment").unwrap();
        let mut bytes = text.as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= with }
        fuzz::fuzz_keyfile(&bytes);
        if let Ok((read, _)) = parse(&bytes, None) {
            prop_assert_eq!(read.public(), key().public());
        }
    }

    #[test]
    fn private_sections_of_any_bytes_are_keys_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for t in KeyType::ALL {
            let mut section = Vec::new();
            section.put_string(t.name().as_bytes());
            section.put_raw(&bytes);
            let _ = openssh::private_section(sockward_wire::Reader::new(&section));
        }
    }
}
