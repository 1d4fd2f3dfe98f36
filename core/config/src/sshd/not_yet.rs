//! The one list of what is read and typed but not enforced yet. A line that asks for it is an error at start-up:
//! a restriction that is written is enforced or the server does not start. Whoever builds the enforcement takes the
//! name out.

use crate::lex::Word;

/// Keywords of sshd_config, and the arguments (joined by blanks) that ask for nothing.
pub const KEYWORDS: &[(&str, &[&str])] = &[("UseDNS", &["no"])];

/// Options of authorized_keys; a key that has one is refused.
pub const KEY_OPTIONS: &[&str] = &[];

/// Whether a line asks for something that is not enforced yet.
pub(super) fn asks(keyword: &str, words: &[Word]) -> bool {
    KEYWORDS.iter().find(|(name, _)| *name == keyword).is_some_and(|(_, harmless)| {
        let words: Vec<_> = words.iter().map(|w| w.text().to_ascii_lowercase()).collect();
        !harmless.contains(&words.join(" ").as_str())
    })
}
