//! Terminals: what a command finds in one, what reaches it, and how it ends. OpenSSH's server is asked the same, by
//! its client and by ours.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::fd::{AsFd, OwnedFd};
use std::process::Output;
use std::time::{Duration, Instant};

use sockward_sys::fd;
use sockward_sys::pty::{self, Pty};
use sockward_sys::spawn::{Child, Exit, UserCommand};
use sockward_sys::terminal::Size;
use sockward_test_e2e::as_root;
use sockward_test_e2e::support::{Client, Kind, Server, ServerSetup, wait_until};

/// Server and client: one of them is ours.
const PAIRS: [(Kind, Kind); 3] =
    [(Kind::Ours, Kind::OpenSsh), (Kind::Ours, Kind::Ours), (Kind::OpenSsh, Kind::Ours)];

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command in a terminal, without one here and without input.
fn run(server: &Server, client: Kind, remote: &str) -> Output {
    let mut command = Client::new(client, server).args(["-tt"]).command(remote);
    command.env("TERM", "vt220").stdin(std::process::Stdio::null()).output().unwrap()
}

/// A client at a terminal of this test's.
struct Screen {
    master: OwnedFd,
    client: Child,
    text: String,
}

impl Screen {
    fn start(server: &Server, client: Kind, args: &[&str], remote: &str) -> Screen {
        let Pty { master, slave, .. } = Pty::open().unwrap();
        pty::set_size(&master, size(80, 24)).unwrap();
        let command = Client::new(client, server).args(args).command(remote);
        let program = command.get_program().to_owned();
        let argv = std::iter::once(program.clone()).chain(command.get_args().map(Into::into)).collect();
        let env = ["PATH", "HOME"].map(|name| (name.into(), std::env::var_os(name).unwrap_or_default()));
        let started = UserCommand {
            program: program.into(),
            argv,
            env: [&env[..], &[("TERM".into(), "xterm".into())]].concat(),
            directory: "/".into(),
            stdin: slave.as_fd(),
            stdout: slave.as_fd(),
            stderr: slave.as_fd(),
            terminal: true,
            umask: None,
        };
        Screen { master, client: started.spawn().unwrap().child, text: String::new() }
    }

    fn type_in(&self, keys: &str) {
        assert_eq!(fd::write(&self.master, keys.as_bytes()).unwrap(), keys.len());
    }

    /// Waits until this is on the screen, and wipes it up to there. Returns what was before it.
    fn wait_for(&mut self, wanted: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                let before = std::mem::replace(&mut self.text, rest);
                return before[..at].to_owned();
            }
            assert!(Instant::now() < until, "waited in vain for {wanted:?}: {:?}", self.text);
            let _ = fd::wait_readable(&self.master, Duration::from_millis(100)).unwrap();
            let mut buffer = [0; 4096];
            match fd::read(&self.master, &mut buffer) {
                Ok(n) => self.text += &text(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("waited in vain for {wanted:?}: {:?}: {e}", self.text),
            }
        }
    }

    /// What the client ends with, once all is read.
    fn end(mut self) -> Exit {
        wait_until("the client's end", || {
            // Nobody may wait for a screen that is full.
            let _ = fd::read(&self.master, &mut [0; 4096]);
            self.client.try_wait().unwrap().is_some()
        });
        self.client.wait().unwrap()
    }
}

fn size(columns: u16, rows: u16) -> Size {
    Size { columns, rows, width: 0, height: 0 }
}

fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_command_finds_a_terminal_of_its_own() {
    if !as_root() {
        return;
    }
    for (kind, client) in PAIRS {
        let server = Server::start(kind, &ServerSetup::default());
        let user = &server.user.name;
        let out = run(
            &server,
            client,
            "t=$(tty); test $t = $SSH_TTY && stat -c '%U %a' $t | sed s/620/600/ && echo $TERM; stty size; \
             ps -o sid=,pgid=,tpgid= -p $$ | tr -s ' ' '\\n' | sort -u | grep -c .; \
             grep -E 'NoNewPrivs|Seccomp:|SigBlk' /proc/$$/status | tr -s '\\n\\t' ' '; echo err >&2; exit 7",
        );
        let said = text(&out.stdout);
        // As these tests themselves run: a container may have set something.
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own =
            |name: &str| own.lines().find_map(|l| Some(l.strip_prefix(name)?.trim().to_owned())).unwrap();
        let (privileges, filter) = (own("NoNewPrivs:"), own("Seccomp:"));
        let expected = format!(
            "{user} 600\r\nvt220\r\n0 0\r\n1\r\n\
             SigBlk: 0000000000000000 NoNewPrivs: {privileges} Seccomp: {filter} err\r\n"
        );
        assert_eq!(said, expected, "{kind:?} {client:?}: {}", text(&out.stderr));
        assert_eq!(out.status.code(), Some(7));
        // Each byte that was written before the end arrives.
        let out = run(&server, client, "seq 1 200000");
        let lines: Vec<_> = text(&out.stdout).split_terminator("\r\n").map(str::to_owned).collect();
        assert!(lines.iter().map(|l| l.parse::<u32>().unwrap()).eq(1..=200_000), "{kind:?} {client:?}");
        for n in 0..10 {
            let out = run(&server, client, &format!("printf '%05000d' 7; exit {n}"));
            assert_eq!((out.stdout.len(), out.status.code()), (5000, Some(n)), "{kind:?} {client:?}");
        }
    }
}

