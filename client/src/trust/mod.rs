//! Is this the right host? What the known_hosts files say of the key a server showed, what
//! StrictHostKeyChecking makes of it, and what the user is told and asked.
//!
//! [`decide`] reads files and may wait for the user: it is for a job. The order of the steps, and what is allowed
//! after a warning, is OpenSSH's.

mod files;
mod learn;
mod revoked;
mod warnings;

pub(crate) use learn::Learner;

use std::net::SocketAddr;

use sockward_config::known_hosts::{
    Entry, Findings, HostName, KnownHosts, Presented, Verdict, is_recordable,
};
use sockward_config::ssh::{Settings, StrictHostKeyChecking};
use sockward_crypto::{CertType, Certificate, KeyOrCert, PublicKey};
use sockward_proto::HostKeyOffer;
use sockward_sys::time;

use crate::plan::Plan;

/// How far a host is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is the right one.
    Full,
    /// Nobody knows, and the user wants to go on: nothing that somebody in between could use is done.
    Unsafe,
}

/// What [`decide`] comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) trust: Trust,
    /// Whether the host may tell its other keys (UpdateHostKeys): the one it showed is in a file of the user's, or
    /// the user has just said yes to it.
    pub(crate) introduces: bool,
}

impl From<Trust> for Judgement {
    fn from(trust: Trust) -> Self {
        Judgement { trust, introduces: false }
    }
}

/// Host-key algorithms in the order to ask for them: first those whose keys are known.
pub(crate) fn algorithms(plan: &Plan) -> Vec<String> {
    let wanted = &plan.configuration.settings.host_key_algorithms;
    if wanted.ordered {
        return wanted.names.clone();
    }
    let known = files::read_all(&plan.configuration.settings);
    known.key_types(&name(plan)).order(&wanted.names)
}

/// Decides about the key of a server at `address` (none if a proxy reached it). `before` is the key of the connection
/// that is made again, if one is. `None`: it is not to be trusted, and why has been said.
pub(crate) fn decide(
    plan: &Plan,
    offer: &HostKeyOffer,
    address: Option<SocketAddr>,
    before: Option<&[u8]>,
) -> Option<Judgement> {
    let settings = &plan.configuration.settings;
    let key = match KeyOrCert::parse(&offer.key) {
        Ok(key) => key,
        Err(e) => {
            log::error!("Bad server host key: {e}");
            return None;
        }
    };
    describe(&key);
    if let Err(e) = key.public_key().check_rsa_size(settings.required_rsa_size) {
        log::error!("Bad server host key: {e}");
        return None;
    }
    let local = address.is_some_and(|address| address.ip().is_loopback());
    if settings.no_host_authentication_for_localhost && local && settings.host_key_alias.is_none() {
        log::debug!("Forcing accepting of host key for loopback/localhost.");
        return Some(Trust::Full.into());
    }
    if let Err(refusal) = revoked::check(&settings.revoked_host_keys, &key) {
        log::error!("{refusal}");
        return None;
    }
    let known = files::read_all(settings);
    let check = Check { plan, settings, known: &known, host: name(plan), address, before };
    check.decide(&key)
}

/// The plain key of an offer.
pub(crate) fn plain_key(offer: &HostKeyOffer) -> Option<Vec<u8>> {
    KeyOrCert::parse(&offer.key).ok().map(|key| key.public_key().blob().to_vec())
}

/// The name the host is looked up by.
fn name(plan: &Plan) -> HostName {
    let configuration = &plan.configuration;
    match &configuration.settings.host_key_alias {
        Some(alias) => HostName::alias(alias),
        None => HostName::new(&configuration.host, configuration.port),
    }
}

fn describe(key: &KeyOrCert) {
    let plain = key.public_key();
    let Some(certificate) = key.certificate() else {
        log::debug!("Server host key: {} {}", plain.key_type().name(), plain.fingerprint());
        return;
    };
    log::debug!(
        "Server host certificate: {} {}, serial {} ID \"{}\" CA {} {}",
        plain.key_type().certificate_name(),
        plain.fingerprint(),
        certificate.serial,
        certificate.key_id.escape_ascii(),
        certificate.authority.key_type().name(),
        certificate.authority.fingerprint(),
    );
    for principal in &certificate.principals {
        log::trace!("Server host certificate hostname: {}", principal.escape_ascii());
    }
}

/// The server's address as it is recorded, if CheckHostIP has it looked up, too.
fn address_to_check(plan: &Plan, address: Option<SocketAddr>) -> Option<HostName> {
    let address = address.filter(|_| plan.configuration.settings.check_host_ip)?;
    let name = HostName::new(&address.ip().to_string(), plan.configuration.port);
    (!address.ip().is_loopback() && name != self::name(plan)).then_some(name)
}

