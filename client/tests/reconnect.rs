//! `Reconnect` with a stock server that comes and goes: what stays, what waits, what comes back, what is the end.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Running, Server, ask_tcp, ask_unix, free_port, keygen, pattern, read, serve_tcp, wait_until};
use sockward_test_support::has_program;

/// A client that connects again soon, once it is logged in.
fn lasting(server: &Server, arguments: &[&str]) -> Running {
    let options = ["-v", "-N", "-oReconnect=yes", "-oReconnectMaxDelay=0", "-oExitOnForwardFailure=yes"];
    let all: Vec<&str> = options.iter().chain(arguments).chain(&["h"]).copied().collect();
    let mut running = Running::start(server.ssh(&all));
    running.wait_for("Entering interactive session.");
    running
}

#[test]
fn listeners_stay_connections_wait_and_all_comes_back() {
    let Some(mut server) = Server::start("") else { return };
    let (service, port, far) = (serve_tcp("tcp:"), free_port(), free_port());
    let (near, target) = (server.path("near"), format!("127.0.0.1:{service}"));
    let specs =
        [format!("{port}:{target}"), format!("{}:{target}", near.display()), format!("{far}:{target}")];
    let mut client = lasting(&server, &["-L", &specs[0], "-L", &specs[1], "-R", &specs[2]]);
    client.wait_for("remote forward success");
    let bytes = pattern(1, 100_000);
    let expected = [b"tcp:", bytes.as_slice()].concat();
    assert!(ask_tcp(far, &bytes) == expected);

    server.stop();
    client.wait_for("Connection to 127.0.0.1 lost: closed by remote host.");
    client.wait_for("Reconnecting to 127.0.0.1 in ");
    assert!(near.exists(), "the socket stays");
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            let near = near.clone();
            std::thread::spawn(move || {
                let bytes = pattern(n, 50_000);
                let got = if n % 2 == 0 { ask_tcp(port, &bytes) } else { ask_unix(&near, &bytes) };
                assert!(got == [b"tcp:", bytes.as_slice()].concat(), "{n}: {} bytes", got.len());
            })
        })
        .collect();
    server.start_again();
    client.wait_for("Reconnected to 127.0.0.1 after ");
    waiting.into_iter().for_each(|thread| thread.join().unwrap());
    client.wait_for("remote forward success");
    assert!(ask_tcp(far, &bytes) == expected);
    client.signal("TERM");
    assert_eq!(client.end().code(), Some(0));
    assert!(!near.exists(), "the socket goes");
}

#[test]
fn without_patience_connections_end_at_once_and_so_does_a_signal() {
    let Some(mut server) = Server::start("") else { return };
    let (port, near) = (free_port(), server.path("near"));
    let specs = [format!("{port}:127.0.0.1:9"), format!("{}:127.0.0.1:9", near.display())];
    let mut client = lasting(&server, &["-L", &specs[0], "-L", &specs[1], "-oReconnectWait=0"]);
    server.stop();
    client.wait_for("Reconnecting to ");
    let mut refused = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    client.wait_for("connect to host 127.0.0.1");
    client.signal("TERM");
    assert_eq!(client.end().code(), Some(0));
    assert!(!near.exists());
}

