//! New lines for a known_hosts file.

use base64ct::{Base64, Encoding};

use super::HmacSha1;

/// Whether a host's name can be written to a file at all: some characters would make it a pattern, a list, a
/// marker or a comment.
#[must_use]
pub fn is_recordable(host: &str) -> bool {
    let special = |c: char| "@?*#[]|'\"\\,!".contains(c) || c.is_whitespace() || c.is_control();
    !host.is_empty() && !host.contains(special)
}

/// A line, with its newline, for one name or several ([`HostName::name`](super::HostName::name)).
#[must_use]
pub fn plain_line(names: &[&str], key_type: &str, key: &[u8]) -> String {
    format!("{} {key_type} {}\n", names.join(","), Base64::encode_string(key))
}

/// A line, with its newline, that does not tell the name. `salt` must be random and is used for this line alone.
#[must_use]
pub fn hashed_line(name: &str, salt: [u8; 20], hmac: HmacSha1, key_type: &str, key: &[u8]) -> String {
    let hash = Base64::encode_string(&hmac(&salt, name.as_bytes()));
    let hidden = format!("|1|{}|{hash}", Base64::encode_string(&salt));
    plain_line(&[&hidden], key_type, key)
}
