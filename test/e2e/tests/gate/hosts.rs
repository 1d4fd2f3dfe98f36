//! Where gates run: for a plain user, in a directory that root's tmpfiles gave her; behind dropbear; and in the place
//! of socat, whose own recipe runs beside it for the record.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sockward_test_e2e::support::{
    Client, Kind, Origin, Server, ServerSetup, Service, TempDir, User, free_port, has_program, sockward,
    users, wait_until,
};
use sockward_test_e2e::{access, alex_and_bob, as_root, names};

use crate::far::{Far, address, is_socket};

/// How many of so many requests, some at once, are answered right, each within a time.
fn right_answers(socket: &Path, at_once: usize, each: usize, patience: Option<Duration>) -> usize {
    let right = AtomicUsize::new(0);
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(patience)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer == "HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\nthe page")
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                for _ in 0..each {
                    right.fetch_add(usize::from(ask().unwrap_or(false)), Ordering::Relaxed);
                }
            });
        }
    });
    right.into_inner()
}

#[test]
fn a_plain_user_serves_a_thousand_where_socat_serves_few() {
    if !as_root() || !has_program("systemd-tmpfiles") || !has_program("socat") {
        return;
    }
    let (alex, bob) = alex_and_bob();
    let origin = Origin::tcp(Service::Page("the page"));
    // What an administrator writes in /etc/tmpfiles.d.
    let dir = TempDir::new();
    let given = dir.join("given");
    let line = format!("d {} 0711 {} {}\n", given.display(), alex.name, alex.name);
    let config = dir.write("tmpfiles.conf", line);
    let out = Command::new("systemd-tmpfiles").arg("--create").arg(&config).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let far = Far::new(&format!("--permit-listen {}/*.sock --mode 0666", given.display()));
    let socket = given.join("http.sock");
    let running = Client::new(Kind::Ours, &far.server)
        .run_by(alex, &far.server)
        .args(["-o", "Via=gate", "-R", &format!("{}:{}", socket.display(), address(&origin))])
        .forward();
    wait_until("the gate listens", || is_socket(&socket));
    assert_eq!(right_answers(&socket, 50, 20, None), 1000, "{}", running.log());
    let out = bob.command("curl").args(["-sS", "--unix-socket"]).arg(&socket).arg("http://x/").output();
    assert_eq!(out.unwrap().stdout, b"the page");
    drop(running);
    wait_until("the socket is gone", || names(&given).is_empty());

    // The same by socat, as it is written everywhere. Nothing is asserted: a request may or may not be lucky.
    let socket = given.join("socat.sock");
    let command = format!("socat UNIX-LISTEN:{},fork,unlink-early STDIO", socket.display());
    let setup = ServerSetup { key_options: format!("command=\"{command}\""), ..ServerSetup::default() };
    let server = Server::start(Kind::OpenSsh, &setup);
    let ssh = Client::new(Kind::OpenSsh, &server).args(["-T"]).command("forced-command");
    let words: Vec<_> = ssh.get_args().map(|word| word.to_string_lossy()).collect();
    let mut near = Command::new("socat")
        .arg(format!("EXEC:'ssh {}'", words.join(" ")))
        .arg(format!("TCP:{}", address(&origin)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("socat listens", || is_socket(&socket));
    let right = right_answers(&socket, 10, 2, Some(Duration::from_millis(500)));
    println!("for the record: of 20 requests, 10 at once, socat's recipe answered {right} right");
    let _ = near.kill();
    let _ = near.wait();
}

/// A dropbear whose every login runs one command.
struct Dropbear {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Dropbear {
    fn start(user: &User, key: &Path, command: &str) -> Dropbear {
        let dir = TempDir::new();
        // It knows one place for keys.
        let home = user.home.join(".ssh");
        let _ = std::fs::create_dir(&home);
        let keys = home.join("authorized_keys");
        std::fs::copy(key.with_extension("pub"), &keys).unwrap();
        for (path, mode) in [(&home, 0o700), (&keys, 0o600)] {
            access::own(path, user);
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let host_key = dir.join("host_key");
        let keygen = |args: &[&str]| {
            let out = Command::new("dropbearkey").args(args).arg("-f").arg(&host_key).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).unwrap()
        };
        keygen(&["-t", "ed25519"]);
        let public = keygen(&["-y"]);
        let public = public.lines().find(|line| line.starts_with("ssh-ed25519 ")).unwrap();
        let port = free_port();
        dir.write("known_hosts", format!("[127.0.0.1]:{port} {public}\n"));
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut child = Command::new("dropbear")
            .args(["-F", "-E", "-s", "-p", &format!("127.0.0.1:{port}"), "-c", command, "-r"])
            .arg(&host_key)
            .arg("-P")
            .arg(dir.join("pid"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        wait_until("dropbear listens", || {
            let said = std::fs::read_to_string(dir.join("log")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "{said}");
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Dropbear { child, port, dir }
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- log of dropbear ----\n{}",
                std::fs::read_to_string(self.dir.join("log")).unwrap()
            );
        }
    }
}

#[test]
fn a_gate_behind_dropbear() {
    if !as_root() || !has_program("dropbear") || !has_program("dropbearkey") {
        return;
    }
    let [alex, ..] = users();
    let origin = Origin::tcp(Service::Page("the page"));
    let dir = TempDir::new();
    access::own(dir.path(), alex);
    let key = sockward_test_e2e::support::key_pair(dir.path(), "key", "ed25519");
    // Quoted: the login's shell reads it.
    let gate = format!("{} gate --permit-listen '{}/*'", sockward().display(), dir.path().display());
    let server = Dropbear::start(alex, &key, &gate);
    let socket = dir.join("page.sock");
    let mut near = Command::new(sockward())
        .args(["ssh", "-F", "none", "-N", "-p", &server.port.to_string(), "-l", &alex.name, "-i"])
        .arg(&key)
        .args(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o"])
        .arg(format!("UserKnownHostsFile={}", server.dir.join("known_hosts").display()))
        .args(["-o", "Via=gate", "-o", "ExitOnForwardFailure=yes", "-R"])
        .arg(format!("{}:{}", socket.display(), address(&origin)))
        .arg("127.0.0.1")
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the gate listens", || {
        assert!(near.try_wait().unwrap().is_none(), "the near end has gone");
        is_socket(&socket)
    });
    assert_eq!(right_answers(&socket, 10, 10, None), 100);
    let _ = near.kill();
    let _ = near.wait();
    wait_until("the socket is gone", || !is_socket(&socket));
}
