//! authorized_keys files, read as the user: is a key in them, and does its line admit its use now and from here?
//!
//! Files and lines are taken in order; the first line that holds the key and admits the peer counts. A line that
//! holds it and refuses is noted and the search goes on, as in OpenSSH. Each question reads the files anew: a
//! line that was taken out counts no more, and no file stays in memory.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use sockward_config::authorized_keys::{self, Civil, FILE_MAX, Key, OptionContext};
use sockward_policy::address::Peer;
use sockward_policy::{KeyOptions, Source};
use sockward_privsep::reader::Become;
use sockward_sys::file::{self, Links};
use sockward_sys::{resolve, time};
use sockward_wire::Reader;

use crate::notes::Notes;

/// How the type of a certificate ends (OpenSSH's PROTOCOL.certkeys).
const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";

/// The files of one account and who asks.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    files: Vec<PathBuf>,
    home: PathBuf,
    owner: u32,
    strict: bool,
    address: Option<std::net::IpAddr>,
    host: String,
}

/// What a line must hold.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    /// The key itself. Of a certificate it would be the one that signed it.
    blob: &'a [u8],
    /// Whether the line must say `cert-authority`, or must not.
    authority: bool,
}

impl<'a> Wanted<'a> {
    /// None: no line can hold it. Certificates are not taken yet; that their own bytes stand in a file means nothing.
    fn of(key: &'a [u8]) -> Option<Self> {
        let key_type = Reader::new(key).string("key.type").ok()?;
        (!key_type.ends_with(CERTIFICATE)).then_some(Wanted { blob: key, authority: false })
    }
}

impl KeyFiles {
    pub(crate) fn new(whom: Become) -> Self {
        let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
        KeyFiles {
            files: whom.files.into_iter().map(path).collect(),
            home: path(whom.home),
            owner: whom.uid,
            strict: whom.strict,
            address: whom.address,
            host: whom.host,
        }
    }

    /// Searches for a key. `now` in seconds since 1970.
    pub(crate) fn find(&self, key: &[u8], now: u64, notes: &mut Notes) -> Option<KeyOptions> {
        let Some(wanted) = Wanted::of(key) else {
            notes.note("certificates are not accepted by this version".into());
            return None;
        };
        self.files.iter().find_map(|path| match self.read(path) {
            Ok(content) => self.search(&content, path, wanted, now, notes),
            // Most accounts have one of two files.
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                let kind = if e.kind() == io::ErrorKind::PermissionDenied {
                    "Authentication refused"
                } else {
                    "Ignored"
                };
                notes.important(format!("{kind}: authorized keys {}: {}", path.display(), words(&e)));
                None
            }
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let opened = file::open_regular(path, Links::Follow)?;
        if self.strict {
            file::check_strict_modes(&opened, path, self.owner, Some(&self.home))?;
        }
        file::read_open(&opened, path, FILE_MAX)
    }

    fn search(
        &self,
        content: &[u8],
        path: &Path,
        wanted: Wanted<'_>,
        now: u64,
        notes: &mut Notes,
    ) -> Option<KeyOptions> {
        authorized_keys::entries(content).find_map(|entry| {
            let source = Source::new(path.display().to_string(), entry.line);
            match entry.key {
                Ok(key) if key.blob == wanted.blob => self.admitted(&key, source, wanted, now, notes),
                Ok(_) => None,
                Err(e) => {
                    notes.note(format!("{source}: {e}"));
                    None
                }
            }
        })
    }

    /// A line holds the key: do its options let it in?
    fn admitted(
        &self,
        key: &Key<'_>,
        source: Source,
        wanted: Wanted<'_>,
        now: u64,
        notes: &mut Notes,
    ) -> Option<KeyOptions> {
        let context = OptionContext { services: &resolve::service, local_time: &local_time };
        let options = match key.options(source.clone(), &context) {
            Ok(options) => options,
            Err(e) => {
                notes.important(format!("key refused at {source}: {e}"));
                return None;
            }
        };
        if options.cert_authority != wanted.authority {
            notes.note(format!("{source}: the key is a certificate authority, not one to log in with"));
            return None;
        }
        match options.admit(&Peer { address: self.address, host: &self.host }, now) {
            Ok(()) => {
                notes.note(format!("key found at {source}"));
                Some(options)
            }
            Err(refusal) => {
                notes.important(format!("key refused at {source}: {refusal} (host={})", self.host));
                None
            }
        }
    }
}

fn local_time(civil: &Civil) -> Option<u64> {
    time::local_seconds(civil.year, [civil.month, civil.day], [civil.hour, civil.minute, civil.second])
}

/// The system's words without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
