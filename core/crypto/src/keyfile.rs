//! Private key files: OpenSSH's own format (PROTOCOL.key), plain or under a passphrase, and unencrypted
//! PEM files of older tools (PKCS #1, SEC 1, PKCS #8). Opening the file is the caller's part.

mod decrypt;
mod openssh;
mod pem;

use std::fmt;

use zeroize::Zeroizing;

use crate::{CryptoError, PrivateKey, PublicKey};

/// The largest file that is looked at, as OpenSSH.
pub const FILE_MAX: usize = 1024 * 1024;

/// Rounds of key derivation that a file may ask for. `ssh-keygen` writes 16 or 24 and people ask for 100
/// to 1000 with `-a`; each round costs some milliseconds, so at the cap reading takes half a minute. More
/// would be a way to hang the program.
pub const BCRYPT_ROUNDS_MAX: u32 = 4096;

/// Why a private key file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFileError {
    /// It is encrypted and no passphrase was given.
    NeedsPassphrase,
    /// The passphrase is not the one it was encrypted with.
    WrongPassphrase,
    /// It is no private key file at all.
    NotAPrivateKey,
    /// More than [`FILE_MAX`] bytes.
    TooLarge,
    /// Something genuine that this program does not read; says what, and what to do about it.
    Unsupported(String),
    /// It contradicts itself or its format.
    Damaged(&'static str),
    /// The key in it is refused.
    Key(CryptoError),
}

impl From<CryptoError> for KeyFileError {
    fn from(e: CryptoError) -> Self {
        KeyFileError::Key(e)
    }
}

impl From<sockward_wire::WireError> for KeyFileError {
    fn from(e: sockward_wire::WireError) -> Self {
        KeyFileError::Key(e.into())
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::NeedsPassphrase => f.write_str("the key is protected by a passphrase"),
            KeyFileError::WrongPassphrase => f.write_str("incorrect passphrase for the private key"),
            KeyFileError::NotAPrivateKey => f.write_str("not a private key file"),
            KeyFileError::TooLarge => f.write_str("too large for a private key file"),
            KeyFileError::Unsupported(what) => f.write_str(what),
            KeyFileError::Damaged(what) => write!(f, "damaged private key file: {what}"),
            KeyFileError::Key(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for KeyFileError {}

/// Reads a private key file. The string is its comment, for people; PEM files have none.
///
/// An encrypted file without a passphrase is [`KeyFileError::NeedsPassphrase`]; a passphrase for a file
/// that needs none is not looked at. Deriving the key from a passphrase takes noticeable time by intent.
pub fn parse(text: &[u8], passphrase: Option<&[u8]>) -> Result<(PrivateKey, String), KeyFileError> {
    let armored = pem::unarmor(text)?;
    if armored.label == openssh::LABEL {
        openssh::parse(&armored.content, passphrase)
    } else {
        Ok((pem::parse(&armored)?, String::new()))
    }
}

/// The public half, without the passphrase: OpenSSH's format has it in clear. It is not proven to belong to
/// the private half before that is read. Works for keys in FIDO tokens, too.
pub fn public_half(text: &[u8]) -> Result<PublicKey, KeyFileError> {
    let armored = pem::unarmor(text)?;
    if armored.label == openssh::LABEL {
        openssh::public_half(&armored.content)
    } else {
        Ok(pem::parse(&armored)?.public().clone())
    }
}

/// Writes an unencrypted file in OpenSSH's format, as for host keys. The text holds the key: it is wiped
/// when dropped, and the file must be readable by its owner alone.
///
/// RSA keys are not written: this program makes none.
pub fn write(key: &PrivateKey, comment: &str) -> Result<Zeroizing<String>, KeyFileError> {
    openssh::write(key, comment)
}

/// What stands behind the armor and the encryption, which fuzzing does not get through.
pub(crate) fn fuzz_content(data: &[u8]) {
    let _ = openssh::parse(data, None);
    let _ = openssh::private_section(sockward_wire::Reader::new(data));
}

#[cfg(test)]
mod tests;
