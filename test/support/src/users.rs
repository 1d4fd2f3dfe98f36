//! Throwaway users: alex shares, bob may use, eve may not. Made as root, once, and left to the test command to remove.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// A login on this machine.
#[derive(Clone, Debug)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
}

/// Whether the test runs as root.
#[must_use]
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}

impl User {
    /// Who runs the test.
    #[must_use]
    pub fn own() -> Self {
        let id = |flag| {
            let out = Command::new("id").arg(flag).output().unwrap();
            String::from_utf8(out.stdout).unwrap().trim().to_owned()
        };
        User {
            name: id("-un"),
            uid: id("-u").parse().unwrap(),
            gid: id("-g").parse().unwrap(),
            home: PathBuf::from(std::env::var_os("HOME").unwrap()),
        }
    }

    /// A command that runs as this user (the test runs as root, or as this user).
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.uid.to_string(), "--regid", &self.gid.to_string(), "--init-groups"]);
        command.arg("--").arg(program);
        command.env("HOME", &self.home).env("USER", &self.name).env("LOGNAME", &self.name);
        command.env_remove("SSH_AUTH_SOCK");
        command
    }
}

/// alex, bob and eve. Needs root.
#[must_use]
pub fn users() -> &'static [User; 3] {
    static USERS: OnceLock<[User; 3]> = OnceLock::new();
    USERS.get_or_init(|| ["alex", "bob", "eve"].map(make))
}

fn make(short: &str) -> User {
    let name = format!("sockward-{short}");
    // Several test binaries run at once; the second useradd finds the first one's user.
    let lock = std::fs::File::create("/tmp/.sockward-test-users").unwrap();
    lock.lock().unwrap();
    if entry(&name).is_none() {
        run(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", &name]));
        // useradd locks the password with "!", which bars the login; "*" just has no password.
        run(Command::new("usermod").args(["-p", "*", &name]));
    }
    entry(&name).unwrap()
}

fn entry(name: &str) -> Option<User> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let field = |n| line.split(':').nth(n).unwrap();
    let (uid, gid) = (field(2).parse().unwrap(), field(3).parse().unwrap());
    Some(User { name: name.to_owned(), uid, gid, home: PathBuf::from(field(5)) })
}

fn run(command: &mut Command) {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}
