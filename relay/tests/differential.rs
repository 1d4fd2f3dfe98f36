//! socat's examples and netcat's, run with both programs: the same bytes, the same end, the same files.
//!
//! Each row is a script in which `$RELAY` is `socat` or `sockward relay` (`$NC`: `nc` or `sockward nc`). What it
//! prints, and its status, must be what stands in the row, whichever program it was. Peers are neither of the two.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use sockward_test_support::{TempDir, free_port, has_program, is_root, missing, sockward};

/// What the scripts share. `peer KIND ADDRESS` is a server for one connection or several, `$PORT` and `$PORT2` are
/// free, the directory is empty.
const PREAMBLE: &str = r#"
set -eu
umask 022
until_true() {
    n=0
    until "$@" 2>/dev/null; do
        n=$((n + 1)); [ $n -lt 800 ] || { echo "in vain: $*"; exit 1; }
        sleep 0.02
    done
}
# What listens on a port, without connecting to it.
listens() { grep -q ":$(printf %04X "$1") 0*:0000 0A" /proc/net/tcp /proc/net/tcp6; }
peer() {
    python3 "$DIR/peer.py" "$@" &
    peer=$!
    case $2 in
        /*) until_true test -S "$2" ;;
        *) until_true listens "${2#six:}" ;;
    esac
}
ask() { python3 "$DIR/peer.py" ask "$@"; }
take() { python3 "$DIR/peer.py" take "$@"; }
facts() { if [ -e "$1" ]; then stat -c '%F %a' "$1"; else echo gone; fi; }
head -c 3000000 /dev/zero | tr '\0' 'x' >big
"#;

/// A peer that ends its directions on purpose.
const PEER: &str = r#"
import hashlib, os, socket, sys, threading
def place(where):
    if where.startswith("/"):
        return socket.AF_UNIX, where
    if where.startswith("six:"):
        return socket.AF_INET6, ("::1", int(where[4:]))
    return socket.AF_INET, ("127.0.0.1", int(where))
def rest(s):
    got = b""
    while True:
        more = s.recv(65536)
        if not more:
            return got
        got += more
def digest(b):
    return b"%d %s\n" % (len(b), hashlib.sha256(b).hexdigest()[:8].encode())
def serve(kind, s):
    if kind == "digest":        # reads to the end, then answers
        s.sendall(digest(rest(s)))
    elif kind == "greet":       # says all and ends its half, then reads; what it read goes to a file
        s.sendall(b"greeting\n"); s.shutdown(socket.SHUT_WR)
        with open("read", "wb") as f: f.write(digest(rest(s)))
    elif kind == "echo":
        while True:
            b = s.recv(65536)
            if not b: break
            s.sendall(b)
    elif kind == "send":        # much, to whoever reads
        s.sendall(b"x" * 3000000)
    elif kind == "store":       # reads to the end; what it read goes to a file
        with open("read", "wb") as f: f.write(digest(rest(s)))
    elif kind == "silent":
        rest(s)
    s.close()
kind, where = sys.argv[1:3]
if kind == "ask":               # ask WHERE TEXT: what is answered once TEXT has ended
    family, at = place(where)
    s = socket.socket(family); s.connect(at)
    s.sendall(sys.argv[3].encode() if len(sys.argv) > 3 else sys.stdin.buffer.read()); s.shutdown(socket.SHUT_WR)
    sys.stdout.buffer.write(rest(s))
elif kind == "take":            # take WHERE: what is said to somebody who says nothing
    family, at = place(where)
    s = socket.socket(family); s.connect(at)
    sys.stdout.buffer.write(rest(s))
else:
    family, at = place(where)
    l = socket.socket(family); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    l.bind(at); l.listen(64)
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    threads = []
    for _ in range(count):
        s, _ = l.accept()
        threads.append(threading.Thread(target=serve, args=(kind, s))); threads[-1].start()
    for t in threads: t.join()
"#;

/// What the peer says of `big`.
const BIG: &str = "3000000 e55b8bdf\n";

const SOCAT: &[(&str, &str, &str)] = &[
    (
        "socat - TCP4:host:port; the answer comes after the end of what was sent",
        "peer digest $PORT; $RELAY -t 20 - TCP4:127.0.0.1:$PORT <big; wait $peer",
        BIG,
    ),
    (
        "the other way round: the answer ends first, and what is sent still arrives",
        "peer greet $PORT; (until_true test -s out; cat big) | $RELAY -t 20 STDIO TCP:localhost:$PORT >out; wait $peer; cat out read",
        "greeting\n3000000 e55b8bdf\n",
    ),
    (
        "socat - UNIX-CONNECT:path",
        "peer digest $PWD/s; $RELAY -t 20 - UNIX-CONNECT:$PWD/s <big; wait $peer",
        BIG,
    ),
    (
        "socat TCP4-LISTEN:port,reuseaddr TCP4:host:port ends with its one connection",
        "peer digest $PORT; $RELAY -t 20 TCP4-LISTEN:$PORT2,reuseaddr TCP4:127.0.0.1:$PORT & until_true listens $PORT2
         ask $PORT2 <big; wait $!; echo status $?",
        "3000000 e55b8bdf\nstatus 0\n",
    ),
    (
        "socat TCP-LISTEN:port,bind=,reuseaddr,fork TCP:host:port",
        "peer digest $PORT 5; $RELAY -t 20 TCP-LISTEN:$PORT2,bind=127.0.0.1,reuseaddr,fork TCP:127.0.0.1:$PORT & relay=$!
         until_true listens $PORT2
         asks=; for n in 1 2 3 4 5; do ask $PORT2 <big & asks=\"$asks $!\"; done; wait $asks; wait $peer; kill $relay",
        "3000000 e55b8bdf\n3000000 e55b8bdf\n3000000 e55b8bdf\n3000000 e55b8bdf\n3000000 e55b8bdf\n",
    ),
    (
        "socat UNIX-LISTEN:path,fork,unlink-early,mode= TCP:host:port",
        "peer echo $PORT 2; $RELAY -t 20 UNIX-LISTEN:$PWD/s,fork,unlink-early,mode=0660,backlog=7 TCP:127.0.0.1:$PORT & relay=$!
         until_true test -S s; facts s; ask $PWD/s one; ask $PWD/s two; echo; kill $relay; wait $relay || true; facts s",
        "socket 660\nonetwo\ngone\n",
    ),
    (
        "a socket's mode comes from the umask where none is said; one connection, and it is gone",
        "peer echo $PORT; umask 027; $RELAY -t 20 unix-l:$PWD/s TCP:127.0.0.1:$PORT & relay=$!
         until_true test -S s; facts s; ask $PWD/s one; echo; wait $relay; facts s",
        "socket 750\none\ngone\n",
    ),
    (
        "a file that is not a socket stays, and is an error",
        "echo mine >s; $RELAY UNIX-LISTEN:$PWD/s - </dev/null || echo failed; facts s; cat s",
        "failed\nregular file 644\nmine\n",
    ),
    (
        "unlink-early takes a live socket's place",
        "peer silent $PWD/s; live=$(stat -c %i s); peer echo $PORT
         $RELAY -t 20 UNIX-LISTEN:$PWD/s,unlink-early TCP:127.0.0.1:$PORT & relay=$!
         changed() { [ \"$(stat -c %i s)\" != \"$live\" ]; }; until_true changed; until_true ask $PWD/s x; wait $relay; echo; facts s",
        "x\ngone\n",
    ),
    (
        "socat EXEC:'command' STDIO: output, and the status of a command that succeeds",
        "$RELAY EXEC:'echo hello world' STDIO </dev/null; echo status $?",
        "hello world\nstatus 0\n",
    ),
    (
        "a command that answers after the end of its input",
        "$RELAY -t 20 - EXEC:'wc -c' <big",
        "3000000\n",
    ),
    (
        "the same by pipes",
        "$RELAY -t 20 - EXEC:'wc -c',pipes <big",
        "3000000\n",
    ),
    (
        "TCP4-LISTEN:port,fork EXEC:command",
        "$RELAY -t 20 TCP4-LISTEN:$PORT,reuseaddr,fork EXEC:'tr a-z A-Z' & relay=$!; until_true listens $PORT
         ask $PORT one; ask $PORT two; echo; kill $relay",
        "ONETWO\n",
    ),
    (
        "a command's standard error with its output",
        "printf '#!/bin/sh\necho out; echo err >&2\n' >both; chmod +x both; $RELAY EXEC:./both,stderr STDIO </dev/null",
        "out\nerr\n",
    ),
    (
        "-u: from the first to the second alone",
        "peer store $PORT; $RELAY -u - TCP:127.0.0.1:$PORT <big; wait $peer; cat read",
        BIG,
    ),
    (
        "-U: from the second to the first alone",
        "peer send $PORT; $RELAY -U - TCP:127.0.0.1:$PORT </dev/null | wc -c; wait $peer",
        "3000000\n",
    ),
    (
        "-T: silence ends it, in good order",
        "peer silent $PORT; mkfifo f; sleep 1000 >f & quiet=$!
         $RELAY -T 0.3 - TCP:127.0.0.1:$PORT <f && echo ended; kill $quiet; wait $peer",
        "ended\n",
    ),
    (
        "a port where nobody listens",
        "$RELAY - TCP:127.0.0.1:$PORT </dev/null || echo failed",
        "failed\n",
    ),
    (
        "a socket that is not there",
        "$RELAY - UNIX-CONNECT:$PWD/none </dev/null || echo failed",
        "failed\n",
    ),
    (
        // Its input stays open for a while: socat may miss the command's end if all is at its end.
        "a command that is not there",
        "sleep 0.5 | $RELAY - EXEC:/no/such/command || echo failed",
        "failed\n",
    ),
    (
        "much both ways at once",
        "peer echo $PORT; $RELAY -t 20 - TCP:127.0.0.1:$PORT <big | cmp - big && echo same; wait $peer",
        "same\n",
    ),
    (
        "IPv6",
        "peer digest six:$PORT; $RELAY -t 20 - TCP6:[::1]:$PORT <big; wait $peer",
        BIG,
    ),
    (
        "a reader that goes away is no reason to hang",
        "peer send $PORT; $RELAY -u TCP:127.0.0.1:$PORT - | head -c 5 | wc -c",
        "5\n",
    ),
];

/// As root: owner and group.
const SOCAT_AS_ROOT: &[(&str, &str, &str)] = &[(
    "user= and group=",
    "peer echo $PORT; $RELAY UNIX-LISTEN:$PWD/s,user=nobody,group=daemon,mode=0600 TCP:127.0.0.1:$PORT & relay=$!
     until_true test -S s; stat -c '%U %G %a' s; ask $PWD/s x; wait $relay; facts s",
    "nobody daemon 600\nxgone\n",
)];

const NETCAT: &[(&str, &str, &str)] = &[
    (
        "nc -N host port: half-close",
        "peer digest $PORT; $NC -N 127.0.0.1 $PORT <big; echo status $?; wait $peer",
        "3000000 e55b8bdf\nstatus 0\n",
    ),
    ("nc -NU path", "peer digest $PWD/s; $NC -NU $PWD/s <big; wait $peer", BIG),
    ("nc -4 -N localhost port", "peer digest $PORT; $NC -4 -N localhost $PORT <big; wait $peer", BIG),
    ("nc -6 -N ::1 port", "peer digest six:$PORT; $NC -6 -N ::1 $PORT <big; wait $peer", BIG),
    (
        "an address of the other family",
        "$NC -4 ::1 $PORT </dev/null || echo status $?; $NC -6 127.0.0.1 $PORT </dev/null || echo status $?",
        "status 1\nstatus 1\n",
    ),
    (
        "nc -l port: one connection, either way",
        "$NC -l 127.0.0.1 $PORT </dev/null >got & relay=$!; until_true listens $PORT
         ask $PORT hello; wait $relay; cat got
         $NC -lN 127.0.0.1 $PORT2 <big & relay=$!; until_true listens $PORT2; take $PORT2 | wc -c; wait $relay",
        "hello3000000\n",
    ),
    (
        "nc -lU path, either way",
        "$NC -lU $PWD/s </dev/null >got & relay=$!; until_true test -S s
         ask $PWD/s hello; wait $relay; cat got
         $NC -lNU $PWD/t <big & relay=$!; until_true test -S t; take $PWD/t | wc -c; wait $relay",
        "hello3000000\n",
    ),
    (
        "nc -lkU path: one after another",
        "$NC -lkU $PWD/s </dev/null >got & relay=$!; until_true test -S s
      ask $PWD/s one; ask $PWD/s two; until_true grep -q two got; kill $relay; cat got",
        "onetwo",
    ),
    (
        "nc -lk port: one after another",
        "$NC -lk 127.0.0.1 $PORT </dev/null >got & relay=$!; until_true listens $PORT
      ask $PORT one; ask $PORT two; until_true grep -q two got; kill $relay; cat got",
        "onetwo",
    ),
    (
        "a socket's mode",
        "$NC -lU $PWD/s </dev/null >got & relay=$!; until_true test -S s; facts s; kill $relay",
        "socket 755\n",
    ),
    ("nobody listens", "$NC -N 127.0.0.1 $PORT </dev/null || echo status $?", "status 1\n"),
    ("no such socket", "$NC -NU $PWD/none </dev/null || echo status $?", "status 1\n"),
    (
        "nc -z",
        "peer silent $PORT 2; $NC -z 127.0.0.1 $PORT && echo there; ask $PORT x; wait $peer; $NC -z 127.0.0.1 $PORT || echo gone",
        "there\ngone\n",
    ),
    (
        "-d: standard input is not read",
        "peer greet $PORT; $NC -d 127.0.0.1 $PORT <big >got & relay=$!; until_true grep -q greeting got
         kill $relay 2>/dev/null || true; wait $peer || true; cat got read",
        "greeting\n0 e3b0c442\n",
    ),
];

fn run(program: &str, script: &str) -> (String, String) {
    let dir = TempDir::new();
    let peer = dir.join("programs");
    std::fs::create_dir(&peer).unwrap();
    std::fs::write(peer.join("peer.py"), PEER).unwrap();
    let work = dir.join("w");
    std::fs::create_dir(&work).unwrap();
    let file = |name: &str| std::fs::File::create(dir.join(name)).unwrap();
    let mut child = Command::new("timeout")
        .args(["60", "sh", "-c", &format!("{PREAMBLE}\n{script}")])
        .current_dir(&work)
        .env("DIR", &peer)
        .env("PORT", free_port().to_string())
        .env("PORT2", free_port().to_string())
        .env("RELAY", program)
        .env("NC", program)
        .stdin(Stdio::null())
        .stdout(file("said"))
        .stderr(file("errors"))
        .process_group(0)
        .spawn()
        .unwrap();
    let status = child.wait().unwrap();
    // What a script that failed has left running.
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
    let text = |name| String::from_utf8_lossy(&std::fs::read(dir.join(name)).unwrap()).into_owned();
    let status = if status.success() { String::new() } else { format!("[{status}]") };
    (text("said") + &status, text("errors"))
}

/// Runs each row with both programs, several rows at once.
fn compare(theirs: &str, ours: &str, rows: &[(&str, &str, &str)]) {
    if !["socat", "nc", "python3"].iter().all(|name| has_program(name)) {
        return;
    }
    let next = std::sync::Mutex::new(rows.iter());
    let differences = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let row = next.lock().unwrap().next();
                    let Some((what, script, expected)) = row else { return };
                    for program in [theirs, ours] {
                        let (mut said, mut errors) = run(program, script);
                        // A port that was free is somebody else's by now.
                        for _ in 0..3 {
                            if errors.contains("ddress already in use") {
                                (said, errors) = run(program, script);
                            }
                        }
                        if said != *expected {
                            let difference = format!(
                                "{program}: {what}\n{script}\n{said:?}, expected {expected:?}\n{errors}"
                            );
                            differences.lock().unwrap().push(difference);
                        }
                    }
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn socat_s_examples() {
    compare("socat", &format!("{} relay", sockward().display()), SOCAT);
}

#[test]
fn socat_s_owners() {
    if is_root() || !missing("the owner of a socket is root's to change") {
        compare("socat", &format!("{} relay", sockward().display()), SOCAT_AS_ROOT);
    }
}

#[test]
fn netcat_s_flags() {
    compare("nc", &format!("{} nc", sockward().display()), NETCAT);
}
