//! One line of a known_hosts file.

use std::fmt;

use base64ct::{Base64, Encoding};
use sockward_policy::Source;
use sockward_wire::Reader;
use sockward_wire::pattern::{self, ListMatch};

use super::HmacSha1;

/// What stands before the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// `@cert-authority`: the key signs host certificates.
    CertAuthority,
    /// `@revoked`: the key must never be accepted.
    Revoked,
}

/// For which hosts a line stands.
#[derive(Clone, PartialEq, Eq)]
pub enum HostPatterns {
    /// A list of patterns, joined by commas, in lower case.
    Plain(Vec<u8>),
    /// One name, hashed so that the file does not tell it.
    Hashed {
        /// The HMAC's key.
        salt: [u8; 20],
        /// The HMAC of the name.
        hash: [u8; 20],
    },
}

/// A line with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub source: Source,
    /// What the key is, but for a host key.
    pub marker: Option<Marker>,
    /// Whose it is.
    pub hosts: HostPatterns,
    /// The key's type, as in the key itself.
    pub key_type: String,
    /// The key as in RFC 4253 §6.6.
    pub key: Vec<u8>,
}

impl Entry {
    /// Reads a line; `None` if it is blank or a comment. The error says what is wrong.
    pub(super) fn parse(line: &[u8], source: Source) -> Result<Option<Self>, String> {
        let mut rest = line.trim_ascii();
        if rest.is_empty() || rest.starts_with(b"#") {
            return Ok(None);
        }
        let mut marker = None;
        if rest.starts_with(b"@") {
            marker = Some(match take_word(&mut rest) {
                b"@cert-authority" => Marker::CertAuthority,
                b"@revoked" => Marker::Revoked,
                other => return Err(format!("unknown marker '{}'", other.escape_ascii())),
            });
        }
        let hosts = HostPatterns::parse(take_word(&mut rest))?;
        let named = take_word(&mut rest);
        let key_type = str::from_utf8(named).ok().filter(|t| t.len() > 1).ok_or("the key type is missing")?;
        if key_type.bytes().all(|b| b.is_ascii_digit()) {
            return Err("a key of SSH protocol 1".to_owned());
        }
        let encoded = take_word(&mut rest);
        let encoded = str::from_utf8(encoded).ok().filter(|k| !k.is_empty()).ok_or("the key is missing")?;
        let key = Base64::decode_vec(encoded).map_err(|_| "the key is not valid base64")?;
        match Reader::new(&key).string("key type") {
            Ok(inside) if inside == key_type.as_bytes() => {}
            _ => return Err(format!("the key is not of the type '{}' before it", key_type.escape_debug())),
        }
        Ok(Some(Entry { source, marker, hosts, key_type: key_type.to_owned(), key }))
    }
}

impl HostPatterns {
    fn parse(names: &[u8]) -> Result<Self, String> {
        if !names.starts_with(b"|") {
            return match names {
                [] => Err("the host's name is missing".to_owned()),
                names => Ok(HostPatterns::Plain(names.to_ascii_lowercase())),
            };
        }
        let mut parts = names.strip_prefix(b"|1|").unwrap_or_default().split(|&b| b == b'|');
        match (parts.next().and_then(decode_20), parts.next().and_then(decode_20), parts.next()) {
            (Some(salt), Some(hash), None) => Ok(HostPatterns::Hashed { salt, hash }),
            _ => Err("the hashed name is not '|1|salt|hash'".to_owned()),
        }
    }

    /// Whether the line stands for a name in lower case.
    #[must_use]
    pub fn matches(&self, name: &str, hmac: HmacSha1) -> bool {
        match self {
            HostPatterns::Plain(list) => pattern::matches_joined(list, name.as_bytes()) == ListMatch::Yes,
            HostPatterns::Hashed { salt, hash } => hmac(salt, name.as_bytes()) == *hash,
        }
    }
}

/// For people; a hashed name cannot be told.
impl fmt::Display for HostPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPatterns::Plain(list) => list.escape_ascii().fmt(f),
            HostPatterns::Hashed { .. } => f.write_str("[hashed name]"),
        }
    }
}

impl fmt::Debug for HostPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode_20(encoded: &[u8]) -> Option<[u8; 20]> {
    Base64::decode_vec(str::from_utf8(encoded).ok()?).ok()?.try_into().ok()
}

/// Takes the bytes up to a blank, and the blanks.
fn take_word<'l>(rest: &mut &'l [u8]) -> &'l [u8] {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let end = rest.iter().position(blank).unwrap_or(rest.len());
    let (word, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
    *rest = after.trim_ascii_start();
    word
}
