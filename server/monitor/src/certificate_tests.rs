//! Logins by certificate, by more than one key, and past the administrator's lists: the test plays all readers.

use sockward_crypto::{KeyType, PrivateKey, SignatureAlg};
use sockward_policy::{KeyOptions, Source};
use sockward_privsep::reader::{FromReader, ToReader, Verdict};
use sockward_privsep::worker::{AuthAnswer, AuthMethod};
use sockward_wire::{Put, Reader, auth::signed_data};

use crate::auth::{Accepted, Step};
use crate::auth_tests::{HOST_KEY, World, alex, is_failure, plain, root};
use crate::search::Job;

const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com";
const TRUSTING: &str = "TrustedUserCAKeys /ca\n";

/// What a certificate says; the rest is as the tests of one thing need it.
struct Draft {
    kind: u32,
    principals: &'static [&'static str],
    valid: (u64, u64),
    critical: Vec<(&'static str, &'static str)>,
    extensions: &'static [&'static str],
}

impl Default for Draft {
    fn default() -> Self {
        let extensions = &["permit-port-forwarding", "permit-pty"];
        Draft { kind: 1, principals: &["alex"], valid: (0, u64::MAX), critical: vec![], extensions }
    }
}

fn pairs(list: impl Iterator<Item = (&'static str, &'static str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in list {
        out.put_string(name.as_bytes());
        let mut data = Vec::new();
        if !value.is_empty() {
            data.put_string(value.as_bytes());
        }
        out.put_string(&data);
    }
    out
}

impl Draft {
    /// Signed by `authority` for the key.
    fn sign(&self, key: &PrivateKey, authority: &PrivateKey) -> Vec<u8> {
        let mut plain = Reader::new(key.public().blob());
        plain.string("type").unwrap();
        let mut out = Vec::new();
        out.put_string(CERTIFICATE.as_bytes());
        out.put_string(&[7; 32]);
        out.put_string(plain.string("key").unwrap());
        out.put_u64(5);
        out.put_u32(self.kind);
        out.put_string(b"laptop");
        let mut names = Vec::new();
        self.principals.iter().for_each(|p| names.put_string(p.as_bytes()));
        out.put_string(&names);
        out.put_u64(self.valid.0);
        out.put_u64(self.valid.1);
        out.put_string(&pairs(self.critical.iter().copied()));
        out.put_string(&pairs(self.extensions.iter().map(|name| (*name, ""))));
        out.put_string(b"");
        out.put_string(authority.public().blob());
        let signature = authority.sign(SignatureAlg::Ed25519, &out).unwrap();
        out.put_string(&signature);
        out
    }
}

fn private() -> PrivateKey {
    PrivateKey::generate(KeyType::Ed25519).unwrap()
}

/// A request signed by `key`, which comes as `blob`.
fn signed(world: &World, user: &str, algorithm: &str, blob: &[u8], key: &PrivateKey) -> AuthMethod {
    let session = world.session_id.as_ref();
    let data = signed_data(session, user.as_bytes(), "ssh-connection", algorithm, blob, Some(HOST_KEY));
    AuthMethod::PublicKey {
        algorithm: algorithm.into(),
        key: blob.to_vec(),
        host_key: Some(HOST_KEY.to_vec()),
        signature: Some(key.sign(SignatureAlg::Ed25519, &data).unwrap()),
    }
}

/// What the readers say, by question; what is not named is not found.
#[derive(Default)]
struct Answers {
    revoked: bool,
    trusted: bool,
    line: Option<KeyOptions>,
    principal: Option<KeyOptions>,
    from_keys_command: Option<KeyOptions>,
    from_principals_command: Option<KeyOptions>,
    /// The questions, in order.
    asked: Vec<String>,
}

impl Answers {
    fn play(&mut self, world: &mut World, mut steps: Vec<Step>) -> Vec<Step> {
        let key = |found: &Option<KeyOptions>| FromReader::Key { found: found.clone().map(Box::new) };
        while let [Step::Ask(job, question)] = &steps[..] {
            let job = *job;
            let (name, answer) = match &**question {
                ToReader::Guard(_) => ("open", FromReader::Became),
                ToReader::Judge(_) if self.revoked => ("judge", FromReader::Judged(Verdict::Revoked)),
                ToReader::Judge(_) => {
                    let authority = self.trusted.then(|| Source::new("/ca", 1));
                    ("judge", FromReader::Judged(Verdict::Passed { authority }))
                }
                ToReader::FindKey(_) => ("key", key(&self.line)),
                ToReader::FindPrincipal { .. } => ("principal", key(&self.principal)),
                ToReader::Run(command) if command.keyword == "AuthorizedKeysCommand" => {
                    self.asked.extend(command.argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()));
                    ("keys command", key(&self.from_keys_command))
                }
                ToReader::Run(_) => ("principals command", key(&self.from_principals_command)),
                ToReader::LookUp { .. } | ToReader::Become(_) => panic!("{question:?}"),
            };
            self.asked.push(name.into());
            steps = world.answer(job, answer);
        }
        steps
    }
}

