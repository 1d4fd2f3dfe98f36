//! Every program tells what it takes, and the manual pages have every flag.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

fn sockward(args: &[&str]) -> (String, bool) {
    let out = Command::new(env!("CARGO_BIN_EXE_sockward")).args(args).output().unwrap();
    (String::from_utf8(out.stdout).unwrap(), out.status.success())
}

fn manual(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_program_has_help_and_a_place_in_the_manual() {
    let (help, works) = sockward(&["--help"]);
    assert!(works);
    let page = manual("sockward.1");
    let programs: Vec<_> = help.lines().filter(|l| l.starts_with("  ")).collect();
    assert!(programs.len() >= 3, "{help}");
    for line in programs {
        let name = line.split_whitespace().next().unwrap();
        let (text, works) = sockward(&[name, "--help"]);
        assert!(works && text.starts_with("usage: sockward "), "{name} --help: {text}");
        assert!(page.contains(&format!(".It Cm {name}")), "{name} is not in sockward.1");
    }
}

#[test]
fn the_server_s_manual_page_has_every_flag() {
    let (help, _) = sockward(&["sshd", "--help"]);
    let page = manual("sockward-sshd.8");
    let flags: Vec<_> = help.lines().filter_map(|l| l.strip_prefix("  -")?.chars().next()).collect();
    assert!(flags.len() > 10);
    for flag in flags.into_iter().filter(|f| *f != '-') {
        let has = page.lines().any(|l| l.starts_with(".It Fl") && l.contains(&format!("Fl {flag}")));
        assert!(has, "-{flag} is not in sockward-sshd.8");
    }
}

#[test]
fn the_gate_s_and_the_relay_s_manual_pages_have_every_flag() {
    let (help, _) = sockward(&["gate", "--help"]);
    let page = manual("sockward-gate.1");
    let flags: Vec<_> = help.lines().filter_map(|l| l.trim_start().strip_prefix("--")).collect();
    assert!(flags.len() > 8);
    for flag in flags {
        let name = flag.split_whitespace().next().unwrap();
        assert!(page.contains(&format!(".It Fl -{name}")), "--{name} is not in sockward-gate.1");
    }
    let (help, _) = sockward(&["relay", "--help"]);
    let page = manual("sockward-relay.1");
    let words: Vec<_> = help.lines().filter_map(|l| l.strip_prefix("  -")?.chars().next()).collect();
    assert!(words.len() > 3);
    for flag in words.into_iter().filter(|f| f.is_ascii_alphabetic()) {
        let has = page
            .lines()
            .any(|l| l.starts_with(".It Fl") && l.contains(flag) || l.contains(&format!("Fl {flag}")));
        assert!(has, "-{flag} is not in sockward-relay.1");
    }
}
