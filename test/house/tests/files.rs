//! What every file keeps to: a first line that says what the room is for, a size one can read, unsafe code in
//! one crate alone, and nothing left lying about.

#![allow(missing_docs)]

use sockward_test_house::{files, rust_files, top};

/// No file of code is longer.
const LINES_MAX: usize = 800;

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> =
        rust_files().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(p, _)| p).collect();
    assert!(silent.is_empty(), "no //! at the top of {silent:?}");
}

#[test]
fn no_file_of_code_is_too_long() {
    let long: Vec<_> = rust_files()
        .into_iter()
        .map(|(p, text)| (p, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

#[test]
fn unsafe_code_is_in_one_crate() {
    let word = concat!("un", "safe");
    for (path, text) in rust_files() {
        if path.starts_with("host/sys") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let found = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
            assert!(!found, "{}:{}: {line}", path.display(), number + 1);
        }
    }
    // And the compiler forbids it there, whatever is written.
    let root = std::fs::read_to_string(top().join("Cargo.toml")).unwrap_or_default();
    assert!(root.contains(concat!("un", "safe_code = \"forbid\"")));
    for path in files().iter().filter(|p| p.ends_with("Cargo.toml")) {
        let text = std::fs::read_to_string(top().join(path)).unwrap_or_default();
        let is_package = text.contains("[package]");
        let exempt = path.starts_with("host/sys") || path.starts_with("fuzz");
        assert!(
            !is_package || exempt || text.contains("[lints]\nworkspace = true"),
            "{} does not take the workspace's lints",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_lying_about() {
    for (path, text) in rust_files() {
        if path.starts_with("test/house") {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX:"] {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

/// A claim without its test would be a promise.
#[test]
fn the_tests_of_the_threat_model_exist() {
    let page = std::fs::read_to_string(top().join("docs/threat-model.md")).unwrap();
    let claims =
        page.split("## Claims").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows = claims.lines().filter(|line| line.starts_with("| ")).skip(2);
    let named: Vec<_> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .collect();
    assert!(named.len() > 50, "the page has lost its tests");
    let code: Vec<_> = rust_files();
    for name in named {
        let forms = [format!("fn {name}("), format!("\"{name}\"")];
        let there = code.iter().any(|(_, text)| forms.iter().any(|form| text.contains(form)));
        assert!(there, "docs/threat-model.md names {name}, which is no test");
    }
}

#[test]
fn every_library_has_its_reason() {
    let root = std::fs::read_to_string(top().join("Cargo.toml")).unwrap_or_default();
    let reasons = std::fs::read_to_string(top().join("docs/dependencies.md")).unwrap_or_default();
    let section = root.split("[workspace.dependencies]").nth(1).unwrap_or("");
    let section = section.split("\n[").next().unwrap_or("");
    let names = section.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name.trim()));
    let libraries: Vec<_> = names.filter(|n| !n.starts_with('#') && !n.starts_with("sockward-")).collect();
    assert!(libraries.len() > 10, "the list was not found");
    for name in libraries {
        assert!(
            reasons.contains(&format!("`{name}`")),
            "docs/dependencies.md does not say why {name} is here"
        );
    }
}

#[test]
fn every_licence_is_allowed() {
    let deny = std::fs::read_to_string(top().join("deny.toml")).unwrap_or_default();
    let list = deny.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("");
    let allowed: Vec<&str> =
        list.split(',').map(|l| l.trim().trim_matches('"')).filter(|l| !l.is_empty()).collect();
    assert!(allowed.contains(&"MIT"), "the list was not found");
    for (name, expression) in sockward_test_house::licences() {
        // "A OR B" needs one of them, "A AND B" both; AND binds closer, parentheses as they stand.
        assert!(satisfied(&expression, &allowed), "{name} is under {expression}");
    }
    assert!(!satisfied("MIT AND GPL-3.0", &allowed) && satisfied("(GPL-3.0 OR MIT) AND ISC", &allowed));
}

/// Whether an SPDX expression can be satisfied with the allowed licences.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ");
    let alternatives = split(&expression, " OR ");
    if alternatives.len() > 1 {
        return alternatives.iter().any(|e| satisfied(e, allowed));
    }
    let parts = split(&expression, " AND ");
    if parts.len() > 1 {
        return parts.iter().all(|e| satisfied(e, allowed));
    }
    let one = expression.trim();
    match one.strip_prefix('(').and_then(|e| e.strip_suffix(')')) {
        Some(inner) => satisfied(inner, allowed),
        None => allowed.contains(&one),
    }
}

/// Splits at a word outside parentheses.
fn split(text: &str, word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if depth == 0 && rest.starts_with(word) {
            parts.push(String::new());
            rest = rest.get(word.len()..).unwrap_or("");
            continue;
        }
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        rest = rest.get(c.len_utf8()..).unwrap_or("");
    }
    parts
}
