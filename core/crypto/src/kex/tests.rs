//! Tests of the key exchange methods against themselves and against hostile shares.

use super::*;

const ALL: [KexMethod; 6] = [
    KexMethod::Mlkem768X25519,
    KexMethod::Sntrup761X25519,
    KexMethod::Curve25519,
    KexMethod::EcdhP256,
    KexMethod::EcdhP384,
    KexMethod::EcdhP521,
];

/// Sizes of the client's and the server's share, from the methods' documents.
fn sizes(method: KexMethod) -> (usize, usize) {
    match method {
        KexMethod::Mlkem768X25519 => (1184 + 32, 1088 + 32),
        KexMethod::Sntrup761X25519 => (1158 + 32, 1039 + 32),
        KexMethod::Curve25519 => (32, 32),
        KexMethod::EcdhP256 => (65, 65),
        KexMethod::EcdhP384 => (97, 97),
        KexMethod::EcdhP521 => (133, 133),
    }
}

#[test]
fn both_sides_reach_one_fresh_secret() {
    for method in ALL {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20 {
            let (client, client_share) = client_start(method).unwrap();
            let (server_share, server_secret) = server_respond(method, &client_share).unwrap();
            assert_eq!((client_share.len(), server_share.len()), sizes(method), "{method:?}");
            let secret = client.finish(&server_share).unwrap();
            assert_eq!(secret.encoded(), server_secret.encoded(), "{method:?}");
            assert!(SharedSecret::from_encoded(secret.encoded().to_vec()).is_ok());
            assert!(seen.insert(secret.encoded().to_vec()));
        }
    }
}

#[test]
fn every_name_leads_to_its_method_and_nothing_else_does() {
    for (name, method) in KexMethod::NAMES {
        assert_eq!(KexMethod::from_name(name), Some(*method));
        let suffix = name.split('@').next().unwrap().rsplit('-').next().unwrap();
        match suffix {
            "sha256" | "nistp256" => assert_eq!(method.hash(), HashAlg::Sha256),
            "nistp384" => assert_eq!(method.hash(), HashAlg::Sha384),
            _ => assert_eq!(method.hash(), HashAlg::Sha512),
        }
    }
    for name in ["", "curve25519", "diffie-hellman-group14-sha1", "ecdh-sha2-nistp256 "] {
        assert_eq!(KexMethod::from_name(name), None);
    }
}

#[test]
fn shares_of_any_other_size_are_refused() {
    for method in ALL {
        let (_, good) = client_start(method).unwrap();
        let (server_good, _) = server_respond(method, &good).unwrap();
        let mut longer = good.clone();
        longer.push(0);
        for bad in [&[][..], &good[1..], &good[..good.len() - 1], &longer] {
            assert!(server_respond(method, bad).is_err(), "{method:?} {}", bad.len());
        }
        let mut longer = server_good.clone();
        longer.insert(0, 0);
        for bad in [&[][..], &server_good[1..], &server_good[..server_good.len() - 1], &longer] {
            let (client, _) = client_start(method).unwrap();
            assert!(client.finish(bad).is_err(), "{method:?} {}", bad.len());
        }
    }
}

#[test]
fn points_off_the_curve_compressed_or_infinite_are_refused() {
    for method in [KexMethod::EcdhP256, KexMethod::EcdhP384, KexMethod::EcdhP521] {
        let (_, good) = client_start(method).unwrap();
        let half = (good.len() - 1) / 2;
        let mut off = good.clone();
        *off.last_mut().unwrap() ^= 1;
        let mut compressed = good[..=half].to_vec();
        compressed[0] = 2 + (good.last().unwrap() & 1);
        // The same length as the plain form, but of the hybrid form of X9.62.
        let mut hybrid = good.clone();
        hybrid[0] = 6 + (good.last().unwrap() & 1);
        let mut zero = vec![0; good.len()];
        zero[0] = 4;
        for bad in [off, compressed, hybrid, zero, vec![0], vec![0; good.len()]] {
            assert_eq!(server_respond(method, &bad).err(), Some(CryptoError::BadShare), "{method:?}");
        }
    }
}

#[test]
fn x25519_points_of_small_order_are_refused_in_every_method() {
    // RFC 7748 §6.1: the result is zero for these.
    let mut one = [0; 32];
    one[0] = 1;
    for method in [KexMethod::Curve25519, KexMethod::Mlkem768X25519, KexMethod::Sntrup761X25519] {
        for point in [[0; 32], one] {
            let (client, mut share) = client_start(method).unwrap();
            let (mut answer, _) = server_respond(method, &share).unwrap();
            let at = share.len() - 32;
            share[at..].copy_from_slice(&point);
            assert_eq!(server_respond(method, &share).err(), Some(CryptoError::BadShare));
            let at = answer.len() - 32;
            answer[at..].copy_from_slice(&point);
            assert_eq!(client.finish(&answer).err(), Some(CryptoError::BadShare));
        }
    }
}

#[test]
fn an_ml_kem_key_with_unreduced_coefficients_is_refused() {
    // FIPS 203 §7.2, the modulus check.
    let (_, mut share) = client_start(KexMethod::Mlkem768X25519).unwrap();
    share[..384].fill(0xff);
    assert_eq!(server_respond(KexMethod::Mlkem768X25519, &share).err(), Some(CryptoError::BadShare));
}

#[test]
fn an_altered_encapsulation_gives_another_secret() {
    for method in [KexMethod::Mlkem768X25519, KexMethod::Sntrup761X25519] {
        for at in [0, 500, 1000] {
            let (client, share) = client_start(method).unwrap();
            let (mut answer, server_secret) = server_respond(method, &share).unwrap();
            answer[at] ^= 1;
            if let Ok(secret) = client.finish(&answer) {
                assert_ne!(secret.encoded(), server_secret.encoded());
            }
        }
    }
}

#[test]
fn garbage_of_the_right_size_never_panics() {
    for method in ALL {
        let (client_len, server_len) = sizes(method);
        for fill in [0, 1, 4, 0x7f, 0xff] {
            let _ = server_respond(method, &vec![fill; client_len]);
            let (client, _) = client_start(method).unwrap();
            let _ = client.finish(&vec![fill; server_len]);
        }
        for _ in 0..20 {
            let mut noise = vec![0; client_len];
            random::system(&mut noise);
            let _ = server_respond(method, &noise);
        }
    }
}
