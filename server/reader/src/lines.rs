//! Looks for a key, an authority or a principal in text of the form of authorized_keys or authorized_principals,
//! whether it comes from a file or from a program.

use sockward_config::authorized_keys::{self, Civil, Key, OptionContext};
use sockward_policy::address::Peer;
use sockward_policy::{CertificateIdentity, KeyOptions, Presented, Source};
use sockward_privsep::reader::Asker;
use sockward_sys::{resolve, time};

use crate::notes::Notes;

/// What options may refer to: services by name and the system's time zone.
const CONTEXT: OptionContext<'static> =
    OptionContext { services: &resolve::service, local_time: &local_time };

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeker<'a> {
    pub(crate) asker: &'a Asker,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

impl Seeker<'_> {
    /// The first line that holds the key, or the certificate's authority, and admits its use. `name` is the text's,
    /// for the log. Lines that hold it and refuse are noted and the search goes on, as in OpenSSH.
    pub(crate) fn key(
        self,
        text: &[u8],
        name: &str,
        presented: &Presented,
        notes: &mut Notes,
    ) -> Option<KeyOptions> {
        let wanted = presented.certificate.as_ref().map_or(&presented.key, |c| &c.authority);
        authorized_keys::entries(text).find_map(|entry| {
            let source = Source::new(name, entry.line);
            match entry.key {
                Ok(key) if key.blob == wanted.blob => {
                    match self.admitted(&key, &source, presented.certificate.as_ref()) {
                        Ok(options) => {
                            notes.note(format!("key found at {source}"));
                            return Some(options);
                        }
                        Err(Refused::Worth(why)) => {
                            notes.important(format!("key refused at {source}: {why}"));
                        }
                        Err(Refused::Other(why)) => notes.note(format!("{source}: {why}")),
                    }
                }
                Ok(_) => {}
                Err(e) => notes.note(format!("{source}: {e}")),
            }
            None
        })
    }

    /// The first line with one of the names whose options can be read. Whether they admit the peer is for the
    /// monitor to see: in OpenSSH no line behind it counts either.
    pub(crate) fn principal(
        self,
        text: &[u8],
        name: &str,
        principals: &[Vec<u8>],
        notes: &mut Notes,
    ) -> Option<KeyOptions> {
        let named = |line: &authorized_keys::PrincipalLine<'_>| principals.iter().any(|p| p == line.name);
        authorized_keys::principals(text).filter(named).find_map(|line| {
            let source = Source::new(name, line.line);
            match line.options(source.clone(), &CONTEXT) {
                Ok(options) => {
                    notes.note(format!("principal found at {source}"));
                    Some(options)
                }
                Err(e) => {
                    notes.important(format!("principal refused at {source}: {e}"));
                    None
                }
            }
        })
    }

    /// A line holds the key: do its options let it in?
    fn admitted(
        self,
        key: &Key<'_>,
        source: &Source,
        certificate: Option<&CertificateIdentity>,
    ) -> Result<KeyOptions, Refused> {
        let options = key.options(source.clone(), &CONTEXT).map_err(|e| Refused::Worth(e.to_string()))?;
        match (options.cert_authority, certificate.is_some()) {
            (true, false) => {
                return Err(Refused::Other("the key is a certificate authority, not one to log in with"));
            }
            (false, true) => return Err(Refused::Other("the key is no certificate authority")),
            (true, true) | (false, false) => {}
        }
        let Asker { user, address, host } = self.asker;
        options
            .admit(&Peer { address: *address, host }, self.now)
            .map_err(|refusal| Refused::Worth(format!("{refusal} (host={host})")))?;
        if certificate.is_some_and(|c| !c.is_for(&options, user)) {
            return Err(Refused::Worth("the certificate does not contain an authorized principal".into()));
        }
        Ok(options)
    }
}

/// Why a line that holds the key does not count.
enum Refused {
    /// It was meant to.
    Worth(String),
    /// It means something else.
    Other(&'static str),
}

fn local_time(civil: &Civil) -> Option<u64> {
    time::local_seconds(civil.year, [civil.month, civil.day], [civil.hour, civil.minute, civil.second])
}
