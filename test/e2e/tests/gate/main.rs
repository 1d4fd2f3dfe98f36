//! The gate: the whole feature over stock sshd, as root with alex, bob and eve. alex's key has a forced command; she
//! shares a service from her machine, bob may use it, eve may not.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod far;
mod hostile;
mod hosts;
mod life;
mod vnc;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use sockward_test_e2e::support::{Client, Kind, Origin, Service, has_program, sockward, users, wait_until};
use sockward_test_e2e::{alex_and_bob, as_root, names};

use far::{Far, address, gates_of, is_socket};

#[test]
fn a_thousand_requests_by_fifty_at_once_are_a_thousand_right_answers() {
    if !as_root() || !has_program("curl") {
        return;
    }
    for transport in ["own", "ssh"] {
        let far = Far::new("--permit-listen SOCKETS/%u.sock --mode 0666");
        let origin = Origin::tcp(Service::Page("the page"));
        let (alex, bob) = alex_and_bob();
        let socket = far.socket(&format!("{}.sock", alex.name));
        let running = far.share(&socket, &address(&origin), transport);
        assert_eq!(std::fs::metadata(&socket).unwrap().uid(), alex.uid);
        let right = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut stream = UnixStream::connect(&socket).unwrap();
                        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer).unwrap();
                        let ok = answer.starts_with("HTTP/1") && answer.ends_with("the page");
                        right.fetch_add(usize::from(ok), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(right.into_inner(), 1000, "{transport}: {}", running.log());
        let out = bob
            .command("curl")
            .args(["-sS", "--unix-socket"])
            .arg(&socket)
            .arg("http://x/")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "the page");
        drop(running);
        wait_until("the socket is gone", || names(&far.sockets).is_empty());
        wait_until("the gate is gone", || gates_of(&far).is_empty());
    }
}

#[test]
fn half_close_is_carried_and_a_stalled_reader_stops_nobody() {
    if !as_root() {
        return;
    }
    let far = Far::new("--permit-listen SOCKETS/*");
    let services = [
        ("count", Origin::tcp(Service::CountToEnd)),
        ("send", Origin::tcp(Service::Send(64 << 20))),
        ("stall", Origin::tcp(Service::Stall)),
    ];
    let mut client = Client::new(Kind::Ours, &far.server).args(["-o", "Via=gate"]);
    for (name, origin) in &services {
        client = client.args(["-R", &format!("{}:{}", far.socket(name).display(), address(origin))]);
    }
    let running = client.forward();
    wait_until("the gate listens", || services.iter().all(|(name, _)| is_socket(&far.socket(name))));
    let connect = |name| UnixStream::connect(far.socket(name)).unwrap();
    // Writers whose data nobody reads, until nothing more is taken; readers that take a little and no more.
    let _writers: Vec<UnixStream> = std::iter::repeat_with(|| connect("stall"))
        .take(4)
        .inspect(|mut writer| {
            writer.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
            while writer.write(&[0; 65_536]).is_ok() {}
        })
        .collect();
    let _readers: Vec<UnixStream> = std::iter::repeat_with(|| connect("send"))
        .take(2)
        .inspect(|mut reader| reader.read_exact(&mut [0; 1000]).unwrap())
        .collect();
    let upload = Origin::pattern(7, 64 << 20);
    let download = Origin::pattern(64 << 20, 64 << 20);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut stream = connect("count");
                stream.write_all(&upload).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert_eq!(answer, (64 << 20).to_string(), "{}", running.log());
            });
            scope.spawn(|| {
                let mut all = Vec::with_capacity(64 << 20);
                connect("send").read_to_end(&mut all).unwrap();
                assert!(all == download, "{} bytes: {}", all.len(), running.log());
            });
        }
    });
}

