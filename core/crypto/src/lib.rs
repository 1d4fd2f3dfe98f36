//! Key exchange, ciphers, signatures, keys, certificates and key files. Everything that counts is done by
//! aws-lc-rs (and sntrup for one key exchange); this crate gives it SSH's names, formats and limits, and
//! is the only place that knows what an algorithm's name means.
//!
//! No protocol state, no files, no clock: bytes and the time come in, verdicts and bytes go out. Secrets
//! are wiped when dropped, as far as the libraries underneath do so, and no error or `Debug` shows one.

mod cert;
mod cipher;
mod digest;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod kex;
mod key;
pub mod keyfile;
mod names;
mod private;
mod random;
#[cfg(test)]
mod testing;

pub use cert::{CertType, Certificate, CertificateRefusal, CriticalOption, Extension, KeyOrCert};
pub use cipher::{Cipher, Mac, Opener, PACKET_LENGTH_MAX, PacketKeys, Sealer};
pub use digest::{Digest, HashAlg, hmac_sha1, sha1, sha256};
pub use error::{CryptoError, CryptoResult};
pub use kex::{ClientSecret, ExchangeInput, KexMethod, SharedSecret, client_start, derive, server_respond};
pub use key::{
    KeyAlgorithm, KeyType, PublicKey, RSA_BITS_MAX, RSA_BITS_MIN, SignatureAlg, SkFacts, Verified,
    fingerprint, parse_public_line, write_public_line,
};
pub use names::AlgorithmNames;
pub use private::PrivateKey;
pub use random::{Random, SystemRandom};
