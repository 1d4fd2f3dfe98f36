//! One connection as the monitor knows it: its facts, its link to the worker, its signer, its authentication.
//! What a message leads to beyond the connection itself (a reader, a login, the end) is told to the server.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use sockward_config::sshd::Config;
use sockward_privsep::Channel;
use sockward_privsep::reader::{FromReader, ToReader};
use sockward_privsep::worker::{FromWorker, LogLevel, Start, ToWorker};
use sockward_sys::log as logging;
use sockward_sys::spawn::Child;

use crate::audit::{AuditSubject, ShownKey};
use crate::auth::{Auth, ServerSelf, Step, Surroundings};
use crate::facts::Facts;
use crate::host_keys::HostKeys;
use crate::processes::Started;
use crate::search::Job;
use crate::sign::Signer;
use crate::startups::Seat;

/// The most characters of a name, a key's description or a reason of a refused login in the audit log. Real ones have
/// a hundred.
const STRANGERS_WORDS_MAX: usize = 512;

/// A connection.
pub(crate) struct Connection {
    pub(crate) facts: Facts,
    pub(crate) link: Channel<ToWorker, FromWorker>,
    /// Its own worker; none where workers are shared.
    pub(crate) worker: Option<Child>,
    /// The shared worker that carries it.
    pub(crate) carrier: Option<usize>,
    /// A duplicate of the socket until the login, to shut it down whatever the worker does.
    pub(crate) socket: Option<OwnedFd>,
    signer: Signer,
    auth: Auth,
    pub(crate) readers: Readers,
    /// `LoginGraceTime`.
    pub(crate) deadline: Option<Instant>,
    /// Until the login: its place in `MaxStartups`.
    pub(crate) seat: Option<Seat>,
    /// The client was told why it has to go: nothing is signed and nobody let in any more.
    pub(crate) sent_away: bool,
    /// Why nobody was let in, for the audit.
    pub(crate) refusal: Option<String>,
    /// Who is logged in.
    pub(crate) login: Option<LoginRef>,
    /// The worker said why it ended.
    pub(crate) last_word: Option<String>,
}

/// The readers that were started for a connection: one for each job at a time.
#[derive(Default)]
pub(crate) struct Readers {
    account: Option<Started<ToReader, FromReader>>,
    guard: Option<Started<ToReader, FromReader>>,
    command: Option<Started<ToReader, FromReader>>,
}

impl Readers {
    pub(crate) fn of(&mut self, job: Job) -> &mut Option<Started<ToReader, FromReader>> {
        match job {
            Job::Account => &mut self.account,
            Job::Guard => &mut self.guard,
            Job::Command => &mut self.command,
        }
    }

    /// Their links end with this, and they with their links.
    pub(crate) fn into_children(self) -> impl Iterator<Item = Child> {
        [self.account, self.guard, self.command].into_iter().flatten().map(|started| started.child)
    }
}

/// Which login of which helper.
#[derive(Clone, Debug)]
pub(crate) struct LoginRef {
    pub(crate) helper: usize,
    pub(crate) id: u64,
    pub(crate) user: String,
    /// For the audit.
    pub(crate) subject: Rc<AuditSubject>,
}

/// What decisions are made from.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) config: &'a Config,
    pub(crate) keys: &'a HostKeys,
    pub(crate) server: ServerSelf,
    pub(crate) now: Instant,
}

impl Connection {
    /// A connection at its start, and what its worker is to begin with.
    pub(crate) fn new(
        facts: Facts,
        link: Channel<ToWorker, FromWorker>,
        identification: &str,
        world: &World<'_>,
    ) -> (Self, Start) {
        let (signer, cookie) = Signer::new(world.now);
        let values = world.config.global();
        let start = Start {
            cookie,
            identification: identification.to_owned(),
            kex: values.kex_algorithms.clone(),
            host_key: world.keys.usable(&values.host_key_algorithms),
            ciphers: values.ciphers.clone(),
            macs: values.macs.clone(),
            user_key: signature_algorithms(world.config),
            rekey_bytes: Some(values.rekey_limit.bytes).filter(|&n| n > 0),
            rekey_seconds: values.rekey_limit.seconds.map(u64::from).filter(|&n| n > 0),
        };
        let connection = Connection {
            facts,
            link,
            worker: None,
            carrier: None,
            socket: None,
            signer,
            auth: Auth::default(),
            readers: Readers::default(),
            deadline: None,
            seat: None,
            sent_away: false,
            refusal: None,
            login: None,
            last_word: None,
        };
        (connection, start)
    }

