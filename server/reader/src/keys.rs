//! The files of one account, read as the user: authorized_keys and authorized principals.
//!
//! Files and lines are taken in order. Each question reads the files anew: a line that was taken out counts no
//! more, and no file stays in memory.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use sockward_config::authorized_keys::FILE_MAX;
use sockward_policy::{KeyOptions, Presented};
use sockward_privsep::reader::{Asker, Become};
use sockward_sys::file::{self, Links};

use crate::lines::Seeker;
use crate::notes::{Notes, words};

/// The files of one account and who asks.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    files: Vec<PathBuf>,
    principals: Option<PathBuf>,
    home: PathBuf,
    owner: u32,
    strict: bool,
    asker: Asker,
}

impl KeyFiles {
    pub(crate) fn new(whom: Become) -> Self {
        KeyFiles {
            files: whom.files.into_iter().map(path).collect(),
            principals: whom.principals_file.map(path),
            home: path(whom.home),
            owner: whom.uid,
            strict: whom.strict,
            asker: whom.asker,
        }
    }

    /// Searches for a key or a certificate's authority. `now` in seconds since 1970.
    pub(crate) fn find(&self, presented: &Presented, now: u64, notes: &mut Notes) -> Option<KeyOptions> {
        self.files.iter().find_map(|path| {
            let content = self.read("authorized keys", path, notes)?;
            self.seeker(now).key(&content, &path.display().to_string(), presented, notes)
        })
    }

    /// Searches for a name.
    pub(crate) fn principal(&self, names: &[Vec<u8>], now: u64, notes: &mut Notes) -> Option<KeyOptions> {
        let path = self.principals.as_deref()?;
        let content = self.read("authorized principals", path, notes)?;
        self.seeker(now).principal(&content, &path.display().to_string(), names, notes)
    }

    fn seeker(&self, now: u64) -> Seeker<'_> {
        Seeker { asker: &self.asker, now }
    }

    /// A file's content; none where it is not there (most accounts have one of two) or not to be trusted.
    fn read(&self, what: &str, path: &Path, notes: &mut Notes) -> Option<Vec<u8>> {
        let read = || {
            let opened = file::open_regular(path, Links::Follow)?;
            if self.strict {
                file::check_strict_modes(&opened, path, self.owner, Some(&self.home))?;
            }
            file::read_open(&opened, path, FILE_MAX)
        };
        match read() {
            Ok(content) => Some(content),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                let kind = if e.kind() == io::ErrorKind::PermissionDenied {
                    "Authentication refused"
                } else {
                    "Ignored"
                };
                notes.important(format!("{kind}: {what} {}: {}", path.display(), words(&e)));
                None
            }
        }
    }
}

pub(crate) fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
