//! Real programs over our client, to our server and to OpenSSH's: git, rsync, PostgreSQL, nginx with curl; and the
//! second user of a machine at a port of the first one's.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sockward_test_e2e::support::{
    Client, Kind, Origin, Server, ServerSetup, TempDir, User, free_port, has_program, missing, sockward,
    stock, users, wait_until,
};
use sockward_test_e2e::{as_root, directory};

const SERVERS: [Kind; 2] = [Kind::Ours, Kind::OpenSsh];

fn there(programs: &[&str]) -> bool {
    as_root() && programs.iter().all(|program| has_program(program))
}

fn well(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().unwrap();
    checked(command, &out)
}

fn checked(command: &Command, out: &Output) -> String {
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {said}{complained}");
    said.into_owned()
}

/// A configuration in which the server is called "far", and the command that programs are told to use for ssh.
fn remote_shell(server: &Server) -> String {
    let known = server.keys.known_hosts(server.dir.path(), server.port);
    let config = format!(
        "Host far\nHostname 127.0.0.1\nPort {}\nUser {}\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
         UserKnownHostsFile {}\nGlobalKnownHostsFile none\nBatchMode yes\n",
        server.port,
        server.user.name,
        server.keys.user.display(),
        known.display(),
    );
    format!("{} ssh -F {}", sockward().display(), server.dir.write("config", config).display())
}

/// Makes a tree of files: empty, small, of some MiB, with names of all kinds.
fn tree(at: &Path) {
    std::fs::create_dir_all(at.join("a/b c")).unwrap();
    for (n, (name, len)) in [("empty", 0), ("a/small", 10), ("a/b c/odd 'name\"", 70_000), ("big", 3 << 20)]
        .into_iter()
        .enumerate()
    {
        std::fs::write(at.join(name), Origin::pattern(n as u64 + 1, len)).unwrap();
    }
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    well(Command::new("diff").args(["-r", "--exclude=.git"]).arg(one).arg(other));
}

#[test]
fn git_pushes_and_clones() {
    if !there(&["git", "diff"]) {
        return;
    }
    for kind in SERVERS {
        let server = Server::start(kind, &ServerSetup::default());
        let ssh = remote_shell(&server);
        let git = |dir: &Path, words: &[&str]| {
            let mut git = Command::new("git");
            git.current_dir(dir)
                .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0"])
                .args(words);
            git.env("GIT_SSH_COMMAND", &ssh).env("GIT_CONFIG_GLOBAL", "/dev/null");
            git.env_remove("GIT_DIR").env_remove("GIT_SSH");
            well(&mut git)
        };
        let far = directory(&server, "far", &server.user, 0o755);
        well(server.user.command("git").args(["init", "-q", "--bare", "-b", "main"]).arg(far.join("r.git")));
        let (here, copy) = (server.dir.join("here"), server.dir.join("copy"));
        tree(&here);
        git(&here, &["init", "-q", "-b", "main"]);
        git(&here, &["add", "."]);
        git(&here, &["commit", "-q", "-m", "one"]);
        let url = format!("far:{}/r.git", far.display());
        git(&here, &["push", "-q", &url, "main"]);
        git(server.dir.path(), &["clone", "-q", &url, "copy"]);
        same(&here, &copy);
        // And once more, for what has changed.
        std::fs::write(here.join("big"), Origin::pattern(9, 2 << 20)).unwrap();
        git(&here, &["commit", "-q", "-a", "-m", "two"]);
        git(&here, &["push", "-q", &url, "main"]);
        git(&copy, &["pull", "-q"]);
        same(&here, &copy);
        assert_eq!(git(&here, &["rev-parse", "HEAD"]), git(&copy, &["rev-parse", "HEAD"]), "{kind:?}");
    }
}

