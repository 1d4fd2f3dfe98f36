//! How the arguments of a keyword become a value, and how `-G` prints it: the trait behind the keyword table, and
//! the types that many keywords share.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sockward_policy::Source;

use crate::lex::{self, Word};
use crate::lookup::Lookup;
use crate::{tokens, units};

use crate::algorithms::Algorithms;

/// What a keyword's row needs: a type that reads, keeps and prints itself.
pub(super) trait Value: Sized {
    /// Reads the arguments. The error says what is wrong, without place and keyword.
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String>;

    /// Takes a line into account: here, the first value stays. True if this line set or changed something.
    fn take(slot: &mut Option<Self>, args: &mut Arguments<'_>) -> Result<bool, String> {
        let value = Self::parse(args)?;
        if !args.active || slot.is_some() {
            return Ok(false);
        }
        *slot = Some(value);
        Ok(true)
    }

    /// Prints the lines of `-G`.
    fn print(&self, out: &mut Printer<'_>);
}

/// The arguments of one line, with all that their meaning depends on.
pub(super) struct Arguments<'a> {
    /// The keyword, as the table spells it.
    pub(super) keyword: &'static str,
    /// Where the line stands.
    pub(super) source: &'a Source,
    /// Whether the line counts: its Host or Match block does.
    pub(super) active: bool,
    /// Whether the user wrote it, on the command line or in a file of theirs.
    pub(super) by_user: bool,
    /// Environment and services.
    pub(super) lookup: &'a dyn Lookup,
    /// The algorithms there are.
    pub(super) algorithms: &'a Algorithms<'a>,
    /// What the user may want to know though nothing is wrong.
    pub(super) remarks: Vec<String>,
    words: VecDeque<Word>,
    raw: &'a [u8],
    column: Option<u32>,
}

impl<'a> Arguments<'a> {
    /// The arguments of `line`. Fails if its quotes are not closed.
    pub(super) fn new(
        line: &lex::Line<'a>,
        keyword: &'static str,
        source: &'a Source,
        lookup: &'a dyn Lookup,
        algorithms: &'a Algorithms<'a>,
    ) -> Result<Self, String> {
        let words = line.words().map_err(|e| e.to_string())?.into();
        let (raw, remarks) = (line.rest, Vec::new());
        Ok(Arguments {
            keyword,
            source,
            active: true,
            by_user: true,
            lookup,
            algorithms,
            remarks,
            words,
            raw,
            column: None,
        })
    }

    /// The next word, which must be there and not be empty.
    pub(super) fn word(&mut self) -> Result<Vec<u8>, String> {
        match self.words.pop_front() {
            Some(word) => {
                self.column = Some(word.column);
                if word.bytes.is_empty() { Err("missing argument".to_owned()) } else { Ok(word.bytes) }
            }
            None => Err("missing argument".to_owned()),
        }
    }

    /// The next word, if there is one.
    pub(super) fn optional(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.words.is_empty() { Ok(None) } else { self.word().map(Some) }
    }

    /// The next word as text.
    pub(super) fn text(&mut self) -> Result<String, String> {
        utf8(self.word()?)
    }

    /// The next word as text, if there is one.
    pub(super) fn optional_text(&mut self) -> Result<Option<String>, String> {
        self.optional()?.map(utf8).transpose()
    }

    /// All words that are left, empty ones too.
    pub(super) fn rest_of_words(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        self.column = None;
        std::mem::take(&mut self.words).into_iter().map(|w| w.bytes)
    }

    /// The line from its first argument to its end as it was written, quotes and comments too: a command.
    pub(super) fn raw(&mut self) -> &'a [u8] {
        self.words.clear();
        let blank = |b: &u8| b" \t\r\n=".contains(b);
        let start = self.raw.iter().position(|b| !blank(b)).unwrap_or(self.raw.len());
        self.raw.get(start..).unwrap_or_default()
    }

    /// The next word as the socket of an agent, its `${VARIABLE}` and `$VARIABLE` names checked, not yet put in.
    pub(super) fn agent_socket(&mut self) -> Result<OsString, String> {
        let word = self.word()?;
        tokens::environment(&word, self.lookup).map_err(|e| format!("invalid environment expansion: {e}"))?;
        if let Some(name) = word.strip_prefix(b"$").filter(|rest| !rest.starts_with(b"{")) {
            let valid = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
            if name.is_empty() || !name.iter().all(valid) {
                return Err(format!("invalid environment name '{}'", word.escape_ascii()));
            }
        }
        Ok(OsString::from_vec(word))
    }

    /// Whether all words have been used up; the error names what is left.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        match self.words.pop_front() {
            None => Ok(()),
            Some(word) => {
                self.column = Some(word.column);
                Err(format!("extra arguments at end of line: '{}'", word.bytes.escape_ascii()))
            }
        }
    }

    /// Where the word stands that was read last.
    pub(super) fn column(&self) -> Option<u32> {
        self.column
    }
}

