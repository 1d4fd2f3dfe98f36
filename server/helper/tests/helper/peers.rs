//! Who may connect to what a login listens on (PermitPeer): sockets in the file system and ports alike.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use sockward_policy::peer::PeerName;
use sockward_policy::{By, PeerList, Source};
use sockward_privsep::helper::{Event, Peer};
use sockward_privsep::login::Endpoint;

use crate::double::{ALEX, EVE, Helper, TempDir, Worker, assert_joined, permit, read_all, tcp, unix};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("listed_processes_may_connect_to_a_socket", listed_processes_may_connect_to_a_socket),
    ("listed_users_may_connect_to_a_port", listed_users_may_connect_to_a_port),
    ("whoever_has_left_again_is_nobody", whoever_has_left_again_is_nobody),
    ("many_at_once_are_all_decided_on", many_at_once_are_all_decided_on),
];

/// Every Debian has the user and group 1.
const DAEMON: u32 = 1;
/// What a user namespace makes of everybody else.
const OVERFLOW: u32 = 65_534;

/// By uid and gid.
type Who = (u32, u32);

fn user(name: &str) -> PeerName {
    PeerName::User(name.into())
}

fn group(name: &str) -> PeerName {
    PeerName::Group(name.into())
}

fn list(peers: Vec<PeerName>, line: u32) -> PeerList {
    PeerList { peers, source: Source::new("config", line) }
}

/// A connection made as somebody else.
fn connect_as((uid, gid): Who, to: &Endpoint) -> OwnedFd {
    let mut other = Helper::start_with(uid, gid);
    other.log_in(permit(uid)).open(to.clone()).unwrap()
}

/// The place that is listened at: with one that others reach, or one that only this machine does.
type Listen<'a> = &'a mut dyn FnMut(&mut Worker) -> Endpoint;

fn check(listen: Listen<'_>, lists: &[PeerList], allowed: &[Who], refused: &[Who]) {
    let mut helper = Helper::start(ALEX);
    let mut permit = permit(ALEX);
    permit.birth.mode = 0o666;
    permit.peers = lists.to_vec();
    let mut worker = helper.log_in(permit);
    let at = listen(&mut worker);
    for who in allowed {
        let socket = connect_as(*who, &at);
        assert_joined(&worker.accepted().3, &socket);
        let peer = helper.event(|e| match e {
            Event::Connection { refused: None, peer, .. } => Some(peer.clone()),
            _ => None,
        });
        let (Peer::Process { uid, .. } | Peer::Address { uid, .. }) = peer;
        assert_eq!(uid, Some(who.0));
        helper.events.clear();
    }
    for who in refused {
        helper.events.clear();
        let socket = connect_as(*who, &at);
        // Data that is sent first changes nothing. By TCP it makes the end a reset.
        let _ = sockward_sys::fd::write(&socket, b"hello");
        assert!(matches!(std::panic::catch_unwind(|| read_all(&socket)).as_deref(), Ok("") | Err(_)));
        let (why, by) = helper.event(|e| match e {
            Event::Connection { refused: Some(why), by, .. } => Some((why.clone(), by.clone())),
            _ => None,
        });
        assert!(why.contains("(PermitPeer)") && matches!(by, Some(By::Rule(_))), "{why}");
    }
    // The worker hears of none of them: the next is the next one that may.
    if let Some(who) = allowed.first() {
        let socket = connect_as(*who, &at);
        assert_joined(&worker.accepted().3, &socket);
    }
    // The next one takes the same place.
    drop(worker);
    helper.end();
}

