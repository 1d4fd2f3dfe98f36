//! `cargo test -p sockward-test-regress [-- WORD…]`: every script of the table, or those whose "S name" or "C name"
//! holds one of the words. `--list` names them; `--test-threads=N` runs N at once. Scripts that take minutes are run
//! when they are named, or with SOCKWARD_LONG=1.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use sockward_test_regress::{Column, Row, SCRIPTS, Script, TABLE, run_all, show};
use sockward_test_support::{has_program, is_root, missing, sockward};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted: Vec<(Script, Column)> = TABLE
        .iter()
        .flat_map(|script| script.columns.iter().map(|column| (*script, *column)))
        .filter(|(script, column)| {
            let name = format!("{column:?} {}", script.name);
            let named = words.iter().any(|word| name.contains(word.as_str()));
            named || words.is_empty() && (!script.long || std::env::var_os("SOCKWARD_LONG").is_some())
        })
        .collect();
    if arguments.iter().any(|a| a == "--list") {
        for (script, column) in &wanted {
            println!("{column:?} {}: test", script.name);
        }
        return ExitCode::SUCCESS;
    }
    if !can_run() {
        return ExitCode::SUCCESS;
    }
    let threads = arguments.iter().find_map(|a| a.strip_prefix("--test-threads="));
    // Half of the time a script sleeps.
    let at_once = threads.map_or_else(
        || 2 * std::thread::available_parallelism().map_or(2, usize::from),
        |n| n.parse().expect("--test-threads=N"),
    );
    // Built once, before several want it.
    sockward();
    let began = Instant::now();
    let rows = run_all(wanted, at_once);
    println!("{}", show(TABLE, &rows));
    let wrong = rows.iter().filter(|r| !r.is_right()).count();
    println!("{} run, {wrong} not right, {:.0} s", rows.len(), began.elapsed().as_secs_f32());
    if rows.iter().all(Row::is_right) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn can_run() -> bool {
    if !is_root() {
        return !missing("the regression tests need root, for network namespaces");
    }
    if !Path::new(SCRIPTS).join("test-exec.sh").is_file() {
        return !missing(&format!("{SCRIPTS} is not there (Debian: openssh-tests)"));
    }
    // Debian's sshd is built to want it.
    let _ = std::fs::create_dir("/run/sshd");
    ["unshare", "ip", "nc", "sshd", "ssh"].iter().all(|name| has_program(name))
}
