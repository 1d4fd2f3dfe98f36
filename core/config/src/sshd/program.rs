//! Programs that the configuration names with arguments: AuthorizedKeysCommand, AuthorizedPrincipalsCommand. The
//! line is split once and tokens stand for text inside one argument; no shell sees it.

use std::fmt;

use crate::lex::{self, LexError};
use crate::tokens::{self, Table, TokenError};

/// The tokens of AuthorizedKeysCommand.
pub(super) const KEYS_TOKENS: &[u8] = b"CDUfhktu";
/// The tokens of AuthorizedPrincipalsCommand.
pub(super) const PRINCIPALS_TOKENS: &[u8] = b"CDFKTUfhikstu";

/// What is wrong with the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramError {
    /// A quote is open.
    Quotes(LexError),
    /// There is no program in it.
    Empty,
    /// The program has no absolute path.
    Relative,
    /// A token.
    Token(TokenError),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Quotes(e) => write!(f, "{e}"),
            ProgramError::Empty => f.write_str("the command has no words"),
            ProgramError::Relative => f.write_str("the command must be an absolute path"),
            ProgramError::Token(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for ProgramError {}

/// The program and its arguments. In the program's own path nothing is expanded, as in OpenSSH.
pub fn expand_program(command: &[u8], table: &Table<'_>) -> Result<Vec<Vec<u8>>, ProgramError> {
    let mut words = lex::arguments(command).map_err(ProgramError::Quotes)?.into_iter();
    let program = words.next().ok_or(ProgramError::Empty)?;
    if !program.starts_with(b"/") {
        return Err(ProgramError::Relative);
    }
    let arguments = words.map(|word| tokens::percent(&word, table).map_err(ProgramError::Token));
    std::iter::once(Ok(program)).chain(arguments).collect()
}

/// Whether a line can be expanded with these tokens.
pub(super) fn check_program(command: &[u8], tokens: &[u8]) -> Result<(), ProgramError> {
    let table: Vec<(u8, &[u8])> = tokens.iter().map(|&token| (token, &b""[..])).collect();
    expand_program(command, &table).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_inside_their_argument() {
        let table: &Table<'_> = &[(b'u', b"al ex"), (b'k', b"AAAA; rm")];
        let words = expand_program(br#"/bin/x%u "a %u" '%%' %k #c \"q"#, table).unwrap();
        let expected: [&[u8]; 6] = [b"/bin/x%u", b"a al ex", b"%", b"AAAA; rm", b"#c", b"\"q"];
        assert_eq!(words, expected);
    }

    #[test]
    fn mistakes_are_found_before_anybody_logs_in() {
        for (command, tokens, error) in [
            ("/x \"a", KEYS_TOKENS, ProgramError::Quotes(LexError::UnbalancedQuotes)),
            ("  ", KEYS_TOKENS, ProgramError::Empty),
            ("x %u", KEYS_TOKENS, ProgramError::Relative),
            ("/x %i", KEYS_TOKENS, ProgramError::Token(TokenError::Unknown('i'))),
            ("/x %", PRINCIPALS_TOKENS, ProgramError::Token(TokenError::Unfinished)),
        ] {
            assert_eq!(check_program(command.as_bytes(), tokens), Err(error), "{command}");
        }
        assert_eq!(check_program(b"/x %u %t %T %i %s %F %f %k %K %h %U %C %D", PRINCIPALS_TOKENS), Ok(()));
    }
}
