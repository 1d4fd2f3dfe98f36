//! Leaving the terminal: into the background, and the PID file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::fd;

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
