//! What a worker that was taken over cannot get from the monitor, and what it cannot do to it.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use sockward_crypto::{Digest, ExchangeInput, HashAlg, PrivateKey, SharedSecret, SignatureAlg};
use sockward_privsep::worker::{
    AuthAnswer, AuthMethod, AuthRequest, FromWorker, LogLevel, SignRequest, ToWorker,
};
use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{Kind, Server, ServerSetup, TempDir, users, wait_until};
use sockward_wire::NameList;
use sockward_wire::auth::signed_data;
use sockward_wire::transport::KexInit;

use crate::hostile;
use crate::puppet::Puppet;

/// The tests.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("a_signature_is_not_to_be_had_for_another_workers_exchange", another_workers_exchange),
    ("a_signature_is_not_to_be_had_twice", twice),
    ("a_user_signature_of_another_session_lets_nobody_in", another_session),
    ("nobody_comes_in_before_a_key_exchange", before_a_key_exchange),
    ("who_talks_nonsense_is_ended", nonsense),
    ("the_name_is_pinned_and_attempts_are_counted", pinned_and_counted),
    ("a_flood_stops_nobody_else", flood),
    ("a_worker_that_will_not_go_is_made_to", will_not_go),
    ("a_reader_that_dies_ends_its_connection_once", dead_reader),
    ("a_hostile_reader_ends_its_own_connection", hostile_reader),
    ("a_silent_reader_is_ended_by_the_time", silent_reader),
    ("a_hostile_helper_ends_itself", hostile_helper),
    ("a_hostile_helper_changes_no_group", hostile_groups),
    ("a_hostile_helper_keeps_nobody_waiting", hostile_flood),
];

fn start(lines: &str) -> Server {
    let program = Some(std::env::current_exe().unwrap());
    Server::start(Kind::Ours, &ServerSetup { lines: lines.to_owned(), program, ..ServerSetup::default() })
}

/// A key exchange whose server's KEXINIT carries this cookie.
fn exchange(puppet: &Puppet, cookie: [u8; 16]) -> SignRequest {
    let list = NameList::NONE;
    let kexinit = |cookie| {
        let mut out = Vec::new();
        let init = KexInit {
            cookie,
            kex: list,
            host_key: list,
            cipher_c2s: list,
            cipher_s2c: list,
            mac_c2s: list,
            mac_s2c: list,
            compression_c2s: list,
            compression_s2c: list,
            languages_c2s: b"",
            languages_s2c: b"",
            first_kex_packet_follows: false,
            reserved: 0,
        };
        init.encode(&mut out);
        out
    };
    SignRequest {
        client_version: b"SSH-2.0-c".into(),
        server_version: puppet.start.identification.clone().into_bytes(),
        client_kexinit: kexinit([1; 16]),
        server_kexinit: kexinit(cookie),
        client_share: vec![2; 32],
        server_share: vec![3; 32],
        secret: vec![0, 0, 0, 1, 9],
        method: "curve25519-sha256".into(),
        algorithm: "ssh-ed25519".into(),
    }
}

/// Gets a signature for its own exchange, as an honest worker does: the session id, and the next cookie.
fn exchanged(puppet: &mut Puppet) -> (Digest, [u8; 16]) {
    let request = exchange(puppet, puppet.start.cookie);
    puppet.say(&FromWorker::Sign(Box::new(request.clone())));
    let Some(ToWorker::Signed { host_key, next_cookie, .. }) = puppet.hear() else { panic!("no signature") };
    let secret = SharedSecret::from_encoded(request.secret.clone()).unwrap();
    let id = ExchangeInput {
        client_version: &request.client_version,
        server_version: &request.server_version,
        client_kexinit: &request.client_kexinit,
        server_kexinit: &request.server_kexinit,
        host_key: &host_key,
        client_share: &request.client_share,
        server_share: &request.server_share,
        secret: &secret,
    }
    .hash(HashAlg::Sha256);
    (id, next_cookie)
}

fn key(server: &Server) -> PrivateKey {
    sockward_crypto::keyfile::parse(&std::fs::read(&server.keys.user).unwrap(), None).unwrap().0
}

/// A request to be let in as this user, signed for this session.
fn request(server: &Server, user: &str, session: Option<&Digest>) -> FromWorker {
    let (key, algorithm) = (key(server), "ssh-ed25519");
    let blob = key.public().blob().to_vec();
    let signature = session.map(|id| {
        let data = signed_data(id.as_ref(), user.as_bytes(), "ssh-connection", algorithm, &blob, None);
        key.sign(SignatureAlg::Ed25519, &data).unwrap()
    });
    let method = AuthMethod::PublicKey { algorithm: algorithm.into(), key: blob, host_key: None, signature };
    auth(user, method)
}

