//! Logins without processes: the test plays worker and reader.

use sockward_config::lookup::NoLookup;
use sockward_config::sshd::{self, Config};
use sockward_crypto::{AlgorithmNames, Digest, HashAlg, KeyType, PrivateKey, SignatureAlg};
use sockward_policy::{Account, KeyOptions, Source};
use sockward_privsep::reader::{AccountFacts, FromReader, ToReader};
use sockward_privsep::worker::{AuthAnswer, AuthMethod, AuthRequest};
use sockward_wire::auth::signed_data;

use crate::auth::{Accepted, Auth, ServerSelf, Step, Surroundings};
use crate::facts::Facts;
use crate::search::Job;
use crate::settings::algorithms;

/// K_S, as the monitor has signed with it.
pub(crate) const HOST_KEY: &[u8] = b"host key";
const ROOT: ServerSelf = ServerSelf { uid: 0, worker: (990, 990), shared: false };

/// A server, a connection to it and the key of somebody at the other end.
pub(crate) struct World {
    config: Config,
    facts: Facts,
    server: ServerSelf,
    pub(crate) session_id: Digest,
    pub(crate) key: PrivateKey,
    auth: Auth,
}

impl World {
    pub(crate) fn new(configuration: &str) -> Self {
        let names = AlgorithmNames::available();
        let context = sshd::Context {
            algorithms: &algorithms(&names),
            lookup: &NoLookup,
            directory: b"/",
            options: &[],
            ports: &[],
        };
        let mut loader = |_: &str| Ok(Vec::new());
        let config = sshd::parse("sshd_config", configuration.as_bytes(), &mut loader, &context);
        World {
            config: config.unwrap_or_else(|e| panic!("{e:?}")),
            facts: Facts::new(Some("192.0.2.7:4242".parse().unwrap()), Some("192.0.2.1:22".parse().unwrap())),
            server: ROOT,
            session_id: HashAlg::Sha256.hash(&[b"session"]),
            key: PrivateKey::generate(KeyType::Ed25519).unwrap(),
            auth: Auth::default(),
        }
    }

    pub(crate) fn ask(&mut self, user: &str, method: AuthMethod) -> Vec<Step> {
        let request = AuthRequest { user: user.into(), service: "ssh-connection".into(), method };
        let World { auth, config, facts, server, session_id, .. } = self;
        let at = surroundings(config, facts, *server, session_id);
        auth.requested(request, &at)
    }

    fn reader(&mut self, answer: FromReader) -> Vec<Step> {
        self.answer(Job::Account, answer)
    }

    pub(crate) fn answer(&mut self, job: Job, answer: FromReader) -> Vec<Step> {
        let World { auth, config, facts, server, session_id, .. } = self;
        let at = surroundings(config, facts, *server, session_id);
        auth.reader_said(job, answer, &at)
    }

    /// What a client does: with `session` the id it signs over.
    fn signed(&self, user: &str, session: &Digest) -> AuthMethod {
        let (algorithm, blob) = ("ssh-ed25519", self.key.public().blob());
        let data = signed_data(session.as_ref(), user.as_bytes(), "ssh-connection", algorithm, blob, None);
        AuthMethod::PublicKey {
            algorithm: algorithm.into(),
            key: blob.to_vec(),
            host_key: None,
            signature: Some(self.key.sign(SignatureAlg::Ed25519, &data).unwrap()),
        }
    }

    pub(crate) fn query(&self) -> AuthMethod {
        let key = self.key.public().blob().to_vec();
        AuthMethod::PublicKey { algorithm: "ssh-ed25519".into(), key, host_key: None, signature: None }
    }

    /// From the first request to the reader having become somebody; the last steps.
    pub(crate) fn known(&mut self, user: &str, method: AuthMethod, facts: Option<AccountFacts>) -> Vec<Step> {
        let steps = self.ask(user, method);
        assert!(
            matches!(&steps[..], [Step::Ask(Job::Account, q)] if matches!(**q, ToReader::LookUp { .. })),
            "{steps:?}"
        );
        let steps = self.reader(FromReader::Found { account: facts.map(Box::new), host: None });
        assert!(
            matches!(steps.last(), Some(Step::Ask(Job::Account, q)) if matches!(**q, ToReader::Become(_))),
            "{steps:?}"
        );
        self.reader(FromReader::Became)
    }

