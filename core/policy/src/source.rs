//! Where a rule was written. Every rule carries it, so that a log line, `explain` and an error can name the
//! line that decided. No text is parsed here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name [`Source`] carries for a setting given with `-o`.
pub const COMMAND_LINE: &str = "command-line";

/// The file and line that a rule stands in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The file's name as it was given, or [`COMMAND_LINE`], or what stands for a file (a certificate).
    pub file: String,
    /// The line, from 1; 0 where there are no lines.
    pub line: u32,
}

impl Source {
    /// A line of a file.
    #[must_use]
    pub fn new(file: impl Into<String>, line: u32) -> Self {
        Source { file: file.into(), line }
    }

    /// A setting given on the command line.
    #[must_use]
    pub fn command_line() -> Self {
        Source::new(COMMAND_LINE, 0)
    }
}

/// `file:line`, or the name alone where there are no lines.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 { write!(f, ":{}", self.line) } else { Ok(()) }
    }
}

/// Who wrote a rule: a user's own file cannot lift what the administrator's says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// The configuration.
    Configuration,
    /// A line of authorized_keys or a certificate.
    Key,
}

/// What decided: a written rule, or what holds where nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum By {
    /// This line.
    Rule(Source),
    /// No rule was written.
    Default,
}

impl From<Option<&Source>> for By {
    fn from(source: Option<&Source>) -> Self {
        source.map_or(By::Default, |s| By::Rule(s.clone()))
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            By::Rule(source) => source.fmt(f),
            By::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_line_where_there_is_one() {
        assert_eq!(Source::new("/etc/ssh/sshd_config", 7).to_string(), "/etc/ssh/sshd_config:7");
        assert_eq!(Source::command_line().to_string(), "command-line");
        assert_eq!(By::from(None).to_string(), "default");
    }
}
