//! What the unit tests of this crate share.

use std::ffi::OsString;

use sockward_config::ssh::Settings;

use crate::start::{Start, start};

/// The settings of `ssh -F none ARGUMENTS host`.
pub(crate) fn settings(arguments: &[&str]) -> Settings {
    plan(arguments).configuration.settings
}

/// The plan of it.
pub(crate) fn plan(arguments: &[&str]) -> crate::plan::Plan {
    let all = ["ssh", "-F", "none"].iter().chain(arguments).chain(&["host"]);
    match start(all.map(OsString::from).collect()) {
        Ok(Start::Connect(plan)) => *plan,
        Ok(Start::Done) | Err(_) => panic!("not a connection: {arguments:?}"),
    }
}
