//! The real monitor, reader and helper, and a worker that was taken over: this very binary is the server, and the
//! worker it starts is a puppet on the strings of whoever has connected.
// All of this binary is tests, which the lints do not see without the usual harness.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod puppet;
mod tests;

use std::ffi::OsString;
use std::panic::catch_unwind;
use std::process::ExitCode;

use sockward_privsep::role::{Arguments, Role};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match Arguments::parse(&args) {
        Some(arguments) => match arguments.role {
            Role::Worker | Role::SharedWorker => puppet::run(),
            Role::Reader => hostile::reader(&arguments),
            Role::Helper => hostile::helper(&arguments),
        },
        None if args.get(1).is_some_and(|word| word == "sshd") => serve(&args).into(),
        None => all(&args),
    }
}

/// As `sockward sshd -D -f FILE -EFILE`.
fn serve(args: &[OsString]) -> u8 {
    let mut options = sockward_monitor::Options { foreground: true, ..Default::default() };
    let words: Vec<&str> = args.iter().map(|a| a.to_str().unwrap()).collect();
    let config = words.iter().position(|word| *word == "-f").unwrap();
    options.config = Some(words[config + 1].into());
    options.log_file = words.iter().find_map(|word| word.strip_prefix("-E")).map(Into::into);
    sockward_monitor::run(options)
}

fn all(args: &[OsString]) -> ExitCode {
    let words: Vec<&str> = args.iter().skip(1).filter_map(|a| a.to_str()).collect();
    let filters: Vec<&&str> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in tests::ALL {
        if !filters.is_empty() && !filters.iter().any(|f| name.contains(**f)) {
            continue;
        }
        if words.contains(&"--list") {
            println!("{name}: test");
            continue;
        }
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
