//! Lines and words of sshd_config and ssh_config: the keyword, the words after it, quotes, escapes, comments.
//!
//! What a keyword means is its file's business. The rules are OpenSSH's:
//!
//! - A line is `KEYWORD arguments` or `KEYWORD=arguments`; one `=`, with or without blanks around it. A keyword
//!   may stand in double quotes.
//! - Arguments are split at blanks and tabs. `"` and `'` quote, anywhere in a word; `\"`, `\'`, `\\` and, outside
//!   quotes, `\ ` stand for the second character; any other backslash stands for itself.
//! - A `#` that starts a word ends the line, one inside a word is part of it. A `=` inside an argument is part of it.
//!
//! Stricter than OpenSSH: a line whose keyword has an opening quote alone is an error (OpenSSH skips that line),
//! and so is a line that holds a NUL byte (OpenSSH reads it up to there).

use std::borrow::Cow;
use std::fmt;

/// Why a line cannot be split into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexError {
    /// A quote is opened and never closed.
    UnbalancedQuotes,
    /// The line holds a NUL byte.
    Nul,
}

impl fmt::Display for LexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LexError::UnbalancedQuotes => "invalid quotes: an opening quote has no closing one",
            LexError::Nul => "the line contains a NUL byte",
        })
    }
}

impl std::error::Error for LexError {}

/// One word, quotes and escapes taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word; empty where the line says `""`.
    pub bytes: Vec<u8>,
    /// The byte column of its first character (or quote) in the line, from 1.
    pub column: u32,
}

impl Word {
    /// For messages: bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Whether it is `word` but for the case of ASCII letters.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.bytes.eq_ignore_ascii_case(word.as_bytes())
    }
}

/// A line that has a keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The first word, as written.
    pub keyword: Word,
    /// What follows it: blanks before, and a `=`, are gone, and so are blanks at the end. A comment is still there.
    pub rest: &'a [u8],
    /// The byte column of `rest`, from 1.
    pub rest_column: u32,
}

impl Line<'_> {
    /// The arguments, up to a comment.
    pub fn words(&self) -> Result<Vec<Word>, LexError> {
        words_from(self.rest, self.rest_column, Hash::Comment)
    }
}

/// The lines of a file with their numbers, from 1. A last line without a newline is one too.
pub fn lines(file: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (1u32..).zip(file.strip_suffix(b"\n").unwrap_or(file).split(|&b| b == b'\n'))
}

/// Takes one line (without its newline) apart; `None` if it is blank or a comment.
pub fn line(raw: &[u8]) -> Result<Option<Line<'_>>, LexError> {
    if raw.contains(&0) {
        return Err(LexError::Nul);
    }
    // A form feed is a blank only here.
    let end = raw.iter().rposition(|b| !b" \t\r\n\x0c".contains(b)).map_or(0, |i| i + 1);
    let mut cursor = Cursor { line: raw.get(..end).unwrap_or_default(), at: 0 };
    let mut keyword = cursor.delimited()?;
    if keyword.bytes.is_empty() {
        // Blanks (or one `=`) stood before it.
        keyword = cursor.delimited()?;
    }
    if keyword.bytes.is_empty() || keyword.bytes.starts_with(b"#") {
        return Ok(None);
    }
    cursor.skip_blanks();
    Ok(Some(Line { keyword, rest: cursor.rest(), rest_column: cursor.column() }))
}

/// Splits `text` as a line's arguments are split.
pub fn words(text: &[u8]) -> Result<Vec<Word>, LexError> {
    words_from(text, 1, Hash::Comment)
}

/// Splits the command line of a program: as [`words`], and a `#` is a character like any other.
pub fn arguments(text: &[u8]) -> Result<Vec<Vec<u8>>, LexError> {
    Ok(words_from(text, 1, Hash::Character)?.into_iter().map(|word| word.bytes).collect())
}

/// What a `#` is that starts a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    Comment,
    Character,
}

fn words_from(text: &[u8], first_column: u32, hash: Hash) -> Result<Vec<Word>, LexError> {
    let mut words = Vec::new();
    let mut bytes = text.iter().copied().enumerate().peekable();
    while let Some(&(at, first)) = bytes.peek() {
        if is_blank(first) {
            bytes.next();
            continue;
        }
        if first == b'#' && hash == Hash::Comment {
            break;
        }
        let column = first_column.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        let mut word = Word { bytes: Vec::new(), column };
        let mut quote = None;
        while let Some((_, b)) = bytes.next() {
            match (b, quote) {
                (b'\\', _) => match bytes.peek() {
                    Some(&(_, next @ (b'\'' | b'"' | b'\\'))) => {
                        word.bytes.push(next);
                        bytes.next();
                    }
                    Some(&(_, b' ')) if quote.is_none() => {
                        word.bytes.push(b' ');
                        bytes.next();
                    }
                    _ => word.bytes.push(b'\\'),
                },
                (b' ' | b'\t', None) => break,
                (b'"' | b'\'', None) => quote = Some(b),
                (b, Some(open)) if b == open => quote = None,
                (b, _) => word.bytes.push(b),
            }
        }
        if quote.is_some() {
            return Err(LexError::UnbalancedQuotes);
        }
        words.push(word);
    }
    Ok(words)
}

