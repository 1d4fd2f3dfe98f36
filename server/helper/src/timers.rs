//! When something is due if nothing happens before: one deadline for each subject.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::poller::Subject;

/// All deadlines, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Instant, Subject)>,
    of: HashMap<Subject, Instant>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, subject: Subject, at: Instant) {
        self.clear(subject);
        self.of.insert(subject, at);
        self.order.insert((at, subject));
    }

    /// Takes a deadline back.
    pub(crate) fn clear(&mut self, subject: Subject) {
        if let Some(at) = self.of.remove(&subject) {
            self.order.remove(&(at, subject));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// A subject whose deadline has come; it is taken back.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Subject> {
        let (_, subject) = self.order.first().filter(|(at, _)| *at <= now).copied()?;
        self.clear(subject);
        Some(subject)
    }

    /// A login is gone.
    pub(crate) fn forget_login(&mut self, login: u64) {
        self.order.retain(|(_, subject)| subject.login() != Some(login));
        self.of.retain(|subject, _| subject.login() != Some(login));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn earliest_first_each_once_and_moved_or_taken_back() {
        let now = Instant::now();
        let at = |s| now + Duration::from_secs(s);
        let (a, b, c) = (Subject::Open(1, 1), Subject::Open(1, 2), Subject::Open(2, 1));
        let mut timers = Timers::default();
        timers.set(a, at(1));
        timers.set(b, at(2));
        timers.set(c, at(3));
        timers.set(a, at(4));
        assert_eq!((timers.next(), timers.expired(now)), (Some(at(2)), None));
        timers.clear(b);
        assert_eq!(timers.expired(at(9)), Some(c));
        timers.set(c, at(3));
        timers.forget_login(1);
        assert_eq!([timers.expired(at(9)), timers.expired(at(9))], [Some(c), None]);
        assert!(timers.of.is_empty());
    }
}
