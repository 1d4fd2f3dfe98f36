//! Who is let in: the state of one connection's authentication, without its processes. Requests of the worker
//! and answers of the reader come in, steps to take come out (`connection.rs` takes them).
//!
//! The user is pinned at the first request. A signature counts only over a blob that is built here, from the
//! session id, the pinned user and the key that the reader has found. An account that does not exist or may
//! not log in goes through the same steps as one that may, and gets the same answers.

use sockward_config::sshd::{Config, Effective, RootLogin, expand_user_file};
use sockward_crypto::{Digest, PublicKey};
use sockward_policy::address::Peer;
use sockward_policy::{Account, By, KeyOptions, Permit};
use sockward_privsep::reader::{AccountFacts, Asker, Become, FromReader, ToReader};
use sockward_privsep::worker::{AuthAnswer, AuthMethod, AuthRequest};
use sockward_wire::{auth::signed_data, names};

use crate::audit::ShownKey;
use crate::candidate::Candidate;
use crate::facts::Facts;
use crate::search::{Ground, Job, Next, Search};

/// The method we have.
const METHOD: &str = "publickey";

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask the reader that has this job, which is started for its first question.
    Ask(Job, Box<ToReader>),
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
    /// Names of all groups of the account.
    pub(crate) groups: Vec<String>,
    /// What holds for it.
    pub(crate) effective: Effective,
    /// The last key.
    pub(crate) key: ShownKey,
    /// The line that lets it in.
    pub(crate) rule: Option<By>,
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
    /// K_S of the first key exchange.
    pub(crate) host_key: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub(crate) unix_time: u64,
}

/// One connection's authentication.
#[derive(Debug, Default)]
pub(crate) struct Auth {
    user: Option<Vec<u8>>,
    stage: Stage,
    /// The request that waits for a reader.
    pending: Option<AuthRequest>,
    /// Where its key is being looked for.
    search: Option<Search>,
    /// The reader of the administrator's lists has them open.
    guarded: bool,
    /// The keys that have signed, where one is not enough.
    passed: Vec<Passed>,
    attempts: u32,
    failures: u32,
    banner_shown: bool,
    /// The last key that was refused.
    refused_key: ShownKey,
    /// Why the account lets nobody in.
    barred: Option<String>,
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

/// A key that has signed.
#[derive(Debug)]
struct Passed {
    key: PublicKey,
    options: Vec<KeyOptions>,
}

/// What is known of the account.
#[derive(Debug)]
struct Known {
    effective: Effective,
    /// None: there is no such account, or it may not log in.
    account: Option<Account>,
    groups: Vec<String>,
    /// The client's host name or address.
    host: String,
}

impl Auth {
    /// The last key that was refused, and why nobody was let in, as far as that is known here.
    pub(crate) fn refused(&self) -> (ShownKey, Option<&str>) {
        let no_key = (self.failures > 0).then_some("no key was accepted");
        (self.refused_key.clone(), self.barred.as_deref().or(no_key))
    }

