//! `share` and `attach`, ForwardProbe and TargetOwner: alex shares, bob may use, eve may not; against our server, a
//! stock one and a gate.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sockward_test_e2e::access::{At, WORD, cast, own, reaches, root, server};
use sockward_test_e2e::support::{
    Kind, Origin, Server, ServerSetup, Service, User, has_program, sockward, wait_until,
};

/// A `share` or `attach` that runs in the background, with what it says.
struct Program {
    child: Child,
    said: PathBuf,
    log: PathBuf,
}

impl Program {
    fn start(server: &Server, name: &str, args: &[&str]) -> Program {
        let (said, log) = (server.dir.join(&format!("{name}.out")), server.dir.join(&format!("{name}.err")));
        let mut command = command(server, args);
        command.stdin(Stdio::null());
        command.stdout(File::create(&said).unwrap()).stderr(File::create(&log).unwrap());
        Program { child: command.spawn().unwrap(), said, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for its first line.
    #[track_caller]
    fn line(&mut self) -> String {
        wait_until("it says what is where", || {
            let over = self.child.try_wait().unwrap().is_some();
            assert!(!over, "it has ended: {}{}", self.said(), self.log());
            self.said().ends_with('\n')
        });
        self.said()
    }

    fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program's name first.
fn command(server: &Server, args: &[&str]) -> Command {
    let mut command = Command::new(sockward());
    let (name, args) = args.split_first().unwrap();
    let known_hosts = server.keys.known_hosts(server.dir.path(), server.port);
    command.arg(name).args(["-F", "none", "-p", &server.port.to_string(), "-i"]).arg(&server.keys.user);
    for option in ["IdentitiesOnly=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null"] {
        command.args(["-o", option]);
    }
    command.arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()));
    command.args(args).env_remove("SSH_AUTH_SOCK");
    command
}

/// Runs one that is to end by itself: its status, and all that it said.
fn refused(server: &Server, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(server, args).output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(255), "{args:?}: {text}");
    text
}