    /// A whole signed login of alex with a key that stands in a file with these options.
    pub(crate) fn log_in(
        &mut self,
        facts: AccountFacts,
        options: Option<KeyOptions>,
    ) -> Result<Accepted, Vec<Step>> {
        let user = facts.account.name.clone();
        let method = self.signed(&user, &self.session_id);
        let mut steps = self.known(&user, method, Some(facts));
        if is_search(&steps) {
            steps = self.reader(FromReader::Key { found: options.map(Box::new) });
        }
        match steps.pop() {
            Some(Step::LogIn(accepted)) => Ok(*accepted),
            other => {
                steps.extend(other);
                Err(steps)
            }
        }
    }
}

fn surroundings<'a>(
    config: &'a Config,
    facts: &'a Facts,
    server: ServerSelf,
    session_id: &'a Digest,
) -> Surroundings<'a> {
    Surroundings {
        config,
        facts,
        server,
        session_id: Some(session_id),
        host_key: Some(HOST_KEY),
        unix_time: 1000,
    }
}

pub(crate) fn alex() -> AccountFacts {
    AccountFacts {
        account: Account {
            name: "alex".into(),
            uid: 1000,
            gid: 1000,
            home: b"/home/alex".into(),
            shell: b"/bin/sh".into(),
        },
        groups: vec!["alex".into(), "vnc".into()],
        barred: None,
        nologin: None,
    }
}

pub(crate) fn root() -> AccountFacts {
    let mut facts = alex();
    facts.account.name = "root".into();
    facts.account.uid = 0;
    facts
}

pub(crate) fn plain() -> Option<KeyOptions> {
    Some(KeyOptions::unrestricted(Source::new("/home/alex/.ssh/authorized_keys", 1)))
}

/// Whether the user's files are asked for a key.
fn is_search(steps: &[Step]) -> bool {
    matches!(steps, [Step::Ask(Job::Account, q)] if matches!(**q, ToReader::FindKey(_)))
}

pub(crate) fn is_failure(steps: &[Step]) -> bool {
    matches!(steps.last(), Some(Step::Answer(AuthAnswer::Failure { partial: false, .. })))
}

