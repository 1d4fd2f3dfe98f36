//! Tests of verification: published signatures, our own, altered ones, and a FIDO token made up here.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::testing::{hex, one_of_each, rsa_pair};
use crate::{KeyType, PrivateKey};

fn signature(name: &str, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(name.as_bytes());
    out.put_string(inner);
    out
}

fn two_mpints(r: &[u8], s: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_mpint(r);
    out.put_mpint(s);
    out
}

/// Every key of ours with every algorithm that it signs with.
fn signers() -> Vec<(PrivateKey, SignatureAlg)> {
    let mut all = Vec::new();
    for alg in SignatureAlg::ALL {
        all.extend(
            one_of_each().into_iter().filter(|k| k.public().key_type() == alg.key_type()).map(|k| (k, alg)),
        );
    }
    assert_eq!(all.len(), 6);
    all
}

/// RFC 8032 §7.1, test 2.
#[test]
fn published_ed25519_signature() {
    let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let key = PublicKey::ed25519(key.try_into().unwrap());
    let inner = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                     085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    let good = signature("ssh-ed25519", &inner);
    assert_eq!(key.verify(SignatureAlg::Ed25519, &[0x72], &good).map(|v| v.sk()), Ok(None));
    assert_eq!(key.verify(SignatureAlg::Ed25519, &[0x73], &good), Err(CryptoError::BadSignature));
}

/// RFC 6979 §A.2.5–A.2.7, message "sample".
#[test]
fn published_ecdsa_signatures() {
    for (alg, x, y, r, s) in [
        (
            SignatureAlg::EcdsaP256,
            "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6",
            "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299",
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
        ),
        (
            SignatureAlg::EcdsaP384,
            "EC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64\
             DEF8F0EA9055866064A254515480BC13",
            "8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1\
             288B231C3AE0D4FE7344FD2533264720",
            "94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C\
             81A648152E44ACF96E36DD1E80FABE46",
            "99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94F\
             A329C145786E679E7B82C71A38628AC8",
        ),
        (
            SignatureAlg::EcdsaP521,
            "01894550D0785932E00EAA23B694F213F8C3121F86DC97A04E5A7167DB4E5BCD\
             371123D46E45DB6B5D5370A7F20FB633155D38FFA16D2BD761DCAC474B9A2F5023A4",
            "00493101C962CD4D2FDDF782285E64584139C2F91B47F87FF82354D6630F746A\
             28A0DB25741B5B34A828008B22ACC23F924FAAFBD4D33F81EA66956DFEAA2BFDFCF5",
            "00C328FAFCBD79DD77850370C46325D987CB525569FB63C5D3BC53950E6D4C5F\
             174E25A1EE9017B5D450606ADD152B534931D7D4E8455CC91F9B15BF05EC36E377FA",
            "00617CCE7CF5064806C467F678D3B4080D6F1CC50AF26CA209417308281B68AF\
             282623EAA63E5B5C0723D8B8C37FF0777B1A20F8CCB1DCCC43997F1EE0E44DA4A67A",
        ),
    ] {
        let point = [vec![4], hex(x), hex(y)].concat();
        let key = PublicKey::ecdsa(alg.key_type(), &point).unwrap();
        let good = signature(alg.name(), &two_mpints(&hex(r), &hex(s)));
        assert!(key.verify(alg, b"sample", &good).is_ok(), "{alg:?}");
        assert_eq!(key.verify(alg, b"Sample", &good), Err(CryptoError::BadSignature));
    }
}

#[test]
fn what_we_sign_we_verify() {
    for (key, alg) in signers() {
        for data in [&b""[..], b"x", &[7; 100_000]] {
            let sig = key.sign(alg, data).unwrap();
            assert_eq!(key.public().verify(alg, data, &sig).map(|v| v.sk()), Ok(None), "{alg:?}");
            assert!(key.public().verify(alg, b"other", &sig).is_err());
            let stranger = PrivateKey::generate(KeyType::Ed25519).unwrap();
            assert!(stranger.public().verify(alg, data, &sig).is_err());
        }
    }
}

