//! Monitor and reader. A reader does one of three jobs, each with the rights that the job needs and no others:
//!
//! - *account*: looks up an account with the monitor's rights, then becomes that user and reads the user's files;
//! - *guard*: opens the administrator's lists (revoked keys, authorities) with the monitor's rights, then becomes
//!   the workers' user and reads them;
//! - *command*: becomes the user of AuthorizedKeysCommand or AuthorizedPrincipalsCommand, runs it and reads what it
//!   prints.

use serde::{Deserialize, Serialize};
use sockward_policy::{Account, KeyOptions, Presented, Source};

/// What the monitor says to a reader. The first question says which job it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToReader {
    /// Account: look up an account, and with `host_of` the name of an address.
    LookUp {
        /// The login name.
        user: String,
        /// Look up its host name, too (`UseDNS`, `Match Host`).
        host_of: Option<std::net::IpAddr>,
    },
    /// Account, second: give up the monitor's rights and take these; then the files can be named.
    Become(Box<Become>),
    /// Account, then as often as needed: is this key one of the account's? For a certificate: is its authority?
    FindKey(Box<Presented>),
    /// Account, then as often as needed: is one of these names in `AuthorizedPrincipalsFile`?
    FindPrincipal {
        /// Whom a certificate is for.
        principals: Vec<Vec<u8>>,
    },
    /// Guard: the lists; then the monitor's rights are given up.
    Guard(Box<Guard>),
    /// Guard, as often as needed: is this key revoked, and is its authority trusted?
    Judge(Box<Presented>),
    /// Command: run it, once.
    Run(Box<Command>),
}

/// Whom to become and what to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Become {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// For the supplementary groups; none = no groups.
    pub groups_of: Option<String>,
    /// The home directory: up to here `StrictModes` checks.
    pub home: Vec<u8>,
    /// `AuthorizedKeysFile`: absolute, in order.
    pub files: Vec<Vec<u8>>,
    /// `AuthorizedPrincipalsFile`: absolute.
    pub principals_file: Option<Vec<u8>>,
    /// `StrictModes`.
    pub strict: bool,
    /// Who asks.
    pub asker: Asker,
}

/// Who wants to log in, from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The account's name: a certificate must be for it where no list of names says otherwise.
    pub user: String,
    /// The peer's address; none where it is not known.
    pub address: Option<std::net::IpAddr>,
    /// The peer's host name, or its address again.
    pub host: String,
}

/// The administrator's lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The workers' user id.
    pub uid: u32,
    /// The workers' group id.
    pub gid: u32,
    /// `RevokedKeys`.
    pub revoked: Vec<Vec<u8>>,
    /// `TrustedUserCAKeys`.
    pub authorities: Option<Vec<u8>>,
}

/// A program of the administrator's, and what is looked for in what it prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The keyword that names it, for the log.
    pub keyword: String,
    /// The account that it runs as.
    pub run_as: String,
    /// The program and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// How many seconds it may take.
    pub seconds: u64,
    /// Looked for.
    pub search: Search,
    /// Who asks.
    pub asker: Asker,
}

/// What is looked for in a program's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Search {
    /// A line of authorized_keys.
    Key(Presented),
    /// A line of authorized principals with one of these names.
    Principal(Vec<Vec<u8>>),
}

/// What a reader says. One answer to each question, in order; notes come before the answer they belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromReader {
    /// To [`ToReader::LookUp`].
    Found {
        /// The account; none if there is no such.
        account: Option<Box<AccountFacts>>,
        /// The peer's host name, where it was asked for and is confirmed.
        host: Option<String>,
    },
    /// To [`ToReader::Become`] and [`ToReader::Guard`]: the rights are given up.
    Became,
    /// To [`ToReader::FindKey`], [`ToReader::FindPrincipal`] and [`ToReader::Run`].
    Key {
        /// The first line that holds what is looked for and admits its use now and from here.
        found: Option<Box<KeyOptions>>,
    },
    /// To [`ToReader::Judge`].
    Judged(Verdict),
    /// A line for the log: what was refused and why.
    Note {
        /// Whether it is for level INFO (a file or a line that should have let somebody in and did not); else
        /// VERBOSE.
        important: bool,
        /// The text.
        text: String,
    },
}

/// What the administrator's lists say of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is revoked, or a list cannot be read, which revokes everything.
    Revoked,
    /// It is not revoked.
    Passed {
        /// Where its authority stands in `TrustedUserCAKeys`.
        authority: Option<Source>,
    },
}

/// Everything that is known of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFacts {
    /// Name, ids, home, shell.
    pub account: Account,
    /// Names of all its groups.
    pub groups: Vec<String>,
    /// Why it may not log in, whatever the key: locked, expired, a shell that cannot be executed.
    pub barred: Option<String>,
    /// The text of /etc/nologin, which bars everybody but root.
    pub nologin: Option<Vec<u8>>,
}
