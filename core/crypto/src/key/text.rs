//! Public keys as text: the line "type base64 comment", and fingerprints.

use base64ct::{Base64, Base64Unpadded, Encoding};
use sockward_wire::Reader;

use crate::{CryptoError, CryptoResult, sha256};

/// `SHA256:` and the digest of `blob` in base64 without padding, as OpenSSH shows it.
///
/// Of a certificate OpenSSH shows the fingerprint of the key in it: see `KeyOrCert::fingerprint`.
#[must_use]
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", Base64Unpadded::encode_string(sha256(&[blob]).as_ref()))
}

/// Takes a line "type base64 comment" apart: the blob and the comment, which may be empty.
///
/// The word before must be the type that the blob names. The blob is not looked at any further: see
/// `KeyOrCert::parse`. Blanks and tabs part the words, as OpenSSH has it; a line end is taken off.
pub fn parse_public_line(line: &[u8]) -> CryptoResult<(Vec<u8>, &[u8])> {
    let (name, rest) = word(line);
    let (encoded, comment) = word(rest);
    let encoded = std::str::from_utf8(encoded).map_err(|_| CryptoError::Invalid("base64"))?;
    let blob = Base64::decode_vec(encoded).map_err(|_| CryptoError::Invalid("base64"))?;
    if Reader::new(&blob).string("key type")? != name {
        return Err(CryptoError::Invalid("key type before the key"));
    }
    let comment = comment.trim_ascii_start();
    let end = comment.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
    Ok((blob, comment.get(..end).unwrap_or_default()))
}

/// The line for `blob`, without a line end. `None` if the blob does not begin with a type's name.
#[must_use]
pub fn write_public_line(blob: &[u8], comment: &str) -> Option<String> {
    let name = Reader::new(blob).text("key type").ok()?;
    let mut line = format!("{name} {}", Base64::encode_string(blob));
    if !comment.is_empty() {
        line.push(' ');
        line.push_str(comment);
    }
    Some(line)
}

/// The first word and what follows it.
fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii_start();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    line.split_at_checked(end).unwrap_or((line, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f a comment";

    #[test]
    fn a_line_comes_apart_and_together() {
        let (blob, comment) = parse_public_line(LINE.as_bytes()).unwrap();
        assert_eq!(comment, b"a comment");
        assert_eq!(write_public_line(&blob, "a comment").as_deref(), Some(LINE));
        let bare = write_public_line(&blob, "").unwrap();
        assert_eq!(parse_public_line(bare.as_bytes()).unwrap(), (blob.clone(), &b""[..]));
        let odd = format!(" \t{}\r\n", LINE.replacen(' ', "\t  ", 2));
        assert_eq!(parse_public_line(odd.as_bytes()).unwrap(), (blob, &b"a comment"[..]));
    }

    #[test]
    fn lines_that_are_not_keys_are_refused() {
        for bad in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 !!!!",
            &LINE.replace("ssh-ed25519 ", "ssh-rsa "),
            &LINE.replace(" a", "= a"),
        ] {
            assert!(parse_public_line(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(write_public_line(&[0, 0, 0, 9, 1], ""), None);
    }

    /// Compared with `ssh-keygen -lf`.
    #[test]
    fn the_fingerprint_is_openssh_s() {
        let (blob, _) = parse_public_line(LINE.as_bytes()).unwrap();
        assert_eq!(fingerprint(&blob), "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA");
    }
}
