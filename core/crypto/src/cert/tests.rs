//! Tests of certificates made here, good ones and every kind of bad one. Those that `ssh-keygen` makes are
//! in `tests/certificates.rs`.

use proptest::prelude::*;
use sockward_wire::Put;

use super::*;
use crate::testing::one_of_each;
use crate::{PrivateKey, fuzz};

/// What goes into a certificate; tests change a field and build it.
#[derive(Clone)]
struct Template {
    name: &'static str,
    kind: u32,
    key_id: &'static [u8],
    principals: Vec<u8>,
    valid: (u64, u64),
    critical: Vec<u8>,
    extensions: Vec<u8>,
    authority: Vec<u8>,
}

fn strings(list: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for s in list {
        out.put_string(s);
    }
    out
}

/// A value that is a string once more.
fn value(text: &[u8]) -> Vec<u8> {
    strings(&[text])
}

fn subject() -> &'static PrivateKey {
    static KEY: std::sync::OnceLock<PrivateKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| PrivateKey::generate(KeyType::Ed25519).unwrap())
}

fn authority() -> &'static PrivateKey {
    static KEY: std::sync::OnceLock<PrivateKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| PrivateKey::generate(KeyType::EcdsaP256).unwrap())
}

impl Template {
    fn user() -> Template {
        Template {
            name: "ssh-ed25519-cert-v01@openssh.com",
            kind: 1,
            key_id: b"id",
            principals: strings(&[b"alex", b"kim"]),
            valid: (100, 200),
            critical: Vec::new(),
            extensions: Vec::new(),
            authority: authority().public().blob().to_vec(),
        }
    }

    fn host() -> Template {
        Template { kind: 2, principals: strings(&[b"*.example.org", b"plain"]), ..Template::user() }
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.name.as_bytes());
        out.put_string(b"nonce");
        // The key's fields, without the name before them.
        let blob = subject().public().blob();
        out.put_raw(&blob[4 + KeyType::Ed25519.name().len()..]);
        out.put_u64(42);
        out.put_u32(self.kind);
        out.put_string(self.key_id);
        out.put_string(&self.principals);
        out.put_u64(self.valid.0);
        out.put_u64(self.valid.1);
        out.put_string(&self.critical);
        out.put_string(&self.extensions);
        out.put_string(b"");
        out.put_string(&self.authority);
        out
    }

    fn blob(&self) -> Vec<u8> {
        let mut out = self.body();
        let signature = authority().sign(SignatureAlg::EcdsaP256, &out).unwrap();
        out.put_string(&signature);
        out
    }

    fn parse(&self) -> CryptoResult<Certificate> {
        Certificate::parse(&self.blob())
    }
}

#[test]
fn every_field_is_read() {
    let template = Template {
        critical: strings(&[b"force-command", &value(b"/bin/true"), b"later@example.org", b"raw"]),
        extensions: strings(&[b"permit-pty", b"", b"x@example.org", &value(b"v")]),
        ..Template::user()
    };
    let cert = template.parse().unwrap();
    let mut blob = template.body();
    blob.put_string(&cert.signature);
    assert_eq!(cert.blob, blob);
    assert_eq!(cert.key, *subject().public());
    assert_eq!((cert.nonce.as_slice(), cert.serial, cert.key_id.as_slice()), (&b"nonce"[..], 42, &b"id"[..]));
    assert_eq!((cert.cert_type, cert.valid_after, cert.valid_before), (CertType::User, 100, 200));
    assert_eq!(cert.principals, [b"alex".to_vec(), b"kim".to_vec()]);
    assert_eq!(
        cert.critical_options,
        [
            CriticalOption::ForceCommand(b"/bin/true".to_vec()),
            CriticalOption::Unknown { name: b"later@example.org".to_vec(), value: b"raw".to_vec() },
        ]
    );
    assert_eq!(
        cert.extensions,
        [Extension::PermitPty, Extension::Unknown { name: b"x@example.org".to_vec(), value: value(b"v") },]
    );
    assert_eq!(cert.authority, *authority().public());
    assert_eq!(cert.signature_algorithm, SignatureAlg::EcdsaP256);
}

#[test]
fn altered_certificates_are_refused() {
    let good = Template::user().blob();
    assert!(Certificate::parse(&good).is_ok());
    for at in 0..good.len() {
        for flip in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(Certificate::parse(&bad).is_err(), "byte {at}");
        }
        assert!(Certificate::parse(&good[..at]).is_err());
    }
    let long = [&good[..], &[0]].concat();
    assert!(matches!(Certificate::parse(&long), Err(CryptoError::Format(_))));
}

#[test]
fn another_authority_s_signature_is_refused() {
    let mut template = Template::user();
    let other = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    template.authority = other.public().blob().to_vec();
    assert_eq!(template.parse(), Err(CryptoError::BadSignature));
    // And one of another type, under its own name.
    let other = PrivateKey::generate(KeyType::Ed25519).unwrap();
    template.authority = other.public().blob().to_vec();
    assert_eq!(template.parse(), Err(CryptoError::AlgorithmMismatch));
}

