//! Letting us in: methods in their order, keys in theirs, passwords and questions. Driven by what the server says and
//! by jobs that end; nothing here waits.
//!
//! ```text
//!   failed ─▶ methods ─▶ publickey ─▶ identities: next ─┬─ query ─▶ key_acceptable ─▶ sign ─▶ signed request
//!                   │                                   └─ load (no public half) ──────┘
//!                   ├──▶ password ─▶ ask ─▶ request
//!                   └──▶ keyboard-interactive ─▶ prompts ─▶ ask ─▶ responses
//! ```

mod agent;
mod identities;
mod key_files;
mod methods;
mod unlocked;

use std::io;
use std::sync::Arc;

use sockward_crypto::{KeyAlgorithm, KeyOrCert, PrivateKey};
use sockward_proto::event::Prompts;
use sockward_proto::{Connection, Result};

pub(crate) use agent::Binding;
pub(crate) use unlocked::Unlocked;

use crate::jobs::{Job, Jobs};
use crate::plan::Plan;
use crate::prompt::{self, Answer, Echo};
use crate::trust::Trust;
use identities::{Identities, Identity, SharedAgent, signature_algorithm, with_agent};
use key_files::{Passphrases, load_private};
use methods::{Method, Methods};

/// How a step went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The server or a job is to go on.
    Waiting,
    /// Nothing is left to try; the text says so.
    Denied(String),
}

/// One login.
pub(crate) struct Authenticator {
    plan: Arc<Plan>,
    jobs: Jobs,
    methods: Methods,
    binding: Option<Binding>,
    unlocked: Unlocked,
    /// The server's last list of methods.
    list: String,
    identities: Option<Identities>,
    waiting: Waiting,
    passwords: u32,
    interactions: u32,
    saw_prompts: bool,
}

/// What is under way here. Jobs hand back what they were given.
enum Waiting {
    /// Nothing: the server has the word.
    Server,
    Identities(Job<Identities>),
    /// A private key without a known public half.
    Private(Job<Option<Arc<PrivateKey>>>),
    Signature(Box<Signing>, Job<io::Result<Option<Vec<u8>>>>),
    Password(Job<Option<Answer>>),
    Responses(Job<Vec<Answer>>),
}

/// A signed request about to be made.
struct Signing {
    identity: Identity,
    algorithm: KeyAlgorithm,
    blob: Vec<u8>,
}

impl Authenticator {
    pub(crate) fn new(
        plan: Arc<Plan>,
        jobs: Jobs,
        trust: Trust,
        binding: Option<Binding>,
        unlocked: Unlocked,
    ) -> Self {
        let methods = Methods::new(&plan.configuration.settings, trust);
        Authenticator {
            plan,
            jobs,
            methods,
            binding,
            unlocked,
            list: String::new(),
            identities: None,
            waiting: Waiting::Server,
            passwords: 0,
            interactions: 0,
            saw_prompts: false,
        }
    }

    /// Authentication may begin: which methods are there?
    pub(crate) fn ready(&mut self, conn: &mut Connection) -> Result<()> {
        conn.auth_none()
    }

    /// The server refused a request, or wants more.
    pub(crate) fn failed(&mut self, conn: &mut Connection, list: String, partial: bool) -> Result<Progress> {
        if partial {
            let name = self.methods.current().map_or("none", Method::name);
            log::info!(target: "verbose", "Authenticated using \"{name}\" with partial success.");
            if let Some(identities) = &mut self.identities {
                identities.list.iter_mut().for_each(|identity| identity.tried = false);
            }
        }
        log::debug!("Authentications that can continue: {list}");
        self.list = list;
        self.next(conn)
    }

    /// Whether what let us in was typed: it cannot be given again without asking.
    pub(crate) fn was_typed(&self) -> bool {
        matches!(self.methods.current(), Some(Method::Password | Method::KeyboardInteractive))
    }

    /// Tries the next thing.
    fn next(&mut self, conn: &mut Connection) -> Result<Progress> {
        while let Some(method) = self.methods.choose(&self.list) {
            let sent = match method {
                Method::PublicKey => self.next_key(conn)?,
                Method::KeyboardInteractive => self.interact(conn)?,
                Method::Password => self.ask_password(),
            };
            if sent {
                return Ok(Progress::Waiting);
            }
            log::trace!("we did not send a packet, disable method");
            self.methods.disable(method);
        }
        let configuration = &self.plan.configuration;
        let who = format!("{}@{}", configuration.user, configuration.host);
        Ok(Progress::Denied(format!("{who}: Permission denied ({}).", self.list)))
    }