fn utf8(word: Vec<u8>) -> Result<String, String> {
    String::from_utf8(word).map_err(|e| format!("'{}' is not UTF-8", e.as_bytes().escape_ascii()))
}

/// Prints lines that start with one keyword.
pub(super) struct Printer<'o> {
    keyword: String,
    out: &'o mut Vec<u8>,
}

impl<'o> Printer<'o> {
    /// For the lines of a keyword, which is printed in small letters.
    pub(super) fn new(keyword: &str, out: &'o mut Vec<u8>) -> Self {
        Printer { keyword: keyword.to_ascii_lowercase(), out }
    }

    /// One line.
    pub(super) fn line(&mut self, value: impl AsRef<[u8]>) {
        self.out.extend_from_slice(self.keyword.as_bytes());
        self.out.push(b' ');
        self.out.extend_from_slice(value.as_ref());
        self.out.push(b'\n');
    }
}

/// Makes choices values: read one word, print the first of their words.
macro_rules! choice_value {
    ($($kind:ty),+) => { $(
        impl Value for $kind {
            fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
                let word = args.text()?;
                let unknown = || format!("unsupported option '{word}', expected one of {}", Self::WORDS.join(", "));
                Self::from_word(&word).ok_or_else(unknown)
            }

            fn print(&self, out: &mut Printer<'_>) {
                out.line(self.word());
            }
        }
    )+ };
}

pub(super) use choice_value;

/// `yes` or `no`.
impl Value for bool {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        match &*word.to_ascii_lowercase() {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(format!("unsupported option '{word}', expected yes or no")),
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(if *self { "yes" } else { "no" });
    }
}

/// A number up to 2^31 - 1, as OpenSSH's.
impl Value for u32 {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        let digits = word.bytes().all(|b| b.is_ascii_digit());
        let number = word.parse().ok().filter(|&n: &u32| digits && n <= i32::MAX.unsigned_abs());
        number.ok_or_else(|| format!("'{word}' is no number from 0 to {}", i32::MAX))
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(self.to_string());
    }
}

/// One word of text.
impl Value for String {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        args.text()
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(self);
    }
}

/// One word that is a path.
impl Value for OsString {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        args.word().map(OsString::from_vec)
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(self.as_bytes());
    }
}

/// A keyword without a default: nothing is printed until it is given.
impl<T: Value> Value for Option<T> {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        T::parse(args).map(Some)
    }

    fn print(&self, out: &mut Printer<'_>) {
        if let Some(value) = self {
            value.print(out);
        }
    }
}

/// A TCP port to connect to, by number or name; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

impl Value for Port {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        match crate::lookup::port(&word, args.lookup) {
            Some(port) if port > 0 => Ok(Port(port)),
            _ => Err(format!("bad port '{word}'")),
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(self.0.to_string());
    }
}

/// An interval in seconds; `none` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl Value for Seconds {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let timeout = Timeout::parse(args)?;
        Ok(Seconds(timeout.0.unwrap_or(0)))
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(self.0.to_string());
    }
}

/// A limit in seconds; `none` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Option<u32>);

impl Value for Timeout {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        if word == "none" {
            return Ok(Timeout(None));
        }
        let seconds = units::interval(&word);
        seconds.map(|s| Timeout(Some(s))).ok_or_else(|| format!("invalid time value '{word}'"))
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self.0 {
            Some(seconds) => out.line(seconds.to_string()),
            None => out.line("none"),
        }
    }
}

/// The rest of the line: a command for a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(pub OsString);

impl Value for Command {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        match args.raw() {
            [] => Err("missing argument".to_owned()),
            raw => Ok(Command(OsStr::from_bytes(raw).to_owned())),
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        self.0.print(out);
    }
}

/// Words that make one list; `none` alone is an empty one. The first line is the whole list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<OsString>);

impl Words {
    /// OpenSSH's SSH_MAX_HOSTS_FILES; no list of files needs more.
    const MAX: usize = 32;
}

impl Value for Words {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = args.rest_of_words().collect();
        match words.as_slice() {
            [] => Err("missing argument".to_owned()),
            [only] if only.eq_ignore_ascii_case(b"none") => Ok(Words::default()),
            all if all.iter().any(Vec::is_empty) => Err("empty argument".to_owned()),
            all if all.iter().any(|w| w.eq_ignore_ascii_case(b"none")) => {
                Err("the argument 'none' must appear alone".to_owned())
            }
            all if all.len() > Words::MAX => Err(format!("more than {} entries", Words::MAX)),
            _ => Ok(Words(words.into_iter().map(OsString::from_vec).collect())),
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        if self.0.is_empty() {
            out.line("none");
        } else {
            let words: Vec<&[u8]> = self.0.iter().map(|w| w.as_bytes()).collect();
            out.line(words.join(&b' '));
        }
    }
}
