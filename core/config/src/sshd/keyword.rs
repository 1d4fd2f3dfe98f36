//! One keyword of sshd_config: its row in the table, and the arguments of a line as a row's reader takes them.
//!
//! A row reads a line's arguments once, into an [`Assign`]; that can then be done to any number of [`Effective`]s.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;

use sockward_policy::Source;

use super::Context;
use super::effective::Effective;
use super::values::Pass;
use crate::lex::Word;
use crate::{tokens, units};

/// A row of the table: all that is known of a keyword. The parser, `-T` and the manual page are made from it.
pub struct Keyword {
    /// As the manual page writes it.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// What holds if it is written more than once.
    pub merge: Merge,
    /// Lines that say the same as not writing it.
    pub default: &'static [&'static str],
    /// One sentence for the manual page.
    pub doc: &'static str,
    /// Whether OpenSSH does not know it.
    pub ours: bool,
    pub(super) kind: Kind,
}

/// Where a keyword may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the global section alone.
    Global,
    /// In `Match` blocks too.
    Match,
}

/// What holds of several lines with one keyword, in one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The first.
    First,
    /// All together.
    All,
    /// The last (for StreamLocalBindMask, as in OpenSSH; and where the row itself tells names apart).
    Last,
}

pub(super) enum Kind {
    /// What it says has an effect.
    Value { read: fn(&Args<'_>) -> Result<Assign, Fault>, show: fn(&Effective) -> Vec<String> },
    /// OpenSSH's, for something that is not here. The check refuses what restricts more than not having it does,
    /// and warns of what permits or prefers it. `shown` is what `-T` says; empty is nothing.
    Absent { check: fn(&Args<'_>) -> Result<(), Fault>, shown: &'static str },
    /// OpenSSH ignores it.
    Deprecated,
}

/// A value read, ready to be put where it belongs.
pub(super) type Assign = Arc<dyn Fn(&mut Effective, Stage) + Send + Sync>;

/// The circumstances of an assignment.
#[derive(Clone, Copy)]
pub(super) struct Stage {
    pub pass: Pass,
    /// Whether it is the first of its keyword in this pass.
    pub fresh: bool,
}

/// What is wrong with a line's arguments.
#[derive(Debug)]
pub(super) struct Fault {
    pub column: Option<u32>,
    pub message: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Fault { column: None, message: message.into() }
    }

    pub(super) fn at(word: &Word, message: impl Into<String>) -> Self {
        Fault { column: Some(word.column), message: message.into() }
    }
}

impl Keyword {
    pub(super) const fn value(
        name: &'static str,
        scope: Scope,
        default: &'static [&'static str],
        doc: &'static str,
        read: fn(&Args<'_>) -> Result<Assign, Fault>,
        show: fn(&Effective) -> Vec<String>,
    ) -> Self {
        let kind = Kind::Value { read, show };
        Keyword { name, scope, merge: Merge::First, default, doc, ours: false, kind }
    }

    pub(super) const fn absent(
        name: &'static str,
        scope: Scope,
        shown: &'static str,
        doc: &'static str,
        check: fn(&Args<'_>) -> Result<(), Fault>,
    ) -> Self {
        let kind = Kind::Absent { check, shown };
        Keyword { name, scope, merge: Merge::First, default: &[], doc, ours: false, kind }
    }

    pub(super) const fn deprecated(name: &'static str, scope: Scope) -> Self {
        const DOC: &str = "Ignored, as in OpenSSH.";
        let kind = Kind::Deprecated;
        Keyword { name, scope, merge: Merge::First, default: &[], doc: DOC, ours: false, kind }
    }

    pub(super) const fn merged(self, merge: Merge) -> Self {
        Keyword { merge, ..self }
    }

    pub(super) const fn ours(self) -> Self {
        Keyword { ours: true, ..self }
    }

    /// What `-T` prints behind the keyword, line by line.
    pub(super) fn shown(&self, values: &Effective) -> Vec<String> {
        match self.kind {
            Kind::Value { show, .. } => show(values),
            Kind::Absent { shown: "", .. } | Kind::Deprecated => Vec::new(),
            Kind::Absent { shown, .. } => vec![shown.to_owned()],
        }
    }
}

/// An assignment of one field.
pub(super) fn assign<T: Clone + Send + Sync + 'static>(
    value: T,
    put: fn(&mut Effective, T),
) -> Result<Assign, Fault> {
    Ok(Arc::new(move |e, _| put(e, value.clone())))
}

/// An assignment that depends on what was assigned before it.
pub(super) fn assign_at<T: Clone + Send + Sync + 'static>(
    value: T,
    put: fn(&mut Effective, T, Stage),
) -> Result<Assign, Fault> {
    Ok(Arc::new(move |e, stage| put(e, value.clone(), stage)))
}

/// Adds to a list, in place of what an earlier pass put there.
pub(super) fn append<T>(list: &mut Vec<T>, items: Vec<T>, stage: Stage) {
    if stage.fresh {
        list.clear();
    }
    list.extend(items);
}

/// The arguments of one line.
pub(super) struct Args<'a> {
    /// The row's name.
    pub keyword: &'static str,
    pub words: &'a [Word],
    /// The line behind the keyword, as written.
    pub rest: &'a [u8],
    pub source: &'a Source,
    pub context: &'a Context<'a>,
    warnings: &'a RefCell<Vec<String>>,
}

