//! Patterns of socket paths: the entries of PermitListen and PermitOpen that start with `/`, `~/` or `unix:`.
//!
//! An entry is read once ([`PathPattern::parse`]), filled in for an account ([`PathPattern::expand`]) and matched
//! against a path that the host layer has *resolved*. Nothing is looked up here: of a pattern the host layer
//! resolves [`PathGlob::directory`] by the same walk as the request, and passes the result back.
//!
//! - `%u`, `%U`, `%h`, `%%` stand for the login name, the uid, the home directory and a percent sign. A value that
//!   holds a wildcard, or (the home excepted) a slash or is `..`, makes the entry match nothing.
//! - `~/x` and `unix:x` (no slash at the start) are under the home directory, `unix:any` is every path.
//! - `*` and `?` match inside one component and never `.` or `..`, which a resolved path does not have.

use std::fmt;

use serde::{Deserialize, Serialize};
use sockward_wire::{SocketPath, SocketPathError, pattern};

use crate::Account;

/// An entry as it was written, its syntax checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathPattern {
    /// `unix:any`.
    Any,
    /// A path that starts with `/`, or with `%h` where it is under the home directory.
    Path(Vec<u8>),
}

/// Why an entry is no pattern of socket paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPatternError {
    /// Not a path at all: empty, a NUL, too long.
    Path(SocketPathError),
    /// `.` or `..` among the components.
    Dots,
    /// A percent sign with anything but u, U, h or % behind it, or %h not at the start.
    Token,
    /// It ends with a slash, so it names a directory.
    Directory,
}

impl fmt::Display for PathPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPatternError::Path(e) => e.fmt(f),
            PathPatternError::Dots => {
                f.write_str("'.' and '..' cannot be components of a permitted path, write the path without them")
            }
            PathPatternError::Token => {
                f.write_str("unknown token, %u, %U, %% and (at the start) %h can stand in a permitted path")
            }
            PathPatternError::Directory => f.write_str(
                "a permitted path names a socket and cannot end with '/', to permit all in a directory add '*'",
            ),
        }
    }
}

impl std::error::Error for PathPatternError {}

/// Why an entry matches nothing for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpandError {
    /// The login name cannot stand for literal text in a path.
    Name,
    /// The home directory is not absolute or holds a wildcard, `.` or `..`.
    Home,
}

impl PathPattern {
    /// Reads an entry; `None` if it does not start with `/`, `~/`, `%h/` or `unix:`, so it is a host and port.
    pub fn parse(entry: &[u8]) -> Result<Option<Self>, PathPatternError> {
        let path = if entry == b"unix:any" {
            return Ok(Some(PathPattern::Any));
        } else if let Some(rest) = entry.strip_prefix(b"unix:") {
            rest
        } else if [&b"/"[..], b"~/", b"%h/"].iter().any(|start| entry.starts_with(start)) {
            entry
        } else {
            return Ok(None);
        };
        SocketPath::new(path).map_err(PathPatternError::Path)?;
        let path = match path {
            [b'/', ..] | [b'%', b'h', b'/', ..] => path.to_vec(),
            [b'~', b'/', rest @ ..] | rest => [b"%h/", rest].concat(),
        };
        check(&path)?;
        Ok(Some(PathPattern::Path(path)))
    }

    /// Fills in the tokens; `None` is every path.
    pub fn expand(&self, account: &Account) -> Result<Option<PathGlob>, ExpandError> {
        let PathPattern::Path(template) = self else { return Ok(None) };
        let mut path = Vec::with_capacity(template.len());
        let mut bytes = template.iter();
        while let Some(&b) = bytes.next() {
            match (b, bytes.as_slice().first()) {
                (b'%', Some(b'u')) => path.extend_from_slice(literal_name(account)?),
                (b'%', Some(b'U')) => path.extend_from_slice(account.uid.to_string().as_bytes()),
                (b'%', Some(b'h')) => path.extend_from_slice(literal_home(account)?),
                (b'%', Some(_)) => path.push(b'%'),
                (b'%', None) | (_, _) => {
                    path.push(b);
                    continue;
                }
            }
            bytes.next();
        }
        Ok(Some(PathGlob(components(&path).map(<[u8]>::to_vec).collect())))
    }
}

