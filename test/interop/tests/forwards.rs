//! Every combination of port and socket, both ways: a question, an answer, half-close in each direction.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::process::Stdio;

use sockward_test_interop::support::{
    Client, Kind, Origin, ServerSetup, Service, curl, free_port, wait_until,
};
use sockward_test_interop::{Pair, Tunnel, Way, scenarios};

scenarios![
    local_port_to_port,
    local_port_to_socket,
    local_socket_to_port,
    local_socket_to_socket,
    remote_port_to_port,
    remote_port_to_socket,
    remote_socket_to_port,
    remote_socket_to_socket,
    remote_port_zero,
    standard_streams,
    curl_through_a_remote_socket,
    a_target_that_is_not_there,
    a_listener_that_cannot_be,
    half_close_from_the_origin,
    server_initiated_data,
];

fn local_port_to_port(pair: Pair) {
    questions(pair, Way::Local, true, true);
}

fn local_port_to_socket(pair: Pair) {
    questions(pair, Way::Local, true, false);
}

fn local_socket_to_port(pair: Pair) {
    questions(pair, Way::Local, false, true);
}

fn local_socket_to_socket(pair: Pair) {
    questions(pair, Way::Local, false, false);
}

fn remote_port_to_port(pair: Pair) {
    questions(pair, Way::Remote, true, true);
}

fn remote_port_to_socket(pair: Pair) {
    questions(pair, Way::Remote, true, false);
}

fn remote_socket_to_port(pair: Pair) {
    questions(pair, Way::Remote, false, true);
}

fn remote_socket_to_socket(pair: Pair) {
    questions(pair, Way::Remote, false, false);
}

/// The origin answers only after the end of the question: half-close is carried, and back again.
fn questions(pair: Pair, way: Way, from_port: bool, to_port: bool) {
    let tunnel = Tunnel::new(pair, way, from_port, to_port, Service::CountToEnd);
    for len in [0, 1, 40_000, 300_000] {
        let mut stream = tunnel.connect();
        stream.write_all(&Origin::pattern(1, len)).unwrap();
        stream.end();
        assert_eq!(String::from_utf8(stream.rest()).unwrap(), len.to_string());
    }
}

/// `-R 0:…`: the server chooses, the client tells.
fn remote_port_zero(pair: Pair) {
    let server = pair.server();
    let origin = Origin::tcp(Service::Greet("hello"));
    let forward = format!("0:127.0.0.1:{}", origin.port);
    let client = Client::new(pair.client, &server).args(["-R", &forward]).forward();
    let mut port = None;
    wait_until("the port is told", || {
        let log = client.log();
        let line = log.lines().find(|l| l.contains("Allocated port"));
        port = line.and_then(|l| l.split_whitespace().nth(2).and_then(|n| n.parse::<u16>().ok()));
        port.is_some()
    });
    let stream = std::net::TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
    let mut text = String::new();
    (&stream).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

/// `-W`: standard input and output are the connection.
fn standard_streams(pair: Pair) {
    let server = pair.server();
    let origin = Origin::tcp(Service::CountToEnd);
    let target = format!("127.0.0.1:{}", origin.port);
    let mut command = Client::new(pair.client, &server).args(["-W", &target]).command("");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[1; 100_000]).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "100000");
    assert!(out.status.success());
}

fn curl_through_a_remote_socket(pair: Pair) {
    let setup = ServerSetup::with("StreamLocalBindMask 0111\n");
    let page = Service::Page("a page");
    let tunnel = Tunnel::with(pair, Way::Remote, false, true, page, &[], &setup);
    let sockward_test_interop::End::Path(path) = &tunnel.at else { panic!() };
    let out = curl(&["--unix-socket", path.to_str().unwrap(), "http://localhost/"]);
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "a page");
}

/// The connection ends at once and the client says why; the session goes on.
fn a_target_that_is_not_there(pair: Pair) {
    let server = pair.server();
    let (port, nobody) = (free_port(), free_port());
    let forward = format!("{port}:127.0.0.1:{nobody}");
    let client = Client::new(pair.client, &server).args(["-L", &forward]).forward();
    let at = sockward_test_interop::End::Port(port);
    at.wait();
    assert!(at.connect().unwrap().rest().is_empty());
    wait_until("the client says why", || client.log().contains("open failed"));
    assert!(client.log().to_lowercase().contains("connect"), "{}", client.log());
}

/// ExitOnForwardFailure: the client ends with 255 when the server cannot listen.
fn a_listener_that_cannot_be(pair: Pair) {
    let server = pair.server();
    let taken = Origin::tcp(Service::Echo);
    let forward = format!("127.0.0.1:{}:127.0.0.1:9", taken.port);
    let mut client = Client::new(pair.client, &server).args(["-R", &forward]).forward();
    assert_eq!(client.wait().code(), Some(255));
    assert!(client.log().contains("remote port forwarding failed"), "{}", client.log());
    let missing = server.dir.join("missing/socket");
    let forward = format!("{}:127.0.0.1:9", missing.display());
    let mut client = Client::new(pair.client, &server).args(["-R", &forward]).forward();
    assert_eq!(client.wait().code(), Some(255));
    assert!(client.log().contains("remote port forwarding failed"), "{}", client.log());
}

/// The origin ends its half first; what comes after that from the other side still arrives.
fn half_close_from_the_origin(pair: Pair) {
    for way in [Way::Local, Way::Remote] {
        let tunnel = Tunnel::new(pair, way, true, true, Service::Greet("first"));
        let mut stream = tunnel.connect();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first");
        stream.write_all(&[0; 200_000]).unwrap();
        stream.end();
    }
}

/// A service that speaks first (as VNC does) is heard without a word from the client.
fn server_initiated_data(pair: Pair) {
    let tunnel = Tunnel::new(pair, Way::Remote, false, true, Service::Greet("RFB 003.008\n"));
    let mut bytes = [0; 12];
    tunnel.connect().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"RFB 003.008\n");
    assert!(pair.has_ours() || pair.client == Kind::OpenSsh);
}
