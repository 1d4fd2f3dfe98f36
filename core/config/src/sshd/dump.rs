//! What `sshd -T` prints: every value that holds, one per line, keywords in lower case.

use super::effective::Effective;
use super::table;

/// The lines of `-T`. They can be read again as a configuration that says the same.
#[must_use]
pub fn dump(values: &Effective) -> String {
    let mut out = String::new();
    for keyword in table::keywords() {
        let name = keyword.name.to_ascii_lowercase();
        for line in keyword.shown(values) {
            out.push_str(&name);
            out.push(' ');
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}
