//! Who may listen, open and connect: every row of the table of access control, allowed and refused, on sockets and
//! on ports, with our client and with OpenSSH's. As root, with throwaway users.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use sockward_test_e2e::access::{
    At, CLIENTS, WORD, cast, fetch_as, group, own, reaches, root, server, share,
};
use sockward_test_e2e::support::{
    Client, Kind, Origin, Server, Service, TempDir, User, free_port, has_program, sockward, wait_until,
};

fn origin() -> Origin {
    Origin::tcp(Service::Page(WORD))
}

fn socket(server: &Server, name: &str) -> At {
    At::Path(server.dir.join("far").join(name))
}

/// Has `kind` share a socket or a port, and finds who gets through.
#[track_caller]
fn shared(kind: Kind, server: &Server, at: &At, through: &[&User], not: &[&User]) {
    let origin = origin();
    let client = share(kind, server, at, origin.port);
    let mut client = client.unwrap_or_else(|| panic!("{kind:?} is refused {at:?}: {}", server.log()));
    for user in through {
        assert!(reaches(user, at), "{} does not get through {at:?}, {kind:?}", user.name);
    }
    let served = origin.served();
    for user in not {
        assert!(!reaches(user, at), "{} gets through {at:?}, {kind:?}", user.name);
    }
    assert_eq!(origin.served(), served, "a refused peer reached the origin");
    client.stop();
    if let At::Path(path) = at {
        wait_until("the socket is removed", || !path.exists());
    }
}

/// Asks `kind` for a listener that is to be refused.
#[track_caller]
fn not_shared(kind: Kind, server: &Server, at: &At) {
    assert!(share(kind, server, at, 9).is_none(), "{kind:?} may listen on {at:?}");
    if let At::Path(path) = at {
        assert!(!path.exists());
    }
}

/// Opens a target through the server (`-W`): what comes back from it.
fn open(kind: Kind, server: &Server, target: &str) -> String {
    let command = Client::new(kind, server).args(["-W", target]).command("");
    talk(command)
}

fn talk(mut command: Command) -> String {
    use std::io::Write;
    use std::process::Stdio;
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that is refused may be gone already.
    let _ = child.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n");
    let out = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// As [`open`], a socket: `-W` takes ports alone, so by `-L`.
fn open_socket(kind: Kind, server: &Server, user: &str, path: &str) -> bool {
    let port = free_port();
    let mut client =
        Client::new(kind, server).user(user).args(["-L", &format!("127.0.0.1:{port}:{path}")]).forward();
    wait_until("the client listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() || client.ended().is_some()
    });
    let through = reaches(&root(), &At::Port(port));
    client.stop();
    through
}

#[test]
fn permit_peer_on_sockets() {
    let Some([alex, bob, eve]) = cast() else { return };
    let server = server("StreamLocalBindMask 0111\nPermitPeer sockward-bob\n", "");
    for kind in CLIENTS {
        shared(kind, &server, &socket(&server, "bob"), &[bob], &[alex, eve, &root()]);
    }
    let log = server.log();
    assert!(log.contains("refused: who connects is not in the list (PermitPeer)"), "{log}");
}

#[test]
fn permit_peer_on_ports() {
    let Some([alex, bob, eve]) = cast() else { return };
    let (group, _) = group();
    let server = server(&format!("GatewayPorts clientspecified\nPermitPeer @{group} root\n"), "");
    for kind in CLIENTS {
        shared(kind, &server, &At::Port(free_port()), &[bob, &root()], &[alex, eve]);
        // Where other machines reach it nobody could be told apart.
        let mut client = Client::new(kind, &server).args(["-R", "*:0:127.0.0.1:9"]).forward();
        assert!(!client.wait().success());
    }
}

#[test]
fn permit_peer_is_the_intersection_of_file_and_key() {
    let Some([alex, bob, eve]) = cast() else { return };
    let file = "StreamLocalBindMask 0111\nPermitPeer sockward-bob sockward-alex\n";
    let server = server(file, "permitpeer=\"sockward-bob,sockward-eve\"");
    for kind in CLIENTS {
        shared(kind, &server, &socket(&server, "both"), &[bob], &[alex, eve, &root()]);
        shared(kind, &server, &At::Port(free_port()), &[bob], &[alex, eve, &root()]);
    }
}

