//! What stands for something else in a value: `%h`, `${HOME}`, `~/`. See TOKENS and ENVIRONMENT VARIABLES in
//! ssh_config(5).
//!
//! Which keyword takes which tokens, and what they stand for, is the caller's table. What was put in is never
//! expanded again.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::lookup::Lookup;

/// No value is longer, expanded: twice the longest path, and room for a command. A line that repeats `%d` must
/// not eat the memory.
pub const EXPANDED_MAX: usize = 64 * 1024;

/// Tokens (without the `%`) and what they stand for. `%%` need not be there.
pub type Table<'t> = [(u8, &'t [u8])];

/// Why a value cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// A token that this keyword does not take.
    Unknown(char),
    /// A `%` is the last character.
    Unfinished,
    /// `${` has no `}`.
    Unclosed,
    /// `${}`.
    NoName,
    /// The variable is not set.
    Unset(String),
    /// `~user/` names nobody, or the home directory is not known.
    NoHome(String),
    /// The result is longer than [`EXPANDED_MAX`].
    TooLong,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Unknown(token) => write!(f, "unknown key %{}", token.escape_default()),
            TokenError::Unfinished => f.write_str("a single '%' at the end, write '%%' for a percent sign"),
            TokenError::Unclosed => f.write_str("environment variable missing closing '}'"),
            TokenError::NoName => f.write_str("zero-length environment variable"),
            TokenError::Unset(name) => write!(f, "env var ${{{name}}} has no value"),
            TokenError::NoHome(user) if user.is_empty() => f.write_str("the home directory is not known"),
            TokenError::NoHome(user) => write!(f, "no such user {user}"),
            TokenError::TooLong => write!(f, "the value is longer than {EXPANDED_MAX} bytes"),
        }
    }
}

impl std::error::Error for TokenError {}

/// Expands `%` tokens.
pub fn percent(text: &[u8], table: &Table<'_>) -> Result<Vec<u8>, TokenError> {
    expand(text, Some(table), None)
}

/// Expands `${VARIABLE}`.
pub fn environment(text: &[u8], lookup: &dyn Lookup) -> Result<Vec<u8>, TokenError> {
    expand(text, None, Some(lookup))
}

/// Expands `%` tokens and `${VARIABLE}`.
pub fn percent_environment(
    text: &[u8],
    table: &Table<'_>,
    lookup: &dyn Lookup,
) -> Result<Vec<u8>, TokenError> {
    expand(text, Some(table), Some(lookup))
}

/// Expands a leading `~` or `~user`; slashes after it become one.
pub fn tilde(path: &[u8], lookup: &dyn Lookup) -> Result<Vec<u8>, TokenError> {
    let Some(rest) = path.strip_prefix(b"~") else { return Ok(path.to_vec()) };
    let end = rest.iter().position(|&b| b == b'/').unwrap_or(rest.len());
    let (user, rest) = rest.split_at_checked(end).unwrap_or((rest, b""));
    let asked = if user.is_empty() { None } else { Some(OsStr::from_bytes(user)) };
    let home = lookup.home(asked);
    let mut out =
        home.ok_or_else(|| TokenError::NoHome(String::from_utf8_lossy(user).into_owned()))?.into_vec();
    if out.last() != Some(&b'/') {
        out.push(b'/');
    }
    let start = rest.iter().position(|&b| b != b'/').unwrap_or(rest.len());
    append(&mut out, rest.get(start..).unwrap_or_default())?;
    Ok(out)
}