/// Joins words so that [`words`] gives the same ones again, as OpenSSH does for the command of a `Subsystem`.
///
/// A word that is empty, or starts with `#`, is lost or ends the line, as in OpenSSH.
#[must_use]
pub fn join<'w>(words: impl IntoIterator<Item = &'w [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, word) in words.into_iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        let quoted = word.iter().any(|&b| is_blank(b));
        if quoted {
            out.push(b'"');
        }
        for &b in word {
            if matches!(b, b'\\' | b'\'' | b'"') {
                out.push(b'\\');
            }
            out.push(b);
        }
        if quoted {
            out.push(b'"');
        }
    }
    out
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Finds the keyword: a token ends at blanks, at one `=` with blanks around it, or with a quoted part.
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn column(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX).saturating_add(1)
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().iter().take_while(|b| b" \t\r\n".contains(b)).count();
    }

    fn delimited(&mut self) -> Result<Word, LexError> {
        let column = self.column();
        let rest = self.rest();
        let Some(end) = rest.iter().position(|b| b" \t\r\n\"=".contains(b)) else {
            self.at = self.line.len();
            return Ok(Word { bytes: rest.to_vec(), column });
        };
        let mut bytes = rest.get(..end).unwrap_or_default().to_vec();
        let delimiter = rest.get(end).copied();
        self.at += end + 1;
        if delimiter == Some(b'"') {
            let inside = self.rest();
            let close = inside.iter().position(|&b| b == b'"').ok_or(LexError::UnbalancedQuotes)?;
            bytes.extend_from_slice(inside.get(..close).unwrap_or_default());
            self.at += close + 1;
            self.skip_blanks();
            return Ok(Word { bytes, column });
        }
        self.skip_blanks();
        if delimiter != Some(b'=') && self.rest().first() == Some(&b'=') {
            self.at += 1;
            self.skip_blanks();
        }
        Ok(Word { bytes, column })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text.as_bytes()).unwrap().iter().map(|w| w.text().into_owned()).collect()
    }

    #[test]
    fn keyword_and_rest() {
        for (raw, keyword, rest) in [
            ("Port 22", "Port", "22"),
            ("\t Port\t22 \r", "Port", "22"),
            ("Port=22", "Port", "22"),
            ("Port = 22", "Port", "22"),
            ("Port =22\x0c", "Port", "22"),
            ("Port == 22", "Port", "= 22"),
            ("\"Port\" 22", "Port", "22"),
            ("ForceCommand echo \"a  b\" # no comment", "ForceCommand", "echo \"a  b\" # no comment"),
            ("Port", "Port", ""),
        ] {
            let line = line(raw.as_bytes()).unwrap().unwrap();
            assert_eq!((&*line.keyword.text(), line.rest), (keyword, rest.as_bytes()), "{raw:?}");
        }
        for blank in ["", "  \t", "# Port 22", "   #Port", "\r"] {
            assert_eq!(line(blank.as_bytes()), Ok(None), "{blank:?}");
        }
    }

    #[test]
    fn broken_lines_are_errors() {
        assert_eq!(line(b"\"Port 22"), Err(LexError::UnbalancedQuotes));
        assert_eq!(line(b"Port 2\x002"), Err(LexError::Nul));
        assert_eq!(words(b"a \"b"), Err(LexError::UnbalancedQuotes));
        assert_eq!(words(b"it's"), Err(LexError::UnbalancedQuotes));
    }

    #[test]
    fn words_quotes_and_escapes() {
        assert_eq!(split("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(split(r#"A="x y" 'p"q' "r's""#), ["A=x y", "p\"q", "r's"]);
        assert_eq!(split(r#"a\ b "c\ d" \"e\" \\f \n"#), ["a b", r"c\ d", "\"e\"", r"\f", r"\n"]);
        assert_eq!(split("a \"\" b"), ["a", "", "b"]);
        assert_eq!(split("a#b #c d"), ["a#b"]);
    }

    #[test]
    fn columns_count_bytes_from_one() {
        let line = line(b"  PermitOpen  a:1 \"b:2\"").unwrap().unwrap();
        assert_eq!(line.keyword.column, 3);
        assert_eq!(line.words().unwrap().iter().map(|w| w.column).collect::<Vec<_>>(), [15, 19]);
    }

    #[test]
    fn file_lines_are_numbered() {
        let numbered: Vec<_> = lines(b"a\n\nb").collect();
        assert_eq!(numbered, [(1, &b"a"[..]), (2, b""), (3, b"b")]);
        assert_eq!(lines(b"a\n").count(), 1);
    }

    #[test]
    fn joined_words_split_again() {
        let original: Vec<&[u8]> = vec![b"/usr/lib/sftp", b"a b", b"it's", b"\\", b"x"];
        let joined = join(original.iter().copied());
        let again: Vec<_> = words(&joined).unwrap().into_iter().map(|w| w.bytes).collect();
        assert_eq!(again, original);
    }
}
