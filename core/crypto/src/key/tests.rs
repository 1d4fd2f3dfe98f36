//! Tests of public key blobs: what is taken, what is refused.

use proptest::prelude::*;

use super::*;
use crate::fuzz;
use crate::testing::one_of_each;

/// A blob from a name and the strings behind it.
fn blob(name: &str, strings: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(name.as_bytes());
    for s in strings {
        out.put_string(s);
    }
    out
}

/// An RSA blob with a modulus of that many bits: the highest and the lowest are set.
fn rsa_blob(bits: usize, e: &[u8]) -> Vec<u8> {
    let mut n = vec![0x55; bits.div_ceil(8)];
    n[0] = if bits.is_multiple_of(8) { 0x80 } else { 1 << (bits % 8 - 1) };
    *n.last_mut().unwrap() |= 1;
    let mut out = Vec::new();
    out.put_string(b"ssh-rsa");
    out.put_mpint(e);
    out.put_mpint(&n);
    out
}

/// The point of a fresh key on P-256.
fn point_256() -> Vec<u8> {
    let key = crate::PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let blob = key.public().blob();
    blob[blob.len() - 65..].to_vec()
}

#[test]
fn every_type_comes_back_from_its_blob() {
    let mut keys: Vec<PublicKey> = one_of_each().iter().map(|k| k.public().clone()).collect();
    for b in [
        blob("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]),
        blob("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point_256(), b"ssh:"]),
    ] {
        keys.push(PublicKey::from_blob(&b).unwrap());
    }
    assert_eq!(keys.iter().map(PublicKey::key_type).collect::<Vec<_>>(), KeyType::ALL);
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(PublicKey::from_blob(key.blob()).as_ref(), Ok(key));
        assert!(key.blob()[4..].starts_with(key.key_type().name().as_bytes()));
        assert!(keys.iter().enumerate().all(|(j, other)| (i == j) == (key == other)));
        assert_eq!(format!("{key:?}"), format!("{} {}", key.key_type().word(), key.fingerprint()));
    }
    assert_eq!(keys.iter().map(PublicKey::bits).collect::<Vec<_>>(), [256, 256, 384, 521, 2048, 256, 256]);
}

#[test]
fn a_blob_is_read_to_its_end_and_no_further() {
    for key in one_of_each() {
        let good = key.public().blob();
        for n in 0..good.len() {
            assert!(PublicKey::from_blob(&good[..n]).is_err(), "{n}");
        }
        let mut long = good.to_vec();
        long.push(0);
        assert!(matches!(PublicKey::from_blob(&long), Err(CryptoError::Format(_))));
    }
}

#[test]
fn unknown_types_and_certificates_are_told_apart() {
    for name in ["", "ssh-dss", "ssh-ed448", "ssh-ed25519 ", "rsa-sha2-256", "null"] {
        let b = blob(name, &[&[0; 32]]);
        assert_eq!(PublicKey::from_blob(&b), Err(CryptoError::UnknownKeyType), "{name}");
    }
    for t in KeyType::ALL {
        let b = blob(t.certificate_name(), &[&[0; 32]]);
        assert_eq!(PublicKey::from_blob(&b), Err(CryptoError::UnexpectedCertificate));
    }
}

#[test]
fn points_must_be_plain_and_on_the_named_curve() {
    let good = point_256();
    let name = "ecdsa-sha2-nistp256";
    assert!(PublicKey::from_blob(&blob(name, &[b"nistp256", &good])).is_ok());
    for (curve, point) in [
        (&b"nistp384"[..], good.clone()),
        (b"", good.clone()),
        (b"nistp256", {
            let mut off = good.clone();
            off[64] ^= 1;
            off
        }),
        (b"nistp256", {
            let mut compressed = good[..33].to_vec();
            compressed[0] = 2 + (good[64] & 1);
            compressed
        }),
        (b"nistp256", {
            let mut hybrid = good.clone();
            hybrid[0] = 6 + (good[64] & 1);
            hybrid
        }),
        (b"nistp256", vec![0]),
        (b"nistp256", vec![]),
        (b"nistp256", vec![4; 64]),
        (b"nistp256", vec![0xff; 65]),
    ] {
        assert!(PublicKey::from_blob(&blob(name, &[curve, &point])).is_err(), "{point:?}");
    }
    assert!(PublicKey::from_blob(&blob("ecdsa-sha2-nistp384", &[b"nistp384", &good])).is_err());
}

#[test]
fn ed25519_keys_have_32_bytes() {
    for n in [0, 31, 33, 64] {
        assert!(PublicKey::from_blob(&blob("ssh-ed25519", &[&vec![1; n]])).is_err(), "{n}");
    }
}

#[test]
fn rsa_keys_have_bounds() {
    let e = [1, 0, 1];
    for bits in [1024, 1025, 2048, 3072, 4095, 16384] {
        let key = PublicKey::from_blob(&rsa_blob(bits, &e)).unwrap();
        assert_eq!(key.bits() as usize, bits);
        assert_eq!(key.check_rsa_size(2048).is_ok(), bits >= 2048);
        assert_eq!(key.check_rsa_size(u32::try_from(bits).unwrap()), Ok(()));
    }
    assert_eq!(
        PublicKey::from_blob(&rsa_blob(1023, &e)),
        Err(CryptoError::RsaTooShort { bits: 1023, min: 1024 })
    );
    assert!(PublicKey::from_blob(&rsa_blob(16385, &e)).is_err());
    for e in [&[][..], &[1], &[2], &[1, 0], &[0xff; 300]] {
        assert!(PublicKey::from_blob(&rsa_blob(2048, e)).is_err(), "{e:?}");
    }
    let mut even = rsa_blob(2048, &e);
    *even.last_mut().unwrap() &= 0xfe;
    assert_eq!(PublicKey::from_blob(&even), Err(CryptoError::Invalid("RSA modulus")));
    for key in one_of_each().iter().filter(|k| k.public().key_type() != KeyType::Rsa) {
        assert_eq!(key.public().check_rsa_size(u32::MAX), Ok(()), "only RSA is measured");
    }
}

#[test]
fn numbers_have_one_encoding() {
    let n = &rsa_blob(1024, &[3])[4 + 7 + 4 + 1 + 4..];
    assert_eq!(n[0], 0, "the highest bit is set, so a zero byte comes first");
    assert!(PublicKey::from_blob(&blob("ssh-rsa", &[&[3], n])).is_ok());
    // A zero too many, and a negative number.
    let padded = [&[0], n].concat();
    assert!(PublicKey::from_blob(&blob("ssh-rsa", &[&[3], &padded])).is_err());
    assert!(PublicKey::from_blob(&blob("ssh-rsa", &[&[0, 3], n])).is_err());
    assert!(PublicKey::from_blob(&blob("ssh-rsa", &[&[3], &n[1..]])).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::fuzz_public_key(&bytes);
    }

    #[test]
    fn an_altered_key_never_passes_for_the_same(at in any::<prop::sample::Index>(), with in 1..=u8::MAX) {
        for key in one_of_each() {
            let mut bytes = key.public().blob().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            fuzz::fuzz_public_key(&bytes);
            if let Ok(other) = PublicKey::from_blob(&bytes) {
                prop_assert_ne!(&other, key.public());
                prop_assert_eq!(other.blob(), bytes);
            }
        }
    }
}
