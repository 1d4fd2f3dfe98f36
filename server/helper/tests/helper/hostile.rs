//! A worker that was taken over: garbage, floods, numbers used twice, no reading. It costs its own login, never
//! another one.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use sockward_privsep::helper::{Login, ToHelper};
use sockward_privsep::login::{Answer, Endpoint, Program, Refusal, Request};
use sockward_sys::fd;
use sockward_sys::link::Link;

use crate::double::{ALEX, Helper, TempDir, Worker, named, permit, tcp, unix, wait_for};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("garbage_ends_its_own_login", garbage_ends_its_own_login),
    ("numbers_are_used_once", numbers_are_used_once),
    ("a_flood_of_half_open_connections_is_bounded", a_flood_of_half_open_connections_is_bounded),
    ("a_flood_of_listeners_is_bounded", a_flood_of_listeners_is_bounded),
    ("a_worker_that_does_not_read_costs_itself_alone", a_worker_that_does_not_read_costs_itself_alone),
    (
        "a_full_table_of_descriptors_leaves_room_for_logins",
        a_full_table_of_descriptors_leaves_room_for_logins,
    ),
    ("with_few_descriptors", with_few_descriptors),
    ("endless_names_are_cut", endless_names_are_cut),
];

fn start() -> (Helper, Worker) {
    let uid = match sockward_sys::identity::effective_uid() {
        0 => ALEX,
        own => own,
    };
    let mut helper = Helper::start(uid);
    let worker = helper.log_in(permit(uid));
    (helper, worker)
}

/// Whether a login is well: it gets answers.
fn is_well(worker: &mut Worker) -> bool {
    let session = worker.session().unwrap();
    worker.link.say(&Request::CloseSession { session }, None).is_ok()
}

fn garbage_ends_its_own_login() {
    let (mut helper, mut well) = start();
    let (pipe, _end) = fd::pipe().unwrap();
    let garbage: [(&[u8], Option<&OwnedFd>); 6] = [
        (&[0xff; 40], None),
        (&[0], None),
        // An Open whose host is longer than the message.
        (&[0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], None),
        (&[0; 100_000], None),
        // A good message and a stray byte.
        (&[5, 1, 0], None),
        (&[5, 1], Some(&pipe)),
    ];
    assert!(is_well(&mut well));
    let descriptors = helper.descriptors();
    for (i, (bytes, with)) in garbage.into_iter().enumerate() {
        let (ours, theirs) = Link::pair().unwrap();
        let id = 1_000 + i as u64;
        let connection = ["", "", "", ""].map(str::to_owned);
        let login = Login { id, permit: permit(ALEX), connection, label: String::new() };
        helper.link.say(&ToHelper::Login(Box::new(login)), Some(theirs.into())).unwrap();
        ours.send(bytes, with.map(AsFd::as_fd)).unwrap();
        helper.until(|h| h.ended.contains(&id) && h.errors.len() == i + 1);
        assert!(is_well(&mut well));
    }
    assert_eq!(helper.descriptors(), descriptors);
}

fn numbers_are_used_once() {
    let (_helper, mut worker) = start();
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = target.local_addr().unwrap().port();
    let to = tcp("127.0.0.1", port);
    let first = worker.ask(|id| Request::Open { id, target: to.clone() });
    worker.opened(first).unwrap();
    let session = worker.session().unwrap();
    for request in [
        Request::Open { id: first, target: to.clone() },
        Request::OpenSession { id: session },
        Request::Listen { id: 0, at: tcp("localhost", 0) },
        Request::Execute { id: session, session, what: Program::Shell },
        Request::Unlisten { id: session, at: to.clone() },
        Request::Env { id: first, session, name: b"A".into(), value: b"b".into() },
    ] {
        worker.link.say(&request, None).unwrap();
        let Some((Answer::Refused { why, text, .. }, None)) = worker.answer() else { panic!("{request:?}") };
        assert_eq!((why, text.as_str()), (Refusal::Failed, "the number of a question was used before"));
    }
    // Upwards there is room to the last one.
    worker.link.say(&Request::Open { id: u64::MAX, target: to.clone() }, None).unwrap();
    worker.opened(u64::MAX).unwrap();
    worker.link.say(&Request::Open { id: u64::MAX, target: to }, None).unwrap();
    assert!(worker.opened(u64::MAX).is_err());
    // What is not known is nobody's.
    worker.link.say(&Request::CloseSession { session: 77 }, None).unwrap();
    worker.link.say(&Request::Signal { session: 77, name: b"KILL".into() }, None).unwrap();
}

/// A port that answers no more: its backlog is full.
fn black_hole() -> (TcpListener, Vec<TcpStream>, u16) {
    let full = sockward_sys::tcp::Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 0).unwrap();
    let address = full.address();
    let listener = TcpListener::from(full.as_fd().try_clone_to_owned().unwrap());
    let mut inside = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)) {
        inside.push(stream);
    }
    (listener, inside, address.port())
}

