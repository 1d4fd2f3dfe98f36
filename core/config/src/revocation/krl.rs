//! Key revocation lists, OpenSSH's PROTOCOL.krl: a walk over the file that keeps nothing. Ranges and bitmaps are
//! compared with the one number in question, never spelt out, so that a small file cannot ask for much memory.

use sockward_policy::{CertificateIdentity, Presented};
use sockward_wire::{Reader, WireError};

use super::{RevocationError, Revoked, whose};

/// "SSHKRL\n\0".
pub(super) const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const FORMAT_VERSION: u32 = 1;

/// What a section at the top says.
mod section {
    pub(super) const CERTIFICATES: u8 = 1;
    pub(super) const EXPLICIT_KEY: u8 = 2;
    pub(super) const FINGERPRINT_SHA1: u8 = 3;
    pub(super) const SIGNATURE: u8 = 4;
    pub(super) const FINGERPRINT_SHA256: u8 = 5;
    pub(super) const EXTENSION: u8 = 255;
    /// Inside CERTIFICATES.
    pub(super) const SERIAL_LIST: u8 = 0x20;
    pub(super) const SERIAL_RANGE: u8 = 0x21;
    pub(super) const SERIAL_BITMAP: u8 = 0x22;
    pub(super) const KEY_ID: u8 = 0x23;
    pub(super) const CERT_EXTENSION: u8 = 0x39;
}

type Found = Result<Option<Revoked>, RevocationError>;

impl From<WireError> for RevocationError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Short(what)
            | WireError::Trailing(what)
            | WireError::Invalid(what)
            | WireError::TooLong(what) => RevocationError::Malformed(what),
            WireError::WrongNumber { .. } => RevocationError::Malformed("number"),
        }
    }
}

/// Whether a file is one, well formed or not.
pub(super) fn is_krl(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

pub(super) fn check(file: &[u8], presented: &Presented) -> Found {
    let mut r = Reader::new(file);
    r.take(MAGIC.len(), "magic")?;
    match r.u32("format version")? {
        FORMAT_VERSION => {}
        other => return Err(RevocationError::Version(other)),
    }
    r.u64("version")?;
    r.u64("date")?;
    // No flags are defined, and OpenSSH does not look at them.
    r.u64("flags")?;
    r.string("reserved")?;
    r.string("comment")?;
    let mut revoked = None;
    while !r.is_empty() {
        let kind = r.u8("section type")?;
        let data = Reader::new(r.string("section")?);
        let found = match kind {
            section::CERTIFICATES => certificates(data, presented)?,
            section::EXPLICIT_KEY => blobs(data, None, |b| whose(presented, |k| k.blob == b))?,
            section::FINGERPRINT_SHA1 => {
                blobs(data, Some(20), |b| whose(presented, |k| k.sha1.as_slice() == b))?
            }
            section::FINGERPRINT_SHA256 => {
                blobs(data, Some(32), |b| whose(presented, |k| k.sha256.as_slice() == b))?
            }
            section::EXTENSION => extension(data)?,
            section::SIGNATURE => return Err(RevocationError::Signed),
            other => return Err(RevocationError::Section(other)),
        };
        revoked = revoked.or(found);
    }
    Ok(revoked)
}

/// Strings one after the other, each of a length where one is given.
fn blobs(mut r: Reader<'_>, length: Option<usize>, revokes: impl Fn(&[u8]) -> Option<Revoked>) -> Found {
    let mut revoked = None;
    while !r.is_empty() {
        let blob = r.string("key or fingerprint")?;
        if length.is_some_and(|length| blob.len() != length) {
            return Err(RevocationError::Malformed("length of a fingerprint"));
        }
        revoked = revoked.or_else(|| revokes(blob));
    }
    Ok(revoked)
}

/// Certificates of one authority, or with an empty key of all of them.
fn certificates(mut r: Reader<'_>, presented: &Presented) -> Found {
    let authority = r.string("authority")?;
    r.string("reserved")?;
    if !authority.is_empty() {
        // Its type at least must be there: garbage in its place would revoke nothing.
        Reader::new(authority).text("type of the authority")?;
    }
    let of_this = |c: &&CertificateIdentity| authority.is_empty() || c.authority.blob == authority;
    let certificate = presented.certificate.as_ref().filter(of_this);
    // Number 0 says that the authority gives none.
    let serial = certificate.map(|c| c.serial).filter(|&serial| serial != 0);
    let mut revoked = None;
    while !r.is_empty() {
        let kind = r.u8("section type")?;
        let mut data = Reader::new(r.string("section")?);
        let found = match kind {
            section::SERIAL_LIST => serial_list(data, serial)?,
            section::SERIAL_RANGE => {
                let (first, last) = (data.u64("first serial number")?, data.u64("last serial number")?);
                data.finish("range of serial numbers")?;
                if first == 0 || first > last {
                    return Err(RevocationError::Malformed("range of serial numbers"));
                }
                serial.filter(|s| (first..=last).contains(s)).map(Revoked::Serial)
            }
            section::SERIAL_BITMAP => bitmap(data, serial)?,
            section::KEY_ID => {
                blobs(data, None, |id| certificate.filter(|c| c.key_id == id).map(|_| Revoked::KeyId))?
            }
            section::CERT_EXTENSION => extension(data)?,
            other => return Err(RevocationError::Section(other)),
        };
        revoked = revoked.or(found);
    }
    Ok(revoked)
}

fn serial_list(mut r: Reader<'_>, serial: Option<u64>) -> Found {
    let mut revoked = None;
    while !r.is_empty() {
        match r.u64("serial number")? {
            0 => return Err(RevocationError::Malformed("serial number 0")),
            listed => revoked = revoked.or(serial.filter(|s| *s == listed).map(Revoked::Serial)),
        }
    }
    Ok(revoked)
}

/// Bit N of the number stands for the serial number `first` + N.
fn bitmap(mut r: Reader<'_>, serial: Option<u64>) -> Found {
    let first = r.u64("first serial number")?;
    let bits = r.mpint("bitmap")?;
    r.finish("bitmap")?;
    let highest = match bits {
        [] => return Ok(None),
        [top, rest @ ..] => rest.len() as u64 * 8 + u64::from(7 - top.leading_zeros()),
    };
    let zero_is_set = first == 0 && bits.last().is_some_and(|b| b & 1 == 1);
    if zero_is_set || first.checked_add(highest).is_none() {
        return Err(RevocationError::Malformed("serial numbers of the bitmap"));
    }
    let is_set = |serial: u64| {
        let n = serial.checked_sub(first)?;
        let from_the_end = usize::try_from(n / 8).ok()?;
        let byte = bits.len().checked_sub(from_the_end + 1).and_then(|at| bits.get(at))?;
        (byte >> (n % 8) & 1 == 1).then_some(Revoked::Serial(serial))
    };
    Ok(serial.and_then(is_set))
}

/// None is known; one that must be is an error.
fn extension(mut r: Reader<'_>) -> Found {
    let name = r.string("extension name")?;
    let critical = r.bool("extension")?;
    r.string("extension contents")?;
    r.finish("extension")?;
    if critical {
        return Err(RevocationError::Extension(name.escape_ascii().to_string()));
    }
    Ok(None)
}
