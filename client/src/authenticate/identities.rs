//! Which keys to try, in OpenSSH's order: certificates that the configuration names, an agent's keys (those that the
//! configuration names first), key files. Building the list reads files and asks the agent: for a job.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sockward_config::ssh::{AgentSocket, KeyFile, Settings};
use sockward_crypto::{CertType, KeyAlgorithm, KeyOrCert, KeyType};

use super::agent::{Agent, Binding, Held};
use super::key_files::{load_public, with_suffix};
use crate::plan::Plan;
use crate::start::ThisMachine;

/// An agent that jobs share, one at a time.
pub(super) type SharedAgent = Arc<Mutex<Agent>>;

/// A key to try.
#[derive(Clone)]
pub(super) struct Identity {
    /// The public half; none if it shows only when the private half is read.
    pub(super) key: Option<KeyOrCert>,
    /// The private key's file; of a key that only the agent has, its comment.
    pub(super) name: PathBuf,
    /// Whether the user named it.
    by_user: bool,
    /// Whether the agent has it.
    pub(super) in_agent: bool,
    pub(super) tried: bool,
}

impl Identity {
    fn new(key: Option<KeyOrCert>, name: PathBuf, by_user: bool) -> Self {
        Identity { key, name, by_user, in_agent: false, tried: false }
    }

    pub(super) fn is_by_user(&self) -> bool {
        self.by_user
    }

    fn certificate(&self) -> Option<&sockward_crypto::Certificate> {
        self.key.as_ref()?.certificate()
    }
}

/// As OpenSSH's debug messages have it.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.name.display())?;
        if let Some(key) = &self.key {
            write!(f, "{} {}", key.word(), key.fingerprint())?;
        }
        f.write_str(if self.by_user { " explicit" } else { "" })?;
        f.write_str(if self.in_agent { " agent" } else { "" })
    }
}

/// The list, and the agent that some of it is in.
pub(super) struct Identities {
    pub(super) list: Vec<Identity>,
    pub(super) agent: Option<SharedAgent>,
}

impl Identities {
    /// Builds the list. `server_sig_algs`: the signature algorithms the server takes, if it told.
    pub(super) fn find(plan: &Plan, binding: Option<&Binding>, server_sig_algs: Option<&str>) -> Self {
        let settings = &plan.configuration.settings;
        let mut files = files(plan);
        let mut list = certificates(plan);
        let agent = connect_agent(plan, binding);
        if let Some((_, held)) = &agent {
            list.extend(in_agent(held, &mut files, settings));
        }
        list.extend(certificates_first(files));
        list.retain(|identity| is_usable(identity, settings, server_sig_algs));
        for identity in &list {
            log::debug!("Will attempt key: {identity}");
        }
        Identities { list, agent: agent.map(|(agent, _)| agent) }
    }

    /// Who signs for an identity. A certificate's private key is another identity, the agent's or a file's.
    pub(super) fn signer(&self, identity: &Identity) -> Identity {
        let Some(certificate) = identity.certificate().filter(|_| !identity.in_agent) else {
            return identity.clone();
        };
        let has_key = |other: &&Identity| {
            other
                .key
                .as_ref()
                .is_some_and(|key| key.certificate().is_none() && *key.public_key() == certificate.key)
        };
        let has_name = |other: &&Identity| other.key.is_none() && belongs_to(&identity.name, &other.name);
        let found = self.list.iter().find(has_key).or_else(|| self.list.iter().find(has_name));
        match found {
            Some(signer) => {
                log::trace!("using private key \"{}\" for certificate", signer.name.display());
                signer.clone()
            }
            None => {
                log::debug!("no separate private key for certificate \"{}\"", identity.name.display());
                identity.clone()
            }
        }
    }
}

/// The algorithm to sign with: of an RSA key the first of the user's that the server takes.
pub(super) fn signature_algorithm(
    key: &KeyOrCert,
    accepted: &[String],
    server_sig_algs: Option<&str>,
) -> Option<KeyAlgorithm> {
    let fits = |alg: &KeyAlgorithm| key.check_algorithm(*alg).is_ok();
    let mut ours = accepted.iter().filter_map(|name| KeyAlgorithm::from_name(name)).filter(fits);
    match server_sig_algs {
        // The list is of signatures, without certificates (RFC 8308 §3.1), and old servers keep theirs short:
        // it counts where there is a choice.
        Some(theirs) if key.public_key().key_type() == KeyType::Rsa => {
            ours.find(|alg| theirs.split(',').any(|name| name == alg.signature.name() || name == alg.name()))
        }
        _ => ours.next(),
    }
}

/// Whether a certificate file's name is made from a private key file's.
fn belongs_to(certificate: &Path, private: &Path) -> bool {
    certificate == private
        || [".pub", "-cert.pub"].iter().any(|suffix| with_suffix(private, suffix) == certificate)
}

