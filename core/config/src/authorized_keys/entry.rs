//! The lines of an authorized_keys file: where the options end and the key begins.

use std::fmt;

use base64ct::{Base64, Encoding};
use sockward_policy::{KeyOptions, Source};
use sockward_wire::Reader;

use super::options::{self, OptionContext, OptionError};

/// The longest line read, in bytes. OpenSSH's manual page says 8 KiB and its parser has no bound; a certificate of
/// a 16384-bit RSA key takes 6 KiB, the rest is room for options.
pub const LINE_MAX: usize = 64 * 1024;

/// The longest file read, in bytes: some hundred thousand keys, as a host of repositories has them.
pub const FILE_MAX: usize = 64 * 1024 * 1024;

/// One line that is neither blank nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number, from 1.
    pub line: u32,
    /// The key, or why there is none.
    pub key: Result<Key<'a>, LineError>,
}

/// A key as its line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The text of the options, empty where there are none. They are read once the key is the wanted one.
    pub options: &'a [u8],
    /// The type, the same as inside the blob.
    pub key_type: &'a str,
    /// The public key in SSH's form (RFC 4253 section 6.6), to be compared byte for byte.
    pub blob: Vec<u8>,
    /// What follows, blanks around it taken off.
    pub comment: &'a [u8],
}

/// Why a line has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// A NUL byte.
    Nul,
    /// Longer than [`LINE_MAX`].
    TooLong,
    /// The file is longer than [`FILE_MAX`]; nothing of it is read.
    FileTooLong,
    /// A quote in the options is not closed.
    Quotes,
    /// No key, with or without options before it.
    NoKey,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Nul => f.write_str("the line contains a NUL byte"),
            LineError::TooLong => write!(f, "the line is longer than {LINE_MAX} bytes"),
            LineError::FileTooLong => write!(f, "the file is longer than {FILE_MAX} bytes and is not read"),
            LineError::Quotes => f.write_str("invalid key option string: a quote is not closed"),
            LineError::NoKey => f.write_str("there is no public key in the line"),
        }
    }
}

impl std::error::Error for LineError {}

/// The entries of a file, in order.
pub fn entries(file: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let too_long = file.len() > FILE_MAX;
    let first = too_long.then_some(Entry { line: 0, key: Err(LineError::FileTooLong) });
    let file = if too_long { &[] } else { file };
    let lines = (1u32..).zip(file.split(|&b| b == b'\n'));
    first.into_iter().chain(lines.filter_map(|(line, text)| Some(Entry { line, key: read(text)? })))
}

impl Key<'_> {
    /// Reads the options.
    pub fn options(&self, source: Source, context: &OptionContext<'_>) -> Result<KeyOptions, OptionError> {
        options::parse(self.options, source, context)
    }
}

fn read(text: &[u8]) -> Option<Result<Key<'_>, LineError>> {
    let text = text.trim_ascii();
    if text.is_empty() || text.starts_with(b"#") {
        None
    } else if text.len() > LINE_MAX {
        Some(Err(LineError::TooLong))
    } else if text.contains(&0) {
        Some(Err(LineError::Nul))
    } else if let Some(key) = key(b"", text) {
        Some(Ok(key))
    } else {
        let behind_options = split_options(text);
        Some(behind_options.and_then(|(options, rest)| key(options, rest).ok_or(LineError::NoKey)))
    }
}

/// A key type and its key in Base64, in which the same type is written.
fn key<'a>(options: &'a [u8], text: &'a [u8]) -> Option<Key<'a>> {
    let (key_type, rest) = word(text);
    let (encoded, comment) = word(rest);
    let key_type = std::str::from_utf8(key_type).ok().filter(|t| !t.is_empty())?;
    let blob = Base64::decode_vec(std::str::from_utf8(encoded).ok()?).ok()?;
    let named = Reader::new(&blob).string("key.type").is_ok_and(|inside| inside == key_type.as_bytes());
    named.then_some(Key { options, key_type, blob, comment })
}

/// The key of a line that has no options, as in lists of authorities and of revoked keys; none if there is none.
pub(crate) fn bare_key(text: &[u8]) -> Option<Vec<u8>> {
    let sound = text.len() <= LINE_MAX && !text.contains(&0);
    key(b"", text.trim_ascii()).filter(|_| sound).map(|key| key.blob)
}

/// The first word, and what stands behind it.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| b" \t".contains(b)).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (word, rest.trim_ascii_start())
}

