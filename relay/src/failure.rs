//! What went wrong and on which side, for the message and for the exit status.

use std::fmt;
use std::io;

/// The first or the second address of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// Why the program ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// None for what concerns neither address.
    pub(crate) side: Option<Side>,
    pub(crate) text: String,
}

/// The status for a wrong command line, and for what is neither side's fault.
pub(crate) const OTHER: u8 = 3;

impl Side {
    pub(crate) fn status(self) -> u8 {
        match self {
            Side::First => 1,
            Side::Second => 2,
        }
    }
}

impl Failure {
    /// An address and what is wrong with it.
    pub(crate) fn at(side: Side, address: &str, what: impl fmt::Display) -> Failure {
        Failure { side: Some(side), text: format!("{address}: {what}") }
    }

    pub(crate) fn status(&self) -> u8 {
        self.side.map_or(OTHER, Side::status)
    }
}

/// Errors of our own machinery: the poller, memory.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure { side: None, text: words(&error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error as strerror(3) has it, without the number that std puts behind it.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
