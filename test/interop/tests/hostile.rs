//! A client that does what no ordinary one would: everything at once, and CLOSE before anything has happened.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::result_large_err)]

use std::collections::HashSet;
use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use sockward_crypto::{PrivateKey, SystemRandom, keyfile};
use sockward_proto::event::{ChannelRequest, OpenRequest};
use sockward_proto::{Algorithms, ChannelId, Config, Connection, Event, Received};
use sockward_test_interop::support::{Kind, Server, ServerSetup, wait_until};

const ED25519: &str = "ssh-ed25519";

/// A connection that is logged in, and what has become of its channels.
struct Hostile {
    conn: Connection,
    stream: TcpStream,
    key: PrivateKey,
    input: Vec<u8>,
    opened: Vec<ChannelId>,
    refused: usize,
    closed: HashSet<ChannelId>,
}

impl Hostile {
    fn log_in(server: &Server) -> Self {
        let names = |name: &str| vec![name.to_owned()];
        let algorithms = Algorithms {
            kex: names("curve25519-sha256"),
            host_key: names(ED25519),
            ciphers: names("aes128-gcm@openssh.com"),
            macs: Vec::new(),
        };
        let config = Config::client(b"SSH-2.0-Hostile".to_vec(), algorithms);
        let mut conn = Connection::new(config, Box::new(SystemRandom::new()), Instant::now()).unwrap();
        conn.set_user(server.user.name.clone());
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (key, _) = keyfile::parse(&std::fs::read(&server.keys.user).unwrap(), None).unwrap();
        let (opened, closed) = (Vec::new(), HashSet::new());
        let mut hostile = Hostile { conn, stream, key, input: Vec::new(), opened, refused: 0, closed };
        hostile.until("it is logged in", |h| h.conn.is_open());
        hostile
    }

    /// Writes and reads until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Hostile) -> bool) {
        wait_until(what, || {
            self.turn();
            is_so(self)
        });
    }

    fn turn(&mut self) {
        let out = self.conn.pending_output().unwrap().to_vec();
        self.stream.write_all(&out).unwrap();
        self.conn.output_written(out.len());
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the server has ended the connection"),
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{e}"),
        }
        loop {
            let received = self.conn.recv(&mut self.input, Instant::now()).unwrap();
            self.events();
            match received {
                Received::NeedMore => break,
                Received::Blocked => {}
                Received::Progress(n) | Received::Data { consumed: n, .. } => drop(self.input.drain(..n)),
            }
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::HostKey(question) => self.conn.accept_host_key(question).unwrap(),
                Event::AuthReady => {
                    let blob = self.key.public().blob().to_vec();
                    let data = self.conn.auth_data_to_sign(ED25519, &blob).unwrap();
                    let algorithm = sockward_crypto::SignatureAlg::from_name(ED25519).unwrap();
                    let signature = self.key.sign(algorithm, &data).unwrap();
                    self.conn.auth_signed(ED25519, &blob, &signature).unwrap();
                }
                Event::Opened(channel) => self.opened.push(channel),
                Event::OpenFailed { .. } => self.refused += 1,
                Event::Closed(channel) => assert!(self.closed.insert(channel)),
                _ => {}
            }
        }
    }

    fn open(&mut self, n: usize) {
        for _ in 0..n {
            self.conn.open_channel(&OpenRequest::Session).unwrap();
        }
    }

    /// A command, its input and CLOSE in one go.
    fn run_and_close(&mut self, channel: ChannelId, terminal: bool, command: &str, input: &[u8]) {
        if terminal {
            let size = Default::default();
            let pty = ChannelRequest::Pty { term: b"xterm".to_vec(), size, modes: Vec::new() };
            self.conn.request(channel, &pty, true).unwrap();
        }
        self.conn.request(channel, &ChannelRequest::Exec(command.into()), true).unwrap();
        let fill = |slices: &mut [IoSliceMut<'_>]| {
            slices[0][..input.len()].copy_from_slice(input);
            Ok::<_, ()>(input.len())
        };
        self.conn.send_data(channel, None, input.len(), fill).unwrap().unwrap();
        self.conn.close_channel(channel).unwrap();
    }
}

/// Descriptors of a server's processes.
fn descriptors(server: &Server) -> usize {
    let (mut pids, mut at) = (vec![server.pid()], 0);
    while let Some(pid) = pids.get(at).copied() {
        let out = Command::new("pgrep").args(["-P", &pid.to_string()]).output().unwrap();
        pids.extend(String::from_utf8(out.stdout).unwrap().lines().filter_map(|l| l.parse::<u32>().ok()));
        at += 1;
    }
    pids.iter().map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)).sum()
}

/// Each command gets what was sent before the CLOSE; its channel stays and counts until it ends; nothing is left of
/// hundreds.
#[test]
fn sessions_closed_at_once_keep_to_the_limit_and_leave_nothing() {
    let server = Server::start(Kind::Ours, &ServerSetup::with("MaxSessions 3\n"));
    let far = server.dir.join("far");
    std::fs::create_dir(&far).unwrap();
    let _ = Command::new("chown").arg(&server.user.name).arg(&far).status();
    let mut hostile = Hostile::log_in(&server);
    let before = descriptors(&server);
    let (pids, inputs) = (far.join("pids"), far.join("inputs"));
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    let run = format!("cat >>{}; echo $$ >>{}; exec sleep 1000", inputs.display(), pids.display());
    hostile.open(3);
    hostile.until("three are open", |h| h.opened.len() == 3);
    for channel in std::mem::take(&mut hostile.opened) {
        hostile.run_and_close(channel, false, &run, b"input\n");
    }
    hostile.open(40);
    hostile.until("they are refused", |h| h.refused == 40);
    hostile.until("they run", |_| lines(&pids) == 3);
    assert_eq!(lines(&inputs), 3);
    hostile.open(40);
    hostile.until("they are refused", |h| h.refused == 80);
    assert!(hostile.opened.is_empty() && hostile.closed.is_empty());
    let running = std::fs::read_to_string(&pids).unwrap();
    assert!(Command::new("kill").args(running.split_whitespace()).status().unwrap().success());
    hostile.until("they have ended", |h| h.closed.len() == 3);
    hostile.refused = 0;
    let mut done = 3;
    for round in 0..60 {
        // Some do nothing, some ask for what is not there.
        hostile.open(3);
        hostile.until("all are answered", |h| h.opened.len() + h.refused == 3);
        assert_eq!(hostile.refused, 0, "round {round}");
        for (n, channel) in std::mem::take(&mut hostile.opened).into_iter().enumerate() {
            match (round + n) % 4 {
                0 => hostile.conn.close_channel(channel).unwrap(),
                1 => hostile.run_and_close(channel, false, "a\0b", b"x"),
                2 => hostile.run_and_close(channel, true, "exit 3", b"x"),
                _ => hostile.run_and_close(channel, false, "cat; exit 3", b"x"),
            }
        }
        done += 3;
        hostile.until("all are closed", |h| h.closed.len() == done);
    }
    wait_until("nothing is left", || descriptors(&server) <= before);
}
