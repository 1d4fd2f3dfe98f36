//! Runs tests one after the other: what this binary starts shares nothing with a test beside it.

use std::ffi::OsString;
use std::panic::catch_unwind;
use std::process::ExitCode;

use crate::{is_root, missing};

/// A test and its name.
pub type Test = (&'static str, fn());

/// Runs the tests whose names contain one of the arguments, or all.
#[must_use]
pub fn run(args: &[OsString], tests: &[Test]) -> ExitCode {
    let words: Vec<_> = args.iter().skip(1).filter_map(|a| a.to_str()).collect();
    let filters: Vec<_> = words.iter().filter(|w| !w.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(**f));
    let mut failed = 0;
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
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

/// Whether a test that needs root may run.
#[must_use]
pub fn root_or_skip(test: &str) -> bool {
    is_root() || !missing(&format!("{test} needs root to take on other uids"))
}
