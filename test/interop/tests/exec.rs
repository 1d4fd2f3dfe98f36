//! Commands: status, signals, the three streams, environment, and how a session ends.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::process::Stdio;

use sockward_test_interop::support::{Client, Kind, Origin, Running, Server, ServerSetup, wait_until};
use sockward_test_interop::{Pair, scenarios};

scenarios![
    status_and_streams,
    killed_by_a_signal,
    input_to_the_end,
    output_nobody_reads,
    a_command_that_outlives_its_output,
    environment,
    a_forced_command,
    a_subsystem,
    the_login_shell,
    an_unknown_key,
];

fn status_and_streams(pair: Pair) {
    let server = pair.server();
    for status in [0, 1, 7, 255] {
        let out = Client::new(pair.client, &server).run(&format!("echo out; echo err >&2; exit {status}"));
        assert_eq!(out.status.code(), Some(status));
        assert_eq!((out.stdout, out.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    }
}

fn killed_by_a_signal(pair: Pair) {
    let server = pair.server();
    let out = Client::new(pair.client, &server).run("kill -TERM $$; sleep 10");
    assert_eq!(out.status.code(), Some(255));
}

fn input_to_the_end(pair: Pair) {
    let server = pair.server();
    let bytes = Origin::pattern(5, 8 << 20);
    let mut command = Client::new(pair.client, &server).command("cat; echo done >&2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let thread = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let out = child.wait_with_output().unwrap();
    thread.join().unwrap();
    assert!(out.stdout == bytes);
    assert_eq!(out.stderr, b"done\n");
}

/// `yes | head`: the reader goes, the writer is told, nothing hangs.
///
/// OpenSSH's client tells only servers that call themselves OpenSSH (nchan.c); from any other it takes what the
/// command has to say to the end. So the command has an end there.
fn output_nobody_reads(pair: Pair) {
    let server = pair.server();
    let told = pair.client == Kind::Ours || pair.server == Kind::OpenSsh;
    let writer = if told { "yes" } else { "yes | head -c 20000000" };
    // The second has closed its stderr, whose end is otherwise the last that is heard of it.
    for remote in [writer.to_owned(), format!("exec 2>&-; {writer}")] {
        let mut command = Client::new(pair.client, &server).command(&remote);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 4000]).unwrap();
        drop(output);
        child.wait().unwrap();
    }
}

fn a_command_that_outlives_its_output(pair: Pair) {
    let server = pair.server();
    let out = Client::new(pair.client, &server).run("exec 1>&- 2>&-; sleep 0.3; exit 9");
    assert_eq!(out.status.code(), Some(9));
}

fn environment(pair: Pair) {
    let server = pair.server_with(&ServerSetup::with("AcceptEnv LC_TEST\nSetEnv FIXED=here\n"));
    let client = Client::new(pair.client, &server).args(["-o", "SetEnv=LC_TEST=given OTHER=refused"]);
    let out = client.run("echo \"$LC_TEST|$OTHER|$FIXED|$USER|$HOME\"; set -- $SSH_CONNECTION; echo $#");
    let user = &server.user;
    let expected = format!("given||here|{}|{}\n4\n", user.name, user.home.display());
    assert_eq!(String::from_utf8(out.stdout).unwrap(), expected);
    // Variables are sent by system-wide configurations: nobody wants to hear of each that is refused.
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
}

fn a_forced_command(pair: Pair) {
    let options = "command=\"echo forced: $SSH_ORIGINAL_COMMAND\"".to_owned();
    let server = pair.server_with(&ServerSetup { key_options: options, ..ServerSetup::default() });
    let out = Client::new(pair.client, &server).run("id");
    assert_eq!(out.stdout, b"forced: id\n");
    let server = pair.server_with(&ServerSetup::with("ForceCommand echo by configuration\n"));
    let out = Client::new(pair.client, &server).run("id");
    assert_eq!(out.stdout, b"by configuration\n");
}

fn a_subsystem(pair: Pair) {
    let server = pair.server_with(&ServerSetup::with("Subsystem hello echo hello from a subsystem\n"));
    let out = Client::new(pair.client, &server).args(["-s"]).run("hello");
    assert_eq!(out.stdout, b"hello from a subsystem\n");
    let out = Client::new(pair.client, &server).args(["-s"]).run("unknown");
    assert_ne!(out.status.code(), Some(0));
}

fn the_login_shell(pair: Pair) {
    let server = pair.server();
    let mut command = Client::new(pair.client, &server).args(["-T"]).command("");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo $0; pwd; exit 5\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with('-'), "not a login shell: {text}");
    assert!(text.contains(server.user.home.to_str().unwrap()), "{text}");
    assert_eq!(out.status.code(), Some(5));
}

fn an_unknown_key(pair: Pair) {
    let server = pair.server();
    std::fs::write(&server.keys.authorized, "").unwrap();
    let out = Client::new(pair.client, &server).run("true");
    assert_eq!(out.status.code(), Some(255));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("Permission denied (publickey"), "{text}");
}

/// A connection of stock ssh that others share. Its log is a client's at `-v`.
struct Master<'a> {
    server: &'a Server,
    running: Running,
}

impl<'a> Master<'a> {
    fn start(server: &'a Server) -> Self {
        let client = Client::new(Kind::OpenSsh, server).args(["-M", "-S"]).args([server.dir.join("ctl")]);
        let master = Master { server, running: client.forward() };
        wait_until("others can share the connection", || master.server.dir.join("ctl").exists());
        master
    }

