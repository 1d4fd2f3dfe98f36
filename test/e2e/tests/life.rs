//! A server's life: SIGHUP takes a new configuration and keeps what there is; a bad one changes nothing.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use sockward_test_e2e::support::{
    Client, Kind, Origin, Server, ServerSetup, Service, free_port, wait_for, wait_until,
};
use sockward_test_e2e::{alex_and_bob, as_root, directory, names};

/// A session whose command answers line by line.
struct Talk {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Talk {
    fn start(server: &Server) -> Self {
        let mut command = Client::new(Kind::Ours, server).command("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Talk { child, output }
    }

    fn answers(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), text);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn echoes(mut stream: impl Read + Write) {
    stream.write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn hang_up(server: &Server) {
    assert!(Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap().success());
}

#[test]
fn a_reload_keeps_sessions_and_forwardings() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    let dir = directory(&server, "far", alex, 0o755);
    let (origin, port, path) = (Origin::tcp(Service::Echo), free_port(), dir.join("s"));
    let local = format!("{port}:127.0.0.1:{}", origin.port);
    let remote = format!("{}:127.0.0.1:{}", path.display(), origin.port);
    let mut client = Client::new(Kind::Ours, &server).args(["-L", &local, "-R", &remote]).forward();
    wait_for(&path);
    wait_until("the port listens", || listens(port));
    let (mut held, mut talk) = (UnixStream::connect(&path).unwrap(), Talk::start(&server));
    talk.answers("before");
    let socket = path.symlink_metadata().unwrap().ino();
    // Somebody who has said nothing yet.
    let mut waiting = TcpStream::connect(("127.0.0.1", server.port)).unwrap();

    let (pid_file, old) = (server.dir.join("pid"), server.port);
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    std::fs::remove_file(&pid_file).unwrap();
    let other = free_port();
    let text = std::fs::read_to_string(server.config()).unwrap();
    let text = text.replace(&format!("Port {old}\n"), &format!("Port {other}\n"));
    std::fs::write(server.config(), format!("ForceCommand echo forced\n{text}")).unwrap();
    hang_up(&server);
    wait_for(&pid_file);
    wait_until("it listens anew", || listens(other));
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), pid);
    assert!(!listens(old), "the old port stays");

    talk.answers("after");
    echoes(&mut held);
    echoes(UnixStream::connect(&path).unwrap());
    echoes(TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert_eq!(path.symlink_metadata().unwrap().ino(), socket);
    let mut version = [0; 7];
    waiting.read_exact(&mut version).unwrap();
    assert_eq!(&version, b"SSH-2.0");
    assert!(client.ended().is_none());
    // Who comes now finds the new configuration.
    let key = format!("HostKeyAlias=[127.0.0.1]:{old}");
    let args = ["-p".to_owned(), other.to_string(), "-o".to_owned(), key];
    let out = forced(&server, &args);
    assert_eq!(out, "forced\n");
}

/// With these arguments ahead of the others: the first value of an option holds.
fn forced(server: &Server, args: &[String]) -> String {
    let command = Client::new(Kind::OpenSsh, server).command("true");
    let mut ahead = Command::new(command.get_program());
    ahead
        .args(args)
        .args(command.get_args().filter(|a| *a != "-p" && *a != server.port.to_string().as_str()));
    let out = ahead.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

#[test]
fn a_reload_with_a_fault_changes_nothing() {
    if !as_root() {
        return;
    }
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    let mut talk = Talk::start(&server);
    talk.answers("before");
    let text = std::fs::read_to_string(server.config()).unwrap();
    for fault in ["NoSuchKeyword yes\n", "PermitListen /%x\n", "Port 70000\n"] {
        std::fs::write(server.config(), format!("{fault}ForceCommand echo forced\n{text}")).unwrap();
        let said = server.log().matches("reload failed").count();
        hang_up(&server);
        wait_until("the fault is said", || server.log().matches("reload failed").count() > said);
        talk.answers("after");
        let out = Client::new(Kind::OpenSsh, &server).run("echo as before");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "as before\n", "{fault}");
    }
}

#[test]
fn the_end_of_the_server_takes_its_files_along() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    for name in ["TERM", "INT", "QUIT"] {
        let mut server = Server::start(Kind::Ours, &ServerSetup::default());
        let dir = directory(&server, "far", alex, 0o755);
        let remote = format!("{}:127.0.0.1:9", dir.join("s").display());
        let mut client = Client::new(Kind::Ours, &server).args(["-R", &remote]).forward();
        wait_for(&dir.join("s"));
        assert!(
            Command::new("kill").args(["-s", name, &server.pid().to_string()]).status().unwrap().success()
        );
        assert_eq!(client.wait().code(), Some(255));
        server.wait();
        assert!(names(&dir).is_empty() && !server.dir.join("pid").exists(), "SIG{name}");
    }
}

/// What ssh sends its ProxyCommand at the end: a server for one connection ends, and never comes to listen.
#[test]
fn a_server_of_one_connection_ends_when_it_is_hung_up() {
    if !as_root() {
        return;
    }
    for kind in [Kind::OpenSsh, Kind::Ours] {
        let mut server = Server::start(kind, &ServerSetup::default());
        server.stop();
        let mut child = server.inetd().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("SSH-2.0-"), "{line}");
        assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
        wait_until("the end of the server", || {
            assert!(!listens(server.port), "{kind:?}");
            child.try_wait().unwrap().is_some()
        });
    }
}