impl<'a> Args<'a> {
    pub(super) fn new(
        keyword: &'static str,
        words: &'a [Word],
        rest: &'a [u8],
        source: &'a Source,
        context: &'a Context<'a>,
        warnings: &'a RefCell<Vec<String>>,
    ) -> Self {
        Args { keyword, words, rest, source, context, warnings }
    }

    pub(super) fn warn(&self, message: impl Into<String>) {
        self.warnings.borrow_mut().push(message.into());
    }

    /// The only word.
    pub(super) fn one(&self) -> Result<&'a Word, Fault> {
        self.at_most(1)?.first().ok_or_else(|| self.missing())
    }

    /// One word or more, none of them empty.
    pub(super) fn some(&self) -> Result<&'a [Word], Fault> {
        match self.words.iter().find(|w| w.bytes.is_empty()) {
            Some(word) => Err(Fault::at(word, format!("keyword {} empty argument", self.keyword))),
            None if self.words.is_empty() => Err(self.missing()),
            None => Ok(self.words),
        }
    }

    /// One word to `max`.
    pub(super) fn at_most(&self, max: usize) -> Result<&'a [Word], Fault> {
        let words = self.some()?;
        match words.get(max) {
            Some(extra) => {
                Err(Fault::at(extra, format!("keyword {} extra arguments at end of line", self.keyword)))
            }
            None => Ok(words),
        }
    }

    pub(super) fn missing(&self) -> Fault {
        Fault::new(format!("{} missing argument", self.keyword))
    }

    /// The only word, or none for `none`.
    pub(super) fn optional(&self) -> Result<Option<String>, Fault> {
        let word = self.one()?;
        if word.is("none") { Ok(None) } else { text(word).map(Some) }
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        self.choice(FLAG)
    }

    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Fault> {
        let word = self.one()?;
        let found = choices.iter().find(|(name, _)| word.is(name)).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            unsupported(word, &names)
        })
    }

    pub(super) fn word<T>(&self, read: fn(&str) -> Option<T>, words: &[&str]) -> Result<T, Fault> {
        let word = self.one()?;
        std::str::from_utf8(&word.bytes).ok().and_then(read).ok_or_else(|| unsupported(word, words))
    }

    pub(super) fn int(&self) -> Result<u32, Fault> {
        int(self.one()?)
    }

    /// As `int`; none for `none`.
    pub(super) fn int_or_none(&self) -> Result<Option<u32>, Fault> {
        let word = self.one()?;
        if word.is("none") { Ok(None) } else { int(word).map(Some) }
    }

    pub(super) fn time(&self) -> Result<u32, Fault> {
        time(self.one()?)
    }

    /// The server's own file, absolute; none for `none`.
    pub(super) fn file(&self) -> Result<Option<Vec<u8>>, Fault> {
        let word = self.one()?;
        if word.is("none") { Ok(None) } else { self.absolute(word).map(Some) }
    }

    pub(super) fn absolute(&self, word: &Word) -> Result<Vec<u8>, Fault> {
        let path = self.tilde(word)?;
        if path.starts_with(b"/") { Ok(path) } else { Ok([self.context.directory, b"/", &path].concat()) }
    }

    pub(super) fn tilde(&self, word: &Word) -> Result<Vec<u8>, Fault> {
        tokens::tilde(&word.bytes, self.context.lookup).map_err(|e| Fault::at(word, e.to_string()))
    }

    /// Words of which `none` stands alone and is no word at all.
    pub(super) fn list_or_none(&self) -> Result<&'a [Word], Fault> {
        let words = self.some()?;
        match words.iter().find(|w| w.is("none")) {
            Some(_) if words.len() == 1 => Ok(&[]),
            Some(none) => {
                Err(Fault::at(none, format!("keyword {} \"none\" argument must appear alone", self.keyword)))
            }
            None => Ok(words),
        }
    }

    /// All that stands behind the keyword, a comment included; none for `none`.
    pub(super) fn command(&self) -> Result<Option<Vec<u8>>, Fault> {
        if self.rest.is_empty() {
            return Err(self.missing());
        }
        Ok((!self.rest.eq_ignore_ascii_case(b"none")).then(|| self.rest.to_vec()))
    }
}

