//! CPU time and memory of a process and all that it has started, from /proc.

use std::collections::HashMap;

/// What a family of processes has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of CPU, user and system, of those alive and of those that have been waited for.
    pub(crate) cpu: f64,
    /// Private memory in KiB.
    pub(crate) private_kib: u64,
    /// How many processes.
    pub(crate) processes: usize,
}

/// Sums up a process and its descendants.
#[must_use]
pub(crate) fn usage(root: u32) -> Usage {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        if let Some((parent, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut total = Usage::default();
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        if let Some((_, ticks)) = stat(pid) {
            total.cpu += ticks as f64 / 100.0;
            total.private_kib += private_kib(pid);
            total.processes += 1;
        }
        left.extend(children.remove(&pid).unwrap_or_default());
    }
    total
}

/// Seconds of CPU of a process with one thread and no children, to the nanosecond: for many short-lived ones, whose
/// clock ticks would all be rounded down.
#[must_use]
pub(crate) fn exactly(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// The parent, and clock ticks used by the process and by children it has waited for.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok());
    let parent = u32::try_from(number(1)?).ok()?;
    Some((parent, number(11)? + number(12)? + number(13)? + number(14)?))
}

fn private_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let of = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    text.lines().filter(|l| l.starts_with("Private_")).map(of).sum()
}
