//! Names in the file system that logins of this helper listen at, or are about to: two logins never fight for one.
//!
//! Whoever wants a name that another login holds waits while that login's client is asked for a sign of life
//! (`StreamLocalConflict refuse`). One that is there keeps its name; one that is silent is half-dead, a lost
//! connection of the same user, and loses it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// All held names, as paths without links, and the logins that hold them.
#[derive(Debug, Default)]
pub(crate) struct HeldNames(Rc<RefCell<HashMap<Vec<u8>, u64>>>);

/// A name, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    all: Rc<RefCell<HashMap<Vec<u8>, u64>>>,
    path: Vec<u8>,
}

impl HeldNames {
    /// Holds a name for a login; else, which login does.
    pub(crate) fn hold(&self, path: Vec<u8>, login: u64) -> Result<Held, u64> {
        let mut all = self.0.borrow_mut();
        if let Some(holder) = all.get(&path) {
            return Err(*holder);
        }
        all.insert(path.clone(), login);
        Ok(Held { all: Rc::clone(&self.0), path })
    }
}

impl HeldNames {
    /// Which login holds a name.
    pub(crate) fn holder(&self, path: &[u8]) -> Option<u64> {
        self.0.borrow().get(path).copied()
    }
}

impl Held {
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.borrow_mut().remove(&self.path);
    }
}

/// Logins that wait for a sign of life of another, and what comes of it. The process carries it from one to the
/// other.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    /// The holder; who wants the name, and that one's question.
    waiting: Vec<(u64, (u64, u64))>,
    /// Holders whose clients are to be asked.
    ask: Vec<u64>,
    /// Names to be taken away from silent holders.
    evict: Vec<(u64, Vec<u8>)>,
}

impl Conflicts {
    /// A login wants what another holds.
    pub(crate) fn wait(&mut self, holder: u64, asker: u64, birth: u64) {
        if self.waiting.iter().all(|(other, _)| *other != holder) {
            self.ask.push(holder);
        }
        self.waiting.push((holder, (asker, birth)));
    }

    /// A login waits no longer for an answer.
    pub(crate) fn forget_birth(&mut self, asker: u64, birth: u64) {
        self.waiting.retain(|(_, who)| *who != (asker, birth));
    }

    /// A holder has been silent for too long.
    pub(crate) fn evict(&mut self, holder: u64, path: Vec<u8>) {
        self.evict.push((holder, path));
    }

    /// A holder is there: who waited for it, and their questions.
    pub(crate) fn heard_of(&mut self, holder: u64) -> Vec<(u64, u64)> {
        let its = self.waiting.extract_if(.., |(of, _)| *of == holder);
        its.map(|(_, who)| who).collect()
    }

    pub(crate) fn take_asked(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.ask)
    }

    pub(crate) fn take_evicted(&mut self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.evict)
    }

    /// A login is gone.
    pub(crate) fn forget_login(&mut self, login: u64) {
        self.waiting.retain(|(_, (asker, _))| *asker != login);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_at_a_time() {
        let names = HeldNames::default();
        let held = names.hold(b"/run/x".into(), 1);
        assert!(held.is_ok());
        assert_eq!(names.hold(b"/run/x".into(), 2).unwrap_err(), 1);
        assert!(names.hold(b"/run/y".into(), 2).is_ok());
        drop(held);
        assert!(names.hold(b"/run/x".into(), 2).is_ok());
    }

    #[test]
    fn a_holder_is_asked_once_for_all_who_wait() {
        let mut conflicts = Conflicts::default();
        conflicts.wait(1, 2, 20);
        conflicts.wait(1, 3, 30);
        conflicts.wait(4, 3, 31);
        assert_eq!(conflicts.take_asked(), [1, 4]);
        conflicts.forget_birth(3, 30);
        assert_eq!(conflicts.heard_of(1), [(2, 20)]);
        assert_eq!(conflicts.heard_of(1), []);
        conflicts.wait(1, 2, 21);
        assert_eq!(conflicts.take_asked(), [1], "asked anew");
    }
}
