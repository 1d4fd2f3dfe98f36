//! The armor of key files (RFC 7468), and the keys of older tools inside it. Only unencrypted ones: the
//! old encryption of PEM files derives keys by MD5.

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use super::{FILE_MAX, KeyFileError};
use crate::private::signing_algorithm;
use crate::{CryptoError, KeyType, PrivateKey};

/// What stood between BEGIN and END.
pub(super) struct Armored<'a> {
    /// The words behind BEGIN.
    pub(super) label: &'a str,
    encrypted: bool,
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// Finds the first armored block that is a key. Line ends may be of any kind, the last may be missing.
pub(super) fn unarmor(text: &[u8]) -> Result<Armored<'_>, KeyFileError> {
    if text.len() > FILE_MAX {
        return Err(KeyFileError::TooLarge);
    }
    let mut lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        // Openssl puts the curve's parameters before the key.
        let Some(label) = label(line, "-----BEGIN ").filter(|l| *l != "EC PARAMETERS") else { continue };
        let mut encrypted = false;
        let mut encoded = Zeroizing::new(Vec::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or(KeyFileError::Damaged("no END line"))?;
            if line.contains(&b':') {
                // Headers (RFC 1421 §4.6): of encrypted files "Proc-Type: 4,ENCRYPTED" and the vector.
                encrypted |= line.ends_with(b"ENCRYPTED");
            } else if line.starts_with(b"-----") {
                if self::label(line, "-----END ") != Some(label) {
                    return Err(KeyFileError::Damaged("BEGIN and END lines differ"));
                }
                break;
            } else {
                encoded.extend(line.iter().filter(|b| !b.is_ascii_whitespace()));
            }
        }
        let mut content = Zeroizing::new(vec![0; encoded.len()]);
        let n = Base64::decode(encoded.as_slice(), &mut content)
            .map_err(|_| KeyFileError::Damaged("not base64"))?
            .len();
        content.truncate(n);
        return Ok(Armored { label, encrypted, content });
    }
    Err(KeyFileError::NotAPrivateKey)
}

/// Reads a key of one of the older formats.
pub(super) fn parse(armored: &Armored<'_>) -> Result<PrivateKey, KeyFileError> {
    let der = armored.content.as_slice();
    match armored.label {
        "ENCRYPTED PRIVATE KEY" => Err(encrypted()),
        _ if armored.encrypted => Err(encrypted()),
        "RSA PRIVATE KEY" => rsa(RsaKeyPair::from_der(der)),
        "EC PRIVATE KEY" => ecdsa(der),
        "PRIVATE KEY" => pkcs8(der),
        label if label.ends_with("PRIVATE KEY") => {
            Err(KeyFileError::Unsupported(format!("a key of the kind \"{label}\" is not supported")))
        }
        _ => Err(KeyFileError::NotAPrivateKey),
    }
}

fn encrypted() -> KeyFileError {
    KeyFileError::Unsupported(
        "an encrypted key in PEM format is not supported; convert it with ssh-keygen -p -f FILE".to_owned(),
    )
}

fn pkcs8(der: &[u8]) -> Result<PrivateKey, KeyFileError> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        return Ok(PrivateKey::from_ed25519(pair)?);
    }
    ecdsa(der).or_else(|_| rsa(RsaKeyPair::from_pkcs8(der)))
}

/// SEC 1 or PKCS #8, on whichever of our curves.
fn ecdsa(der: &[u8]) -> Result<PrivateKey, KeyFileError> {
    for key_type in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::EcdsaP521] {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(signing_algorithm(key_type)?, der) {
            return Ok(PrivateKey::from_ecdsa(key_type, pair)?);
        }
    }
    Err(CryptoError::Invalid("ECDSA key").into())
}

fn rsa(pair: Result<RsaKeyPair, aws_lc_rs::error::KeyRejected>) -> Result<PrivateKey, KeyFileError> {
    // The library does not tell a short key from a broken one.
    let pair = pair.map_err(|_| {
        KeyFileError::Unsupported(
            "the private key cannot be read: it is damaged, of an unknown kind, or RSA of fewer than 2048 bits"
                .to_owned(),
        )
    })?;
    Ok(PrivateKey::from_rsa(pair)?)
}

/// The words of a BEGIN or END line.
fn label<'a>(line: &'a [u8], start: &str) -> Option<&'a str> {
    let words = line.strip_prefix(start.as_bytes())?.strip_suffix(b"-----")?;
    std::str::from_utf8(words).ok()
}