/// What a script reads: the values of `names` in each line of JSON.
fn read_json(lines: &str, names: &str) -> Vec<String> {
    let script = "import json,sys\nfor l in sys.stdin:\n  o=json.loads(l)\n  \
                  print('|'.join(str(o.get(n)) for n in sys.argv[1].split()))";
    let mut python = Command::new("python3");
    let mut python =
        python.args(["-c", script, names]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = python.wait_with_output().unwrap();
    assert!(out.status.success(), "not lines of JSON: {lines}");
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn at(user: &User, path: &Path) -> String {
    format!("{}@127.0.0.1:{}", user.name, path.display())
}

/// Where an `attach` without a place of its own listens.
fn attached_at(line: &str) -> At {
    let port = line.split(" at 127.0.0.1:").nth(1).and_then(|rest| rest.split(';').next());
    At::Port(port.unwrap_or_else(|| panic!("{line}")).parse().unwrap())
}

#[test]
fn a_service_is_shared_and_attached_by_those_who_may() {
    let Some([alex, bob, eve]) = cast() else { return };
    if !has_program("curl") || !has_program("python3") {
        return;
    }
    let server = server(&format!("StreamLocalBindMode 0666\nPermitPeer {}", bob.name), "");
    let origin = Origin::tcp(Service::Page(WORD));
    let path = server.dir.join("far/web.sock");
    let target = format!("127.0.0.1:{}", origin.port);
    let mut share = Program::start(&server, "share", &["share", "--json", &target, &at(alex, &path)]);
    let far = path.display();
    let names = "event program host target far may_connect use";
    let who = format!(
        "{}, the socket's group, every user (mode 0666), of those only {} (PermitPeer)",
        alex.name, bob.name
    );
    assert_eq!(
        read_json(&share.line(), names),
        [format!("listening|share|127.0.0.1|{target}|{far}|{who}|sockward attach 127.0.0.1:{far}")]
    );
    let mut attach = Program::start(&server, "attach", &["attach", &at(bob, &path)]);
    let line = attach.line();
    assert!(line.ends_with("; may connect: you and root\n"), "{line}");
    assert!(reaches(&root(), &attached_at(&line)), "{line}");
    assert!(!reaches(eve, &attached_at(&line)), "another user of this machine gets through");
    attach.stop();
    // eve may connect as far as files go; PermitPeer shows only when she does.
    let mut attach = Program::start(&server, "attach-eve", &["attach", &at(eve, &path)]);
    assert!(!reaches(&root(), &attached_at(&attach.line())));
    attach.stop();
    share.stop();
    assert_eq!(read_json(&share.said(), "event status").last().unwrap(), "end|0");
    wait_until("the socket is gone", || !path.exists());
}

#[test]
fn what_is_shared_is_so_again_after_the_server_was_away() {
    let Some([alex, ..]) = cast() else { return };
    if !has_program("curl") || !has_program("python3") {
        return;
    }
    let mut server = server("StreamLocalBindMode 0666", "");
    let origin = Origin::tcp(Service::Page(WORD));
    let path = server.dir.join("far/web.sock");
    let (target, at) = (format!("127.0.0.1:{}", origin.port), at(alex, &path));
    let mut share = Program::start(&server, "share", &["share", "--json", &target, &at]);
    share.line();
    let mut attach = Program::start(&server, "attach", &["attach", "--json", &at]);
    let port = read_json(&attach.line(), "local").remove(0);
    let port = At::Port(port.rsplit(':').next().unwrap().parse().unwrap());
    server.stop();
    server.restart();
    for program in [&share, &attach] {
        wait_until("it is connected again", || program.said().lines().count() == 3);
        assert_eq!(read_json(&program.said(), "event"), ["listening", "lost", "reconnected"]);
    }
    assert!(reaches(&root(), &port), "{}{}", share.log(), attach.log());
    attach.stop();
    share.stop();
}

#[test]
fn what_cannot_be_reached_is_refused_before_anybody_connects() {
    let Some([alex, _, eve]) = cast() else { return };
    let lines = format!("Match User {}\nPermitOpen none\nPermitListen none\nMatch all\n", eve.name);
    let server = server("", "");
    let strict = sockward_test_e2e::access::server(&lines, "");
    let path = server.dir.join("far/s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    own(&path, alex);
    listener.set_nonblocking(true).unwrap();
    let said = refused(&server, &["attach", &at(eve, &path)]);
    assert!(
        said.contains("ForwardProbe: the server cannot connect to") && said.contains("Permission denied")
    );
    let said = refused(&server, &["attach", "--json", &at(alex, &path.with_file_name("none"))]);
    assert!(said.contains("No such file or directory") && said.contains("\"event\":\"refused\""), "{said}");
    let said = refused(&strict, &["attach", &at(eve, &path)]);
    assert!(said.contains("PermitOpen") && !said.contains("Permission denied"), "{said}");
    let said = refused(&strict, &["share", "80", &at(eve, &path)]);
    assert!(said.contains("forwarding failed"), "{said}");
    // The near end: alex's service is not eve's to share.
    let said = refused(&server, &["share", "/nowhere/at/all", &at(alex, &server.dir.join("far/new"))]);
    assert!(said.contains("cannot connect to /nowhere/at/all"), "{said}");
    assert!(listener.accept().is_err(), "a probe has connected");
    let mut attach = Program::start(&server, "attach", &["attach", &at(alex, &path)]);
    attach.line();
    assert!(listener.accept().is_err(), "a probe has connected");
    attach.stop();
    let mut attach =
        Program::start(&server, "connect", &["attach", "-o", "ForwardProbe=connect", &at(alex, &path)]);
    attach.line();
    assert!(listener.accept().is_ok(), "connect does not connect");
    attach.stop();

    let stock = Server::start(Kind::OpenSsh, &ServerSetup::default());
    let mut attach = Program::start(&stock, "attach", &["attach", &at(alex, &path)]);
    assert!(attach.line().contains("shows when somebody does"), "{}", attach.said());
    assert!(attach.log().contains("this server cannot say whether it may connect"), "{}", attach.log());
    attach.stop();
    drop(listener);
    let said = refused(&stock, &["attach", "-o", "ForwardProbe=connect", &at(alex, &path)]);
    assert!(said.contains("ForwardProbe: the server cannot connect"), "{said}");
}

#[test]
fn a_socket_that_another_user_took_first_is_not_reached() {
    let Some([alex, bob, eve]) = cast() else { return };
    if !has_program("curl") {
        return;
    }
    let server = server("StreamLocalBindMode 0666", "");
    let far = server.dir.join("far");
    std::fs::set_permissions(&far, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let path = far.join("web.sock");
    let origin = Origin::tcp(Service::Page(WORD));
    let target = format!("127.0.0.1:{}", origin.port);
    let share = |name, who| {
        let mut share = Program::start(&server, name, &["share", &target, &at(who, &path)]);
        share.line();
        share
    };
    let through = |name, owner: &str| {
        let args = ["attach", "--owner", owner, &at(bob, &path)];
        let mut attach = Program::start(&server, name, &args);
        let place = attached_at(&attach.line());
        let through = reaches(&root(), &place);
        (through, attach.log())
    };
    let mut eves = share("eve", eve);
    let (is_through, log) = through("wrong", &alex.name);
    assert!(!is_through && log.contains("another user listens there (TargetOwner)"), "{log}");
    let (is_through, log) = through("nobody", "no-such-user-here");
    assert!(!is_through && log.contains("no such user"), "{log}");
    eves.stop();
    wait_until("the socket is gone", || !path.exists());
    let _alexs = share("alex", alex);
    for owner in [alex.name.clone(), alex.uid.to_string()] {
        assert!(through("right", &owner).0, "{owner}");
    }
    let said = refused(&server, &["attach", "--owner", &alex.name, &format!("{}@127.0.0.1:80", bob.name)]);
    assert!(said.contains("TargetOwner holds for sockets"), "{said}");

    let stock = Server::start(Kind::OpenSsh, &ServerSetup::default());
    let said = refused(&stock, &["attach", "--owner", &alex.name, &at(bob, &path)]);
    assert!(said.contains("it cannot be known who listens"), "{said}");
}

#[test]
fn a_gate_answers_as_a_server_does() {
    let Some([alex, bob, eve]) = cast() else { return };
    if !has_program("curl") {
        return;
    }
    // The gate comes with this very binary, wherever the far shell finds others.
    let gate = |flags: &str| {
        let key_options = format!("command=\"{} gate {flags}\",restrict", sockward().display());
        Server::start(Kind::OpenSsh, &ServerSetup { key_options, ..ServerSetup::default() })
    };
    let far = gate("--permit-any --mode 0666");
    let dir = far.dir.join("far");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let path = dir.join("web.sock");
    let origin = Origin::tcp(Service::Page(WORD));
    let target = format!("127.0.0.1:{}", origin.port);
    let args = ["share", "--via", "gate", "--mode", "0666", &target, &at(alex, &path)];
    let mut share = Program::start(&far, "share", &args);
    let line = share.line();
    assert!(line.contains("every user (mode 0666)"), "{line}");
    for (owner, right) in [(alex, true), (eve, false)] {
        let args = ["attach", "--via", "gate", "--owner", &owner.name, &at(bob, &path)];
        let mut attach = Program::start(&far, "attach", &args);
        let place = attached_at(&attach.line());
        assert_eq!(reaches(&root(), &place), right, "{}", attach.log());
    }
    let strict = gate("--permit-open /somewhere/else");
    let said = refused(&strict, &["attach", "--via=gate", &at(bob, &path)]);
    assert!(said.contains("ForwardProbe: the server cannot connect to"), "{said}");
}
