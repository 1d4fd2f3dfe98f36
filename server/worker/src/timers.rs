//! When each connection wants to be looked at, the earliest first.

use std::collections::BTreeSet;
use std::time::Instant;

/// The deadlines of a process's connections.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Instant, usize)>,
    current: Vec<Option<Instant>>,
}

impl Timers {
    /// Sets or clears a connection's deadline.
    pub(crate) fn set(&mut self, index: usize, at: Option<Instant>) {
        if self.current.len() <= index {
            self.current.resize(index + 1, None);
        }
        let Some(slot) = self.current.get_mut(index).filter(|slot| **slot != at) else { return };
        if let Some(old) = std::mem::replace(slot, at) {
            self.order.remove(&(old, index));
        }
        self.order.extend(at.map(|at| (at, index)));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// A connection whose deadline has come. Its deadline is cleared.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<usize> {
        let (_, index) = self.order.first().filter(|(at, _)| *at <= now).copied()?;
        self.set(index, None);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn earliest_first_and_each_once() {
        let now = Instant::now();
        let at = |s| Some(now + Duration::from_secs(s));
        let mut timers = Timers::default();
        timers.set(0, at(5));
        timers.set(1, at(3));
        timers.set(0, at(1));
        timers.set(2, at(2));
        timers.set(2, None);
        assert_eq!(timers.next(), at(1));
        let late = now + Duration::from_secs(9);
        assert_eq!(timers.expired(now), None);
        assert_eq!(
            [timers.expired(late), timers.expired(late), timers.expired(late)],
            [Some(0), Some(1), None]
        );
    }
}
