//! `Reconnect` between two network namespaces: the path is cut, swallows everything, forgets its ends; the server
//! restarts; the client gets another address. All the while connections in both directions, over ports and sockets,
//! carry bytes that are compared: each gets its own, as far as it gets, and nobody another's.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use sockward_test_e2e::support::{
    Kind, Origin, Server, ServerSetup, Service, has_program, sockward, wait_until,
};
use sockward_test_e2e::{alex_and_bob, as_root, directory};

const SERVER: &str = "10.77.0.1";
const CLIENT: &str = "10.77.0.2";
const CLIENT_LATER: &str = "10.77.0.3";

/// The listeners' ports: the namespaces are the test's own.
const NEAR: u16 = 4001;
const FAR: u16 = 4002;

/// The longest transfer of the checker.
const TRANSFER: u64 = 200_000;

// ---- namespaces ----

/// A network namespace; it ends with the process in it.
struct Net(Child);

impl Net {
    fn new() -> Net {
        let child = Command::new("unshare").args(["--net", "sleep", "300"]).spawn().unwrap();
        let net = Net(child);
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        wait_until("the namespace", || std::fs::read_link(net.path()).is_ok_and(|its| its != own));
        net.run("ip link set lo up");
        net
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// `nsenter` and the words of a command.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path()));
        command
    }

    fn run(&self, line: &str) {
        let out = self.enter().args(line.split(' ')).output().unwrap();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// A thread in it; threads that it starts are in it, too.
    fn thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let file = std::fs::File::open(self.path()).unwrap();
        std::thread::spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// ---- the checker ----

/// Where connections are made.
#[derive(Clone)]
enum Place {
    Port(u16),
    Socket(PathBuf),
}

#[derive(Debug, PartialEq, Eq)]
enum Got {
    All,
    /// It was cut off: so many bytes came, and they were right.
    Part(usize),
    /// Bytes that were not its own.
    Wrong,
}

/// Sends bytes that no other connection sends to a service that echoes them, and compares.
fn transfer(place: &Place, seed: u64, len: usize) -> std::io::Result<Got> {
    match place {
        Place::Port(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port))?;
            // One that the server has forgotten and the machine still holds must not hold the test.
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let writer = stream.try_clone()?;
            Ok(compare(stream, writer, |w| w.shutdown(Shutdown::Write), seed, len))
        }
        Place::Socket(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            let writer = stream.try_clone()?;
            Ok(compare(stream, writer, |w| w.shutdown(Shutdown::Write), seed, len))
        }
    }
}

fn compare<S: Write + Send + 'static>(
    mut from: impl Read,
    mut to: S,
    end: fn(&S) -> std::io::Result<()>,
    seed: u64,
    len: usize,
) -> Got {
    let bytes = Origin::pattern(seed, len);
    let sent = bytes.clone();
    // Errors show at the other half.
    let writer = std::thread::spawn(move || to.write_all(&sent).and_then(|()| end(&to)));
    let (mut got, mut buffer) = (0, vec![0; 65536]);
    let outcome = loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => break if got == len { Got::All } else { Got::Part(got) },
            Ok(n) if bytes.get(got..got + n) == Some(&buffer[..n]) => got += n,
            Ok(_) => break Got::Wrong,
        }
    };
    drop(from);
    let _ = writer.join().unwrap();
    outcome
}

/// One thread that makes connections one after the other.
struct Checker {
    stop: Arc<AtomicBool>,
    complete: Arc<AtomicU64>,
    thread: Option<JoinHandle<[u64; 2]>>,
}

impl Checker {
    fn start(net: &Net, place: Place, number: u64) -> Checker {
        let (stop, complete) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&complete));
        let thread = net.thread(move || {
            let mut counts = [0, 0];
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let seed = number << 32 | n;
                let len = (seed.wrapping_mul(7919) % TRANSFER) as usize + 1;
                match transfer(&place, seed, len) {
                    Ok(Got::All) => {
                        counts[0] += 1;
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(Got::Part(_)) | Err(_) => counts[1] += 1,
                    Ok(Got::Wrong) => panic!("connection {seed:x} got another's bytes"),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            counts
        });
        Checker { stop, complete, thread: Some(thread) }
    }

    fn complete(&self) -> u64 {
        self.complete.load(Ordering::Relaxed)
    }

    /// How many were carried whole, and how many were cut off.
    fn end(mut self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().expect("the checker is content")
    }
}

// ---- the stage ----

