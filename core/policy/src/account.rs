//! The facts of the account that is logged in to. Looked up by the host layer, never here.

use serde::{Deserialize, Serialize};

/// What the name service says of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The login name. Accounts whose name is not UTF-8 are not served.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The id of the primary group.
    pub gid: u32,
    /// The home directory, as the name service gives it.
    pub home: Vec<u8>,
    /// The login shell; empty stands for /bin/sh.
    pub shell: Vec<u8>,
}
