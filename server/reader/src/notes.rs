//! What a search has to tell the log: bounded, because its material is the user's own file.

use sockward_privsep::reader::FromReader;
use sockward_sys::log::LogLevel;

/// The most notes of each importance for one question.
const NOTES_MAX: usize = 16;
/// The most characters of one: a path, and an option quoted.
const TEXT_MAX: usize = 400;

/// The system's words for an error, without its number.
pub(crate) fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The notes of one question.
#[derive(Debug)]
pub(crate) struct Notes {
    level: LogLevel,
    important: Vec<String>,
    others: Vec<String>,
}

impl Notes {
    /// `level`: what nobody logs is not kept.
    pub(crate) fn new(level: LogLevel) -> Self {
        Notes { level, important: Vec::new(), others: Vec::new() }
    }

    /// Something that should have let somebody in and did not: level INFO.
    pub(crate) fn important(&mut self, text: String) {
        add(&mut self.important, text, self.level >= LogLevel::Info);
    }

    /// Level VERBOSE.
    pub(crate) fn note(&mut self, text: String) {
        add(&mut self.others, text, self.level >= LogLevel::Verbose);
    }

    /// As messages, the important ones first.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = FromReader> {
        let of = |important| move |text| FromReader::Note { important, text };
        self.important.into_iter().map(of(true)).chain(self.others.into_iter().map(of(false)))
    }
}

fn add(list: &mut Vec<String>, mut text: String, wanted: bool) {
    if wanted && list.len() < NOTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        list.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_few_and_short_and_those_that_nobody_logs_are_not_kept() {
        let count = |level| {
            let mut notes = Notes::new(level);
            for _ in 0..100 {
                notes.important("ä".repeat(1000));
                notes.note("x".into());
            }
            let messages: Vec<_> = notes.into_messages().collect();
            for message in &messages {
                let FromReader::Note { text, .. } = message else { panic!("{message:?}") };
                assert!(text.len() <= TEXT_MAX);
            }
            messages.len()
        };
        assert_eq!(count(LogLevel::Verbose), 2 * NOTES_MAX);
        assert_eq!(count(LogLevel::Info), NOTES_MAX);
        assert_eq!(count(LogLevel::Quiet), 0);
    }
}
