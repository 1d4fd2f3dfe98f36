//! Names in the file system that logins of this helper listen at, or are about to: two logins never fight for one.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// All held names, as paths without links.
#[derive(Debug, Default)]
pub(crate) struct HeldNames(Rc<RefCell<HashSet<Vec<u8>>>>);

/// A name, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    all: Rc<RefCell<HashSet<Vec<u8>>>>,
    path: Vec<u8>,
}

impl HeldNames {
    /// Holds a name, unless somebody does.
    pub(crate) fn hold(&self, path: Vec<u8>) -> Option<Held> {
        let fresh = self.0.borrow_mut().insert(path.clone());
        fresh.then(|| Held { all: Rc::clone(&self.0), path })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.borrow_mut().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_at_a_time() {
        let names = HeldNames::default();
        let held = names.hold(b"/run/x".into());
        assert!(held.is_some() && names.hold(b"/run/x".into()).is_none());
        assert!(names.hold(b"/run/y".into()).is_some());
        drop(held);
        assert!(names.hold(b"/run/x".into()).is_some());
    }
}
