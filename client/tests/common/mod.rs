//! What the tests against a stock sshd share: a server of their own on a loopback port, with throwaway keys and
//! files, and our client with a configuration for it.
//!
//! Without sshd a test says so and is skipped; SOCKWARD_NO_SKIP=1 makes that a failure.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod mini;
pub mod pty;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sockward_test_support::has_program;

const SSHD: &str = "/usr/sbin/sshd";

/// A directory that goes away with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sockward-client-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The client under test: the example binary, which `cargo test` builds.
pub fn client() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/ssh");
    assert!(path.exists(), "{} is missing: build the examples", path.display());
    path
}

pub fn user() -> String {
    String::from_utf8(tool("id", &["-un"]).stdout).unwrap().trim().to_owned()
}

/// Runs a tool that must succeed.
pub fn tool(program: &str, arguments: &[&str]) -> std::process::Output {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub fn keygen(path: &Path, kind: &str, passphrase: &str) {
    let mut arguments = vec!["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path.to_str().unwrap()];
    if kind == "rsa" {
        arguments.extend(["-b", "2048"]);
    }
    tool("ssh-keygen", &arguments);
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits for something that other processes do. The end of patience is a failure of the test, not a measurement.
pub fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

/// A stock sshd.
pub struct Server {
    pub dir: TempDir,
    pub port: u16,
    child: Child,
}

impl Server {
    /// Starts one; `None` where there is none to start. `lines` go before the rest of sshd_config, so they win.
    pub fn start(lines: &str) -> Option<Server> {
        if !has_program(SSHD) || !has_program("ssh-keygen") {
            return None;
        }
        let dir = TempDir::new();
        let path = |name: &str| dir.path().join(name);
        for key in ["host_ed25519", "host_ecdsa"] {
            keygen(&path(key), key.strip_prefix("host_").unwrap(), "");
        }
        keygen(&path("id"), "ed25519", "");
        std::fs::copy(path("id.pub"), path("authorized_keys")).unwrap();
        // The first port may be somebody else's by the time sshd binds it.
        for _ in 0..5 {
            if let Some((port, child)) = try_start(dir.path(), lines) {
                let server = Server { dir, port, child };
                server.trust();
                server.configure("");
                return Some(server);
            }
        }
        panic!("sshd does not start: {}", read(&path("sshd.log")));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts the server's Ed25519 key into the known_hosts file, and nothing else.
    pub fn trust(&self) {
        let key = read(&self.path("host_ed25519.pub"));
        std::fs::write(self.path("known"), format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
    }

    /// Writes the client's configuration; `lines` go first, so they win.
    pub fn configure(&self, lines: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "{lines}\nHostname 127.0.0.1\nPort {}\nUser {}\nIdentityFile {dir}/id\nIdentitiesOnly yes\n\
             IdentityAgent none\nUserKnownHostsFile {dir}/known\nGlobalKnownHostsFile none\n\
             StrictHostKeyChecking yes\nConnectTimeout 60\n",
            self.port,
            user()
        );
        std::fs::write(self.path("config"), text).unwrap();
    }

    /// Our client with the configuration and these arguments behind it. Killed if it does not end.
    pub fn ssh(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "-k", "5", "120"]).arg(client()).arg("-F").arg(self.path("config"));
        command.args(arguments).env_remove("SSH_AUTH_SOCK").env_remove("DISPLAY").stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.ssh(arguments))
    }

    /// Puts a line before the server's configuration and has it read again.
    pub fn append_and_reload(&self, line: &str) {
        let path = self.path("sshd_config");
        std::fs::write(&path, format!("{line}\n{}", read(&path))).unwrap();
        let before = self.log().matches("Server listening on 127.0.0.1").count();
        tool("kill", &["-HUP", &self.pid().to_string()]);
        wait_until("the reload", || self.log().matches("Server listening on 127.0.0.1").count() > before);
    }

    /// Ends all connections, without a word to the clients.
    pub fn cut(&self) {
        let _ = Command::new("pkill").args(["-KILL", "-P", &self.pid().to_string()]).status();
    }

    /// Ends it, and all connections.
    pub fn stop(&mut self) {
        // The children are the connections: they would outlive it, and nobody would know whose they were.
        tool("kill", &["-STOP", &self.pid().to_string()]);
        self.cut();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on its port.
    pub fn start_again(&mut self) {
        self.child = spawn(self.dir.path());
        let port = self.port;
        wait_until("sshd", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// The process id of the server that listens.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        read(&self.path("sshd.log"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The children are the connections: they would outlive it.
        self.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn try_start(dir: &Path, lines: &str) -> Option<(u16, Child)> {
    let port = free_port();
    let shown = dir.display();
    let config = format!(
        "{lines}\nPort {port}\nListenAddress 127.0.0.1\nListenAddress ::1\nHostKey {shown}/host_ed25519\n\
         HostKey {shown}/host_ecdsa\nPidFile none\nAuthorizedKeysFile {shown}/authorized_keys\nUsePAM no\n\
         StrictModes no\nPermitRootLogin yes\nLogLevel DEBUG1\nMaxStartups 1000\nMaxSessions 1000\n"
    );
    std::fs::write(dir.join("sshd_config"), config).unwrap();
    // Where the package has not made it.
    let _ = std::fs::create_dir_all("/run/sshd");
    let mut child = spawn(dir);
    for _ in 0..1000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some((port, child));
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("sshd does not listen");
}

fn spawn(dir: &Path) -> Child {
    let mut command = Command::new(SSHD);
    command.arg("-D").arg("-f").arg(dir.join("sshd_config")).arg("-E").arg(dir.join("sshd.log"));
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    pub fn of(mut command: Command) -> Ended {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ended { status: output.status, stdout: output.stdout, stderr }
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Succeeded without a word on standard error.
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!((self.code(), self.stderr.as_str()), (Some(0), ""), "{}", self.out());
        self.out()
    }

    /// Failed as our own failures do, with this text among what was said.
    #[track_caller]
    pub fn failed(self, text: &str) {
        assert_eq!(self.code(), Some(255), "{}", self.stderr);
        assert!(self.stderr.contains(text), "{:?} is not in: {}", text, self.stderr);
    }
}

/// A client that runs while the test does other things. Ended with the value.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().unwrap() }
    }

    /// The client itself: `timeout` stands before it.
    pub fn client_pid(&self) -> u32 {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let mut pid = 0;
        wait_until("the client's process", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            pid = text.trim().parse().unwrap_or(0);
            pid != 0
        });
        pid
    }

    pub fn signal(&self, name: &str) {
        tool("kill", &[&format!("-{name}"), &self.client_pid().to_string()]);
    }

    /// Reads standard error up to a line with this text.
    pub fn wait_for(&mut self, text: &str) -> String {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut seen = Vec::new();
        let mut byte = [0];
        loop {
            let n = stderr.read(&mut byte).unwrap();
            assert!(n > 0, "{text:?} did not come: {}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
            if byte[0] == b'\n' && String::from_utf8_lossy(&seen).contains(text) {
                return String::from_utf8(seen).unwrap();
            }
        }
    }

    pub fn end(mut self) -> Ended {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        drop(self.child.stdin.take());
        if let Some(mut from) = self.child.stdout.take() {
            from.read_to_end(&mut stdout).unwrap();
        }
        if let Some(mut from) = self.child.stderr.take() {
            from.read_to_end(&mut stderr).unwrap();
        }
        let status = self.child.wait().unwrap();
        Ended { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, which `timeout` passes on.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// Bytes that repeat at no power of two.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A service that reads to the end, and then gives back what it read, behind its name. So it tells whether ends are
/// carried each way.
pub fn serve_tcp(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(name, stream.try_clone().unwrap(), stream));
        }
    });
    port
}

pub fn serve_unix(name: &'static str, path: &Path) {
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(name, stream.try_clone().unwrap(), stream));
        }
    });
}

fn answer(name: &str, mut from: impl Read, mut to: impl Write) {
    let mut all = Vec::new();
    // A test that breaks off in the middle gets no answer.
    let _ = from.read_to_end(&mut all);
    let _ = to.write_all(name.as_bytes()).and_then(|()| to.write_all(&all));
}

/// Sends, ends sending, and reads to the end: what [`serve_tcp`] answers.
pub fn ask_tcp(port: u16, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    ask(stream.try_clone().unwrap(), stream, bytes, |s: &TcpStream| {
        s.shutdown(std::net::Shutdown::Write).unwrap()
    })
}

pub fn ask_unix(path: &Path, bytes: &[u8]) -> Vec<u8> {
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    ask(stream.try_clone().unwrap(), stream, bytes, |s: &std::os::unix::net::UnixStream| {
        s.shutdown(std::net::Shutdown::Write).unwrap();
    })
}

fn ask<S: Write>(mut from: impl Read, mut to: S, bytes: &[u8], end: impl FnOnce(&S)) -> Vec<u8> {
    to.write_all(bytes).unwrap();
    end(&to);
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}
