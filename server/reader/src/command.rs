//! AuthorizedKeysCommand and AuthorizedPrincipalsCommand: runs the administrator's program as the user that is
//! named for it, and searches what it prints.
//!
//! The program and every directory above it must belong to root and be writable by nobody else. It gets a clean
//! environment, no input, no terminal, and so much time and output and no more. What it prints counts only if it
//! ends well: half of a list could lack the line that restricts.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sockward_policy::KeyOptions;
use sockward_privsep::reader::{Command, Search};
use sockward_privsep::role;
use sockward_sys::account::Account;
use sockward_sys::spawn::{Child, Exit, UserCommand};
use sockward_sys::{fd, file, identity};

use crate::keys::path;
use crate::lines::Seeker;
use crate::notes::{Notes, words};

/// The longest output: some ten thousand keys of one user.
const OUTPUT_MAX: usize = 8 * 1024 * 1024;
/// `_PATH_STDPATH`, as OpenSSH gives it to these programs.
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// Runs the program and searches its output. `link` is the monitor's: its end is the end of the program.
///
/// Errors end the reader: the link has ended, or it is half-way to another user.
pub(crate) fn run(
    command: &Command,
    now: u64,
    link: BorrowedFd<'_>,
    notes: &mut Notes,
) -> io::Result<Option<KeyOptions>> {
    let Command { keyword, run_as, argv, seconds, search, asker } = command;
    let account = match Account::by_name(run_as) {
        Ok(Some(account)) => account,
        Ok(None) => {
            notes.important(format!("{keyword}User \"{}\" not found", run_as.escape_debug()));
            return Ok(None);
        }
        Err(e) => {
            notes.important(format!("{keyword}User \"{}\": {}", run_as.escape_debug(), words(&e)));
            return Ok(None);
        }
    };
    let own = identity::effective_uid();
    if own != 0 && own != account.uid {
        notes.important(format!("{keyword}: a server of uid {own} cannot run it as {}", account.name));
        return Ok(None);
    }
    role::become_user((account.uid, account.gid), Some(&account.name))?;
    let Some(program) = argv.first().cloned().map(path) else { return Ok(None) };
    if let Err(e) = file::check_program(&program) {
        notes.important(format!("Unsafe {keyword} \"{}\": {}", program.display(), words(&e)));
        return Ok(None);
    }
    let output = match start(&program, argv, &account, *seconds).and_then(|run| run.output(link)) {
        Ok(output) => output,
        Err(Failure::Link) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(Failure::Program(why)) => {
            notes.important(format!("{keyword} {} {why}", program.display()));
            return Ok(None);
        }
    };
    let seeker = Seeker { asker, now };
    Ok(match search {
        Search::Key(presented) => seeker.key(&output, keyword, presented, notes),
        Search::Principal(names) => seeker.principal(&output, keyword, names, notes),
    })
}

/// Why there is no output.
enum Failure {
    /// The monitor has closed the link.
    Link,
    /// To follow the program's name.
    Program(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Program(format!("failed: {}", words(&error)))
    }
}

/// A program under way.
struct Run {
    child: Child,
    stdout: OwnedFd,
    until: Instant,
    seconds: u64,
}

fn start(program: &Path, argv: &[Vec<u8>], account: &Account, seconds: u64) -> Result<Run, Failure> {
    let null = fd::dev_null()?;
    let (stdout, theirs) = fd::pipe()?;
    let name = OsString::from(&account.name);
    let started = UserCommand {
        program: program.to_owned(),
        argv: argv.iter().cloned().map(OsString::from_vec).collect(),
        env: vec![
            ("PATH".into(), PATH.into()),
            ("USER".into(), name.clone()),
            ("LOGNAME".into(), name),
            ("HOME".into(), account.home.clone().into_os_string()),
        ],
        directory: "/".into(),
        stdin: null.as_fd(),
        stdout: theirs.as_fd(),
        stderr: null.as_fd(),
        terminal: false,
        umask: None,
    }
    .spawn()
    .map_err(io::Error::from)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    Ok(Run { child: started.child, stdout, until, seconds })
}

impl Run {
    /// Everything it prints, if it ends well and in time.
    fn output(mut self, link: BorrowedFd<'_>) -> Result<Vec<u8>, Failure> {
        let output = self.read(link).and_then(|output| self.end(link).map(|()| output));
        if output.is_err() {
            // With those that it has started and that hold its output open. It may have gone by itself.
            let _ = self.child.signal_group(9);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        output
    }

    fn read(&self, link: BorrowedFd<'_>) -> Result<Vec<u8>, Failure> {
        let mut output = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.wait(self.stdout.as_fd(), link)?;
            let read = fd::read(&self.stdout, &mut buffer)?;
            if read == 0 {
                return Ok(output);
            }
            if output.len() + read > OUTPUT_MAX {
                return Err(Failure::Program(format!("printed more than {OUTPUT_MAX} bytes")));
            }
            output.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }

    fn end(&mut self, link: BorrowedFd<'_>) -> Result<(), Failure> {
        if let Some(pidfd) = self.child.pidfd() {
            self.wait(pidfd, link)?;
        }
        match self.child.wait()? {
            Exit::Code(0) => Ok(()),
            Exit::Code(status) => Err(Failure::Program(format!("failed, status {status}"))),
            Exit::Signal { number, .. } => Err(Failure::Program(format!("exited on signal {number}"))),
        }
    }

    /// Waits for one of the program's descriptors, for the link's end and for the time to be over.
    fn wait(&self, on: BorrowedFd<'_>, link: BorrowedFd<'_>) -> Result<(), Failure> {
        let left = self.until.saturating_duration_since(Instant::now());
        match fd::wait_readable_either(on, link, left)? {
            (_, true) => Err(Failure::Link),
            (true, false) => Ok(()),
            (false, false) => Err(Failure::Program(format!("took longer than {} seconds", self.seconds))),
        }
    }
}
