//! What packaging/ holds is understood by the programs that it is for, without a word of complaint.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{
    Client, Kind, Server, ServerSetup, TempDir, has_program, sockward, wait_until,
};

fn packaging(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging")).join(name)
}

fn quiet(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// The unit, with our binary where the installed one would be.
fn unit() -> String {
    let text = std::fs::read_to_string(packaging("systemd/sockward-sshd.service")).unwrap();
    assert!(text.contains("=/usr/bin/sockward "));
    text.replace("=/usr/bin/sockward ", &format!("={} ", sockward().display()))
}

#[test]
fn systemd_understands_the_unit() {
    if !has_program("systemd-analyze") {
        return;
    }
    let dir = TempDir::new();
    let verify = |text: String| {
        let path = dir.write("sockward-sshd.service", text);
        // The manual pages are not installed here.
        let out = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    assert_eq!(verify(unit()), (true, String::new()));
    // It would say so.
    let (_, said) = verify(unit().replace("[Service]", "[Service]\nRestrictRealTime=yes"));
    assert!(said.contains("Unknown key"), "{said}");
}

/// The commands of the unit, with a configuration of the test's in place of the system's.
#[test]
fn the_units_commands_start_and_reload_a_server() {
    if !as_root() {
        return;
    }
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    let unit = unit();
    let commands = |key: &str| -> Vec<String> {
        let wanted = |line: &&str| line.starts_with(&format!("{key}="));
        let config = server.config().display().to_string();
        let command = |line: &str| {
            let command = line.split_once('=').unwrap().1.replace("/etc/sockward/sshd_config", &config);
            command.replace("$MAINPID", &server.pid().to_string())
        };
        unit.lines().filter(wanted).map(command).collect()
    };
    for command in commands("ExecStartPre").iter().chain(&commands("ExecReload")) {
        quiet(Command::new("sh").args(["-c", command]));
    }
    wait_until("the reload", || server.log().contains("Received SIGHUP; reloading."));
    let start = commands("ExecStart");
    let words: Vec<&str> = start[0].split(' ').collect();
    assert_eq!(words[1..4], ["sshd", "-D", "-e"]);
    assert!(Client::new(Kind::OpenSsh, &server).run("true").status.success());
}

#[test]
fn the_user_and_the_directory_are_made() {
    if !as_root() || !has_program("systemd-sysusers") || !has_program("systemd-tmpfiles") {
        return;
    }
    let root = TempDir::new();
    std::fs::create_dir(root.join("etc")).unwrap();
    let at = format!("--root={}", root.path().display());
    quiet(Command::new("systemd-sysusers").args([&at]).arg(packaging("sysusers.d/sockward.conf")));
    let users = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(users.starts_with("sockward:x:") && users.ends_with(":/:/usr/sbin/nologin\n"), "{users}");
    let tmpfiles = packaging("tmpfiles.d/sockward.conf");
    let out = quiet(Command::new("systemd-tmpfiles").args(["--create", &at]).arg(tmpfiles));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    let share = std::fs::metadata(root.join("run/share")).unwrap();
    assert_eq!((share.uid(), share.gid(), share.mode() & 0o7777), (0, 0, 0o755));
}
