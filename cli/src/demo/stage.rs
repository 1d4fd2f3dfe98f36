//! What the demo plays on: a private directory with keys and configuration, the server and the clients in it, and
//! their end, whatever happens.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use sockward_crypto::keyfile;
use sockward_crypto::{KeyType, PrivateKey};
use sockward_sys::account::Account;
use sockward_sys::create;
use sockward_sys::fd;
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::spawn::{Child, Exit, Tool};

use super::Failure;

/// How long any step may take before the demo gives up.
const STEP_TIME: Duration = Duration::from_secs(30);
/// How often it looks whether a step is done.
const LOOK: Duration = Duration::from_millis(20);
/// A longer directory leaves no room for the names of sockets (108 bytes with the final zero).
const DIRECTORY_MAX: usize = 80;

/// The stage. [`Stage::clear`] ends what runs and removes what is there; dropping it does so too.
pub(super) struct Stage {
    dir: PathBuf,
    signals: Signals,
    binary: PathBuf,
    server: Option<Program>,
    pub(super) user: String,
    /// The server's.
    pub(super) port: u16,
}

/// A program of ours that was started.
pub(super) struct Program {
    child: Child,
    exit: Option<Exit>,
    log: PathBuf,
    /// The line that would start it from a shell.
    pub(super) line: String,
}

impl Stage {
    /// Makes directory, keys and configuration.
    pub(super) fn set() -> Result<Stage, Failure> {
        let signals = Signals::new(&[Signal::Interrupt, Signal::Terminate, Signal::Hangup])
            .map_err(|e| Failure::of("cannot wait for signals", e))?;
        let account = Account::own().map_err(|e| Failure::of("cannot look up your account", e))?;
        let account = account.ok_or_else(|| Failure::Broken("your user id has no account".into()))?;
        let binary = std::env::current_exe().map_err(|e| Failure::of("cannot find this program", e))?;
        let dir = directory().map_err(|e| Failure::of("cannot make a directory", e))?;
        let stage = Stage { dir, signals, binary, server: None, user: account.name, port: free_port()? };
        stage.write_files()?;
        Ok(stage)
    }

    fn write_files(&self) -> Result<(), Failure> {
        let host = self.key("host_key")?;
        let user = self.key("user_key")?;
        self.write("authorized_keys", &format!("{} {user}\n", self.permit()))?;
        self.write("known_hosts", &format!("[127.0.0.1]:{} {host}\n", self.port))?;
        self.write(
            "sshd_config",
            &format!(
                "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}\nLogLevel VERBOSE\n\
                 # This directory is below one that everybody may write to.\nStrictModes no\n\
                 StreamLocalBindMask 0117\n",
                self.port,
                self.dir.join("host_key").display(),
                self.dir.join("authorized_keys").display(),
                self.dir.join("pid").display(),
            ),
        )
    }

