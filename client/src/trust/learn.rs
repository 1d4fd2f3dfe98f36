//! UpdateHostKeys (ssh_config(5); OpenSSH's PROTOCOL §2.5): after the login a server names all its host keys. Those
//! that the user's files lack are learned once the server has proved to hold them, for this very session; those that it
//! has no more are forgotten. When nothing is changed is OpenSSH's rule, see `sockward_config::known_hosts::compare`.
//!
//! ```text
//!   Listening ─ the list ─▶ Comparing (job) ─ new keys ─▶ Proving ─ signatures ─▶ Agreed ─▶ Writing (job)
//!                                           └ old ones alone ──────────────────────┘ ask: first at the session's end
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sockward_config::choice::LogLevel;
use sockward_config::known_hosts::HostNames;
use sockward_config::ssh::{ControlPersist, RequestTty, Settings, YesNoAsk};
use sockward_crypto::{PublicKey, SignatureAlg};
use sockward_proto::event::GlobalRequest;
use sockward_proto::{Connection, GlobalId, Result};
use sockward_wire::{Put, Reader, names};

use super::{address_to_check, files, name, takes_plain};
use crate::jobs::{Job, Jobs};
use crate::plan::Plan;
use crate::prompt::{self, Echo};

/// A host has a key or two of each type, twice as many while it changes them; lists of more are not looked at.
const KEYS_MAX: usize = 64;

/// How long the end of a session waits for what was asked for before: a server answers in turn, so only one that is
/// broken needs longer.
const PROOF_WAIT: Duration = Duration::from_secs(5);

/// How often the question is put to somebody who answers neither yes nor no.
const QUESTIONS: usize = 3;

/// Learns the other keys of one connection's server.
pub(crate) struct Learner {
    plan: Arc<Plan>,
    jobs: Jobs,
    address: Option<SocketAddr>,
    state: State,
}

enum State {
    /// Nothing is learned, or not any more.
    Off,
    Listening,
    Comparing(Job<Option<Update>>),
    Proving {
        id: GlobalId,
        update: Update,
        until: Instant,
    },
    /// The session has the terminal: the user is asked when it is over.
    Agreed(Update),
    Writing(Job<()>),
}

/// What is to be changed.
struct Update {
    names: HostNames,
    /// All that the server has and we take.
    keys: Vec<PublicKey>,
    /// Of these the ones to be proved, by their place.
    new: Vec<usize>,
    /// What is said of those that go.
    old: Vec<String>,
}

impl Learner {
    /// For a server that `introduces` its keys, by the judgement of the one it showed.
    pub(crate) fn new(plan: Arc<Plan>, jobs: Jobs, address: Option<SocketAddr>, introduces: bool) -> Self {
        let wanted = introduces && wants(&plan);
        let state = if wanted { State::Listening } else { State::Off };
        Learner { plan, jobs, address, state }
    }

    /// The server names its keys. The first list counts.
    pub(crate) fn told(&mut self, keys: Vec<Vec<u8>>) {
        if !matches!(self.state, State::Listening) {
            log::debug!("the server's list of host keys is not looked at");
            return;
        }
        self.state = State::Off;
        let (plan, address) = (Arc::clone(&self.plan), self.address);
        match self.jobs.start(move || compare(&plan, address, &keys)) {
            Ok(job) => self.state = State::Comparing(job),
            Err(e) => log::error!("cannot start a thread: {e}"),
        }
    }

    /// Goes on when a job is done.
    pub(crate) fn turn(&mut self, conn: &mut Connection, now: Instant) -> Result<()> {
        match &self.state {
            State::Comparing(job) => {
                let Some(update) = job.poll() else { return Ok(()) };
                self.state = State::Off;
                match update {
                    None => {}
                    Some(update) if update.new.is_empty() => self.agree(update),
                    Some(update) => {
                        let blobs = update.new_keys().map(|key| key.blob().to_vec()).collect();
                        log::trace!("asking server to prove ownership for {} keys", update.new.len());
                        let id = conn.global_request(&GlobalRequest::HostKeysProve(blobs))?;
                        self.state = State::Proving { id, update, until: now + PROOF_WAIT };
                    }
                }
            }
            State::Writing(job) if job.poll().is_some() => self.state = State::Off,
            State::Off | State::Listening | State::Proving { .. } | State::Agreed(_) | State::Writing(_) => {}
        }
        Ok(())
    }

