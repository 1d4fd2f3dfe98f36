//! Helpers of this crate's own tests.

use std::sync::OnceLock;

use aws_lc_rs::rsa::{KeyPair, KeySize};

use crate::{KeyType, PrivateKey};

/// Bytes from hexadecimal digits; anything else in between is skipped.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// One RSA key of 2048 bits for all tests: drawing one takes a while.
pub(crate) fn rsa_pair() -> KeyPair {
    static PAIR: OnceLock<KeyPair> = OnceLock::new();
    PAIR.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap()).clone()
}

/// A private key of each type that we can have one of.
pub(crate) fn one_of_each() -> Vec<PrivateKey> {
    let mut keys: Vec<_> = [KeyType::Ed25519, KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521]
        .map(|t| PrivateKey::generate(t).unwrap())
        .into();
    keys.push(PrivateKey::from_rsa(rsa_pair()).unwrap());
    keys
}
