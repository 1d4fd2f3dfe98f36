//! A no: what the SSH client is told (the kind of rule, no path of the server), what the log is, and what decided.

use std::fmt;
use std::io;

use sockward_policy::{self as policy, By, Reason};
use sockward_privsep::login::Refusal;
use sockward_sys::path::{WalkError, WalkErrorKind};
use sockward_sys::spawn::SpawnError;
use sockward_sys::unix::BirthError;

use crate::shown;

/// Why a request is not done.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    /// For the client.
    pub(crate) text: String,
    /// For the log.
    pub(crate) log: String,
    /// The line that refuses, or the one that allows what then did not work; none where nothing was decided.
    pub(crate) by: Option<By>,
    /// What the permit says, where it is the one that refuses.
    pub(crate) reason: Option<Reason>,
}

impl Refused {
    /// It did not work; client and log hear the same.
    pub(crate) fn failed(what: impl fmt::Display) -> Self {
        let text = what.to_string();
        Refused { why: Refusal::Failed, log: text.clone(), text, by: None, reason: None }
    }

    /// No room.
    pub(crate) fn shortage(what: impl fmt::Display) -> Self {
        Refused { why: Refusal::Shortage, ..Refused::failed(what) }
    }

    /// The permit does not allow it.
    pub(crate) fn by(by: By, what: impl fmt::Display) -> Self {
        let text = what.to_string();
        Refused {
            why: Refusal::Prohibited,
            log: format!("{text}, decided by {by}"),
            text,
            by: Some(by),
            reason: None,
        }
    }
}

/// What did not work although a line allows it.
pub(crate) fn though_allowed<T>(result: Result<T, Refused>, by: &By) -> Result<T, Refused> {
    result.map_err(|refused| Refused { by: refused.by.or_else(|| Some(by.clone())), ..refused })
}

impl From<policy::Refusal> for Refused {
    fn from(refusal: policy::Refusal) -> Self {
        let why = match refusal.why {
            Reason::Limit(..) => Refusal::Shortage,
            Reason::Direction(..)
            | Reason::NotListed(_)
            | Reason::ForcedCommand(_)
            | Reason::PeersNeedLoopback
            | Reason::PeerUnknown
            | Reason::PeerNotListed
            | Reason::NoExecution
            | Reason::NoSubsystem
            | Reason::NoTty => Refusal::Prohibited,
        };
        Refused {
            why,
            text: refusal.why.to_string(),
            log: refusal.to_string(),
            by: Some(refusal.by),
            reason: Some(refusal.why),
        }
    }
}

/// The system's error.
impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused { why: kind(&error), ..Refused::failed(shown::error(&error)) }
    }
}

/// The command was not started.
impl From<SpawnError> for Refused {
    fn from(error: SpawnError) -> Self {
        let why = kind(&error.source);
        let words = error.to_string();
        // The system's number is the log's.
        let text = words.split(" (os error").next().unwrap_or_default();
        Refused { why, log: words.clone(), ..Refused::failed(text) }
    }
}

/// The path leads nowhere. The client may use it, but where links lead is the server's business.
impl From<WalkError> for Refused {
    fn from(error: WalkError) -> Self {
        let text = match &error.kind {
            WalkErrorKind::Relative => "the home directory is not an absolute path".to_owned(),
            WalkErrorKind::NoName => "the path does not end in a file name".to_owned(),
            WalkErrorKind::NotFound => "No such file or directory".to_owned(),
            WalkErrorKind::NotADirectory => "Not a directory".to_owned(),
            WalkErrorKind::UntrustedLink => {
                "a symbolic link on the way is not root's own, write the path without it".to_owned()
            }
            WalkErrorKind::TooManyLinks => "Too many levels of symbolic links".to_owned(),
            WalkErrorKind::TooDeep => "the path has too many directories".to_owned(),
            WalkErrorKind::Denied => "Permission denied".to_owned(),
            WalkErrorKind::Io(e) => {
                return Refused { why: kind(e), log: error.to_string(), ..Refused::failed(shown::error(e)) };
            }
        };
        Refused { log: error.to_string(), ..Refused::failed(text) }
    }
}

/// The socket was not made.
impl From<BirthError> for Refused {
    fn from(error: BirthError) -> Self {
        match &error {
            BirthError::Io { step, source } => {
                let text = format!("cannot {step}: {}", shown::error(source));
                Refused { why: kind(source), ..Refused::failed(text) }
            }
            BirthError::Displaced(_) => {
                Refused { log: error.to_string(), ..Refused::failed("somebody else took the name") }
            }
            BirthError::Exists | BirthError::NotASocket | BirthError::Changed | BirthError::NoExchange => {
                Refused::failed(error)
            }
        }
    }
}

fn kind(error: &io::Error) -> Refusal {
    if shown::is_shortage(error) { Refusal::Shortage } else { Refusal::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_policy::{ListKind, Source};

    #[test]
    fn the_client_hears_no_paths_of_the_server() {
        let at = b"/srv/secret".to_vec();
        let walk = Refused::from(WalkError { kind: WalkErrorKind::UntrustedLink, at: at.clone() });
        assert!(walk.log.contains("/srv/secret") && !walk.text.contains("secret"));
        let walk = Refused::from(WalkError { kind: WalkErrorKind::Io(io::Error::from_raw_os_error(24)), at });
        assert_eq!((walk.why, walk.text.as_str()), (Refusal::Shortage, "Too many open files"));
        assert!(walk.log.contains("/srv/secret"));
        let born = Refused::from(BirthError::Displaced(".sockward-1.displaced".into()));
        assert!(born.log.contains("displaced") && !born.text.contains("displaced"));
        let by = By::Rule(Source::new("/etc/ssh/sshd_config", 9));
        let refusal = policy::Refusal { by, why: Reason::NotListed(ListKind::PermitOpen) };
        let refused = Refused::from(refusal);
        assert!(refused.log.contains("sshd_config:9") && !refused.text.contains("sshd_config"));
        assert_eq!(refused.why, Refusal::Prohibited);
    }

    #[test]
    fn a_step_that_fails_is_named_with_the_system_s_words() {
        let source = io::Error::from_raw_os_error(13);
        let born = Refused::from(BirthError::Io { step: "bind", source });
        assert_eq!((born.why, born.text.as_str()), (Refusal::Failed, "cannot bind: Permission denied"));
    }
}