fn auth(user: &str, method: AuthMethod) -> FromWorker {
    let service = "ssh-connection".into();
    FromWorker::Auth(Box::new(AuthRequest { user: user.into(), service, method }))
}

/// The connection is at its end, and the log says why.
fn distrusted(mut puppet: Puppet, server: &Server, why: &str) {
    while puppet.hear().is_some() {}
    wait_until(why, || server.log().lines().any(|l| l.contains("is not to be trusted") && l.contains(why)));
    assert!(is_well(server));
}

/// Somebody else is served as always.
fn is_well(server: &Server) -> bool {
    let mut puppet = Puppet::new(server.port);
    let (id, _) = exchanged(&mut puppet);
    puppet.say(&request(server, &server.user.name, Some(&id)));
    matches!(puppet.hear(), Some(ToWorker::Auth(AuthAnswer::Success(_))))
}

fn another_workers_exchange() {
    if !as_root() {
        return;
    }
    let server = start("");
    let (mut first, mut second) = (Puppet::new(server.port), Puppet::new(server.port));
    assert_ne!(first.start.cookie, second.start.cookie);
    let seen = exchange(&first, first.start.cookie);
    exchanged(&mut first);
    second.say(&FromWorker::Sign(Box::new(seen)));
    distrusted(second, &server, "does not carry this connection's cookie");
    // Nor for one that is yet to come.
    let (third, mut fourth) = (Puppet::new(server.port), Puppet::new(server.port));
    let stolen = exchange(&third, third.start.cookie);
    fourth.say(&FromWorker::Sign(Box::new(stolen)));
    distrusted(fourth, &server, "does not carry this connection's cookie");
}

fn twice() {
    if !as_root() {
        return;
    }
    let server = start("");
    let mut puppet = Puppet::new(server.port);
    let (_, next) = exchanged(&mut puppet);
    // With the next cookie there is a next signature; with the first there is not.
    let again = exchange(&puppet, next);
    puppet.say(&FromWorker::Sign(Box::new(again)));
    assert!(matches!(puppet.hear(), Some(ToWorker::Signed { .. })));
    let replayed = exchange(&puppet, puppet.start.cookie);
    puppet.say(&FromWorker::Sign(Box::new(replayed)));
    distrusted(puppet, &server, "does not carry this connection's cookie");
}

fn another_session() {
    if !as_root() {
        return;
    }
    let server = start("");
    let user = server.user.name.clone();
    let (mut first, mut second) = (Puppet::new(server.port), Puppet::new(server.port));
    let (stolen, _) = exchanged(&mut first);
    let (own, next) = exchanged(&mut second);
    assert_ne!(stolen.as_ref(), own.as_ref());
    second.say(&request(&server, &user, Some(&stolen)));
    assert!(matches!(second.hear(), Some(ToWorker::Auth(AuthAnswer::Failure { .. }))));
    // Rekeying does not make it another session.
    let rekey = exchange(&second, next);
    second.say(&FromWorker::Sign(Box::new(rekey)));
    assert!(matches!(second.hear(), Some(ToWorker::Signed { .. })));
    // For another user it is no good either.
    second.say(&request(&server, &user, Some(&own)));
    assert!(matches!(second.hear(), Some(ToWorker::Auth(AuthAnswer::Success(_)))));
    // And nobody logs in on top of a login.
    second.say(&request(&server, &user, Some(&own)));
    distrusted(second, &server, "an authentication request after the login");
}

fn before_a_key_exchange() {
    if !as_root() {
        return;
    }
    let server = start("");
    let mut puppet = Puppet::new(server.port);
    let none = sockward_crypto::HashAlg::Sha256.hash(&[]);
    puppet.say(&request(&server, &server.user.name, Some(&none)));
    let Some(ToWorker::Disconnect { text, .. }) = puppet.hear() else { panic!("no word of the end") };
    assert_eq!(text, "a signature before any key exchange");
    // Now that it is sent away there is no way in, though all is in order.
    let late = exchange(&puppet, puppet.start.cookie);
    puppet.say(&FromWorker::Sign(Box::new(late)));
    puppet.say(&request(&server, &server.user.name, Some(&none)));
    assert!(puppet.hear().is_none());
    assert!(is_well(&server));
}

