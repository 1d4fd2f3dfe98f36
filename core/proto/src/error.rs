//! What ends a connection, and whose fault it was. One function maps it to the disconnect code.

use std::fmt;

use sockward_crypto::CryptoError;
use sockward_wire::{VersionError, WireError, number, transport::reason};

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a connection cannot go on. After one of these nothing more is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer broke the protocol.
    PeerMisbehaved(Misbehaved),
    /// No common algorithm; what kind of algorithm, and what the peer offered.
    PeerIncompatible {
        /// As OpenSSH names it: "key exchange method", "host key type", "cipher", "MAC", "compression".
        what: &'static str,
        /// The peer's list.
        offer: String,
    },
    /// A message that does not follow its format.
    InvalidMessage(WireError),
    /// The first line is not an SSH identification we can go on with.
    Version(VersionError),
    /// A packet or signature did not verify, or a share was no good.
    Crypto(CryptoError),
    /// The peer said good-bye.
    Disconnected {
        /// One of `wire::transport::reason`.
        reason: u32,
        /// The peer's words.
        text: Vec<u8>,
    },
    /// The peer has not answered keep-alives for too long.
    Timeout,
    /// The application refused the host key.
    HostKeyRefused,
    /// The application could not sign with the host key.
    SignatureRefused,
    /// The application called something at the wrong time.
    ApiMisuse(&'static str),
}

/// Ways to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaved {
    /// `packet_length` is out of bounds or not a multiple of the block size.
    PacketLength(u32),
    /// The padding does not fit the packet.
    Padding,
    /// A message at a time when it is not allowed.
    Unexpected(u8),
    /// Strict key exchange: KEXINIT was not the first packet.
    KexInitNotFirst,
    /// The sequence numbers were used up without a new key exchange.
    SequenceWrapped,
    /// More data than the window allows.
    WindowExceeded,
    /// A window beyond 2^32 - 1 bytes.
    WindowOverflow,
    /// More data in a message than we said we take.
    PacketTooLarge,
    /// Data after EOF or CLOSE.
    DataAfterEof,
    /// A message for a channel that does not exist or is not in the state for it.
    NoSuchChannel(u32),
    /// An answer nobody waited for.
    UnwantedReply,
    /// More requests than we keep answers for.
    TooManyRequests,
    /// A session opened after no-more-sessions.
    SessionAfterNoMore,
    /// The peer lets us hold too much during a key exchange.
    HeldTooMuch,
    /// A service that does not exist at this point.
    Service,
}

impl fmt::Display for Misbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misbehaved::PacketLength(n) => write!(f, "Bad packet length {n}"),
            Misbehaved::Padding => write!(f, "padding error: the padding does not fit the packet"),
            Misbehaved::Unexpected(n) => {
                write!(f, "message {} ({n}) is not allowed at this point", number::name(*n))
            }
            Misbehaved::KexInitNotFirst => {
                write!(f, "strict key exchange: KEXINIT was not the first packet")
            }
            Misbehaved::SequenceWrapped => write!(f, "packet sequence numbers wrapped without rekeying"),
            Misbehaved::WindowExceeded => write!(f, "more channel data than the window allows"),
            Misbehaved::WindowOverflow => write!(f, "a channel window grew beyond 2^32 - 1"),
            Misbehaved::PacketTooLarge => write!(f, "more channel data in one message than allowed"),
            Misbehaved::DataAfterEof => write!(f, "channel data after EOF"),
            Misbehaved::NoSuchChannel(n) => write!(f, "message for channel {n}, which is not open"),
            Misbehaved::UnwantedReply => write!(f, "a reply to a request that wanted none"),
            Misbehaved::TooManyRequests => write!(f, "too many requests before their answers"),
            Misbehaved::SessionAfterNoMore => {
                write!(f, "attempt to open a session after additional sessions were disabled")
            }
            Misbehaved::HeldTooMuch => write!(f, "too much to answer during a key exchange"),
            Misbehaved::Service => write!(f, "a service was asked for that is not available"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::PeerMisbehaved(how) => write!(f, "{how}"),
            Error::PeerIncompatible { what, offer } => {
                write!(f, "no matching {what} found. Their offer: {offer}")
            }
            Error::InvalidMessage(e) => write!(f, "invalid message: {e}"),
            Error::Version(e) => write!(f, "{e}"),
            Error::Crypto(e) => write!(f, "{e}"),
            Error::Disconnected { reason, text } => {
                write!(f, "Received disconnect: {reason}: {}", text.escape_ascii())
            }
            Error::Timeout => write!(f, "Timeout, the other side is not responding"),
            Error::HostKeyRefused => write!(f, "Host key verification failed"),
            Error::SignatureRefused => write!(f, "no host key signature could be made"),
            Error::ApiMisuse(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<WireError> for Error {
    fn from(e: WireError) -> Self {
        Error::InvalidMessage(e)
    }
}

impl From<CryptoError> for Error {
    fn from(e: CryptoError) -> Self {
        Error::Crypto(e)
    }
}

impl From<Misbehaved> for Error {
    fn from(e: Misbehaved) -> Self {
        Error::PeerMisbehaved(e)
    }
}

impl Error {
    /// The reason code for the DISCONNECT we send; none where nothing should be sent any more.
    #[must_use]
    pub fn disconnect_reason(&self) -> Option<u32> {
        match self {
            Error::PeerMisbehaved(_) | Error::InvalidMessage(_) | Error::ApiMisuse(_) => {
                Some(reason::PROTOCOL_ERROR)
            }
            Error::PeerIncompatible { .. } | Error::SignatureRefused => Some(reason::KEY_EXCHANGE_FAILED),
            Error::Crypto(_) => Some(reason::MAC_ERROR),
            Error::Timeout => Some(reason::CONNECTION_LOST),
            Error::HostKeyRefused => Some(reason::HOST_KEY_NOT_VERIFIABLE),
            Error::Version(_) | Error::Disconnected { .. } => None,
        }
    }
}
