//! `sockward relay` and socat at the same work: much data one way, over one connection and over many at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use sockward_test_support::{Kind, TempDir, free_port, sockward, wait_until};

use crate::cpu::{exactly, usage};

/// Bytes of a measure, all connections together.
const TOTAL: usize = 1 << 30;
/// What the load generator reads and writes at once.
const CHUNK: usize = 256 * 1024;

/// What is joined.
#[derive(Clone, Copy)]
pub(crate) enum Pair {
    TcpTcp,
    /// Read from a socket, from a port.
    UnixTcp,
    /// From the relay's output, one process each; from a socket.
    StdioUnix,
}

/// Gbit/s, and seconds of CPU for a GiB.
pub(crate) fn relay(kind: Kind, pair: Pair, connections: usize) -> Vec<f64> {
    let dir = TempDir::new();
    let each = TOTAL / connections;
    let origin = match pair {
        Pair::TcpTcp | Pair::UnixTcp => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            send_to_each(move || listener.accept().unwrap().0, each);
            format!("TCP:127.0.0.1:{port}")
        }
        Pair::StdioUnix => {
            let path = dir.join("origin");
            let listener = UnixListener::bind(&path).unwrap();
            send_to_each(move || listener.accept().unwrap().0, each);
            format!("UNIX-CONNECT:{}", path.display())
        }
    };
    let (port, path) = (free_port(), dir.join("relay"));
    let listen = match pair {
        Pair::TcpTcp => format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,backlog=64,fork"),
        Pair::UnixTcp => format!("UNIX-LISTEN:{},backlog=64,fork", path.display()),
        Pair::StdioUnix => "STDIO".to_owned(),
    };
    let processes = if matches!(pair, Pair::StdioUnix) { connections } else { 1 };
    let mut relays: Vec<Relay> = (0..processes).map(|_| Relay::start(kind, &listen, &origin)).collect();
    match pair {
        Pair::TcpTcp => wait_until("the relay", || listens(port)),
        Pair::UnixTcp => wait_until("the relay", || path.exists()),
        Pair::StdioUnix => {}
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        for n in 0..connections {
            let path = &path;
            let output = relays.get_mut(n).and_then(|relay| relay.0.stdout.take());
            scope.spawn(move || match pair {
                Pair::TcpTcp => drain(TcpStream::connect(("127.0.0.1", port)).unwrap(), each),
                Pair::UnixTcp => drain(connect(path), each),
                Pair::StdioUnix => drain(output.unwrap(), each),
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let cpu_of = |relay: &Relay| match pair {
        Pair::TcpTcp | Pair::UnixTcp => usage(relay.0.id()).cpu,
        Pair::StdioUnix => exactly(relay.0.id()),
    };
    let cpu: f64 = relays.iter().map(cpu_of).sum();
    vec![TOTAL as f64 * 8.0 / 1e9 / seconds, cpu / (TOTAL as f64 / f64::from(1 << 30))]
}

struct Relay(Child);

impl Relay {
    fn start(kind: Kind, first: &str, second: &str) -> Relay {
        let mut command = match kind {
            Kind::Ours => Command::new(sockward()),
            Kind::OpenSsh => Command::new("socat"),
        };
        if kind == Kind::Ours {
            command.arg("relay");
        }
        // A connection that is over at one side waits here, so that its CPU time can be looked up.
        command.args(["-t", "600", first, second]);
        Relay(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // socat's children end with their connections.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends each connection its bytes, and keeps it open in the other direction.
fn send_to_each<S: Write + Send + 'static>(accept: impl Fn() -> S + Send + 'static, each: usize) {
    std::thread::spawn(move || {
        loop {
            let mut stream = accept();
            std::thread::spawn(move || {
                let chunk = vec![7; CHUNK];
                for _ in 0..each / CHUNK {
                    if stream.write_all(&chunk).is_err() {
                        return;
                    }
                }
                std::thread::sleep(std::time::Duration::from_secs(60));
            });
        }
    });
}

fn drain(mut from: impl Read, mut left: usize) {
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let n = from.read(&mut buffer).unwrap();
        assert!(n > 0, "the relay has gone");
        left -= n;
    }
}

/// A backlog that is full says so at once.
fn connect(path: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
}

/// Without a connection, which the relay would take for work.
fn listens(port: u16) -> bool {
    let text = std::fs::read_to_string("/proc/net/tcp").unwrap();
    text.lines().any(|line| line.contains(&format!(":{port:04X} 00000000:0000 0A")))
}
