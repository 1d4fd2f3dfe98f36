//! Many scripts at once, and the table of what they came to.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::{Column, Outcome, Script, Wanted, run};

/// One script with one of our programs, done.
#[derive(Clone, Debug)]
pub struct Row {
    /// The script.
    pub script: Script,
    /// Which program was ours.
    pub column: Column,
    /// What it came to.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl Row {
    /// Whether it came to what the table wants.
    #[must_use]
    pub fn is_right(&self) -> bool {
        match (&self.outcome, self.script.wanted) {
            (Outcome::Passed, Wanted::Pass) | (Outcome::Skipped(_), Wanted::Skip) => true,
            (Outcome::Failed { complaints, .. }, Wanted::But(words)) => {
                let mut words: Vec<&str> = words.to_vec();
                words.sort_unstable();
                *complaints == words
            }
            (Outcome::Passed | Outcome::Skipped(_) | Outcome::Failed { .. }, _) => false,
        }
    }
}

/// Runs all of them, so many at a time, the longest first.
#[must_use]
pub fn run_all(mut wanted: Vec<(Script, Column)>, at_once: usize) -> Vec<Row> {
    // Taken from the end.
    wanted.sort_by_key(|(script, _)| script.seconds);
    let (left, done) = (Mutex::new(wanted), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let Some((script, column)) = left.lock().unwrap().pop() else { return };
                    let began = Instant::now();
                    let outcome = run(&script, column);
                    let row = Row { script, column, outcome, took: began.elapsed() };
                    let word = if row.is_right() { "ok" } else { "FAILED" };
                    println!("{word} {column:?} {} ({:.1} s)", script.name, row.took.as_secs_f32());
                    done.lock().unwrap().push(row);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

/// The table of results, a line for each script, and then what was said by those that are not right.
#[must_use]
pub fn show(table: &[Script], rows: &[Row]) -> String {
    let find = |name, column| rows.iter().find(|r| r.script.name == name && r.column == column);
    let mut text = format!("\n{:24}{:>16}{:>16}\n", "script", "our sshd", "our ssh");
    for (n, script) in table.iter().enumerate() {
        // A script whose columns differ in what they come to has two lines of the table.
        if table.iter().take(n).any(|before| before.name == script.name) {
            continue;
        }
        let cells = [Column::S, Column::C].map(|column| find(script.name, column));
        if cells.iter().all(Option::is_none) {
            continue;
        }
        text += &format!("{:24}", script.name);
        for cell in cells {
            let words = cell.map_or_else(String::new, |row| {
                let word = match &row.outcome {
                    Outcome::Passed => "ok",
                    Outcome::Skipped(_) => "skipped",
                    Outcome::Failed { .. } if row.is_right() => "all but",
                    Outcome::Failed { .. } => "FAILED",
                };
                format!("{word} {:5.1} s", row.took.as_secs_f32())
            });
            text += &format!("{words:>16}");
        }
        text.push('\n');
    }
    for row in rows.iter().filter(|r| !r.is_right()) {
        let said = match &row.outcome {
            Outcome::Passed => "passed, though the table says that it cannot",
            Outcome::Skipped(why) => &format!("skipped: {why}"),
            Outcome::Failed { said, .. } => said,
        };
        text += &format!("\n==== {:?} {}: {said}\n", row.column, row.script.name);
    }
    text
}