    /// The worker says something. The steps are the server's to take; an error means that the worker is not to
    /// be trusted any more.
    pub(crate) fn worker_said(
        &mut self,
        message: FromWorker,
        world: &World<'_>,
    ) -> Result<Vec<Step>, String> {
        match message {
            // May have been on its way.
            FromWorker::Sign(_) | FromWorker::Auth(_) if self.sent_away => Ok(Vec::new()),
            FromWorker::Sign(request) => {
                let signed = self.signer.sign(&request, world.keys, world.now).map_err(|e| e.to_string())?;
                self.link.say(&signed, None).map_err(|e| e.to_string())?;
                Ok(Vec::new())
            }
            FromWorker::Prove { .. } if self.login.is_none() => {
                Err("proofs of host keys before the login".into())
            }
            FromWorker::Prove { keys } => {
                let proved = self.signer.prove(&keys, world.keys, world.now).map_err(|e| e.to_string())?;
                self.link.say(&ToWorker::Proved(proved), None).map_err(|e| e.to_string())?;
                Ok(Vec::new())
            }
            FromWorker::Auth(_) if self.login.is_some() => {
                Err("an authentication request after the login".into())
            }
            FromWorker::Auth(request) => {
                let Connection { auth, facts, signer, .. } = self;
                Ok(auth.requested(*request, &surroundings(facts, signer, world)))
            }
            FromWorker::Log { level, text } => {
                let phase = if self.login.is_some() { "" } else { " [preauth]" };
                logging::emit(level_of(level), &format!("{text}{phase}"));
                Ok(Vec::new())
            }
            FromWorker::Ended { why } => {
                self.last_word = Some(why);
                Ok(Vec::new())
            }
        }
    }

    /// A reader answers.
    pub(crate) fn reader_said(&mut self, job: Job, message: FromReader, world: &World<'_>) -> Vec<Step> {
        let Connection { auth, facts, signer, .. } = self;
        auth.reader_said(job, message, &surroundings(facts, signer, world))
    }

    /// Of a connection that ends without a login: who was asked for, with which key last, why not, and how many
    /// refusals there were. None if nobody was asked for.
    pub(crate) fn refused(&self) -> Option<(String, ShownKey, String, u64)> {
        let user = self.auth.user()?;
        let (mut key, refused) = self.auth.refused();
        let why = refused.or(self.refusal.as_deref()).or(self.last_word.as_deref());
        let why = why.unwrap_or("the server ended it");
        key.described = cut(&key.described);
        if let Some(certificate) = &mut key.certificate {
            certificate.id = cut(&certificate.id);
        }
        Some((cut(&user), key, cut(why), self.auth.failures()))
    }

    /// For the log: "user alex 192.0.2.7 port 4242", with what is known of the user.
    pub(crate) fn who(&self) -> String {
        match (&self.login, self.auth.user()) {
            (Some(login), _) => format!("user {} {}", login.user, self.facts),
            (None, Some(user)) => format!("authenticating user {user} {}", self.facts),
            (None, None) => self.facts.to_string(),
        }
    }
}

/// Words of somebody who was not let in, as far as a log should hold them.
fn cut(words: &str) -> String {
    match words.char_indices().nth(STRANGERS_WORDS_MAX) {
        Some((end, _)) => format!("{}…", words.get(..end).unwrap_or_default()),
        None => words.to_owned(),
    }
}

fn surroundings<'a>(facts: &'a Facts, signer: &'a Signer, world: &World<'a>) -> Surroundings<'a> {
    Surroundings {
        config: world.config,
        facts,
        server: world.server,
        session_id: signer.session_id(),
        host_key: signer.host_key(),
        unix_time: sockward_sys::time::unix_seconds(),
    }
}

/// For server-sig-algs (RFC 8308 §3.1): how the accepted keys and certificates sign.
fn signature_algorithms(config: &Config) -> String {
    let accepted = config.pubkey_algorithms_of_anybody();
    let mut names: Vec<&str> = Vec::new();
    for algorithm in accepted.iter().filter_map(|name| sockward_crypto::KeyAlgorithm::from_name(name)) {
        let name = algorithm.signature.name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",")
}

fn level_of(level: LogLevel) -> logging::LogLevel {
    match level {
        LogLevel::Error => logging::LogLevel::Error,
        LogLevel::Info => logging::LogLevel::Info,
        LogLevel::Verbose => logging::LogLevel::Verbose,
        LogLevel::Debug => logging::LogLevel::Debug1,
        LogLevel::Trace => logging::LogLevel::Debug2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_strangers_are_cut() {
        assert_eq!(cut("alex"), "alex");
        let long = "é".repeat(STRANGERS_WORDS_MAX);
        assert_eq!(cut(&long), long);
        assert_eq!(cut(&format!("{long}x")), format!("{long}…"));
    }
}