/// The key files of the configuration, each followed by its certificate.
fn files(plan: &Plan) -> Vec<Identity> {
    let settings = &plan.configuration.settings;
    let mut all = Vec::new();
    for (path, by_user) in paths(plan, &settings.identity_files.0) {
        let key = load_public(&path);
        log::debug!(
            "identity file {} {}",
            path.display(),
            key.as_ref().map_or_else(|| "-".to_owned(), KeyOrCert::word)
        );
        all.push(Identity::new(key, path.clone(), by_user));
        if !settings.certificate_files.0.is_empty() {
            continue;
        }
        if let Some(certificate) =
            load_public(&with_suffix(&path, "-cert")).filter(|c| c.certificate().is_some())
        {
            all.push(Identity::new(Some(certificate), path, by_user));
        }
    }
    all.retain(is_for_users);
    all
}

/// The certificates that the configuration names.
fn certificates(plan: &Plan) -> Vec<Identity> {
    let files = &plan.configuration.settings.certificate_files.0;
    let load = |(path, by_user): (PathBuf, bool)| {
        let certificate = load_public(&path).filter(|key| key.certificate().is_some());
        if certificate.is_none() {
            log::debug!("key {} is not a certificate", path.display());
        }
        certificate.map(|certificate| Identity::new(Some(certificate), path, by_user))
    };
    paths(plan, files).into_iter().filter_map(load).filter(is_for_users).collect()
}

/// Paths with everything put in; `none` stands for no file.
fn paths(plan: &Plan, files: &[KeyFile]) -> Vec<(PathBuf, bool)> {
    let mut paths = Vec::new();
    for file in files.iter().filter(|file| !file.path.eq_ignore_ascii_case("none")) {
        match plan.configuration.expand_path(&file.path, &ThisMachine) {
            Ok(path) => paths.push((PathBuf::from(path), file.by_user)),
            Err(e) => log::error!("{}: {e}", file.path.display()),
        }
    }
    paths
}

fn is_for_users(identity: &Identity) -> bool {
    let fits = identity.certificate().is_none_or(|certificate| certificate.cert_type == CertType::User);
    if !fits {
        log::debug!("ignoring certificate {}: not a user certificate", identity.name.display());
    }
    fits
}

/// Among those that the user has not named, certificates come first.
fn certificates_first(identities: Vec<Identity>) -> Vec<Identity> {
    let (named, mut others): (Vec<_>, Vec<_>) = identities.into_iter().partition(Identity::is_by_user);
    others.sort_by_key(|identity| identity.certificate().is_none());
    [named, others].concat()
}

fn connect_agent(plan: &Plan, binding: Option<&Binding>) -> Option<(SharedAgent, Vec<Held>)> {
    let path: OsString = match plan.configuration.agent_socket(&ThisMachine) {
        AgentSocket::None => return None,
        AgentSocket::Path(path) => path,
    };
    let mut agent = Agent::connect(&path)
        .inspect_err(|e| log::debug!("get_agent_identities: ssh_get_authentication_socket: {e}"))
        .ok()?;
    match binding.map(|binding| agent.bind(binding)) {
        Some(Ok(true)) => log::debug!("bound agent to hostkey"),
        Some(Ok(false)) => log::trace!("the agent does not bind keys to hosts"),
        Some(Err(e)) => log::debug!("ssh_agent_bind_hostkey: {e}"),
        None => {}
    }
    let held = agent
        .identities()
        .inspect_err(|e| log::debug!("get_agent_identities: ssh_fetch_identitylist: {e}"))
        .ok()?;
    log::debug!("get_agent_identities: agent returned {} keys", held.len());
    Some((Arc::new(Mutex::new(agent)), held))
}

/// What the agent holds: keys that have a file first, which are taken off the files. With IdentitiesOnly those alone.
fn in_agent(held: &[Held], files: &mut Vec<Identity>, settings: &Settings) -> Vec<Identity> {
    let mut with_file = Vec::new();
    let mut others = Vec::new();
    for (blob, comment) in held {
        let key = match KeyOrCert::parse(blob) {
            Ok(key) => key,
            Err(e) => {
                log::debug!("ignoring agent key {comment}: {e}");
                continue;
            }
        };
        let same = |file: &Identity| file.key.as_ref().is_some_and(|k| k.blob() == key.blob());
        if let Some(at) = files.iter().position(same) {
            with_file.push(Identity { in_agent: true, ..files.remove(at) });
        } else if !settings.identities_only {
            let identity = Identity::new(Some(key), PathBuf::from(comment), false);
            others.push(Identity { in_agent: true, ..identity });
        }
    }
    with_file.append(&mut others);
    certificates_first(with_file)
}

