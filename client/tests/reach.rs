//! How a server is reached and named: proxies, jump hosts, URIs, addresses; what is printed without one; the exit
//! codes of what goes wrong on the way.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use common::{Ended, Server, client, free_port, read, user};

/// Our client without a server.
fn alone(arguments: &[&str]) -> Ended {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60"]).arg(client()).args(arguments).stdin(Stdio::null());
    Ended::of(command)
}

#[test]
fn a_command_leads_to_the_server() {
    let Some(server) = Server::start("") else { return };
    let through =
        format!("ProxyCommand={} -F {} -W %h:%p h", client().display(), server.path("config").display());
    let ended = server.run(&["-o", &through, "-o", "HostKeyAlias=alias", "-v", "other", "true"]);
    ended.failed("Host key verification failed.");
    let name = format!("HostKeyAlias=[127.0.0.1]:{}", server.port);
    let arguments =
        ["-o", &through, "-o", &name, "-o", "Hostname=localhost", "other", "echo through; exit 3"];
    let ended = server.run(&arguments);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(3), "through\n"), "{}", ended.stderr);
    server.run(&["-o", "ProxyCommand=exit 1", "h", "true"]).failed("Connection closed by UNKNOWN port 65535");
    assert_eq!(server.run(&["-o", "ProxyCommand=none", "h", "echo direct"]).well(), "direct\n");
}

#[test]
fn jump_hosts_one_behind_the_other() {
    let (Some(first), Some(second)) = (Server::start(""), Server::start("")) else { return };
    let known = read(&first.path("known")) + &read(&second.path("known"));
    std::fs::write(first.path("known"), known).unwrap();
    let authorized = read(&first.path("authorized_keys"));
    std::fs::write(second.path("authorized_keys"), authorized).unwrap();
    first.configure(&format!("Host last\nPort {}\nProxyJump h1,h2\nHost *", second.port));
    let ended = first.run(&["last", "set -- $SSH_CONNECTION; echo $4; exit 5"]);
    assert_eq!((ended.code(), ended.out()), (Some(5), format!("{}\n", second.port)), "{}", ended.stderr);
    let port = second.port.to_string();
    let jump = format!("{}@h:{}", user(), first.port);
    assert_eq!(first.run(&["-J", &jump, "-p", &port, "h", "echo through"]).well(), "through\n");
    let closed = format!("h:{}", free_port());
    first.run(&["-J", &closed, "-p", &port, "h", "true"]).failed("Connection refused");
}

#[test]
fn destinations_of_every_form() {
    let Some(server) = Server::start("") else { return };
    let (port, me) = (server.port, user());
    server.configure("User nobody-such\nPort 1");
    let text = read(&server.path("config")).replacen("User nobody-such\nPort 1", "", 1);
    // Without Port and User lines: the destination says them.
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("Port ") && !line.starts_with("User ")).collect();
    std::fs::write(server.path("config"), kept.join("\n")).unwrap();
    for destination in
        [format!("ssh://{me}@h:{port}"), format!("ssh://{me}@h:{port}/"), format!("ssh://h:{port}")]
    {
        assert_eq!(server.run(&[&destination, "echo in"]).well(), "in\n", "{destination}");
    }
    assert_eq!(server.run(&["-p", &port.to_string(), "-l", &me, "h", "echo in"]).well(), "in\n");
    assert_eq!(server.run(&[&format!("{me}@h"), "-p", &port.to_string(), "echo", "in"]).well(), "in\n");
    for bad in [format!("ssh://{me}@h:{port}/path"), "ssh://h:0".to_owned(), "http:/x".to_owned()] {
        assert_eq!(server.run(&[&bad, "true"]).code(), Some(255), "{bad}");
    }
    server.run(&["-p", "0", "h", "true"]).failed("Bad port '0'");
    server.run(&["-p", "70000", "h", "true"]).failed("Bad port '70000'");
}

#[test]
fn what_goes_wrong_on_the_way_is_255_and_told() {
    let port = free_port().to_string();
    alone(&["-F", "none", "-p", &port, "127.0.0.1", "true"])
        .failed(&format!("ssh: connect to host 127.0.0.1 port {port}: Connection refused"));
    alone(&["-F", "none", "no-such-host.invalid", "true"])
        .failed("ssh: Could not resolve hostname no-such-host.invalid:");
    alone(&["-F", "/nonexistent", "h", "true"]).failed("Can't open user config file /nonexistent");
    alone(&["-o", "NoSuchKeyword=1", "h", "true"]).failed("bad configuration option: nosuchkeyword");
    alone(&["--no-such-option", "h"]).failed("usage: ssh");
    alone(&[]).failed("usage: ssh");
}

#[test]
fn a_server_that_is_none_is_told_apart() {
    for (says, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "Connection closed by 127.0.0.1"),
        (b"SSH-1.5-old\r\n", "Protocol major versions differ: 2 vs."),
        (b"", "kex_exchange_identification: Connection closed by remote host"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(says).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        alone(&["-F", "none", "-p", &port, "127.0.0.1", "true"]).failed(expected);
        thread.join().unwrap();
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    alone(&["-F", "none", "-o", "ConnectTimeout=1", "-p", &port, "127.0.0.1", "true"])
        .failed("Connection timed out during banner exchange");
}

#[test]
fn what_is_printed_without_a_server() {
    let version = alone(&["-V"]);
    assert_eq!(version.code(), Some(0));
    assert!(version.stderr.starts_with("Sockward_"), "{}", version.stderr);
    for query in
        ["cipher", "cipher-auth", "mac", "kex", "key", "key-plain", "key-cert", "sig", "protocol-version"]
    {
        let names = alone(&["-Q", query]).well();
        assert!(!names.is_empty() && names.lines().all(|name| !name.contains(' ')), "{query}: {names}");
    }
    assert_eq!(alone(&["-Q", "nothing"]).code(), Some(255));
    let dump = alone(&["-F", "none", "-G", "-p", "77", "-L", "1:h:2", "alex@example.com"]).well();
    for line in ["user alex", "hostname example.com", "port 77", "localforward 1 [h]:2"] {
        assert!(dump.lines().any(|l| l == line), "{line} is not in:\n{dump}");
    }
}

#[test]
fn addresses_to_connect_from_and_files_to_log_to() {
    let Some(server) = Server::start("") else { return };
    let from = server.run(&["-b", "127.0.0.9", "h", "set -- $SSH_CONNECTION; echo $1"]);
    assert_eq!(from.well(), "127.0.0.9\n");
    let log = server.path("client.log");
    let arguments = ["-v", "-E", log.to_str().unwrap(), "h", "echo in"];
    assert_eq!(server.run(&arguments).well(), "in\n");
    assert!(read(&log).contains("debug1: Authenticating to 127.0.0.1"));
    server.run(&["-E", "/nonexistent/log", "h", "true"]).failed("Couldn't open logfile /nonexistent/log");
}

#[test]
fn a_banner_is_shown_unless_quiet() {
    let Some(server) = Server::start("") else { return };
    std::fs::write(server.path("banner"), "Welcome\n").unwrap();
    server.append_and_reload(&format!("Banner {}", server.path("banner").display()));
    let ended = server.run(&["h", "true"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), "Welcome\n"));
    server.run(&["-q", "h", "true"]).well();
}
