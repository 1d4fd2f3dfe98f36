//! The demo as its user runs it: an ordinary one, and root.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sockward_test_support::{TempDir, User, has_program, is_root, users, wait_until};

/// Who runs it: whoever runs the test, and if that is root an ordinary user too.
fn runners() -> Vec<User> {
    let mut runners = vec![User::own()];
    if is_root() {
        runners.push(users()[0].clone());
    }
    runners
}

/// The binary in a place that every user may enter, and a place for temporary files.
fn prepare() -> (TempDir, PathBuf) {
    let dir = TempDir::new();
    let binary = dir.join("sockward");
    std::fs::copy(env!("CARGO_BIN_EXE_sockward"), &binary).unwrap();
    let tmp = dir.join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    std::fs::set_permissions(&tmp, PermissionsExt::from_mode(0o1777)).unwrap();
    (dir, binary)
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn it_tells_the_whole_story_and_leaves_nothing() {
    let (dir, binary) = prepare();
    let tmp = dir.join("tmp");
    for user in runners() {
        let out = user.command(&binary).arg("demo").env("TMPDIR", &tmp).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}\n{errors}");
        let owned = format!("srw-rw---- {} ", user.name);
        for part in [
            &owned,
            "Hello from a service that knows no users.",
            "| Error: remote port forwarding failed for listen path ",
            "/other.sock refused: not in the server's list (PermitListen), decided by ",
            "/authorized_keys:1",
            "Tidied up",
        ] {
            assert!(said.contains(part), "{part:?} is missing:\n{said}\n{errors}");
        }
        assert!(is_empty(&tmp), "something is left in {}", tmp.display());
    }
}

#[test]
fn it_stays_up_and_what_it_tells_to_try_works() {
    if !has_program("curl") {
        return;
    }
    for signal in ["-INT", "-TERM"] {
        let (dir, binary) = prepare();
        let tmp = dir.join("tmp");
        let user = runners().pop().unwrap();
        let mut demo = user.command(&binary);
        demo.args(["demo", "--keep"]).env("TMPDIR", &tmp).stdout(Stdio::piped());
        let mut demo = demo.spawn().unwrap();
        let mut out = BufReader::new(demo.stdout.take().unwrap());
        let mut tries = Vec::new();
        loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended early");
            if line.starts_with("  ") && !line.starts_with("   ") {
                tries.push(line.trim().to_owned());
            }
            if line.starts_with("Control-C") {
                break;
            }
        }
        let run = |line: &str| {
            let line = line.replace("sockward ssh", &format!("{} ssh", binary.display()));
            user.command("timeout").args(["60", "sh", "-c", &line]).stdin(Stdio::null()).output().unwrap()
        };
        // The socket, a command, a port refused; the -L line stays in the foreground and is the interop tests'.
        let page = run(tries.iter().find(|line| line.starts_with("curl")).unwrap());
        assert!(String::from_utf8_lossy(&page.stdout).contains("Hello from a service"), "{page:?}");
        let id = run(tries.iter().find(|line| line.ends_with(" id")).unwrap());
        assert!(String::from_utf8_lossy(&id.stdout).contains(&format!("uid={}", user.uid)), "{id:?}");
        let refused = run(tries.iter().find(|line| line.contains("-R 8080")).unwrap());
        assert!(!refused.status.success(), "{refused:?}");

        let pid = demo.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        wait_until("the demo ends", || demo.try_wait().unwrap().is_some());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(demo.wait().unwrap().code(), Some(0), "{rest}");
        assert!(is_empty(&tmp), "something is left in {}: {rest}", tmp.display());
    }
}

#[test]
fn a_wrong_argument_is_named() {
    let out = Command::new(env!("CARGO_BIN_EXE_sockward")).args(["demo", "--kept"]).output().unwrap();
    assert_eq!(out.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&out.stderr).contains("'--kept'"));
}
