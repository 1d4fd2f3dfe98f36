//! Certificates that `ssh-keygen -s` makes, compared with what `ssh-keygen -L` shows of them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::ffi::OsStr;

use common::{Dir, have_ssh_keygen, ssh_keygen, ssh_keygen_verifies, sshsig_signed_data};
use sockward_crypto::{
    CertType, Certificate, CertificateRefusal, CriticalOption, CryptoError, Extension, KeyAlgorithm,
    KeyOrCert, SignatureAlg, keyfile, parse_public_line,
};

const ED25519: &[&str] = &["-t", "ed25519", "-N", ""];

/// Has the authority `ca` sign the public half of `key`; the certificate's blob.
fn sign(dir: &Dir, ca: &str, key: &str, options: &[&str]) -> Vec<u8> {
    let (ca, public) = (dir.path(ca), dir.path(&format!("{key}.pub")));
    let mut args: Vec<&OsStr> = vec!["-q".as_ref(), "-s".as_ref(), ca.as_ref()];
    args.extend(options.iter().map(OsStr::new));
    args.push(public.as_ref());
    ssh_keygen(&args, b"");
    parse_public_line(&dir.read(&format!("{key}-cert.pub"))).unwrap().0
}

/// `ssh-keygen -L` of the certificate of `key`, blanks at both ends of lines taken off.
fn shown(dir: &Dir, key: &str) -> Vec<String> {
    let path = dir.path(&format!("{key}-cert.pub"));
    let text = ssh_keygen(&["-L".as_ref(), "-f".as_ref(), path.as_os_str()], b"");
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn certificates_of_every_key_by_every_authority() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("cert-kinds");
    let kinds: [&[&str]; 4] = [
        ED25519,
        &["-t", "ecdsa", "-b", "256", "-N", ""],
        &["-t", "ecdsa", "-b", "521", "-N", ""],
        &["-t", "rsa", "-b", "2048", "-N", ""],
    ];
    for (i, kind) in kinds.iter().enumerate() {
        dir.keygen(&format!("ca{i}"), kind);
        dir.keygen(&format!("key{i}"), kind);
    }
    for ca in 0..kinds.len() {
        for key in 0..kinds.len() {
            let key_name = format!("key{key}");
            let options = ["-I", "the id", "-n", "alex,kim", "-z", "42", "-V", "20200101Z:20300101Z"];
            let blob = sign(&dir, &format!("ca{ca}"), &key_name, &options);
            let cert = Certificate::parse(&blob).unwrap();
            let (plain, _) = parse_public_line(&dir.read(&format!("{key_name}.pub"))).unwrap();
            let (authority, _) = parse_public_line(&dir.read(&format!("ca{ca}.pub"))).unwrap();
            assert_eq!(cert.key.blob(), plain);
            assert_eq!(cert.authority.blob(), authority);
            assert_eq!(
                (cert.cert_type, cert.serial, cert.key_id.as_slice()),
                (CertType::User, 42, &b"the id"[..])
            );
            assert_eq!(cert.principals, [b"alex".to_vec(), b"kim".to_vec()]);
            // 2020-01-01 and 2030-01-01, in UTC.
            assert_eq!((cert.valid_after, cert.valid_before), (1_577_836_800, 1_893_456_000));
            let all = [
                Extension::PermitX11Forwarding,
                Extension::PermitAgentForwarding,
                Extension::PermitPortForwarding,
                Extension::PermitPty,
                Extension::PermitUserRc,
            ];
            assert_eq!(cert.extensions, all);
            assert_eq!(cert.critical_options, []);

            let lines = shown(&dir, &key_name);
            let word = KeyOrCert::Cert(Box::new(cert.clone())).word();
            assert!(lines[1].ends_with("user certificate") && lines[1].starts_with("Type:"), "{lines:?}");
            assert_eq!(lines[2], format!("Public key: {word} {}", cert.key.fingerprint()));
            let signing = format!(
                "Signing CA: {} {} (using {})",
                cert.authority.key_type().word(),
                cert.authority.fingerprint(),
                cert.signature_algorithm.name()
            );
            assert_eq!(lines[3], signing);
        }
    }
}

