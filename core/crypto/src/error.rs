//! What can go wrong with keys, signatures and packets. Carries no secret and no received text.

use std::fmt;

use sockward_wire::WireError;

/// Shorthand for results of this crate.
pub type CryptoResult<T> = Result<T, CryptoError>;

/// A refusal. Each is final: nothing here gets better by trying again with the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoError {
    /// A blob does not follow its format.
    Format(WireError),
    /// A key type this program does not know.
    UnknownKeyType,
    /// A certificate where a plain key is due.
    UnexpectedCertificate,
    /// The named part of a key or certificate holds a value that cannot be.
    Invalid(&'static str),
    /// An RSA key of `bits` where `min` are asked for.
    RsaTooShort {
        /// What it has.
        bits: u32,
        /// What it must have.
        min: u32,
    },
    /// Something genuine that this program cannot do.
    Unsupported(&'static str),
    /// The algorithm does not belong to the key, or a signature names another than agreed.
    AlgorithmMismatch,
    /// The signature is not of this key over this data.
    BadSignature,
    /// The peer's key-exchange share is not valid.
    BadShare,
    /// A packet's length field is out of bounds.
    BadPacketLength(u32),
    /// A packet was altered on its way.
    BadMac,
    /// The key has served for as many packets as it may: a key exchange is overdue.
    KeyWornOut,
    /// A caller's mistake: the named value has the wrong size.
    WrongSize(&'static str),
    /// The library failed where it should not; the name says at what.
    Library(&'static str),
}

impl From<WireError> for CryptoError {
    fn from(e: WireError) -> Self {
        CryptoError::Format(e)
    }
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CryptoError::Format(e) => write!(f, "invalid format: {e}"),
            CryptoError::UnknownKeyType => f.write_str("unknown or unsupported key type"),
            CryptoError::UnexpectedCertificate => f.write_str("a certificate where a plain key is due"),
            CryptoError::Invalid(what) => write!(f, "{what} is not valid"),
            CryptoError::RsaTooShort { bits, min } => {
                write!(f, "RSA key of {bits} bits is too short, {min} are required")
            }
            CryptoError::Unsupported(what) => write!(f, "{what} is not supported"),
            CryptoError::AlgorithmMismatch => f.write_str("signature algorithm does not match the key"),
            CryptoError::BadSignature => f.write_str("incorrect signature"),
            CryptoError::BadShare => f.write_str("invalid key exchange share"),
            CryptoError::BadPacketLength(n) => write!(f, "bad packet length {n}"),
            CryptoError::BadMac => f.write_str("message authentication code incorrect"),
            CryptoError::KeyWornOut => f.write_str("too many packets under one key"),
            CryptoError::WrongSize(what) => write!(f, "{what} has the wrong size"),
            CryptoError::Library(what) => write!(f, "error in the cryptographic library: {what}"),
        }
    }
}

impl std::error::Error for CryptoError {}