/// A login of alex with a certificate.
fn log_in(configuration: &str, draft: &Draft, answers: &mut Answers) -> Result<Accepted, Vec<Step>> {
    let (mut world, key, authority) = (World::new(configuration), private(), private());
    let method = signed(&world, "alex", CERTIFICATE, &draft.sign(&key, &authority), &key);
    let steps = world.known("alex", method, Some(alex()));
    let mut steps = answers.play(&mut world, steps);
    match steps.pop() {
        Some(Step::LogIn(accepted)) => Ok(*accepted),
        other => {
            steps.extend(other);
            assert!(is_failure(&steps), "{steps:?}");
            Err(steps)
        }
    }
}

fn trusted() -> Answers {
    Answers { trusted: true, ..Answers::default() }
}

fn authority_line() -> KeyOptions {
    KeyOptions { cert_authority: true, ..plain().unwrap() }
}

#[test]
fn a_certificate_of_a_trusted_authority_lets_its_principal_in() {
    let mut answers = trusted();
    let accepted = log_in(TRUSTING, &Draft::default(), &mut answers).unwrap();
    assert_eq!(answers.asked, ["open", "judge", "key"]);
    assert!(accepted.key.described.starts_with("ED25519-CERT SHA256:"), "{:?}", accepted.key);
    assert!(
        accepted.key.described.contains(" ID laptop (serial 5) CA ED25519 SHA256:"),
        "{:?}",
        accepted.key
    );
    assert!(sockward_policy::decide_open_tcp(&accepted.permit, b"localhost", 80).is_allowed());
    assert!(log_in(TRUSTING, &Draft::default(), &mut Answers::default()).is_err(), "nobody trusts it");
    assert!(log_in("", &Draft::default(), &mut trusted()).is_err(), "no list was asked for");
}

#[test]
fn what_a_certificate_says_of_itself_holds() {
    let wide = || Answers { line: Some(authority_line()), ..trusted() };
    let critical = |name, value| Draft { critical: vec![(name, value)], ..Draft::default() };
    for (draft, lets_in) in [
        (Draft { principals: &["bob"], ..Draft::default() }, false),
        (Draft { principals: &["ALEX", "a*"], ..Draft::default() }, false),
        (Draft { kind: 2, ..Draft::default() }, false),
        (Draft { valid: (1001, u64::MAX), ..Draft::default() }, false),
        (Draft { valid: (0, 1000), ..Draft::default() }, false),
        (Draft { valid: (1000, 1001), ..Draft::default() }, true),
        (critical("source-address", "10.0.0.0/8"), false),
        (critical("source-address", "192.0.2.0/24,10.0.0.0/8"), true),
        (critical("source-address", "192.0.2.*"), false),
        (critical("frobnicate", ""), false),
        (critical("frobnicate@example.org", "x"), false),
        (critical("force-command", "true"), true),
        // No other key than a security key could attest it, and these are not asked, as in OpenSSH.
        (critical("verify-required", ""), true),
    ] {
        let names = (&draft.principals, &draft.critical, draft.valid);
        assert_eq!(log_in(TRUSTING, &draft, &mut wide()).is_ok(), lets_in, "{names:?} by a line and a list");
        assert_eq!(log_in(TRUSTING, &draft, &mut trusted()).is_ok(), lets_in, "{names:?} by a list");
    }
    // Nobody's certificate is for everybody where the user trusts its authority, and for nobody else.
    let nobody = Draft { principals: &[], ..Draft::default() };
    assert!(log_in(TRUSTING, &nobody, &mut wide()).is_ok());
    assert!(log_in(TRUSTING, &nobody, &mut trusted()).is_err());
}

