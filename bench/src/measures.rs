//! The measures. Each sets up a server and a client of one kind, works through a forwarding, and tells numbers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sockward_test_support::{
    Client, Kind, Origin, Running, Server, ServerSetup, Service, free_port, wait_until,
};

use crate::cpu::usage;
use crate::relay::{Pair, relay};

/// One measure.
pub(crate) struct Measure {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Who stands beside ours, where it is not OpenSSH.
    peer: &'static str,
    /// What the numbers are, and whether more is better.
    columns: &'static [(&'static str, bool)],
    /// `OpenSsh` stands for the peer, whoever it is.
    take: fn(Kind) -> Vec<f64>,
}

/// All of them.
pub(crate) const MEASURES: &[Measure] = &[
    Measure {
        name: "down-aes128-gcm",
        peer: OPENSSH,
        columns: BULK,
        take: |kind| bulk(kind, "aes128-gcm@openssh.com", true),
    },
    Measure {
        name: "up-aes128-gcm",
        peer: OPENSSH,
        columns: BULK,
        take: |kind| bulk(kind, "aes128-gcm@openssh.com", false),
    },
    Measure {
        name: "down-chacha20-poly1305",
        peer: OPENSSH,
        columns: BULK,
        take: |kind| bulk(kind, "chacha20-poly1305@openssh.com", true),
    },
    Measure {
        name: "connections",
        peer: OPENSSH,
        columns: &[("connections /s", true)],
        take: |kind| vec![connections(kind)],
    },
    Measure {
        name: "echo-among-idle",
        peer: OPENSSH,
        columns: &[("echoes /s", true), ("p50 µs", false), ("p99 µs", false)],
        take: |kind| echo(kind, 1000, 0),
    },
    Measure {
        name: "echo-beside-stalled",
        peer: OPENSSH,
        columns: &[("echoes /s", true), ("p50 µs", false), ("p99 µs", false)],
        take: |kind| echo(kind, 0, 4),
    },
    Measure {
        name: "idle-memory",
        peer: OPENSSH,
        columns: &[("client KiB each", false), ("server KiB each", false)],
        take: idle_memory,
    },
    Measure {
        name: "logins",
        peer: OPENSSH,
        columns: &[("server CPU ms each", false), ("wall ms each", false)],
        take: logins,
    },
    Measure {
        name: "relay-tcp-tcp-1",
        peer: SOCAT,
        columns: RELAY,
        take: |kind| relay(kind, Pair::TcpTcp, 1),
    },
    Measure {
        name: "relay-tcp-tcp-64",
        peer: SOCAT,
        columns: RELAY,
        take: |kind| relay(kind, Pair::TcpTcp, 64),
    },
    Measure {
        name: "relay-unix-tcp-1",
        peer: SOCAT,
        columns: RELAY,
        take: |kind| relay(kind, Pair::UnixTcp, 1),
    },
    Measure {
        name: "relay-unix-tcp-64",
        peer: SOCAT,
        columns: RELAY,
        take: |kind| relay(kind, Pair::UnixTcp, 64),
    },
    Measure {
        name: "relay-stdio-unix-1",
        peer: SOCAT,
        columns: RELAY,
        take: |kind| relay(kind, Pair::StdioUnix, 1),
    },
    Measure {
        name: "relay-stdio-unix-64",
        peer: SOCAT,
        columns: RELAY,
        take: |kind| relay(kind, Pair::StdioUnix, 64),
    },
];

const OPENSSH: &str = "OpenSSH";
const SOCAT: &str = "socat";
const RELAY: &[(&str, bool)] = &[("Gbit/s", true), ("CPU s/GiB", false)];

const BULK: &[(&str, bool)] = &[("Gbit/s", true), ("client CPU s/GiB", false), ("server CPU s/GiB", false)];

