//! However a forwarding ends, and whoever of those that carry it, no file stays behind.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use sockward_test_e2e::support::{
    Client, Kind, Origin, Running, Server, ServerSetup, Service, wait_for, wait_until,
};
use sockward_test_e2e::{alex_and_bob, as_root, directory, names};

fn signal(pid: u32, name: &str) {
    let done = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(done.success(), "kill {pid}");
}

/// The processes that the server has started, whose title holds this word.
fn children(server: &Server, word: &str) -> Vec<u32> {
    let pid = server.pid().to_string();
    let out = Command::new("pgrep").args(["-P", &pid, "-f", word]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

/// A client of this kind with two remote sockets; then something ends, and the directory is empty.
fn nothing_is_left_after(kind: Kind, end: impl FnOnce(&mut Server, &mut Running)) {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let mut server = Server::start(Kind::Ours, &ServerSetup::default());
    let dir = directory(&server, "far", alex, 0o755);
    let origin = Origin::tcp(Service::Echo);
    let forwards = ["one", "two"].map(|n| format!("{}:127.0.0.1:{}", dir.join(n).display(), origin.port));
    let args = ["-R", &forwards[0], "-R", &forwards[1]];
    let mut client = Client::new(kind, &server).args(args).forward();
    wait_for(&dir.join("one"));
    wait_for(&dir.join("two"));
    end(&mut server, &mut client);
    wait_until("the directory is empty", || names(&dir).is_empty());
}

#[test]
fn the_client_stops() {
    nothing_is_left_after(Kind::Ours, |_, client| client.stop());
    nothing_is_left_after(Kind::OpenSsh, |_, client| client.stop());
}

#[test]
fn the_client_is_killed() {
    nothing_is_left_after(Kind::Ours, |_, client| client.kill());
}

#[test]
fn the_worker_is_killed() {
    nothing_is_left_after(Kind::Ours, |server, client| {
        let [worker] = children(server, "role=worker")[..] else { panic!("one worker") };
        signal(worker, "KILL");
        assert_eq!(client.wait().code(), Some(255));
    });
}

#[test]
fn the_helper_is_told_to_end() {
    nothing_is_left_after(Kind::Ours, |server, client| {
        let [helper] = children(server, "role=helper")[..] else { panic!("one helper") };
        signal(helper, "TERM");
        assert_eq!(client.wait().code(), Some(255));
    });
}

#[test]
fn the_server_is_told_to_end() {
    nothing_is_left_after(Kind::Ours, |server, client| {
        let pid_file = server.dir.join("pid");
        assert!(pid_file.exists());
        server.stop();
        assert!(!pid_file.exists(), "the pid file stays");
        assert_eq!(client.wait().code(), Some(255));
    });
}

#[test]
fn the_monitor_is_killed() {
    nothing_is_left_after(Kind::Ours, |server, client| {
        let workers = children(server, "role=worker");
        signal(server.pid(), "KILL");
        assert_eq!(client.wait().code(), Some(255));
        let gone = |pid: &u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
        wait_until("its workers are gone", || workers.iter().all(gone));
    });
}

#[test]
fn a_forwarding_is_cancelled() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    let dir = directory(&server, "far", alex, 0o755);
    let control = server.dir.join("control");
    let control = control.to_str().unwrap();
    let forwards = ["one", "two"].map(|n| format!("{}:127.0.0.1:9", dir.join(n).display()));
    let args = ["-M", "-S", control, "-R", &forwards[0], "-R", &forwards[1]];
    let _client = Client::new(Kind::OpenSsh, &server).args(args).forward();
    wait_for(&dir.join("one"));
    wait_for(&dir.join("two"));
    let cancel = ["-S", control, "-O", "cancel", "-R", &forwards[0]];
    let out = Client::new(Kind::OpenSsh, &server).args(cancel).run("");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    wait_until("one is gone", || names(&dir) == ["two"]);
}
