//! An SSH client, ours or OpenSSH's, that talks to a [`Server`].

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::{Kind, Server, User, sockward, stock};

/// A command line in the making.
#[derive(Debug)]
pub struct Client {
    command: Command,
    destination: String,
    log: PathBuf,
}

impl Client {
    /// A client of this kind for that server, as the user who runs the test.
    #[must_use]
    pub fn new(kind: Kind, server: &Server) -> Self {
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(sockward());
                command.arg("ssh");
                command
            }
            Kind::OpenSsh => Command::new(stock("ssh")),
        };
        let known_hosts = server.keys.known_hosts(server.dir.path(), server.port);
        let log = server.dir.join("ssh.log");
        command.arg("-F").arg("none").arg("-p").arg(server.port.to_string());
        command.arg("-i").arg(&server.keys.user);
        for option in [
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "GlobalKnownHostsFile=/dev/null",
            &format!("UserKnownHostsFile={}", known_hosts.display()),
        ] {
            command.arg("-o").arg(option);
        }
        command.env_remove("SSH_AUTH_SOCK");
        Client { command, destination: format!("{}@127.0.0.1", server.user.name), log }
    }

    /// To log in as somebody else.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.destination = format!("{name}@127.0.0.1");
        self
    }

    /// Run by this user, who gets the key.
    #[must_use]
    pub fn run_by(mut self, user: &User, server: &Server) -> Self {
        std::os::unix::fs::chown(&server.keys.user, Some(user.uid), Some(user.gid)).unwrap();
        let mut command = user.command(self.command.get_program());
        command.args(self.command.get_args());
        self.command = command;
        self
    }

    /// More arguments, before the destination.
    #[must_use]
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// The finished command, with a command line for the server's shell.
    #[must_use]
    pub fn command(mut self, remote: &str) -> Command {
        self.command.arg(&self.destination);
        if !remote.is_empty() {
            self.command.arg(remote);
        }
        self.command
    }

    /// Runs a remote command to its end, without input.
    pub fn run(self, remote: &str) -> Output {
        self.command(remote).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts it in the background (`-N`), for its forwardings; it ends with its owner.
    #[must_use]
    pub fn forward(mut self) -> Running {
        self.command.args(["-N", "-T", "-o", "ExitOnForwardFailure=yes", "-v"]);
        let log = self.log.clone();
        let file = std::fs::File::create(&log).unwrap();
        let mut command = self.command("");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Running { child, log }
    }
}

/// A client that runs in the background.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as a user does.
    pub fn stop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- log of the client ----\n{}", self.log());
        }
    }
}
