//! An ordinary user's server: no configuration, no rights, one command; and the command it prints comes in.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};

use sockward_test_e2e::support::{TempDir, sockward};
use sockward_test_e2e::{alex_and_bob, as_root};

/// What alex does, in a network of its own and with an empty home. $1: the directory of our program.
const SCRIPT: &str = r#"
set -eu
export PATH="$1:/usr/bin:/bin"
cd
mkdir -m 700 .ssh
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
cp .ssh/id_ed25519.pub .ssh/authorized_keys
for round in 1 2; do
    sockward sshd -D -e >said 2>log &
    server=$!
    n=0
    until grep -q '^ *sockward ssh ' said; do
        n=$((n + 1)); [ $n -lt 1000 ] || { cat log; exit 1; }
        sleep 0.02
    done
    command=$(grep '^ *sockward ssh ' said)
    echo "command:$command"
    echo "words: $(tr '\n' ' ' <said)"
    echo "round $round: $($command -o StrictHostKeyChecking=accept-new 'echo I am $(id -un)')"
    echo "stock: $(ssh -p 2222 -o BatchMode=yes "$(id -un)@127.0.0.1" 'echo I am $(id -un)')"
    echo "terminal: $($command -tt 'stat -c %U "$(tty)"' </dev/null)"
    echo "listening: $(ss -Hltn | awk '{print $4}' | tr '\n' ' ')"
    # Others do not come in, nor does anybody through another address.
    ssh -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no root@127.0.0.1 true 2>/dev/null && echo root came in
    # A socket is shared as by any server.
    sockward ssh -p 2222 -nNT -R ~/s:127.0.0.1:2222 "$(id -un)@127.0.0.1" 2>>log &
    client=$!
    n=0
    until [ -S s ]; do
        n=$((n + 1)); [ $n -lt 1000 ] || { cat log; exit 1; }
        sleep 0.02
    done
    echo "socket: $(stat -c '%U %a' s) $(nc -NU s </dev/null | head -c 7)"
    kill $client
    wait $client || true
    n=0
    while [ -e s ]; do n=$((n + 1)); [ $n -lt 1000 ] || exit 1; sleep 0.02; done
    kill $server
    wait $server && echo ended well
done
echo "key: $(stat -c '%a' .local/share/sockward/ssh_host_ed25519_key) $(wc -l <.ssh/known_hosts)"
"#;

#[test]
fn one_command_serves_its_user_and_the_command_it_prints_comes_in() {
    if !as_root() {
        return;
    }
    let (alex, _) = alex_and_bob();
    let bin = TempDir::new();
    std::os::unix::fs::symlink(sockward(), bin.join("sockward")).unwrap();
    let home = alex.home.display();
    let mounts = format!(
        "set -e; ip link set lo up; mount -t tmpfs -o mode=755 none {home}; chown {uid}:{gid} {home}; exec \"$@\"",
        uid = alex.uid,
        gid = alex.gid
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &mounts, "-"]);
    let inner = alex.command("sh");
    command.arg(inner.get_program()).args(inner.get_args());
    command.args(["-c", SCRIPT, "-"]).arg(bin.path());
    command.env("HOME", &alex.home).env("USER", &alex.name).env("LOGNAME", &alex.name);
    command.env_remove("SSH_AUTH_SOCK").env_remove("XDG_DATA_HOME").current_dir("/");
    let out = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let all = format!("{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{all}");
    let name = &alex.name;
    for (line, times) in [
        (format!("command:  sockward ssh -p 2222 {name}@127.0.0.1"), 2),
        (format!("round 1: I am {name}"), 1),
        // The same key as before: known by now.
        (format!("round 2: I am {name}"), 1),
        (format!("stock: I am {name}"), 2),
        (format!("terminal: {name}"), 2),
        ("listening: 127.0.0.1:2222 ".to_owned(), 2),
        (format!("socket: {name} 600 SSH-2.0"), 2),
        ("ended well".to_owned(), 2),
        ("key: 600 1".to_owned(), 1),
    ] {
        assert_eq!(said.lines().filter(|l| *l == line).count(), times, "{line}\n{all}");
    }
    assert!(!said.contains("root came in"), "{all}");
}
