//! Asking before anybody connects (ForwardProbe), and whose socket it is (TargetOwner).

use std::os::unix::net::UnixListener;
use std::path::Path;

use sockward_policy::peer::PeerName;
use sockward_policy::{ListKind, Origin, PeerList, RuleList, SocketGroup, Source, Unlink};
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, Endpoint, Found, Refusal, Request};

use crate::double::{ALEX, EVE, Helper, Refused, TempDir, Worker, assert_joined, give, permit, tcp, unix};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("a_probe_says_what_would_happen", a_probe_says_what_would_happen),
    (
        "a_probe_of_what_is_not_permitted_says_nothing_else",
        a_probe_of_what_is_not_permitted_says_nothing_else,
    ),
    ("a_probe_of_a_listener_says_who_may_connect", a_probe_of_a_listener_says_who_may_connect),
    ("a_socket_of_another_user_is_not_opened", a_socket_of_another_user_is_not_opened),
];

/// Every Debian has it.
const DAEMON: (&str, u32) = ("daemon", 1);

fn probe(worker: &mut Worker, listen: bool, at: Endpoint) -> Result<Found, Refused> {
    let wanted = worker.ask(|id| Request::Probe { id, listen, at });
    worker.find(|answer, fd| match (answer, fd) {
        (Answer::Probed { id, result }, None) if id == wanted => Ok(result),
        other => Err(other),
    })
}

fn open_owned(worker: &mut Worker, path: &Path, owner: &str) -> Result<std::os::fd::OwnedFd, Refused> {
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    let id = worker.ask(|id| Request::OpenOwned { id, path, owner: owner.into() });
    worker.opened(id)
}

fn bytes(path: &[u8]) -> Endpoint {
    Endpoint::Path(path.to_vec())
}

fn failed(text: &str) -> Refused {
    (Refusal::Failed, text.into())
}

fn a_probe_says_what_would_happen() {
    if !root_or_skip("a_probe_says_what_would_happen") {
        return;
    }
    let tmp = TempDir::new();
    let (own, closed) = (tmp.dir("own", ALEX, 0o755), tmp.dir("closed", EVE, 0o700));
    let listener = UnixListener::bind(own.join("s")).unwrap();
    listener.set_nonblocking(true).unwrap();
    give(&own.join("s"), EVE, 0o666);
    let others: Vec<_> = [(own.join("eves"), 0o600), (closed.join("s"), 0o666)]
        .map(|(path, mode)| {
            let listener = UnixListener::bind(&path).unwrap();
            give(&path, EVE, mode);
            listener
        })
        .into();
    std::fs::write(own.join("file"), "").unwrap();
    give(&own.join("file"), ALEX, 0o666);
    std::os::unix::fs::symlink(own.join("s"), own.join("link")).unwrap();
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    let found = probe(&mut worker, false, unix(&own.join("s"))).unwrap();
    assert_eq!(found.place, own.join("s").as_os_str().as_encoded_bytes());
    assert_eq!(probe(&mut worker, false, tcp("localhost", 80)), Ok(Found::default()));
    let denied = || failed("Permission denied");
    for (at, no) in [
        (unix(&own.join("eves")), denied()),
        (unix(&closed.join("s")), denied()),
        (unix(&closed.join("none")), denied()),
        (unix(&own.join("none")), failed("No such file or directory")),
        (unix(&own.join("none/s")), failed("No such file or directory")),
        (unix(&own.join("file/s")), failed("Not a directory")),
        (Endpoint::Tcp { host: b"localhost".to_vec(), port: 70_000 }, failed("no such port")),
    ] {
        assert_eq!(probe(&mut worker, false, at.clone()), Err(no), "{at:?}");
    }
    // What is no socket or no path at all, and names that are not UTF-8.
    let mut odd = own.join("x").into_os_string().into_encoded_bytes();
    odd.push(0xff);
    let long = [b"/".to_vec(), vec![b'a'; 5000]].concat();
    for at in [
        unix(&own),
        unix(&own.join("file")),
        unix(&own.join("link")),
        unix(Path::new("/dev/null")),
        bytes(&odd),
        bytes(b""),
        bytes(b"/a\0b"),
        bytes(&long),
        bytes(b"/"),
    ] {
        let no = probe(&mut worker, false, at.clone()).unwrap_err();
        let opened = worker.open(at.clone()).unwrap_err();
        assert_eq!(no.0, opened.0, "a probe says something else than opening {at:?}: {no:?}, {opened:?}");
        assert!(
            probe(&mut worker, true, at.clone()).is_err()
                || at == unix(&own.join("link"))
                || at == bytes(&odd)
        );
    }
    for (at, ok) in [
        (unix(&own.join("new")), true),
        (unix(&closed.join("new")), false),
        (unix(Path::new("/etc/new")), false),
        (tcp("localhost", 0), true),
    ] {
        assert_eq!(probe(&mut worker, true, at.clone()).is_ok(), ok, "{at:?}");
    }
    assert!(!own.join("new").exists());
    for listener in [listener].into_iter().chain(others) {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "a probe has connected");
    }
    drop(worker);
    helper.end();
}

