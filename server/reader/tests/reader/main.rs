//! Readers as the monitor starts them: this very binary, executed again with a reader's arguments. So it has a
//! `main` of its own in place of the usual harness, which would have threads.

// All of this binary is tests, which the lints do not see without the usual harness.
#![allow(clippy::unwrap_used, clippy::panic)]

mod accounts;
mod commands;
mod double;
mod files;
mod lists;

use std::process::ExitCode;

use sockward_privsep::role::Arguments;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    match Arguments::parse(&args) {
        Some(arguments) => sockward_reader::run(&arguments).into(),
        None => sockward_test_support::serial::run(
            &args,
            &[files::TESTS, lists::TESTS, commands::TESTS, accounts::TESTS].concat(),
        ),
    }
}