    /// Begins something that waits; a thread that cannot be started means that it failed.
    fn begin<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        waiting: impl FnOnce(Job<T>) -> Waiting,
    ) -> bool {
        match self.jobs.start(work) {
            Ok(job) => {
                self.waiting = waiting(job);
                true
            }
            Err(e) => {
                log::error!("cannot start a thread: {e}");
                false
            }
        }
    }

    // ---- publickey ----

    fn next_key(&mut self, conn: &mut Connection) -> Result<bool> {
        let Some(identities) = &mut self.identities else {
            let (plan, binding) = (Arc::clone(&self.plan), self.binding.clone());
            let algorithms = conn.server_sig_algs().map(str::to_owned);
            let find = move || Identities::find(&plan, binding.as_ref(), algorithms.as_deref());
            return Ok(self.begin(find, Waiting::Identities));
        };
        while let Some(identity) = next_untried(identities) {
            let Some(key) = &identity.key else {
                log::debug!("Trying private key: {}", identity.name.display());
                let (path, passphrases) = (identity.name.clone(), self.passphrases(&identity));
                let unlocked = self.unlocked.clone();
                let load = move || load_private(&path, passphrases, &unlocked);
                return Ok(self.begin(load, Waiting::Private));
            };
            log::debug!("Offering public key: {identity}");
            let accepted = &self.plan.configuration.settings.pubkey_accepted_algorithms.names;
            if let Some(algorithm) = signature_algorithm(key, accepted, conn.server_sig_algs()) {
                conn.auth_query(algorithm.name(), key.blob())?;
                return Ok(true);
            }
            log::debug!("no mutual signature algorithm");
        }
        Ok(false)
    }

    fn algorithm(&self, key: &KeyOrCert, conn: &Connection) -> Option<KeyAlgorithm> {
        let accepted = &self.plan.configuration.settings.pubkey_accepted_algorithms.names;
        signature_algorithm(key, accepted, conn.server_sig_algs())
    }

    fn passphrases(&self, identity: &Identity) -> Passphrases {
        let settings = &self.plan.configuration.settings;
        let tries = if settings.batch_mode { 0 } else { settings.number_of_password_prompts };
        Passphrases { tries, by_user: identity.is_by_user() }
    }

    /// The server would take a key that was offered.
    pub(crate) fn key_acceptable(
        &mut self,
        conn: &mut Connection,
        algorithm: &str,
        key: &[u8],
    ) -> Result<Progress> {
        let offered =
            |identity: &&Identity| identity.tried && identity.key.as_ref().is_some_and(|k| k.blob() == key);
        let identity = self.identities.as_ref().and_then(|i| i.list.iter().rev().find(offered)).cloned();
        let Some(identity) = identity else {
            log::error!("server replied with unknown key");
            return self.next(conn);
        };
        log::debug!("Server accepts key: {identity}");
        let ours = identity.key.as_ref().and_then(|key| self.algorithm(key, conn));
        // The algorithm is ours to choose: a server cannot talk us into a weaker one.
        let Some(chosen) = ours.filter(|alg| alg.name() == algorithm) else {
            log::error!("server replied with another algorithm than offered");
            return self.next(conn);
        };
        if self.sign(conn, identity, chosen)? { Ok(Progress::Waiting) } else { self.next(conn) }
    }

    /// Has the request signed, by the agent or by a file's key.
    fn sign(&mut self, conn: &mut Connection, identity: Identity, algorithm: KeyAlgorithm) -> Result<bool> {
        let (Some(identities), Some(key)) = (&self.identities, identity.key.clone()) else {
            return Ok(false);
        };
        let data = conn.auth_data_to_sign(algorithm.name(), key.blob())?;
        let signer = identities.signer(&identity);
        let agent = identities.agent.clone().filter(|_| signer.in_agent);
        let passphrases = self.passphrases(&signer);
        let work = {
            let (key, unlocked) = (key.clone(), self.unlocked.clone());
            move || match agent {
                Some(agent) => by_agent(&agent, &signer, &key, &data, algorithm).map(Some),
                None => {
                    let private = load_private(&signer.name, passphrases, &unlocked);
                    private.map_or(Ok(None), |private| by_file(&signer, &private, &key, &data, algorithm))
                }
            }
        };
        let signing = Box::new(Signing { identity, algorithm, blob: key.blob().to_vec() });
        Ok(self.begin(work, |job| Waiting::Signature(signing, job)))
    }

    // ---- password, keyboard-interactive ----

    fn ask_password(&mut self) -> bool {
        let configuration = &self.plan.configuration;
        if self.passwords >= configuration.settings.number_of_password_prompts {
            return false;
        }
        self.passwords += 1;
        if self.passwords > 1 {
            log::error!("Permission denied, please try again.");
        }
        let prompt = format!("{}@{}'s password: ", configuration.user, self.shown_host());
        self.begin(move || prompt::ask(&prompt, Echo::Off), Waiting::Password)
    }

    fn interact(&mut self, conn: &mut Connection) -> Result<bool> {
        let most = self.plan.configuration.settings.number_of_password_prompts;
        // A server that asked nothing the first time will not do so the second.
        if self.interactions >= most || self.interactions > 0 && !self.saw_prompts {
            return Ok(false);
        }
        self.interactions += 1;
        conn.auth_interactive()?;
        Ok(true)
    }

    /// The server has questions.
    pub(crate) fn prompts(&mut self, prompts: Prompts) -> Progress {
        self.saw_prompts = true;
        let who = format!("({}@{})", self.plan.configuration.user, self.shown_host());
        let ask = move || {
            for text in [&prompts.name, &prompts.instruction] {
                if !text.is_empty() {
                    crate::messages::show(text);
                }
            }
            let ask = |(text, echo): &(Vec<u8>, bool)| {
                let prompt = format!("{who} {}", String::from_utf8_lossy(text));
                prompt::ask(&prompt, if *echo { Echo::On } else { Echo::Off }).unwrap_or_default()
            };
            prompts.prompts.iter().map(ask).collect()
        };
        if self.begin(ask, Waiting::Responses) {
            Progress::Waiting
        } else {
            Progress::Denied("no answers could be had".to_owned())
        }
    }

    fn shown_host(&self) -> String {
        let configuration = &self.plan.configuration;
        configuration.settings.host_key_alias.clone().unwrap_or_else(|| configuration.host.clone())
    }

    // ---- jobs ----

    /// A job may have ended.
    pub(crate) fn wake(&mut self, conn: &mut Connection) -> Result<Progress> {
        match std::mem::replace(&mut self.waiting, Waiting::Server) {
            Waiting::Server => {}
            Waiting::Identities(job) => match job.poll() {
                None => self.waiting = Waiting::Identities(job),
                Some(found) => {
                    self.identities = Some(found);
                    return self.next(conn);
                }
            },
            Waiting::Private(job) => match job.poll() {
                None => self.waiting = Waiting::Private(job),
                Some(private) => return self.loaded(conn, private),
            },
            Waiting::Signature(signing, job) => match job.poll() {
                None => self.waiting = Waiting::Signature(signing, job),
                Some(outcome) => return self.signed(conn, &signing, outcome),
            },
            Waiting::Password(job) => match job.poll() {
                None => self.waiting = Waiting::Password(job),
                Some(Some(password)) => conn.auth_password(&password)?,
                Some(None) => {
                    self.methods.disable(Method::Password);
                    return self.next(conn);
                }
            },
            Waiting::Responses(job) => match job.poll() {
                None => self.waiting = Waiting::Responses(job),
                Some(answers) => {
                    let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
                    conn.auth_responses(&answers)?;
                }
            },
        }
        Ok(Progress::Waiting)
    }

    /// A private key whose public half was not known has been read: it signs without a query.
    fn loaded(&mut self, conn: &mut Connection, private: Option<Arc<PrivateKey>>) -> Result<Progress> {
        let Some(private) = private else { return self.next(conn) };
        let key = KeyOrCert::Key(private.public().clone());
        let required = self.plan.configuration.settings.required_rsa_size;
        let algorithm =
            self.algorithm(&key, conn).filter(|_| private.public().check_rsa_size(required).is_ok());
        let Some(algorithm) = algorithm else {
            log::debug!("no mutual signature algorithm");
            return self.next(conn);
        };
        let data = conn.auth_data_to_sign(algorithm.name(), key.blob())?;
        match private.sign(algorithm.signature, &data) {
            Ok(signature) => {
                conn.auth_signed(algorithm.name(), key.blob(), &signature)?;
                Ok(Progress::Waiting)
            }
            Err(e) => {
                log::error!("signing failed: {e}");
                self.next(conn)
            }
        }
    }

    fn signed(
        &mut self,
        conn: &mut Connection,
        signing: &Signing,
        outcome: io::Result<Option<Vec<u8>>>,
    ) -> Result<Progress> {
        match outcome {
            Ok(Some(signature)) => {
                conn.auth_signed(signing.algorithm.name(), &signing.blob, &signature)?;
                return Ok(Progress::Waiting);
            }
            // Why was said already.
            Ok(None) => {}
            Err(e) => {
                let word = signing.identity.key.as_ref().map(KeyOrCert::word).unwrap_or_default();
                let whence = if signing.identity.in_agent { " from agent" } else { "" };
                log::error!("signing failed for {word} \"{}\"{whence}: {e}", signing.identity.name.display());
            }
        }
        self.next(conn)
    }
}

/// The next key that has not been tried since the last partial success.
fn next_untried(identities: &mut Identities) -> Option<Identity> {
    let identity = identities.list.iter_mut().find(|identity| !identity.tried)?;
    identity.tried = true;
    Some(identity.clone())
}

/// A signature by the agent. It knows a key by the blob it shows: the signer's own.
fn by_agent(
    agent: &SharedAgent,
    signer: &Identity,
    key: &KeyOrCert,
    data: &[u8],
    algorithm: KeyAlgorithm,
) -> io::Result<Vec<u8>> {
    let blob = signer.key.as_ref().unwrap_or(key).blob();
    with_agent(agent, |agent| agent.sign(blob, data, algorithm.signature))
}

/// A signature by a key file. `None`: it cannot be used, and why has been said.
fn by_file(
    signer: &Identity,
    private: &PrivateKey,
    key: &KeyOrCert,
    data: &[u8],
    algorithm: KeyAlgorithm,
) -> io::Result<Option<Vec<u8>>> {
    if private.public() != key.public_key() {
        log::error!("private key {} contents do not match public", signer.name.display());
        return Ok(None);
    }
    private.sign(algorithm.signature, data).map(Some).map_err(io::Error::other)
}
