//! Forwardings through a stock server: ports and sockets on each side, failures, many at once.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use common::{Running, Server, ask_tcp, ask_unix, free_port, pattern, serve_tcp, serve_unix, wait_until};

/// A client with forwardings alone, once it is logged in and they are there.
fn forwarding(server: &Server, arguments: &[&str]) -> Running {
    let all: Vec<&str> = ["-v", "-N", "-o", "ExitOnForwardFailure=yes"]
        .iter()
        .chain(arguments)
        .chain(&["h"])
        .copied()
        .collect();
    let mut running = Running::start(server.ssh(&all));
    running.wait_for("Entering interactive session.");
    for argument in arguments.windows(2).filter(|pair| pair[0] == "-R") {
        let listen = argument[1];
        running.wait_for("remote forward success");
        assert!(!listen.is_empty());
    }
    running
}

/// Forwards a port and a socket to each of a port and a socket, and moves a MiB through each; the client, and the
/// sockets that listen.
fn all_four_kinds(server: &Server, option: &str) -> (Running, [std::path::PathBuf; 2]) {
    let (service, socket) = (serve_tcp("tcp:"), server.path("service"));
    serve_unix("unix:", &socket);
    let (a, b) = (free_port(), free_port());
    let (c, d) = (server.path("c"), server.path("d"));
    let specs = [
        format!("{a}:127.0.0.1:{service}"),
        format!("127.0.0.1:{b}:{}", socket.display()),
        format!("{}:localhost:{service}", c.display()),
        format!("{}:{}", d.display(), socket.display()),
    ];
    let arguments: Vec<&str> = specs.iter().flat_map(|spec| [option, spec]).collect();
    let running = forwarding(server, &arguments);
    let bytes = pattern(2, 1 << 20);
    let tcp = [b"tcp:", &bytes[..]].concat();
    let unix = [b"unix:", &bytes[..]].concat();
    assert!(ask_tcp(a, &bytes) == tcp && ask_unix(&c, &bytes) == tcp);
    assert!(ask_tcp(b, &bytes) == unix && ask_unix(&d, &bytes) == unix);
    assert_eq!(ask_tcp(a, b""), b"tcp:");
    (running, [c, d])
}

#[test]
fn local_forwardings_of_all_four_kinds() {
    let Some(server) = Server::start("") else { return };
    let (running, sockets) = all_four_kinds(&server, "-L");
    running.signal("TERM");
    assert_eq!(running.end().code(), Some(0));
    assert!(sockets.iter().all(|socket| !socket.exists()), "sockets go with their client");
}

#[test]
fn remote_forwardings_of_all_four_kinds() {
    let Some(server) = Server::start("") else { return };
    let _ = all_four_kinds(&server, "-R");
}

#[test]
fn a_port_that_the_server_chooses_is_told() {
    let Some(server) = Server::start("") else { return };
    let service = serve_tcp("here:");
    let spec = format!("0:127.0.0.1:{service}");
    let mut running = Running::start(server.ssh(&["-N", "-R", &spec, "h"]));
    let line = running.wait_for("Allocated port");
    assert!(line.contains(&format!(" for remote forward to 127.0.0.1:{service}")), "{line}");
    let port = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert_eq!(ask_tcp(port, b"x"), b"here:x");
}

#[test]
fn lines_of_the_configuration_and_relative_sockets() {
    let Some(server) = Server::start("") else { return };
    let service = serve_tcp("it:");
    let port = free_port();
    server.configure(&format!(
        "LocalForward {port} localhost:{service}\nLocalForward unix:relative localhost:{service}\nGatewayPorts yes"
    ));
    let mut command = server.ssh(&["-v", "-N", "h"]);
    command.current_dir(server.dir.path());
    let mut running = Running::start(command);
    running.wait_for("Entering interactive session.");
    assert_eq!(ask_tcp(port, b"a"), b"it:a");
    assert_eq!(ask_unix(&server.path("relative"), b"b"), b"it:b");
    drop(running);
    let ended = server.run(&["-o", "ClearAllForwardings=yes", "-v", "h", "true"]);
    assert!(!ended.stderr.contains("Local forwarding listening"), "{}", ended.stderr);
}