#[test]
fn permit_peer_none_and_absent() {
    let Some([alex, bob, eve]) = cast() else { return };
    let closed = server("StreamLocalBindMask 0111\nPermitPeer none\n", "");
    let open = server("StreamLocalBindMask 0111\n", "");
    for kind in CLIENTS {
        for at in [socket(&closed, "none"), At::Port(free_port())] {
            shared(kind, &closed, &at, &[], &[alex, bob, eve, &root()]);
        }
        for at in [socket(&open, "absent"), At::Port(free_port())] {
            shared(kind, &open, &at, &[alex, bob, eve, &root()], &[]);
        }
    }
}

#[test]
fn permit_peer_on_a_remote_dynamic_port() {
    let Some([alex, bob, eve]) = cast() else { return };
    let server = server("PermitPeer sockward-bob\n", "");
    let origin = origin();
    // Our client may not have it yet.
    let kind = Kind::OpenSsh;
    let port = free_port();
    let client = Client::new(kind, &server).args(["-R", &format!("127.0.0.1:{port}")]).forward();
    wait_until("it listens", || server.log().contains(&format!(": listening on 127.0.0.1:{port}")));
    for (user, through) in [(bob, true), (alex, false), (eve, false), (&root(), false)] {
        let url = format!("http://127.0.0.1:{}/", origin.port);
        let proxy = format!("socks5://127.0.0.1:{port}");
        let out =
            user.command("curl").args(["-sS", "--max-time", "20", "-x", &proxy, &url]).output().unwrap();
        assert_eq!(out.stdout == WORD.as_bytes(), through, "{}", user.name);
    }
    drop(client);
}

#[test]
fn group_and_mode_of_a_socket() {
    let Some([alex, bob, eve]) = cast() else { return };
    let (name, gid) = group();
    let server = server(&format!("StreamLocalBindGroup {name}\nStreamLocalBindMode 0660\n"), "");
    for kind in CLIENTS {
        let at = socket(&server, "group");
        let origin = origin();
        let client = share(kind, &server, &at, origin.port).expect("a listener");
        let At::Path(path) = &at else { unreachable!() };
        let metadata = path.symlink_metadata().unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (alex.uid, *gid, 0o660));
        drop(client);
        wait_until("the socket is removed", || !path.exists());
        // alex is the owner.
        shared(kind, &server, &at, &[bob, alex, &root()], &[eve]);
    }
}

#[test]
fn mode_alone_and_a_key_that_takes_bits_away() {
    let Some([alex, bob, eve]) = cast() else { return };
    let open = server("StreamLocalBindMode 0666\n", "");
    let less = server("StreamLocalBindMode 0666\n", "streamlocalbindmode=\"0600\"");
    let more = server("StreamLocalBindMode 0600\n", "streamlocalbindmode=\"0666\"");
    for kind in CLIENTS {
        shared(kind, &open, &socket(&open, "s"), &[alex, bob, eve], &[]);
        shared(kind, &less, &socket(&less, "s"), &[alex], &[bob, eve]);
        shared(kind, &more, &socket(&more, "s"), &[alex], &[bob, eve]);
    }
}

/// A key may choose a group that its login is in, and no other.
#[test]
fn a_key_chooses_among_the_groups_of_its_login() {
    let Some([alex, _, _]) = cast() else { return };
    let (name, _) = group();
    let own_group = server("", &format!("streamlocalbindgroup=\"{}\"", alex.name));
    let others = server("", &format!("streamlocalbindgroup=\"{name}\""));
    for kind in CLIENTS {
        shared(kind, &own_group, &socket(&own_group, "s"), &[alex], &[]);
        not_shared(kind, &others, &socket(&others, "s"));
    }
}