#[test]
fn a_certificate_permits_what_it_names_and_all_others_leave() {
    let bare = Draft { extensions: &[], ..Draft::default() };
    let permit = log_in(TRUSTING, &bare, &mut trusted()).unwrap().permit;
    assert!(!sockward_policy::decide_open_tcp(&permit, b"localhost", 80).is_allowed());
    assert!(!permit.session.no_tty.is_empty());

    let restricted = KeyOptions { port_forwarding: false, ..plain().unwrap() };
    let by_file = format!("{TRUSTING}AuthorizedPrincipalsFile /names\n");
    let mut answers = Answers { principal: Some(restricted), ..trusted() };
    let permit = log_in(&by_file, &Draft::default(), &mut answers).unwrap().permit;
    assert!(!sockward_policy::decide_open_tcp(&permit, b"localhost", 80).is_allowed());
    assert!(permit.session.no_tty.is_empty());

    let forced = |command: &str| KeyOptions { forced_command: Some(command.into()), ..authority_line() };
    let draft = Draft { critical: vec![("force-command", "true")], ..Draft::default() };
    for (command, lets_in) in [("true", true), ("false", false)] {
        let mut answers = Answers { line: Some(forced(command)), ..Answers::default() };
        assert_eq!(log_in("", &draft, &mut answers).is_ok(), lets_in, "{command}");
    }
}

#[test]
fn principals_are_listed_or_the_account_s_name() {
    let file = format!("{TRUSTING}AuthorizedPrincipalsFile /names\n");
    let both =
        format!("{file}AuthorizedPrincipalsCommand /names %u\nAuthorizedPrincipalsCommandUser daemon\n");
    // With a list the name of the account is worth nothing.
    let mut answers = trusted();
    assert!(log_in(&file, &Draft::default(), &mut answers).is_err());
    assert_eq!(answers.asked, ["open", "judge", "key", "principal"]);
    let mut answers = Answers { principal: plain(), ..trusted() };
    assert!(log_in(&file, &Draft { principals: &["web"], ..Draft::default() }, &mut answers).is_ok());
    // A line of the list that does not admit is the end of it.
    let elsewhere = sockward_policy::AddressList::parse(b"10.0.0.0/8").unwrap();
    let refusing = KeyOptions { from: Some(elsewhere), ..plain().unwrap() };
    let mut answers = Answers { principal: Some(refusing), from_principals_command: plain(), ..trusted() };
    assert!(log_in(&both, &Draft::default(), &mut answers).is_err());
    // The program is asked where the file does not say.
    let mut answers = Answers { from_principals_command: plain(), ..trusted() };
    assert!(log_in(&both, &Draft::default(), &mut answers).is_ok());
    assert_eq!(answers.asked[3..], ["principal", "principals command"]);
    assert!(log_in(&both, &Draft::default(), &mut trusted()).is_err());
}

#[test]
fn a_line_that_the_reader_has_no_business_to_find_does_not_count() {
    // Whoever read it may be the user's.
    let named = KeyOptions { principals: Some(vec![b"web".to_vec()]), ..authority_line() };
    for line in [plain().unwrap(), named] {
        let mut answers = Answers { line: Some(line), ..Answers::default() };
        assert!(log_in("", &Draft::default(), &mut answers).is_err());
    }
    assert!(is_failure(&World::new("").log_in(alex(), Some(authority_line())).unwrap_err()));
}

#[test]
fn a_revoked_key_is_not_looked_for() {
    let mut answers = Answers { revoked: true, line: Some(authority_line()), ..trusted() };
    assert!(log_in("RevokedKeys /revoked\n", &Draft::default(), &mut answers).is_err());
    assert_eq!(answers.asked, ["open", "judge"]);

    let mut world = World::new("RevokedKeys /revoked\n");
    let query = world.query();
    let steps = world.known("alex", query, Some(alex()));
    let mut answers = Answers { line: plain(), ..Answers::default() };
    let steps = answers.play(&mut world, steps);
    assert!(matches!(&steps[..], [Step::Answer(AuthAnswer::KeyAcceptable)]));
    let again = world.query();
    let steps = world.ask("alex", again);
    answers.revoked = true;
    assert!(is_failure(&answers.play(&mut world, steps)));
    assert_eq!(answers.asked, ["open", "judge", "key", "judge"], "the lists are opened once");
}

