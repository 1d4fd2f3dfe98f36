//! Sockets in the file system: the login's own, made and opened with the login's rights; and what is there already
//! stays, whoever it belongs to, except a dead socket of one's own.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use sockward_test_e2e::support::{
    Client, Kind, Origin, Running, Server, ServerSetup, Service, User, free_port, wait_until,
};
use sockward_test_e2e::{alex_and_bob, as_root, directory, names};

fn start(lines: &str) -> Server {
    Server::start(Kind::Ours, &ServerSetup::with(lines))
}

/// A client that asks for a remote socket with an answering service behind it.
fn remote(server: &Server, path: &Path, origin: &Origin) -> Running {
    let forward = format!("{}:127.0.0.1:{}", path.display(), origin.port);
    Client::new(Kind::Ours, server).args(["-R", &forward]).forward()
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket())
}

/// Whether the service behind a forwarding is there. One that stood there before accepts, and says nothing.
fn answers(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).is_ok() && text == "hello"
}

/// Waits until the socket answers; the client must not end.
fn up(client: &mut Running, path: &Path) {
    wait_until("the socket answers", || {
        assert!(client.ended().is_none(), "{}", client.log());
        answers(path)
    });
}

/// The forwarding is refused, which ends the client.
fn refused(mut client: Running) {
    assert_eq!(client.wait().code(), Some(255));
    assert!(client.log().contains("remote port forwarding failed"), "{}", client.log());
}

#[test]
fn a_remote_socket_is_the_logins() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    for (lines, mode) in
        [("", 0o600), ("StreamLocalBindMask 0111\n", 0o666), ("StreamLocalBindMode 0640\n", 0o640)]
    {
        let server = start(lines);
        // Anybody may write here, so the owner comes from who bound it.
        let dir = directory(&server, "open", alex, 0o1777);
        let origin = Origin::tcp(Service::Greet("hello"));
        let path = dir.join("s");
        let mut client = remote(&server, &path, &origin);
        up(&mut client, &path);
        let meta = path.symlink_metadata().unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!((meta.uid(), meta.gid()), (alex.uid, alex.gid), "{lines}");
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{lines}");
        assert_eq!(names(&dir), ["s"]);
    }
}

#[test]
fn a_user_binds_only_where_the_file_system_lets_it() {
    if !as_root() {
        return;
    }
    let (alex, bob) = alex_and_bob();
    let server = start("");
    let origin = Origin::tcp(Service::Greet("hello"));
    let bobs = directory(&server, "bobs", bob, 0o755);
    let hidden = directory(&server, "hidden", bob, 0o700);
    let roots = server.dir.join("roots");
    std::fs::create_dir(&roots).unwrap();
    // A link of alex's own leads nowhere that alex may not go.
    let own = directory(&server, "own", alex, 0o755);
    symlink(&bobs, own.join("link")).unwrap();
    for dir in [&bobs, &hidden, &roots, &own.join("link")] {
        refused(remote(&server, &dir.join("s"), &origin));
        assert!(names(dir).is_empty(), "{:?}", names(dir));
    }
    let mut client = remote(&server, &own.join("s"), &origin);
    up(&mut client, &own.join("s"));
}

