//! The command lines and the configuration that this project exists for, word for word, as an administrator would
//! type them: with ours and with OpenSSH's on either side. Everything is in namespaces of its own: a network where
//! port 80 and 22 are free, /run and root's home empty, a host called "host".

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};

use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{Kind, TempDir, has_program, sockward, stock};

/// What comes before: a network, the web service, a server for "host". $1: programs, $2: sshd.
const STAGE: &str = r#"
set -eu
ip link set lo up
mount -t tmpfs none /run
mount -t tmpfs none /root
mkdir -p /run/sshd /root/.ssh /run/web
chmod 700 /root /root/.ssh
cd /root
export HOME=/root PATH="$1:/usr/sbin:/usr/bin:/sbin:/bin"
unset SSH_AUTH_SOCK
cat >nginx.conf <<'END'
pid /run/nginx.pid; error_log /dev/null; worker_processes 1; user root;
events { worker_connections 64; }
http { access_log off; client_body_temp_path /run/a; proxy_temp_path /run/b; fastcgi_temp_path /run/c;
    uwsgi_temp_path /run/d; scgi_temp_path /run/e; server { listen 80; root /run/web; } }
END
echo 'the page of the web service' >/run/web/index.html
nginx -c /root/nginx.conf -e /dev/null
ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519
ssh-keygen -q -t ed25519 -N '' -f host_key
cp .ssh/id_ed25519.pub .ssh/authorized_keys
echo "host $(cat host_key.pub)" >.ssh/known_hosts
cat >.ssh/config <<'END'
Host host
    Hostname 127.0.0.1
    HostKeyAlias host
END
until_true() {
    n=0
    until "$@" 2>/dev/null; do
        n=$((n + 1)); [ $n -lt 600 ] || { echo "in vain: $*"; cat log; exit 1; }
        sleep 0.05
    done
}
serve() {
    { cat; printf 'HostKey /root/host_key\nPidFile /run/pid\nStreamLocalBindMask 0177\n'; } >sshd_config
    "$2" -f /root/sshd_config -E /root/log
    until_true test -s /run/pid
}
end() {
    kill $client; wait $client || true; kill $(cat /run/pid)
    until_true test ! -e /run/pid
}
"#;

/// The recipes. What is between the lines of "recipe" stands so in the documentation.
const RECIPES: &str = r#"
serve "$@" </dev/null

# recipe: a port of the host
ssh -nNT -R 8080:localhost:80 -o "ExitOnForwardFailure yes" host &
client=$!
until_true nc -z localhost 8080
printf "GET / HTTP/1.0\r\n\r\n" | ssh -T host nc localhost 8080 >got
echo "port: $(tail -n 1 got)"
# A second one finds the port taken, and says so.
status=0; timeout 20 ssh -nNT -R 8080:localhost:80 -o "ExitOnForwardFailure yes" host 2>/dev/null || status=$?
echo "taken: $status"
kill $client; wait $client || true

# recipe: a socket of the host
ssh -nNT -R /var/run/http.sock:localhost:80 -o "ExitOnForwardFailure yes" host &
client=$!
until_true test -S /var/run/http.sock
echo "socket: $(stat -c '%U %a' /var/run/http.sock) $(curl -sS --unix-socket /var/run/http.sock http://localhost/)"

# recipe: and from there to a user
ssh -nNT -L 3000:/var/run/http.sock host &
user=$!
until_true nc -z localhost 3000
echo "page: $(curl -sS http://localhost:3000/)"
echo "again: $(for n in 1 2 3 4 5 6; do curl -sS http://localhost:3000/ & done | sort | uniq -c | tr -s ' ')"
kill $user; wait $user || true
end

# The left-over socket of an earlier run, and the line that is needed for it.
rm -f /run/http.sock
nc -lU /run/http.sock & 
until_true test -S /run/http.sock
kill $!; wait $! || true
serve "$@" <<'END'
StreamLocalBindUnlink yes
END
ssh -nNT -R /var/run/http.sock:localhost:80 -o "ExitOnForwardFailure yes" host &
client=$!
until_true curl -sS -o /dev/null --unix-socket /var/run/http.sock http://localhost/
echo "replaced: $(curl -sS --unix-socket /var/run/http.sock http://localhost/)"
end
"#;

fn play(client: Kind, server: Kind) {
    if !as_root() || !["nginx", "curl", "nc", "unshare", "ip"].iter().all(|name| has_program(name)) {
        return;
    }
    let bin = TempDir::new();
    let link = |kind, name: &str| {
        let target = if kind == Kind::Ours { sockward().to_owned() } else { stock(name) };
        std::os::unix::fs::symlink(target, bin.join(name)).unwrap();
    };
    link(client, "ssh");
    link(Kind::Ours, "sshd");
    let sshd = if server == Kind::Ours { bin.join("sshd") } else { stock("sshd") };
    let script = format!("{STAGE}{RECIPES}");
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        &script,
        "-",
    ]);
    command.arg(bin.path()).arg(&sshd).stdin(Stdio::null());
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let all = format!("{client:?} x {server:?}: {said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{all}");
    for line in [
        "port: the page of the web service",
        "taken: 255",
        "socket: root 600 the page of the web service",
        "page: the page of the web service",
        "again:  6 the page of the web service",
        "replaced: the page of the web service",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}\n{all}");
    }
}

#[test]
fn ours_with_ours() {
    play(Kind::Ours, Kind::Ours);
}

#[test]
fn ours_with_openssh_sshd() {
    play(Kind::Ours, Kind::OpenSsh);
}

#[test]
fn openssh_ssh_with_ours() {
    play(Kind::OpenSsh, Kind::Ours);
}

/// Shows that the recipes themselves are right.
#[test]
fn openssh_with_openssh() {
    play(Kind::OpenSsh, Kind::OpenSsh);
}
