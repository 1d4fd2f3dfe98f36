//! The rules of the house, checked: see `tests/`. Here is what they look at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The top of the repository.
#[must_use]
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file that belongs to the repository (tracked, or new and not ignored), by path from the top.
#[must_use]
pub fn files() -> Vec<PathBuf> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(top())
        .output()
        .expect("git is there");
    assert!(out.status.success(), "git ls-files failed");
    let names = out.stdout.split(|&b| b == 0).filter(|n| !n.is_empty());
    names
        .map(|n| PathBuf::from(String::from_utf8(n.to_vec()).unwrap()))
        .filter(|p| top().join(p).is_file())
        .collect()
}

/// Every Rust file with its text.
#[must_use]
pub fn rust_files() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    rust.map(|p| (p.clone(), std::fs::read_to_string(top().join(p)).unwrap())).collect()
}

/// The crates of ours that a crate of ours is built with, directly or not, tests left aside.
#[must_use]
pub fn built_with(package: &str) -> BTreeSet<String> {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            package,
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(top())
        .output()
        .expect("cargo is there");
    assert!(out.status.success(), "cargo tree -p {package}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

/// Every library that the workspace is built with, and the expression of its licence.
#[must_use]
pub fn licences() -> Vec<(String, String)> {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--workspace",
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
        ])
        .current_dir(top())
        .output()
        .expect("cargo is there");
    let text = String::from_utf8(out.stdout).unwrap();
    let rows = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    rows.map(|(package, licence)| (package.to_owned(), licence.to_owned())).collect()
}