#[test]
fn every_type_of_authority_signs() {
    for key in one_of_each() {
        for alg in SignatureAlg::ALL.into_iter().filter(|alg| alg.key_type() == key.public().key_type()) {
            let template = Template { authority: key.public().blob().to_vec(), ..Template::user() };
            let mut blob = template.body();
            let signature = key.sign(alg, &blob).unwrap();
            blob.put_string(&signature);
            assert_eq!(Certificate::parse(&blob).unwrap().signature_algorithm, alg);
        }
    }
}

#[test]
fn sha_1_authorities_are_refused() {
    let key = one_of_each().pop().unwrap();
    assert_eq!(key.public().key_type(), KeyType::Rsa);
    let template = Template { authority: key.public().blob().to_vec(), ..Template::user() };
    let mut blob = template.body();
    let signature = key.sign(SignatureAlg::RsaSha256, &blob).unwrap();
    let renamed = strings(&[b"ssh-rsa", &signature[4 + 12 + 4..]]);
    blob.put_string(&renamed);
    assert!(matches!(Certificate::parse(&blob), Err(CryptoError::Unsupported(_))));
}

#[test]
fn an_authority_must_be_a_plain_key() {
    let inner = Template::user().blob();
    let template = Template { authority: inner, ..Template::user() };
    assert_eq!(template.parse(), Err(CryptoError::UnexpectedCertificate));
}

#[test]
fn fields_out_of_bounds_are_refused() {
    let many: Vec<&[u8]> = vec![b"p"; 257];
    let options: Vec<Vec<u8>> = (0..257u32).map(|i| i.to_be_bytes().to_vec()).collect();
    let options: Vec<&[u8]> = options.iter().flat_map(|name| [&name[..], &b""[..]]).collect();
    let user = Template::user;
    for (what, bad) in [
        ("kind 0", Template { kind: 0, ..user() }),
        ("kind 3", Template { kind: 3, ..user() }),
        ("257 principals", Template { principals: strings(&many), ..user() }),
        ("NUL in a principal", Template { principals: strings(&[b"root\0x"]), ..user() }),
        ("NUL in the key id", Template { key_id: b"a\0", ..user() }),
        ("a cut principal", Template { principals: vec![0, 0, 0, 9, 1], ..user() }),
        ("257 extensions", Template { extensions: strings(&options), ..user() }),
        ("an option without a value", Template { critical: strings(&[b"verify-required"]), ..user() }),
        ("another type's name", Template { name: "ssh-rsa-cert-v01@openssh.com", ..user() }),
        ("a plain name", Template { name: "ssh-ed25519", ..user() }),
    ] {
        assert!(bad.parse().is_err(), "{what}");
    }
    assert!(Template { principals: strings(&many[..256]), ..user() }.parse().is_ok());
}

#[test]
fn options_with_values_of_the_wrong_form_are_refused() {
    for critical in [
        strings(&[b"force-command", b""]),
        strings(&[b"force-command", b"raw"]),
        strings(&[b"force-command", &[&value(b"a")[..], b"x"].concat()]),
        strings(&[b"force-command", &value(b"a\0b")]),
        strings(&[b"source-address", b""]),
        strings(&[b"verify-required", &value(b"")]),
        strings(&[b"force-command", &value(b"a"), b"force-command", &value(b"b")]),
        strings(&[b"later", b"", b"later", b""]),
    ] {
        assert!(Template { critical, ..Template::user() }.parse().is_err());
    }
    for extensions in [strings(&[b"permit-pty", b"x"]), strings(&[b"permit-pty", b"", b"permit-pty", b""])] {
        assert!(Template { extensions, ..Template::user() }.parse().is_err());
    }
    let good = strings(&[
        b"force-command",
        &value(b"a"),
        b"source-address",
        &value(b"10.0.0.0/8"),
        b"verify-required",
        b"",
    ]);
    let cert = Template { critical: good, ..Template::user() }.parse().unwrap();
    assert_eq!(
        cert.critical_options,
        [
            CriticalOption::ForceCommand(b"a".to_vec()),
            CriticalOption::SourceAddress(b"10.0.0.0/8".to_vec()),
            CriticalOption::VerifyRequired,
        ]
    );
    assert_eq!(cert.check(CertType::User, None, 150), Ok(()));
}

