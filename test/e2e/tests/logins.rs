//! Who may not log in whatever the key, and what a login's commands find themselves in. OpenSSH's server is asked
//! the same. The accounts are in a copy of /etc that only the server sees.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use sockward_test_e2e::support::{Client, Kind, Server, ServerSetup, TempDir, key_pair, stock};
use sockward_test_e2e::{alex_and_bob, as_root};

const BOTH: [Kind; 2] = [Kind::Ours, Kind::OpenSsh];

/// Accounts beside alex's, with alex's ids: the shadow entry's fields from the password on, and the shell.
const ACCOUNTS: &[(&str, &str, &str)] = &[
    ("sw-fine", "*:19000:0:99999:7:::", "/bin/sh"),
    ("sw-fine-later", "*:19000:0:99999:7::99999:", "/bin/sh"),
    ("sw-fine-too", "*:19000:0:99999:7:::", "/bin/sh"),
    ("sw-locked", "!:19000:0:99999:7:::", "/bin/sh"),
    ("sw-locked-hash", "!$6$x$y:19000:0:99999:7:::", "/bin/sh"),
    ("sw-expired", "*:19000:0:99999:7::2:", "/bin/sh"),
    ("sw-no-shell", "*:19000:0:99999:7:::", "/nonexistent/sh"),
    ("sw-bad-shell", "*:19000:0:99999:7:::", "/etc/passwd"),
    ("sw-nologin", "*:19000:0:99999:7:::", "/usr/sbin/nologin"),
];

/// A server that sees these accounts, in groups of their own, and what `more` does to its /etc.
fn server(kind: Kind, more: &str) -> Server {
    let (alex, _) = alex_and_bob();
    let mut mounts =
        "t=$(mktemp -d)\nmount -t tmpfs none $t\ncp -a /etc/. $t\nmount --move $t /etc\nrmdir $t\n"
            .to_owned();
    for (name, shadow, shell) in ACCOUNTS {
        let home = alex.home.display();
        mounts += &format!("echo '{name}:x:{}:{}::{home}:{shell}' >> /etc/passwd\n", alex.uid, alex.gid);
        mounts += &format!("echo '{name}:{shadow}' >> /etc/shadow\n");
    }
    mounts += "echo 'sw-extra:x:54321:sw-fine,sw-fine-later' >> /etc/group\n";
    mounts += more;
    Server::start(kind, &ServerSetup { mounts, ..ServerSetup::default() })
}

fn run(server: &Server, user: &str, remote: &str) -> Output {
    Client::new(Kind::OpenSsh, server).user(user).run(remote)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn accounts_that_may_not_log_in_are_refused_like_those_that_are_not_there() {
    if !as_root() {
        return;
    }
    for kind in BOTH {
        let server = server(kind, "");
        for user in ["sw-fine", "sw-fine-later"] {
            let out = run(&server, user, "echo in");
            assert_eq!(text(&out.stdout), "in\n", "{kind:?} {user}: {}", text(&out.stderr));
        }
        let barred =
            ["sw-locked", "sw-locked-hash", "sw-expired", "sw-no-shell", "sw-bad-shell", "sw-not-there"];
        for user in barred {
            let out = run(&server, user, "echo in");
            assert_eq!(out.status.code(), Some(255), "{kind:?} {user}");
            // The same words for all: nobody learns which accounts there are.
            let words = format!("{user}@127.0.0.1: Permission denied (publickey).\r\n");
            let said = text(&out.stderr).replace(",password", "").replace(",keyboard-interactive", "");
            assert_eq!((text(&out.stdout), said), (String::new(), words), "{kind:?}");
        }
        if kind == Kind::Ours {
            let log = server.log();
            for why in [
                "User sw-locked from 127.0.0.1 not allowed because account is locked",
                "User sw-expired from 127.0.0.1 not allowed because account has expired",
                "User sw-no-shell from 127.0.0.1 not allowed because shell /nonexistent/sh does not exist",
                "User sw-bad-shell from 127.0.0.1 not allowed because shell /etc/passwd is not executable",
                "Invalid user sw-not-there from 127.0.0.1",
            ] {
                assert!(log.contains(why), "{why}: {log}");
            }
        }
    }
}

#[test]
fn a_shell_that_refuses_runs_in_place_of_every_command() {
    if !as_root() {
        return;
    }
    for kind in BOTH {
        let server = server(kind, "");
        let out = run(&server, "sw-nologin", "echo in");
        assert_eq!(out.status.code(), Some(1), "{kind:?}");
        assert_eq!(text(&out.stdout), "This account is currently not available.\n", "{kind:?}");
    }
}

#[test]
fn while_nologin_is_there_only_root_comes_in() {
    if !as_root() {
        return;
    }
    for kind in BOTH {
        let server = server(kind, "echo 'back at noon' > /etc/nologin\n");
        let out = run(&server, "sw-fine", "echo in");
        assert!(!out.status.success() && out.stdout.is_empty(), "{kind:?}: {}", text(&out.stdout));
        if kind == Kind::Ours {
            // OpenSSH without PAM lets the login in and ends the session.
            assert_eq!(out.status.code(), Some(255));
            assert!(text(&out.stderr).contains("back at noon"), "{}", text(&out.stderr));
        }
        let out = run(&server, "root", "echo in");
        assert_eq!(text(&out.stdout), "in\n", "{kind:?}: {}", text(&out.stderr));
    }
}

/// What a command prints of itself, by name; numbers that differ from run to run are made one.
fn surroundings(server: &Server, user: &str) -> BTreeMap<String, String> {
    let remote = "env | sed 's/^/env /'; echo uid $(id -u); echo gid $(id -g); echo groups $(id -G); \
        echo umask $(umask); echo cwd $(pwd -P); echo nice $(nice); echo files $(ulimit -n) $(ulimit -Hn) $(ulimit -c); \
        grep -E '^(NoNewPrivs|Seccomp|Sig(Blk|Ign)|Cap(Inh|Prm|Eff|Bnd|Amb))' /proc/self/status; \
        echo descriptors $(ls /proc/self/fd); echo session $(ps -o sid= -p $$ | grep -c $$)";
    let out = run(server, user, remote);
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}", text(&out.stderr));
    let mut found = BTreeMap::new();
    for line in said.lines() {
        let (name, value) = match line.strip_prefix("env ") {
            Some(variable) => variable.split_once('=').unwrap(),
            None => line.split_once([' ', '\t']).unwrap(),
        };
        let value = value.trim().replace(&server.port.to_string(), "PORT");
        let value = match name {
            "SSH_CLIENT" | "SSH_CONNECTION" => {
                let words: Vec<&str> = value.split(' ').collect();
                assert!(words[1].parse::<u16>().is_ok(), "{value}");
                value.replacen(words[1], "CLIENT", 1)
            }
            _ => value,
        };
        assert_eq!(found.insert(name.trim_end_matches(':').to_owned(), value), None, "{name} twice");
    }
    found
}