fn check(path: &[u8]) -> Result<(), PathPatternError> {
    if path.ends_with(b"/") {
        return Err(PathPatternError::Directory);
    }
    if components(path).any(is_dots) {
        return Err(PathPatternError::Dots);
    }
    let mut rest = path.strip_prefix(b"%h").unwrap_or(path);
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        match rest.get(at + 1) {
            Some(b'u' | b'U' | b'%') => rest = rest.get(at + 2..).unwrap_or_default(),
            Some(_) | None => return Err(PathPatternError::Token),
        }
    }
    Ok(())
}

fn literal_name(account: &Account) -> Result<&[u8], ExpandError> {
    let name = account.name.as_bytes();
    let literal = !name.is_empty() && !name.iter().any(|b| b"/*?\0".contains(b)) && !is_dots(name);
    literal.then_some(name).ok_or(ExpandError::Name)
}

fn literal_home(account: &Account) -> Result<&[u8], ExpandError> {
    let home = account.home.as_slice();
    let literal =
        home.starts_with(b"/") && !home.iter().any(|b| b"*?\0".contains(b)) && !components(home).any(is_dots);
    literal.then_some(home).ok_or(ExpandError::Home)
}

fn is_dots(component: &[u8]) -> bool {
    component == b"." || component == b".."
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|c| !c.is_empty())
}

/// A pattern for one account: its components, wildcards in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGlob(Vec<Vec<u8>>);

impl PathGlob {
    /// The leading directories without wildcards, as a path: what the host layer is to resolve. At least `/`,
    /// never the last component.
    #[must_use]
    pub fn directory(&self) -> Vec<u8> {
        let (literal, _) = self.split();
        if literal.is_empty() {
            return b"/".to_vec();
        }
        literal.iter().flat_map(|c| [b"/", c.as_slice()].concat()).collect()
    }

    /// Whether it matches `path`, a resolved path, where `directory` is what [`PathGlob::directory`] was resolved to.
    #[must_use]
    pub fn matches(&self, directory: &[u8], path: &[u8]) -> bool {
        let (_, pattern) = self.split();
        let mut path = components(path);
        for wanted in components(directory) {
            if path.next() != Some(wanted) {
                return false;
            }
        }
        for wanted in pattern {
            match path.next() {
                Some(component) if !is_dots(component) && pattern::matches(wanted, component) => {}
                Some(_) | None => return false,
            }
        }
        path.next().is_none()
    }

    fn split(&self) -> (&[Vec<u8>], &[Vec<u8>]) {
        let has_wildcard = |c: &Vec<u8>| c.iter().any(|b| b"*?".contains(b));
        let last = self.0.len().saturating_sub(1);
        let literal = self.0.iter().take(last).take_while(|c| !has_wildcard(c)).count();
        self.0.split_at_checked(literal).unwrap_or_default()
    }
}