impl Measure {
    /// Takes the measure in turn of both kinds and tells medians and ratios.
    pub(crate) fn compare(&self, rounds: usize) {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..rounds {
            ours.push((self.take)(Kind::Ours));
            theirs.push((self.take)(Kind::OpenSsh));
        }
        for (i, (label, more_is_better)) in self.columns.iter().enumerate() {
            let column = |rows: &[Vec<f64>]| median(rows.iter().map(|row| row[i]).collect());
            let ratios = ours.iter().zip(&theirs).map(|(a, b)| a[i] / b[i]).collect();
            let arrow = if *more_is_better { "more is better" } else { "less is better" };
            println!(
                "{:<24} {:<20} ours {:>10.3}  {:<7} {:>10.3}  ratio {:>6.2}  ({arrow})",
                self.name,
                label,
                column(&ours),
                self.peer,
                column(&theirs),
                median(ratios),
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A client and a server of one kind with `-L port` to an origin.
struct Tunnel {
    server: Server,
    client: Running,
    port: u16,
    _origin: Origin,
}

impl Tunnel {
    fn new(kind: Kind, service: Service, options: &[&str]) -> Self {
        let server = Server::start(kind, &ServerSetup::with("LogLevel ERROR\n"));
        let origin = Origin::tcp(service);
        let port = free_port();
        let forward = format!("{port}:127.0.0.1:{}", origin.port);
        let client = Client::new(kind, &server).args(options).args(["-L", &forward]).forward();
        wait_until("the tunnel", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Tunnel { server, client, port, _origin: origin }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// One stream of half a GiB.
fn bulk(kind: Kind, cipher: &str, down: bool) -> Vec<f64> {
    const LEN: usize = 512 << 20;
    let service = if down { Service::Send(LEN) } else { Service::CountToEnd };
    let tunnel = Tunnel::new(kind, service, &["-c", cipher]);
    // The connection that waited for the tunnel may still be running.
    std::thread::sleep(Duration::from_millis(300));
    let pids = [tunnel.client.pid(), tunnel.server.pid()];
    let mut stream = tunnel.connect();
    let mut buffer = vec![7; 256 * 1024];
    // The origin makes its bytes first.
    if down {
        stream.read_exact(&mut buffer[..1]).unwrap();
    }
    let before = pids.map(usage);
    let start = Instant::now();
    if down {
        while stream.read(&mut buffer).unwrap() > 0 {}
    } else {
        for _ in 0..LEN / buffer.len() {
            stream.write_all(&buffer).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, LEN.to_string());
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = pids.map(usage);
    let gib = LEN as f64 / f64::from(1 << 30);
    vec![
        LEN as f64 * 8.0 / 1e9 / seconds,
        (after[0].cpu - before[0].cpu) / gib,
        (after[1].cpu - before[1].cpu) / gib,
    ]
}

/// New connections through a tunnel, eight at once.
fn connections(kind: Kind) -> f64 {
    const EACH: usize = 300;
    let tunnel = Tunnel::new(kind, Service::Greet("hello"), &[]);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let mut text = String::new();
                    tunnel.connect().read_to_string(&mut text).unwrap();
                    assert_eq!(text, "hello");
                }
            });
        }
    });
    (8 * EACH) as f64 / start.elapsed().as_secs_f64()
}

/// Echoes one after the other, beside idle connections and beside readers that never read.
fn echo(kind: Kind, idle: usize, stalled: usize) -> Vec<f64> {
    const ECHOES: usize = 1000;
    let tunnel = Tunnel::new(kind, Service::Echo, &[]);
    let others: Vec<TcpStream> = (0..idle).map(|_| tunnel.connect()).collect();
    for stream in &others {
        let mut byte = [1];
        (&*stream).write_all(&byte).unwrap();
        (&*stream).read_exact(&mut byte).unwrap();
    }
    // They write and never read what comes back, until nothing moves any more.
    let stalled: Vec<TcpStream> = (0..stalled).map(|_| tunnel.connect()).collect();
    for stream in &stalled {
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while (&*stream).write_all(&[0; 65536]).is_ok() {}
    }
    let mut stream = tunnel.connect();
    let mut times = Vec::new();
    let start = Instant::now();
    for _ in 0..ECHOES {
        let one = Instant::now();
        let mut bytes = [5; 64];
        stream.write_all(&bytes).unwrap();
        stream.read_exact(&mut bytes).unwrap();
        times.push(one.elapsed().as_secs_f64() * 1e6);
    }
    let rate = ECHOES as f64 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    vec![rate, times[ECHOES / 2], times[ECHOES * 99 / 100]]
}

/// Memory for each idle forwarded connection.
fn idle_memory(kind: Kind) -> Vec<f64> {
    const IDLE: usize = 1000;
    let tunnel = Tunnel::new(kind, Service::Echo, &[]);
    let warm = |n: usize| -> Vec<TcpStream> {
        let streams: Vec<TcpStream> = (0..n).map(|_| tunnel.connect()).collect();
        for stream in &streams {
            let mut byte = [1];
            (&*stream).write_all(&byte).unwrap();
            (&*stream).read_exact(&mut byte).unwrap();
        }
        streams
    };
    let _few = warm(10);
    let before = [usage(tunnel.client.pid()), usage(tunnel.server.pid())];
    let _many = warm(IDLE);
    let after = [usage(tunnel.client.pid()), usage(tunnel.server.pid())];
    (0..2).map(|i| (after[i].private_kib as f64 - before[i].private_kib as f64) / IDLE as f64).collect()
}

/// What a login costs the server: stock clients, one remote socket each.
fn logins(kind: Kind) -> Vec<f64> {
    const LOGINS: usize = 20;
    let server = Server::start(kind, &ServerSetup::with("LogLevel ERROR\nStreamLocalBindMask 0111\n"));
    let before = usage(server.pid()).cpu;
    let start = Instant::now();
    for n in 0..LOGINS {
        let path = format!("/tmp/sockward-bench-{}-{n}", std::process::id());
        let forward = format!("{path}:127.0.0.1:9");
        let mut client = Client::new(Kind::OpenSsh, &server).args(["-R", &forward]).forward();
        wait_until("the socket", || UnixStream::connect(&path).is_ok());
        client.stop();
        let _ = std::fs::remove_file(&path);
    }
    let wall = start.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_millis(200));
    let used = usage(server.pid()).cpu - before;
    vec![used * 1000.0 / LOGINS as f64, wall * 1000.0 / LOGINS as f64]
}