#[test]
fn an_interactive_shell_has_keys_jobs_and_sizes() {
    if !as_root() {
        return;
    }
    for (kind, client) in PAIRS {
        let server = Server::start(kind, &ServerSetup::default());
        let mut screen = Screen::start(&server, client, &["-t"], "exec env PS1='ready> ' bash --norc -i");
        screen.wait_for("ready> ");
        screen.type_in("stty size; echo tty=$(tty)\n");
        screen.wait_for("24 80\r\n");
        screen.wait_for("tty=/dev/pts/");
        screen.wait_for("ready> ");
        // The window of the client grows: the command there is told.
        screen.type_in("sh -c 'trap \"stty size; exit\" WINCH; echo on; while :; do sleep 0.02; done'\n");
        screen.wait_for("on\r\n");
        pty::set_size(&screen.master, size(132, 50)).unwrap();
        screen.wait_for("50 132\r\n");
        screen.wait_for("ready> ");
        // Keys that are signals.
        screen.type_in("(echo going; exec sleep 1000)\n");
        screen.wait_for("going\r\n");
        screen.type_in("\x03");
        screen.wait_for("ready> ");
        screen.type_in("echo st=$?\n");
        screen.wait_for("st=130\r\n");
        screen.type_in("(echo going; exec sleep 1000)\n");
        screen.wait_for("going\r\n");
        screen.type_in("\x1a");
        screen.wait_for("Stopped");
        screen.type_in("kill %1; fg; echo st=$?\n");
        screen.wait_for("st=143\r\n");
        // Much that is typed at once, faster than it is read.
        screen.type_in("stty raw -echo; echo raw; head -c 300000 | sha256sum | cut -c1-8; stty sane\n");
        screen.wait_for("\rraw");
        let mut left = 300_000;
        while left > 0 {
            match fd::write(&screen.master, &vec![b'x'; left.min(1000)]) {
                Ok(n) => left -= n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) => panic!("{e}"),
            }
        }
        screen.wait_for("29927e27");
        screen.wait_for("ready> ");
        screen.type_in("exit 5\n");
        assert_eq!(screen.end(), Exit::Code(5), "{kind:?} {client:?}");
    }
}

#[test]
fn a_terminal_is_hung_up_with_its_client_and_not_held_by_what_stays_behind() {
    if !as_root() {
        return;
    }
    for (kind, client) in PAIRS {
        let server = Server::start(kind, &ServerSetup::default());
        let mut screen = Screen::start(&server, client, &["-t"], "echo pid=$$.; cat; sleep 1000");
        screen.wait_for("pid=");
        let pid = screen.wait_for(".");
        screen.type_in("typed\n");
        screen.wait_for("typed\r\ntyped\r\n");
        assert!(is_running(&pid), "{kind:?} {client:?}: {pid:?}");
        screen.client.kill().unwrap();
        screen.client.wait().unwrap();
        wait_until("the hang-up", || !is_running(&pid));

        // The end of the command is the session's, whoever else has the terminal open.
        let out = run(
            &server,
            client,
            "f=$(mktemp -u); (trap '' HUP; : >$f; exec sleep 1000) & echo bg=$!.; \
             while ! [ -e $f ]; do sleep 0.02; done; rm $f; exit 3",
        );
        assert_eq!(out.status.code(), Some(3), "{kind:?} {client:?}");
        let said = text(&out.stdout);
        let (_, rest) = said.split_once("bg=").unwrap();
        let background = rest.split_once('.').unwrap().0;
        assert!(is_running(background), "{said:?}");
        std::process::Command::new("kill").args(["-9", background]).status().unwrap();
    }
}

#[test]
fn who_may_not_have_a_terminal_gets_none() {
    if !as_root() {
        return;
    }
    let user = Server::start(Kind::Ours, &ServerSetup::default()).user.name.clone();
    let in_match = format!("Match User {user}\nPermitTTY no\nMatch all");
    for (lines, key_options, allowed) in [
        ("", "", true),
        ("PermitTTY no", "", false),
        (in_match.as_str(), "", false),
        ("", "no-pty ", false),
        ("", "restrict ", false),
        ("", "restrict,pty ", true),
        ("PermitTTY no", "pty ", false),
    ] {
        for kind in [Kind::Ours, Kind::OpenSsh] {
            let setup = ServerSetup { key_options: key_options.into(), ..ServerSetup::with(lines) };
            let server = Server::start(kind, &setup);
            // Stock ssh gives up where a terminal was insisted on.
            let out = run(&server, Kind::OpenSsh, "tty; exit 4");
            let what = format!("{kind:?} {lines:?} {key_options:?}: {}", text(&out.stderr));
            assert_eq!(text(&out.stdout).starts_with("/dev/pts/"), allowed, "{what}");
            assert_eq!(text(&out.stderr).contains("PTY allocation request failed"), !allowed, "{what}");
            assert_eq!(out.status.code(), Some(if allowed { 4 } else { 255 }), "{what}");
        }
    }
}

#[test]
fn a_forced_command_and_a_login_shell_have_one_too() {
    if !as_root() {
        return;
    }
    for kind in [Kind::Ours, Kind::OpenSsh] {
        let forced = ServerSetup::with("ForceCommand echo \"$SSH_ORIGINAL_COMMAND on $(tty)\"");
        let server = Server::start(kind, &forced);
        let out = run(&server, Kind::OpenSsh, "that");
        assert!(text(&out.stdout).starts_with("that on /dev/pts/"), "{kind:?}: {}", text(&out.stdout));
    }
    for client in [Kind::OpenSsh, Kind::Ours] {
        let server = Server::start(Kind::Ours, &ServerSetup::default());
        let mut screen = Screen::start(&server, client, &[], "");
        screen.wait_for("$ ");
        screen.type_in("echo shell=$0 $(tty)\n");
        screen.wait_for("shell=-sh /dev/pts/");
        // Its end of file, by the key for it.
        screen.type_in("\x04");
        assert_eq!(screen.end(), Exit::Code(0));
    }
}
