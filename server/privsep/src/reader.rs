//! Monitor and reader: an account is looked up with the monitor's rights; then the reader gives those up and
//! reads the key files of that account.

use serde::{Deserialize, Serialize};
use sockward_policy::{Account, KeyOptions};

/// What the monitor says to a reader. In this order: look up, become, then any number of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToReader {
    /// Look up an account, and with `host_of` the name of an address.
    LookUp {
        /// The login name.
        user: String,
        /// Look up its host name, too (`UseDNS`, `Match Host`).
        host_of: Option<std::net::IpAddr>,
    },
    /// Give up the monitor's rights and take these; then the files can be named.
    Become(Box<Become>),
    /// Is this key one of the account's?
    FindKey {
        /// The key or certificate.
        key: Vec<u8>,
    },
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
    /// The files, absolute, in order.
    pub files: Vec<Vec<u8>>,
    /// `StrictModes`.
    pub strict: bool,
    /// The peer's address; none where it is not known.
    pub address: Option<std::net::IpAddr>,
    /// The peer's host name, or its address again.
    pub host: String,
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
    /// To [`ToReader::Become`]: the rights are given up.
    Became,
    /// To [`ToReader::FindKey`].
    Key {
        /// The first line that holds the key and admits its use now and from here.
        found: Option<Box<KeyOptions>>,
    },
    /// A line for the log: what was refused and why.
    Note {
        /// Whether it is for level INFO (a file or a line that should have let somebody in and did not); else
        /// VERBOSE.
        important: bool,
        /// The text.
        text: String,
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
