//! How a helper comes to be and ends, and what it is in between.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use sockward_privsep::helper::{Event, ToHelper};
use sockward_privsep::login::{Connection, Program, Request};
use sockward_sys::spawn::Exit;

use crate::double::{ALEX, EVE, Helper, TempDir, Worker, assert_joined, permit, read_all, tcp, unix};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("it_has_the_users_rights_and_nobody_looks_in", it_has_the_users_rights_and_nobody_looks_in),
    (
        "it_ends_with_the_monitors_link_and_removes_its_sockets",
        it_ends_with_the_monitors_link_and_removes_its_sockets,
    ),
    ("a_signal_ends_it_as_cleanly", a_signal_ends_it_as_cleanly),
    ("logins_are_independent", logins_are_independent),
    ("the_monitor_ends_a_login", the_monitor_ends_a_login),
    ("ten_thousand_connections_leave_nothing", ten_thousand_connections_leave_nothing),
    ("two_thousand_at_once_are_all_served", two_thousand_at_once_are_all_served),
    ("without_root_it_acts_for_itself_alone", without_root_it_acts_for_itself_alone),
    ("as_an_ordinary_user", as_an_ordinary_user),
];

fn it_has_the_users_rights_and_nobody_looks_in() {
    if !root_or_skip("it_has_the_users_rights_and_nobody_looks_in") {
        return;
    }
    let mut helper = Helper::start_with(ALEX, EVE);
    let mut worker = helper.log_in(permit(ALEX));
    // An answer shows that it has come so far.
    worker.session().unwrap();
    let pid = helper.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        format!("Uid:\t{ALEX}\t{ALEX}\t{ALEX}\t{ALEX}"),
        format!("Gid:\t{EVE}\t{EVE}\t{EVE}\t{EVE}"),
        format!("Groups:\t{EVE} "),
        "CapPrm:\t0000000000000000".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t0".to_owned(),
        "Seccomp:\t0".to_owned(),
        "Threads:\t1".to_owned(),
    ] {
        assert!(status.lines().any(|l| l == line), "{line} is not in {status}");
    }
    assert_eq!(std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
}

/// A helper with a listener of each kind and a command.
fn busy() -> Option<(Helper, Worker, TempDir, std::path::PathBuf, u16, i32)> {
    if !root_or_skip("the end of a helper") {
        return None;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    let path = dir.join("s");
    worker.listen(unix(&path)).unwrap();
    let port = worker.listen(tcp("localhost", 0)).unwrap().1.unwrap();
    let session = worker.session().unwrap();
    let mut streams =
        worker.execute(session, Program::Exec("echo $$; exec >&- 2>&-; exec sleep 1000".into())).unwrap();
    streams.stdin = None;
    let pid = read_all(&streams.stdout).trim().parse().unwrap();
    Some((helper, worker, tmp, path, port, pid))
}

fn end_of(pid: i32) {
    assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
}

fn it_ends_with_the_monitors_link_and_removes_its_sockets() {
    let Some((helper, mut worker, _tmp, path, port, pid)) = busy() else { return };
    assert_eq!(helper.end(), Exit::Code(0));
    assert!(!path.exists());
    assert!(std::fs::read_dir(path.parent().unwrap()).unwrap().next().is_none());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    assert!(worker.answer().is_none());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "the user's command is the user's");
    end_of(pid);
}

fn a_signal_ends_it_as_cleanly() {
    for signal in ["TERM", "INT", "HUP"] {
        let Some((mut helper, _worker, _tmp, path, _, pid)) = busy() else { return };
        let kill = ["-s", signal, &helper.pid().to_string()].map(str::to_owned);
        assert!(std::process::Command::new("kill").args(kill).status().unwrap().success());
        assert_eq!(helper.child.wait().unwrap(), Exit::Code(0), "{signal}");
        assert!(!path.exists());
        while helper.hear() {}
        assert!(helper.events.iter().any(|(_, e)| matches!(e, Event::Unlisten { .. })));
        end_of(pid);
    }
}

fn logins_are_independent() {
    let Some((mut helper, worker, _tmp, path, _, pid)) = busy() else { return };
    let mut other = helper.log_in(permit(ALEX));
    let second = path.with_file_name("second");
    other.listen(unix(&second)).unwrap();
    let socket = other.open(unix(&path)).unwrap();
    // The first ends: what is the second's stays, its connection too.
    let mut worker = worker;
    let accepted = worker.accepted().3;
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    assert!(!path.exists());
    assert_joined(&accepted, &socket);
    let client = UnixStream::connect(&second).unwrap();
    assert_joined(&other.accepted().3, &client.into());
    assert!(helper.errors.is_empty(), "{:?}", helper.errors);
    end_of(pid);
}

