//! SOCKS forwardings through a stock server, with curl as the client: `-D` on ports and sockets, `-R port`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use common::{Ended, Running, Server, free_port, wait_until};
use sockward_test_support::has_program;

/// A web server that answers each request with the same word.
fn web() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    port
}

/// Fetches through a proxy (curl's argument). What came, or nothing.
fn fetch(proxy: &[&str], host: &str, port: u16) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "--max-time", "60", "--noproxy", ""]).args(proxy);
    command.arg(format!("http://{host}:{port}/"));
    Ended::of(command).out()
}

fn start(server: &Server, arguments: &[&str], sign: &str) -> Running {
    let all = [&["-v", "-N", "-o", "ExitOnForwardFailure=yes"], arguments, &["h"]].concat();
    let mut running = Running::start(server.ssh(&all));
    running.wait_for(sign);
    // What it says while the test goes on must not fill the pipe.
    let mut stderr = running.child.stderr.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    running
}

const FORMS: [&str; 4] = ["--socks4", "--socks4a", "--socks5", "--socks5-hostname"];

#[test]
fn a_local_port_speaks_socks() {
    let Some(server) = Server::start("").filter(|_| has_program("curl")) else { return };
    let (web, port) = (web(), free_port());
    let _running = start(&server, &["-D", &port.to_string()], "Entering interactive session.");
    let proxy = format!("127.0.0.1:{port}");
    for form in FORMS {
        assert_eq!(fetch(&[form, &proxy], "127.0.0.1", web), "hello", "{form}");
    }
    // Names go to the server as they are.
    for form in ["--socks4a", "--socks5-hostname"] {
        assert_eq!(fetch(&[form, &proxy], "localhost", web), "hello", "{form}");
    }
    let mut refused = Command::new("curl");
    refused.args(["-s", "--socks5-hostname", &proxy, &format!("http://127.0.0.1:{}/", free_port())]);
    assert_eq!(Ended::of(refused).code(), Some(97), "curl is told by the proxy");
    // One that says nothing stops nobody.
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(fetch(&["--socks5-hostname", &proxy], "localhost", web), "hello");
}

#[test]
fn a_local_socket_and_lines_of_the_configuration() {
    let Some(server) = Server::start("").filter(|_| has_program("curl")) else { return };
    let (web, port, socket) = (web(), free_port(), server.path("socks"));
    server.configure(&format!("DynamicForward 127.0.0.1:{port}"));
    let spec = socket.display().to_string();
    let _running = start(&server, &["-D", &spec], "Entering interactive session.");
    let proxy = format!("socks5h://localhost{spec}");
    assert_eq!(fetch(&["--proxy", &proxy], "localhost", web), "hello");
    assert_eq!(fetch(&["--socks5-hostname", &format!("127.0.0.1:{port}")], "localhost", web), "hello");
    let ended = server.run(&["-o", "ClearAllForwardings=yes", "-D", "1", "h", "echo in"]);
    assert_eq!(ended.well(), "in\n");
}

#[test]
fn a_remote_port_speaks_socks_within_what_is_permitted() {
    let Some(server) = Server::start("").filter(|_| has_program("curl")) else { return };
    let web = web();
    let exactly = format!("PermitRemoteOpen=127.0.0.1:{web}");
    let another = format!("PermitRemoteOpen=127.0.0.1:1 localhost:{web}");
    for (option, by_address, by_name) in [
        ("PermitRemoteOpen=any", "hello", "hello"),
        ("PermitRemoteOpen=none", "", ""),
        (&exactly, "hello", ""),
        (&another, "", "hello"),
    ] {
        let port = free_port();
        let _running = start(&server, &["-o", option, "-R", &port.to_string()], "remote forward success");
        let proxy = format!("127.0.0.1:{port}");
        for form in FORMS {
            assert_eq!(fetch(&[form, &proxy], "127.0.0.1", web), by_address, "{option} {form}");
        }
        assert_eq!(fetch(&["--socks5-hostname", &proxy], "localhost", web), by_name, "{option}");
    }
}

#[test]
fn what_comes_with_the_request_gets_through_and_ends_are_carried() {
    let Some(server) = Server::start("") else { return };
    let service = common::serve_tcp("it:");
    let (here, there) = (free_port(), free_port());
    let _running =
        start(&server, &["-D", &here.to_string(), "-R", &there.to_string()], "remote forward success");
    let [high, low] = service.to_be_bytes();
    for port in [here, there] {
        wait_until("the listener", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        // Often, and many at once: request, data and end arrive together as well as one by one.
        for _ in 0..20 {
            let streams: Vec<_> = (0..20)
                .map(|_| {
                    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    stream.write_all(&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, high, low]).unwrap();
                    stream.write_all(b"early").unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    stream
                })
                .collect();
            for mut stream in streams {
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                assert_eq!(back, b"\x05\0\x05\0\0\x01\0\0\0\0\0\0it:early");
            }
        }
    }
}