#[test]
fn what_time_cannot_mend_ends_it_with_the_reason() {
    let Some(mut server) = Server::start("") else { return };
    let client = lasting(&server, &[]);
    server.stop();
    for name in ["host_ed25519", "host_ed25519.pub"] {
        std::fs::remove_file(server.path(name)).unwrap();
    }
    keygen(&server.path("host_ed25519"), "ed25519", "");
    server.start_again();
    let ended = client.end();
    assert!(ended.stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{}", ended.stderr);
    ended.failed("Host key verification failed.");

    server.trust();
    let client = lasting(&server, &[]);
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    server.cut();
    client.end().failed("Permission denied (");
}

#[test]
fn the_first_connection_is_tried_once() {
    let Some(mut server) = Server::start("") else { return };
    server.stop();
    server.run(&["-N", "-oReconnect=yes", "h"]).failed("Connection refused");
}

#[test]
fn a_listener_that_the_server_still_holds_is_taken_back() {
    let Some(mut server) = Server::start("") else { return };
    let (service, far) = (serve_tcp("tcp:"), free_port());
    let spec = format!("{far}:127.0.0.1:{service}");
    let mut client = lasting(&server, &["-4", "-R", &spec]);
    client.wait_for("remote forward success");
    server.stop();
    let mut held = None;
    wait_until("the port is free", || {
        held = TcpListener::bind(("127.0.0.1", far)).ok();
        held.is_some()
    });
    // So that nothing of it is free on the server.
    let other = TcpListener::bind(("::1", far));
    server.start_again();
    client.wait_for(&format!("The server does not listen yet: listen port {far}; asking again in "));
    drop((held, other));
    client.wait_for(&format!("The server listens again: listen port {far}"));
    assert_eq!(ask_tcp(far, b"x"), b"tcp:x");
}

#[test]
fn a_passphrase_is_asked_for_once_and_a_key_that_nobody_recorded_is_the_host_s() {
    let Some(server) = Server::start("") else { return };
    let (key, askpass) = (server.path("locked"), server.path("askpass"));
    keygen(&key, "ed25519", "secret");
    std::fs::write(server.path("authorized_keys"), read(&server.path("locked.pub"))).unwrap();
    std::fs::write(&askpass, "#!/bin/sh\nrm \"$0\"\necho secret\n").unwrap();
    std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o700)).unwrap();
    let key = format!("IdentityFile {}", key.display());
    server.configure(&format!("{key}\nUserKnownHostsFile /dev/null\nStrictHostKeyChecking no"));
    let mut command = server.ssh(&["-v", "-N", "-oReconnect=yes", "-oReconnectMaxDelay=0", "h"]);
    command.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
    let mut client = Running::start(command);
    client.wait_for("Entering interactive session.");
    assert!(!askpass.exists());
    server.cut();
    client.wait_for("Reconnected to ");
}

/// Descriptors, threads and children.
fn holds(pid: u32) -> [usize; 3] {
    let count = |path: String| std::fs::read_dir(path).unwrap().count();
    let children = read(format!("/proc/{pid}/task/{pid}/children").as_ref()).split_whitespace().count();
    [count(format!("/proc/{pid}/fd")), count(format!("/proc/{pid}/task")), children]
}

#[test]
fn many_connections_leave_nothing_behind() {
    let Some(server) = Server::start("") else { return };
    let (service, port, far) = (serve_tcp("tcp:"), free_port(), free_port());
    let specs = [format!("{port}:127.0.0.1:{service}"), format!("{far}:127.0.0.1:{service}")];
    let proxy = format!("ProxyCommand=nc 127.0.0.1 {}", server.port);
    let mut ways = vec![(20, vec![])];
    if has_program("nc") {
        ways.push((5, vec!["-o", &proxy]));
    }
    for (times, way) in ways {
        let mut client = lasting(&server, &[&["-L", &specs[0], "-R", &specs[1]], &way[..]].concat());
        client.wait_for("remote forward success");
        assert_eq!(ask_tcp(port, b"x"), b"tcp:x");
        let pid = client.client_pid();
        let mut first = None;
        for n in 0..times {
            // One that is carried, so that it is cut off.
            let mut carried = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.wait_for("forwarding to 127.0.0.1");
            server.cut();
            client.wait_for("Reconnected to ");
            client.wait_for("remote forward success");
            // Whether it was joined or waited, nobody gets another's bytes.
            carried.shutdown(std::net::Shutdown::Write).unwrap();
            let mut got = Vec::new();
            // Cut off with something unread is a reset.
            let _ = carried.read_to_end(&mut got);
            assert!(got.is_empty() || got == b"tcp:", "{got:?}");
            assert_eq!(ask_tcp(port, b"y"), b"tcp:y", "{n}");
            if n == 1 {
                first = Some(holds(pid));
            }
        }
        let first = first.unwrap();
        wait_until("the last is as the first", || {
            holds(pid).iter().zip(first).all(|(now, then)| *now <= then)
        });
        let zombies = Command::new("pgrep").args(["-P", &pid.to_string(), "-r", "Z"]).output().unwrap();
        let zombies = String::from_utf8(zombies.stdout).unwrap().lines().count();
        assert!(zombies <= 2, "{zombies} zombies");
    }
}
