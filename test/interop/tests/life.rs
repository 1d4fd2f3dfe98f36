//! What happens when somebody goes without a word, when readers stall, and what is left after many connections.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use sockward_test_interop::support::{Kind, Origin, Service, wait_until};
use sockward_test_interop::{End, Pair, Stream, Tunnel, Way, scenarios};

scenarios![
    the_client_is_killed,
    the_server_is_killed,
    both_ends_of_a_connection_go,
    readers_that_stall_stop_nobody_else,
    cancelled_by_the_end_of_the_session,
];

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
}

/// The origin sees the end of its connection, and our server takes its socket away.
fn the_client_is_killed(pair: Pair) {
    let mut tunnel = Tunnel::new(pair, Way::Remote, false, true, Service::Echo);
    let mut stream = tunnel.connect();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    tunnel.client.kill();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    if pair.server == Kind::Ours {
        let End::Path(path) = &tunnel.at else { panic!() };
        wait_until("the socket is gone", || path.symlink_metadata().is_err());
    }
}

/// The client ends with 255 and connections end.
fn the_server_is_killed(pair: Pair) {
    let mut tunnel = Tunnel::new(pair, Way::Local, true, true, Service::Echo);
    let mut stream = tunnel.connect();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    if pair.server == Kind::Ours {
        tunnel.server.stop();
    } else {
        // Stock sessions outlive their daemon, and each other.
        for pid in descendants(tunnel.server.pid()).into_iter().skip(1) {
            signal(pid, "KILL");
        }
    }
    assert_eq!(tunnel.client.wait().code(), Some(255));
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
}

fn both_ends_of_a_connection_go(pair: Pair) {
    for way in [Way::Local, Way::Remote] {
        let tunnel = Tunnel::new(pair, way, true, true, Service::Send(3 << 20));
        for _ in 0..30 {
            // In the middle of the answer.
            let mut stream = tunnel.connect();
            stream.read_exact(&mut [0; 1000]).unwrap();
        }
        let whole = tunnel.connect();
        whole.end();
        assert!(whole.rest() == Origin::pattern(3 << 20, 3 << 20));
    }
}

/// Four readers never read; an echo on a fifth connection goes on. The bound is loose on purpose: a connection
/// that waits for the stalled ones waits for ever.
fn readers_that_stall_stop_nobody_else(pair: Pair) {
    for way in [Way::Local, Way::Remote] {
        let tunnel = Tunnel::new(pair, way, true, true, Service::Echo);
        let stalled: Vec<Stream> = (0..4).map(|_| tunnel.connect()).collect();
        for stream in &stalled {
            // What is sent comes back, and is never read: every buffer on the way fills up.
            let Stream::Tcp(stream) = stream else { panic!() };
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            while (&*stream).write_all(&[0; 65536]).is_ok() {}
        }
        let mut stream = tunnel.connect();
        let Stream::Tcp(tcp) = &stream else { panic!() };
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for i in 0..300u32 {
            stream.write_all(&i.to_le_bytes()).unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).expect("an answer beside stalled readers");
            assert_eq!(bytes, i.to_le_bytes());
        }
    }
}

fn cancelled_by_the_end_of_the_session(pair: Pair) {
    let mut tunnel = Tunnel::new(pair, Way::Remote, true, true, Service::Echo);
    tunnel.client.stop();
    wait_until("the listener is gone", || tunnel.at.connect().is_err());
}

/// A process and all that come from it.
fn descendants(root: u32) -> Vec<u32> {
    let mut pids = vec![root];
    let mut at = 0;
    while let Some(pid) = pids.get(at).copied() {
        let out = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
        pids.extend(String::from_utf8(out.stdout).unwrap().lines().filter_map(|l| l.parse::<u32>().ok()));
        at += 1;
    }
    pids
}

/// What a process and its descendants have open, and how much memory of their own.
fn footprint(root: u32) -> (usize, u64) {
    let mut total = (0, 0);
    for pid in descendants(root) {
        total.0 += std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |d| d.count());
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let kib = |l: &str| l.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        total.1 += rollup.lines().filter(|l| l.starts_with("Private_")).map(kib).sum::<u64>();
    }
    total
}

/// 10,000 one after the other, 2,000 at once, on one login: nothing is left on either side of ours.
#[test]
fn nothing_is_left_after_ten_thousand_and_two_thousand() {
    let pair = Pair { client: Kind::Ours, server: Kind::Ours };
    for way in [Way::Local, Way::Remote] {
        let tunnel = Tunnel::new(pair, way, false, false, Service::Echo);
        let one = || {
            let mut stream = tunnel.connect();
            stream.write_all(b"hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            stream
        };
        drop(one());
        let pids = [tunnel.client.pid(), tunnel.server.pid()];
        let settled = || {
            std::thread::sleep(Duration::from_millis(300));
            pids.map(footprint)
        };
        let before = settled();
        for _ in 0..10_000 {
            drop(one());
        }
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let held: Vec<Stream> = (0..250).map(|_| one()).collect();
                    for mut stream in held {
                        stream.write_all(b"again").unwrap();
                        stream.read_exact(&mut [0; 5]).unwrap();
                    }
                });
            }
        });
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let after = settled();
            let descriptors = (0..2).all(|i| after[i].0 <= before[i].0);
            let memory = (0..2).all(|i| after[i].1 <= before[i].1 + 8 * 1024);
            if descriptors && memory {
                break;
            }
            assert!(Instant::now() < until, "{way:?}: before {before:?}, after {after:?} (descriptors, KiB)");
        }
    }
}
