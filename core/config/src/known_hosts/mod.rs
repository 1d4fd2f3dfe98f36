//! known_hosts: which keys a host is known by. See sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
//!
//! Text in, findings out: reading and writing the file, asking the user and checking a certificate are the
//! client's business. One bad line is reported and loses no other.
//!
//! ```text
//!   read(file, bytes)…  ─▶ KnownHosts ─ check(host, key) ─▶ Findings ─ verdict() ─▶ Verdict
//!                                     ├ key_types(host)  ─▶ KnownTypes ─ order(algorithms)
//!                                     └ compare(host, a server's keys) ─▶ Comparison; replaced(text, …) ─▶ text
//! ```

mod check;
mod entry;
mod line;
mod order;
#[cfg(test)]
mod tests;
mod update;

pub use check::{Findings, Presented, Verdict, fuzz_known_hosts};
pub use entry::{Entry, HostPatterns, Marker};
pub use line::{hashed_line, is_recordable, plain_line};
pub use order::KnownTypes;
pub use update::{Comparison, HostNames, Obstacle, replaced};

use crate::{ConfigError, lex};
use sockward_policy::Source;

/// HMAC-SHA1 (RFC 2104) of `data` under `key`: the one computation hashed names need. The caller brings it, for
/// this crate links no cryptography.
pub type HmacSha1 = fn(key: &[u8; 20], data: &[u8]) -> [u8; 20];

/// No bigger file makes sense; the caller reads no more. Lookups go through every line.
pub const FILE_MAX: usize = 16 << 20;

/// The lines of all known_hosts files, in the order they were read.
#[derive(Clone, Debug)]
pub struct KnownHosts {
    entries: Vec<Entry>,
    problems: Vec<ConfigError>,
    hmac: HmacSha1,
}

/// The name or names that a host is looked up and recorded by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    name: String,
    bare: Option<String>,
}

impl HostName {
    /// A host (name or address) and the port it is connected at: `host`, or `[host]:port` if that is not 22.
    ///
    /// A key known for `host` alone is also good at another port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        if port == 22 || port == 0 {
            HostName { name: host, bare: None }
        } else {
            HostName { name: format!("[{host}]:{port}"), bare: Some(host) }
        }
    }

    /// A HostKeyAlias: it is used as it is, whatever the port.
    #[must_use]
    pub fn alias(alias: &str) -> Self {
        HostName { name: alias.to_ascii_lowercase(), bare: None }
    }

    /// What is written to a file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl KnownHosts {
    /// Knows nobody.
    #[must_use]
    pub fn new(hmac: HmacSha1) -> Self {
        KnownHosts { entries: Vec::new(), problems: Vec::new(), hmac }
    }

    /// Adds the lines of a file.
    pub fn read(&mut self, file: &str, text: &[u8]) {
        for (number, line) in lex::lines(text) {
            let source = Source::new(file, number);
            match Entry::parse(line, source.clone()) {
                Ok(Some(entry)) => self.entries.push(entry),
                Ok(None) => {}
                Err(what) => self.problems.push(ConfigError::new(source, what)),
            }
        }
    }

    /// All lines that could be read.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The lines that could not be read, for a debug message each.
    #[must_use]
    pub fn problems(&self) -> &[ConfigError] {
        &self.problems
    }

    /// The lines that stand for a host, without its bare name.
    fn lines_for<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Entry> {
        self.entries.iter().filter(move |entry| entry.hosts.matches(name, self.hmac))
    }

    /// Where else a key is known, for the question whether to trust it: lines without a marker that are not the
    /// host's own, with the names they stand for.
    pub fn other_names<'e>(&'e self, host: &'e HostName, key: &'e [u8]) -> impl Iterator<Item = &'e Entry> {
        self.entries.iter().filter(move |entry| {
            entry.marker.is_none() && entry.key == key && !entry.hosts.matches(&host.name, self.hmac)
        })
    }
}
