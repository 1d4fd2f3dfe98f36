//! `Reconnect` behind a gate: the other `ssh` says by words and status alone what it met. What time cannot mend is the
//! end, at the first attempt and with the reason; the rest is tried again.

use std::os::unix::net::UnixStream;
use std::process::Command;

use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{Client, Kind, Origin, Running, Service, key_pair, wait_until};

use crate::far::{Far, address, gates_of};
use crate::life::{echoes, kill};

/// A client that connects again soon, once the gate listens for it.
fn lasting(far: &Far, origin: &Origin, transport: &str) -> Running {
    let socket = far.socket("s");
    // One that still listens would be an error the first time.
    wait_until(&format!("{transport}: other gates are gone"), || gates_of(far).is_empty());
    let running = Client::new(Kind::Ours, &far.server)
        .args(["-o", "Via=gate", "-o", &format!("Transport={transport}")])
        .args(["-o", "Reconnect=yes", "-o", "ReconnectMaxDelay=0"])
        .args(["-R", &format!("{}:{}", socket.display(), address(origin))])
        .forward();
    wait_until(&format!("{transport}: the gate serves: {}", running.log()), || {
        UnixStream::connect(&socket).is_ok_and(|mut stream| echoes(&mut stream))
    });
    running
}

/// Kills the other `ssh`.
fn kill_ssh(running: &Running) {
    let out = Command::new("pgrep").args(["-P", &running.pid().to_string()]).output().unwrap();
    let children = String::from_utf8(out.stdout).unwrap();
    assert!(!children.is_empty(), "{}", running.log());
    children.split_whitespace().for_each(kill);
}

/// The client ends at its first attempt, with this reason.
fn ends(mut running: Running, what: &str, reason: &str) {
    kill_ssh(&running);
    wait_until(&format!("{what}: the end: {}", running.log()), || running.ended().is_some());
    let log = running.log();
    assert_eq!(running.wait().code(), Some(255), "{what}: {log}");
    assert!(log.contains(reason), "{what}: {log}");
    assert_eq!(log.matches("Reconnecting to ").count(), 1, "{what}: {log}");
}

#[test]
fn what_time_cannot_mend_is_the_end_at_once() {
    if !as_root() {
        return;
    }
    for transport in ["ssh", "own"] {
        let mut far = Far::new("--permit-listen SOCKETS/*");
        let origin = Origin::tcp(Service::Echo);
        let authorized = far.server.keys.authorized.clone();
        let key = std::fs::read_to_string(&authorized).unwrap();
        let what = |case: &str| format!("{transport}, {case}");

        let running = lasting(&far, &origin, transport);
        std::fs::write(&authorized, key.replace("permit-listen", "permit-open")).unwrap();
        ends(running, &what("a listener that is not permitted"), "Error: remote port forwarding failed");

        std::fs::write(&authorized, &key).unwrap();
        let running = lasting(&far, &origin, transport);
        std::fs::write(&authorized, key.replace(" gate ", "-that-is-not-there gate ")).unwrap();
        ends(running, &what("no such command"), "the far command ended with status 127");

        std::fs::write(&authorized, &key).unwrap();
        let running = lasting(&far, &origin, transport);
        std::fs::write(&authorized, "").unwrap();
        ends(running, &what("a key that is not let in"), "Permission denied (publickey");

        std::fs::write(&authorized, &key).unwrap();
        let running = lasting(&far, &origin, transport);
        far.server.stop();
        for name in ["host", "host.pub"] {
            std::fs::remove_file(far.server.dir.join(name)).unwrap();
        }
        let _ = key_pair(far.server.dir.path(), "host", "ed25519");
        far.server.restart();
        ends(running, &what("another host key"), "no gate: Host key verification failed.");
        wait_until(&what("the gates are gone"), || gates_of(&far).is_empty());
    }
}

#[test]
fn what_time_mends_is_waited_for() {
    if !as_root() {
        return;
    }
    let mut far = Far::new("--permit-listen SOCKETS/*");
    let origin = Origin::tcp(Service::Echo);
    let (running, socket) = (lasting(&far, &origin, "ssh"), far.socket("s"));
    let back = |round| {
        wait_until(&format!("it is back: {}", running.log()), || {
            running.log().matches("Reconnected to ").count() == round
        });
        let works = |mut stream| echoes(&mut stream);
        wait_until("it works", || UnixStream::connect(&socket).is_ok_and(works));
    };
    kill_ssh(&running);
    back(1);
    far.server.stop();
    kill_ssh(&running);
    // In its own words, which nobody has touched.
    wait_until(&format!("two attempts: {}", running.log()), || {
        let log = running.log();
        let refused = |line: &&str| line.starts_with("ssh: connect to host 127.0.0.1 port ");
        log.lines().filter(refused).filter(|line| line.ends_with(": Connection refused")).count() >= 2
    });
    far.server.restart();
    back(2);
}