fn a_flood_of_half_open_connections_is_bounded() {
    let (mut helper, mut worker) = start();
    let (hole, inside, port) = black_hole();
    assert!(is_well(&mut worker));
    let idle = helper.descriptors();
    const BOUND: usize = 2048;
    let ids: Vec<_> = (0..BOUND + 100)
        .map(|_| worker.ask(|id| Request::Open { id, target: tcp("127.0.0.1", port) }))
        .collect();
    for id in &ids[BOUND..] {
        let refused = worker.opened(*id).unwrap_err();
        assert_eq!(refused, (Refusal::Shortage, "too many connections are being opened".into()));
    }
    assert_eq!(helper.descriptors(), idle + BOUND);
    // Another login goes on.
    let mut other = helper.log_in(permit(ALEX));
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    other.open(tcp("127.0.0.1", target.local_addr().unwrap().port())).unwrap();
    // All of it goes with its login.
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    wait_for("descriptors are left over", || helper.descriptors() <= idle);
    drop((hole, inside));
    assert!(is_well(&mut other));
}

fn a_flood_of_listeners_is_bounded() {
    if !root_or_skip("a_flood_of_listeners_is_bounded") {
        return;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let (mut helper, mut worker) = start();
    const BOUND: usize = 1024;
    for n in 0..BOUND {
        worker.listen(unix(&dir.join(n.to_string()))).unwrap();
    }
    let refused = worker.listen(unix(&dir.join("more"))).unwrap_err();
    assert_eq!(refused, (Refusal::Shortage, "too many: a login has at most 1024 listeners".into()));
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

fn a_worker_that_does_not_read_costs_itself_alone() {
    let (mut helper, mut worker) = start();
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = tcp("127.0.0.1", target.local_addr().unwrap().port());
    let bad = tcp("127.0.0.1", 0);
    let port = worker.listen(tcp("127.0.0.1", 0)).unwrap().1.unwrap();
    let memory = helper.memory();
    // As many requests as its link takes, and some that the helper accepts for it.
    let _clients: Vec<_> =
        (0..500).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
    for n in 0..20_000 {
        let at = if n % 2 == 0 { to.clone() } else { bad.clone() };
        let id = 1_000 + n;
        if worker.link.say(&Request::Open { id, target: at }, None).is_err() {
            break;
        }
    }
    let mut other = helper.log_in(permit(ALEX));
    for _ in 0..100 {
        assert!(is_well(&mut other));
    }
    assert!(helper.descriptors() < 1_000, "{}", helper.descriptors());
    assert!(helper.memory() < memory + (4 << 20), "{} after {memory}", helper.memory());
    assert!(helper.ended.is_empty());
    // It may come back to its senses.
    let mut answers = 0;
    while answers < 2_000 {
        assert!(worker.answer().is_some());
        answers += 1;
    }
}

fn a_full_table_of_descriptors_leaves_room_for_logins() {
    // The limit is inherited, and only ever goes down.
    let script = format!("ulimit -n {FEW} && exec \"$0\" with_few_descriptors");
    let binary = std::env::current_exe().unwrap();
    let mut limited = std::process::Command::new("/bin/sh");
    let limited = limited.args(["-c", &script]).arg(binary).env("SOCKWARD_FEW", "1");
    assert!(limited.status().unwrap().success());
}

const FEW: u64 = 200;

/// Run by the test above, with few descriptors.
fn with_few_descriptors() {
    if std::env::var_os("SOCKWARD_FEW").is_none() {
        return;
    }
    let (hole, inside, port) = black_hole();
    let (mut helper, mut worker) = start();
    let listener = worker.listen(tcp("127.0.0.1", 0)).unwrap().1.unwrap();
    let ids: Vec<_> =
        (0..FEW).map(|_| worker.ask(|id| Request::Open { id, target: tcp("127.0.0.1", port) })).collect();
    let shortage = (Refusal::Shortage, "too many open files".to_owned());
    assert_eq!(worker.opened(ids[ids.len() - 1]).unwrap_err(), shortage);
    let session = worker.session().unwrap();
    assert_eq!(worker.execute(session, Program::Shell).map(|_| ()).unwrap_err(), shortage);
    assert_eq!(worker.listen(named("/tmp/sockward-none")).unwrap_err().0, Refusal::Shortage);
    // Twenty logins more, each with its link.
    let mut others: Vec<_> = (0..20).map(|_| helper.log_in(permit(ALEX))).collect();
    assert!(others.iter_mut().all(is_well));
    // What waits to be accepted is accepted when there is room.
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, listener)).unwrap();
    drop(others);
    let mut fresh = helper.log_in(permit(ALEX));
    assert!(is_well(&mut fresh) && is_well(&mut worker));
    drop((client, hole, inside));
}

fn endless_names_are_cut() {
    let (mut helper, mut worker) = start();
    let long = vec![0xff; 100_000];
    for at in [Endpoint::Tcp { host: long.clone(), port: 1 }, Endpoint::Path(long.clone())] {
        assert!(worker.open(at.clone()).is_err());
        assert!(worker.listen(at).is_err());
    }
    let session = worker.session().unwrap();
    assert!(worker.execute(session, Program::Subsystem(long.clone())).is_err());
    worker.link.say(&Request::Signal { session, name: long.clone() }, None).unwrap();
    assert!(worker.env(session, &"x".repeat(100_000), "").is_err());
    // The monitor has heard of all of it.
    helper.until(|h| h.events.len() >= 4);
    assert!(is_well(&mut worker));
}
