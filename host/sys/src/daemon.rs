//! Leaving the terminal: into the background, at once or later, and the PID file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::fd;
use crate::spawn::{Child, Exit};

/// Goes into the background: the caller's process ends with status 0 and the rest runs in a new
/// session, in "/", without a terminal. Standard input and output become /dev/null, standard error
/// too unless it is kept. All other descriptors stay open.
///
/// Call it before any thread is started and before signals are blocked; relative paths must have
/// been made absolute. Children of the caller stay the ended process's.
pub fn daemonise(keep_stderr: bool) -> io::Result<()> {
    let null = fd::dev_null()?;
    background()?;
    rustix::process::setsid()?;
    // Not a session's leader any more, so that no terminal opened later becomes ours.
    background()?;
    rustix::process::chdir("/")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    if !keep_stderr {
        rustix::stdio::dup2_stderr(&null)?;
    }
    Ok(())
}

/// A process that can go to the background later, whatever threads it has by then (`ssh -f`: after the login).
///
/// It is a child from the start. Its parent does nothing but wait: it ends with status 0 when the child goes to the
/// background, and else as the child ends.
#[derive(Debug)]
pub struct Detachable(OwnedFd);

impl Detachable {
    /// Forks; only the child returns. Call it before any thread is started and before signals are blocked.
    pub fn new() -> io::Result<Detachable> {
        match Detachable::beside()? {
            Beside::Child(detachable) => Ok(detachable),
            Beside::Parent(attendant) => {
                attendant.wait();
                // SAFETY: leaves without exit handlers: buffers belong to the child now.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Forks, and both return: for a parent that has something to do when its child is in the background. Call it
    /// before any thread is started and before signals are blocked.
    pub fn beside() -> io::Result<Beside> {
        let (waits, tells) = fd::pipe()?;
        let parent = rustix::process::getpid();
        // SAFETY: one thread (required above), so the child may run any code.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(waits);
                // Whoever ends the waiting parent means the work.
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
                if rustix::process::getppid() != Some(parent) {
                    std::process::exit(255);
                }
                Ok(Beside::Child(Detachable(tells)))
            }
            pid => {
                drop(tells);
                Ok(Beside::Parent(Attendant { waits, pid }))
            }
        }
    }

    /// Goes to the background: a session of its own, without a terminal; the parent ends. Standard input and
    /// output become /dev/null, standard error too unless it is kept. The working directory stays.
    pub fn detach(self, keep_stderr: bool) -> io::Result<()> {
        let null = fd::dev_null()?;
        rustix::process::set_parent_process_death_signal(None)?;
        rustix::process::setsid()?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        if !keep_stderr {
            rustix::stdio::dup2_stderr(&null)?;
        }
        fd::write(&self.0, b"+")?;
        Ok(())
    }
}

/// Which of the two a process is after [`Detachable::beside`].
#[derive(Debug)]
pub enum Beside {
    /// The one that may go to the background.
    Child(Detachable),
    /// The one that stays.
    Parent(Attendant),
}

/// The parent of a [`Detachable`].
#[derive(Debug)]
pub struct Attendant {
    waits: OwnedFd,
    pid: i32,
}

impl Attendant {
    /// Returns when the child has gone to the background. If it ends before, this process ends like it.
    pub fn wait(self) {
        let mut said = [0];
        let detached = loop {
            match fd::read(&self.waits, &mut said) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break matches!(other, Ok(1)),
            }
        };
        if !detached {
            end_like(self.pid);
        }
    }
}

fn end_like(pid: i32) -> ! {
    let exit = rustix::process::Pid::from_raw(pid).map(|pid| Child::new(pid).wait());
    match exit {
        // SAFETY: as above.
        Some(Ok(Exit::Code(code))) => unsafe { libc::_exit(code) },
        Some(Ok(Exit::Signal { number, .. })) => {
            // SAFETY: the default disposition, no handler.
            unsafe { libc::signal(number, libc::SIG_DFL) };
            // SAFETY: a signal to this process, which is to end by it.
            unsafe { libc::raise(number) };
            // SAFETY: as above, for signals that end nobody.
            unsafe { libc::_exit(128 + number) }
        }
        // SAFETY: as above.
        Some(Err(_)) | None => unsafe { libc::_exit(255) },
    }
}