    /// How many requests were refused.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.into()
    }

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
                vec![ask_account(ToReader::LookUp { user, host_of })]
            }
            Stage::Known(_) => self.decide(at),
            Stage::LookingUp | Stage::Becoming(_) => end("an authentication request at the wrong time"),
        }
    }

    /// A reader answers.
    pub(crate) fn reader_said(&mut self, job: Job, message: FromReader, at: &Surroundings<'_>) -> Vec<Step> {
        match (message, std::mem::take(&mut self.stage)) {
            (FromReader::Found { account, host }, Stage::LookingUp) if job == Job::Account => {
                self.looked_up(account.map(|a| *a), host, at)
            }
            (FromReader::Became, Stage::Becoming(known)) if job == Job::Account => {
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
            (
                answer @ (FromReader::Became | FromReader::Judged(_) | FromReader::Key { .. }),
                Stage::Known(known),
            ) => {
                self.guarded |= job == Job::Guard;
                let next = self.search.as_mut().and_then(|s| s.answered(job, answer, &known.ground(at)));
                self.stage = Stage::Known(known);
                next.map_or_else(|| end("a reader answers what nobody asked"), |next| self.take(next, at))
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
            self.barred = Some("RefuseConnection".to_owned());
            return end(format!("administratively prohibited connection for {name} from {}", at.facts));
        }
        let mut steps = Vec::new();
        let account = match &found {
            None => {
                log::info!("Invalid user {name} from {}", at.facts);
                self.barred = Some("no such user".to_owned());
                None
            }
            Some(found) => match bar(found, &effective, &host, at) {
                Ok(()) => Some(found.account.clone()),
                Err(why) => {
                    log::info!("User {name} from {host} not allowed because {why}");
                    self.barred = Some(why);
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
            principals_file: None,
            strict: effective.strict_modes,
            asker: Asker { user: name, address: at.facts.address(), host: host.clone() },
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
        if let Some(template) = &effective.authorized_principals_file {
            match expand_user_file(template, reader) {
                Ok(path) => reads_as.principals_file = Some(path),
                Err(e) => return end(format!("AuthorizedPrincipalsFile: {e}")),
            }
        }
        if let Some(account) = &account {
            reads_as.uid = account.uid;
            reads_as.gid = account.gid;
            reads_as.groups_of = Some(account.name.clone());
            reads_as.home.clone_from(&account.home);
        }
        let groups = found.map(|f| f.groups).unwrap_or_default();
        self.stage = Stage::Becoming(Box::new(Known { effective, account, groups, host }));
        steps.push(ask_account(ToReader::Become(Box::new(reads_as))));
        steps
    }

    /// Everything that does not need the key files is decided here.
    fn decide(&mut self, at: &Surroundings<'_>) -> Vec<Step> {
        let (Stage::Known(known), Some(request)) = (&self.stage, &self.pending) else {
            return end("a decision without a request");
        };
        let AuthMethod::PublicKey { algorithm, key, host_key, .. } = &request.method else {
            return self.fail(at, "");
        };
        if !self.methods(known).offers {
            return self.fail(at, "");
        }
        if host_key.is_some() && host_key.as_deref() != at.host_key {
            return end("the client signs for another host key than it was shown");
        }
        let peer = Peer { address: at.facts.address(), host: &known.host };
        let candidate = match Candidate::new(algorithm, key, &known.effective, &peer, at.unix_time) {
            Ok(candidate) => candidate,
            Err(why) => {
                // A certificate was meant to let somebody in; keys are tried one after the other.
                match why.starts_with("Refusing certificate") {
                    true => log::info!("{why}"),
                    false => log::info!(target: "verbose", "{why}"),
                }
                return self.fail(at, "");
            }
        };
        if self.passed.iter().any(|p| p.key == *candidate.public_key()) {
            log::info!("refusing previously-used {} key", candidate.public_key().key_type().word());
            return self.fail(at, "");
        }
        let (search, next) = Search::begin(candidate, self.guarded, &known.ground(at));
        self.search = Some(search);
        self.take(next, at)
    }

    /// Goes on with the search for the pending request's key.
    fn take(&mut self, next: Next, at: &Surroundings<'_>) -> Vec<Step> {
        match (next, self.search.take()) {
            (Next::Ask(job, question), search) => {
                self.search = search;
                vec![Step::Ask(job, question)]
            }
            (Next::Found(options), Some(search)) => {
                let rule = search.rule(&options).map(By::Rule);
                self.found(&search.candidate, options, rule, at)
            }
            (Next::NotFound, Some(search)) => self.fail_with(&search.candidate, at),
            (Next::Found(_) | Next::NotFound, None) => end("a key nobody asked for"),
        }
    }

    /// The key is one to log in with, by a line, a certificate or both.
    fn found(
        &mut self,
        candidate: &Candidate,
        options: Vec<KeyOptions>,
        rule: Option<By>,
        at: &Surroundings<'_>,
    ) -> Vec<Step> {
        let (Stage::Known(known), Some(request)) = (&self.stage, self.pending.take()) else {
            return end("a key nobody asked for");
        };
        let AuthMethod::PublicKey { algorithm, key, host_key, signature } = &request.method else {
            return end("a key nobody asked for");
        };
        let described = candidate.described();
        // The reader may be the user's process; what its line demands is checked here once more.
        let peer = Peer { address: at.facts.address(), host: &known.host };
        let refusal = options.iter().find_map(|o| Some((o, o.admit(&peer, at.unix_time).err()?)));
        if let Some((line, refusal)) = &refusal {
            log::info!("key refused at {}: {refusal}", line.source);
        }
        let (None, Some(account)) = (refusal, &known.account) else {
            self.pending = Some(request);
            return self.fail_with(candidate, at);
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
        let verified = candidate.verify(&signed, signature, &known.effective, &options);
        // What all keys of the login leave; and each must go with those before it.
        let all: Vec<KeyOptions> =
            self.passed.iter().flat_map(|p| &p.options).chain(&options).cloned().collect();
        let permitted = verified.and_then(|()| known.permit(account, &all, at));
        match permitted {
            Ok(permit) => {
                let (effective, groups) = (known.effective.clone(), known.groups.clone());
                self.passed.push(Passed { key: candidate.public_key().clone(), options });
                if !self.enough(&effective) {
                    self.pending = Some(request);
                    return self.partial(at, &described);
                }
                let key = candidate.shown();
                vec![Step::LogIn(Box::new(Accepted { permit, groups, effective, key, rule }))]
            }
            Err(why) => {
                log::info!(target: "verbose", "publickey for {}: {why}", self.user().unwrap_or_default());
                self.pending = Some(request);
                self.fail_with(candidate, at)
            }
        }
    }

    /// `AuthenticationMethods`: whether the keys that have signed satisfy a list. Each was another one.
    fn enough(&self, effective: &Effective) -> bool {
        let lists = &effective.authentication_methods;
        let done = |list: &String| {
            list.split(',').all(|m| m == METHOD) && list.split(',').count() == self.passed.len()
        };
        if lists.is_empty() { !self.passed.is_empty() } else { lists.iter().any(done) }
    }

    /// What can go on from here.
    fn methods(&self, known: &Known) -> Methods {
        let lists = &known.effective.authentication_methods;
        let passed = self.passed.len();
        // Only lists that have begun with as many keys as have signed are still under way.
        let goes_on =
            |list: &String| list.split(',').take(passed + 1).filter(|m| *m == METHOD).count() == passed + 1;
        let listed = if lists.is_empty() { passed == 0 } else { lists.iter().any(goes_on) };
        Methods { offers: known.effective.pubkey_authentication && listed }
    }

    /// A key has signed, and another one is needed.
    fn partial(&mut self, at: &Surroundings<'_>, key: &str) -> Vec<Step> {
        let Stage::Known(known) = &self.stage else { return end("a key nobody asked for") };
        log::info!("Partial publickey for {} from {} ssh2: {key}", self.user().unwrap_or_default(), at.facts);
        let methods = self.methods(known).names();
        self.pending = None;
        vec![Step::Answer(AuthAnswer::Failure { methods, partial: true })]
    }

    /// Refuses the pending request because of its key.
    fn fail_with(&mut self, candidate: &Candidate, at: &Surroundings<'_>) -> Vec<Step> {
        self.refused_key = candidate.shown();
        self.fail(at, &candidate.described())
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
        let methods = self.methods(known).names();
        let mut steps = Vec::new();
        if !std::mem::replace(&mut self.banner_shown, true) {
            steps.extend(self.banner(known));
        }
        steps.push(Step::Answer(AuthAnswer::Failure { methods, partial: false }));
        steps
    }

    fn banner(&self, known: &Known) -> Option<Step> {
        let path = known.effective.banner.as_ref()?;
        crate::settings::read_banner(path).map(Step::Banner)
    }
}

/// What can go on.
#[derive(Clone, Copy, Debug)]
struct Methods {
    /// A public key can.
    offers: bool,
}

impl Methods {
    /// As a client is told.
    fn names(self) -> String {
        if self.offers { METHOD.to_owned() } else { String::new() }
    }
}

impl Known {
    /// What a search goes by.
    fn ground<'a>(&'a self, at: &Surroundings<'a>) -> Ground<'a> {
        let Known { effective, account, host, groups: _ } = self;
        Ground { effective, account: account.as_ref(), host, facts: at.facts, server: at.server }
    }

    /// What the options of all keys leave of what the configuration permits.
    fn permit(
        &self,
        account: &Account,
        options: &[KeyOptions],
        at: &Surroundings<'_>,
    ) -> Result<Permit, String> {
        let forced = options.iter().any(|o| o.forced_command.is_some());
        if account.uid == 0 && !self.effective.permit_root_login.permits_public_key(forced) {
            log::info!("ROOT LOGIN REFUSED FROM {}", at.facts);
            return Err("PermitRootLogin".to_owned());
        }
        let mut permit = self.effective.permit(account.clone(), options).map_err(|e| e.to_string())?;
        if at.server.shared && at.server.uid == 0 {
            permit.session.disabled = Some(shared_source(&self.effective));
        }
        Ok(permit)
    }
}

fn ask_account(question: ToReader) -> Step {
    Step::Ask(Job::Account, Box::new(question))
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
