//! Goes through the lines: which keyword, does its block count, what other file is included.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sockward_policy::Source;
use sockward_wire::pattern::{self, ListMatch};

use crate::lookup::Lookup;
use crate::{ConfigError, lex, tokens};

use super::criteria::Subject;
use super::not_yet::{IGNORED, Remark, Severity};
use super::settings::{Keyword, Options};
use super::value::Arguments;
use crate::algorithms::Algorithms;

/// How deep files may include each other, as in OpenSSH.
const DEPTH_MAX: u32 = 16;

/// How many files are included at most: files that include many each grow by powers.
const INCLUDES_MAX: u32 = 1024;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The user's: ~/.ssh/config, or what `-F` names. Relative includes are in ~/.ssh.
    User,
    /// The machine's: /etc/ssh/ssh_config. Relative includes are in /etc/ssh.
    System,
}

/// Reads files into [`Options`]. Errors are collected; the caller looks at them at the end.
pub(super) struct Reader<'r> {
    pub(super) options: &'r mut Options,
    pub(super) subject: Subject<'r>,
    pub(super) algorithms: &'r Algorithms<'r>,
    pub(super) findings: Findings,
}

/// What reading brought up, beside the options.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<ConfigError>,
    pub(super) remarks: Vec<Remark>,
    /// Some Match line asks for a second pass.
    pub(super) wants_final: bool,
    includes: u32,
    /// Includes got out of hand: nothing more is read.
    stopped: bool,
}

/// Where in the files a line stands.
struct Place {
    source: Source,
    owner: Owner,
    depth: u32,
    /// The file as a whole does not count: it is included from a block that does not.
    ignored: bool,
    /// The block does.
    active: bool,
}

/// A fault in a line and the column of the word to blame.
struct Fault(Option<u32>, String);

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault(None, message)
    }
}

impl From<lex::LexError> for Fault {
    fn from(e: lex::LexError) -> Self {
        Fault(None, e.to_string())
    }
}

impl Reader<'_> {
    /// Reads a file that is not included by another.
    pub(super) fn file(&mut self, name: &str, text: &[u8], owner: Owner) {
        self.lines(name, text, owner, 0, false);
    }

    fn lines(&mut self, name: &str, text: &[u8], owner: Owner, depth: u32, ignored: bool) {
        let mut place = Place { source: Source::new(name, 0), owner, depth, ignored, active: !ignored };
        for (number, raw) in lex::lines(text) {
            if self.findings.stopped {
                return;
            }
            place.source.line = number;
            if let Err(Fault(column, message)) = self.line(raw, &mut place) {
                self.findings.errors.push(ConfigError { source: place.source.clone(), column, message });
            }
        }
    }

    fn line(&mut self, raw: &[u8], place: &mut Place) -> Result<(), Fault> {
        let Some(line) = split(raw)? else { return Ok(()) };
        match &*line.keyword.text().to_ascii_lowercase() {
            "host" => self.host(&line, place),
            "match" => self.match_line(&line, place),
            "include" => self.include(&line, place),
            "refuseconnection" => {
                let words = line.words()?;
                let reason = words.first().ok_or_else(|| "missing argument".to_owned())?;
                let message = format!("RefuseConnection: {}", reason.text());
                if place.active { Err(message.into()) } else { Ok(()) }
            }
            _ => {
                let setting = Setting {
                    source: &place.source,
                    active: place.active,
                    by_user: place.owner == Owner::User,
                    lookup: self.subject.machine,
                    algorithms: self.algorithms,
                };
                setting.take(&line, self.options, &mut self.findings.remarks)
            }
        }
    }

    /// `Host pattern…`: a negated pattern that matches decides.
    fn host(&mut self, line: &lex::Line<'_>, place: &mut Place) -> Result<(), Fault> {
        let words = line.words()?;
        if let Some(empty) = words.iter().find(|w| w.bytes.is_empty()) {
            return Err(Fault(Some(empty.column), "keyword Host empty argument".to_owned()));
        }
        let patterns = words.iter().map(|w| w.bytes.as_slice());
        let matched = pattern::matches_list(patterns, self.subject.host.as_bytes()) == ListMatch::Yes;
        place.active = matched && !place.ignored;
        Ok(())
    }

    fn match_line(&mut self, line: &lex::Line<'_>, place: &mut Place) -> Result<(), Fault> {
        // What follows a line that cannot be read must not count.
        place.active = false;
        let outcome = self.subject.decide(&line.words()?, self.options, !place.ignored);
        let outcome = outcome.map_err(|e| format!("bad Match condition: {e}"))?;
        self.findings.wants_final |= outcome.wants_final;
        place.active = outcome.matched && !place.ignored;
        Ok(())
    }

    fn include(&mut self, line: &lex::Line<'_>, place: &Place) -> Result<(), Fault> {
        for word in line.words()? {
            let at = |message: String| Fault(Some(word.column), message);
            let pattern = self.include_pattern(&word.bytes, place.owner).map_err(at)?;
            let files = self.subject.machine.include(&pattern).map_err(at)?;
            for (name, text) in files {
                self.findings.includes += 1;
                if place.depth >= DEPTH_MAX || self.findings.includes > INCLUDES_MAX {
                    self.findings.stopped = true;
                    return Err(at("too many recursive configuration includes".to_owned()));
                }
                // Host and Match lines of the included file do not change what counts in this one.
                self.lines(&name.to_string_lossy(), &text, place.owner, place.depth + 1, !place.active);
            }
        }
        Ok(())
    }

    /// The absolute pattern an Include names.
    fn include_pattern(&self, word: &[u8], owner: Owner) -> Result<OsString, String> {
        if word.is_empty() {
            return Err("keyword Include empty argument".to_owned());
        }
        let table = self.subject.tokens(self.options)?;
        let lookup: &dyn Lookup = self.subject.machine;
        let expanded =
            tokens::percent_environment(word, &table.table(), lookup).map_err(|e| e.to_string())?;
        let anchored = match (expanded.first(), owner) {
            (Some(b'/'), _) => expanded,
            (Some(b'~'), Owner::User) => tokens::tilde(&expanded, lookup).map_err(|e| e.to_string())?,
            (Some(b'~'), Owner::System) => {
                return Err(format!("bad include path {}", expanded.escape_ascii()));
            }
            (_, Owner::User) => [self.subject.local.home.as_bytes(), b"/.ssh/", &expanded].concat(),
            (_, Owner::System) => [b"/etc/ssh/".as_slice(), &expanded].concat(),
        };
        Ok(OsString::from_vec(anchored))
    }
}