#[test]
fn rsync_copies_both_ways() {
    if !there(&["rsync", "diff"]) {
        return;
    }
    for kind in SERVERS {
        let server = Server::start(kind, &ServerSetup::default());
        let ssh = remote_shell(&server);
        let far = directory(&server, "far", &server.user, 0o755);
        let (here, back) = (server.dir.join("here"), server.dir.join("back"));
        tree(&here);
        // All files are compared: two of one size may be of one second.
        let rsync = |from: &str, to: &str| {
            well(Command::new("rsync").args([
                "-a",
                "--ignore-times",
                "--delete",
                "--no-owner",
                "--no-group",
                "-e",
                &ssh,
                from,
                to,
            ]))
        };
        let (near, far_place) = (format!("{}/", here.display()), format!("far:{}/tree/", far.display()));
        rsync(&near, &far_place);
        same(&here, &far.join("tree"));
        rsync(&far_place, &format!("{}/", back.display()));
        same(&here, &back);
        // What has changed, in the middle of a big file, and what has gone.
        let mut big = Origin::pattern(4, 3 << 20);
        big[1 << 20..][..5000].fill(7);
        std::fs::write(here.join("big"), big).unwrap();
        std::fs::remove_file(here.join("empty")).unwrap();
        rsync(&near, &far_place);
        same(&here, &far.join("tree"));
    }
}

// ---- PostgreSQL ----

/// A database of a user's own, at a socket alone.
struct Postgres {
    dir: TempDir,
    owner: User,
    server: Child,
}

impl Postgres {
    fn start(owner: &User) -> Option<Postgres> {
        let bin = installed_postgres()?;
        let dir = TempDir::new();
        for name in ["data", "run"] {
            let path = dir.join(name);
            std::fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(owner.uid), Some(owner.gid)).unwrap();
        }
        let run = |program: &str| {
            let mut command = owner.command(bin.join(program));
            command.current_dir("/").arg("-D").arg(dir.join("data")).env("LC_ALL", "C");
            command
        };
        well(run("initdb").args(["--no-sync", "--auth=trust", "--username=alex", "--encoding=UTF8"]));
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let server = run("postgres")
            .args([
                "-F",
                "-c",
                "listen_addresses=",
                "-c",
                "shared_buffers=1MB",
                "-c",
                "max_connections=30",
                "-k",
            ])
            .arg(dir.join("run"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let postgres = Postgres { dir, owner: owner.clone(), server };
        wait_until("the database answers", || {
            postgres.query(&postgres.dir.join("run"), "select 1").is_ok_and(|text| text == "1\n")
        });
        Some(postgres)
    }

    /// Asks it at a directory with its socket.
    fn query(&self, at: &Path, sql: &str) -> Result<String, String> {
        let mut psql = self.owner.command("psql");
        let out = psql.current_dir("/").args(["-XAtq", "-U", "alex", "-d", "postgres", "-c", sql, "-h"]);
        let out = out.arg(at).env("PGCONNECT_TIMEOUT", "60").stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Immediate": its children end with it, and its memory is given back.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

fn installed_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").is_file());
    if found.is_none() && missing("there is no initdb in /usr/lib/postgresql (Debian: postgresql)") {
        return None;
    }
    found
}

#[test]
fn postgresql_is_shared_at_the_socket_that_psql_looks_for() {
    if !there(&["psql"]) {
        return;
    }
    let alex = &users()[0];
    let Some(postgres) = Postgres::start(alex) else { return };
    for kind in SERVERS {
        let server = Server::start(kind, &ServerSetup::default());
        let far = directory(&server, "far", alex, 0o755);
        let spec =
            format!("{}/.s.PGSQL.5432:{}/.s.PGSQL.5432", far.display(), postgres.dir.join("run").display());
        let mut client = Client::new(Kind::Ours, &server).args(["-R", &spec]).forward();
        wait_until("the far socket", || far.join(".s.PGSQL.5432").exists() || client.ended().is_some());
        let name = format!("t{kind:?}");
        let sql =
            format!("create table {name} as select n, repeat('x', 500) as x from generate_series(1, 5000) n");
        assert_eq!(postgres.query(&far, &sql), Ok(String::new()));
        // Over the forwarding, and at the origin: the same two and a half megabytes.
        let all = format!("select * from {name} order by n");
        let (over, at) = (postgres.query(&far, &all), postgres.query(&postgres.dir.join("run"), &all));
        assert!(over == at && over.unwrap().len() > 2_500_000, "{kind:?}");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (postgres, far, name) = (&postgres, &far, &name);
                scope.spawn(move || {
                    let sum = postgres.query(far, &format!("select sum(n + {n}) from {name}"));
                    assert_eq!(sum, Ok(format!("{}\n", 12_502_500 + 5000 * n)));
                });
            }
        });
        client.stop();
    }
}

