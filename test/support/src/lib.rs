//! What tests of the whole program share: the binary under test, directories that vanish, keys, throwaway users,
//! servers and clients of ours and of OpenSSH, small origins to forward to.
//!
//! A test that cannot run here says why through [`missing`]; with `SOCKWARD_NO_SKIP=1` that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;

mod binary;
mod client;
mod dir;
mod keys;
mod origin;
pub mod serial;
mod server;
mod users;
mod wait;

pub use binary::{sockward, stock};
pub use client::{Client, Running};
pub use dir::TempDir;
pub use keys::{Keys, key_pair};
pub use origin::{Origin, Service, curl};
pub use server::{Server, ServerSetup};
pub use users::{User, is_root, users};
pub use wait::{free_port, wait_for, wait_until};

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Ours,
    /// The distribution's OpenSSH.
    OpenSsh,
}

/// Says that a test cannot run here. True where skipping is allowed; otherwise the test fails.
#[must_use]
pub fn missing(what: &str) -> bool {
    assert!(std::env::var_os("SOCKWARD_NO_SKIP").is_none(), "cannot be skipped: {what}");
    eprintln!("SKIPPED: {what}");
    // The test command tells them all at its end.
    if let Some(path) = std::env::var_os("SOCKWARD_SKIPPED") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{what}").unwrap();
    }
    true
}

/// Whether a program is there; otherwise [`missing`].
#[must_use]
pub fn has_program(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()));
    let found =
        found || ["/usr/sbin", "/sbin"].iter().any(|dir| std::path::Path::new(dir).join(name).is_file());
    found || !missing(&format!("{name} is not installed"))
}