    /// An answer to one of our global requests. False: it is not the one that is waited for here.
    pub(crate) fn answered(&mut self, asked: GlobalId, reply: Option<&[u8]>, conn: &Connection) -> bool {
        if !matches!(&self.state, State::Proving { id, .. } if *id == asked) {
            return false;
        }
        let State::Proving { update, .. } = std::mem::replace(&mut self.state, State::Off) else {
            return false;
        };
        match prove(&update, reply, conn.session_id().unwrap_or_default()) {
            Ok(()) => self.agree(update),
            Err(why) => log::error!("{why}"),
        }
        true
    }

    /// Whether the end of the session has to wait.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        match &self.state {
            State::Comparing(_) => true,
            State::Proving { until, .. } => now < *until,
            State::Off | State::Listening | State::Agreed(_) | State::Writing(_) => false,
        }
    }

    /// When [`Self::holds`] changes by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Proving { until, .. } => Some(*until),
            State::Off | State::Listening | State::Comparing(_) | State::Agreed(_) | State::Writing(_) => {
                None
            }
        }
    }

    /// The connection is over, and the terminal the user's again: what is left to be done.
    pub(crate) fn end(self) -> Option<Job<()>> {
        match self.state {
            State::Agreed(update) => write(&self.plan, &self.jobs, update),
            State::Writing(job) => Some(job),
            State::Off | State::Listening | State::Comparing(_) | State::Proving { .. } => None,
        }
    }

    fn agree(&mut self, update: Update) {
        let settings = &self.plan.configuration.settings;
        self.state = if settings.update_host_keys == YesNoAsk::Ask && self.plan.has_session() {
            State::Agreed(update)
        } else {
            write(&self.plan, &self.jobs, update).map_or(State::Off, State::Writing)
        };
    }
}

impl Update {
    fn new_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.new.iter().filter_map(|at| self.keys.get(*at))
    }
}

/// Whether the configuration wants it. A question needs somebody to answer it, and a session that is not a script's.
fn wants(plan: &Plan) -> bool {
    let settings = &plan.configuration.settings;
    if files::user_files(settings).next().is_none() {
        return false;
    }
    match settings.update_host_keys {
        YesNoAsk::No => false,
        YesNoAsk::Yes => true,
        YesNoAsk::Ask => {
            let persists = settings.control_persist != ControlPersist::No && settings.control_path.is_some();
            let command = !plan.configuration.command.is_empty() || settings.request_tty == RequestTty::No;
            !persists && !command && !settings.batch_mode && settings.log_level >= LogLevel::Info
        }
    }
}

/// What the list changes, if it may change anything.
fn compare(plan: &Plan, address: Option<SocketAddr>, blobs: &[Vec<u8>]) -> Option<Update> {
    let settings = &plan.configuration.settings;
    let keys = accepted(settings, blobs)?;
    let names = HostNames {
        host: name(plan).name().to_owned(),
        address: address_to_check(plan, address).map(|address| address.name().to_owned()),
    };
    let known = files::read(files::user_files(settings));
    let shown: Vec<&[u8]> = keys.iter().map(PublicKey::blob).collect();
    let found = known.compare(&names, &shown);
    log::trace!("{} server keys: {} new, {} to remove", keys.len(), found.new.len(), found.old.len());
    if found.new.is_empty() && found.old.is_empty() {
        log::debug!("no new or deprecated keys from server");
        return None;
    }
    if let Some(obstacle) = found.obstacle {
        use sockward_config::known_hosts::Obstacle;
        let why = match obstacle {
            Obstacle::ByHand => "CA/revocation marker, manual host list or wildcard host pattern found",
            Obstacle::OtherName => "host key found matching a different name/address",
            Obstacle::OldElsewhere => "obsolete key(s) exist under other names",
        };
        log::debug!("{why}, skipping UserKnownHostsFile update");
        return None;
    }
    let mut old: Vec<&[u8]> = found.old.iter().map(|entry| entry.key.as_slice()).collect();
    old.dedup();
    let old = old.into_iter().map(described).collect();
    Some(Update { names, new: found.new, old, keys })
}