fn expand(
    text: &[u8],
    table: Option<&Table<'_>>,
    lookup: Option<&dyn Lookup>,
) -> Result<Vec<u8>, TokenError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail.first(), table, lookup) {
            (b'%', None, Some(_), _) => return Err(TokenError::Unfinished),
            (b'%', Some(b'%'), Some(_), _) => {
                out.push(b'%');
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'%', Some(&token), Some(table), _) => {
                let value = table.iter().find(|(t, _)| *t == token).map(|(_, v)| *v);
                append(&mut out, value.ok_or(TokenError::Unknown(char::from(token)))?)?;
                rest = tail.get(1..).unwrap_or_default();
            }
            (b'$', Some(b'{'), _, Some(lookup)) => {
                let inside = tail.get(1..).unwrap_or_default();
                let end = inside.iter().position(|&b| b == b'}').ok_or(TokenError::Unclosed)?;
                let name = inside.get(..end).unwrap_or_default();
                append(&mut out, &variable(name, lookup)?)?;
                rest = inside.get(end + 1..).unwrap_or_default();
            }
            _ => out.push(*first),
        }
    }
    if out.len() > EXPANDED_MAX { Err(TokenError::TooLong) } else { Ok(out) }
}

fn variable(name: &[u8], lookup: &dyn Lookup) -> Result<Vec<u8>, TokenError> {
    if name.is_empty() {
        return Err(TokenError::NoName);
    }
    match lookup.env(OsStr::from_bytes(name)) {
        Some(value) => Ok(value.into_vec()),
        None => Err(TokenError::Unset(String::from_utf8_lossy(name).into_owned())),
    }
}

fn append(out: &mut Vec<u8>, value: &[u8]) -> Result<(), TokenError> {
    if out.len().saturating_add(value.len()) > EXPANDED_MAX {
        return Err(TokenError::TooLong);
    }
    out.extend_from_slice(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    struct Machine;

    impl Lookup for Machine {
        fn env(&self, name: &OsStr) -> Option<OsString> {
            (name == "FOO").then(|| "b%h${FOO}r".into())
        }
        fn service(&self, _: &str) -> Option<u16> {
            None
        }
        fn home(&self, user: Option<&OsStr>) -> Option<OsString> {
            match user {
                None => Some("/home/alex".into()),
                Some(user) => (user == "bob").then(|| "/".into()),
            }
        }
    }

    const TABLE: &Table<'static> = &[(b'h', b"host"), (b'p', b"${FOO}")];

    #[test]
    fn tokens_and_variables_are_expanded_once() {
        assert_eq!(percent(b"%h:%p %%h $x ${FOO}", TABLE).unwrap(), b"host:${FOO} %h $x ${FOO}");
        assert_eq!(environment(b"%h ${FOO} $FOO", &Machine).unwrap(), b"%h b%h${FOO}r $FOO");
        assert_eq!(percent_environment(b"${FOO}%p", TABLE, &Machine).unwrap(), b"b%h${FOO}r${FOO}");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(percent(b"%x", TABLE), Err(TokenError::Unknown('x')));
        assert_eq!(percent(b"a%", TABLE), Err(TokenError::Unfinished));
        assert_eq!(environment(b"${FOO", &Machine), Err(TokenError::Unclosed));
        assert_eq!(environment(b"${}", &Machine), Err(TokenError::NoName));
        assert_eq!(environment(b"${BAR}", &Machine), Err(TokenError::Unset("BAR".into())));
        assert_eq!(TokenError::Unknown('x').to_string(), "unknown key %x");
    }

    #[test]
    fn a_line_of_tokens_is_bounded() {
        let home = vec![b'a'; 4096];
        assert_eq!(percent(&b"%d".repeat(17), &[(b'd', &home)]), Err(TokenError::TooLong));
        assert_eq!(percent(&vec![b'a'; EXPANDED_MAX + 1], TABLE), Err(TokenError::TooLong));
    }

    #[test]
    fn tildes() {
        for (path, expanded) in [
            ("~", "/home/alex/"),
            ("~/", "/home/alex/"),
            ("~//a/b", "/home/alex/a/b"),
            ("~bob/x", "/x"),
            ("~bob", "/"),
            ("/a/~", "/a/~"),
            ("a~", "a~"),
        ] {
            assert_eq!(tilde(path.as_bytes(), &Machine).unwrap(), expanded.as_bytes(), "{path}");
        }
        assert_eq!(tilde(b"~eve/x", &Machine), Err(TokenError::NoHome("eve".into())));
    }
}
