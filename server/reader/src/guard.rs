//! The administrator's lists: RevokedKeys and TrustedUserCAKeys. They are opened with the monitor's rights and
//! read with those of the workers' user.
//!
//! A list of revoked keys that is not there, cannot be read or cannot be understood revokes everything. A list of
//! authorities like that trusts nobody.

use std::fs::File;
use std::io::{self, Seek};
use std::path::PathBuf;

use sockward_config::revocation::{self, FILE_MAX};
use sockward_policy::{Presented, Source};
use sockward_privsep::reader::{self, Verdict};
use sockward_privsep::role;
use sockward_sys::file::{self, Links};

use crate::keys::path;
use crate::notes::{Notes, words};

/// The lists of a server, open. They stay so for one connection, which is short before its login.
#[derive(Debug)]
pub(crate) struct Guard {
    revoked: Vec<List>,
    authorities: Option<List>,
}

#[derive(Debug)]
struct List {
    path: PathBuf,
    file: io::Result<File>,
}

impl Guard {
    /// Opens the lists, then gives up the monitor's rights. An error there ends the process: it may be half-way.
    pub(crate) fn open(lists: reader::Guard) -> io::Result<Self> {
        let open = |bytes| {
            let path = path(bytes);
            let file = file::open_regular(&path, Links::Follow);
            List { path, file }
        };
        let guard = Guard {
            revoked: lists.revoked.into_iter().map(open).collect(),
            authorities: lists.authorities.map(open),
        };
        role::become_user((lists.uid, lists.gid), None)?;
        Ok(guard)
    }

    pub(crate) fn judge(&self, presented: &Presented, notes: &mut Notes) -> Verdict {
        for list in &self.revoked {
            let checked = list
                .read()
                .map_err(|e| words(&e))
                .and_then(|content| revocation::check(&content, presented).map_err(|e| e.to_string()));
            match checked {
                Ok(None) => {}
                Ok(Some(revoked)) => {
                    notes.important(format!("{revoked} by file {}", list.path.display()));
                    return Verdict::Revoked;
                }
                Err(e) => {
                    let path = list.path.display();
                    notes.important(format!(
                        "RevokedKeys {path}: {e}; nobody can log in until that is mended"
                    ));
                    return Verdict::Revoked;
                }
            }
        }
        Verdict::Passed { authority: self.authority_of(presented, notes) }
    }

    fn authority_of(&self, presented: &Presented, notes: &mut Notes) -> Option<Source> {
        let (list, certificate) = (self.authorities.as_ref()?, presented.certificate.as_ref()?);
        let name = list.path.display().to_string();
        let content = match list.read() {
            Ok(content) => content,
            Err(e) => {
                notes.important(format!("TrustedUserCAKeys {name}: {}", words(&e)));
                return None;
            }
        };
        revocation::keys(&content).find_map(|key| {
            if key.blob.is_none() {
                notes.note(format!("{name}:{}: there is no public key in the line", key.line));
            }
            key.blob.filter(|blob| *blob == certificate.authority.blob)?;
            Some(Source::new(name.clone(), key.line))
        })
    }
}

impl List {
    /// The whole content; read anew for each question, so that it takes no memory between them.
    fn read(&self) -> io::Result<Vec<u8>> {
        match &self.file {
            Ok(file) => {
                let mut from_start = file;
                from_start.rewind()?;
                file::read_open(file, &self.path, FILE_MAX)
            }
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        }
    }
}
