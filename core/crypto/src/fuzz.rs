//! Entry points for fuzzing: each takes any bytes and must return, whatever they are.

use sockward_wire::Reader;

use crate::{KeyOrCert, PublicKey, SignatureAlg, keyfile, parse_public_line};

/// Key files, encrypted ones up to the passphrase.
pub fn fuzz_keyfile(data: &[u8]) {
    let _ = keyfile::public_half(data);
    if let Ok((key, _)) = keyfile::parse(data, None) {
        assert_eq!(keyfile::public_half(data).as_ref(), Ok(key.public()));
    }
    keyfile::fuzz_content(data);
}

/// Certificates and plain keys.
pub fn fuzz_certificate(data: &[u8]) {
    if let Ok(key) = KeyOrCert::parse(data) {
        assert_eq!(key.blob(), data);
    }
}

/// Public keys, their lines, and signatures.
pub fn fuzz_public_key(data: &[u8]) {
    let _ = parse_public_line(data);
    let mut r = Reader::new(data);
    let Ok(key) = PublicKey::from_blob(r.string("key").unwrap_or(data)) else { return };
    for alg in SignatureAlg::ALL {
        let _ = key.verify(alg, b"data", r.rest());
    }
}
