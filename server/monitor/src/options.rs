//! What the command line of sshd(8) asks for. Its parser is the command-line crate's.

use std::path::PathBuf;

/// The flags, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-D`: stay in the foreground.
    pub foreground: bool,
    /// `-d`: debug: more each time; stays in the foreground, serves one connection, logs to stderr.
    pub debug: u8,
    /// `-e`: log to stderr.
    pub log_to_stderr: bool,
    /// `-E FILE`: log to this file.
    pub log_file: Option<PathBuf>,
    /// `-f FILE`.
    pub config: Option<PathBuf>,
    /// `-i`: serve the one connection on standard input and output.
    pub inetd: bool,
    /// `-o`, and what `-g` and `-h` stand for, in order: lines that come before the file.
    pub lines: Vec<String>,
    /// `-p`.
    pub ports: Vec<u16>,
    /// `-q`: log nothing.
    pub quiet: bool,
    /// `-t`, `-T`.
    pub test: Option<Test>,
    /// `-C`: for whom `-T` tells the values.
    pub specs: Vec<String>,
}

/// What to do in place of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// `-t`: check the configuration and the keys.
    Check,
    /// `-T`: tell the values that hold.
    Dump,
}
