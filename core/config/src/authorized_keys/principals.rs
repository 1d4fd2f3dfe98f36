//! AuthorizedPrincipalsFile: names that a certificate may have, one per line, key options before them.

use sockward_policy::{KeyOptions, Source};

use super::options::{self, OptionContext, OptionError};

/// One name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrincipalLine<'a> {
    /// Its line, from 1.
    pub line: u32,
    /// The text of the options, empty where there are none.
    pub options: &'a [u8],
    /// The name, to be compared byte for byte.
    pub name: &'a [u8],
}

/// The names of a file, in order. A `#` anywhere begins a comment, as in OpenSSH. Lines with a NUL byte are left out.
pub fn principals(file: &[u8]) -> impl Iterator<Item = PrincipalLine<'_>> {
    let lines = (1u32..).zip(file.split(|&b| b == b'\n'));
    lines.filter_map(|(line, text)| {
        let text = text.split(|&b| b == b'#').next().unwrap_or_default().trim_ascii();
        if text.is_empty() || text.contains(&0) {
            return None;
        }
        // The name is the last word, whatever stands in quotes before it.
        let start = text.iter().rposition(|b| b" \t".contains(b)).map_or(0, |at| at + 1);
        let (options, name) = text.split_at_checked(start)?;
        Some(PrincipalLine { line, options: options.trim_ascii_end(), name })
    })
}

impl PrincipalLine<'_> {
    /// Reads the options. A name is no key, so it cannot be an authority.
    pub fn options(&self, source: Source, context: &OptionContext<'_>) -> Result<KeyOptions, OptionError> {
        let options = options::parse(self.options, source, context)?;
        match (options.cert_authority, &options.principals) {
            (true, _) => Err(OptionError::NotHere("cert-authority")),
            (false, Some(_)) => Err(OptionError::NotHere("principals")),
            (false, None) => Ok(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorized_keys::utc;

    #[test]
    fn names_and_options() {
        let file = b"# all\nalex\n  bob # b\n\ncommand=\"a b\",no-pty  eve\n\tx\0y\n";
        let lines: Vec<_> = principals(file).map(|p| (p.line, p.options, p.name)).collect();
        let expected: [(u32, &[u8], &[u8]); 3] =
            [(2, b"", b"alex"), (3, b"", b"bob"), (5, b"command=\"a b\",no-pty", b"eve")];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_name_is_no_authority() {
        let context = OptionContext { services: &|_| None, local_time: &utc };
        for (options, ok) in [("restrict", true), ("cert-authority", false), ("principals=\"a\"", false)] {
            let line = PrincipalLine { line: 1, options: options.as_bytes(), name: b"alex" };
            assert_eq!(line.options(Source::new("p", 1), &context).is_ok(), ok, "{options}");
        }
    }
}
