//! Where a rule was written. Every rule carries it, so that a log line, `explain` and an error can name the
//! line that decided. No text is parsed here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name [`Source`] carries for a setting given with `-o`.
pub const COMMAND_LINE: &str = "command-line";

/// The file and line that a rule stands in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// The file's name as it was given, or [`COMMAND_LINE`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_line_where_there_is_one() {
        assert_eq!(Source::new("/etc/ssh/sshd_config", 7).to_string(), "/etc/ssh/sshd_config:7");
        assert_eq!(Source::command_line().to_string(), "command-line");
    }
}
