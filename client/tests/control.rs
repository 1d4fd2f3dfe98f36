//! Control connections: masters, sessions and forwardings over them, and how they end.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::{Command, Stdio};

use common::pty::Person;
use common::{Ended, Running, Server, ask_tcp, free_port, pattern, serve_tcp, wait_until};
use sockward_test_support::missing;

/// A server, and a configuration whose ControlPath is a socket beside it.
fn server(lines: &str) -> Option<Server> {
    let server = Server::start("AcceptEnv SENT")?;
    server.configure(&format!("ControlPath {}\n{lines}", server.path("ctl").display()));
    Some(server)
}

/// A master in the background. It ends with the value.
struct Master<'s>(&'s Server);

impl<'s> Master<'s> {
    fn start(server: &'s Server, arguments: &[&str]) -> Master<'s> {
        let all = [&["-M", "-N", "-f"], arguments, &["h"]].concat();
        let status = server.ssh(&all).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success());
        Master(server)
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["-O", "exit", "h"]);
    }
}

/// The connections that the server has seen.
fn logins(server: &Server) -> usize {
    server.log().matches("Accepted publickey").count()
}

#[test]
fn sessions_over_one_connection() {
    let Some(server) = server("") else { return };
    let master = Master::start(&server, &[]);
    let metadata = std::fs::symlink_metadata(server.path("ctl")).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let ended = server.run(&["h", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ended.code(), ended.out().as_str(), ended.stderr.as_str()), (Some(7), "out\n", "err\n"));
    let mut command = server.ssh(&["-o", "SendEnv=SENT", "h", "echo $SENT; kill -9 $$"]);
    let ended = Ended::of({
        command.env("SENT", "variable");
        command
    });
    assert_eq!((ended.code(), ended.out().as_str()), (Some(255), "variable\n"));

    let bytes = pattern(9, 16 << 20);
    let mut child = server.ssh(&["h", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sender = std::thread::spawn({
        let bytes = bytes.clone();
        move || stdin.write_all(&bytes).unwrap()
    });
    let mut back = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    assert!(child.wait().unwrap().success() && back == bytes);

    let many: Vec<_> =
        (0..20).map(|n| (n, Running::start(server.ssh(&["h", &format!("echo {n}; exit {n}")])))).collect();
    for (n, running) in many {
        let ended = running.end();
        assert_eq!((ended.code(), ended.out()), (Some(n), format!("{n}\n")));
    }
    assert_eq!(logins(&server), 1);
    drop(master);
    wait_until("the socket's end", || !server.path("ctl").exists());
    assert_eq!(server.run(&["h", "echo alone"]).well(), "alone\n");
    assert_eq!(logins(&server), 2);
}

#[test]
fn what_is_typed_after_a_session_is_not_the_master_s() {
    let Some(server) = server("") else { return };
    let _master = Master::start(&server, &[]);
    let (stdin, mut typed) = std::io::pipe().unwrap();
    let mut command = server.ssh(&["h", "head -n 1"]);
    command.stdin(stdin.try_clone().unwrap()).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    typed.write_all(b"first\n").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.stdout, b"first\n");
    typed.write_all(b"second\n").unwrap();
    drop((typed, command));
    let mut left = String::new();
    let mut stdin = stdin;
    stdin.read_to_string(&mut left).unwrap();
    assert_eq!(left, "second\n");
}

#[test]
fn a_terminal_session_over_a_master() {
    let Some(server) = server("") else { return };
    let _master = Master::start(&server, &[]);
    let mut person = Person::start(&server.ssh(&[
        "-t",
        "h",
        "stty size; trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 0.1; done",
    ]));
    person.sees("40 100");
    person.sees("ready");
    assert!(!person.echoes(), "raw mode");
    person.resize(77, 11);
    person.sees("11 77");
    let (status, rest) = person.ends();
    assert_eq!(status.code(), Some(6));
    assert!(rest.contains("Shared connection to 127.0.0.1 closed."), "{rest:?}");
    // Who goes away takes the session along, and the terminal is as before.
    let mut person = Person::start(&server.ssh(&["-t", "h", "echo ready; cat"]));
    person.sees("ready");
    person.types("\r~.");
    person.sees("~.\r\n");
    let (status, rest) = person.ends();
    assert_eq!(status.code(), Some(255));
    assert!(rest.contains("Shared connection to 127.0.0.1 closed."), "{rest:?}");
}

#[test]
fn escapes_of_a_terminal_session_over_a_master() {
    let Some(server) = server("") else { return };
    let master_log = server.path("master.log");
    let _master = Master::start(&server, &["-E", master_log.to_str().unwrap()]);
    let mut person = Person::start(&server.ssh(&["-t", "-e", "%", "h", "echo ready; cat"]));
    person.sees("ready");
    // For the person at the session, not for whoever started the master.
    person.types("%?");
    let help = person.sees("only recognized immediately after newline.)\r\n");
    assert!(help.contains("%.   - terminate session") && !help.contains("^Z"), "{help:?}");
    person.types("%#");
    person.sees("The following connections are open:");
    for (typed, said) in [("\u{1a}", "^Z"), ("v", "v"), ("&", "&"), ("C", "C")] {
        person.types(&format!("%{typed}"));
        person.sees(&format!("%{said} escape not available to multiplexed sessions\r\n"));
    }
    person.types("%B");
    person.sees("%B\r\n");
    wait_until("the server gets the break", || server.log().contains(" request break reply 0"));
    let exchanges = || server.log().matches("rekey in after").count();
    let before = exchanges();
    person.types("%R");
    wait_until("other keys", || exchanges() > before);
    person.types("%%b\r~c\r");
    for _ in ["the terminal's echo", "the command"] {
        person.sees("%b\r\n");
    }
    person.types("\u{4}");
    let (status, rest) = person.ends();
    assert!(status.success(), "{rest:?}");
    assert!(!common::read(&master_log).contains('%'));
}

#[test]
fn forwardings_come_and_go() {
    let Some(server) = server("") else { return };
    let _master = Master::start(&server, &[]);
    let service = serve_tcp("it:");
    let (a, b) = (free_port(), free_port());
    let (local, remote) = (format!("{a}:127.0.0.1:{service}"), format!("{b}:127.0.0.1:{service}"));
    for (flag, spec, port) in [("-L", &local, a), ("-R", &remote, b)] {
        server.run(&["-O", "forward", flag, spec, "h"]).well();
        server.run(&["-O", "forward", flag, spec, "h"]).well();
        assert_eq!(ask_tcp(port, b"x"), b"it:x", "{flag}");
        server.run(&["-O", "cancel", flag, spec, "h"]).well();
        wait_until("the listener's end", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        assert_eq!(server.run(&["-O", "cancel", flag, spec, "h"]).code(), Some(255));
    }
    let chosen = server.run(&["-O", "forward", "-R", &format!("0:127.0.0.1:{service}"), "h"]);
    assert_eq!(ask_tcp(chosen.out().trim().parse().unwrap(), b"y"), b"it:y");
    // A session brings its forwardings along; relative sockets are the client's.
    let mut command = server.ssh(&["-L", &format!("unix:near:127.0.0.1:{service}"), "h", "echo in"]);
    command.current_dir(server.dir.path());
    assert_eq!(Ended::of(command).well(), "in\n");
    assert_eq!(common::ask_unix(&server.path("near"), b"z"), b"it:z");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("127.0.0.1:{}:h:1", taken.local_addr().unwrap().port());
    server
        .run(&["-o", "ExitOnForwardFailure=yes", "-L", &spec, "h", "true"])
        .failed("Port forwarding failed");
    let mut command = server.ssh(&["-W", &format!("127.0.0.1:{service}"), "h"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"w").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"it:w");
    assert_eq!(logins(&server), 1);
}

#[test]
fn the_master_stays_as_long_as_it_is_told() {
    let Some(server) = server("ControlMaster auto\nControlPersist yes") else { return };
    let ended = server.run(&["h", "echo first; exit 3"]);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(3), "first\n"), "{}", ended.stderr);
    assert_eq!(server.run(&["h", "echo second"]).well(), "second\n");
    assert_eq!(logins(&server), 1);
    let check = server.run(&["-O", "check", "h"]);
    assert!(check.code() == Some(0) && check.stderr.starts_with("Master running (pid="), "{}", check.stderr);
    // Stopped, it serves those who are there and nobody new.
    let mut running = Running::start(server.ssh(&["h", "echo in; sleep 1; exit 5"]));
    running.child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(server.run(&["-O", "stop", "h"]).stderr, "Stop listening request sent.\r\n");
    wait_until("the socket's end", || !server.path("ctl").exists());
    assert_eq!(running.end().code(), Some(5));
    server.run(&["-O", "check", "h"]).failed("Control socket connect(");
    wait_until("the master's end", || {
        server.log().contains("Disconnected from user") || server.log().contains("disconnected by user")
    });
    // For a time only.
    assert_eq!(server.run(&["-o", "ControlPersist=1", "h", "echo third"]).well(), "third\n");
    assert!(server.path("ctl").exists());
    wait_until("the master's end", || !server.path("ctl").exists());
    server.run(&["-f", "h", "true"]).well();
    server.run(&["-O", "exit", "h"]);
    // A login that fails keeps nothing behind.
    server
        .run(&["-o", "BatchMode=yes", "-o", "PubkeyAuthentication=no", "h", "true"])
        .failed("Permission denied");
    assert!(!server.path("ctl").exists());
}

