//! Bytes in quantity: large, tiny, many at once, with keys changing beneath. Every byte is compared.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use sockward_test_interop::support::{
    Origin, ServerSetup, Service, TempDir, free_port, has_program, wait_until,
};
use sockward_test_interop::{Pair, Stream, Tunnel, Way, scenarios};

scenarios![
    sixty_four_mebibytes_each_way,
    two_hundred_at_once,
    keys_change_during_transfers,
    tiny_writes,
    a_page_from_nginx,
];

/// Sends and receives at the same time what an echo gives back, and compares.
fn echo(stream: &Stream, seed: u64, len: usize) {
    let bytes = Origin::pattern(seed, len);
    let mut sender = stream.twin();
    let sent = bytes.clone();
    let thread = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.end();
    });
    let got = stream.twin().rest();
    thread.join().unwrap();
    assert!(got == bytes, "{} of {len} bytes, or not the same", got.len());
}

fn sixty_four_mebibytes_each_way(pair: Pair) {
    for way in [Way::Local, Way::Remote] {
        let tunnel = Tunnel::new(pair, way, true, true, Service::Echo);
        echo(&tunnel.connect(), 1, 64 << 20);
    }
}

fn two_hundred_at_once(pair: Pair) {
    for way in [Way::Local, Way::Remote] {
        let tunnel = Tunnel::new(pair, way, true, false, Service::Echo);
        std::thread::scope(|scope| {
            for n in 0..200u64 {
                let tunnel = &tunnel;
                // Lengths from nothing to 200 KiB, each with bytes of its own.
                let len = usize::try_from(n * n % 200).unwrap() * 1031;
                scope.spawn(move || echo(&tunnel.connect(), n, len));
            }
        });
    }
}

fn keys_change_during_transfers(pair: Pair) {
    let options = &["-o", "RekeyLimit=1M"];
    let tunnel = Tunnel::with(pair, Way::Local, true, true, Service::Echo, options, &ServerSetup::default());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let tunnel = &tunnel;
            scope.spawn(move || echo(&tunnel.connect(), n, 4 << 20));
        }
    });
    // The server's own limit, the other way round.
    let setup = ServerSetup::with("RekeyLimit 1M\n");
    let tunnel = Tunnel::with(pair, Way::Remote, false, true, Service::Echo, &[], &setup);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let tunnel = &tunnel;
            scope.spawn(move || echo(&tunnel.connect(), n, 4 << 20));
        }
    });
    assert!(
        tunnel.server.log().matches("rekey").count() + tunnel.server.log().matches("new keys").count() > 0
    );
}

fn tiny_writes(pair: Pair) {
    let tunnel = Tunnel::new(pair, Way::Local, true, true, Service::Echo);
    let mut stream = tunnel.connect();
    for i in 0..3000u32 {
        let byte = [i.to_le_bytes()[0]];
        stream.write_all(&byte).unwrap();
        if i % 3 == 0 {
            let mut got = [0; 1];
            stream.read_exact(&mut got).unwrap();
            assert_eq!(got[0], (i / 3).to_le_bytes()[0]);
        }
    }
}

fn a_page_from_nginx(pair: Pair) {
    if !has_program("nginx") {
        return;
    }
    let dir = TempDir::new();
    let port = free_port();
    let bytes = Origin::pattern(77, 5 << 20);
    dir.write("page", &bytes);
    let config = format!(
        "daemon off; pid {0}/nginx.pid; error_log {0}/error.log; worker_processes 1;\n\
         events {{ worker_connections 200; }}\n\
         http {{ access_log off; client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;\n\
         uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n\
         server {{ listen 127.0.0.1:{port}; root {0}; }} }}\n",
        dir.path().display()
    );
    let path = dir.write("nginx.conf", config);
    let mut nginx = Command::new("nginx");
    nginx.arg("-c").arg(path).arg("-e").arg(dir.join("error.log"));
    let mut nginx = nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let server = pair.server_with(&ServerSetup::with("StreamLocalBindMask 0111\n"));
    let socket = server.dir.join("far/web.sock");
    let forward = format!("{}:127.0.0.1:{port}", socket.display());
    let _client =
        sockward_test_interop::support::Client::new(pair.client, &server).args(["-R", &forward]).forward();
    let at = sockward_test_interop::End::Path(socket.clone());
    at.wait();
    let urls: Vec<String> = (0..10).map(|_| "http://localhost/page".to_owned()).collect();
    let mut args = vec!["--unix-socket", socket.to_str().unwrap()];
    args.extend(urls.iter().map(String::as_str));
    let out = sockward_test_interop::support::curl(&args);
    nginx.kill().unwrap();
    let _ = nginx.wait();
    assert!(out.stdout == bytes.repeat(10), "{}", String::from_utf8_lossy(&out.stderr));
}