#[test]
fn a_certificate_holds_for_its_purpose_its_names_and_its_time() {
    use CertificateRefusal::*;
    let user = Template::user().parse().unwrap();
    let host = Template::host().parse().unwrap();
    for (cert, wanted, name, now, expected) in [
        (&user, CertType::User, Some(&b"alex"[..]), 100, Ok(())),
        (&user, CertType::User, Some(b"kim"), 199, Ok(())),
        (&user, CertType::User, None, 150, Ok(())),
        (&user, CertType::User, Some(b"alex"), 99, Err(NotYetValid)),
        (&user, CertType::User, Some(b"alex"), 200, Err(Expired)),
        (&user, CertType::User, Some(b"Alex"), 150, Err(NotAPrincipal)),
        (&user, CertType::User, Some(b""), 150, Err(NotAPrincipal)),
        (&user, CertType::User, Some(b"ale"), 150, Err(NotAPrincipal)),
        (&user, CertType::Host, Some(b"alex"), 150, Err(WrongType { wanted: CertType::Host })),
        (&host, CertType::Host, Some(b"www.example.org"), 150, Ok(())),
        (&host, CertType::Host, Some(b"plain"), 150, Ok(())),
        (&host, CertType::Host, Some(b"example.org"), 150, Err(NotAPrincipal)),
        (&host, CertType::User, Some(b"plain"), 150, Err(WrongType { wanted: CertType::User })),
    ] {
        assert_eq!(cert.check(wanted, name, now), expected, "{wanted:?} {name:?} {now}");
    }
    // Users' names are no patterns.
    let star = Template { principals: strings(&[b"*"]), ..Template::user() }.parse().unwrap();
    assert_eq!(star.check(CertType::User, Some(b"alex"), 150), Err(NotAPrincipal));
}

#[test]
fn a_certificate_without_names_is_for_nobody() {
    for template in [Template::user(), Template::host()] {
        let cert = Template { principals: Vec::new(), ..template }.parse().unwrap();
        for name in [None, Some(&b"alex"[..])] {
            assert_eq!(cert.check(cert.cert_type, name, 150), Err(CertificateRefusal::NoPrincipals));
        }
    }
}

#[test]
fn forever_is_a_time() {
    let cert = Template { valid: (0, u64::MAX), ..Template::user() }.parse().unwrap();
    for now in [0, 1 << 40, u64::MAX - 1] {
        assert_eq!(cert.check(CertType::User, None, now), Ok(()));
    }
    let never = Template { valid: (200, 100), ..Template::user() }.parse().unwrap();
    for now in [0, 100, 150, 200, 300] {
        assert!(never.check(CertType::User, None, now).is_err());
    }
}

#[test]
fn restrictions_nobody_can_keep_refuse() {
    let critical = strings(&[b"later\n", b""]);
    let cert = Template { critical, ..Template::user() }.parse().unwrap();
    let refusal = cert.check(CertType::User, Some(b"alex"), 150).unwrap_err();
    assert_eq!(refusal, CertificateRefusal::CriticalOption("later\\n".to_owned()));
    assert_eq!(refusal.to_string(), "certificate critical option \"later\\n\" is not supported");
    // Of hosts none is defined.
    let critical = strings(&[b"force-command", &value(b"x")]);
    let cert = Template { critical, ..Template::host() }.parse().unwrap();
    assert_eq!(
        cert.check(CertType::Host, Some(b"plain"), 150),
        Err(CertificateRefusal::CriticalOption("force-command".to_owned()))
    );
}

#[test]
fn keys_and_certificates_are_told_apart() {
    let blob = Template::user().blob();
    let cert = KeyOrCert::parse(&blob).unwrap();
    assert_eq!(cert.blob(), blob);
    let key = KeyOrCert::parse(subject().public().blob()).unwrap();
    assert_eq!(cert.public_key(), key.public_key());
    assert_eq!(cert.fingerprint(), key.fingerprint());
    assert_eq!((cert.word().as_str(), key.word().as_str()), ("ED25519-CERT", "ED25519"));
    assert!(cert.certificate().is_some() && key.certificate().is_none());
    let plain = KeyAlgorithm { signature: SignatureAlg::Ed25519, certificate: false };
    let certified = KeyAlgorithm { certificate: true, ..plain };
    assert!(key.check_algorithm(plain).is_ok() && cert.check_algorithm(certified).is_ok());
    assert!(key.check_algorithm(certified).is_err() && cert.check_algorithm(plain).is_err());
    let other = KeyAlgorithm { signature: SignatureAlg::RsaSha256, certificate: true };
    assert!(cert.check_algorithm(other).is_err());
    assert_eq!(KeyOrCert::parse(b""), Err(CryptoError::Format(WireError::Short("key type"))));
}

proptest! {
    #[test]
    fn any_bytes_are_a_certificate_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::fuzz_certificate(&bytes);
        let name = strings(&[b"ssh-ed25519-cert-v01@openssh.com"]);
        fuzz::fuzz_certificate(&[&name[..], &bytes].concat());
    }

    #[test]
    fn options_of_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = options::critical(&bytes);
        let _ = options::extensions(&bytes);
        let _ = principals(&bytes);
    }
}