fn nonsense() {
    if !as_root() {
        return;
    }
    let server = start("");
    for bytes in [&[255; 40][..], &[9], &[0, 255, 255, 255, 255, 255], &[1; 60_000]] {
        let mut puppet = Puppet::new(server.port);
        puppet.say_bytes(bytes);
        distrusted(puppet, &server, "not a message of this link");
    }
    let mut puppet = Puppet::new(server.port);
    puppet.say_with_descriptor(&FromWorker::Ended { why: "x".into() });
    distrusted(puppet, &server, "a descriptor from a worker");
    let mut puppet = Puppet::new(server.port);
    let bad = SignRequest { server_kexinit: vec![20; 30], ..exchange(&puppet, [0; 16]) };
    puppet.say(&FromWorker::Sign(Box::new(bad)));
    distrusted(puppet, &server, "malformed server KEXINIT");
    // A log line cannot forge another.
    let mut puppet = Puppet::new(server.port);
    let text = "x\nAccepted publickey for root".into();
    puppet.say(&FromWorker::Log { level: LogLevel::Info, text });
    wait_until("the line is there", || server.log().contains("Accepted publickey for root"));
    assert!(!server.log().lines().any(|l| l.starts_with("Accepted publickey for root")));
}

fn pinned_and_counted() {
    if !as_root() {
        return;
    }
    let server = start("MaxAuthTries 4\n");
    let ended = |mut puppet: Puppet| loop {
        match puppet.hear() {
            Some(ToWorker::Disconnect { text, .. }) => return text,
            Some(ToWorker::Auth(AuthAnswer::Failure { .. })) => {}
            other => panic!("{other:?}"),
        }
    };
    let mut puppet = Puppet::new(server.port);
    exchanged(&mut puppet);
    puppet.say(&auth("sockward-bob", AuthMethod::None));
    assert!(matches!(puppet.hear(), Some(ToWorker::Auth(AuthAnswer::Failure { .. }))));
    puppet.say(&auth("sockward-alex", AuthMethod::None));
    assert_eq!(ended(puppet), "Change of username or service not allowed");
    // All at once, without waiting for an answer.
    let mut puppet = Puppet::new(server.port);
    exchanged(&mut puppet);
    for _ in 0..10 {
        puppet.say(&auth("sockward-alex", AuthMethod::None));
    }
    // Where the monitor is quicker than the puppet, it counts.
    let early = "an authentication request before the answer to the last one";
    assert!([early, "Too many authentication failures"].contains(&ended(puppet).as_str()));
    let mut puppet = Puppet::new(server.port);
    exchanged(&mut puppet);
    for _ in 0..4 {
        puppet.say(&auth("sockward-alex", AuthMethod::Other("password".into())));
        match puppet.hear() {
            Some(ToWorker::Auth(AuthAnswer::Failure { .. })) => {}
            Some(ToWorker::Disconnect { text, .. }) => {
                assert_eq!(text, "Too many authentication failures");
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("attempts without end");
}

fn flood() {
    if !as_root() {
        return;
    }
    let server = start("LogLevel QUIET\nLoginGraceTime 0\n");
    let mut puppets: Vec<Puppet> = (0..3).map(|_| Puppet::new(server.port)).collect();
    puppets[0].flood(&FromWorker::Log { level: LogLevel::Trace, text: "x".repeat(1000) });
    puppets[1].flood(&FromWorker::Ended { why: "y".repeat(1000) });
    puppets[2].flood(&auth("sockward-alex", AuthMethod::None));
    for _ in 0..20 {
        assert!(is_well(&server));
    }
}

fn will_not_go() {
    if !as_root() {
        return;
    }
    let server = start("LoginGraceTime 1\n");
    let mut puppet = Puppet::new(server.port);
    // It is told nothing, and is silent; its socket ends all the same.
    assert!(puppet.hear().is_none());
    wait_until("the log says why", || server.log().contains("Timeout before authentication"));
}

fn dead_reader() {
    if !as_root() {
        return;
    }
    let server = start("");
    let mut puppet = Puppet::new(server.port);
    exchanged(&mut puppet);
    puppet.say(&auth("sockward-alex", AuthMethod::None));
    assert!(matches!(puppet.hear(), Some(ToWorker::Auth(AuthAnswer::Failure { .. }))));
    let pid = server.pid().to_string();
    let killed = Command::new("pkill").args(["-KILL", "-P", &pid, "-f", "role=reader"]).status().unwrap();
    assert!(killed.success(), "there is no reader");
    let Some(ToWorker::Disconnect { text, .. }) = puppet.hear() else { panic!("no word of the end") };
    assert_eq!(text, "the process that reads key files has gone");
    assert!(is_well(&server));
    assert_eq!(server.log().matches("the process that reads key files has gone").count(), 1);
}

/// It can end its connection. It lets nobody in, and nobody else suffers.
fn hostile_reader() {
    if !as_root() {
        return;
    }
    let server = start("");
    for how in hostile::READERS {
        let mut puppet = Puppet::new(server.port);
        let (id, _) = exchanged(&mut puppet);
        puppet.say(&request(&server, &format!("{}{how}", hostile::EVIL), Some(&id)));
        let mut answers = Vec::new();
        while let Some(answer) = puppet.hear() {
            assert!(!matches!(answer, ToWorker::Auth(AuthAnswer::Success(_))), "{how}: let in");
            let over = matches!(answer, ToWorker::Disconnect { .. });
            answers.push(answer);
            if over {
                break;
            }
        }
        assert!(answers.iter().any(|a| matches!(a, ToWorker::Disconnect { .. })), "{how}: {answers:?}");
        assert!(is_well(&server), "{how}");
    }
}

fn silent_reader() {
    if !as_root() {
        return;
    }
    let server = start("LoginGraceTime 2\n");
    let mut puppet = Puppet::new(server.port);
    puppet.say(&auth(&format!("{}{}", hostile::EVIL, hostile::SILENT), AuthMethod::None));
    assert!(puppet.hear().is_none(), "a silent reader is waited for");
    wait_until("the log says why", || server.log().contains("Timeout before authentication"));
    assert!(is_well(&server));
}

/// A server whose helper for bob does this; alex's is the real one.
fn with_helper(how: &str, more: &str) -> (Server, TempDir) {
    let logs = TempDir::new();
    let lines = format!(
        "AuditLog {}\nMatch User {}\n{more}ForceCommand {}{how}\nMatch all\n",
        logs.join("audit").display(),
        users()[1].name,
        hostile::EVIL
    );
    (start(&lines), logs)
}

/// bob, with a puppet for a worker and a hostile helper.
fn bob(server: &Server) -> Puppet {
    let mut puppet = Puppet::new(server.port);
    let (id, _) = exchanged(&mut puppet);
    puppet.say(&request(server, &users()[1].name, Some(&id)));
    assert!(matches!(puppet.hear(), Some(ToWorker::Auth(AuthAnswer::Success(_)))));
    puppet
}

/// The monitor lets go of it, and what it told of others is not believed.
fn hostile_helper() {
    if !as_root() {
        return;
    }
    for how in hostile::HELPERS {
        let (server, logs) = with_helper(how, "");
        assert!(is_well(&server));
        let _bob = bob(&server);
        let uid = users()[1].uid;
        if how != "dies" {
            wait_until(how, || server.log().contains(&format!("helper of uid {uid}: ")));
        }
        for _ in 0..3 {
            assert!(is_well(&server), "{how}");
        }
        let audit = std::fs::read_to_string(logs.join("audit")).unwrap();
        assert!(!audit.contains("/evil"), "{how}: {audit}");
        // A new login of bob's gets a new helper.
        let _again = bob(&server);
    }
}

/// It names files of others and logins of others; only a new socket of its user's own gets the group of its permit.
fn hostile_groups() {
    if !as_root() {
        return;
    }
    let (server, _logs) = with_helper("groups", "StreamLocalBindGroup daemon\n");
    let sockets = ["/tmp/sockward-evil.sock", "/tmp/sockward-evil-own.sock"];
    for (path, uid) in sockets.iter().zip([users()[0].uid, users()[1].uid]) {
        let _ = std::fs::remove_file(path);
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
    }
    let mut all = vec!["/etc/passwd", "/etc", "/dev/null"];
    all.extend(sockets);
    let groups = || all.iter().map(|p| std::fs::metadata(p).unwrap().gid()).collect::<Vec<_>>();
    let before = groups();
    let _bob = bob(&server);
    wait_until("every question is answered", || server.log().contains("evil has lost"));
    assert!(!server.log().contains("evil wins"), "{}", server.log());
    assert_eq!(groups(), before);
    assert!(is_well(&server));
    for path in sockets {
        std::fs::remove_file(path).unwrap();
    }
}

fn hostile_flood() {
    if !as_root() {
        return;
    }
    for how in ["flood", "idle", "silent"] {
        let (server, logs) = with_helper(how, "");
        let _bob = bob(&server);
        for _ in 0..10 {
            assert!(is_well(&server), "{how}");
        }
        // Whatever it says is of its own login.
        let audit = std::fs::read_to_string(logs.join("audit")).unwrap();
        let alex = format!("\"ssh_user\":\"{}\"", users()[0].name);
        assert!(!audit.lines().any(|l| l.contains("/evil") && l.contains(&alex)), "{how}");
    }
}