fn the_monitor_ends_a_login() {
    let Some((mut helper, mut worker, _tmp, path, _, pid)) = busy() else { return };
    helper.link.say(&ToHelper::EndLogin { login: worker.login }, None).unwrap();
    // Twice, and one that never was.
    helper.link.say(&ToHelper::EndLogin { login: worker.login }, None).unwrap();
    helper.link.say(&ToHelper::EndLogin { login: 77 }, None).unwrap();
    assert!(worker.answer().is_none());
    helper.until(|h| h.ended == [worker.login]);
    assert!(!path.exists());
    end_of(pid);
    helper.until(|h| h.idle == 1);
    assert_eq!(helper.ended, [worker.login]);
    assert_eq!(helper.end(), Exit::Code(0));
}

/// Opens and accepts one connection after the other over one login.
fn many(helper: &mut Helper, worker: &mut Worker, port: u16, count: u64) {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = target.local_addr().unwrap().port();
    for n in 0..count {
        let connection = if n % 2 == 0 {
            let id = worker.ask(|id| Request::Open { id, target: tcp("127.0.0.1", to) });
            worker.opened(id).unwrap();
            target.accept().unwrap();
            Connection::Opened(id)
        } else {
            let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            Connection::Accepted(worker.accepted().1)
        };
        worker.link.say(&Request::Closed { connection, received: 1, sent: 1 }, None).unwrap();
        // A monitor that does not keep up is told less.
        helper.drain();
    }
    // One answer more: all before it is done.
    worker.session().unwrap();
    while helper.events.iter().filter(|(_, e)| matches!(e, Event::Closed { .. })).count() as u64 != count {
        assert!(helper.hear());
    }
    helper.events.clear();
}

fn ten_thousand_connections_leave_nothing() {
    if !root_or_skip("ten_thousand_connections_leave_nothing") {
        return;
    }
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    let port = worker.listen(tcp("127.0.0.1", 0)).unwrap().1.unwrap();
    many(&mut helper, &mut worker, port, 1_000);
    let (descriptors, memory) = (helper.descriptors(), helper.memory());
    many(&mut helper, &mut worker, port, 10_000);
    assert_eq!(helper.descriptors(), descriptors);
    assert!(helper.memory() <= memory + (1 << 20), "{} after {memory}", helper.memory());
    drop(worker);
    helper.until(|h| h.idle == 1);
    // The poller, the signals, the link, and the standard ones.
    assert_eq!(helper.descriptors(), 6);
}

fn two_thousand_at_once_are_all_served() {
    if !root_or_skip("two_thousand_at_once_are_all_served") {
        return;
    }
    const MANY: usize = 2_000;
    sockward_sys::limits::raise_nofile().unwrap();
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    let path = dir.join("s");
    worker.listen(unix(&path)).unwrap();
    let idle = helper.descriptors();
    // The worker reads nothing while they come in: the helper waits for it, and the kernel keeps the rest.
    let mut clients: Vec<_> = (0..1_000).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let before = helper.descriptors();
    assert!(before < 500, "{before} descriptors are held for a worker that does not read");
    let mut accepted = Vec::new();
    while accepted.len() < MANY {
        while clients.len() < MANY && clients.len() < accepted.len() + 1_000 {
            clients.push(UnixStream::connect(&path).unwrap());
        }
        accepted.push(worker.accepted());
    }
    let mut numbers: Vec<_> = accepted.iter().map(|(_, number, ..)| *number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), MANY, "each once, in order");
    for ((.., socket), client) in accepted.iter().zip(clients) {
        assert_joined(socket, &client.into());
    }
    assert_eq!(helper.descriptors(), idle);
}

fn without_root_it_acts_for_itself_alone() {
    if !root_or_skip("without_root_it_acts_for_itself_alone") {
        return;
    }
    use std::os::unix::process::CommandExt;
    let binary = std::env::current_exe().unwrap();
    let mut ordinary = std::process::Command::new(binary);
    let ordinary = ordinary.arg("as_an_ordinary_user").env("SOCKWARD_ORDINARY", "1").uid(ALEX).gid(ALEX);
    assert!(ordinary.status().unwrap().success());
}

/// Run by the test above, as an ordinary user.
pub(crate) fn as_an_ordinary_user() {
    if std::env::var_os("SOCKWARD_ORDINARY").is_none() {
        return;
    }
    let mut own = Helper::start_with(ALEX, 0);
    let mut worker = own.log_in(permit(ALEX));
    worker.session().unwrap();
    assert_eq!(own.end(), Exit::Code(0));
    for other in [0, EVE] {
        let mut helper = Helper::start(other);
        while helper.hear() {}
        assert_eq!(
            helper.errors,
            [format!("cannot act for the user: uid {ALEX} cannot act for uid {other}")]
        );
        assert_eq!(helper.end(), Exit::Code(1));
    }
}