#[test]
fn a_master_waits_for_the_sessions_of_others() {
    let Some(server) = server("") else { return };
    let mut own = Running::start(server.ssh(&["-M", "h", "echo in; read x; exit 2"]));
    own.child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    let other = Running::start(server.ssh(&["h", "sleep 1; echo late; exit 4"]));
    let ended = other.end();
    assert_eq!((ended.code(), ended.out().as_str()), (Some(4), "late\n"), "{}", ended.stderr);
    assert_eq!(own.end().code(), Some(2));
}

#[test]
fn sockets_that_are_left_over_or_taken() {
    let Some(server) = server("") else { return };
    drop(common::tool(
        "python3",
        &[
            "-c",
            &format!(
                "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind('{}'); s.listen()",
                server.path("ctl").display()
            ),
        ],
    ));
    let ended = server.run(&["h", "echo in"]);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "in\n"));
    let master = Master::start(&server, &[]);
    assert_eq!(server.run(&["h", "echo over"]).well(), "over\n");
    let second = server.run(&["-M", "h", "echo second"]);
    assert_eq!((second.code(), second.out().as_str()), (Some(0), "second\n"));
    assert!(second.stderr.contains("already exists, disabling multiplexing"), "{}", second.stderr);
    server.run(&["-O", "check", "h"]);
    drop(master);
    wait_until("the socket's end", || !server.path("ctl").exists());
    std::fs::write(server.path("ctl"), "a file").unwrap();
    let ended = server.run(&["-M", "h", "echo in"]);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "in\n"));
    assert_eq!(std::fs::read(server.path("ctl")).unwrap(), b"a file", "never removed");
}

