//! Tests of making and assembling private keys. Signing is tested where signatures are verified.

use super::*;
use crate::testing::{hex, rsa_pair};

/// Numbers of an RSA key of 2048 bits, from `openssl genrsa -traditional`.
struct Numbers {
    n: Vec<u8>,
    e: Vec<u8>,
    d: Vec<u8>,
    p: Vec<u8>,
    q: Vec<u8>,
    dp: Vec<u8>,
    dq: Vec<u8>,
    iqmp: Vec<u8>,
}

fn numbers() -> Numbers {
    let strip = |h: &str| hex(h).into_iter().skip_while(|b| *b == 0).collect();
    Numbers {
        n: strip(
            "ea272cec6d1f48c45fe35c2182c158062331e87c14eb31f76870def7c7559906b6cec484f2557f5345dceba6\
             7fde44e6ad66f7991a192d3d9e508925e6314e931926bb106c89af70aae03432d8e1e268157d6ffe6c7278e4\
             1350ddea88e57b3d1212297c744b023ec1ecd2126e81386cbcdc1a2048484f09c3268d459f31ac2987ed7d6b\
             9e8ea05c4a38d68acc4c5302a6e4876d37883dde90c5e50e3bcbb2d212ca3cc37f51c07f624f0733400c853a\
             e030f6d088c6b9f64970184528986d130949a74937bd368c05d89b639ecdf838583aafe8b0fb4539a6b56e51\
             95c6b1542a6cc55e52d6c73675b5a2b71bcaf5430961997c297eec7fe971c44522b73613",
        ),
        e: strip("010001"),
        d: strip(
            "72777048ac17cd14e2e35cd8acf923b4ec63ab896d188536b381ea1e2afe376ec6d351d2c43cf39f9bd9a201\
             a524dd7dff6b04c37db4ad1f2053b2982a6e144168dc3c3a8d34c9e54443928100f17c22f1ce7e7f5c38a1cc\
             ad7cacdfc8c89674866f0684e6bcfc7dfd836e36c07abf40b91ac852dbc32d90522c78877e8963e58240cd39\
             0130954f709156b671c9c6cd9a44ec74d9853881caffad59de13222763d37e1b0d57c949d8d4d21c29c811c5\
             585524a45f3c4a82002747d60fae23a422ba772342c59685e74ab87b8e43c1fd17ac6502761e7f5cee6792e3\
             49f1fc4e7f216d1a0bbf036909fee51ab155de35466e12a287baca5e8f571034fb65d3c1",
        ),
        p: strip(
            "f6c560649a8b4f1b2b102283c8f7e0eaa55e2b6869355f5431045406354e533952bcceba3127970eda52b021\
             88447a74cceb3445a1858ea3f5c979270644b4cbe07b511753b3916c97d8cc953292de6fa07cbf431a22745f\
             784aa5d5240b0e6074ba7657fbb97de55eb97b55b034181eb92539ff42522076205263e4bbdc6051",
        ),
        q: strip(
            "f2e8fe16f620f54ca51f26ff215f570af90cfa50076019f32a623ca7ba71ac69cc519f13e7b83a65fb964b34\
             13f5459edb662133ba539d063430a23d40c4ef507d46e1f37c50660cbbbdef94ca0b81d87e63e1aa703ebf36\
             bab1cae059d8dd2292134fc7b4320540cf539bf30d43cc52180d409facc0f8e6f3071ef32cb59b23",
        ),
        dp: strip(
            "cfbd3b37960e7eaacd66c8d78e60765cb298030ce3bcc5a2b79d002b35c6d932e19f069d21f2452d80c7a974\
             a1259cbd25214020fa27d7fbd9572181a3ba45457895f79f1e9c856918afaf124ebfeb37a7b03cc6fd8251db\
             6905d67306e3b3d7a98cab41c82cd07a3e73010c12c8d8214d15b4ac59a58fa441f37a1abdb778f1",
        ),
        dq: strip(
            "f267f2d1053424b724fcee94a2401b83f6bfadb85973dcd19e5544847979e0fdff88e08023b8e4864b4853aa\
             17d4a7727d2df12a46e2140c51decab8e7bedfb76a1d6774ed74ea3200d4ed9684fe70c89470a68dc8cfc550\
             1f85379925f055d59f02a895f94c0594049242498dce3fc318ff78a31fe9bf39f203042ed64a3113",
        ),
        iqmp: strip(
            "d838ba78f01839088b9514ba0af080a5034fd1aea7620a9d32efda2be7c3fa0cea08f61714bd0db476abf3ea\
             575cf13361bbd139ea3fefcdbd6e0a873fdaa459680d07cc79af1a3ab55ac8524fa280dd1d165a6d815d96cd\
             a7129ad44e07065ace8a8cc3ac61c97a0212c9a389a3a183a58591440ff9ba8bedc9c59c737a2fba",
        ),
    }
}

