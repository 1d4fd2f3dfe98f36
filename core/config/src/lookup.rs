//! What reading a configuration asks of the machine. This crate touches neither files nor environment: the
//! caller answers.

use std::ffi::{OsStr, OsString};

/// Answers from the environment, the service table and the user table.
pub trait Lookup {
    /// An environment variable.
    fn env(&self, name: &OsStr) -> Option<OsString>;
    /// The TCP port of a service of /etc/services.
    fn service(&self, name: &str) -> Option<u16>;
    /// The home directory of a user by name, or of the one who runs the program.
    fn home(&self, user: Option<&OsStr>) -> Option<OsString>;
}

/// A machine without environment, services and users.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn env(&self, _: &OsStr) -> Option<OsString> {
        None
    }

    fn service(&self, _: &str) -> Option<u16> {
        None
    }

    fn home(&self, _: Option<&OsStr>) -> Option<OsString> {
        None
    }
}

/// A TCP port by number or by a service's name. Port 0 is one: the caller decides whether it may be.
pub(crate) fn port(text: &str, lookup: &dyn Lookup) -> Option<u16> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    if text.is_empty() { None } else { lookup.service(text) }
}