/// The keys of a list that count: plain ones of types that HostKeyAlgorithms has.
fn accepted(settings: &Settings, blobs: &[Vec<u8>]) -> Option<Vec<PublicKey>> {
    if blobs.len() > KEYS_MAX {
        log::error!("the server names {} host keys: not looked at", blobs.len());
        return None;
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for blob in blobs {
        // Certificates and types that are not known here, too.
        let key = match PublicKey::from_blob(blob) {
            Ok(key) if takes_plain(settings, &key) => key,
            Ok(key) => {
                log::trace!("{} key not permitted by HostkeyAlgorithms", key.key_type().name());
                continue;
            }
            Err(e) => {
                log::debug!("a host key of the server's list: {e}");
                continue;
            }
        };
        if let Err(e) = key.check_rsa_size(settings.required_rsa_size) {
            log::debug!("a host key of the server's list: {e}");
            continue;
        }
        if keys.contains(&key) {
            log::error!("received duplicated {} host key", key.key_type().name());
            return None;
        }
        keys.push(key);
    }
    if keys.is_empty() {
        log::debug!("server sent no hostkeys");
        return None;
    }
    Some(keys)
}

/// A signature of every new key over this session's identifier, in their order, and nothing else.
fn prove(update: &Update, reply: Option<&[u8]>, session_id: &[u8]) -> std::result::Result<(), String> {
    let reply = reply.ok_or("Server failed to confirm ownership of private host keys")?;
    let mut signatures = Reader::new(reply);
    for (n, key) in update.new_keys().enumerate() {
        let word = key.key_type().word();
        let bad = || format!("server gave bad signature for {word} key {n}");
        let signature = signatures.string("signature").map_err(|e| format!("parse sig: {e}"))?;
        let named = Reader::new(signature).string("signature algorithm").map_err(|_| bad())?;
        let algorithm = str::from_utf8(named).ok().and_then(SignatureAlg::from_name).ok_or_else(bad)?;
        let mut data = Vec::new();
        data.put_string(names::global::HOSTKEYS_PROVE.as_bytes());
        data.put_string(session_id);
        data.put_string(key.blob());
        // A host key that is a token's stands for a machine: nobody has to touch it.
        let _ = key.verify(algorithm, &data, signature).map_err(|_| bad())?;
    }
    signatures.finish("host key proofs").map_err(|e| e.to_string())
}

/// Tells, asks where that is wanted, and writes.
fn write(plan: &Arc<Plan>, jobs: &Jobs, update: Update) -> Option<Job<()>> {
    let plan = Arc::clone(plan);
    let job = jobs.start(move || {
        let settings = &plan.configuration.settings;
        let asks = settings.update_host_keys == YesNoAsk::Ask;
        tell(&update, asks);
        if asks && !confirmed() {
            return;
        }
        for (n, path) in files::user_files(settings).enumerate() {
            // New keys go to the first; the others keep none of this host's.
            let keys = if n == 0 { update.keys.as_slice() } else { &[] };
            match files::replace(&path, &update.names, keys, settings.hash_known_hosts) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && n > 0 => {}
                Err(e) => {
                    log::error!("cannot update known hosts file {}: {e}", path.display());
                    // Were the keys to go from the others, they would be nowhere.
                    return;
                }
            }
        }
    });
    job.inspect_err(|e| log::error!("cannot start a thread: {e}")).ok()
}

fn tell(update: &Update, asks: bool) {
    let new = update.new_keys().map(|key| format!("Learned new hostkey: {}", described(key.blob())));
    let old = update.old.iter().map(|old| format!("Deprecating obsolete hostkey: {old}"));
    if asks {
        log::info!("The server has updated its host keys.");
        log::info!("These changes were verified by the server's existing trusted key.");
        new.chain(old).for_each(|line| log::info!("{line}"));
    } else {
        new.chain(old).for_each(|line| log::info!(target: "verbose", "{line}"));
    }
}

