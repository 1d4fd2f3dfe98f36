//! Critical options and extensions of certificates: (name, value) pairs, where a value that is not empty
//! is a string once more (OpenSSH PROTOCOL.certkeys).

use sockward_wire::{Reader, WireError};

use crate::{CryptoError, CryptoResult};

/// More options than anybody defines; each costs memory.
const OPTIONS_MAX: usize = 256;

/// A restriction. One that is not understood makes the certificate useless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CriticalOption {
    /// `force-command`: this command runs instead of whatever was asked for.
    ForceCommand(Vec<u8>),
    /// `source-address`: a list of addresses in CIDR form, not looked at here.
    SourceAddress(Vec<u8>),
    /// `verify-required`: the signature must come from a FIDO token that checked who it was.
    VerifyRequired,
    /// Anything else.
    Unknown {
        /// Its name.
        name: Vec<u8>,
        /// Its value as it stands.
        value: Vec<u8>,
    },
}

impl CriticalOption {
    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            CriticalOption::ForceCommand(_) => "force-command".to_owned(),
            CriticalOption::SourceAddress(_) => "source-address".to_owned(),
            CriticalOption::VerifyRequired => "verify-required".to_owned(),
            CriticalOption::Unknown { name, .. } => name.escape_ascii().to_string(),
        }
    }
}

/// A permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// `permit-X11-forwarding`
    PermitX11Forwarding,
    /// `permit-agent-forwarding`
    PermitAgentForwarding,
    /// `permit-port-forwarding`
    PermitPortForwarding,
    /// `permit-pty`
    PermitPty,
    /// `permit-user-rc`
    PermitUserRc,
    /// `no-touch-required`: nobody needs to have touched the FIDO token.
    NoTouchRequired,
    /// Anything else.
    Unknown {
        /// Its name.
        name: Vec<u8>,
        /// Its value as it stands.
        value: Vec<u8>,
    },
}

pub(super) fn critical(list: &[u8]) -> CryptoResult<Vec<CriticalOption>> {
    pairs(list, "critical options")?
        .into_iter()
        .map(|(name, value)| {
            Ok(match name {
                b"force-command" => CriticalOption::ForceCommand(text(value)?),
                b"source-address" => CriticalOption::SourceAddress(text(value)?),
                b"verify-required" => {
                    empty(value)?;
                    CriticalOption::VerifyRequired
                }
                _ => CriticalOption::Unknown { name: name.to_vec(), value: value.to_vec() },
            })
        })
        .collect()
}

pub(super) fn extensions(list: &[u8]) -> CryptoResult<Vec<Extension>> {
    pairs(list, "extensions")?
        .into_iter()
        .map(|(name, value)| {
            let known = match name {
                b"permit-X11-forwarding" => Extension::PermitX11Forwarding,
                b"permit-agent-forwarding" => Extension::PermitAgentForwarding,
                b"permit-port-forwarding" => Extension::PermitPortForwarding,
                b"permit-pty" => Extension::PermitPty,
                b"permit-user-rc" => Extension::PermitUserRc,
                b"no-touch-required" => Extension::NoTouchRequired,
                _ => return Ok(Extension::Unknown { name: name.to_vec(), value: value.to_vec() }),
            };
            empty(value)?;
            Ok(known)
        })
        .collect()
}

/// The pairs in their order. A name that comes twice is refused: which one counts would be a guess.
fn pairs<'a>(list: &'a [u8], what: &'static str) -> CryptoResult<Vec<(&'a [u8], &'a [u8])>> {
    let mut r = Reader::new(list);
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
    while !r.is_empty() {
        if pairs.len() == OPTIONS_MAX {
            return Err(WireError::TooLong(what).into());
        }
        let pair = (r.string(what)?, r.string(what)?);
        if pairs.iter().any(|(name, _)| *name == pair.0) {
            return Err(CryptoError::Invalid(what));
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

/// The string inside a value, and nothing behind it.
fn text(value: &[u8]) -> CryptoResult<Vec<u8>> {
    let mut r = Reader::new(value);
    let text = super::without_nul(r.string("certificate option")?, "certificate option")?;
    r.finish("certificate option")?;
    Ok(text)
}

fn empty(value: &[u8]) -> CryptoResult<()> {
    if value.is_empty() { Ok(()) } else { Err(CryptoError::Invalid("certificate option")) }
}
