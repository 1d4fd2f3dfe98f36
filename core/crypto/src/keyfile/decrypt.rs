//! The ciphers of encrypted OpenSSH key files and the derivation of their keys from a passphrase
//! (OpenSSH PROTOCOL.key §2, §4).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext, StreamingDecryptingKey,
    StreamingEncryptingKey, UnboundCipherKey,
};
use sockward_wire::Reader;
use zeroize::Zeroizing;

use super::{BCRYPT_ROUNDS_MAX, KeyFileError};
use crate::CryptoError;

const BLOCK: usize = 16;
const GCM_IV: usize = 12;
const GCM_TAG: usize = 16;

/// How the private section is encrypted.
#[derive(Clone, Copy)]
pub(super) enum FileCipher {
    /// What `ssh-keygen` writes unless told otherwise.
    Ctr(&'static Algorithm),
    /// What it wrote before OpenSSH 7.6.
    Cbc(&'static Algorithm),
    Gcm(&'static aws_lc_rs::aead::Algorithm),
}

impl FileCipher {
    pub(super) fn from_name(name: &[u8]) -> Result<FileCipher, KeyFileError> {
        Ok(match name {
            b"aes128-ctr" => FileCipher::Ctr(&AES_128),
            b"aes192-ctr" => FileCipher::Ctr(&AES_192),
            b"aes256-ctr" => FileCipher::Ctr(&AES_256),
            b"aes128-cbc" => FileCipher::Cbc(&AES_128),
            b"aes192-cbc" => FileCipher::Cbc(&AES_192),
            b"aes256-cbc" => FileCipher::Cbc(&AES_256),
            b"aes128-gcm@openssh.com" => FileCipher::Gcm(&AES_128_GCM),
            b"aes256-gcm@openssh.com" => FileCipher::Gcm(&AES_256_GCM),
            other => {
                return Err(KeyFileError::Unsupported(format!(
                    "key file cipher \"{}\" is not supported; change it with ssh-keygen -p -Z aes256-ctr -f FILE",
                    other.escape_ascii()
                )));
            }
        })
    }

    pub(super) fn tag_len(self) -> usize {
        match self {
            FileCipher::Ctr(_) | FileCipher::Cbc(_) => 0,
            FileCipher::Gcm(_) => GCM_TAG,
        }
    }

    fn key_len(self) -> usize {
        match self {
            FileCipher::Ctr(alg) | FileCipher::Cbc(alg) => {
                if alg == &AES_128 {
                    16
                } else if alg == &AES_192 {
                    24
                } else {
                    32
                }
            }
            FileCipher::Gcm(alg) => alg.key_len(),
        }
    }

    fn iv_len(self) -> usize {
        match self {
            FileCipher::Ctr(_) | FileCipher::Cbc(_) => BLOCK,
            FileCipher::Gcm(_) => GCM_IV,
        }
    }

    /// Decrypts `section` with the key that passphrase and options yield.
    pub(super) fn decrypt(
        self,
        passphrase: &[u8],
        kdf_options: &[u8],
        section: &[u8],
        tag: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        if section.is_empty() || !section.len().is_multiple_of(BLOCK) {
            return Err(KeyFileError::Damaged("wrong size of the private section"));
        }
        let mut derived = Zeroizing::new(vec![0; self.key_len() + self.iv_len()]);
        bcrypt(passphrase, kdf_options, &mut derived)?;
        let (key, iv) = derived.split_at(self.key_len());
        match self {
            FileCipher::Ctr(alg) => ctr(alg, key, iv, section),
            FileCipher::Cbc(alg) => cbc(alg, key, iv, section),
            FileCipher::Gcm(alg) => gcm(alg, key, iv, section, tag),
        }
    }
}

/// Key and vector from the passphrase. The options are a salt and a number of rounds.
fn bcrypt(passphrase: &[u8], options: &[u8], out: &mut [u8]) -> Result<(), KeyFileError> {
    let mut r = Reader::new(options);
    let salt = r.string("kdf salt")?;
    let rounds = r.u32("kdf rounds")?;
    r.finish("kdf options")?;
    if rounds > BCRYPT_ROUNDS_MAX {
        return Err(KeyFileError::Unsupported(format!(
            "{rounds} rounds of key derivation are more than the {BCRYPT_ROUNDS_MAX} allowed; \
             use fewer with ssh-keygen -p -a ROUNDS -f FILE"
        )));
    }
    bcrypt_pbkdf::bcrypt_pbkdf(passphrase, salt, rounds, out)
        .map_err(|_| KeyFileError::Damaged("wrong options of key derivation"))
}

const FAILED: KeyFileError = KeyFileError::Key(CryptoError::Library("key file decryption"));

fn ctr(alg: &'static Algorithm, key: &[u8], iv: &[u8], section: &[u8]) -> Decrypted {
    let key = UnboundCipherKey::new(alg, key).map_err(|_| FAILED)?;
    let context = EncryptionContext::Iv128(iv.try_into().map_err(|_| FAILED)?);
    // CTR decrypts by encrypting.
    let mut stream = StreamingEncryptingKey::less_safe_ctr(key, context).map_err(|_| FAILED)?;
    let mut plain = Zeroizing::new(vec![0; section.len()]);
    stream.less_safe_update(section, &mut plain).map_err(|_| FAILED)?;
    Ok(plain)
}

/// The file's padding is not PKCS #7, which the library wants to find in the last block: it keeps that
/// block back. So it gets a block of nothing behind the real ones to keep, and all of those come out.
fn cbc(alg: &'static Algorithm, key: &[u8], iv: &[u8], section: &[u8]) -> Decrypted {
    let key = UnboundCipherKey::new(alg, key).map_err(|_| FAILED)?;
    let context = DecryptionContext::Iv128(iv.try_into().map_err(|_| FAILED)?);
    let mut stream = StreamingDecryptingKey::cbc_pkcs7(key, context).map_err(|_| FAILED)?;
    let mut input = section.to_vec();
    input.resize(section.len() + BLOCK, 0);
    let mut plain = Zeroizing::new(vec![0; input.len()]);
    let written = stream.less_safe_update(&input, &mut plain).map_err(|_| FAILED)?.written().len();
    if written != section.len() {
        return Err(FAILED);
    }
    plain.truncate(written);
    Ok(plain)
}

fn gcm(
    alg: &'static aws_lc_rs::aead::Algorithm,
    key: &[u8],
    iv: &[u8],
    section: &[u8],
    tag: &[u8],
) -> Decrypted {
    let key = LessSafeKey::new(UnboundKey::new(alg, key).map_err(|_| FAILED)?);
    let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| FAILED)?;
    let mut plain = Zeroizing::new(section.to_vec());
    key.open_in_place_separate_tag(nonce, Aad::empty(), tag, &mut plain)
        .map_err(|_| KeyFileError::WrongPassphrase)?;
    Ok(plain)
}

type Decrypted = Result<Zeroizing<Vec<u8>>, KeyFileError>;