#[test]
fn a_listener_that_cannot_be_ends_the_client_or_is_told() {
    let Some(server) = Server::start("") else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    // A server is content with one of the two loopback addresses.
    let _taken_too = std::net::TcpListener::bind(("::1", port));
    let local = format!("127.0.0.1:{port}:h:1");
    let strict = ["-o", "ExitOnForwardFailure=yes"];
    let failed = server.run(&[&strict[..], &["-L", &local, "h", "true"]].concat());
    assert!(
        failed.stderr.contains(&format!("bind [127.0.0.1]:{port}: Address already in use")),
        "{}",
        failed.stderr
    );
    failed.failed("Could not request local forwarding.");
    let ended = server.run(&["-L", &local, "h", "echo on"]);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "on\n"));

    let remote = format!("{port}:h:1");
    server
        .run(&[&strict[..], &["-R", &remote, "h", "sleep 100"]].concat())
        .failed(&format!("Error: remote port forwarding failed for listen port {port}"));
    server
        .run(&[&strict[..], &["-f", "-N", "-R", &remote, "h"]].concat())
        .failed(&format!("Error: remote port forwarding failed for listen port {port}"));
    let ended = server.run(&["-R", &remote, "h", "sleep 1; echo on"]);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "on\n"));
    assert!(ended.stderr.contains(&format!("Warning: remote port forwarding failed for listen port {port}")));

    let socket = server.path("file");
    std::fs::write(&socket, "a file").unwrap();
    let spec = format!("{}:h:1", socket.display());
    for unlink in ["no", "yes"] {
        let option = format!("StreamLocalBindUnlink={unlink}");
        server
            .run(&[&strict[..], &["-o", &option, "-L", &spec, "h", "true"]].concat())
            .failed("unix_listener: cannot bind to path");
    }
    assert_eq!(std::fs::read(&socket).unwrap(), b"a file", "never removed");
}

#[test]
fn a_left_over_socket_is_replaced_on_request_alone() {
    let Some(server) = Server::start("") else { return };
    let service = serve_tcp("new:");
    let socket = server.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let spec = format!("{}:127.0.0.1:{service}", socket.display());
    server
        .run(&["-o", "ExitOnForwardFailure=yes", "-L", &spec, "h", "true"])
        .failed("Address already in use");
    let _running = forwarding(&server, &["-o", "StreamLocalBindUnlink=yes", "-L", &spec]);
    assert_eq!(ask_unix(&socket, b"x"), b"new:x");
}

#[test]
fn far_paths_that_a_stock_server_does_not_know_are_errors_with_a_remedy() {
    let Some(server) = Server::start("") else { return };
    let strict = ["-o", "ExitOnForwardFailure=yes"];
    for (arguments, what) in [
        (["-L", "1:~/s"], "does not expand '~'"),
        (["-R", "unix:s:h:1"], "does not know from where a relative path goes"),
    ] {
        let all = [&strict[..], &arguments, &["h", "true"]].concat();
        let ended = server.run(&all);
        assert!(ended.stderr.contains("write the path from the root, or run sockward sshd there"));
        ended.failed(what);
    }
    server.run(&["-W", "~/s", "h"]).failed("does not expand '~'");
}