#[test]
fn a_session_by_command_uses_the_master_s_connection_or_none() {
    let Some(server) = server("") else { return };
    let proxy = ["-O", "proxy", "h", "echo in; exit 4"];
    server.run(&proxy).failed("No such file or directory");
    let master = Master::start(&server, &[]);
    let ended = server.run(&proxy);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(4), "in\n"), "{}", ended.stderr);
    assert_eq!(logins(&server), 1);
    drop(master);
    wait_until("the socket's end", || !server.path("ctl").exists());

    // A stock master speaks another protocol.
    let config = server.path("config");
    let stock = || {
        let mut command = Command::new(sockward_test_support::stock("ssh"));
        command.arg("-F").arg(&config).env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(stock().args(["-M", "-N", "-f", "h"]).status().unwrap().success());
    server.run(&proxy).failed("its master is another program");
    assert_eq!(server.run(&["h", "echo past it"]).out(), "past it\n");
    assert!(stock().args(["-O", "exit", "h"]).status().unwrap().success());
}

#[test]
fn however_a_client_at_a_terminal_ends_the_terminal_is_as_before() {
    let Some(server) = server("") else { return };
    let killed = |person: &Person, signal: &str| {
        // `timeout` stands before the client.
        common::tool("pkill", &[&format!("-{signal}"), "-P", &person.id().to_string()]);
    };
    for (way, over_master) in [("own", false), ("shared", true)] {
        for end in ["TERM", "HUP", "INT", "QUIT", "server"] {
            let master = over_master.then(|| Master::start(&server, &[]));
            let mut person = Person::start(&server.ssh(&["-t", "h", "echo ready; exec cat"]));
            person.sees("ready");
            assert!(!person.echoes(), "{way}, {end}: raw mode");
            match end {
                "server" => server.cut(),
                signal => killed(&person, signal),
            }
            wait_until(&format!("{way}, {end}: a terminal that echoes"), || person.echoes());
            assert_ne!(person.ends().0.code(), Some(0), "{way}, {end}");
            drop(master);
            wait_until("the socket's end", || !server.path("ctl").exists());
        }
    }
}

