//! What can be wrong with received bytes. Says which field of what, never echoes the bytes.

use std::fmt;

/// Shorthand for results of decoding.
pub type WireResult<T> = Result<T, WireError>;

/// A message, key or frame that does not follow its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The input ended inside the named field.
    Short(&'static str),
    /// Bytes were left over after the named structure.
    Trailing(&'static str),
    /// The named field holds a value its format forbids.
    Invalid(&'static str),
    /// The named field is longer than its cap.
    TooLong(&'static str),
    /// The message number is not the one expected.
    WrongNumber {
        /// The number the caller asked for.
        expected: u8,
        /// The number found, 0 for an empty payload.
        found: u8,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Short(what) => write!(f, "{what} is cut short"),
            WireError::Trailing(what) => write!(f, "{what} is followed by stray bytes"),
            WireError::Invalid(what) => write!(f, "{what} is not valid"),
            WireError::TooLong(what) => write!(f, "{what} is too long"),
            WireError::WrongNumber { expected, found } => {
                write!(f, "message number {found} where {expected} was due")
            }
        }
    }
}

impl std::error::Error for WireError {}