fn a_probe_of_what_is_not_permitted_says_nothing_else() {
    if !root_or_skip("a_probe_of_what_is_not_permitted_says_nothing_else") {
        return;
    }
    let tmp = TempDir::new();
    let (own, _) = (tmp.dir("own", ALEX, 0o755), tmp.dir("closed", EVE, 0o700));
    let _listener = UnixListener::bind(own.join("s")).unwrap();
    std::fs::write(own.join("file"), "").unwrap();
    let list = |kind| {
        let words = [&b"/srv/listed"[..]];
        RuleList::parse(kind, Origin::Configuration, words, &|_| None, Source::new("config", 7)).unwrap()
    };
    let mut permit = permit(ALEX);
    permit.forwarding.open = vec![list(ListKind::PermitOpen)];
    permit.forwarding.listen = vec![list(ListKind::PermitListen)];
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit);
    for listen in [false, true] {
        let answers: Vec<_> = ["own/s", "own/file", "own/none", "own/none/none", "closed/s", "closed"]
            .into_iter()
            .map(|name| probe(&mut worker, listen, unix(&own.join("..").join(name))).unwrap_err())
            .collect();
        for answer in &answers {
            assert_eq!(answer, answers.first().unwrap(), "the answers tell of what is there");
            assert!(answer.0 == Refusal::Prohibited && !answer.1.contains('/'), "{answer:?}");
        }
    }
    drop(worker);
    helper.end();
}

fn a_probe_of_a_listener_says_who_may_connect() {
    if !root_or_skip("a_probe_of_a_listener_says_who_may_connect") {
        return;
    }
    let tmp = TempDir::new();
    let own = tmp.dir("own", ALEX, 0o755);
    let mut permit = permit(ALEX);
    permit.birth.mode = 0o660;
    permit.birth.unlink = Unlink::No;
    let account = permit.account.name.clone();
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit.clone());
    let who = |worker: &mut Worker, at| probe(worker, true, at).unwrap().who;
    let at = unix(&own.join("s"));
    assert_eq!(who(&mut worker, at.clone()), format!("{account}, the socket's group (mode 0660)"));
    assert_eq!(who(&mut worker, tcp("localhost", 0)), "every user of the host");
    worker.listen(at.clone()).unwrap();
    // Its own is no obstacle; that of others is.
    assert!(probe(&mut worker, true, at.clone()).is_ok());
    let mut other = helper.log_in(permit.clone());
    assert!(probe(&mut other, true, at).is_err());
    permit.birth.mode = 0o600;
    permit.birth.group = Some(SocketGroup {
        name: "vnc".into(),
        gid: None,
        by_administrator: false,
        source: Source::new("config", 1),
    });
    permit.peers = vec![PeerList {
        peers: vec![PeerName::User("bob".into()), PeerName::Group("vnc".into())],
        source: Source::new("config", 2),
    }];
    let mut worker = helper.log_in(permit.clone());
    let found = probe(&mut worker, true, unix(&own.join("t"))).unwrap();
    assert_eq!(found.who, format!("{account} (mode 0600), of those only bob, @vnc (PermitPeer)"));
    drop((worker, other));
    helper.end();
}

fn a_socket_of_another_user_is_not_opened() {
    if !root_or_skip("a_socket_of_another_user_is_not_opened") {
        return;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("open", 0, 0o1777);
    let path = dir.join("s");
    // eve has the path first, and made it look like anybody's.
    let mut eves = Helper::start(EVE);
    let mut permitted = permit(EVE);
    permitted.birth.mode = 0o666;
    let mut eve = eves.log_in(permitted);
    eve.listen(unix(&path)).unwrap();
    give(&path, ALEX, 0o666);
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    for owner in [ALEX.to_string(), "root".into(), "0".into(), DAEMON.0.into()] {
        assert_eq!(
            open_owned(&mut worker, &path, &owner).unwrap_err(),
            failed("another user listens there (TargetOwner)")
        );
    }
    let why = helper.event(|e| match e {
        Event::Open { result: Err(why), .. } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why, format!("uid {EVE} listens there, not {ALEX} (TargetOwner)"));
    for (owner, text) in [
        ("no-such-user-at-all", "no such user on this host (TargetOwner)"),
        ("", "not a user's name (TargetOwner)"),
        ("a\nb", "not a user's name (TargetOwner)"),
        ("-1", "no such user on this host (TargetOwner)"),
        ("4294967296", "no such user on this host (TargetOwner)"),
        (&"x".repeat(5000), "not a user's name (TargetOwner)"),
    ] {
        assert_eq!(open_owned(&mut worker, &path, owner).unwrap_err(), failed(text), "{owner}");
    }
    let socket = open_owned(&mut worker, &path, &EVE.to_string()).unwrap();
    assert_joined(&eve.find(accepted_last), &socket);
    // By name, many at once; whatever the names are, each has its answer.
    let mut daemons = Helper::start_with(DAEMON.1, DAEMON.1);
    let mut daemon = daemons.log_in(permit(DAEMON.1));
    let path = dir.join("daemon");
    daemon.listen(unix(&path)).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let ask = |worker: &mut Worker, n: usize| {
        let owner = if n.is_multiple_of(2) { DAEMON.0.to_owned() } else { format!("nobody-{n}") };
        let path = path.as_os_str().as_encoded_bytes().to_vec();
        worker.ask(|id| Request::OpenOwned { id, path, owner: owner.into_bytes() })
    };
    let asked: Vec<_> = (0..20).map(|n| (n, ask(&mut worker, n))).collect();
    for (n, id) in asked {
        assert_eq!(worker.opened(id).is_ok(), n.is_multiple_of(2), "{n}");
    }
    drop((worker, eve, daemon));
    helper.end();
    eves.end();
    daemons.end();
}

/// eve's listener has seen those that were refused, too: the last one is the one that was passed on.
fn accepted_last(
    answer: Answer,
    fd: Option<std::os::fd::OwnedFd>,
) -> Result<std::os::fd::OwnedFd, (Answer, Option<std::os::fd::OwnedFd>)> {
    match (answer, fd) {
        (Answer::Accepted { .. }, Some(fd))
            if !sockward_sys::fd::wait_readable(&fd, std::time::Duration::ZERO).unwrap() =>
        {
            Ok(fd)
        }
        other => Err(other),
    }
}
