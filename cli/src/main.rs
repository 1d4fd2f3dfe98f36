//! The `sockward` binary: which program is meant, and off to it.
//!
//! A process that the server's monitor has started knows its role from its arguments; a name of `ssh` or
//! `sshd` (a symbolic link) means that program; otherwise the first argument names one.

mod demo;
mod programs;
mod share;
mod ssh;
mod sshd;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use sockward_privsep::role::{Arguments, Role};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(arguments) = Arguments::parse(&args) {
        return ExitCode::from(run_role(&arguments));
    }
    let called = args.first().map(|name| Path::new(name).file_name().unwrap_or_default());
    match called.and_then(OsStr::to_str) {
        Some("ssh") => ExitCode::from(ssh::main(args)),
        Some("sshd") => ExitCode::from(sshd::main(args)),
        _ => ExitCode::from(programs::main(args)),
    }
}

/// A process of the server.
fn run_role(arguments: &Arguments) -> u8 {
    match arguments.role {
        Role::Worker | Role::SharedWorker => sockward_worker::run(arguments),
        Role::Reader => sockward_reader::run(arguments),
        Role::Helper => sockward_helper::run(arguments),
    }
}