/// One decision.
struct Check<'c> {
    plan: &'c Plan,
    settings: &'c Settings,
    known: &'c KnownHosts,
    host: HostName,
    address: Option<SocketAddr>,
    before: Option<&'c [u8]>,
}

impl Check<'_> {
    fn decide(&self, key: &KeyOrCert) -> Option<Judgement> {
        let plain = key.public_key();
        let presented = Presented {
            key_type: plain.key_type().name(),
            key: plain.blob(),
            signer: key.certificate().map(|certificate| certificate.authority.blob()),
        };
        let found = self.known.check(&self.host, &presented);
        if let (Verdict::Authority, Some(certificate)) = (found.verdict(), key.certificate())
            && self.certificate_holds(certificate, &found)
        {
            return Some(Trust::Full.into());
        }
        if key.certificate().is_some() && found.plain_verdict() != Verdict::Revoked {
            log::debug!("No matching CA found. Retry with plain key");
            if !takes_plain(self.settings, plain) {
                log::error!("host key {} not permitted by HostkeyAlgorithms", plain.key_type().name());
                return None;
            }
        }
        match found.plain_verdict() {
            Verdict::Revoked => self.revoked(plain).map(Judgement::from),
            Verdict::Known => self.known(plain, &found),
            Verdict::Changed => self.changed(plain, &found).map(Judgement::from),
            Verdict::New | Verdict::Authority => self.new_host(plain),
        }
    }

    fn strict(&self) -> StrictHostKeyChecking {
        self.settings.strict_host_key_checking
    }

    fn certificate_holds(&self, certificate: &Certificate, found: &Findings<'_>) -> bool {
        let host = self.settings.host_key_alias.as_deref().unwrap_or(self.plan.host()).to_ascii_lowercase();
        let word = format!("{}-CERT", certificate.key.key_type().word());
        log::debug!("Host '{}' is known and matches the {word} host certificate.", self.host.name());
        if let Some(authority) = found.authorities.first() {
            log::debug!("Found CA key in {}", authority.source);
        }
        let allowed = &self.settings.ca_signature_algorithms.names;
        if let Err(refusal) = certificate.check(CertType::Host, Some(host.as_bytes()), time::unix_seconds()) {
            log::error!("{refusal}");
            return false;
        }
        if !allowed.iter().any(|name| name == certificate.signature_algorithm.name()) {
            log::error!("Certificate signed with disallowed algorithm");
            return false;
        }
        true
    }

    fn revoked(&self, key: &PublicKey) -> Option<Trust> {
        warnings::revoked(key, self.host.name());
        if self.strict() != StrictHostKeyChecking::No {
            let word = key.key_type().word();
            let host = self.host.name();
            log::error!("{word} host key for {host} was revoked and you have requested strict checking.");
            return None;
        }
        Some(Trust::Unsafe)
    }

    fn known(&self, key: &PublicKey, found: &Findings<'_>) -> Option<Judgement> {
        let word = key.key_type().word();
        log::debug!("Host '{}' is known and matches the {word} host key.", self.host.name());
        if let Some(entry) = found.matched.first() {
            log::debug!("Found key in {}", entry.source);
        }
        let trust = self.address_agrees(key, found)?;
        Some(Judgement { trust, introduces: self.is_the_users(key, found) })
    }

    /// Whether the key stands under the host's whole name in a file of the user's, and in none of the machine's.
    fn is_the_users(&self, key: &PublicKey, found: &Findings<'_>) -> bool {
        let by_address = self.address_to_check();
        let by_address = by_address.as_ref().map(|address| self.known.check(address, &presented(key)));
        let lines = found.matched.iter().chain(by_address.iter().flat_map(|found| &found.matched));
        let machine = files::machine_files(self.settings);
        let machine: Vec<String> = machine.map(|path| path.display().to_string()).collect();
        let own = |entry: &&Entry| entry.hosts.matches(self.host.name(), files::HMAC);
        found.matched.iter().copied().any(|entry| own(&entry))
            && lines.copied().all(|entry| !machine.contains(&entry.source.file))
    }

    fn changed(&self, key: &PublicKey, found: &Findings<'_>) -> Option<Trust> {
        let offending = found.changed.last().or(found.other_types.last());
        let first_file = files::user_files(self.settings).next();
        warnings::changed(key, first_file.as_deref(), offending.copied());
        if self.strict() != StrictHostKeyChecking::No {
            let host = self.host.name();
            log::error!("Host key for {host} has changed and you have requested strict checking.");
            return None;
        }
        Some(Trust::Unsafe)
    }

    fn new_host(&self, key: &PublicKey) -> Option<Judgement> {
        let (host, word) = (self.host.name(), key.key_type().word());
        // It was accepted once in this run, and could not be recorded.
        if self.before == Some(key.blob()) {
            return Some(Trust::Full.into());
        }
        match self.strict() {
            StrictHostKeyChecking::Yes => {
                log::error!("No {word} host key is known for {host} and you have requested strict checking.");
                return None;
            }
            StrictHostKeyChecking::Ask => {
                let question = warnings::question(&self.host, self.address_name().as_ref(), key, self.known);
                let batch = self.settings.batch_mode;
                if batch || !warnings::confirmed(&question, Some(&key.fingerprint())) {
                    return None;
                }
            }
            StrictHostKeyChecking::AcceptNew | StrictHostKeyChecking::No => {}
        }
        self.record(key);
        Some(Judgement { trust: Trust::Full, introduces: self.strict() == StrictHostKeyChecking::Ask })
    }

    fn record(&self, key: &PublicKey) {
        let Some(path) = files::user_files(self.settings).next() else { return };
        let configured = self.settings.host_key_alias.as_deref().unwrap_or(&self.plan.configuration.host);
        if !is_recordable(configured) {
            log::debug!("invalid hostname \"{configured}\"; will not record");
            return;
        }
        let address = self.address_to_check().filter(|address| {
            let presented = presented(key);
            self.known.check(address, &presented).plain_verdict() == Verdict::New
        });
        let names: Vec<&HostName> = std::iter::once(&self.host).chain(&address).collect();
        let shown = names.iter().map(|name| name.name()).collect::<Vec<_>>().join(",");
        match files::add(&path, &names, key, self.settings.hash_known_hosts) {
            Ok(()) => {
                let word = key.key_type().word();
                log::warn!("Warning: Permanently added '{shown}' ({word}) to the list of known hosts.");
            }
            Err(e) => {
                log::warn!("Failed to add the host to the list of known hosts ({}): {e}", path.display())
            }
        }
    }

    /// The server's address as a name, for messages.
    fn address_name(&self) -> Option<HostName> {
        let address = self.address?;
        Some(HostName::new(&address.ip().to_string(), self.plan.configuration.port))
    }

    /// The address if CheckHostIP has it looked up, too.
    fn address_to_check(&self) -> Option<HostName> {
        address_to_check(self.plan, self.address)
    }

    /// CheckHostIP for a host that is known by its name.
    fn address_agrees(&self, key: &PublicKey, found: &Findings<'_>) -> Option<Trust> {
        let Some(address) = self.address_to_check() else { return Some(Trust::Full) };
        let by_address = self.known.check(&address, &presented(key));
        let (word, shown) = (key.key_type().word(), address.name());
        match by_address.plain_verdict() {
            Verdict::Known | Verdict::Authority => Some(Trust::Full),
            Verdict::New => {
                let path = files::user_files(self.settings).next();
                let added = path
                    .as_deref()
                    .map(|path| files::add(path, &[&address], key, self.settings.hash_known_hosts));
                match added {
                    Some(Ok(())) => log::warn!(
                        "Warning: Permanently added the {word} host key for IP address '{shown}' to the list of \
                         known hosts."
                    ),
                    Some(Err(e)) => log::warn!(
                        "Failed to add the {word} host key for IP address '{shown}' to the list of known hosts: {e}"
                    ),
                    None => {
                        log::warn!("{word} host key for IP address '{shown}' not in list of known hosts.");
                    }
                }
                Some(Trust::Full)
            }
            Verdict::Changed | Verdict::Revoked => {
                let mut text = format!(
                    "Warning: the {word} host key for '{}' differs from the key for the IP address '{shown}'",
                    self.host.name()
                );
                if let Some(entry) = by_address.changed.last().or(by_address.other_types.last()) {
                    text += &format!("\nOffending key for IP in {}", entry.source);
                }
                if let Some(entry) = found.matched.first() {
                    text += &format!("\nMatching host key in {}", entry.source);
                }
                self.go_on_despite(&text)
            }
        }
    }

    fn go_on_despite(&self, warning: &str) -> Option<Trust> {
        if self.strict() == StrictHostKeyChecking::Ask {
            let question = format!("{warning}\nAre you sure you want to continue connecting (yes/no)? ");
            let yes = !self.settings.batch_mode && warnings::confirmed(&question, None);
            return yes.then_some(Trust::Full);
        }
        warning.lines().for_each(|line| log::warn!("{line}"));
        if self.strict() == StrictHostKeyChecking::No {
            return Some(Trust::Full);
        }
        log::error!("Exiting, you have requested strict checking.");
        None
    }
}

/// Whether HostKeyAlgorithms takes a plain key of this type.
fn takes_plain(settings: &Settings, key: &PublicKey) -> bool {
    settings.host_key_algorithms.names.iter().any(|name| {
        sockward_crypto::KeyAlgorithm::from_name(name)
            .is_some_and(|alg| !alg.certificate && alg.signature.key_type() == key.key_type())
    })
}

fn presented(key: &PublicKey) -> Presented<'_> {
    Presented { key_type: key.key_type().name(), key: key.blob(), signer: None }
}