/// The options, and what stands behind them: they end at the first blank outside quotes.
fn split_options(text: &[u8]) -> Result<(&[u8], &[u8]), LineError> {
    let (mut quoted, mut escaped) = (false, false);
    let end = text.iter().zip(text.iter().skip(1).chain([&b' '])).position(|(&b, &next)| {
        match b {
            _ if escaped => escaped = false,
            b'\\' if next == b'"' => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return true,
            _ => {}
        }
        false
    });
    match end.and_then(|end| text.split_at_checked(end)) {
        Some((options, rest)) => Ok((options, rest.trim_ascii_start())),
        None if quoted => Err(LineError::Quotes),
        None => Err(LineError::NoKey),
    }
}

/// Reads a file, and the options of all its keys, whatever the bytes. For fuzzing.
#[doc(hidden)]
pub fn fuzz_authorized_keys(data: &[u8]) {
    let context = OptionContext { services: &|_| Some(80), local_time: &super::utc };
    for entry in entries(data) {
        if let Ok(key) = entry.key {
            let _ = key.options(Source::new("fuzz", entry.line), &context);
        }
    }
    let _ = options::parse(data, Source::new("fuzz", 0), &context);
    for line in super::principals(data) {
        let _ = line.options(Source::new("fuzz", line.line), &context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkRAkm+7OzpnVwITNynVCyPMXgiKEzF7FSrHvM62zq6";

    fn only(line: &str) -> Result<(String, String), LineError> {
        let file = format!("# comment\n\n{line}\n");
        let mut entries: Vec<_> = entries(file.as_bytes()).collect();
        assert_eq!(entries.len(), 1, "{line}");
        let entry = entries.remove(0);
        assert_eq!(entry.line, 3);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        entry.key.as_ref().map(|key| (text(key.options), text(key.comment))).map_err(|e| *e)
    }

    #[test]
    fn options_key_and_comment() {
        for (before, after, options, comment) in [
            ("", "", "", ""),
            ("  \t", " alex@home  two \r", "", "alex@home  two"),
            ("restrict ", "", "restrict", ""),
            ("restrict,pty\t ", " c", "restrict,pty", "c"),
            (r#"command="a b",no-pty "#, "", r#"command="a b",no-pty"#, ""),
            (r#"command="echo \"a b\" c" "#, "", r#"command="echo \"a b\" c""#, ""),
            (r#"command="\\" "#, "", r#"command="\\""#, ""),
        ] {
            let line = format!("{before}{ED25519}{after}");
            let result = only(&line);
            if line.contains(r#""\\" "#) {
                // The backslash before the quote escapes it, whatever stands before the backslash.
                assert_eq!(result, Err(LineError::Quotes));
            } else {
                assert_eq!(result, Ok((options.to_owned(), comment.to_owned())), "{line}");
            }
        }
    }

    #[test]
    fn a_bad_line_does_not_lose_the_others() {
        let truncated = ED25519.strip_suffix("zq6").unwrap();
        let long = "a".repeat(LINE_MAX + 1);
        let bad: [(&str, LineError); 8] = [
            (truncated, LineError::NoKey),
            (
                "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIKkRAkm+7OzpnVwITNynVCyPMXgiKEzF7FSrHvM62zq6",
                LineError::NoKey,
            ),
            ("ssh-ed25519", LineError::NoKey),
            ("restrict ssh-ed25519 !!", LineError::NoKey),
            ("command=\"x ssh-ed25519 AAAA", LineError::Quotes),
            ("garbage", LineError::NoKey),
            ("a\0b c", LineError::Nul),
            (&long, LineError::TooLong),
        ];
        let mut file = String::new();
        for (line, _) in bad {
            file.push_str(line);
            file.push('\n');
        }
        file.push_str(ED25519);
        let results: Vec<_> = entries(file.as_bytes()).map(|e| (e.line, e.key.map(|_| ()))).collect();
        for (i, (line, error)) in bad.into_iter().enumerate() {
            assert_eq!(results[i], (u32::try_from(i).unwrap() + 1, Err(error)), "{line:.40}");
        }
        assert_eq!(results[8], (9, Ok(())));
    }

    #[test]
    fn a_file_beyond_the_bound_is_not_read() {
        let file = vec![b'\n'; FILE_MAX + 1];
        let all: Vec<_> = entries(&file).collect();
        assert_eq!(all, [Entry { line: 0, key: Err(LineError::FileTooLong) }]);
    }
}
