//! Ends that nobody has planned: of the near end, of ssh, of the gate, of the origin, while connections come and go.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sockward_test_e2e::support::{Client, Kind, Origin, Running, Service, TempDir, sockward, wait_until};
use sockward_test_e2e::{as_root, names};

use crate::far::{Far, address, gates_of, is_socket};

#[test]
fn whoever_is_killed_no_socket_and_no_process_stays() {
    if !as_root() {
        return;
    }
    for (n, victim) in ["client", "ssh", "gate", "server's session"].iter().cycle().take(8).enumerate() {
        let far = Far::new("--permit-listen SOCKETS/*");
        let origin = Origin::tcp(Service::Echo);
        let socket = far.socket("s");
        let running = far.share(&socket, &address(&origin), "ssh");
        under_load(&socket, || {
            std::thread::sleep(moment(n));
            match *victim {
                "client" => kill(&running.pid().to_string()),
                "ssh" => children_of(running.pid(), "ssh").iter().for_each(|pid| kill(pid)),
                "gate" => {
                    gates_of(&far).iter().for_each(|line| kill(line.split_whitespace().next().unwrap()))
                }
                // Both processes that a stock server has for a session.
                _ => children_of(far.server.pid(), "sshd").iter().for_each(|pid| kill(pid)),
            }
            wait_until(&format!("{victim}: the socket is gone"), || names(&far.sockets).is_empty());
        });
        wait_until(&format!("{victim}: the gate is gone"), || gates_of(&far).is_empty());
        wait_until(&format!("{victim}: ssh is gone"), || children_of(running.pid(), "ssh").is_empty());
    }
}

#[test]
fn the_near_end_finds_its_way_back() {
    if !as_root() {
        return;
    }
    for transport in ["own", "ssh"] {
        let far = Far::new("--permit-listen SOCKETS/*");
        let origin = Origin::tcp(Service::Echo);
        let socket = far.socket("s");
        let running = Client::new(Kind::Ours, &far.server)
            .args(["-o", "Via=gate", "-o", &format!("Transport={transport}")])
            .args(["-o", "Reconnect=yes", "-o", "ReconnectMaxDelay=0"])
            .args(["-R", &format!("{}:{}", socket.display(), address(&origin))])
            .forward();
        let works = || UnixStream::connect(&socket).is_ok_and(|mut stream| echoes(&mut stream));
        for round in 1..=2 {
            wait_until(&format!("{transport}: it works"), works);
            far.server.cut();
            wait_until(&format!("{transport}: it is back"), || {
                running.log().matches("Reconnected to ").count() == round
            });
        }
        wait_until(&format!("{transport}: it works again"), works);
        drop(running);
        wait_until(&format!("{transport}: the gate is gone"), || gates_of(&far).is_empty());
    }
}

/// An origin that can be killed: our relay with an echo behind it.
fn origin(dir: &TempDir) -> Child {
    let mut child = Command::new(sockward())
        .args(["relay", &format!("unix-listen:{},fork", dir.join("origin").display()), "exec:cat"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the origin", || {
        assert!(child.try_wait().unwrap().is_none(), "the origin has gone");
        UnixStream::connect(dir.join("origin")).is_ok()
    });
    child
}

#[test]
fn an_origin_that_is_killed_takes_its_connections_with_it_and_nothing_else() {
    if !as_root() {
        return;
    }
    let far = Far::new("--permit-listen SOCKETS/*");
    let dir = TempDir::new();
    let socket = far.socket("s");
    let mut first = origin(&dir);
    let running: Running = far.share(&socket, &dir.join("origin").display().to_string(), "own");
    for round in 0..3 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        assert!(echoes(&mut stream), "round {round}: {}", running.log());
        under_load(&socket, || {
            std::thread::sleep(moment(round));
            let _ = first.kill();
            let _ = first.wait();
            // What was there ends; what comes now ends too, and is not left hanging.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(!echoes(&mut UnixStream::connect(&socket).unwrap()));
        });
        first = origin(&dir);
        assert!(echoes(&mut UnixStream::connect(&socket).unwrap()), "round {round}: {}", running.log());
    }
    drop(running);
    let _ = first.kill();
    let _ = first.wait();
    wait_until("the socket is gone", || !is_socket(&socket));
    wait_until("the gate is gone", || gates_of(&far).is_empty());
}

/// Does something while connections come, speak and go.
fn under_load(socket: &Path, work: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // They end as it happens.
                    match UnixStream::connect(socket) {
                        Ok(mut stream) => drop(echoes(&mut stream)),
                        Err(_) => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            });
        }
        work();
        over.store(true, Ordering::Relaxed);
    });
}

/// Whether what is sent comes back.
pub(crate) fn echoes(stream: &mut UnixStream) -> bool {
    let (sent, mut got) = ([7; 3000], Vec::new());
    let mut try_it = || {
        stream.write_all(&sent)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        stream.read_to_end(&mut got)
    };
    try_it().is_ok() && got == sent
}

/// A moment that is another one each time.
fn moment(n: usize) -> Duration {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let moment = Duration::from_micros((u64::from(clock.subsec_nanos()) / 7 + n as u64 * 7919) % 200_000);
    println!("round {n}: after {moment:?}");
    moment
}

pub(crate) fn kill(pid: &str) {
    // One that has just ended is as good.
    let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
}

/// The processes of this name below one.
fn children_of(pid: u32, program: &str) -> Vec<String> {
    let out = Command::new("ps").args(["-eo", "pid=,ppid=,comm="]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let mut found = vec![pid.to_string()];
    for _ in 0..3 {
        for row in rows.iter().filter(|row| row.get(2).is_some_and(|name| name.starts_with(program))) {
            if found.iter().any(|p| p == row[1]) && !found.iter().any(|p| p == row[0]) {
                found.push(row[0].to_owned());
            }
        }
    }
    found.split_off(1)
}