#[test]
fn a_keys_command_is_asked_last_and_only_for_accounts() {
    let configuration =
        "AuthorizedKeysCommand /keys %u '%t %k' %% %f %U %h %C\nAuthorizedKeysCommandUser daemon\n";
    let mut world = World::new(configuration);
    let query = world.query();
    let steps = world.known("alex", query, Some(alex()));
    let mut answers = Answers { from_keys_command: plain(), ..Answers::default() };
    let steps = answers.play(&mut world, steps);
    assert!(matches!(&steps[..], [Step::Answer(AuthAnswer::KeyAcceptable)]));
    let line = sockward_crypto::write_public_line(world.key.public().blob(), "").unwrap();
    let fingerprint = world.key.public().fingerprint();
    let place = "192.0.2.7 4242 192.0.2.1 22";
    let expected =
        ["key", "/keys", "alex", &line, "%", &fingerprint, "1000", "/home/alex", place, "keys command"];
    assert_eq!(answers.asked, expected);

    let mut world = World::new("AuthorizedKeysCommand /keys\nAuthorizedKeysCommandUser daemon\n");
    let query = world.query();
    let steps = world.known("alex", query, Some(alex()));
    let mut answers = Answers::default();
    assert!(is_failure(&answers.play(&mut world, steps)));
    assert_eq!(
        answers.asked,
        ["key", "/keys", "alex", "keys command"],
        "the name, where no argument is given"
    );

    let mut world = World::new(configuration);
    let query = world.query();
    let steps = world.known("nobody-here", query, None);
    let mut answers = Answers { from_keys_command: plain(), ..Answers::default() };
    assert!(is_failure(&answers.play(&mut world, steps)));
    assert_eq!(answers.asked, ["key"]);
}

#[test]
fn two_keys_are_two_keys() {
    let configuration = format!("{TRUSTING}AuthenticationMethods publickey,publickey\n");
    let mut world = World::new(&configuration);
    let (first, second, authority) = (private(), private(), private());
    let plain_request =
        |world: &World, key: &PrivateKey| signed(world, "alex", "ssh-ed25519", key.public().blob(), key);
    let method = plain_request(&world, &first);
    let steps = world.known("alex", method, Some(alex()));
    let limited = KeyOptions { port_forwarding: false, ..plain().unwrap() };
    let mut answers = Answers { line: Some(limited), ..trusted() };
    let steps = answers.play(&mut world, steps);
    let [Step::Answer(AuthAnswer::Failure { methods, partial: true })] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(methods, "publickey");
    // The same key again, plain or in a certificate, is not another one.
    let again = plain_request(&world, &first);
    assert!(is_failure(&world.ask("alex", again)));
    let certificate = Draft::default().sign(&first, &authority);
    let again = signed(&world, "alex", CERTIFICATE, &certificate, &first);
    assert!(is_failure(&world.ask("alex", again)));
    // Another is; and what the first forbids is not permitted by the second.
    let method = plain_request(&world, &second);
    let steps = world.ask("alex", method);
    answers.line = plain();
    let steps = answers.play(&mut world, steps);
    let [Step::LogIn(accepted)] = &steps[..] else { panic!("{steps:?}") };
    assert!(!sockward_policy::decide_open_tcp(&accepted.permit, b"localhost", 80).is_allowed());
}

#[test]
fn lists_of_methods_that_keys_cannot_satisfy_let_nobody_in() {
    for (methods, lets_in) in
        [("any", true), ("publickey", true), ("password publickey", true), ("none", false)]
    {
        let mut world = World::new(&format!("AuthenticationMethods {methods}\n"));
        assert_eq!(world.log_in(alex(), plain()).is_ok(), lets_in, "{methods}");
    }
    let configuration = "AuthenticationMethods none\nMatch User alex\nAuthenticationMethods publickey\n";
    assert!(World::new(configuration).log_in(alex(), plain()).is_ok());
    assert!(is_failure(&World::new(configuration).log_in(root(), plain()).unwrap_err()));
}

#[test]
fn a_signature_for_another_host_key_ends_the_connection() {
    let mut world = World::new("");
    let key = private();
    let mut method = signed(&world, "alex", "ssh-ed25519", key.public().blob(), &key);
    if let AuthMethod::PublicKey { host_key, .. } = &mut method {
        *host_key = Some(b"another".to_vec());
    }
    let steps = world.known("alex", method, Some(alex()));
    assert!(matches!(&steps[..], [Step::End(_)]), "{steps:?}");
}

#[test]
fn a_reader_that_answers_for_another_ends_the_connection() {
    let mut world = World::new("RevokedKeys /revoked\n");
    let query = world.query();
    let steps = world.known("alex", query, Some(alex()));
    assert!(matches!(&steps[..], [Step::Ask(Job::Guard, _)]));
    let steps = world.answer(Job::Account, FromReader::Judged(Verdict::Passed { authority: None }));
    assert!(matches!(&steps[..], [Step::End(_)]), "{steps:?}");
}