#[test]
fn a_signature_with_any_bit_flipped_is_refused() {
    for (key, alg) in signers() {
        let sig = key.sign(alg, b"data").unwrap();
        for bit in 0..sig.len() * 8 {
            let mut bad = sig.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(key.public().verify(alg, b"data", &bad).is_err(), "{alg:?} bit {bit}");
        }
        for n in 0..sig.len() {
            assert!(key.public().verify(alg, b"data", &sig[..n]).is_err());
        }
        let long = [&sig[..], &[0]].concat();
        assert!(matches!(key.public().verify(alg, b"data", &long), Err(CryptoError::Format(_))));
    }
}

#[test]
fn the_name_inside_must_be_the_one_agreed() {
    for (key, alg) in signers() {
        let sig = key.sign(alg, b"data").unwrap();
        for other in SignatureAlg::ALL.into_iter().filter(|other| *other != alg) {
            let answer = key.public().verify(other, b"data", &sig);
            assert_eq!(answer, Err(CryptoError::AlgorithmMismatch), "{alg:?} as {other:?}");
        }
    }
}

#[test]
fn sha_1_is_refused_even_if_the_signature_is_good() {
    let key = PrivateKey::from_rsa(rsa_pair()).unwrap();
    let sig = key.sign(SignatureAlg::RsaSha256, b"data").unwrap();
    let mut r = Reader::new(&sig);
    r.string("name").unwrap();
    let inner = r.string("inner").unwrap();
    for alg in [SignatureAlg::RsaSha256, SignatureAlg::RsaSha512] {
        for name in ["ssh-rsa", "rsa-sha2-256-cert-v01@openssh.com", ""] {
            let renamed = signature(name, inner);
            assert_eq!(key.public().verify(alg, b"data", &renamed), Err(CryptoError::AlgorithmMismatch));
        }
    }
}

#[test]
fn rsa_signatures_without_their_leading_zeros_are_good() {
    let key = PrivateKey::from_rsa(rsa_pair()).unwrap();
    let alg = SignatureAlg::RsaSha512;
    // One signature of 256 begins with a zero byte.
    let (data, inner) = (0..10_000u32)
        .find_map(|i| {
            let data = i.to_be_bytes();
            let sig = key.sign(alg, &data).unwrap();
            let inner = sig[sig.len() - 256..].to_vec();
            (inner[0] == 0).then_some((data, inner))
        })
        .unwrap();
    let first = inner.iter().position(|b| *b != 0).unwrap();
    assert!(key.public().verify(alg, &data, &signature(alg.name(), &inner[first..])).is_ok());
    let long = [&[0], &inner[..]].concat();
    assert!(key.public().verify(alg, &data, &signature(alg.name(), &long)).is_err());
    assert!(key.public().verify(alg, &data, &signature(alg.name(), b"")).is_err());
}

#[test]
fn ecdsa_numbers_may_have_needless_zeros_but_no_sign() {
    let key = PrivateKey::generate(KeyType::EcdsaP256).unwrap();
    let alg = SignatureAlg::EcdsaP256;
    let sig = key.sign(alg, b"data").unwrap();
    let mut outer = Reader::new(&sig);
    outer.string("name").unwrap();
    let mut inner = Reader::new(outer.string("inner").unwrap());
    let (r, s) = (inner.mpint("r").unwrap(), inner.mpint("s").unwrap());
    let encoded = |r: &[u8], s: &[u8]| {
        let mut out = Vec::new();
        out.put_string(r);
        out.put_string(s);
        key.public().verify(alg, b"data", &signature(alg.name(), &out))
    };
    let zeros = |n: &[u8]| [&[0; 40], n].concat();
    assert!(encoded(&zeros(r), &zeros(s)).is_ok());
    assert!(encoded(&zeros(s), &zeros(r)).is_err());
    assert!(encoded(b"", b"").is_err());
    assert!(encoded(&[0; 32], &zeros(s)).is_err());
    assert!(encoded(&[0x80; 32], &zeros(s)).is_err());
    assert!(encoded(&[0x7f; 33], &zeros(s)).is_err());
}