#[test]
fn a_group_that_does_not_exist_is_an_error_and_makes_no_socket() {
    if cast().is_none() {
        return;
    }
    let dir = TempDir::new();
    for lines in
        ["StreamLocalBindGroup no-such-group\n", "\nMatch User x\nStreamLocalBindGroup no-such-group\n"]
    {
        let config = dir.write("sshd_config", lines);
        for flag in ["-t", "-D"] {
            let out = Command::new(sockward()).args(["sshd", flag, "-f"]).arg(&config).output().unwrap();
            let line = if lines.starts_with('\n') { 3 } else { 1 };
            let words = format!(
                "{}:{line}: StreamLocalBindGroup no-such-group: there is no such group",
                config.display()
            );
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(!out.status.success() && said.contains(&words), "{flag} {lines}: {said}");
        }
    }
    // A key's line is the user's: others come in, and this login has no sockets.
    let server = server("", "streamlocalbindgroup=\"no-such-group\"");
    not_shared(Kind::OpenSsh, &server, &socket(&server, "s"));
    wait_until("the reason in the log", || server.log().contains("there is no group no-such-group"));
}

/// Nobody comes in where it says so, and the client is told no more than that.
#[test]
fn a_connection_is_refused_whatever_its_key() {
    let Some([alex, bob, _]) = cast() else { return };
    let server = server(
        &format!("Match User {} Address 127.0.0.0/8\nRefuseConnection yes\nMatch all\n", bob.name),
        "",
    );
    assert!(Client::new(Kind::OpenSsh, &server).run("true").status.success());
    for kind in CLIENTS {
        let out = Client::new(kind, &server).user(&bob.name).run("echo in");
        assert!(!out.status.success() && out.stdout.is_empty(), "{kind:?}: {out:?}");
    }
    let log = server.log();
    assert!(
        log.contains(&format!("administratively prohibited connection for {} from 127.0.0.1", bob.name)),
        "{log}"
    );
    assert!(
        !log.contains(&format!("Accepted publickey for {}", bob.name)) && log.contains(&alex.name),
        "{log}"
    );
}

#[test]
fn lists_of_what_to_listen_on() {
    let Some([alex, ..]) = cast() else { return };
    let (port, other) = (free_port(), free_port());
    // file, key, allowed socket, refused socket, allowed port, refused port
    let name = |n: &str| format!("/tmp/sw-listen-{n}-{}", std::process::id());
    for dir in ["a", "b"] {
        let _ = std::fs::create_dir(name(dir));
        own(name(dir).as_ref(), alex);
    }
    let (a, b) = (name("a"), name("b"));
    let in_a = At::Path(format!("{a}/x.sock").into());
    let in_b = At::Path(format!("{b}/x.sock").into());
    let (a_port, another_port) = (At::Port(port), At::Port(other));
    let rows: [(String, String, Vec<&At>, Vec<&At>); 7] = [
        (format!("PermitListen {a}/*.sock\n"), String::new(), vec![&in_a], vec![&in_b, &a_port]),
        (
            format!("PermitListen 127.0.0.1:{port}\n"),
            String::new(),
            vec![&a_port],
            vec![&in_a, &another_port],
        ),
        (
            format!("PermitListen {a}/x.sock {port}\n"),
            String::new(),
            vec![&in_a, &a_port],
            vec![&in_b, &another_port],
        ),
        ("PermitListen none\n".into(), String::new(), vec![], vec![&in_a, &a_port]),
        (
            "PermitListen unix:any\n".into(),
            format!("permitlisten=\"{b}/?.sock\""),
            vec![&in_b],
            vec![&in_a, &a_port],
        ),
        (String::new(), format!("permitlisten=\"{port}\""), vec![&a_port], vec![&in_a, &another_port]),
        (
            format!("PermitListen {a}/x.sock\n"),
            format!("permitlisten=\"{b}/x.sock\""),
            vec![],
            vec![&in_a, &in_b],
        ),
    ];
    for (lines, options, allowed, refused) in &rows {
        let server = server(&format!("StreamLocalBindMask 0111\n{lines}"), options);
        for kind in CLIENTS {
            for at in allowed {
                shared(kind, &server, at, &[alex], &[]);
            }
            for at in refused {
                not_shared(kind, &server, at);
            }
        }
    }
    let _ = (std::fs::remove_dir(a), std::fs::remove_dir(b));
}