/// A server, a client that connects again, four forwardings, and checkers at each.
struct Stage {
    name: &'static str,
    client_net: Net,
    server_net: Net,
    server: Server,
    client: Child,
    log: PathBuf,
    checkers: Vec<Checker>,
    near: PathBuf,
}

impl Stage {
    /// None where it cannot be set up. `options` are the client's.
    fn new(name: &'static str, kind: Kind, options: &[&str]) -> Option<Stage> {
        let programs = ["unshare", "nsenter", "ip", "iptables", "pkill"];
        if !as_root() || !programs.iter().all(|program| has_program(program)) {
            return None;
        }
        let (client_net, server_net) = (Net::new(), Net::new());
        let [client, server] = [&client_net, &server_net].map(|net| net.0.id());
        client_net.run(&format!("ip link add near type veth peer name far netns {server}"));
        assert_ne!(client, server);
        client_net.run(&format!("ip addr add {CLIENT}/24 dev near"));
        server_net.run(&format!("ip addr add {SERVER}/24 dev far"));
        client_net.run("ip link set near up");
        server_net.run("ip link set far up");

        let (alex, _) = alex_and_bob();
        let mut lines = format!("ListenAddress {SERVER}\nClientAliveInterval 1\nClientAliveCountMax 3\n");
        if kind == Kind::OpenSsh {
            // It leaves its sockets behind.
            lines += "StreamLocalBindUnlink yes\n";
        }
        let mounts = format!("exec nsenter --net={} \"$@\"", server_net.path());
        let server = Server::start(kind, &ServerSetup { lines, mounts, ..ServerSetup::default() });
        let dir = directory(&server, "far", alex, 0o755);
        let (far, near) = (dir.join("listener"), server.dir.join("near"));
        let far_origin = Origin::unix(&server.dir.join("far-origin"), Service::Echo).path;
        let near_origin = Origin::unix(&server.dir.join("near-origin"), Service::Echo).path;
        let far_port = server_net.thread(|| Origin::tcp(Service::Echo).port).join().unwrap();
        let near_port = client_net.thread(|| Origin::tcp(Service::Echo).port).join().unwrap();

        let known = server.keys.known_hosts(server.dir.path(), server.port);
        let log = server.dir.join("client.log");
        let mut command = client_net.enter();
        command.arg(sockward()).args(["ssh", "-F", "none", "-N", "-v", "-i"]).arg(&server.keys.user);
        command.arg("-p").arg(server.port.to_string());
        for option in [
            "IdentitiesOnly=yes",
            "GlobalKnownHostsFile=/dev/null",
            "ExitOnForwardFailure=yes",
            "Reconnect=yes",
            "ReconnectMaxDelay=1",
            "ReconnectWait=none",
            &format!("HostKeyAlias=[127.0.0.1]:{}", server.port),
            &format!("UserKnownHostsFile={}", known.display()),
            &format!("LocalForward={NEAR} 127.0.0.1:{far_port}"),
            &format!("LocalForward={} {}", near.display(), far_origin.display()),
            &format!("RemoteForward={FAR} 127.0.0.1:{near_port}"),
            &format!("RemoteForward={} {}", far.display(), near_origin.display()),
        ] {
            command.args(["-o", option]);
        }
        command.args(options).arg(format!("{}@{SERVER}", alex.name)).env_remove("SSH_AUTH_SOCK");
        let errors = std::fs::File::create(&log).unwrap();
        let client = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        let mut stage =
            Stage { name, client_net, server_net, server, client, log, checkers: Vec::new(), near };
        wait_until("all forwardings are there", || stage.said("remote forward success") == 2);
        let places = [
            (&stage.client_net, Place::Port(NEAR)),
            (&stage.client_net, Place::Socket(stage.near.clone())),
            (&stage.server_net, Place::Port(FAR)),
            (&stage.server_net, Place::Socket(far)),
        ];
        let checkers = places.into_iter().zip(1..);
        stage.checkers = checkers.map(|((net, place), n)| Checker::start(net, place, n)).collect();
        stage.wait_for_traffic();
        Some(stage)
    }

    /// How often the client's log has this text.
    fn said(&self, text: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap().matches(text).count()
    }

    /// Waits until each checker has carried something whole that it begins after now.
    fn wait_for_traffic(&self) {
        // The one under way may have begun before.
        let enough: Vec<_> = self.checkers.iter().map(|checker| checker.complete() + 2).collect();
        wait_until("connections of each kind are carried", || {
            self.checkers.iter().zip(&enough).all(|(checker, enough)| checker.complete() >= *enough)
        });
    }

