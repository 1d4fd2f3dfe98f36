//! Who is let in: the state of one connection's authentication, without its processes. Requests of the worker
//! and answers of the reader come in, steps to take come out (`connection.rs` takes them).
//!
//! The user is pinned at the first request. A signature counts only over a blob that is built here, from the
//! session id, the pinned user and the key that the reader has found. An account that does not exist or may
//! not log in goes through the same steps as one that may, and gets the same answers.

use sockward_config::sshd::{Config, Effective, RootLogin, expand_user_file};
use sockward_crypto::{Digest, KeyAlgorithm, KeyOrCert};
use sockward_policy::address::Peer;
use sockward_policy::{Account, KeyOptions, Permit};
use sockward_privsep::reader::{AccountFacts, Become, FromReader, ToReader};
use sockward_privsep::worker::{AuthAnswer, AuthMethod, AuthRequest};
use sockward_wire::{auth::signed_data, names};

use crate::facts::Facts;

/// The method we have.
const METHODS: &str = "publickey";

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask the reader, which is started for the first question.
    Ask(ToReader),
    /// Tell the worker.
    Answer(AuthAnswer),
    /// Show this before the answer.
    Banner(Vec<u8>),
    /// Let the user in.
    LogIn(Box<Accepted>),
    /// End the connection: this was no honest client, or no honest worker.
    End(String),
}

/// A login that is granted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// What it may do.
    pub(crate) permit: Permit,
    /// What holds for it.
    pub(crate) effective: Effective,
    /// "ED25519 SHA256:…".
    pub(crate) key: String,
}

/// Who the server is, as far as that decides logins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerSelf {
    /// Its own uid.
    pub(crate) uid: u32,
    /// The workers' uid and gid.
    pub(crate) worker: (u32, u32),
    /// Workers are shared between logins of different users.
    pub(crate) shared: bool,
}

/// What the decisions are made from, beside the request.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) facts: &'a Facts,
    pub(crate) server: ServerSelf,
    pub(crate) session_id: Option<&'a Digest>,
    /// Seconds since 1970.
    pub(crate) unix_time: u64,
}

/// One connection's authentication.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    user: Option<Vec<u8>>,
    stage: Stage,
    /// The request that waits for the reader.
    pending: Option<AuthRequest>,
    attempts: u32,
    failures: u32,
    banner_shown: bool,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nothing is known of the account.
    #[default]
    Start,
    LookingUp,
    Becoming(Box<Known>),
    Known(Box<Known>),
}

/// What is known of the account.
#[derive(Debug)]
struct Known {
    effective: Effective,
    /// None: there is no such account, or it may not log in.
    account: Option<Account>,
    /// The client's host name or address.
    host: String,
}

impl Auth {
    /// The name asked for, for the log.
    pub(crate) fn user(&self) -> Option<String> {
        self.user.as_ref().map(|_| self.name().escape_ascii().to_string())
    }

    /// The account's name. A "style" may follow a colon, as OpenSSH has it: signatures hold it, nothing else does.
    fn name(&self) -> &[u8] {
        let user = self.user.as_deref().unwrap_or_default();
        user.split(|&b| b == b':').next().unwrap_or_default()
    }

    /// The worker passes a request on.
    pub(crate) fn requested(&mut self, request: AuthRequest, at: &Surroundings<'_>) -> Vec<Step> {
        if self.pending.is_some() {
            return end("an authentication request before the answer to the last one");
        }
        if request.service != names::service::CONNECTION {
            return end(format!("authentication for unknown service {:?}", request.service));
        }
        let user = self.user.get_or_insert_with(|| request.user.clone());
        if *user != request.user {
            return end("Change of username or service not allowed");
        }
        self.attempts += 1;
        self.pending = Some(request);
        match &self.stage {
            Stage::Start => {
                self.stage = Stage::LookingUp;
                let host_of = at.facts.address().filter(|_| at.config.asks_for_host_name());
                // A name that is not UTF-8 is no account's; the look-up of its escaped form finds nothing either.
                let user = self.user().unwrap_or_default();
                vec![Step::Ask(ToReader::LookUp { user, host_of })]
            }
            Stage::Known(_) => self.decide(at),
            Stage::LookingUp | Stage::Becoming(_) => end("an authentication request at the wrong time"),
        }
    }