#[test]
fn a_user_opens_only_what_the_file_system_lets_it() {
    if !as_root() {
        return;
    }
    let (alex, bob) = alex_and_bob();
    let server = start("");
    let dir = directory(&server, "far", bob, 0o755);
    let path = dir.join("s");
    let origin = Origin::unix(&path, Service::Greet("hello"));
    let port = free_port();
    let forward = format!("{port}:{}", path.display());
    let client = Client::new(Kind::Ours, &server).args(["-L", &forward]).forward();
    let ask = || {
        let mut text = String::new();
        wait_until("the port listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _ = stream.read_to_string(&mut text);
        text
    };
    let set = |owner: &User, mode| {
        chown(&path, Some(owner.uid), Some(owner.gid)).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    set(bob, 0o600);
    assert_eq!(ask(), "");
    set(bob, 0o666);
    assert_eq!(ask(), "hello");
    set(alex, 0o600);
    assert_eq!(ask(), "hello");
    set(bob, 0o666);
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    let before = origin.served();
    assert_eq!(ask(), "");
    assert_eq!(origin.served(), before);
    wait_until("the reason", || client.log().contains("open failed"));
}

/// Everything that may stand where a socket is asked for, in a directory where anybody may make files.
fn occupants(dir: &Path) -> Vec<(&'static str, u64, Option<UnixListener>)> {
    let (alex, bob) = alex_and_bob();
    let own = |path: &Path, user: &User| {
        std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).unwrap();
    };
    std::fs::write(dir.join("target"), "kept").unwrap();
    let made = [
        ("regular-of-bob", bob),
        ("regular-of-alex", alex),
        ("link-of-bob", bob),
        ("link-of-alex", alex),
        ("directory-of-alex", alex),
        ("live-of-bob", bob),
        ("dead-of-bob", bob),
        ("live-of-alex", alex),
    ];
    made.map(|(name, owner)| {
        let path = dir.join(name);
        let mut listener = None;
        match name.split('-').next().unwrap() {
            "regular" => std::fs::write(&path, "kept").unwrap(),
            "link" => symlink("target", &path).unwrap(),
            "directory" => std::fs::create_dir(&path).unwrap(),
            "dead" => drop(UnixListener::bind(&path).unwrap()),
            _ => listener = Some(UnixListener::bind(&path).unwrap()),
        }
        own(&path, owner);
        (name, path.symlink_metadata().unwrap().ino(), listener)
    })
    .into()
}

#[test]
fn what_stands_there_is_never_removed() {
    if !as_root() {
        return;
    }
    let (_, bob) = alex_and_bob();
    for lines in ["", "StreamLocalBindUnlink no\n", "StreamLocalBindUnlink yes\n"] {
        let server = start(lines);
        let dir = directory(&server, "open", bob, 0o1777);
        let origin = Origin::tcp(Service::Greet("hello"));
        let occupants = occupants(&dir);
        let before = names(&dir);
        for (name, inode, listener) in &occupants {
            let path = dir.join(name);
            if lines.contains("yes") && *name == "live-of-alex" {
                // That is what `yes` is for.
                let mut client = remote(&server, &path, &origin);
                up(&mut client, &path);
                continue;
            }
            refused(remote(&server, &path, &origin));
            assert_eq!(path.symlink_metadata().unwrap().ino(), *inode, "{lines}{name}");
            if let Some(listener) = listener {
                listener.set_nonblocking(true).unwrap();
                while listener.accept().is_ok() {}
                UnixStream::connect(&path).unwrap();
                assert!(listener.accept().is_ok(), "{lines}{name} is no longer what listens");
            }
        }
        let after: Vec<String> =
            before.into_iter().filter(|name| !(lines.contains("yes") && name == "live-of-alex")).collect();
        wait_until("nothing else is there", || {
            let there = names(&dir);
            after.iter().all(|name| there.contains(name)) && there.len() <= after.len() + 1
        });
        assert_eq!(std::fs::read_to_string(dir.join("target")).unwrap(), "kept");
        assert!(names(&dir).iter().all(|name| !name.starts_with(".sockward")), "{:?}", names(&dir));
    }
}

#[test]
fn a_dead_socket_of_ones_own_is_replaced() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let origin = Origin::tcp(Service::Greet("hello"));
    for lines in ["", "StreamLocalBindUnlink stale\n", "StreamLocalBindUnlink yes\n"] {
        let server = start(lines);
        let dir = directory(&server, "own", alex, 0o755);
        let path = dir.join("s");
        drop(UnixListener::bind(&path).unwrap());
        chown(&path, Some(alex.uid), Some(alex.gid)).unwrap();
        assert!(is_socket(&path) && !answers(&path));
        let mut client = remote(&server, &path, &origin);
        up(&mut client, &path);
        assert_eq!(names(&dir), ["s"]);
    }
    let server = start("StreamLocalBindUnlink no\n");
    let dir = directory(&server, "own", alex, 0o755);
    let path = dir.join("s");
    drop(UnixListener::bind(&path).unwrap());
    chown(&path, Some(alex.uid), Some(alex.gid)).unwrap();
    refused(remote(&server, &path, &origin));
    assert!(is_socket(&path));
}