#[test]
fn directions_of_forwarding() {
    let Some([alex, ..]) = cast() else { return };
    let origin = origin();
    let target = format!("127.0.0.1:{}", origin.port);
    let dir = sockward_test_e2e::support::TempDir::new();
    let behind = dir.join("origin.sock");
    let _origin = Origin::unix(&behind, Service::Page(WORD));
    let path = behind.display().to_string();
    // lines, key options; then: listen on a port, on a socket, open a port, a socket
    for (lines, options, may) in [
        ("", "", [true, true, true, true]),
        ("AllowTcpForwarding no\n", "", [false, false, false, false]),
        ("AllowTcpForwarding local\n", "", [false, false, true, true]),
        ("AllowTcpForwarding remote\n", "", [true, true, false, false]),
        ("AllowStreamLocalForwarding no\n", "", [true, false, true, false]),
        ("AllowStreamLocalForwarding local\n", "", [true, false, true, true]),
        ("AllowStreamLocalForwarding remote\n", "", [true, true, true, false]),
        ("DisableForwarding yes\n", "", [false, false, false, false]),
        ("", "restrict", [false, false, false, false]),
        ("", "restrict,port-forwarding", [true, true, true, true]),
        ("", "no-port-forwarding", [false, false, false, false]),
        ("ForceCommand true\n", "", [true, false, true, false]),
        ("", "command=\"true\"", [true, false, true, false]),
        (
            "ForceCommand true\n",
            "permitlisten=\"unix:any\",permitopen=\"unix:any\"",
            [false, false, false, false],
        ),
        ("ForceCommand true\nPermitOpen unix:any\n", "", [true, false, false, true]),
        ("PermitOpen none\n", "", [true, true, false, false]),
    ] {
        let server = server(lines, options);
        for kind in CLIENTS {
            let [listen_tcp, listen_unix, open_tcp, open_unix] = may;
            for (at, may) in [(At::Port(free_port()), listen_tcp), (socket(&server, "s"), listen_unix)] {
                if may {
                    shared(kind, &server, &at, &[alex], &[]);
                } else {
                    not_shared(kind, &server, &at);
                }
            }
            let case = format!("{lines:?} {options:?} {kind:?}");
            assert_eq!(open(kind, &server, &target).ends_with(WORD), open_tcp, "open a port, {case}");
            assert_eq!(
                open_socket(kind, &server, &server.user.name, &path),
                open_unix,
                "open a socket, {case}"
            );
        }
    }
}

#[test]
fn lists_of_what_to_open() {
    if cast().is_none() {
        return;
    }
    let (one, two) = (origin(), origin());
    let dir = sockward_test_e2e::support::TempDir::new();
    let (a, b) = (dir.join("a.sock"), dir.join("b.sock"));
    let _origins = [Origin::unix(&a, Service::Page(WORD)), Origin::unix(&b, Service::Page(WORD))];
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let of = |o: &Origin| format!("127.0.0.1:{}", o.port);
    for (lines, options, may) in [
        (format!("PermitOpen {a} {}\n", of(&one)), String::new(), [true, false, true, false]),
        (String::new(), format!("permitopen=\"{}\"", of(&two)), [false, true, false, false]),
        (String::new(), format!("permitopen=\"{b}\""), [false, false, false, true]),
        (
            format!("PermitOpen {}/*.sock\n", dir.path().display()),
            format!("permitopen=\"{b}\""),
            [false, false, false, true],
        ),
    ] {
        let server = server(&lines, &options);
        for kind in CLIENTS {
            let name = &server.user.name;
            let got = [
                open(kind, &server, &of(&one)).ends_with(WORD),
                open(kind, &server, &of(&two)).ends_with(WORD),
                open_socket(kind, &server, name, &a),
                open_socket(kind, &server, name, &b),
            ];
            assert_eq!(got, may, "{lines:?} {options:?} {kind:?}");
        }
    }
}