    /// The reader answers.
    pub(crate) fn reader_said(&mut self, message: FromReader, at: &Surroundings<'_>) -> Vec<Step> {
        match (message, std::mem::take(&mut self.stage)) {
            (FromReader::Found { account, host }, Stage::LookingUp) => {
                self.looked_up(account.map(|a| *a), host, at)
            }
            (FromReader::Became, Stage::Becoming(known)) => {
                self.stage = Stage::Known(known);
                self.decide(at)
            }
            (FromReader::Note { important, text }, stage) => {
                match important {
                    true => log::info!("{text}"),
                    false => log::info!(target: "verbose", "{text}"),
                }
                self.stage = stage;
                Vec::new()
            }
            (FromReader::Key { found }, Stage::Known(known)) => {
                self.stage = Stage::Known(known);
                self.key_searched(found.map(|f| *f), at)
            }
            (_, stage) => {
                self.stage = stage;
                end("the reader answers what nobody asked")
            }
        }
    }

    /// The account is known, or known not to be: what holds for it, and whom the reader becomes.
    fn looked_up(
        &mut self,
        found: Option<AccountFacts>,
        host: Option<String>,
        at: &Surroundings<'_>,
    ) -> Vec<Step> {
        let user = self.name().to_vec();
        let host = host.unwrap_or_else(|| at.facts.address_text());
        let facts = sockward_config::sshd::ConnectionFacts {
            user: Some(&user),
            invalid_user: found.is_none(),
            groups: found.as_ref().map_or(&[], |f| &f.groups),
            ..at.facts.for_config(&host)
        };
        let effective = match at.config.effective(&facts) {
            Ok(effective) => effective,
            Err(e) => return end(format!("the configuration does not hold for this connection: {e}")),
        };
        let name = user.escape_ascii().to_string();
        if effective.refuse_connection {
            return end(format!("administratively prohibited connection for {name} from {}", at.facts));
        }
        let mut steps = Vec::new();
        let account = match &found {
            None => {
                log::info!("Invalid user {name} from {}", at.facts);
                None
            }
            Some(found) => match bar(found, &effective, &host, at) {
                Ok(()) => Some(found.account.clone()),
                Err(why) => {
                    log::info!("User {name} from {host} not allowed because {why}");
                    steps.extend(found.nologin.clone().filter(|_| found.account.uid != 0).map(Step::Banner));
                    None
                }
            },
        };
        // Nobody's files are read with nobody's rights: the same steps for an account that is not there.
        let mut reads_as = Become {
            uid: at.server.worker.0,
            gid: at.server.worker.1,
            groups_of: None,
            home: b"/nonexistent".to_vec(),
            files: Vec::new(),
            strict: effective.strict_modes,
            address: at.facts.address(),
            host: host.clone(),
        };
        let nobody = Account {
            name: "nobody".into(),
            uid: reads_as.uid,
            gid: reads_as.gid,
            home: reads_as.home.clone(),
            shell: Vec::new(),
        };
        let reader = account.as_ref().unwrap_or(&nobody);
        for template in &effective.authorized_keys_files {
            match expand_user_file(template, reader) {
                Ok(path) => reads_as.files.push(path),
                Err(e) => return end(format!("AuthorizedKeysFile: {e}")),
            }
        }
        if let Some(account) = &account {
            reads_as.uid = account.uid;
            reads_as.gid = account.gid;
            reads_as.groups_of = Some(account.name.clone());
            reads_as.home.clone_from(&account.home);
        }
        self.stage = Stage::Becoming(Box::new(Known { effective, account, host }));
        steps.push(Step::Ask(ToReader::Become(Box::new(reads_as))));
        steps
    }