impl Numbers {
    fn assemble(&self) -> CryptoResult<PrivateKey> {
        PrivateKey::from_rsa_numbers(&RsaNumbers {
            n: &self.n,
            e: &self.e,
            d: &self.d,
            iqmp: &self.iqmp,
            p: &self.p,
            q: &self.q,
        })
    }
}

#[test]
fn the_numbers_that_files_lack_are_computed_right() {
    let numbers = numbers();
    let strip = |v: Zeroizing<Vec<u8>>| v.iter().copied().skip_while(|b| *b == 0).collect::<Vec<_>>();
    assert_eq!(strip(crt_exponent(&numbers.d, &numbers.p).unwrap()), numbers.dp);
    assert_eq!(strip(crt_exponent(&numbers.d, &numbers.q).unwrap()), numbers.dq);
    // 20 mod (7 - 1)
    assert_eq!(strip(crt_exponent(&[20], &[7]).unwrap()), [2]);
    assert_eq!(strip(crt_exponent(&[3], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1]).unwrap()), [3]);
    assert!(crt_exponent(&[20], &[1]).is_none());
    assert_eq!(crt_exponent(&[], &[7]).map(|v| v.iter().all(|b| *b == 0)), Some(true));
}

#[test]
fn an_rsa_key_from_its_numbers_signs() {
    let key = numbers().assemble().unwrap();
    for alg in [SignatureAlg::RsaSha256, SignatureAlg::RsaSha512] {
        let sig = key.sign(alg, b"data").unwrap();
        assert!(key.public().verify(alg, b"data", &sig).is_ok());
    }
}

#[test]
fn rsa_numbers_that_do_not_fit_together_are_refused() {
    type Change = fn(&mut Numbers);
    let changes: [Change; 10] = [
        |x| *x.d.last_mut().unwrap() ^= 2,
        |x| *x.p.last_mut().unwrap() ^= 2,
        |x| *x.q.last_mut().unwrap() ^= 2,
        |x| *x.iqmp.last_mut().unwrap() ^= 1,
        |x| *x.n.last_mut().unwrap() ^= 2,
        |x| x.e = vec![3],
        |x| x.p = vec![],
        |x| x.q = vec![1],
        |x| x.d = vec![0xff; 4000],
        |x| std::mem::swap(&mut x.p, &mut x.q),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut numbers = numbers();
        change(&mut numbers);
        assert!(numbers.assemble().is_err(), "change {i}");
    }
}

#[test]
fn short_rsa_keys_are_refused_by_name() {
    assert_eq!(rsa_can_sign(1024), Err(CryptoError::RsaTooShort { bits: 1024, min: 2048 }));
    assert_eq!(rsa_can_sign(2047), Err(CryptoError::RsaTooShort { bits: 2047, min: 2048 }));
    assert_eq!((rsa_can_sign(2048), rsa_can_sign(8192)), (Ok(()), Ok(())));
    assert!(matches!(rsa_can_sign(8193), Err(CryptoError::Unsupported(_))));
}

#[test]
fn keys_are_fresh_and_of_the_type_asked_for() {
    for t in [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
        let (a, b) = (PrivateKey::generate(t).unwrap(), PrivateKey::generate(t).unwrap());
        assert_eq!((a.public().key_type(), b.public().key_type()), (t, t));
        assert_ne!(a.public(), b.public());
    }
    for t in [KeyType::Rsa, KeyType::SkEd25519, KeyType::SkEcdsaP256] {
        assert!(matches!(PrivateKey::generate(t), Err(CryptoError::Unsupported(_))));
    }
}

#[test]
fn a_key_signs_with_its_own_algorithms_alone() {
    let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
    for alg in SignatureAlg::ALL.into_iter().filter(|alg| *alg != SignatureAlg::Ed25519) {
        assert_eq!(key.sign(alg, b""), Err(CryptoError::AlgorithmMismatch));
    }
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let a = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    assert!(PrivateKey::from_ed25519_seed(&[1; 32], a.public_key().as_ref()).is_ok());
    assert!(PrivateKey::from_ed25519_seed(&[2; 32], a.public_key().as_ref()).is_err());
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    for scalar in [&[][..], &[0; 32], &[1; 32], &[0xff; 32], &[1; 33]] {
        assert!(PrivateKey::from_ecdsa_scalar(KeyType::EcdsaP256, scalar, point).is_err());
    }
}

#[test]
fn debug_shows_the_public_half_alone() {
    let key = PrivateKey::from_rsa(rsa_pair()).unwrap();
    assert_eq!(format!("{key:?}"), format!("private half of RSA {}", key.public().fingerprint()));
}