fn listed_processes_may_connect_to_a_socket() {
    if !root_or_skip("listed_processes_may_connect_to_a_socket") {
        return;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let path = dir.join("s");
    let mut listen = |worker: &mut Worker| {
        worker.listen(unix(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        unix(&path)
    };
    for (lists, allowed, refused) in [
        (vec![list(vec![user("daemon")], 1)], vec![(1, 54_103)], vec![(0, 0), (ALEX, ALEX), (EVE, 1)]),
        // Groups are those of the process, whatever the name service says.
        (vec![list(vec![group("daemon")], 1)], vec![(EVE, 1), (1, 1)], vec![(0, 0), (1, EVE), (ALEX, ALEX)]),
        (
            vec![list(vec![user("daemon"), user("root")], 1), list(vec![user("daemon"), group("daemon")], 2)],
            vec![(1, EVE)],
            vec![(0, 0), (EVE, 1)],
        ),
        (vec![list(vec![], 1)], vec![], vec![(0, 0), (1, 1), (ALEX, ALEX), (OVERFLOW, OVERFLOW)]),
        (
            vec![list(vec![user("nobody"), user("no-such-user"), group("no-such-group")], 1)],
            vec![],
            vec![(OVERFLOW, OVERFLOW)],
        ),
    ] {
        check(&mut listen, &lists, &allowed, &refused);
    }
}

fn listed_users_may_connect_to_a_port() {
    if !root_or_skip("listed_users_may_connect_to_a_port") {
        return;
    }
    for host in ["127.0.0.1", "::1", "localhost"] {
        let mut listen = |worker: &mut Worker| {
            let port = worker.listen(tcp(host, 0)).unwrap().1.unwrap();
            tcp(if host == "localhost" { "::1" } else { host }, port)
        };
        for (lists, allowed, refused) in [
            (vec![list(vec![user("daemon")], 1)], vec![(1, 54_103)], vec![(0, 0), (ALEX, ALEX), (EVE, 1)]),
            // Here the kernel tells the user alone: groups are those of the user's account.
            (
                vec![list(vec![group("daemon")], 1)],
                vec![(1, EVE), (1, 1)],
                vec![(0, 0), (EVE, 1), (ALEX, ALEX)],
            ),
            (
                vec![list(vec![user("daemon"), user("root")], 1), list(vec![group("daemon")], 2)],
                vec![(1, EVE)],
                vec![(0, 0), (EVE, 1)],
            ),
            (vec![list(vec![], 1)], vec![], vec![(0, 0), (1, 1), (ALEX, ALEX)]),
            (vec![list(vec![user("nobody")], 1)], vec![], vec![(OVERFLOW, OVERFLOW)]),
        ] {
            check(&mut listen, &lists, &allowed, &refused);
        }
    }
}

/// A connection that is over when it is accepted is of nobody, on a port; on a socket it is of whoever made it.
fn whoever_has_left_again_is_nobody() {
    if !root_or_skip("whoever_has_left_again_is_nobody") {
        return;
    }
    let mut helper = Helper::start(ALEX);
    let mut permit = permit(ALEX);
    permit.peers = vec![list(vec![user("root")], 1)];
    let mut worker = helper.log_in(permit);
    let port = worker.listen(tcp("127.0.0.1", 0)).unwrap().1.unwrap();
    // The helper is stopped, so that it accepts too late.
    let pid = helper.pid();
    kill(pid, "STOP");
    for _ in 0..20 {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        std::io::Write::write_all(&mut stream, b"do this for root").unwrap();
    }
    kill(pid, "CONT");
    for _ in 0..20 {
        let why = helper.event(|e| match e {
            Event::Connection { refused, .. } => Some(refused.clone()),
            _ => None,
        });
        assert!(why.is_some_and(|why| why.contains("it is not known who connects (PermitPeer)")));
        helper
            .events
            .remove(helper.events.iter().position(|(_, e)| matches!(e, Event::Connection { .. })).unwrap());
    }
    let _held = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    worker.accepted();
}

fn kill(pid: i32, signal: &str) {
    let status = std::process::Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// More connections than may wait for the name service, of several users, in one burst.
fn many_at_once_are_all_decided_on() {
    if !root_or_skip("many_at_once_are_all_decided_on") {
        return;
    }
    let mut helper = Helper::start(ALEX);
    let mut permit = permit(ALEX);
    permit.peers = vec![list(vec![group("daemon")], 1)];
    let mut worker = helper.log_in(permit);
    let port = worker.listen(tcp("127.0.0.1", 0)).unwrap().1.unwrap();
    let mut others: Vec<_> = [DAEMON, EVE, 2, 3]
        .into_iter()
        .map(|uid| {
            let mut other = Helper::start(uid);
            let worker = other.log_in(self::permit(uid));
            (other, worker)
        })
        .collect();
    kill(helper.pid(), "STOP");
    let mut sockets = Vec::new();
    for _ in 0..100 {
        for (_, worker) in &mut others {
            sockets.push(worker.open(tcp("127.0.0.1", port)).unwrap());
        }
    }
    kill(helper.pid(), "CONT");
    for _ in 0..100 {
        worker.accepted();
    }
    let count = |helper: &Helper, wanted: bool| {
        let of = |e: &&(u64, Event)| matches!(&e.1, Event::Connection { refused, .. } if refused.is_some() == wanted);
        helper.events.iter().filter(of).count()
    };
    helper.until(|h| count(h, true) == 300 && count(h, false) == 100);
}