    /// Makes a key pair; the public half as authorized_keys has it.
    fn key(&self, name: &str) -> Result<String, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::of("cannot make a key", e);
        let key = PrivateKey::generate(KeyType::Ed25519).map_err(|e| failed(&e))?;
        let text = keyfile::write(&key, "sockward demo").map_err(|e| failed(&e))?;
        create::secret_file(&self.dir.join(name), text.as_bytes()).map_err(|e| failed(&e))?;
        let public = key.public();
        Ok(format!("{} {}", public.key_type().name(), Base64::encode_string(public.blob())))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        std::fs::write(self.dir.join(name), text).map_err(|e| Failure::of(name, e))
    }

    /// The option of the one key.
    pub(super) fn permit(&self) -> String {
        format!("permitlisten=\"{}\"", self.socket("web.sock").display())
    }

    /// A socket's path.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts the server and waits until it listens.
    pub(super) fn start_server(&mut self) -> Result<(), Failure> {
        let arguments = ["sshd", "-D", "-e", "-f"].map(OsString::from).to_vec();
        let mut server = self.start(arguments, Some(self.dir.join("sshd_config").into()), "sshd.log")?;
        let pid_file = self.dir.join("pid");
        let result = self.wait("the server", &mut server, || {
            std::fs::read(&pid_file).is_ok_and(|pid| pid.ends_with(b"\n"))
        });
        self.server = Some(server);
        result
    }

    /// Starts a client that shares the service at a socket.
    pub(super) fn share(&self, socket: &Path, web: u16) -> Result<Program, Failure> {
        let mut arguments: Vec<OsString> = vec!["ssh".into()];
        arguments.extend(self.ssh_options().into_iter().map(Into::into));
        arguments.extend(["-N", "-o", "ExitOnForwardFailure=yes", "-R"].map(Into::into));
        arguments.push(format!("{}:127.0.0.1:{web}", socket.display()).into());
        let log = socket.with_extension("log");
        let log = log.file_name().unwrap_or_default().to_owned();
        self.start(arguments, Some(format!("{}@127.0.0.1", self.user).into()), &log.to_string_lossy())
    }

    /// What a client needs to find server, key and nothing of its user's own.
    fn ssh_options(&self) -> Vec<String> {
        let port = self.port.to_string();
        let key = self.dir.join("user_key").display().to_string();
        let known = format!("UserKnownHostsFile={}", self.dir.join("known_hosts").display());
        let fixed = [
            "-F",
            "none",
            "-p",
            &port,
            "-i",
            &key,
            "-o",
            &known,
            "-o",
            "BatchMode=yes",
            "-o",
            "IdentityAgent=none",
        ];
        fixed.map(str::to_owned).to_vec()
    }

    fn start(&self, arguments: Vec<OsString>, last: Option<OsString>, log: &str) -> Result<Program, Failure> {
        let log = self.dir.join(log);
        let failed = |e: &dyn std::fmt::Display| Failure::of("cannot start a program", e);
        let output = File::create(&log).map_err(|e| failed(&e))?;
        let null = fd::dev_null().map_err(|e| failed(&e))?;
        let mut argv: Vec<OsString> = vec!["sockward".into()];
        argv.extend(arguments);
        argv.extend(last);
        let line = argv.iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        let child = Tool {
            program: self.binary.clone(),
            argv,
            env: Vec::new(),
            stdin: null.as_fd(),
            stdout: output.as_fd(),
            stderr: output.as_fd(),
        }
        .spawn()
        .map_err(|e| failed(&e))?;
        Ok(Program { child, exit: None, log, line })
    }

    /// Waits until something is so. The program that is to bring it about must not end before.
    pub(super) fn wait(
        &self,
        what: &str,
        program: &mut Program,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        self.look(what, || {
            if done() {
                return Ok(true);
            }
            match program.ended()? {
                Some(_) => Err(Failure::Broken(format!(
                    "{what} did not come about. '{}' ended and said:\n{}\nThe server's log:\n{}",
                    program.line,
                    program.said(),
                    self.log()
                ))),
                None => Ok(false),
            }
        })
    }

    /// Waits for a program's end.
    pub(super) fn wait_for_end(&self, program: &mut Program) -> Result<(), Failure> {
        self.look(&format!("the end of '{}'", program.line.clone()), || Ok(program.ended()?.is_some()))
    }

    /// Waits until a file is gone.
    pub(super) fn wait_gone(&self, path: &Path) -> Result<(), Failure> {
        self.look(&format!("the removal of {}", path.display()), || Ok(!path.exists()))
    }

    fn look(&self, what: &str, mut done: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
        let give_up = Instant::now() + STEP_TIME;
        while !done()? {
            if let Some(signal) = self.signal()? {
                return Err(Failure::Stopped(signal));
            }
            if Instant::now() > give_up {
                let seconds = STEP_TIME.as_secs();
                return Err(Failure::Broken(format!(
                    "waited {seconds} s for {what}; the server's log:\n{}",
                    self.log()
                )));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn signal(&self) -> Result<Option<Signal>, Failure> {
        self.signals.next().map_err(|e| Failure::of("cannot wait for signals", e))
    }

    /// Waits until the user has seen enough. What runs must go on until then; the keys of a terminal reach it too,
    /// at the same time.
    pub(super) fn wait_for_signal(&self, program: &mut Program) -> Result<Signal, Failure> {
        loop {
            // First the child: where both happened the signal was the reason.
            let ended = program.ended()?;
            if let Some(signal) = self.signal()? {
                return Ok(signal);
            }
            if ended.is_some() {
                return Err(Failure::Broken(format!("'{}' ended:\n{}", program.line, program.said())));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn log(&self) -> String {
        read(&self.dir.join("sshd.log"))
    }

    /// The lines of the server's log with a word.
    pub(super) fn log_of(&self, word: &str) -> String {
        let log = self.log();
        log.lines().filter(|line| line.contains(word)).collect::<Vec<_>>().join("\n")
    }

    /// What there is to try while it is up.
    pub(super) fn to_try(&self, shared: &Path) -> String {
        let ssh = format!("sockward ssh {}", self.ssh_options().join(" "));
        let (user, shared) = (&self.user, shared.display());
        format!(
            "\nStill up. To try from another terminal:\n\
             \n  curl --unix-socket {shared} http://localhost/\
             \n  {ssh} {user}@127.0.0.1 id\
             \n  {ssh} -N -L 3000:{shared} {user}@127.0.0.1    # then: curl http://localhost:3000/\
             \n  {ssh} -N -o ExitOnForwardFailure=yes -R 8080:127.0.0.1:80 {user}@127.0.0.1    # refused: not in the list\
             \n  cat {}\n\nControl-C ends it.",
            self.dir.join("sshd.log").display()
        )
    }

    /// Ends the server, removes the directory and tells its name.
    pub(super) fn clear(mut self) -> Result<PathBuf, Failure> {
        self.end_server();
        let dir = std::mem::take(&mut self.dir);
        std::fs::remove_dir_all(&dir).map_err(|e| Failure::of(&dir.display().to_string(), e))?;
        Ok(dir)
    }

    fn end_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.end();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end_server();
        if !self.dir.as_os_str().is_empty() {
            // Files were missing or could not be written; what there is goes.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Program {
    fn ended(&mut self) -> Result<Option<Exit>, Failure> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().map_err(|e| Failure::of("cannot wait for a program", e))?;
        }
        Ok(self.exit)
    }

    /// What it printed so far.
    pub(super) fn said(&self) -> String {
        read(&self.log)
    }

    /// Asks it to end and waits until it has; a while at most.
    pub(super) fn end(&mut self) {
        let _ = self.child.signal(Signal::Terminate.raw());
        let give_up = Instant::now() + STEP_TIME;
        while matches!(self.ended(), Ok(None)) {
            if Instant::now() > give_up {
                let _ = self.child.kill();
                self.exit = self.child.wait().ok();
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A new directory that nobody else may enter.
fn directory() -> std::io::Result<PathBuf> {
    let mut place = std::env::temp_dir();
    // What is shown can be pasted into any shell, and stands in a configuration as it is.
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-".contains(b);
    let bytes = place.as_os_str().as_encoded_bytes();
    if bytes.len() > DIRECTORY_MAX || !place.is_absolute() || !bytes.iter().all(plain) {
        place = "/tmp".into();
    }
    let mut last = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
    for n in 0..100u32 {
        let dir = place.join(format!("sockward-demo-{}-{n}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16, Failure> {
    let failed = |e| Failure::of("cannot listen on 127.0.0.1", e);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}