#[test]
fn nobody_else_uses_the_master() {
    let Some(server) = server("") else { return };
    if common::user() != "root" {
        assert!(missing("only root can be somebody else"));
        return;
    }
    let _master = Master::start(&server, &[]);
    for path in [server.dir.path().to_owned(), server.path("ctl"), server.path("config")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65533", "--clear-groups", "timeout", "60"]).arg(common::client());
    command.args(["-F", "none", "-S", server.path("ctl").to_str().unwrap(), "-O", "check", "root@h"]);
    let ended = Ended::of(command);
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("Master running"), "{}", ended.stderr);
}

#[test]
fn a_master_that_asks_does_nothing_without_leave() {
    let Some(server) = server("") else { return };
    let (program, asked, answer) = (server.path("askpass"), server.path("asked"), server.path("answer"));
    // What is said, and with what status, is in a file; without one nobody answers for a while.
    let script = format!(
        "#!/bin/sh\necho \"$SSH_ASKPASS_PROMPT: $1\" >>{}\nuntil [ -e {1} ]; do sleep 0.05; done\n. {1}\n",
        asked.display(),
        answer.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(&answer, "echo; exit 0\n").unwrap();
    let mut command = server.ssh(&["-o", "ControlMaster=ask", "-N", "-f", "h"]);
    command.env("SSH_ASKPASS", &program).env("SSH_ASKPASS_REQUIRE", "force");
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let master = Master(&server);

    assert_eq!(server.run(&["h", "echo in"]).well(), "in\n");
    assert_eq!(common::read(&asked), "confirm: Allow shared connection to 127.0.0.1? \n");
    assert_eq!(server.run(&["-O", "check", "h"]).code(), Some(0));
    for refusal in ["exit 1", "echo no; exit 0", "echo yes; exit 1"] {
        std::fs::write(&answer, refusal).unwrap();
        server.run(&["h", "echo in"]).failed("Permission denied");
        server.run(&["-O", "forward", "-L", "1:h:1", "h"]).failed("Permission denied");
        server.run(&["-O", "exit", "h"]).failed("Permission denied");
    }
    // One who gives up while the user thinks is forgotten; the next one is asked about.
    std::fs::remove_file(&answer).unwrap();
    let mark = server.path("mark");
    let mut waiting = server.ssh(&["h", &format!("touch {}", mark.display())]).spawn().unwrap();
    wait_until("the question", || common::read(&asked).lines().count() == 11);
    common::tool("pkill", &["-KILL", "-P", &waiting.id().to_string()]);
    waiting.wait().unwrap();
    std::fs::write(&answer, "echo yes\n").unwrap();
    assert_eq!(server.run(&["h", "echo in"]).well(), "in\n");
    assert!(!mark.exists());
    drop(master);
    wait_until("the end of the master", || !server.path("ctl").exists());
}