    /// Everything that does not need the key files is decided here.
    fn decide(&mut self, at: &Surroundings<'_>) -> Vec<Step> {
        let (Stage::Known(known), Some(request)) = (&self.stage, &self.pending) else {
            return end("a decision without a request");
        };
        let AuthMethod::PublicKey { algorithm, key, .. } = &request.method else { return self.fail(at, "") };
        if !known.effective.pubkey_authentication {
            return self.fail(at, "");
        }
        match check_key(algorithm, key, &known.effective) {
            Ok(()) => {}
            Err(why) => {
                log::info!(target: "verbose", "{why}");
                return self.fail(at, "");
            }
        }
        vec![Step::Ask(ToReader::FindKey { key: key.clone() })]
    }

    /// The reader has searched the account's files for the key of the request.
    fn key_searched(&mut self, options: Option<KeyOptions>, at: &Surroundings<'_>) -> Vec<Step> {
        let (Stage::Known(known), Some(request)) = (&self.stage, self.pending.take()) else {
            return end("a key nobody asked for");
        };
        let AuthMethod::PublicKey { algorithm, key, host_key, signature } = &request.method else {
            return end("a key nobody asked for");
        };
        let described = describe(key);
        // The reader is the user's process; what its line demands is checked here once more.
        let peer = Peer { address: at.facts.address(), host: &known.host };
        let options = options.filter(|o| o.admit(&peer, at.unix_time).is_ok());
        let (Some(options), Some(account)) = (options, &known.account) else {
            self.pending = Some(request);
            return self.fail(at, &described);
        };
        let Some(signature) = signature else { return vec![Step::Answer(AuthAnswer::KeyAcceptable)] };
        let Some(session_id) = at.session_id else { return end("a signature before any key exchange") };
        let user = self.user.as_deref().unwrap_or_default();
        let signed = signed_data(
            session_id.as_ref(),
            user,
            names::service::CONNECTION,
            algorithm,
            key,
            host_key.as_deref(),
        );
        let verified = verify(algorithm, key, &signed, signature, &options);
        let permitted = verified.and_then(|()| {
            let forced = options.forced_command.is_some();
            if account.uid == 0 && !known.effective.permit_root_login.permits_public_key(forced) {
                log::info!("ROOT LOGIN REFUSED FROM {}", at.facts);
                return Err("PermitRootLogin".to_owned());
            }
            let mut permit = known
                .effective
                .permit(account.clone(), std::slice::from_ref(&options))
                .map_err(|e| e.to_string())?;
            if at.server.shared && at.server.uid == 0 {
                permit.session.disabled = Some(shared_source(&known.effective));
            }
            Ok(permit)
        });
        match permitted {
            Ok(permit) => {
                let effective = known.effective.clone();
                vec![Step::LogIn(Box::new(Accepted { permit, effective, key: described }))]
            }
            Err(why) => {
                log::info!(target: "verbose", "publickey for {}: {why}", self.user().unwrap_or_default());
                self.pending = Some(request);
                self.fail(at, &described)
            }
        }
    }

    /// Refuses the pending request, and counts it.
    fn fail(&mut self, at: &Surroundings<'_>, key: &str) -> Vec<Step> {
        let (Stage::Known(known), Some(request)) = (&self.stage, self.pending.take()) else {
            return end("a refusal without a request");
        };
        let (method, signed) = match &request.method {
            AuthMethod::None => ("none", false),
            AuthMethod::PublicKey { signature, .. } => ("publickey", signature.is_some()),
            AuthMethod::Other(name) => (name.as_str(), true),
        };
        // The question which methods there are is free, once (sshd does the same).
        if method != "none" || self.attempts > 1 {
            self.failures += 1;
        }
        let invalid = if known.account.is_none() { "invalid user " } else { "" };
        let user = self.user().unwrap_or_default();
        let key = if key.is_empty() { String::new() } else { format!(": {key}") };
        let line = format!("Failed {method} for {invalid}{user} from {} ssh2{key}", at.facts);
        if signed {
            log::info!("{line}");
        } else {
            log::info!(target: "verbose", "{line}");
        }
        if self.failures >= known.effective.max_auth_tries {
            return end(format!(
                "maximum authentication attempts exceeded for {invalid}{user} from {} ssh2",
                at.facts
            ));
        }
        let methods = if known.effective.pubkey_authentication { METHODS } else { "" };
        let mut steps = Vec::new();
        if !std::mem::replace(&mut self.banner_shown, true) {
            steps.extend(self.banner(known));
        }
        steps.push(Step::Answer(AuthAnswer::Failure { methods: methods.to_owned(), partial: false }));
        steps
    }