fn confirmed() -> bool {
    for _ in 0..QUESTIONS {
        let Some(answer) = prompt::ask("Accept updated hostkeys? (yes/no): ", Echo::On) else { return false };
        match answer.trim_ascii() {
            yes if yes.eq_ignore_ascii_case(b"yes") => return true,
            no if no.eq_ignore_ascii_case(b"no") => return false,
            _ => log::info!("Please enter \"yes\" or \"no\""),
        }
    }
    false
}

/// The type and fingerprint of a key that may be of a type that is not known here.
fn described(blob: &[u8]) -> String {
    match PublicKey::from_blob(blob) {
        Ok(key) => format!("{} {}", key.key_type().word(), key.fingerprint()),
        Err(_) => "of a type that is not known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::{KeyType, PrivateKey};

    fn proof(key: &PrivateKey, session_id: &[u8], of: &PublicKey) -> Vec<u8> {
        let mut data = Vec::new();
        data.put_string(b"hostkeys-prove-00@openssh.com");
        data.put_string(session_id);
        data.put_string(of.blob());
        let mut out = Vec::new();
        out.put_string(&key.sign(SignatureAlg::from_name("ssh-ed25519").unwrap(), &data).unwrap());
        out
    }

    #[test]
    fn a_proof_is_of_each_new_key_for_this_session() {
        let keys = [(); 2].map(|()| PrivateKey::generate(KeyType::Ed25519).unwrap());
        let [one, two] = &keys;
        let public = || keys.iter().map(|key| key.public().clone()).collect();
        let names = HostNames { host: "h".into(), address: None };
        let update = Update { names, keys: public(), new: vec![0, 1], old: vec![] };
        let good = [proof(one, b"id", one.public()), proof(two, b"id", two.public())];
        assert_eq!(prove(&update, Some(&good.concat()), b"id"), Ok(()));
        for (what, reply) in [
            ("the order is another", [good[1].clone(), good[0].clone()].concat()),
            ("one is missing", good[0].clone()),
            ("there is more", [good.concat(), good[0].clone()].concat()),
            ("another session", [good[0].clone(), proof(two, b"other", two.public())].concat()),
            ("another key signs", [good[0].clone(), proof(one, b"id", two.public())].concat()),
            ("nothing", vec![]),
        ] {
            assert!(prove(&update, Some(&reply), b"id").is_err(), "{what}");
        }
        assert!(prove(&update, None, b"id").is_err());
    }

    #[test]
    fn a_list_has_its_limits() {
        let settings = crate::testing::settings(&[]);
        let blob = || PrivateKey::generate(KeyType::Ed25519).unwrap().public().blob().to_vec();
        let list: Vec<_> = (0..KEYS_MAX).map(|_| blob()).collect();
        assert_eq!(accepted(&settings, &list).map(|keys| keys.len()), Some(KEYS_MAX));
        assert_eq!(accepted(&settings, &[list.clone(), vec![blob()]].concat()), None);
        assert_eq!(accepted(&settings, &[blob(), b"junk".to_vec()]).map(|keys| keys.len()), Some(1));
        let twice = blob();
        assert_eq!(accepted(&settings, &[twice.clone(), blob(), twice]), None);
        let settings = crate::testing::settings(&["-o", "HostKeyAlgorithms=rsa-sha2-512"]);
        assert_eq!(accepted(&settings, &[blob()]), None);
    }

    #[test]
    fn who_is_asked() {
        let wanted = |arguments: &[&str]| wants(&crate::testing::plan(arguments));
        assert!(
            wanted(&["-o", "UpdateHostKeys=yes"]) && wanted(&["-o", "UpdateHostKeys=ask"]) && wanted(&[])
        );
        for more in ["BatchMode=yes", "RequestTTY=no", "LogLevel=ERROR", "UserKnownHostsFile=none"] {
            assert!(!wanted(&["-o", "UpdateHostKeys=ask", "-o", more]), "{more}");
        }
        assert!(!wanted(&["-o", "UpdateHostKeys=ask", "-S", "/s", "-o", "ControlPersist=yes"]));
        assert!(!wanted(&["-o", "UserKnownHostsFile=/k"]));
    }
}