fn is_usable(identity: &Identity, settings: &Settings, server_sig_algs: Option<&str>) -> bool {
    let Some(key) = &identity.key else { return true };
    let shown = identity.name.display();
    if let Err(e) = key.public_key().check_rsa_size(settings.required_rsa_size) {
        log::debug!("Skipping key {shown}: {e}");
        return false;
    }
    let needs_token = matches!(key.public_key().key_type(), KeyType::SkEd25519 | KeyType::SkEcdsaP256);
    if needs_token && !identity.in_agent {
        log::debug!("Skipping authenticator-hosted key {shown}: it can be used through an agent alone");
        return false;
    }
    let accepted = &settings.pubkey_accepted_algorithms.names;
    if signature_algorithm(key, accepted, server_sig_algs).is_some() {
        return true;
    }
    let whose = match signature_algorithm(key, accepted, None) {
        Some(_) => "not supported by server",
        None => "not in PubkeyAcceptedAlgorithms",
    };
    log::debug!("Skipping {} key {shown} - corresponding algorithm {whose}", key.word());
    false
}

/// Runs something with the agent, whoever had it before.
pub(super) fn with_agent<T>(agent: &SharedAgent, call: impl FnOnce(&mut Agent) -> T) -> T {
    call(&mut agent.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::PrivateKey;

    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDbNhpuS6usUzhZySlLena8TvF+rh0MKlvh6IEWNti1GJhQ/DNwEmizc7b\
                       AsprpoqEp8SVskZmQmFMQT0A4UT3I7tcxPV09pmusrh3Cv/bmN2J6iY5mIxVuhXqQhqVNYdzRsn6RwXM69Uy+8LsmDF\
                       A8iPj1e3l0k2nBv2ohSVnLDy7xsl9T4Rxb2mJfKqN12Vcybs51PHvnpcpsqz7pB6x/LHhEf1tolJUYNWuxO0pHLxDqk\
                       r656QXQ1hDVs0qRGDoYokmQjmymur49SbluDdcol+6Iy253+SRsDO10+YOs5Bd91LdzvboQrTA9cIL2UafO5TwWp8hV\
                       4qlRUK37iIwP";

    fn key(key_type: KeyType) -> KeyOrCert {
        KeyOrCert::Key(PrivateKey::generate(key_type).unwrap().public().clone())
    }

    fn names(list: &str) -> Vec<String> {
        list.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn the_server_s_list_counts_for_rsa_alone() {
        let accepted = names("rsa-sha2-512,rsa-sha2-256,ssh-ed25519,ecdsa-sha2-nistp256");
        let ed = key(KeyType::Ed25519);
        let chosen =
            |key: &KeyOrCert, list| signature_algorithm(key, &accepted, list).map(KeyAlgorithm::name);
        assert_eq!(chosen(&ed, Some("rsa-sha2-256")), Some("ssh-ed25519"));
        assert_eq!(chosen(&ed, None), Some("ssh-ed25519"));
        assert_eq!(signature_algorithm(&ed, &names("ecdsa-sha2-nistp256"), None), None);
        let (blob, _) = sockward_crypto::parse_public_line(RSA.as_bytes()).unwrap();
        let rsa = KeyOrCert::parse(&blob).unwrap();
        assert_eq!(chosen(&rsa, Some("ssh-ed25519,rsa-sha2-256")), Some("rsa-sha2-256"));
        assert_eq!(chosen(&rsa, None), Some("rsa-sha2-512"));
        assert_eq!(chosen(&rsa, Some("ssh-rsa")), None);
    }

    #[test]
    fn an_agent_s_keys_with_a_file_come_first() {
        let (a, b) = (key(KeyType::Ed25519), key(KeyType::EcdsaP256));
        let held = vec![(a.blob().to_vec(), "a".to_owned()), (b.blob().to_vec(), "b".to_owned())];
        let file = || {
            vec![Identity::new(Some(b.clone()), "/b".into(), true), Identity::new(None, "/c".into(), false)]
        };
        let mut settings = crate::testing::settings(&[]);
        let mut files = file();
        let order =
            |list: Vec<Identity>| list.iter().map(|i| i.name.display().to_string()).collect::<Vec<_>>();
        assert_eq!(order(in_agent(&held, &mut files, &settings)), ["/b", "a"]);
        assert_eq!(order(files), ["/c"]);
        settings.identities_only = true;
        assert_eq!(order(in_agent(&held, &mut file(), &settings)), ["/b"]);
    }

    #[test]
    fn a_certificate_s_file_tells_its_private_key() {
        for (certificate, expected) in
            [("/k", true), ("/k.pub", true), ("/k-cert.pub", true), ("/k-cert", false), ("/k2.pub", false)]
        {
            assert_eq!(belongs_to(Path::new(certificate), Path::new("/k")), expected, "{certificate}");
        }
    }
}