/// Reads the argument of `-o`: any keyword but Host, Match and Include.
pub(super) fn option_line(
    raw: &[u8],
    options: &mut Options,
    remarks: &mut Vec<Remark>,
    lookup: &dyn Lookup,
    algorithms: &Algorithms<'_>,
) -> Result<(), ConfigError> {
    let source = Source::command_line();
    let setting = Setting { source: &source, active: true, by_user: true, lookup, algorithms };
    let read = split(raw).and_then(|line| match line {
        None => Ok(()),
        Some(line) if ["host", "match", "include"].iter().any(|k| line.keyword.is(k)) => {
            Err(format!("{} directive not supported as a command-line option", line.keyword.text()).into())
        }
        Some(line) => setting.take(&line, options, remarks),
    });
    read.map_err(|Fault(column, message)| ConfigError { source: source.clone(), column, message })
}

/// Takes a line apart; a keyword alone is an error.
fn split(raw: &[u8]) -> Result<Option<lex::Line<'_>>, Fault> {
    match lex::line(raw)? {
        Some(line) if line.rest.is_empty() => {
            Err(format!("no argument after keyword \"{}\"", line.keyword.text()).into())
        }
        line => Ok(line),
    }
}

/// All that the meaning of one keyword's line depends on.
struct Setting<'p> {
    source: &'p Source,
    active: bool,
    by_user: bool,
    lookup: &'p dyn Lookup,
    algorithms: &'p Algorithms<'p>,
}

impl Setting<'_> {
    fn take(
        &self,
        line: &lex::Line<'_>,
        options: &mut Options,
        remarks: &mut Vec<Remark>,
    ) -> Result<(), Fault> {
        let written = line.keyword.text();
        let Some(row) = Keyword::find(&written) else { return self.without_row(line, options, remarks) };
        let mut args = Arguments::new(line, row.name, self.source, self.lookup, self.algorithms)?;
        args.active = self.active;
        args.by_user = self.by_user;
        let taken = (row.take)(options, &mut args).and_then(|taken| args.finish().map(|()| taken));
        let taken = taken.map_err(|message| Fault(args.column(), format!("{}: {message}", row.name)))?;
        if taken {
            options.sources.insert(row.name, self.source.clone());
        }
        if self.active {
            let said = args.remarks.iter().map(|r| self.remark(Severity::Note, format!("{}: {r}", row.name)));
            remarks.extend(said);
        }
        Ok(())
    }

    /// Keywords that have no effect, and those that nobody knows.
    fn without_row(
        &self,
        line: &lex::Line<'_>,
        options: &Options,
        remarks: &mut Vec<Remark>,
    ) -> Result<(), Fault> {
        let written = line.keyword.text();
        line.words()?;
        if let Some((name, severity, why)) =
            IGNORED.iter().find(|(name, ..)| name.eq_ignore_ascii_case(&written))
        {
            if self.active {
                remarks.push(self.remark(*severity, format!("{name} has no effect: {why}")));
            }
            return Ok(());
        }
        let ignored =
            options.ignore_unknown.iter().flatten().next().map_or(String::new(), |p| p.to_ascii_lowercase());
        let lower = written.to_ascii_lowercase();
        if pattern::matches_joined(ignored.as_bytes(), lower.as_bytes()) == ListMatch::Yes {
            remarks.push(self.remark(Severity::Note, format!("ignored unknown option \"{lower}\"")));
            return Ok(());
        }
        Err(Fault(Some(line.keyword.column), format!("bad configuration option: {}", lower.escape_debug())))
    }

    fn remark(&self, severity: Severity, message: String) -> Remark {
        Remark { severity, what: ConfigError::new(self.source.clone(), message) }
    }
}
