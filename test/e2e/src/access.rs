//! alex shares, bob may use, eve may not: sharing a page at a place, and who gets through to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::support;
use crate::support::{Client, Kind, Running, Server, ServerSetup, User, is_root, missing, users};

/// The clients that each row of a table is tried with.
pub const CLIENTS: [Kind; 2] = [Kind::Ours, Kind::OpenSsh];

/// What the origin says to whoever gets through.
pub const WORD: &str = "through";

/// alex, bob and eve, where the test may run: as root.
#[must_use]
pub fn cast() -> Option<&'static [User; 3]> {
    if is_root() {
        return Some(users());
    }
    let _ = missing("root, to be several users");
    None
}

/// A group with bob in it and nobody else.
#[must_use]
pub fn group() -> &'static (String, u32) {
    static GROUP: OnceLock<(String, u32)> = OnceLock::new();
    GROUP.get_or_init(|| {
        let name = "sockward-vnc".to_owned();
        let lock = std::fs::File::create("/tmp/.sockward-test-groups").unwrap();
        lock.lock().unwrap();
        let _ = Command::new("groupadd").arg("-f").arg(&name).status();
        let _ = Command::new("gpasswd").args(["-a", &users()[1].name, &name]).output();
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        let line = groups.lines().find(|line| line.starts_with("sockward-vnc:")).unwrap();
        let gid = line.split(':').nth(2).unwrap().parse().unwrap();
        (name, gid)
    })
}

/// A server with a directory `far` in which alex may make sockets.
#[must_use]
pub fn server(lines: &str, key_options: &str) -> Server {
    let setup = ServerSetup {
        lines: lines.to_owned(),
        key_options: key_options.to_owned(),
        ..ServerSetup::default()
    };
    let server = Server::start(Kind::Ours, &setup);
    let far = server.dir.join("far");
    std::fs::create_dir(&far).unwrap();
    own(&far, &users()[0]);
    server
}

/// Gives a file to somebody.
pub fn own(path: &Path, user: &User) {
    std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).unwrap();
}

/// Where somebody connects to.
#[derive(Clone, Debug)]
pub enum At {
    /// A port of 127.0.0.1.
    Port(u16),
    /// A socket.
    Path(PathBuf),
}

impl At {
    /// As `-R` and `-L` take it.
    #[must_use]
    pub fn spec(&self) -> String {
        match self {
            At::Port(port) => format!("127.0.0.1:{port}"),
            At::Path(path) => path.display().to_string(),
        }
    }
}

/// Has somebody fetch the page there.
pub fn fetch_as(user: &User, at: &At) -> Output {
    let mut curl = user.command("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "20"]);
    match at {
        At::Port(port) => curl.arg(format!("http://127.0.0.1:{port}/")),
        At::Path(path) => curl.arg("--unix-socket").arg(path).arg("http://x/"),
    };
    curl.output().unwrap()
}

/// Whether somebody gets through to the origin.
#[must_use]
pub fn reaches(user: &User, at: &At) -> bool {
    let output = fetch_as(user, at);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.is_empty() || text == WORD, "{text}");
    text == WORD
}

/// root, as one of the cast.
#[must_use]
pub fn root() -> User {
    User { name: "root".into(), uid: 0, gid: 0, home: "/root".into() }
}

/// Asks for a listener on the server; none if it is refused (the client ends then).
#[must_use]
pub fn share(kind: Kind, server: &Server, at: &At, origin: u16) -> Option<Running> {
    let forward = format!("{}:127.0.0.1:{origin}", at.spec());
    let line = format!(": listening on {}", at.spec());
    let granted = || server.log().lines().filter(|l| l.contains(&line) && !l.contains(" refused: ")).count();
    let before = granted();
    let mut client = Client::new(kind, server).args(["-R", &forward]).forward();
    let mut there = false;
    support::wait_until("the listener is there or refused", || {
        there = granted() > before;
        there || client.ended().is_some()
    });
    there.then_some(client)
}