#[test]
fn limits_of_one_login() {
    let Some([alex, ..]) = cast() else { return };
    let server = server("MaxListeners 2\nMaxForwardedConnections 1\n", "");
    let origin = origin();
    for kind in CLIENTS {
        let ports = [free_port(), free_port(), free_port()];
        let forwards: Vec<_> =
            ports.iter().map(|p| format!("127.0.0.1:{p}:127.0.0.1:{}", origin.port)).collect();
        let two = forwards.iter().take(2).flat_map(|f| ["-R", f]);
        let client = Client::new(kind, &server).args(two).forward();
        for port in ports.iter().take(2) {
            wait_until("it listens", || server.log().contains(&format!(": listening on 127.0.0.1:{port}")));
        }
        assert!(reaches(alex, &At::Port(ports[0])));
        // The first has to be told of as gone before there is room.
        wait_until("one after another", || reaches(alex, &At::Port(ports[1])));
        // Held open, it is the one.
        // What came while the one before was not told of as gone is closed at once.
        let mut held = None;
        wait_until("one is held", || {
            held = hold(ports[0]);
            held.is_some()
        });
        wait_until("the limit holds", || !reaches(alex, &At::Port(ports[1])));
        drop(held);
        wait_until("there is room again", || reaches(alex, &At::Port(ports[1])));
        drop(client);
        let mut third = Client::new(kind, &server).args(forwards.iter().flat_map(|f| ["-R", f])).forward();
        assert!(!third.wait().success(), "three listeners");
    }
    for reason in
        ["too many: the limit is 2 (MaxListeners)", "too many: the limit is 1 (MaxForwardedConnections)"]
    {
        wait_until("the reason in the log", || server.log().contains(reason));
    }
}

/// A connection to a port that is not closed at once.
fn hold(port: u16) -> Option<std::net::TcpStream> {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let open = stream.read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    open.then_some(stream)
}

#[test]
fn what_is_there_already() {
    let Some([alex, _, eve]) = cast() else { return };
    for (lines, over_stale, over_live) in [
        ("", true, false),
        ("StreamLocalBindUnlink stale\n", true, false),
        ("StreamLocalBindUnlink no\n", false, false),
        ("StreamLocalBindUnlink yes\n", true, true),
    ] {
        let server = server(&format!("StreamLocalBindMask 0111\n{lines}"), "");
        for kind in CLIENTS {
            let at = socket(&server, "s");
            let At::Path(path) = &at else { unreachable!() };
            drop(std::os::unix::net::UnixListener::bind(path).unwrap());
            own(path, alex);
            let got = share(kind, &server, &at, origin().port).is_some();
            assert_eq!(got, over_stale, "stale, {lines:?} {kind:?}");
            let fresh = || {
                let _ = std::fs::remove_file(path);
                std::thread::sleep(std::time::Duration::from_millis(300));
                let _ = std::fs::remove_file(path);
            };
            fresh();
            let live = std::os::unix::net::UnixListener::bind(path).unwrap();
            own(path, alex);
            let got = share(kind, &server, &socket(&server, "./s"), origin().port).is_some();
            assert_eq!(got, over_live, "live, {lines:?} {kind:?}");
            drop(live);
            fresh();
            // What is no socket is never replaced.
            std::fs::write(path, "kept").unwrap();
            own(path, alex);
            assert!(share(kind, &server, &socket(&server, ".//s"), 9).is_none());
            assert_eq!(std::fs::read_to_string(path).unwrap(), "kept");
            std::fs::remove_file(path).unwrap();
            let _ = eve;
        }
    }
}