#[test]
fn a_query_then_a_signature_lets_in() {
    let mut world = World::new("");
    let query = world.query();
    let steps = world.known("alex", query, Some(alex()));
    assert!(is_search(&steps));
    let steps = world.reader(FromReader::Key { found: plain().map(Box::new) });
    assert!(matches!(&steps[..], [Step::Answer(AuthAnswer::KeyAcceptable)]));
    let signed = world.signed("alex", &world.session_id);
    let steps = world.ask("alex", signed);
    assert!(is_search(&steps), "found anew for the signature");
    let steps = world.reader(FromReader::Key { found: plain().map(Box::new) });
    let [Step::LogIn(accepted)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(accepted.permit.account.uid, 1000);
    assert!(accepted.key.described.starts_with("ED25519 SHA256:"), "{:?}", accepted.key);
}

#[test]
fn a_signature_counts_only_for_its_session_its_user_and_its_key() {
    let other_session = HashAlg::Sha256.hash(&[b"another session"]);
    let mut world = World::new("");
    let replayed = world.signed("alex", &other_session);
    world.known("alex", replayed, Some(alex()));
    assert!(is_failure(&world.reader(FromReader::Key { found: plain().map(Box::new) })));

    let mut world = World::new("");
    let for_bob = world.signed("bob", &world.session_id);
    world.known("alex", for_bob, Some(alex()));
    assert!(is_failure(&world.reader(FromReader::Key { found: plain().map(Box::new) })));

    let mut world = World::new("");
    let mut method = world.signed("alex", &world.session_id);
    let stranger = PrivateKey::generate(KeyType::Ed25519).unwrap();
    if let AuthMethod::PublicKey { key, .. } = &mut method {
        *key = stranger.public().blob().to_vec();
    }
    world.known("alex", method, Some(alex()));
    assert!(is_failure(&world.reader(FromReader::Key { found: plain().map(Box::new) })));
}

#[test]
fn a_style_after_the_name_is_signed_and_otherwise_nothing() {
    let mut world = World::new("AllowUsers alex");
    let method = world.signed("alex:style", &world.session_id);
    let steps = world.ask("alex:style", method);
    let [Step::Ask(Job::Account, question)] = &steps[..] else { panic!("{steps:?}") };
    assert!(matches!(&**question, ToReader::LookUp { user, .. } if user == "alex"), "{question:?}");
    world.reader(FromReader::Found { account: Some(Box::new(alex())), host: None });
    world.reader(FromReader::Became);
    let steps = world.reader(FromReader::Key { found: plain().map(Box::new) });
    assert!(matches!(&steps[..], [Step::LogIn(_)]), "{steps:?}");

    let mut world = World::new("");
    let without = world.signed("alex", &world.session_id);
    world.known("alex:style", without, Some(alex()));
    assert!(is_failure(&world.reader(FromReader::Key { found: plain().map(Box::new) })));
}

#[test]
fn a_key_the_reader_does_not_find_is_refused_however_well_it_signs() {
    assert!(is_failure(&World::new("").log_in(alex(), None).unwrap_err()));
}

#[test]
fn an_account_that_is_not_there_goes_through_the_same_steps() {
    let mut there = World::new("");
    let mut missing = World::new("");
    for (world, facts) in [(&mut there, Some(alex())), (&mut missing, None)] {
        let signed = world.signed("alex", &world.session_id);
        let steps = world.known("alex", signed, facts);
        assert!(is_search(&steps), "{steps:?}");
        // Even if a reader of nobody's found something: nobody is let in.
        let found = if world.auth.user().is_some() { None } else { plain().map(Box::new) };
        assert!(is_failure(&world.reader(FromReader::Key { found })));
    }
    let signed = missing.signed("alex", &missing.session_id);
    missing.ask("alex", signed);
    assert!(is_failure(&missing.reader(FromReader::Key { found: plain().map(Box::new) })));
}

#[test]
fn a_reader_of_nobodys_reads_with_the_workers_rights() {
    let mut world = World::new("");
    let method = world.query();
    world.ask("nobody-here", method);
    let steps = world.reader(FromReader::Found { account: None, host: None });
    let Some(Step::Ask(Job::Account, question)) = steps.last() else { panic!("{steps:?}") };
    let ToReader::Become(whom) = &**question else { panic!("{question:?}") };
    assert_eq!((whom.uid, whom.gid, &whom.groups_of), (990, 990, &None));
    assert_eq!(whom.files[0], b"/nonexistent/.ssh/authorized_keys");
}

#[test]
fn who_may_not_log_in_is_refused_whatever_the_key() {
    let barred = AccountFacts { barred: Some("the account is locked".into()), ..alex() };
    let nologin = AccountFacts { nologin: Some(b"maintenance\n".into()), ..alex() };
    let worker = AccountFacts { account: Account { uid: 990, ..alex().account }, ..alex() };
    for (configuration, facts) in [
        ("", barred),
        ("", nologin),
        ("", worker),
        ("DenyUsers alex", alex()),
        ("AllowUsers bob", alex()),
        ("AllowUsers alex@10.0.0.0/8", alex()),
        ("DenyGroups vnc", alex()),
        ("AllowGroups wheel", alex()),
        ("PubkeyAuthentication no", alex()),
        ("PubkeyAcceptedAlgorithms rsa-sha2-512", alex()),
        ("PermitRootLogin no", root()),
        ("PermitRootLogin forced-commands-only", root()),
    ] {
        let refused = World::new(configuration).log_in(facts, plain());
        assert!(is_failure(&refused.unwrap_err()), "{configuration}");
    }
    let forced = KeyOptions { forced_command: Some(b"true".into()), ..plain().unwrap() };
    for (configuration, facts, options) in [
        ("AllowUsers alex@192.0.2.0/24", alex(), plain()),
        ("AllowGroups vnc", alex(), plain()),
        ("", root(), plain()),
        ("PermitRootLogin forced-commands-only", root(), Some(forced)),
    ] {
        assert!(World::new(configuration).log_in(facts, options).is_ok(), "{configuration}");
    }
}

#[test]
fn the_options_of_the_line_are_checked_here_too() {
    // A reader runs as the user: what it forgets is not forgotten here.
    let expired = KeyOptions { expires: Some(999), ..plain().unwrap() };
    assert!(is_failure(&World::new("").log_in(alex(), Some(expired)).unwrap_err()));
    let elsewhere = KeyOptions {
        from: Some(sockward_policy::AddressList::parse(b"10.0.0.0/8").unwrap()),
        ..plain().unwrap()
    };
    assert!(is_failure(&World::new("").log_in(alex(), Some(elsewhere)).unwrap_err()));
}

#[test]
fn without_root_only_the_own_user_comes_in() {
    let mut world = World::new("");
    world.server = ServerSelf { uid: 1000, worker: (1000, 0), shared: true };
    let accepted = world.log_in(alex(), plain()).unwrap();
    assert_eq!(accepted.permit.session.disabled, None, "the workers are this user's own");
    let mut world = World::new("");
    world.server = ServerSelf { uid: 1001, worker: (1001, 0), shared: true };
    assert!(is_failure(&world.log_in(alex(), plain()).unwrap_err()));
}

#[test]
fn shared_workers_of_a_root_server_execute_nothing_and_serve_no_root() {
    let mut world = World::new("");
    world.server.shared = true;
    assert!(world.log_in(alex(), plain()).unwrap().permit.session.disabled.is_some());
    let mut world = World::new("");
    world.server.shared = true;
    assert!(is_failure(&world.log_in(root(), plain()).unwrap_err()));
}

#[test]
fn attempts_are_counted_and_the_user_is_pinned() {
    let mut world = World::new("MaxAuthTries 3");
    // "none" is free, once.
    assert!(is_failure(&world.known("alex", AuthMethod::None, Some(alex()))));
    for _ in 0..2 {
        let query = world.query();
        world.ask("alex", query);
        assert!(is_failure(&world.reader(FromReader::Key { found: None })));
    }
    let query = world.query();
    world.ask("alex", query);
    let steps = world.reader(FromReader::Key { found: None });
    assert!(
        matches!(&steps[..], [Step::End(why)] if why.contains("maximum authentication attempts")),
        "{steps:?}"
    );

    let mut world = World::new("");
    world.known("alex", AuthMethod::None, Some(alex()));
    let steps = world.ask("bob", AuthMethod::None);
    assert!(matches!(&steps[..], [Step::End(why)] if why.contains("Change of username")), "{steps:?}");
}

#[test]
fn a_worker_or_reader_out_of_turn_ends_the_connection() {
    let mut world = World::new("");
    let steps = world.reader(FromReader::Became);
    assert!(matches!(&steps[..], [Step::End(_)]));
    world.ask("alex", AuthMethod::None);
    let steps = world.ask("alex", AuthMethod::None);
    assert!(matches!(&steps[..], [Step::End(_)]), "two requests at once: {steps:?}");
}

#[test]
fn match_blocks_hold_for_the_login() {
    let configuration =
        "AllowTcpForwarding yes\nMatch User alex Address 192.0.2.0/24\nAllowTcpForwarding no\n";
    let accepted = World::new(configuration).log_in(alex(), plain()).unwrap();
    let refused = sockward_policy::decide_open_tcp(&accepted.permit, b"localhost", 80);
    assert!(!refused.is_allowed());
    let mut root = root();
    root.groups.clear();
    let accepted = World::new(configuration).log_in(root, plain()).unwrap();
    assert!(sockward_policy::decide_open_tcp(&accepted.permit, b"localhost", 80).is_allowed());
}
