//! A far command that only says it is a gate, behind stock sshd and the installed `ssh`: the near end closes with a
//! message, or takes no more; its memory stays small whatever comes.

use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{
    Client, Kind, Origin, Server, ServerSetup, Service, TempDir, free_port, has_program, wait_until,
};

/// More than the near end ever needs, less than what a flood sends.
const MEMORY_MAX_KIB: u64 = 40 * 1024;

/// The far command. Its argument says what it does once it is believed.
const FALSE_GATE: &str = r#"
import os, signal, struct, sys
what = sys.argv[1]
GREETING, ANSWER = b"SOCKWARD-GATE-1\r\n", b"SOCKWARD-NEAR-1\r\n"
FLOOD = 64 << 20
# Whoever does not read is waited for, but not for ever.
signal.alarm(20)
def string(b): return struct.pack(">I", len(b)) + b
def number(n): return struct.pack(">I", n)
def packet(payload):
    padding = 4 + (16 - (len(payload) + 5 + 4) % 8) % 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)
def say(b):
    while b:
        b = b[os.write(1, b):]
def flood(p):
    # A near end that takes no more is as good as one that closes: five seconds of neither is the end.
    os.set_blocking(1, False)
    import select
    chunk = p * max(1, 262144 // len(p))
    sent, left = 0, b""
    while sent < FLOOD and select.select([], [1], [], 5)[1]:
        left = left or chunk
        try: n = os.write(1, left)
        except BlockingIOError: continue
        sent += n; left = left[n:]
def read(n):
    got = b""
    while len(got) < n:
        more = os.read(0, n - len(got))
        if not more: sys.exit(1)
        got += more
    return got
def message():
    length, padding = struct.unpack(">IB", read(5))
    return read(length - 1)[:length - 1 - padding]
def opened(sender, window=1 << 20):
    path = string(os.environ.get("FAR_PATH", "/far/socket").encode())
    return packet(b"\x5a" + string(b"forwarded-streamlocal@openssh.com") + number(sender) + number(window) + number(32768) + path + string(b""))
if what == "noise": flood(b"x" * 1000); sys.exit()
if what == "impatience": say(GREETING + b"and more"); read(1 << 30)
say(GREETING)
assert read(len(ANSWER)) == ANSWER
# The near end asks for its listener, and is told that it is there.
while message()[:1] != b"\x50": pass
say(packet(b"\x51"))
if what == "garbage": say(b"\xff" * 4096)
elif what == "zeros": say(b"\0" * 4096)
elif what == "oversized": say(b"\xff" * 4 + b"\x04")
elif what == "key exchange": say(packet(b"\x14" + bytes(60)))
elif what == "service accept": say(packet(b"\x06" + string(b"ssh-connection")))
elif what == "data for no channel": say(packet(b"\x5e" + number(7) + string(b"x")))
elif what == "close of no channel": say(packet(b"\x61" + number(7)))
elif what == "confirmation of nothing": say(packet(b"\x5b" + number(0) + number(0) + number(1) + number(1)))
elif what == "truncated open": say(packet(b"\x5a" + number(1 << 20)))
elif what == "answer to nothing": say(packet(b"\x51"))
elif what == "beyond the window":
    say(opened(3))
    reply = message()
    while reply[:1] != b"\x5b": reply = message()
    flood(packet(b"\x5e" + reply[5:9] + string(b"x" * 32768)))
elif what == "window beyond 2^32":
    say(opened(3))
    reply = message()
    while reply[:1] != b"\x5b": reply = message()
    say(packet(b"\x5d" + reply[5:9] + number(0xffffffff)) * 2)
elif what == "flood of opens": flood(opened(5))
elif what == "flood of unknown opens": flood(packet(b"\x5a" + string(b"x" * 30000) + number(1) + number(1) + number(1)))
elif what == "flood of requests": flood(packet(b"\x50" + string(b"keepalive@openssh.com") + b"\x01"))
elif what == "flood of ignore": flood(packet(b"\x02" + string(b"x" * 30000)))
elif what == "flood of debug": flood(packet(b"\x04\x01" + string(b"x" * 30000) + string(b"")))
else: sys.exit("what?")
# Until the near end has gone.
if "flood" not in what:
    while os.read(0, 65536): pass
"#;

/// What becomes of the near end.
struct End {
    log: String,
    status: Option<i32>,
    memory_kib: u64,
}

fn meet(what: &str, origin: &str) -> End {
    let dir = TempDir::new();
    let script = dir.write("gate.py", FALSE_GATE);
    let key_options = format!("command=\"python3 {} '{what}'\",restrict", script.display());
    let server = Server::start(Kind::OpenSsh, &ServerSetup { key_options, ..ServerSetup::default() });
    let mut running = Client::new(Kind::Ours, &server)
        .args(["-o", "Via=gate", "-o", "Transport=ssh", "-R", &format!("/far/socket:{origin}")])
        // How long a gate is waited for that takes nothing: 90 seconds, if nothing is said.
        .args(["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3"])
        .forward();
    let mut memory_kib = 0;
    let mut status = None;
    wait_until(&format!("{what}: the near end ends"), || {
        let facts = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
        let line = facts.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.split_whitespace().next()) {
            memory_kib = kib.parse().unwrap();
        }
        status = running.ended();
        status.is_some()
    });
    End { log: running.log(), status: status.and_then(|s| s.code()), memory_kib }
}