/// Eve tries everything that she can reach.
#[test]
fn eve_does_not_get_in() {
    let Some([_, bob, eve]) = cast() else { return };
    if !has_program("python3") {
        return;
    }
    let server = server("StreamLocalBindMode 0666\nPermitPeer sockward-bob\nAllowUsers *\n", "");
    let origin = origin();
    let (at, port) = (socket(&server, "vnc"), At::Port(free_port()));
    let At::Path(path) = &at else { unreachable!() };
    let _socket = share(Kind::OpenSsh, &server, &at, origin.port).unwrap();
    let _port = share(Kind::OpenSsh, &server, &port, origin.port).unwrap();
    assert!(reaches(bob, &at) && reaches(bob, &port));
    let served = origin.served();

    // By path and by port.
    assert!(!reaches(eve, &at) && !reaches(eve, &port));
    // By a hard link and a symbolic one in a directory of hers.
    let hers = server.dir.join("eve");
    std::fs::create_dir(&hers).unwrap();
    own(&hers, eve);
    for how in ["link", "symlink"] {
        let link = hers.join(how);
        let _ = eve
            .command("python3")
            .arg("-c")
            .arg(format!("import os; os.{how}({:?}, {:?})", path.to_str().unwrap(), link.to_str().unwrap()))
            .output()
            .unwrap();
        assert!(!reaches(eve, &At::Path(link)), "{how}");
    }
    // Through the descriptors of our processes.
    let tried = eve.command("sh").args(["-c", "cat /proc/[0-9]*/environ 2>/dev/null | wc -c; ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c socket: || true"]).output().unwrap();
    assert!(tried.status.success());
    let helpers = Command::new("pgrep").args(["-f", "sockward: helper"]).output().unwrap();
    for pid in String::from_utf8(helpers.stdout).unwrap().split_whitespace() {
        let listed = eve.command("ls").arg(format!("/proc/{pid}/fd")).output().unwrap();
        assert!(!listed.status.success(), "eve sees the descriptors of {pid}");
        let traced = eve.command("cat").arg(format!("/proc/{pid}/environ")).output().unwrap();
        assert!(traced.stdout.is_empty() && !traced.status.success());
    }
    // By a login of her own: it opens as her.
    for kind in CLIENTS {
        assert!(!open_socket(kind, &server, &eve.name, path.to_str().unwrap()), "{kind:?}");
        let At::Port(number) = port else { unreachable!() };
        let command = Client::new(kind, &server)
            .user(&eve.name)
            .args(["-W", &format!("127.0.0.1:{number}")])
            .command("");
        assert!(!talk(command).contains(WORD), "{kind:?}");
        // She cannot take the name or the port away.
        for taken in [&at, &port] {
            let forward = format!("{}:127.0.0.1:9", taken.spec());
            let mut thief = Client::new(kind, &server).user(&eve.name).args(["-R", &forward]).forward();
            assert!(!thief.wait().success());
        }
        // A login of bob's is bob.
        assert!(open_socket(kind, &server, &bob.name, path.to_str().unwrap()), "{kind:?}");
    }
    // By leaving again before anybody asks who it was, many times over; what she sent must not arrive.
    let before = origin.served();
    let race = format!(
        "import socket,struct\nfor i in range(3000):\n s=socket.socket()\n s.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack('ii',i%2,0))\n \
         s.connect(('127.0.0.1',{0}))\n s.send(b'GET / HTTP/1.0\\r\\n\\r\\n') if i%3 else 0\n s.close()\n",
        match port {
            At::Port(p) => p,
            At::Path(_) => unreachable!(),
        }
    );
    let _ = eve.command("python3").args(["-c", &race]).output().unwrap();
    assert!(reaches(bob, &port));
    assert_eq!(origin.served(), before + 1);
    assert!(before >= served);
}

/// The kernel decides: what the login may not do, no line makes possible.
#[test]
fn the_file_system_decides_first() {
    let Some([alex, _, eve]) = cast() else { return };
    let server = server("PermitListen unix:any\nPermitOpen unix:any\n", "");
    let theirs = server.dir.join("eve");
    std::fs::create_dir(&theirs).unwrap();
    own(&theirs, eve);
    let closed = theirs.join("closed.sock");
    let _origin = Origin::unix(&closed, Service::Page(WORD));
    own(&closed, eve);
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for kind in CLIENTS {
        not_shared(kind, &server, &At::Path(theirs.join("alex.sock")));
        not_shared(kind, &server, &At::Path("/run/sockward-test.sock".into()));
        assert!(!open_socket(kind, &server, &alex.name, closed.to_str().unwrap()));
    }
    assert!(fetch_as(&root(), &At::Path(closed)).stdout == WORD.as_bytes(), "the origin is there");
}

/// A second login of the same user does not take a name from one that is there, and does from one that is not.
#[test]
fn two_logins_want_one_name() {
    let Some([alex, ..]) = cast() else { return };
    let server = server("", "");
    for kind in CLIENTS {
        let at = socket(&server, "one");
        let origin = origin();
        let first = share(kind, &server, &at, origin.port).unwrap();
        assert!(share(kind, &server, &at, 9).is_none(), "taken from a live one");
        assert!(reaches(alex, &at));
        let signal = |name: &str| {
            let _ = Command::new("kill").args([format!("-{name}"), first.pid().to_string()]).status();
        };
        signal("STOP");
        let second = share(kind, &server, &at, origin.port);
        assert!(second.is_some(), "the half-dead one keeps it: {}", server.log());
        assert!(reaches(alex, &at));
        signal("CONT");
        drop(first);
        assert!(reaches(alex, &at), "the end of the first removed the socket of the second");
        drop(second);
    }
}