    /// Something happens to the path; the client notices; connections wait; the path is mended; all is as before.
    fn outage(&mut self, what: &str, break_it: impl FnOnce(&mut Self), mend: impl FnOnce(&mut Self)) {
        let (lost, back) = (self.said(" lost: "), self.said("Reconnected to "));
        let begun = Instant::now();
        break_it(self);
        wait_until("the client notices", || self.said(" lost: ") > lost);
        let noticed = begun.elapsed();
        let waiting: Vec<_> = (0..8)
            .map(|n| {
                let socket = Place::Socket(self.near.clone());
                let place = if n % 2 == 0 { Place::Port(NEAR) } else { socket };
                self.client_net.thread(move || transfer(&place, 99 << 32 | n, 50_000).unwrap())
            })
            .collect();
        let begun = Instant::now();
        mend(self);
        wait_until("the client is back", || self.said("Reconnected to ") > back);
        let returned = begun.elapsed();
        for thread in waiting {
            let got = thread.join().unwrap();
            // Unless a busy machine has made the server seem silent once more.
            let again = self.said(" lost: ") > lost + 1;
            assert!(got == Got::All || again && got != Got::Wrong, "one that waited is served: {got:?}");
        }
        self.wait_for_traffic();
        println!(
            "{}: {what}: noticed after {:.1} s; after the path was mended back in {:.1} s, all forwardings in {:.1} s",
            self.name,
            noticed.as_secs_f64(),
            returned.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
    }

    fn blackhole(&mut self) {
        self.server_net.run("iptables -w -I INPUT -i far -j DROP");
        self.server_net.run("iptables -w -I OUTPUT -o far -j DROP");
    }

    fn no_blackhole(&mut self) {
        self.server_net.run("iptables -w -F");
    }

    /// The client ends when it is told to, the socket goes, and no byte went astray.
    fn end(mut self) {
        let counts: Vec<_> = self.checkers.drain(..).map(Checker::end).collect();
        println!("{}: carried whole and cut off: {counts:?}", self.name);
        Command::new("kill").arg(self.client.id().to_string()).status().unwrap();
        assert_eq!(self.client.wait().unwrap().code(), Some(0));
        assert!(!self.near.exists());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
        if std::thread::panicking() {
            eprintln!("---- log of the client ----\n{}", std::fs::read_to_string(&self.log).unwrap());
        }
    }
}

/// So that a test need not wait long.
const SOON: [&str; 4] = ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3"];

fn all_outages(name: &'static str, kind: Kind) {
    let Some(mut stage) = Stage::new(name, kind, &SOON) else { return };
    stage.outage(
        "cut",
        |stage| stage.client_net.run("ip link set near down"),
        |stage| stage.client_net.run("ip link set near up"),
    );
    stage.outage("blackholed", Stage::blackhole, Stage::no_blackhole);
    // The server has forgotten the connection, and nothing tells the client.
    stage.outage(
        "half-open",
        |stage| {
            for flag in ["FIN", "RST"] {
                let rule = format!("iptables -w -I OUTPUT -o far -p tcp --tcp-flags {flag} {flag} -j DROP");
                stage.server_net.run(&rule);
            }
            stage.server.cut();
        },
        Stage::no_blackhole,
    );
    stage.outage(
        "server restarted",
        |stage| {
            stage.server.cut();
            stage.server.stop();
        },
        |stage| stage.server.restart(),
    );
    stage.outage(
        "client's address changed",
        |stage| {
            stage.client_net.run(&format!("ip addr add {CLIENT_LATER}/24 dev near"));
            stage.client_net.run(&format!("ip addr del {CLIENT}/24 dev near"));
            // The second of a network goes with the first where the kernel does not promote it.
            stage.client_net.run(&format!("ip addr replace {CLIENT_LATER}/24 dev near"));
        },
        |_| {},
    );
    stage.end();
}

#[test]
fn our_server() {
    all_outages("our server", Kind::Ours);
}

#[test]
fn stock_server() {
    all_outages("stock server", Kind::OpenSsh);
}

/// Nothing is said about keep-alives: a dead path is noticed all the same.
#[test]
fn by_default() {
    let Some(mut stage) = Stage::new("defaults", Kind::Ours, &[]) else { return };
    stage.outage("blackholed", Stage::blackhole, Stage::no_blackhole);
    stage.end();
}