#[test]
fn policy_peers_and_audit() {
    if !as_root() || !has_program("curl") {
        return;
    }
    let [alex, bob, eve] = users();
    let far = Far::new(&format!(
        "--permit-listen SOCKETS/vnc --mode 0666 --permit-peer {} --audit SOCKETS/audit",
        bob.name
    ));
    let origin = Origin::tcp(Service::Page("for bob"));
    let socket = far.socket("vnc");
    let running = far.share(&socket, &address(&origin), "own");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    let ask = |user: &sockward_test_e2e::support::User| {
        let out = user
            .command("curl")
            .args(["-s", "--unix-socket"])
            .arg(&socket)
            .arg("http://x/")
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert_eq!(ask(bob), "for bob");
    assert_eq!((ask(eve).as_str(), ask(alex).as_str()), ("", ""), "the list is exact");
    drop(running);
    wait_until("the socket is gone", || !is_socket(&socket));
    // What the key does not name is refused, and the reason reaches the near end.
    for spec in [format!("{}:h:1", far.socket("other").display()), "127.0.0.1:0:h:1".to_owned()] {
        let out = Client::new(Kind::Ours, &far.server)
            .args(["-o", "Via=gate", "-o", "ExitOnForwardFailure=yes", "-N", "-R", &spec])
            .run("");
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && text.contains("PermitListen"), "{spec}: {text}");
    }
    let audit = std::fs::read_to_string(far.socket("audit")).unwrap();
    let said = |words: &[&str]| audit.lines().any(|line| words.iter().all(|word| line.contains(word)));
    let uid = |user: &sockward_test_e2e::support::User| format!("\"uid\":{}", user.uid);
    assert!(said(&["\"event\":\"connection\"", &uid(bob), "accepted"]), "{audit}");
    assert!(said(&["\"event\":\"connection\"", &uid(eve), "refused", "PermitPeer"]), "{audit}");
    assert!(said(&["\"event\":\"listen\"", "refused", "--permit-listen"]), "{audit}");
}

/// A gate as a child, with pipes.
fn gate() -> Child {
    let mut command = Command::new(sockward());
    command.args(["gate", "--permit-any"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_hostile_near_end_is_closed_with_a_message() {
    let packet = |payload: &[u8]| {
        let padding = 4 + (16 - (payload.len() + 5 + 4) % 8) % 8;
        let len = u32::try_from(payload.len() + padding + 1).unwrap();
        [&len.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload, &vec![0; padding][..]].concat()
    };
    let open = [&[90][..], &12_u32.to_be_bytes(), b"direct-tcpip", &[0; 12]].concat();
    for (what, bytes) in [
        ("garbage", vec![0xff; 4096]),
        ("a packet of 4 GiB", u32::MAX.to_be_bytes().repeat(64)),
        ("key exchange", packet(&[20; 64])),
        ("data for no channel", packet(&[94, 0, 0, 0, 9, 0, 0, 0, 1, b'x'])),
        ("a truncated open", packet(&open)),
        ("a flood of windows", packet(&[93, 0, 0, 0, 0, 255, 255, 255, 255]).repeat(1000)),
    ] {
        let mut gate = gate();
        let mut stdin = gate.stdin.take().unwrap();
        let words = [b"SOCKWARD-NEAR-1\r\n", bytes.as_slice()].concat();
        // It may hang up before all is said.
        let _ = stdin.write_all(&words);
        let out = gate.wait_with_output().unwrap();
        drop(stdin);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{what}: {text}");
        assert!(text.starts_with("gate: the near end: "), "{what}: {text}");
    }
    let mut stranger = gate();
    stranger.stdin.take().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let out = stranger.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("Via=gate"));
    assert_eq!(out.stdout, b"SOCKWARD-GATE-1\r\n", "nothing of its own on standard output");
}

#[test]
fn profiles_may_print_and_forced_commands_ignore_the_reminder() {
    if !as_root() {
        return;
    }
    let far = Far::new("--permit-open 127.0.0.1:*");
    let greet = Origin::tcp(Service::Greet("hello"));
    let out = Client::new(Kind::Ours, &far.server)
        .args(["-o", "Via=gate", "-W", &address(&greet)])
        .run("forced-command");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "hello", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_process_that_hears_the_near_end_is_caged_and_the_helper_is_not() {
    if !as_root() {
        return;
    }
    let far = Far::new("--permit-listen SOCKETS/*");
    let origin = Origin::tcp(Service::Echo);
    let _running = far.share(&far.socket("s"), &address(&origin), "own");
    let fact = |pid: &str, name: &str| {
        let facts = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = facts.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{name}: {facts}")).trim().parse::<u32>().unwrap()
    };
    // The last: a shell may stand before it.
    let gates = gates_of(&far);
    let gate = gates.last().unwrap().split_whitespace().next().unwrap();
    let children = Command::new("pgrep").args(["-P", gate]).output().unwrap();
    let helper = String::from_utf8(children.stdout).unwrap();
    let helper = helper.trim();
    assert_eq!((fact(gate, "NoNewPrivs:"), fact(helper, "NoNewPrivs:")), (1, 0), "{gates:?}");
    // Whoever runs the tests may have filters of their own, which all inherit.
    assert!(fact(gate, "Seccomp_filters:") > fact(helper, "Seccomp_filters:"), "{gates:?}");
}