/// `yes` and `no`.
pub(super) const FLAG: &[(&str, bool)] = &[("yes", true), ("no", false)];

pub(super) fn text(word: &Word) -> Result<String, Fault> {
    let text = std::str::from_utf8(&word.bytes).map_err(|_| Fault::at(word, "the argument is not UTF-8"))?;
    Ok(text.to_owned())
}

pub(super) fn int(word: &Word) -> Result<u32, Fault> {
    let digits = word.bytes.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(&word.bytes).ok().and_then(|t| t.parse::<u32>().ok());
    value.filter(|v| digits && *v <= i32::MAX.cast_unsigned()).ok_or_else(|| {
        Fault::at(word, format!("integer value '{}' invalid, expected 0 to {}", word.text(), i32::MAX))
    })
}

pub(super) fn time(word: &Word) -> Result<u32, Fault> {
    units::interval(&word.text()).ok_or_else(|| {
        Fault::at(word, format!("invalid time value '{}', expected for example '90' or '1h30m'", word.text()))
    })
}

fn unsupported(word: &Word, words: &[&str]) -> Fault {
    let mut message = format!("unsupported option \"{}\", expected ", word.text());
    for (i, name) in words.iter().enumerate() {
        let before = if i == 0 {
            ""
        } else if i + 1 == words.len() {
            " or "
        } else {
            ", "
        };
        // Writing to a String does not fail.
        let _ = write!(message, "{before}{name}");
    }
    Fault::at(word, message)
}

/// One line for `-T`.
pub(super) fn one(text: impl Into<String>) -> Vec<String> {
    vec![text.into()]
}

/// One line for `-T`: the word for a value.
pub(super) fn word_of<T: PartialEq + Copy>(choices: &[(&'static str, T)], value: T) -> Vec<String> {
    choices.iter().find(|(_, v)| *v == value).map_or_else(Vec::new, |(name, _)| one(*name))
}

/// One line for `-T`: bytes, or `none`.
pub(super) fn or_none(value: Option<&[u8]>) -> Vec<String> {
    one(value.map_or("none".into(), String::from_utf8_lossy))
}

/// One line for `-T`: words with blanks between them, `empty` where there are none; no line if that is empty too.
pub(super) fn line_of<'v>(values: impl IntoIterator<Item = &'v [u8]>, empty: &str) -> Vec<String> {
    let words: Vec<_> = values.into_iter().map(String::from_utf8_lossy).collect();
    match (words.as_slice(), empty) {
        ([], "") => Vec::new(),
        ([], empty) => one(empty),
        (words, _) => one(words.join(" ")),
    }
}

/// A line for each.
pub(super) fn lines_of<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Vec<String> {
    values.into_iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect()
}