#[test]
fn a_login_has_the_groups_of_its_own_name_as_they_are_now() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let server = server(Kind::Ours, "");
    let groups = |user| text(&run(&server, user, "id -G").stdout).trim_end().to_owned();
    // A login that stays, so that there is a process with its rights.
    let mut held = Client::new(Kind::OpenSsh, &server).user("sw-fine").command("echo up; cat");
    let mut held = held.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    held.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    let own = alex.gid.to_string();
    assert_eq!(groups("sw-fine"), format!("{own} 54321"));
    // The same uid by another name.
    assert_eq!(groups("sw-fine-too"), own);
    let pid = server.pid().to_string();
    let edit = "sed -i '/^sw-extra:/s/:sw-fine,/:/' /etc/group";
    let edited = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-c", edit]).status().unwrap();
    assert!(edited.success());
    assert_eq!(groups("sw-fine"), own);
    let _ = held.kill();
    let _ = held.wait();
}

#[test]
fn commands_find_themselves_in_what_openssh_gives_them() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let [ours, theirs] = BOTH.map(|kind| server(kind, ""));
    for user in ["sw-fine", "sw-fine-later", "root"] {
        let (ours, theirs) = (surroundings(&ours, user), surroundings(&theirs, user));
        assert_eq!(ours, theirs, "ours, OpenSSH's");
        if user == "sw-fine" {
            let home = alex.home.display().to_string();
            for (name, value) in [
                ("HOME", home.as_str()),
                ("USER", "sw-fine"),
                ("LOGNAME", "sw-fine"),
                ("SHELL", "/bin/sh"),
                ("SSH_CONNECTION", "127.0.0.1 CLIENT 127.0.0.1 PORT"),
                ("uid", &alex.uid.to_string()),
                ("groups", &format!("{} 54321", alex.gid)),
                ("cwd", &home),
                ("NoNewPrivs", "0"),
                ("Seccomp", "0"),
                ("CapEff", "0000000000000000"),
            ] {
                assert_eq!(ours.get(name).map(String::as_str), Some(value), "{name}");
            }
            assert!(ours["PATH"].contains("/usr/bin"));
        }
    }
}

/// Proofs of many keys take longer than a short command, and a client that has its status leaves.
#[test]
fn host_keys_are_proved_before_a_short_command_is_over() {
    if !as_root() {
        return;
    }
    let dir = TempDir::new();
    let mut lines = String::from("ForceCommand exit 0\n");
    for n in 0..6 {
        let key = key_pair(dir.path(), &format!("rsa{n}"), "rsa");
        lines.push_str(&format!("HostKey {}\n", key.display()));
    }
    let server = Server::start(Kind::Ours, &ServerSetup::with(&lines));
    let known = dir.join("known_hosts");
    let host = std::fs::read_to_string(server.keys.host.with_extension("pub")).unwrap();
    std::fs::write(&known, format!("[127.0.0.1]:{} {host}", server.port)).unwrap();
    let status = Command::new(stock("ssh"))
        .args(["-F", "none", "-p", &server.port.to_string(), "-l", &server.user.name, "-i"])
        .arg(&server.keys.user)
        .args([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "UpdateHostKeys=yes",
            "-o",
            "GlobalKnownHostsFile=none",
            "-o",
        ])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .args(["127.0.0.1", "true"])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read_to_string(&known).unwrap().lines().count(), 7);
}