    /// One that uses it, and cannot do without.
    fn client(&self) -> Client {
        let client = Client::new(Kind::OpenSsh, self.server).args(["-o", "ProxyCommand=false", "-S"]);
        client.args([self.server.dir.join("ctl")])
    }

    fn status(&self, remote: &str) -> Option<i32> {
        self.client().run(remote).status.code()
    }
}

/// Stock ssh closes a shared connection's channel when both directions have ended, whether or not it knows how the
/// command has.
fn over_a_shared_connection(server: Kind) {
    let server = Server::start(server, &ServerSetup::default());
    let master = Master::start(&server);
    for status in [0, 1, 3, 254] {
        for remote in [
            format!("exit {status}"),
            format!("exec >&- 2>&-; exit {status}"),
            format!("exec <&- >&- 2>&-; sleep 0.3; exit {status}"),
            format!("exec >&- 2>&-; cat; sleep 0.1; exit {status}"),
        ] {
            assert_eq!(master.status(&remote), Some(status), "{remote}");
        }
    }
    let out = master.client().run("echo out; echo err >&2; exec >&- 2>&-; sleep 0.2; exit 5");
    assert_eq!((out.status.code(), &*out.stdout, &*out.stderr), (Some(5), &b"out\n"[..], &b"err\n"[..]));
    // With a terminal.
    let out = master.client().args(["-tt"]).run("echo out; exit 6");
    assert_eq!((out.status.code(), out.stdout.trim_ascii_end()), (Some(6), &b"out"[..]));
    // Stock ssh ends with 255 for a signal, whichever, and for a status that has not come.
    for (n, signal) in ["TERM", "KILL"].into_iter().enumerate() {
        assert_eq!(master.status(&format!("exec >&- 2>&-; sleep 0.2; kill -{signal} $$")), Some(255));
        wait_until("the signal is told", || master.running.log().matches("rtype exit-signal").count() > n);
    }
    // Many at once.
    let run = |status: i32| {
        let mut command = master.client().command(&format!("exec >&- 2>&-; sleep 0.3; exit {status}"));
        (status, command.stdin(Stdio::null()).spawn().unwrap())
    };
    let many: Vec<_> = (10..30).map(run).collect();
    for (status, mut child) in many {
        assert_eq!(child.wait().unwrap().code(), Some(status));
    }
}

#[test]
fn stock_ssh_shares_a_connection_to_ours() {
    over_a_shared_connection(Kind::Ours);
}

#[test]
fn stock_ssh_shares_a_connection_to_stock_sshd() {
    over_a_shared_connection(Kind::OpenSsh);
}

/// Commands that go on after their clients have closed: each counts until it ends, and its channel with it.
fn what_is_closed_and_runs_counts(server: Kind) {
    let server = Server::start(server, &ServerSetup::with("MaxSessions 2\n"));
    let master = Master::start(&server);
    let far = server.dir.join("far");
    std::fs::create_dir(&far).unwrap();
    let _ = std::process::Command::new("chown").arg(&server.user.name).arg(&far).status();
    let mut left = Vec::new();
    // One with a terminal, one without.
    for (name, tty) in [("a", "-T"), ("b", "-tt")] {
        let file = far.join(name);
        let remote = format!("trap '' HUP; echo $$ >{}; exec sleep 1000 >&- 2>&-", file.display());
        let mut command = master.client().args([tty]).command(&remote);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_until("it runs", || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
        child.kill().unwrap();
        child.wait().unwrap();
        left.push(std::fs::read_to_string(&file).unwrap().trim().to_owned());
    }
    for _ in 0..20 {
        assert_eq!(master.status("exit 3"), Some(255), "more than MaxSessions");
    }
    assert!(std::process::Command::new("kill").args(&left).status().unwrap().success());
    wait_until("they make room", || master.status("exit 3") == Some(3));
    for _ in 0..20 {
        assert_eq!(master.status("exec >&- 2>&-; exit 4"), Some(4), "one has ended before the next begins");
    }
}

#[test]
fn what_is_closed_and_runs_counts_with_ours() {
    what_is_closed_and_runs_counts(Kind::Ours);
}

#[test]
fn what_is_closed_and_runs_counts_with_stock_sshd() {
    what_is_closed_and_runs_counts(Kind::OpenSsh);
}

/// `nc -N`: the identification is there for whoever reads, whether or not it will say anything.
#[test]
fn who_ends_its_direction_at_once_gets_the_identification() {
    for kind in [Kind::Ours, Kind::OpenSsh] {
        let server = Server::start(kind, &ServerSetup::default());
        for _ in 0..10 {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            let line = said.split(|&b| b == b'\n').next().unwrap();
            assert!(line.starts_with(b"SSH-2.0-") && line.ends_with(b"\r"), "{kind:?}: {said:?}");
        }
    }
}

#[test]
fn who_does_not_speak_ssh_is_told_so() {
    for kind in [Kind::Ours, Kind::OpenSsh] {
        let server = Server::start(kind, &ServerSetup::default());
        for (says, answer) in [
            ("\n", "Invalid SSH identification string.\r\n"),
            ("GET / HTTP/1.0\n", "Invalid SSH identification string.\r\n"),
            ("SSH-1.5-x\n", "Protocol major versions differ.\r\n"),
        ] {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
            stream.write_all(says.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            assert!(said.starts_with(b"SSH-2.0-") && said.ends_with(answer.as_bytes()), "{kind:?}: {said:?}");
        }
    }
}
