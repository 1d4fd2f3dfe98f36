//! The examples of the documentation, run as they stand.
//!
//! A fenced block's first line says what it is:
//!
//! ```text
//! ```sh                   a shell script, run as root
//! ```sh as=alex           as that user
//! ```sh as=eve fails      and must fail
//! ```sh ci                commands of this repository; .ci/run runs them
//! ```LANGUAGE /A/PATH     a file; written there
//! ```text, ```console     shown only
//! ```
//!
//! All blocks of a page run in order on one make-believe machine: namespaces with a network, processes, /etc, /run
//! and /home of their own; users alex, bob (in the group web) and eve; `host` is the machine itself; nginx on port 80.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sockward_test_support::{TempDir, has_program, is_root, missing};

const SETUP: &str = include_str!("docs/setup.sh");

/// A fenced block.
#[derive(Debug)]
struct Block {
    line: usize,
    words: Vec<String>,
    text: String,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let words = info.split_whitespace().map(str::to_owned).collect();
                open = Some(Block { line: number + 1, words, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => writeln!(block.text, "{line}").unwrap(),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// The part of the script that stands for a block.
fn step(dir: &Path, page: &str, block: &Block) -> String {
    let words: Vec<_> = block.words.iter().map(String::as_str).collect();
    let place = format!("{page}:{}", block.line);
    let file = dir.join(format!("{}-{}", page.replace('/', "_"), block.line));
    match words.as_slice() {
        ["text" | "console"] => String::new(),
        ["sh", "ci"] => {
            for line in block.text.lines() {
                let command = line.split_whitespace().next().unwrap();
                assert!(top().join(command).is_file(), "{place}: there is no {command}");
            }
            String::new()
        }
        ["sh", rest @ ..] => {
            std::fs::write(&file, &block.text).unwrap();
            let user = rest.iter().find_map(|w| w.strip_prefix("as=")).unwrap_or("root");
            let fails = rest.contains(&"fails");
            assert!(rest.iter().all(|w| *w == "fails" || w.starts_with("as=")), "{place}: {rest:?}");
            format!("block {place} {user} {} {}\n", if fails { "fails" } else { "works" }, file.display())
        }
        [_, path] if path.starts_with('/') => {
            std::fs::write(&file, &block.text).unwrap();
            format!("install -D -m 644 {} {path}\n", file.display())
        }
        _ => panic!("{place}: a block must say what it is; see cli/tests/docs.rs"),
    }
}

fn run(page: &str) {
    if !is_root() {
        assert!(missing("the examples of the documentation need root, for a machine of their own"));
        return;
    }
    // Everything that the pages use.
    if !["nginx", "unshare", "curl", "ip", "socat", "iptables", "systemd-tmpfiles"]
        .map(has_program)
        .iter()
        .all(|has| *has)
    {
        return;
    }
    let dir = TempDir::new();
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_sockward"), bin.join("sockward")).unwrap();
    let text = std::fs::read_to_string(top().join(page)).unwrap();
    let mut script = SETUP.to_owned();
    for block in blocks(&text) {
        script += &step(dir.path(), page, &block);
    }
    script += "echo all blocks ran\n";
    let script = dir.write("script", script);
    let out = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["timeout", "300", "sh", "-eu"])
        .arg(&script)
        .env("DIR", dir.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("all blocks ran"), "{page}:\n{said}");
}

macro_rules! pages {
    ($($name:ident $page:literal),* $(,)?) => {
        $(#[test] fn $name() { run($page); })*

        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    readme "README.md",
    architecture "ARCHITECTURE.md",
    contributing "CONTRIBUTING.md",
    administrators "docs/administrators.md",
    benchmarks "docs/benchmarks.md",
}

#[test]
fn no_page_with_blocks_is_left_out() {
    let mut pages: Vec<String> = Vec::new();
    for folder in ["", "docs"] {
        for entry in std::fs::read_dir(top().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                if !blocks(&text).is_empty() {
                    pages.push(path.strip_prefix(top()).unwrap().display().to_string());
                }
            }
        }
    }
    for page in pages {
        assert!(PAGES.contains(&page.as_str()), "{page} is not in the list of cli/tests/docs.rs");
    }
    // The commands that stand for themselves are what CI runs.
    assert!(std::fs::read_to_string(top().join(".ci/run")).unwrap().contains("test/run"));
}