/// The whole way of an entry from bytes that anyone may have written. For fuzzing.
#[doc(hidden)]
pub fn fuzz_path_pattern(data: &[u8]) {
    let mut parts = data.splitn(3, |&b| b == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (entry, home, path) = (part(), part(), part());
    let name = String::from_utf8_lossy(path).into_owned();
    let account = Account { name, uid: 1000, gid: 1000, home: home.to_vec(), shell: Vec::new() };
    let Ok(Some(pattern)) = PathPattern::parse(entry) else { return };
    if let Ok(Some(glob)) = pattern.expand(&account) {
        let directory = glob.directory();
        assert!(directory.starts_with(b"/") && !components(&directory).any(is_dots));
        assert!(!glob.matches(&directory, &[path, b"/.."].concat()));
        let _ = glob.matches(&directory, path);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> Account {
        let name = "alex".into();
        Account { name, uid: 1000, gid: 1000, home: b"/home/alex".into(), shell: b"/bin/sh".into() }
    }

    fn glob(entry: &str) -> PathGlob {
        PathPattern::parse(entry.as_bytes()).unwrap().unwrap().expand(&account()).unwrap().unwrap()
    }

    #[test]
    fn what_is_a_path() {
        for path in ["/run/x", "~/x", "%h/x", "unix:x", "unix:/x", "unix:~/x", "unix:any", "/%u%U%%"] {
            assert!(matches!(PathPattern::parse(path.as_bytes()), Ok(Some(_))), "{path}");
        }
        for tcp in ["any", "none", "8080", "localhost:80", "[::1]:80", "~x", "run/x", ""] {
            assert_eq!(PathPattern::parse(tcp.as_bytes()), Ok(None), "{tcp}");
        }
        for (bad, error) in [
            ("unix:", PathPatternError::Path(SocketPathError::Empty)),
            ("/a\0", PathPatternError::Path(SocketPathError::Nul)),
            ("/run/../etc/x", PathPatternError::Dots),
            ("unix:../x", PathPatternError::Dots),
            ("~/./x", PathPatternError::Dots),
            ("/run/%x", PathPatternError::Token),
            ("/run/%", PathPatternError::Token),
            ("/run/%h", PathPatternError::Token),
            ("/run/", PathPatternError::Directory),
            ("~/", PathPatternError::Directory),
        ] {
            assert_eq!(PathPattern::parse(bad.as_bytes()), Err(error), "{bad}");
        }
    }

    #[test]
    fn directories_to_resolve() {
        for (entry, directory) in [
            ("/run/vnc/alex.sock", "/run/vnc"),
            ("/run/*/alex.sock", "/run"),
            ("/run/v?c/x/alex.sock", "/run"),
            ("/*", "/"),
            ("/x", "/"),
            ("//run//%u///x", "/run/alex"),
            ("~/x", "/home/alex"),
            ("unix:a/b", "/home/alex/a"),
            ("/run/user/%U/x", "/run/user/1000"),
            ("/run/100%%/x", "/run/100%"),
        ] {
            assert_eq!(String::from_utf8(glob(entry).directory()).unwrap(), directory, "{entry}");
        }
    }

    #[test]
    fn resolved_is_matched_against_resolved() {
        // entry, what its directory resolves to, the request's resolved path, matches
        for (entry, directory, path, yes) in [
            ("/run/vnc/a.sock", "/run/vnc", "/run/vnc/a.sock", true),
            ("/run/vnc/a.sock", "/run/vnc", "/run/vnc/b.sock", false),
            ("/run/vnc/a.sock", "/run/vnc", "/run/vnc/a.sock/x", false),
            ("/var/run/a.sock", "/run", "/run/a.sock", true),
            ("/var/run/a.sock", "/run", "/var/run/a.sock", false),
            ("/run/vnc/*.sock", "/run/vnc", "/run/vnc/alex.sock", true),
            ("/run/vnc/*.sock", "/run/vnc", "/run/vnc/x/alex.sock", false),
            ("/run/vnc/*.sock", "/run/vnc", "/run/vncx/alex.sock", false),
            ("/run/*", "/run", "/run/a/b", false),
            ("/run/*/b", "/run", "/run/a/b", true),
            ("/run/?", "/run", "/run/a", true),
            ("/run/?", "/run", "/run/ab", false),
            ("/run/*", "/run", "/run/..", false),
            ("/run/*", "/run", "/run", false),
            ("/*", "/", "/x", true),
            ("/*", "/", "/x/y", false),
        ] {
            assert_eq!(glob(entry).matches(directory.as_bytes(), path.as_bytes()), yes, "{entry} {path}");
        }
    }

    #[test]
    fn values_that_are_not_literal_text_match_nothing() {
        let user = PathPattern::parse(b"/run/%u/x").unwrap().unwrap();
        let home = PathPattern::parse(b"~/x").unwrap().unwrap();
        for name in ["", "..", ".", "a/b", "a*", "?"] {
            assert_eq!(
                user.expand(&Account { name: name.into(), ..account() }),
                Err(ExpandError::Name),
                "{name}"
            );
        }
        for dir in ["", "home/alex", "/home/*", "/home/../root"] {
            let account = Account { home: dir.into(), ..account() };
            assert_eq!(home.expand(&account), Err(ExpandError::Home), "{dir}");
            assert!(user.expand(&account).is_ok());
        }
        // A value is text: a percent sign in it is no token.
        let account = Account { name: "%h".into(), ..account() };
        assert_eq!(user.expand(&account).unwrap().unwrap().directory(), b"/run/%h");
    }

    proptest! {
        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_path_pattern(&data);
        }

        #[test]
        fn never_panics_on_likely_text(data in "(/|~/|unix:|%h/)[a-z%uUh*?./]{0,12}\n/[a-z./]{0,8}\n[a-z./]{0,20}") {
            fuzz_path_pattern(data.as_bytes());
        }

        #[test]
        fn a_literal_path_matches_itself_alone(a in "(/[a-z]{1,3}){1,3}", b in "(/[a-z]{1,3}){1,3}") {
            let glob = glob(&a);
            prop_assert_eq!(glob.matches(&glob.directory(), b.as_bytes()), a == b);
        }
    }
}