// ---- nginx ----

struct Nginx(Child);

impl Nginx {
    /// Serves a directory on a port of 127.0.0.1.
    fn start(dir: &TempDir, port: u16) -> Nginx {
        let d = dir.path().display();
        let text = format!(
            "daemon off; pid {d}/nginx.pid; error_log /dev/null; worker_processes 1; user root;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {d}/1; proxy_temp_path {d}/2; fastcgi_temp_path {d}/3;\n\
             uwsgi_temp_path {d}/4; scgi_temp_path {d}/5; server {{ listen 127.0.0.1:{port}; root {d}/web; }} }}\n"
        );
        let config = dir.write("nginx.conf", text);
        let mut nginx = Command::new(stock("nginx"));
        nginx.arg("-c").arg(config).args(["-e", "/dev/null"]).stdin(Stdio::null());
        let child = nginx.spawn().unwrap();
        wait_until("nginx", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Nginx(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[test]
fn many_curls_at_once_from_nginx() {
    if !there(&["nginx", "curl"]) {
        return;
    }
    let dir = TempDir::new();
    let origin = free_port();
    std::fs::create_dir(dir.join("web")).unwrap();
    for n in 0..40_u8 {
        std::fs::write(dir.join("web").join(n.to_string()), Origin::pattern(n.into(), 1 << (n % 20)))
            .unwrap();
    }
    let _nginx = Nginx::start(&dir, origin);
    for kind in SERVERS {
        let server = Server::start(kind, &ServerSetup::default());
        let (port, socks) = (free_port(), free_port());
        let (local, dynamic) = (format!("{port}:localhost:{origin}"), socks.to_string());
        let mut client = Client::new(Kind::Ours, &server).args(["-L", &local, "-D", &dynamic]).forward();
        for port in [port, socks] {
            wait_until("the client listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        let proxy = format!("127.0.0.1:{socks}");
        for (way, place, options) in [
            ("by -L", format!("http://localhost:{port}"), &[][..]),
            ("by SOCKS", format!("http://localhost:{origin}"), &["--socks5-hostname", &proxy][..]),
        ] {
            let got = server.dir.join(way);
            std::fs::create_dir(&got).unwrap();
            let mut curl = Command::new("curl");
            curl.args(["-sSf", "--no-keepalive", "--max-time", "300", "--parallel", "--parallel-immediate"]);
            curl.args(["--parallel-max", "40"]).args(options).env_remove("http_proxy").env_remove("no_proxy");
            for n in 0..40 {
                curl.arg("-o").arg(got.join(n.to_string())).arg(format!("{place}/{n}"));
            }
            well(&mut curl);
            same(&dir.join("web"), &got);
        }
        client.stop();
    }
}

// ---- the second user ----

#[test]
fn a_second_user_never_gets_a_byte_while_ports_are_used_again() {
    if !there(&["unshare", "ip", "python3", "nginx"]) {
        return;
    }
    let [alex, bob, _] = users();
    for server in [stock("sshd"), sockward().to_owned()] {
        let dir = TempDir::new();
        let mut stage = Command::new("unshare");
        stage.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        stage.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/second-user.sh"));
        stage.arg(dir.path()).arg(sockward()).arg(server).args([&alex.name, &bob.name]);
        let said = well(stage.stdin(Stdio::null()));
        assert!(said.contains("alex: 600 of 600\n"), "{said}");
        let bobs = said.lines().find_map(|line| line.strip_prefix("bob: 0 bytes in ")).expect(&said);
        let tries: u32 = bobs.trim_end_matches(" tries").parse().unwrap();
        assert!(tries > 0, "{said}");
    }
}
