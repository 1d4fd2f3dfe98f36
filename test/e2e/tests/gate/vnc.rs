//! VNC for real: alex shares her screen through a gate at a socket that bob may use and eve may not. What bob's
//! viewer sees is what alex's screen shows.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sockward_test_e2e::support::{
    Client, Kind, Running, TempDir, User, free_port, has_program, sockward, users, wait_until,
};
use sockward_test_e2e::{access, as_root};

use crate::far::{Far, is_socket};

/// What the screen shows, all over.
const COLOUR: [u8; 3] = [0x24, 0x68, 0xac];
const SIZE: [usize; 2] = [320, 240];

/// alex's screen, at a socket that is hers alone.
struct Screen {
    server: Child,
    socket: PathBuf,
    _dir: TempDir,
}

impl Screen {
    fn show(alex: &User) -> Screen {
        let dir = TempDir::new();
        let home = dir.join("alex");
        std::fs::create_dir(&home).unwrap();
        access::own(&home, alex);
        let socket = home.join("screen");
        let mut server = alex
            .command("Xtigervnc")
            .args(["-displayfd", "1", "-geometry", &format!("{}x{}", SIZE[0], SIZE[1]), "-depth", "24"])
            .args(["-nolisten", "tcp", "-noreset", "-SecurityTypes", "None", "-rfbport=-1", "-rfbunixpath"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        // The number comes when all is ready.
        let mut display = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut display).unwrap();
        let log = || std::fs::read_to_string(dir.join("log")).unwrap();
        assert!(!display.trim().is_empty(), "no screen: {}", log());
        let [r, g, b] = COLOUR;
        let paint = alex
            .command("xsetroot")
            .args(["-display", &format!(":{}", display.trim()), "-solid", &format!("#{r:02x}{g:02x}{b:02x}")])
            .output()
            .unwrap();
        assert!(paint.status.success(), "{}{}", String::from_utf8_lossy(&paint.stderr), log());
        Screen { server, socket, _dir: dir }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // In order: it has files of its own in /tmp.
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}

/// alex's machine: `-R` of her screen through the gate.
fn share(far: &Far, alex: &User, screen: &Screen) -> (PathBuf, Running) {
    let socket = far.socket("vnc");
    let running = Client::new(Kind::Ours, &far.server)
        .run_by(alex, &far.server)
        .args(["-o", "Via=gate", "-R", &format!("{}:{}", socket.display(), screen.socket.display())])
        .forward();
    wait_until("the gate listens", || is_socket(&socket));
    (socket, running)
}

/// What a user's viewer comes to. It knows ports only, so a relay of the user's leads it to the socket; what that
/// says, and the picture if there is one.
fn look(user: &User, socket: &Path) -> (Output, String, Option<Vec<u8>>) {
    let dir = TempDir::new();
    access::own(dir.path(), user);
    let port = free_port();
    let log = dir.join("log");
    let mut relay = user
        .command(sockward())
        .args(["relay", "-d", "-d", &format!("tcp-listen:127.0.0.1:{port},fork")])
        .arg(format!("unix:{}", socket.display()))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    wait_until("the relay listens", || said().contains("listening on"));
    let picture = dir.join("picture.jpg");
    let out = user
        .command("timeout")
        .args(["60", "vncsnapshot", "-quiet", "-nocursor", "-encodings", "hextile"])
        // Displays count from port 5900; what is that far from it is taken for a port.
        .arg(format!("127.0.0.1::{port}"))
        .arg(&picture)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let _ = relay.kill();
    let _ = relay.wait();
    let picture = picture.exists().then(|| {
        let out = Command::new("djpeg").arg("-pnm").arg(&picture).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    });
    (out, said(), picture)
}

/// The picture is the screen: its size, and its colour everywhere but for what JPEG does to it.
fn assert_shows_the_screen(ppm: &[u8]) {
    let header = format!("P6\n{} {}\n255\n", SIZE[0], SIZE[1]);
    let pixels = ppm.strip_prefix(header.as_bytes()).expect("a picture of the screen's size");
    assert_eq!(pixels.len(), SIZE[0] * SIZE[1] * 3);
    for pixel in pixels.chunks(3) {
        assert!(pixel.iter().zip(COLOUR).all(|(seen, shown)| seen.abs_diff(shown) <= 3), "{pixel:?}");
    }
}

/// A group of alex and bob.
fn group(members: &[&User]) -> &'static str {
    let name = "sockward-screens";
    assert!(Command::new("groupadd").args(["-f", name]).status().unwrap().success());
    for user in members {
        let out = Command::new("gpasswd").args(["-a", &user.name, name]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    name
}

#[test]
fn bob_sees_the_screen_and_eve_does_not() {
    let programs = ["Xtigervnc", "xsetroot", "vncsnapshot", "djpeg"];
    if !as_root() || !programs.iter().all(|name| has_program(name)) {
        return;
    }
    let [alex, bob, eve] = users();
    let group = group(&[alex, bob]);
    let screen = Screen::show(alex);
    for (mode, why) in [("0660", "Permission denied"), ("0666", "PermitPeer")] {
        let far = Far::new(&format!(
            "--permit-listen SOCKETS/vnc --mode {mode} --group {group} --permit-peer {} --audit SOCKETS/audit",
            bob.name
        ));
        let (socket, running) = share(&far, alex, &screen);
        let (out, said, picture) = look(bob, &socket);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{mode}: {text}{said}{}", running.log());
        assert_shows_the_screen(&picture.expect("a picture"));
        let (out, said, picture) = look(eve, &socket);
        assert!(!out.status.success() && picture.is_none(), "{mode}: eve sees the screen");
        let audit = || std::fs::read_to_string(far.socket("audit")).unwrap();
        let lines = |user: &User, what: &str| {
            let uid = format!("\"uid\":{},", user.uid);
            let is = |line: &&str| line.contains("\"event\":\"connection\"") && line.contains(&uid);
            audit().lines().filter(is).filter(|line| line.contains(what)).count()
        };
        match mode {
            // The kernel refuses her: the gate never hears of it.
            "0660" => assert!(said.contains(why), "{said}"),
            // She sees the end before it is written down.
            _ => wait_until("eve's line in the audit log", || lines(eve, why) == 1),
        }
        assert_eq!(lines(bob, "\"result\":\"accepted\""), 1, "{}", audit());
        assert_eq!(lines(eve, "\"result\":\"accepted\""), 0, "{}", audit());
    }
}
