//! What reading the client's configuration asks of the machine, and what it is told of the one who runs it.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;

use crate::lookup::{Lookup, NoLookup};

/// Answers from the machine; the caller reads, runs and looks up.
pub trait Machine: Lookup {
    /// Runs a command with the user's shell, standard input and output being /dev/null (`Match exec`): whether it
    /// ended with status 0. The error says why it could not be run to its end.
    fn succeeds(&self, command: &OsStr) -> Result<bool, String>;

    /// The files whose absolute paths match a glob(3) pattern, sorted, with their contents (`Include`). What is not
    /// there is left out. A file of another owner, or one that others may write, must be an error.
    fn include(&self, pattern: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>, String>;

    /// The addresses of the interfaces that are up (`Match localnetwork`).
    fn addresses(&self) -> Vec<IpAddr>;
}

/// Nothing is run, no file is there.
impl Machine for NoLookup {
    fn succeeds(&self, _: &OsStr) -> Result<bool, String> {
        Err("commands cannot be run here".to_owned())
    }

    fn include(&self, _: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>, String> {
        Ok(Vec::new())
    }

    fn addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// Who runs the client, and where.
#[derive(Clone, Debug)]
pub struct Local {
    /// The user's name.
    pub user: String,
    /// The user's id.
    pub uid: u32,
    /// The user's home directory.
    pub home: OsString,
    /// This machine's name, as gethostname(2) has it.
    pub hostname: String,
    /// The version of this program, for `Match version`.
    pub version: String,
    /// SHA-1, for `%C` alone: this crate links no cryptography.
    pub sha1: fn(&[u8]) -> [u8; 20],
}
