//! Private keys whose passphrase was typed, kept for the next login of a client that connects again (`Reconnect`):
//! nobody can be asked then. In memory alone, as an agent has them; core files are off.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sockward_crypto::PrivateKey;

/// Keys by their files, shared by the logins of one run.
#[derive(Clone, Default)]
pub(crate) struct Unlocked(Option<Keys>);

type Keys = Arc<Mutex<HashMap<PathBuf, Arc<PrivateKey>>>>;

impl Unlocked {
    /// Keeps them if there will be other logins.
    pub(crate) fn keeping(wanted: bool) -> Self {
        Unlocked(wanted.then(Keys::default))
    }

    /// The key of a file that was unlocked before.
    pub(super) fn find(&self, path: &Path) -> Option<Arc<PrivateKey>> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// A key was unlocked.
    pub(super) fn note(&self, path: &Path, key: &Arc<PrivateKey>) {
        if let Some(keys) = &self.0 {
            let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.insert(path.to_owned(), Arc::clone(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::KeyType;

    #[test]
    fn keys_are_kept_where_they_are_wanted_again() {
        let key = Arc::new(PrivateKey::generate(KeyType::Ed25519).unwrap());
        for wanted in [true, false] {
            let unlocked = Unlocked::keeping(wanted);
            unlocked.note(Path::new("/k"), &key);
            assert_eq!(unlocked.clone().find(Path::new("/k")).is_some(), wanted);
            assert!(unlocked.find(Path::new("/l")).is_none());
        }
    }
}