#[test]
fn a_gate_that_breaks_the_rules_is_closed_with_a_message() {
    if !as_root() || !has_program("python3") {
        return;
    }
    let origin = Origin::tcp(Service::Stall);
    let origin = format!("127.0.0.1:{}", origin.port);
    let cases = [
        ("noise", "no gate: no gate answered within 64 KiB"),
        ("impatience", "no gate: something else than a gate speaks"),
        ("garbage", "bad packet length"),
        ("zeros", "bad packet length"),
        ("oversized", "bad packet length"),
        ("key exchange", ""),
        ("service accept", ""),
        ("data for no channel", ""),
        ("close of no channel", ""),
        ("confirmation of nothing", ""),
        ("truncated open", ""),
        ("answer to nothing", "a reply to a request that wanted none"),
        ("beyond the window", ""),
        ("window beyond 2^32", ""),
    ];
    some_at_once(&cases, |(what, message)| {
        let End { log, status, memory_kib } = meet(what, &origin);
        assert_eq!(status, Some(255), "{what}: {log}");
        let said = log.lines().any(|line| {
            line.contains(message)
                && (line.starts_with("no gate: ") || line.starts_with("the gate at 127.0.0.1: "))
        });
        assert!(said && !log.contains("panicked"), "{what}: {log}");
        assert!(memory_kib < MEMORY_MAX_KIB, "{what}: {memory_kib} KiB");
    });
}

/// Runs cases, four at once.
fn some_at_once<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = std::sync::Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let case = next.lock().unwrap().next();
                    match case {
                        Some(case) => run(case),
                        None => return,
                    }
                }
            });
        }
    });
}

#[test]
fn a_gate_that_floods_fills_no_memory() {
    if !as_root() || !has_program("python3") {
        return;
    }
    // Nobody is there: each open has to be answered.
    let origin = format!("127.0.0.1:{}", free_port());
    let cases = [
        "flood of opens",
        "flood of unknown opens",
        "flood of requests",
        "flood of ignore",
        "flood of debug",
    ];
    some_at_once(&cases, |what| {
        let End { log, status, memory_kib } = meet(what, &origin);
        println!("{what}: {memory_kib} KiB");
        assert_eq!(status, Some(255), "{what}: {log}");
        assert!(log.contains("the gate at 127.0.0.1 ") && !log.contains("panicked"), "{what}: {log}");
        assert!(memory_kib < MEMORY_MAX_KIB, "{what}: {memory_kib} KiB");
    });
}
