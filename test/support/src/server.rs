//! An SSH server on a loopback port, ours or OpenSSH's, with a configuration of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Keys, Kind, TempDir, User, free_port, is_root, sockward, stock, users, wait_until};

/// What a server is to be like.
#[derive(Clone, Debug, Default)]
pub struct ServerSetup {
    /// Lines of sshd_config, before the rest.
    pub lines: String,
    /// Options before the key in authorized_keys.
    pub key_options: String,
    /// More arguments.
    pub arguments: Vec<String>,
    /// Shell commands that run before the server, in a mount namespace of its own (needs root).
    pub mounts: String,
    /// Runs in place of our program.
    pub program: Option<PathBuf>,
}

impl ServerSetup {
    /// With these lines of configuration.
    #[must_use]
    pub fn with(lines: &str) -> Self {
        ServerSetup { lines: lines.to_owned(), ..ServerSetup::default() }
    }
}

/// A running server. It ends with its owner.
#[derive(Debug)]
pub struct Server {
    /// Whose.
    pub kind: Kind,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Where its files are.
    pub dir: TempDir,
    /// Its keys.
    pub keys: Keys,
    /// Whom to log in as: alex where the test runs as root, else who runs it.
    pub user: User,
    setup: ServerSetup,
    child: Child,
}

impl Server {
    /// Starts one and waits until it listens.
    #[must_use]
    pub fn start(kind: Kind, setup: &ServerSetup) -> Self {
        let dir = TempDir::new();
        let keys = Keys::new(dir.path(), &setup.key_options);
        let user = if is_root() { users()[0].clone() } else { User::own() };
        let pid_file = dir.join("pid");
        let config = |port| {
            let config = format!(
                "{}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}\n\
                 StrictModes no\nUsePAM no\nLogLevel DEBUG\nMaxStartups 1000\nMaxSessions 1000\n\
                 Subsystem sftp /usr/lib/openssh/sftp-server\n",
                setup.lines,
                keys.host.display(),
                keys.authorized.display(),
                pid_file.display(),
            );
            dir.write("sshd_config", config)
        };
        let mut port = free_port();
        let mut child = spawn(kind, setup, &dir, &config(port));
        // Somebody else's test may have taken the port by now.
        while !listens(kind, &dir, &mut child) {
            port = free_port();
            child = spawn(kind, setup, &dir, &config(port));
        }
        Server { kind, port, dir, keys, user, setup: setup.clone(), child }
    }

    /// Starts it again after [`Self::stop`], with the same files.
    pub fn restart(&mut self) {
        self.child = spawn(self.kind, &self.setup, &self.dir, &self.config());
        assert!(listens(self.kind, &self.dir, &mut self.child), "its port is taken");
    }

    /// Kills the processes that it has started, and theirs: its connections.
    pub fn cut(&self) {
        let out = Command::new("pgrep").args(["-P", &self.pid().to_string()]).output().unwrap();
        let children = String::from_utf8(out.stdout).unwrap();
        for child in children.split_whitespace() {
            // A stock server's connection is two processes, and either holds the socket.
            let _ = Command::new("pkill").args(["-KILL", "-P", child]).status();
            let _ = Command::new("kill").args(["-KILL", child]).stderr(Stdio::null()).status();
        }
    }

    /// The command that serves one connection on its standard streams, with the configuration of this one.
    #[must_use]
    pub fn inetd(&self) -> Command {
        let mut command = command(self.kind, &self.setup);
        command
            .arg("-i")
            .arg("-f")
            .arg(self.config())
            .arg(format!("-E{}", self.dir.join("sshd.log").display()));
        command
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("sshd.log")).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("sshd_config")
    }

    /// Waits for its end.
    pub fn wait(&mut self) {
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        // One that has ended is nobody's to signal.
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("kill").arg(self.pid().to_string()).status();
        }
        self.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("---- log of the {:?} server ----\n{}", self.kind, self.log());
        }
    }
}

/// Waits until a server listens. No when its port is taken.
fn listens(kind: Kind, dir: &TempDir, child: &mut Child) -> bool {
    let mut taken = false;
    wait_until("the server listens", || {
        if let Some(status) = child.try_wait().unwrap() {
            let read = |name| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
            let said = format!("{}{}", read("sshd.err"), read("sshd.log"));
            taken = said.contains("Cannot bind any address");
            assert!(taken, "{kind:?} sshd ended with {status}: {said}");
        }
        taken || std::fs::read_to_string(dir.join("pid")).is_ok_and(|text| text.ends_with('\n'))
    });
    !taken
}

fn spawn(kind: Kind, setup: &ServerSetup, dir: &TempDir, config: &Path) -> Child {
    let mut command = command(kind, setup);
    command.arg("-D").arg("-f").arg(config).arg(format!("-E{}", dir.join("sshd.log").display()));
    command.args(&setup.arguments);
    let errors = std::fs::File::create(dir.join("sshd.err")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    command.spawn().unwrap()
}

/// The server program.
fn command(kind: Kind, setup: &ServerSetup) -> Command {
    let mut words = Vec::new();
    if !setup.mounts.is_empty() {
        let script = format!("set -e\n{}\nexec \"$@\"", setup.mounts);
        words.extend(["unshare", "--mount", "sh", "-c", &script, "-"].map(Into::into));
    }
    match kind {
        Kind::Ours => {
            let program = setup.program.as_deref().unwrap_or_else(|| sockward());
            words.extend([program.into(), "sshd".into()]);
        }
        Kind::OpenSsh => {
            // Debian's is built to want it.
            let _ = std::fs::create_dir("/run/sshd");
            words.push(stock("sshd").into_os_string());
        }
    }
    let mut command = Command::new(words.remove(0));
    command.args(words);
    command
}