    fn banner(&self, known: &Known) -> Option<Step> {
        let path = known.effective.banner.as_ref()?;
        crate::settings::read_banner(path).map(Step::Banner)
    }
}

fn end(why: impl Into<String>) -> Vec<Step> {
    vec![Step::End(why.into())]
}

fn shared_source(effective: &Effective) -> sockward_policy::Source {
    effective.source("WorkerIsolation").cloned().unwrap_or_else(sockward_policy::Source::command_line)
}

/// Why an account that exists may not log in, whatever its key.
fn bar(found: &AccountFacts, effective: &Effective, host: &str, at: &Surroundings<'_>) -> Result<(), String> {
    let AccountFacts { account, groups, barred, nologin } = found;
    if let Some(why) = barred {
        return Err(why.clone());
    }
    if nologin.is_some() && account.uid != 0 {
        return Err("/etc/nologin exists".into());
    }
    if at.server.uid != 0 && account.uid != at.server.uid {
        return Err("the server runs as another user".into());
    }
    if at.server.uid == 0 && account.uid == at.server.worker.0 {
        return Err("the server's own workers run as this user".into());
    }
    if at.server.uid == 0 && at.server.shared && account.uid == 0 {
        return Err("root does not log in to a server with shared workers".into());
    }
    if account.uid == 0 && effective.permit_root_login == RootLogin::No {
        return Err("PermitRootLogin is no".into());
    }
    let peer = Peer { address: at.facts.address(), host };
    effective.may_log_in(&account.name, groups, &peer).map_err(|e| e.to_string())
}

/// Whether a key of this kind is taken at all.
fn check_key(algorithm: &str, key: &[u8], effective: &Effective) -> Result<(), String> {
    let known = KeyAlgorithm::from_name(algorithm);
    let Some(known) = known.filter(|_| effective.pubkey_accepted_algorithms.iter().any(|a| a == algorithm))
    else {
        return Err(format!("key type {} not in PubkeyAcceptedAlgorithms", algorithm.escape_debug()));
    };
    let parsed = KeyOrCert::parse(key).map_err(|e| format!("key cannot be read: {e}"))?;
    parsed.check_algorithm(known).map_err(|e| e.to_string())?;
    parsed.public_key().check_rsa_size(effective.required_rsa_size).map_err(|e| e.to_string())
}

fn verify(
    algorithm: &str,
    key: &[u8],
    signed: &[u8],
    signature: &[u8],
    options: &KeyOptions,
) -> Result<(), String> {
    let algorithm = KeyAlgorithm::from_name(algorithm).ok_or("unknown algorithm")?;
    let parsed = KeyOrCert::parse(key).map_err(|e| e.to_string())?;
    let verified =
        parsed.public_key().verify(algorithm.signature, signed, signature).map_err(|e| e.to_string())?;
    if let Some(sk) = verified.sk() {
        if options.touch_required && !sk.user_present() {
            return Err("the security key does not attest a touch".into());
        }
        if options.verify_required && !sk.user_verified() {
            return Err("the security key does not attest that it verified its user".into());
        }
    }
    Ok(())
}

/// "ED25519 SHA256:…", or nothing for bytes that are no key.
fn describe(key: &[u8]) -> String {
    KeyOrCert::parse(key).map_or_else(|_| String::new(), |k| format!("{} {}", k.word(), k.fingerprint()))
}
