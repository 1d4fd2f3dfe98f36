//! One fault in one line of a file, with its place. Said in the style of OpenSSH's messages.

use std::fmt;

use sockward_policy::Source;

/// What is wrong in a line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file and line; line 0 for the command line.
    pub source: Source,
    /// The byte column, from 1, where one word is to blame.
    pub column: Option<u32>,
    /// Lower-case start, no full stop at the end.
    pub message: String,
}

impl ConfigError {
    /// A fault of a whole line.
    #[must_use]
    pub fn new(source: Source, message: impl Into<String>) -> Self {
        ConfigError { source, column: None, message: message.into() }
    }

    /// A fault that one word is to blame for.
    #[must_use]
    pub fn at(source: Source, column: u32, message: impl Into<String>) -> Self {
        ConfigError { source, column: Some(column), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.file)?;
        if self.source.line > 0 {
            write!(f, " line {}", self.source.line)?;
            if let Some(column) = self.column {
                write!(f, " column {column}")?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}