#[test]
fn host_certificates_and_options() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("cert-options");
    dir.keygen("ca", ED25519);
    dir.keygen("key", ED25519);
    let host = sign(&dir, "ca", "key", &["-h", "-I", "h", "-n", "*.example.org,box"]);
    let host = Certificate::parse(&host).unwrap();
    assert_eq!(host.cert_type, CertType::Host);
    assert_eq!((host.valid_after, host.valid_before), (0, u64::MAX));
    assert_eq!((host.extensions.as_slice(), host.critical_options.as_slice()), (&[][..], &[][..]));
    assert_eq!(host.check(CertType::Host, Some(b"www.example.org"), 1), Ok(()));

    let options = [
        "-I",
        "u",
        "-n",
        "alex",
        "-O",
        "clear",
        "-O",
        "force-command=/bin/true arg",
        "-O",
        "source-address=10.0.0.0/8,::1/128",
        "-O",
        "verify-required",
        "-O",
        "no-touch-required",
        "-O",
        "permit-pty",
        "-O",
        "critical:later@example.org=value",
        "-O",
        "extension:hint@example.org=value",
    ];
    let user = Certificate::parse(&sign(&dir, "ca", "key", &options)).unwrap();
    let value = b"\0\0\0\x05value".to_vec();
    assert_eq!(
        user.critical_options,
        [
            CriticalOption::ForceCommand(b"/bin/true arg".to_vec()),
            CriticalOption::Unknown { name: b"later@example.org".to_vec(), value: value.clone() },
            CriticalOption::SourceAddress(b"10.0.0.0/8,::1/128".to_vec()),
            CriticalOption::VerifyRequired,
        ]
    );
    assert_eq!(
        user.extensions,
        [
            Extension::Unknown { name: b"hint@example.org".to_vec(), value },
            Extension::NoTouchRequired,
            Extension::PermitPty,
        ]
    );
    let refusal = user.check(CertType::User, Some(b"alex"), 1);
    assert_eq!(refusal, Err(CertificateRefusal::CriticalOption("later@example.org".to_owned())));
}

#[test]
fn rsa_authorities_sign_with_sha_2_or_not_at_all() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("cert-rsa");
    dir.keygen("ca", &["-t", "rsa", "-b", "2048", "-N", ""]);
    dir.keygen("key", ED25519);
    for (name, alg) in [("rsa-sha2-256", SignatureAlg::RsaSha256), ("rsa-sha2-512", SignatureAlg::RsaSha512)]
    {
        let blob = sign(&dir, "ca", "key", &["-I", "i", "-n", "alex", "-t", name]);
        assert_eq!(Certificate::parse(&blob).unwrap().signature_algorithm, alg);
    }
    let blob = sign(&dir, "ca", "key", &["-I", "i", "-n", "alex", "-t", "ssh-rsa"]);
    assert!(matches!(Certificate::parse(&blob), Err(CryptoError::Unsupported(_))));
}

#[test]
fn a_certificate_without_names_and_one_that_is_altered() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("cert-altered");
    dir.keygen("ca", ED25519);
    dir.keygen("key", ED25519);
    let nobody = Certificate::parse(&sign(&dir, "ca", "key", &["-I", "i"])).unwrap();
    assert_eq!(nobody.check(CertType::User, Some(b"alex"), 1), Err(CertificateRefusal::NoPrincipals));

    let good = sign(&dir, "ca", "key", &["-I", "i", "-n", "alex"]);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(KeyOrCert::parse(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn the_certified_key_signs() {
    if !have_ssh_keygen() {
        return;
    }
    let dir = Dir::new("cert-sign");
    dir.keygen("ca", ED25519);
    let (text, line) = dir.keygen("key", &["-t", "rsa", "-b", "2048", "-N", ""]);
    let cert = KeyOrCert::parse(&sign(&dir, "ca", "key", &["-I", "i", "-n", "me"])).unwrap();
    let algorithm = KeyAlgorithm::from_name("rsa-sha2-512-cert-v01@openssh.com").unwrap();
    assert_eq!(cert.check_algorithm(algorithm), Ok(()));
    let (key, _) = keyfile::parse(&text, None).unwrap();
    let data = sshsig_signed_data("test", b"message");
    let signature = key.sign(algorithm.signature, &data).unwrap();
    assert!(cert.public_key().verify(algorithm.signature, &data, &signature).is_ok());
    let line = String::from_utf8(line).unwrap();
    assert!(ssh_keygen_verifies(&dir, line.trim_end(), key.public().blob(), &signature, b"message"));
}
