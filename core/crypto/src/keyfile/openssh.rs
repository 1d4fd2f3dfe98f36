//! The `openssh-key-v1` format (OpenSSH PROTOCOL.key): an envelope in clear with the public key, and a
//! private section that may be encrypted.

use base64ct::{Base64, Encoding};
use sockward_wire::{Put, Reader};
use zeroize::Zeroizing;

use super::KeyFileError;
use super::decrypt::FileCipher;
use crate::private::RsaNumbers;
use crate::{CryptoError, KeyOrCert, KeyType, PrivateKey, PublicKey, random};

/// What stands between BEGIN and END.
pub(super) const LABEL: &str = "OPENSSH PRIVATE KEY";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Columns of base64, as ssh-keygen writes.
const LINE: usize = 70;

struct Envelope<'a> {
    cipher: &'a [u8],
    kdf: &'a [u8],
    kdf_options: &'a [u8],
    public: PublicKey,
    /// Behind the public key: the private section as a string, and the tag of its cipher.
    rest: Reader<'a>,
}

impl<'a> Envelope<'a> {
    fn read(content: &'a [u8]) -> Result<Self, KeyFileError> {
        let content = content.strip_prefix(MAGIC).ok_or(KeyFileError::Damaged("no OpenSSH key inside"))?;
        let mut r = Reader::new(content);
        let cipher = r.string("cipher name")?;
        let kdf = r.string("kdf name")?;
        let kdf_options = r.string("kdf options")?;
        if r.u32("number of keys")? != 1 {
            return Err(KeyFileError::Unsupported("more than one key in a file is not supported".to_owned()));
        }
        let public = match KeyOrCert::parse(r.string("public key")?)? {
            KeyOrCert::Key(key) => key,
            KeyOrCert::Cert(_) => return Err(certificate()),
        };
        Ok(Envelope { cipher, kdf, kdf_options, public, rest: r })
    }
}

pub(super) fn public_half(content: &[u8]) -> Result<PublicKey, KeyFileError> {
    Ok(Envelope::read(content)?.public)
}

pub(super) fn parse(content: &[u8], passphrase: Option<&[u8]>) -> Result<(PrivateKey, String), KeyFileError> {
    let mut envelope = Envelope::read(content)?;
    let section = envelope.rest.string("private section")?;
    let plain = match (envelope.kdf, envelope.cipher) {
        (b"none", b"none") => {
            envelope.rest.finish("private key file")?;
            Zeroizing::new(section.to_vec())
        }
        (b"none", _) => return Err(KeyFileError::Damaged("a cipher without key derivation")),
        (b"bcrypt", name) => {
            let cipher = FileCipher::from_name(name)?;
            let tag = envelope.rest.take(cipher.tag_len(), "tag")?;
            envelope.rest.finish("private key file")?;
            let passphrase = passphrase.filter(|p| !p.is_empty()).ok_or(KeyFileError::NeedsPassphrase)?;
            cipher.decrypt(passphrase, envelope.kdf_options, section, tag)?
        }
        (other, _) => {
            return Err(KeyFileError::Unsupported(format!(
                "key derivation \"{}\" is not supported",
                other.escape_ascii()
            )));
        }
    };
    let mut r = Reader::new(&plain);
    // Twice the same number: the file's way to tell a wrong passphrase.
    if r.u32("check number")? != r.u32("check number")? {
        return Err(if envelope.kdf == b"none" {
            KeyFileError::Damaged("check numbers differ")
        } else {
            KeyFileError::WrongPassphrase
        });
    }
    let (key, comment) = private_section(r)?;
    if *key.public() != envelope.public {
        return Err(KeyFileError::Damaged("the public key does not belong to the private one"));
    }
    Ok((key, comment))
}

/// What follows the check numbers: key, comment and padding.
pub(super) fn private_section(mut r: Reader<'_>) -> Result<(PrivateKey, String), KeyFileError> {
    let key = private_key(&mut r)?;
    let comment = String::from_utf8_lossy(r.string("comment")?).into_owned();
    // 1, 2, 3, … up to the cipher's block.
    if !r.rest().iter().zip(1..=u8::MAX).all(|(byte, due)| *byte == due) || r.rest().len() > 255 {
        return Err(KeyFileError::Damaged("wrong padding"));
    }
    Ok((key, comment))
}

fn private_key(r: &mut Reader<'_>) -> Result<PrivateKey, KeyFileError> {
    let name = r.string("key type")?;
    let Some(key_type) = KeyType::from_name(name) else {
        return Err(match KeyType::from_certificate_name(name) {
            Some(_) => certificate(),
            None => CryptoError::UnknownKeyType.into(),
        });
    };
    match key_type {
        KeyType::Ed25519 => {
            let public = r.string("Ed25519 key")?;
            // The seed, and the public key once more.
            let both = r.string("Ed25519 private key")?;
            match both.split_at_checked(32) {
                Some((seed, again)) if again == public => Ok(PrivateKey::from_ed25519_seed(seed, public)?),
                _ => Err(CryptoError::Invalid("Ed25519 key").into()),
            }
        }
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => {
            let curve = r.string("ECDSA curve")?;
            if key_type.curve().is_none_or(|c| c.name.as_bytes() != curve) {
                return Err(CryptoError::Invalid("ECDSA curve").into());
            }
            let point = r.string("ECDSA point")?;
            Ok(PrivateKey::from_ecdsa_scalar(key_type, r.mpint("ECDSA private key")?, point)?)
        }
        KeyType::Rsa => Ok(PrivateKey::from_rsa_numbers(&RsaNumbers {
            n: r.mpint("RSA modulus")?,
            e: r.mpint("RSA exponent")?,
            d: r.mpint("RSA private exponent")?,
            iqmp: r.mpint("RSA coefficient")?,
            p: r.mpint("RSA p")?,
            q: r.mpint("RSA q")?,
        })?),
        KeyType::SkEd25519 | KeyType::SkEcdsaP256 => Err(KeyFileError::Unsupported(
            "signing with a key in a FIDO token is not supported yet; add the key to ssh-agent".to_owned(),
        )),
    }
}

fn certificate() -> KeyFileError {
    KeyFileError::Unsupported("a certificate inside a private key file is not supported".to_owned())
}

pub(super) fn write(key: &PrivateKey, comment: &str) -> Result<Zeroizing<String>, KeyFileError> {
    // Room for everything at once: a vector that grows leaves copies of the key behind.
    let mut section = Zeroizing::new(Vec::with_capacity(1024 + comment.len()));
    let mut check = [0; 4];
    random::system(&mut check);
    section.put_raw(&check);
    section.put_raw(&check);
    key.write(&mut section)?;
    section.put_string(comment.as_bytes());
    // The block of the cipher "none" is 8.
    for pad in 1.. {
        if section.len().is_multiple_of(8) {
            break;
        }
        section.put_u8(pad);
    }

    let mut content = Zeroizing::new(Vec::with_capacity(2048 + section.len()));
    content.put_raw(MAGIC);
    content.put_string(b"none");
    content.put_string(b"none");
    content.put_string(b"");
    content.put_u32(1);
    content.put_string(key.public().blob());
    content.put_string(&section);

    let encoded = Zeroizing::new(Base64::encode_string(&content));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() * 2 + 128));
    text.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (column, c) in encoded.chars().enumerate() {
        if column > 0 && column.is_multiple_of(LINE) {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
    Ok(text)
}
