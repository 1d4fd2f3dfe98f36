//! Commands, shells and subsystems on a stock server: streams of every kind, statuses, the environment, terminals.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use common::pty::Person;
use common::{Ended, Server, pattern, read, wait_until};

/// What goes through at once in the tests of streams.
const MUCH: usize = 64 << 20;

#[test]
fn output_errors_and_status_of_a_command() {
    let Some(server) = Server::start("") else { return };
    let ended = server.run(&["h", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ended.code(), ended.out().as_str(), ended.stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(server.run(&["h", "echo", "a  b", "'c  d'"]).well(), "a b c  d\n");
    assert_eq!(server.run(&["h", "kill -9 $$"]).code(), Some(255));
    assert_eq!(server.run(&["-o", "RemoteCommand=echo remote", "h"]).well(), "remote\n");
}

#[test]
fn sixty_four_mebibytes_each_way_through_files_and_pipes() {
    let Some(server) = Server::start("") else { return };
    let bytes = pattern(1, MUCH);
    let (from, to) = (server.path("from"), server.path("to"));
    std::fs::write(&from, &bytes).unwrap();
    let mut command = server.ssh(&["h", "cat"]);
    command.stdin(File::open(&from).unwrap()).stdout(File::create(&to).unwrap());
    Ended::of(command).well();
    assert!(std::fs::read(&to).unwrap() == bytes, "a file to a file");

    let mut command = server.ssh(&["h", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sender = std::thread::spawn({
        let bytes = bytes.clone();
        move || stdin.write_all(&bytes).unwrap()
    });
    let mut back = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    assert!(child.wait().unwrap().success() && back == bytes, "a pipe to a pipe");

    let script = format!("cat {} >&2", from.display());
    let mut command = server.ssh(&["h", &script]);
    command.stderr(File::create(&to).unwrap());
    Ended::of(command).well();
    assert!(std::fs::read(&to).unwrap() == bytes, "standard error");
}

#[test]
fn keys_change_as_often_as_is_wanted() {
    let Some(server) = Server::start("") else { return };
    let bytes = pattern(7, 300_000);
    std::fs::write(server.path("from"), &bytes).unwrap();
    // 16 bytes: less than the login moves, which no exchange may interrupt.
    for limit in ["16", "1k", "128k"] {
        let option = format!("RekeyLimit={limit}");
        let mut command = server.ssh(&["-v", "-o", &option, "h", "cat"]);
        command.stdin(File::open(server.path("from")).unwrap());
        let ended = Ended::of(command);
        assert!(ended.code() == Some(0) && ended.stdout == bytes, "{limit}: {}", ended.stderr);
        assert!(ended.stderr.matches("NEWKEYS sent").count() > 1, "{limit}");
    }
}

#[test]
fn the_end_of_input_is_an_end_and_output_goes_on() {
    let Some(server) = Server::start("") else { return };
    let mut child =
        server.ssh(&["h", "cat; echo end"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"some\n").unwrap();
    drop(stdin);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "some\nend\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_input_nothing_of_ours_is_read() {
    let Some(server) = Server::start("") else { return };
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"kept").unwrap();
    drop(writer);
    let mut command = server.ssh(&["-n", "h", "cat; echo done"]);
    command.stdin(reader.try_clone().unwrap());
    assert_eq!(Ended::of(command).well(), "done\n");
    let mut left = String::new();
    reader.read_to_string(&mut left).unwrap();
    assert_eq!(left, "kept");
}

#[test]
fn inherited_streams_keep_their_flags() {
    let Some(server) = Server::start("") else { return };
    let (stdin, mut feeder) = std::io::pipe().unwrap();
    let (mut reader, stdout) = std::io::pipe().unwrap();
    let mut command = server.ssh(&["h", "cat"]);
    let mut child = command
        .stdin(stdin.try_clone().unwrap())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stdout.try_clone().unwrap())
        .spawn()
        .unwrap();
    // The command holds copies.
    drop(command);
    feeder.write_all(b"through").unwrap();
    let mut seen = [0; 7];
    reader.read_exact(&mut seen).unwrap();
    for fd in [stdin.as_fd(), stdout.as_fd()] {
        let flags = rustix::fs::fcntl_getfl(fd).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
    }
    drop((feeder, stdin));
    assert!(child.wait().unwrap().success());
}

#[test]
fn outputs_that_cannot_be_written_change_no_status() {
    let Some(server) = Server::start("") else { return };
    let shell = |script: &str| {
        let config = server.path("config");
        let line = script.replace("SSH", &format!("{} -F {}", common::client().display(), config.display()));
        let mut command = Command::new("timeout");
        command.args(["120", "bash", "-c", &line]).stdin(Stdio::null());
        Ended::of(command)
    };
    assert_eq!(shell("SSH h 'echo x; exit 3' >&-").code(), Some(3));
    assert_eq!(shell("SSH h 'echo x; exit 3' <&- >&- 2>&-").code(), Some(3));
    assert_eq!(shell("SSH h 'echo x; exit 3' >/dev/full").code(), Some(3));
    // The reader of endless output goes away; the command is told, and ends.
    assert_eq!(shell("SSH h yes | head -n 1; echo ${PIPESTATUS[1]}").out(), "y\n0\n");
    // The command reads nothing of endless input.
    assert_eq!(shell("yes | SSH h 'exit 4'; exit $?").code(), Some(4));
}

#[test]
fn variables_are_sent_that_were_asked_for() {
    let Some(server) = Server::start("AcceptEnv SENT_* SET_*") else { return };
    let mut command = server.ssh(&[
        "-o",
        "SendEnv=SENT_*",
        "-o",
        "SetEnv=SET_A=\"a b\" SET_B=%n",
        "h",
        "env | grep -E '^(SENT|SET)_' | sort",
    ]);
    command.env("SENT_X", "x").env("SENT_Y", "y").env("OTHER_Z", "z");
    assert_eq!(Ended::of(command).well(), "SENT_X=x\nSENT_Y=y\nSET_A=a b\nSET_B=h\n");
}

#[test]
fn subsystems_and_what_is_none() {
    let Some(server) = Server::start("Subsystem greet echo hello") else { return };
    assert_eq!(server.run(&["-s", "h", "greet"]).well(), "hello\n");
    server.run(&["-s", "h", "none"]).failed("subsystem request failed on channel 0");
}

#[test]
fn a_local_command_runs_when_it_is_permitted() {
    let Some(server) = Server::start("") else { return };
    let arguments = |permit| {
        let permit: &'static str = permit;
        ["-o", permit, "-o", "LocalCommand=echo local to %n", "h", "echo remote"]
    };
    assert_eq!(server.run(&arguments("PermitLocalCommand=yes")).well(), "local to h\nremote\n");
    assert_eq!(server.run(&arguments("PermitLocalCommand=no")).well(), "remote\n");
}

#[test]
fn into_the_background_after_the_login() {
    let Some(server) = Server::start("") else { return };
    let (pid, out) = (server.path("pid"), server.path("out"));
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; echo late; sleep 1000", pid.display());
    let mut command = server.ssh(&["-f", "h", &script]);
    // As in a shell: what it prints later still comes out, to a file that nobody waits for.
    command.stdout(File::create(&out).unwrap());
    let status = command.status().unwrap();
    assert!(status.success());
    wait_until("the command's start", || pid.exists() && read(&out) == "late\n");
    common::tool("kill", &[read(&pid).trim()]);
    // A login that fails is told by the status, and nothing goes to the background.
    server
        .run(&["-f", "-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes", "h", "true"])
        .failed("Permission denied");
}

#[test]
fn a_terminal_session_from_beginning_to_end() {
    let Some(server) = Server::start("AcceptEnv SET_*") else { return };
    let mut command = server.ssh(&["-t", "-o", "SetEnv=TERM=vt52", "h", "tty; stty size; echo $TERM; cat"]);
    command.env("TERM", "dumb");
    let mut person = Person::start(&command);
    person.sees("/dev/pts/");
    person.sees("40 100\r\nvt52\r\n");
    assert!(!person.echoes(), "raw mode");
    person.types("typed\r");
    person.sees("typed\r\ntyped\r\n");
    person.resize(90, 30);
    person.types("~?");
    person.sees("~?\r\nSupported escape sequences:");
    person.sees("only recognized immediately after newline.)\r\n");
    person.types("~#");
    person.sees("The following connections are open:");
    person.types("a\r~~b\r");
    for _ in ["the terminal's echo", "the command"] {
        person.sees("~b\r\n");
    }
    person.types("~B");
    person.sees("~B\r\n");
    wait_until("the server gets the break", || server.log().contains(" request break reply 0"));
    person.types("~v");
    person.sees("[LogLevel VERBOSE]");
    // The far terminal's end-of-file character ends `cat`.
    person.types("\u{4}");
    let (status, rest) = person.ends();
    assert!(status.success() && rest.contains("Connection to 127.0.0.1 closed."), "{rest:?}");
}

#[test]
fn a_terminal_session_is_cut_by_its_user() {
    let Some(server) = Server::start("") else { return };
    let mut person = Person::start(&server.ssh(&["-t", "h", "trap '' HUP; stty size; sleep 1000"]));
    person.sees("40 100");
    person.types("\r~.");
    person.sees("~.\r\n");
    let (status, rest) = person.ends();
    assert_eq!(status.code(), Some(255), "{rest:?}");
    assert!(rest.contains("Connection to 127.0.0.1 closed."), "{rest:?}");
}

#[test]
fn the_window_s_new_size_is_told() {
    let Some(server) = Server::start("") else { return };
    let mut person = Person::start(&server.ssh(&[
        "-t",
        "h",
        "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done",
    ]));
    person.sees("ready");
    person.resize(77, 11);
    person.sees("11 77");
    assert!(person.ends().0.success());
}

#[test]
fn a_terminal_without_one_of_ours_is_forced_or_not_given() {
    let Some(server) = Server::start("") else { return };
    let ended = server.run(&["-t", "h", "tty"]);
    assert!(
        ended.stderr.starts_with("Pseudo-terminal will not be allocated because stdin is not a terminal.")
    );
    assert_eq!(ended.code(), Some(1));
    assert!(server.run(&["-tt", "h", "tty"]).out().starts_with("/dev/pts/"));
    let Some(server) = Server::start("PermitTTY no") else { return };
    server.run(&["-tt", "h", "tty"]).failed("PTY allocation request failed on channel 0");
}
