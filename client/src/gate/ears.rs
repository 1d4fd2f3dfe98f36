//! What the other `ssh` says on standard error during an attempt to connect again: all of it goes on to whoever hears
//! us, as it is, and those last words are kept that time cannot mend. Which words those are stands here alone: ssh(1)
//! tells its failures apart by nothing else, they all exit with 255.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sockward_config::choice::LogLevel;
use sockward_sys::fd;

use crate::jobs::{Job, Jobs};
use crate::plan::Plan;

/// Of a line, what is looked at: a failure's sentence with a host name and a list of methods.
const LINE_MAX: usize = 1024;

/// Hears one run of the other `ssh`.
pub(crate) struct Ears {
    /// What was said that time cannot mend, the last of it.
    last: Arc<Mutex<Option<String>>>,
    /// Ends when the program's standard error is closed.
    job: Job<()>,
    over: bool,
}

/// Where the words go on to.
#[derive(Clone, Copy)]
enum Mouth {
    Stderr,
    /// A file or the system's log.
    Log,
    Nowhere,
}

impl Ears {
    /// Ears, and the standard error for the program that is to be heard. A thread passes the words on.
    pub(crate) fn open(plan: &Plan, jobs: &Jobs) -> io::Result<(Ears, OwnedFd)> {
        let mouth = if plan.configuration.settings.log_level < LogLevel::Error {
            Mouth::Nowhere
        } else if plan.logs_to_stderr {
            Mouth::Stderr
        } else {
            Mouth::Log
        };
        let (read, stderr) = fd::pipe()?;
        let last = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&last);
        // It ends with the pipe, or with this process.
        let job = jobs.start(move || pass_on(&read, mouth, |words| *lock(&keep) = Some(words.to_owned())))?;
        Ok((Ears { last, job, over: false }, stderr))
    }

    /// Whether everything was heard.
    pub(crate) fn is_over(&mut self) -> bool {
        self.over = self.over || self.job.poll().is_some();
        self.over
    }

    /// What was said that time cannot mend, the last of it.
    pub(crate) fn last_words(&self) -> Option<String> {
        lock(&self.last).clone()
    }
}

fn lock(last: &Mutex<Option<String>>) -> MutexGuard<'_, Option<String>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes everything on, and says what time cannot mend.
fn pass_on(from: &OwnedFd, mouth: Mouth, say: impl Fn(&str)) {
    let mut buffer = [0; 4096];
    let mut line = Vec::new();
    loop {
        let bytes = match fd::read(from, &mut buffer) {
            Ok(n @ 1..) => buffer.get(..n).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
        };
        if matches!(mouth, Mouth::Stderr) {
            // Nobody is left to be told if this fails; the program must not be kept waiting.
            let _ = io::stderr().write_all(bytes);
        }
        for &byte in bytes {
            if byte == b'\n' {
                heard(&line, mouth, &say);
                line.clear();
            } else if line.len() < LINE_MAX {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        heard(&line, mouth, &say);
    }
}

fn heard(line: &[u8], mouth: Mouth, say: &impl Fn(&str)) {
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    if matches!(mouth, Mouth::Log) {
        log::error!("{line}");
    }
    if is_last_word(&line) {
        say(&line);
    }
}

/// Whether a line of ssh(1)'s says what time cannot mend. Names that are not found are not among them: a network or a
/// VPN that is away takes names with it. Of a failure that is not known here nothing is said: it is tried again.
fn is_last_word(line: &str) -> bool {
    let denied = |line: &str| line.starts_with("Permission denied (") && line.ends_with(").");
    line == "Host key verification failed."
        || denied(line)
        || line.split_once(": ").is_some_and(|(who, rest)| who.contains('@') && denied(rest))
        || line.starts_with("Received disconnect from ") && line.ends_with("Too many authentication failures")
        || line.starts_with("Unable to negotiate with ")
        || line.starts_with("Bad owner or permissions on ")
        || line.contains(": terminating, ") && line.ends_with(" bad configuration options")
        || line.starts_with("usage: ssh ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_time_cannot_mend_is_told_from_what_it_can() {
        for last in [
            "Host key verification failed.",
            "alex@192.0.2.1: Permission denied (publickey,password).",
            "Permission denied (publickey).",
            "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures",
            "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. Their offer: ssh-rsa",
            "Bad owner or permissions on /home/alex/.ssh/config",
            "/home/alex/.ssh/config: terminating, 1 bad configuration options",
            "usage: ssh [-46AaCfGgKkMNnqsTtVvXxYy] [-B bind_interface]",
        ] {
            assert!(is_last_word(last), "{last}");
        }
        for other in [
            "",
            "ssh: connect to host h port 22: Connection refused",
            "ssh: connect to host h port 22: Connection timed out",
            "ssh: connect to host h port 22: No route to host",
            "ssh: Could not resolve hostname h: Temporary failure in name resolution",
            "ssh: Could not resolve hostname h: Name or service not known",
            "kex_exchange_identification: read: Connection reset by peer",
            "Connection closed by 192.0.2.1 port 22",
            "debug1: Host key verification failed.",
            // A banner.
            "Permission denied to all but the staff.",
            "Warning: Permission denied (publickey).",
            "Received disconnect from 192.0.2.1 port 22:11: bye",
            "/etc/ssh/ssh_config line 3: Unsupported option \"x\"",
        ] {
            assert!(!is_last_word(other), "{other}");
        }
    }

    #[test]
    fn words_in_any_pieces_are_heard_and_long_lines_take_no_room() {
        let (read, write) = fd::pipe().unwrap();
        let talker = std::thread::spawn(move || {
            let mut pipe = std::fs::File::from(write);
            pipe.write_all(&vec![b'x'; 1 << 20]).unwrap();
            for piece in ["\nHost key veri", "fication failed.\r\nPermission", " denied (publickey)."] {
                pipe.write_all(piece.as_bytes()).unwrap();
            }
        });
        let said = RefCell::new(Vec::new());
        pass_on(&read, Mouth::Nowhere, |words| said.borrow_mut().push(words.to_owned()));
        talker.join().unwrap();
        assert_eq!(*said.borrow(), ["Host key verification failed.", "Permission denied (publickey)."]);
    }
}
