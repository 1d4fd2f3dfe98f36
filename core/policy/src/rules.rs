//! PermitOpen and PermitListen: lists of what may be opened or listened on, ports and socket paths alike.
//!
//! A list, once given, is the whole list: what it does not name is refused, of either kind. `any` and `none` mean
//! both kinds too.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::path::PathPatternError;
use crate::tcp::{HostPortError, Services};
use crate::{HostPort, Origin, PathPattern, Source};

/// The most entries of one list; OpenSSH's bound for the options of a key.
const ENTRIES_MAX: usize = 4096;

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ListKind {
    /// What the server may connect to for the client (`-L`, `-D`, `-W`).
    PermitOpen,
    /// What the server may listen on for the client (`-R`).
    PermitListen,
}

impl ListKind {
    /// The keyword, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ListKind::PermitOpen => "PermitOpen",
            ListKind::PermitListen => "PermitListen",
        }
    }
}

/// One list as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleList {
    /// Which list it is.
    pub kind: ListKind,
    /// What it permits.
    pub rules: Rules,
    /// Who wrote it.
    pub origin: Origin,
    /// Where it stands.
    pub source: Source,
}

/// What a list permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rules {
    /// `any`.
    Any,
    /// `none`.
    None,
    /// What one of these entries names.
    Only(Vec<Rule>),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// As it was written, for `-T` and `explain`.
    pub text: String,
    /// What it names.
    pub target: Target,
}

/// What an entry names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Hosts and ports.
    Tcp(HostPort),
    /// Socket paths.
    Path(PathPattern),
}

/// Why words are no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleListError {
    /// `any` or `none` beside other entries.
    NotAlone(&'static str),
    /// More entries than any list in use has.
    TooMany,
    /// No entry at all.
    Empty,
    /// A bad host and port.
    Tcp(String, HostPortError),
    /// A bad path.
    Path(String, PathPatternError),
}

impl fmt::Display for RuleListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleListError::NotAlone(word) => write!(f, "'{word}' must stand alone"),
            RuleListError::TooMany => write!(f, "more than {ENTRIES_MAX} entries"),
            RuleListError::Empty => f.write_str("missing argument"),
            RuleListError::Tcp(entry, e) => write!(f, "'{entry}': {e}"),
            RuleListError::Path(entry, e) => write!(f, "'{entry}': {e}"),
        }
    }
}

impl std::error::Error for RuleListError {}

impl RuleList {
    /// Reads the words of a list.
    pub fn parse<'w>(
        kind: ListKind,
        origin: Origin,
        words: impl IntoIterator<Item = &'w [u8]>,
        services: Services<'_>,
        source: Source,
    ) -> Result<Self, RuleListError> {
        let words: Vec<&[u8]> = words.into_iter().take(ENTRIES_MAX + 1).collect();
        let rules = match words.as_slice() {
            [] => return Err(RuleListError::Empty),
            [b"any"] => Rules::Any,
            [b"none"] => Rules::None,
            [..] if words.len() > ENTRIES_MAX => return Err(RuleListError::TooMany),
            [..] if words.contains(&&b"any"[..]) => return Err(RuleListError::NotAlone("any")),
            [..] if words.contains(&&b"none"[..]) => return Err(RuleListError::NotAlone("none")),
            entries => {
                Rules::Only(entries.iter().map(|e| Rule::parse(kind, e, services)).collect::<Result<_, _>>()?)
            }
        };
        Ok(RuleList { kind, rules, origin, source })
    }

    /// The entries as written: what `-T` prints.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (word, rules): (Option<&str>, &[Rule]) = match &self.rules {
            Rules::Any => (Some("any"), &[]),
            Rules::None => (Some("none"), &[]),
            Rules::Only(rules) => (None, rules),
        };
        word.into_iter().chain(rules.iter().map(|r| r.text.as_str()))
    }

    /// Whether it permits something of which `names` knows whether an entry names it.
    pub(crate) fn permits(&self, names: impl Fn(&Target) -> bool) -> bool {
        match &self.rules {
            Rules::Any => true,
            Rules::None => false,
            Rules::Only(rules) => rules.iter().any(|r| names(&r.target)),
        }
    }

    /// Its path patterns.
    pub fn paths(&self) -> impl Iterator<Item = &PathPattern> {
        let rules: &[Rule] = match &self.rules {
            Rules::Any | Rules::None => &[],
            Rules::Only(rules) => rules,
        };
        rules.iter().filter_map(|r| match &r.target {
            Target::Path(pattern) => Some(pattern),
            Target::Tcp(_) => None,
        })
    }
}

impl Rule {
    fn parse(kind: ListKind, entry: &[u8], services: Services<'_>) -> Result<Self, RuleListError> {
        let text = String::from_utf8_lossy(entry).into_owned();
        let target = match PathPattern::parse(entry) {
            Err(e) => return Err(RuleListError::Path(text, e)),
            Ok(Some(pattern)) => Target::Path(pattern),
            Ok(None) => {
                let tcp = match kind {
                    ListKind::PermitOpen => HostPort::parse(entry, services),
                    ListKind::PermitListen => HostPort::parse_listen(entry, services),
                };
                Target::Tcp(tcp.map_err(|e| RuleListError::Tcp(text.clone(), e))?)
            }
        };
        // As OpenSSH prints it: a bare port to listen on is one of any address.
        let bare =
            kind == ListKind::PermitListen && matches!(target, Target::Tcp(_)) && !entry.contains(&b':');
        Ok(Rule { text: if bare { format!("*:{text}") } else { text }, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(kind: ListKind, words: &str) -> Result<RuleList, RuleListError> {
        let words = words.split_whitespace().map(str::as_bytes);
        RuleList::parse(kind, Origin::Configuration, words, &|_| None, Source::new("f", 1))
    }

    #[test]
    fn both_kinds_stand_in_one_list() {
        let list = list(ListKind::PermitListen, "8080 localhost:1-9 /run/%u.sock unix:any").unwrap();
        let texts: Vec<_> = list.texts().collect();
        assert_eq!(texts, ["*:8080", "localhost:1-9", "/run/%u.sock", "unix:any"]);
        assert_eq!(list.paths().count(), 2);
    }

    #[test]
    fn any_and_none_stand_alone() {
        for (words, rules) in [("any", Rules::Any), ("none", Rules::None)] {
            assert_eq!(list(ListKind::PermitOpen, words).unwrap().rules, rules);
        }
        assert_eq!(list(ListKind::PermitOpen, "a:1 any"), Err(RuleListError::NotAlone("any")));
        assert_eq!(list(ListKind::PermitOpen, "none a:1"), Err(RuleListError::NotAlone("none")));
        assert_eq!(list(ListKind::PermitOpen, ""), Err(RuleListError::Empty));
        assert_eq!(list(ListKind::PermitOpen, &"a:1 ".repeat(5000)), Err(RuleListError::TooMany));
    }

    #[test]
    fn errors_name_the_entry() {
        assert_eq!(
            list(ListKind::PermitOpen, "a:1 8080").unwrap_err().to_string(),
            "'8080': bad port number, expected 1 to 65535, a range like 8000-8099, the name of a service or '*'"
        );
        assert!(
            list(ListKind::PermitListen, "/run/../x").unwrap_err().to_string().starts_with("'/run/../x': ")
        );
    }
}