#[test]
fn standard_streams_are_joined_with_a_target() {
    let Some(server) = Server::start("") else { return };
    let (service, socket) = (serve_tcp("tcp:"), server.path("service"));
    serve_unix("unix:", &socket);
    let bytes = pattern(4, 1 << 20);
    for (target, name) in
        [(format!("127.0.0.1:{service}"), &b"tcp:"[..]), (socket.display().to_string(), b"unix:")]
    {
        let mut child =
            server.ssh(&["-W", &target, "h"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sent = bytes.clone();
        let sender = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
        let mut back = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
        sender.join().unwrap();
        assert!(child.wait().unwrap().success() && back == [name, &bytes].concat());
    }
    let closed = format!("127.0.0.1:{}", free_port());
    let ended = server.run(&["-W", &closed, "h"]);
    assert!(
        ended.stderr.contains("channel 0: open failed: connect failed: Connection refused"),
        "{}",
        ended.stderr
    );
    ended.failed("stdio forwarding failed");
}

#[test]
fn a_target_that_refuses_closes_the_connection_and_nothing_else() {
    let Some(server) = Server::start("") else { return };
    let service = serve_tcp("ok:");
    let (bad, good, far_bad) = (free_port(), free_port(), free_port());
    let specs = [
        format!("{bad}:127.0.0.1:{}", free_port()),
        format!("{good}:127.0.0.1:{service}"),
        format!("{far_bad}:127.0.0.1:{}", free_port()),
    ];
    let mut running = forwarding(&server, &["-L", &specs[0], "-L", &specs[1], "-R", &specs[2]]);
    assert_eq!(ask_tcp(bad, b""), b"");
    running.wait_for("open failed: connect failed: Connection refused");
    assert_eq!(ask_tcp(far_bad, b""), b"");
    running.wait_for("connect_to 127.0.0.1 port");
    assert_eq!(ask_tcp(good, b"x"), b"ok:x");
}

#[test]
fn many_connections_at_once_leave_nothing_behind() {
    let Some(server) = Server::start("") else { return };
    let service = serve_tcp(">");
    let (local, remote) = (free_port(), free_port());
    let specs = [format!("{local}:127.0.0.1:{service}"), format!("{remote}:127.0.0.1:{service}")];
    let mut running = forwarding(&server, &["-L", &specs[0], "-R", &specs[1]]);
    // What the client says while the test goes on must not fill the pipe.
    let mut stderr = running.child.stderr.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let descriptors = format!("/proc/{}/fd", running.client_pid());
    let open = || std::fs::read_dir(&descriptors).unwrap().count();
    assert_eq!((ask_tcp(local, b"x"), ask_tcp(remote, b"x")), (b">x".to_vec(), b">x".to_vec()));
    wait_until("the first connections' end", || open() < 30);
    let before = open();
    let threads: Vec<_> = (0..200u64)
        .map(|n| {
            std::thread::spawn(move || {
                let bytes = pattern(n, 1000 + 37 * usize::try_from(n).unwrap());
                let port = if n % 2 == 0 { local } else { remote };
                assert!(ask_tcp(port, &bytes) == [b">", &bytes[..]].concat(), "{n}");
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    wait_until("the descriptors' end", || open() <= before);
}

#[test]
fn readers_that_stall_stop_nobody_else() {
    let Some(server) = Server::start("") else { return };
    // A source without an end.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let source = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || while stream.write_all(&[0; 65536]).is_ok() {});
        }
    });
    let service = serve_tcp("quick:");
    let (slow, quick) = (free_port(), free_port());
    let specs = [format!("{slow}:127.0.0.1:{source}"), format!("{quick}:127.0.0.1:{service}")];
    let _running = forwarding(&server, &["-L", &specs[0], "-L", &specs[1]]);
    let stalled: Vec<_> = (0..4).map(|_| TcpStream::connect(("127.0.0.1", slow)).unwrap()).collect();
    for n in 0..50u8 {
        assert_eq!(ask_tcp(quick, &[n]), [b"quick:", &[n][..]].concat());
    }
    drop(stalled);
}

#[test]
fn the_session_ends_when_forwarded_connections_have_ended() {
    let Some(server) = Server::start("") else { return };
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let spec = format!("{port}:127.0.0.1:{}", target.local_addr().unwrap().port());
    let mut command = server.ssh(&["-v", "-L", &spec, "h", "echo started; read x; exit 5"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.wait_for("Sending command");
    let mut out = [0; 8];
    running.child.stdout.as_mut().unwrap().read_exact(&mut out).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"x").unwrap();
    // Once it has come through the client knows of it, and the command may end.
    let (mut far, _) = target.accept().unwrap();
    drop(running.child.stdin.take());
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(running.child.try_wait().unwrap().is_none(), "the forwarded connection is still open");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let (mut there, mut back) = (Vec::new(), Vec::new());
    far.read_to_end(&mut there).unwrap();
    far.write_all(b"late").unwrap();
    drop(far);
    stream.read_to_end(&mut back).unwrap();
    assert_eq!((&there[..], &back[..]), (&b"x"[..], &b"late"[..]));
    drop(stream);
    assert_eq!(running.end().code(), Some(5));
}