#[test]
fn rsa_keys_too_long_for_the_library_are_named_as_such() {
    let mut n = vec![0xff; 1025];
    n[0] = 1;
    let key = PublicKey::rsa(&n, &[1, 0, 1]).unwrap();
    assert_eq!(key.bits(), 8193);
    let sig = signature("rsa-sha2-512", &[0; 1025]);
    let answer = key.verify(SignatureAlg::RsaSha512, b"data", &sig);
    assert!(matches!(answer, Err(CryptoError::Unsupported(_))));
}

/// A FIDO token in software: what it signs, from OpenSSH PROTOCOL.u2f.
struct Token {
    ed25519: Ed25519KeyPair,
    ecdsa: PrivateKey,
}

impl Token {
    fn new() -> Token {
        Token {
            ed25519: Ed25519KeyPair::generate().unwrap(),
            ecdsa: PrivateKey::generate(KeyType::EcdsaP256).unwrap(),
        }
    }

    fn public(&self, alg: SignatureAlg, application: &[u8]) -> PublicKey {
        let mut blob = Vec::new();
        blob.put_string(alg.name().as_bytes());
        if alg == SignatureAlg::SkEd25519 {
            blob.put_string(self.ed25519.public_key().as_ref());
        } else {
            blob.put_string(b"nistp256");
            let plain = self.ecdsa.public().blob();
            blob.put_string(&plain[plain.len() - 65..]);
        }
        blob.put_string(application);
        PublicKey::from_blob(&blob).unwrap()
    }

    fn sign(&self, alg: SignatureAlg, application: &[u8], data: &[u8], flags: u8, counter: u32) -> Vec<u8> {
        let signed =
            [sha256(&[application]).as_ref(), &[flags], &counter.to_be_bytes(), sha256(&[data]).as_ref()]
                .concat();
        let inner = if alg == SignatureAlg::SkEd25519 {
            self.ed25519.sign(&signed).as_ref().to_vec()
        } else {
            let sig = self.ecdsa.sign(SignatureAlg::EcdsaP256, &signed).unwrap();
            let mut r = Reader::new(&sig);
            r.string("name").unwrap();
            r.string("inner").unwrap().to_vec()
        };
        let mut out = signature(alg.name(), &inner);
        out.put_u8(flags);
        out.put_u32(counter);
        out
    }
}

#[test]
fn a_token_s_facts_are_part_of_its_signature() {
    let token = Token::new();
    for alg in [SignatureAlg::SkEd25519, SignatureAlg::SkEcdsaP256] {
        let key = token.public(alg, b"ssh:");
        for (flags, present, verified) in
            [(0, false, false), (1, true, false), (4, false, true), (5, true, true)]
        {
            let sig = token.sign(alg, b"ssh:", b"data", flags, 77);
            let facts = key.verify(alg, b"data", &sig).unwrap().sk().unwrap();
            assert_eq!(facts, SkFacts { flags, counter: 77 });
            assert_eq!((facts.user_present(), facts.user_verified()), (present, verified));
            // Neither flags nor counter can be changed afterwards, nor anything cut off or put behind.
            for bit in 0..sig.len() * 8 {
                let mut bad = sig.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(key.verify(alg, b"data", &bad).is_err(), "{alg:?} bit {bit}");
            }
            assert!(key.verify(alg, b"data", &sig[..sig.len() - 1]).is_err());
            assert!(key.verify(alg, b"data", &[&sig[..], &[0]].concat()).is_err());
            assert!(key.verify(alg, b"other", &sig).is_err());
        }
        let elsewhere = token.sign(alg, b"ssh:else", b"data", 1, 1);
        assert_eq!(key.verify(alg, b"data", &elsewhere), Err(CryptoError::BadSignature));
    }
}

#[test]
fn a_plain_signature_does_not_pass_for_a_token_s() {
    let token = Token::new();
    let key = token.public(SignatureAlg::SkEcdsaP256, b"ssh:");
    let plain = token.ecdsa.sign(SignatureAlg::EcdsaP256, b"data").unwrap();
    assert!(key.verify(SignatureAlg::EcdsaP256, b"data", &plain).is_err());
    assert!(key.verify(SignatureAlg::SkEcdsaP256, b"data", &plain).is_err());
}