/// Forks and ends the parent.
fn background() -> io::Result<()> {
    // SAFETY: one thread (required above), so the child may run any code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        // SAFETY: leaves without exit handlers: buffers belong to the child now.
        _ => unsafe { libc::_exit(0) },
    }
}

/// A written PID file. It stays when the value is dropped: removing is a deliberate step.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    /// Held for life, so that the file's inode number is not handed out again.
    file: File,
}

impl PidFile {
    /// Writes this process's id and a newline, mode 0644. An existing regular file is replaced in
    /// content; a symbolic link is refused.
    pub fn write(path: &Path) -> io::Result<PidFile> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(PidFile { path: path.to_owned(), file })
    }

    /// Removes the file if it is still ours: the same file, with our process id in it.
    /// Whether it was removed.
    pub fn remove(self) -> io::Result<bool> {
        let (ours, there) = (self.file.metadata()?, std::fs::symlink_metadata(&self.path)?);
        let same = (ours.dev(), ours.ino()) == (there.dev(), there.ino());
        if !same || std::fs::read(&self.path)? != format!("{}\n", std::process::id()).into_bytes() {
            return Ok(false);
        }
        std::fs::remove_file(&self.path)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, in_child};

    #[test]
    fn the_pid_file_is_removed_only_while_it_is_ours() {
        let tmp = TempDir::new();
        let path = tmp.path().join("pid");
        std::fs::write(&path, "a longer text that was there before").unwrap();
        let ours = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert!(ours.remove().unwrap());
        assert!(!path.exists());

        let ours = PidFile::write(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        assert!(!ours.remove().unwrap(), "a successor wrote its pid");

        let ours = PidFile::write(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert!(!ours.remove().unwrap(), "another file");
        std::os::unix::fs::symlink("/etc/passwd", tmp.path().join("l")).unwrap();
        assert!(PidFile::write(&tmp.path().join("l")).is_err());
    }

    #[test]
    fn a_detached_process_goes_on_when_its_parent_has_ended_well() {
        let (r, w) = fd::pipe().unwrap();
        in_child(|| {
            let detachable = Detachable::new().unwrap();
            // A thread is no hindrance.
            std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(1000)));
            let parent = rustix::process::getppid();
            detachable.detach(false).unwrap();
            while rustix::process::getppid() == parent {
                std::thread::yield_now();
            }
            let own_session = rustix::process::getsid(None).unwrap() == rustix::process::getpid();
            let null = std::fs::read_link("/proc/self/fd/2").unwrap() == Path::new("/dev/null");
            fd::write(&w, &[u8::from(own_session && null)]).unwrap();
            std::process::exit(7);
        })
        .success();
        drop(w);
        let mut answer = [0];
        assert_eq!(fd::read(&r, &mut answer).unwrap(), 1);
        assert_eq!(answer, [1]);
    }

    #[test]
    fn the_parent_of_what_does_not_detach_ends_like_it() {
        in_child(|| {
            let _detachable = Detachable::new().unwrap();
            crate::signal::Signal::Interrupt.end_process();
        })
        .killed_by(libc::SIGINT);
        in_child(|| {
            drop(Detachable::new().unwrap());
        })
        .success();
    }

    #[test]
    fn a_daemon_has_no_terminal_and_keeps_its_descriptors() {
        let (r, w) = fd::pipe().unwrap();
        in_child(|| {
            daemonise(false).unwrap();
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
            let fields: Vec<_> = stat.split(") ").nth(1).unwrap().split(' ').collect();
            let pid = std::process::id().to_string();
            // state ppid pgrp session tty_nr
            let detached = fields[3] != pid && fields[4] == "0";
            let null = std::fs::read_link("/proc/self/fd/2").unwrap() == Path::new("/dev/null");
            let root = std::env::current_dir().unwrap() == Path::new("/");
            fd::write(&w, &[u8::from(detached && null && root)]).unwrap();
        })
        .success();
        drop(w);
        let mut answer = [0];
        assert_eq!(fd::read(&r, &mut answer).unwrap(), 1);
        assert_eq!(answer, [1]);
    }
}
