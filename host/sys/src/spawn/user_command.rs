//! The logged-in user's shell, command or subsystem, started by a process that already has that
//! user's rights.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};

use super::exec::{Plan, Program, run};
use super::{Child, SpawnError, Stage};

/// A command to run. It leads a session of its own.
#[derive(Clone, Debug)]
pub struct UserCommand<'a> {
    /// The file to execute; no search along PATH.
    pub program: PathBuf,
    /// All arguments, the first being the name it is called by ("-bash" for a login shell).
    pub argv: Vec<OsString>,
    /// The whole environment, exactly. A name that is empty or holds "=" is an error.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory. If it cannot be entered the command starts in "/".
    pub directory: PathBuf,
    /// Descriptor 0.
    pub stdin: BorrowedFd<'a>,
    /// Descriptor 1.
    pub stdout: BorrowedFd<'a>,
    /// Descriptor 2.
    pub stderr: BorrowedFd<'a>,
    /// Descriptor 0 is a terminal, which becomes the controlling one of the command's session.
    pub terminal: bool,
    /// The file mode creation mask; absent = this process's.
    pub umask: Option<u32>,
}

/// A command that was started.
#[derive(Debug)]
pub struct Started {
    /// The running command.
    pub child: Child,
    /// Why the working directory could not be entered, if so: to be said on the command's stderr.
    pub directory_error: Option<io::Error>,
}

impl UserCommand<'_> {
    /// Starts it; returns when it was executed, or with [`Stage::Exec`] when the program cannot be.
    pub fn spawn(&self) -> Result<Started, SpawnError> {
        let (directory, directory_error) = match open_directory(&self.directory) {
            Ok(directory) => (Ok(directory), None),
            Err(error) => (open_directory(Path::new("/")), Some(error)),
        };
        let directory = directory.map_err(|source| SpawnError { stage: Stage::Directory, source })?;
        let child = run(&Plan {
            program: Program::Path(self.program.as_os_str()),
            argv: &self.argv,
            env: &self.env,
            descriptors: &[self.stdin, self.stdout, self.stderr],
            new_session: true,
            controlling_terminal: self.terminal,
            directory: Some(directory.as_fd()),
            umask: self.umask,
        })?;
        Ok(Started { child, directory_error })
    }
}

/// A directory that can be changed to: O_PATH alone does not ask for the right to enter it.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let directory =
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::accessat(&directory, ".", Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;
    use crate::spawn::Exit;
    use crate::testing::{TempDir, in_child, mode};
    use std::io::Read;

    /// Runs a shell script and returns what it wrote and how it ended.
    fn shell(script: &str, change: impl FnOnce(&mut UserCommand<'_>)) -> (String, Exit, Option<io::Error>) {
        let null = fd::dev_null().unwrap();
        let (out_r, out_w) = fd::pipe().unwrap();
        let mut command = UserCommand {
            program: "/bin/sh".into(),
            argv: vec!["-sh".into(), "-c".into(), script.into()],
            env: vec![("ONLY".into(), "this".into())],
            directory: "/".into(),
            stdin: null.as_fd(),
            stdout: out_w.as_fd(),
            stderr: out_w.as_fd(),
            terminal: false,
            umask: None,
        };
        change(&mut command);
        let mut started = command.spawn().unwrap();
        drop(out_w);
        let mut text = String::new();
        std::fs::File::from(out_r).read_to_string(&mut text).unwrap();
        (text, started.child.wait().unwrap(), started.directory_error)
    }

    #[test]
    fn environment_arguments_and_umask_are_exactly_as_given() {
        let (text, exit, _) =
            shell("echo $0 $ONLY; umask; cat /proc/$$/environ; exit 7", |c| c.umask = Some(0o27));
        assert_eq!(text, "-sh this\n0027\nONLY=this\0");
        assert_eq!(exit, Exit::Code(7));
    }

    #[test]
    fn nothing_but_the_three_descriptors_is_open() {
        let leaks: Vec<_> =
            (0..5).map(|_| rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap()).collect();
        let (text, ..) = shell("ls /proc/$$/fd", |_| {});
        drop(leaks);
        // The shell reads its script from its arguments.
        assert_eq!(text, "0\n1\n2\n");
    }

    #[test]
    fn signals_start_with_default_dispositions_and_none_blocked() {
        in_child(|| {
            crate::signal::ignore_sigpipe();
            // SAFETY: no handler.
            unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
            let _signals = crate::signal::Signals::new(&[crate::signal::Signal::Terminate]).unwrap();
            let (text, ..) = shell("grep -E 'Sig(Blk|Ign)' /proc/self/status", |_| {});
            for line in text.lines() {
                let set = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
                // 32 and 33 are glibc's own; whoever started the tests may have ignored them.
                assert_eq!(set & !(0b11 << 31), 0, "{line}");
            }
            assert_eq!(text.lines().count(), 2);
        })
        .success();
    }

    #[test]
    fn it_leads_its_own_session() {
        let (text, ..) = shell("cut -d' ' -f1,5,6 /proc/self/stat; echo $$", |_| {});
        let mut words = text.split_whitespace();
        let (_cut, group, session, own) = (words.next(), words.next(), words.next(), words.next());
        assert_eq!((group, session), (own, own));
    }

    #[test]
    fn a_directory_that_cannot_be_entered_is_said_and_root_taken() {
        let tmp = TempDir::new();
        let (text, _, error) = shell("pwd", |c| c.directory = tmp.path().to_owned());
        assert_eq!((text.trim(), error.is_none()), (tmp.path().to_str().unwrap(), true));
        let (text, _, error) = shell("pwd", |c| c.directory = tmp.path().join("none"));
        assert_eq!((text.trim(), error.unwrap().kind()), ("/", io::ErrorKind::NotFound));
    }

    #[test]
    fn signals_and_cores_are_told_apart() {
        let (_, exit, _) = shell("kill -TERM $$", |_| {});
        assert_eq!(exit, Exit::Signal { number: libc::SIGTERM, core: false });
    }

    #[test]
    fn what_cannot_be_executed_is_an_error_here() {
        let tmp = TempDir::new();
        let script = tmp.path().join("noexec");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        mode(&script, 0o644);
        let null = fd::dev_null().unwrap();
        let mut command = UserCommand {
            program: script,
            argv: vec!["x".into()],
            env: vec![],
            directory: "/".into(),
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: null.as_fd(),
            terminal: false,
            umask: None,
        };
        let error = command.spawn().unwrap_err();
        assert_eq!((error.stage, error.source.raw_os_error()), (Stage::Exec, Some(libc::EACCES)));
        command.program = "/nonexistent/shell".into();
        assert_eq!(command.spawn().unwrap_err().source.kind(), io::ErrorKind::NotFound);
        command.env = vec![("A=B".into(), "x".into())];
        assert_eq!(command.spawn().unwrap_err().stage, Stage::Prepare);
    }

    #[test]
    fn the_group_of_the_command_can_be_signalled_and_is_polled_without_waiting() {
        let (r, w) = fd::pipe().unwrap();
        let mut command = UserCommand {
            program: "/bin/sh".into(),
            argv: vec!["sh".into(), "-c".into(), "sleep 1000; true".into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: "/".into(),
            stdin: r.as_fd(),
            stdout: w.as_fd(),
            stderr: w.as_fd(),
            terminal: false,
            umask: None,
        }
        .spawn()
        .unwrap()
        .child;
        assert_eq!(command.try_wait().unwrap(), None);
        command.signal_group(libc::SIGTERM).unwrap();
        assert_eq!(command.wait().unwrap(), Exit::Signal { number: libc::SIGTERM, core: false });
        command.signal(libc::SIGKILL).unwrap();
        // The sleeping grandchild had the write end too: the end of file shows that it is gone.
        drop(w);
        assert_eq!(fd::read(&r, &mut [0; 1]).unwrap(), 0);
    }
    #[test]
    fn a_terminal_becomes_the_commands_own() {
        let pty = crate::pty::Pty::open().unwrap();
        let script = "test $(tty) = NAME && (echo yes >/dev/tty); ps -o sid=,pgid=,tpgid= -p $$; sleep 1000";
        let mut started = UserCommand {
            program: "/bin/sh".into(),
            argv: vec!["sh".into(), "-c".into(), script.replace("NAME", &pty.name.to_string_lossy()).into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: "/".into(),
            stdin: pty.slave.as_fd(),
            stdout: pty.slave.as_fd(),
            stderr: pty.slave.as_fd(),
            terminal: true,
            umask: None,
        }
        .spawn()
        .unwrap();
        drop(pty.slave);
        let mut text = Vec::new();
        while text.iter().filter(|b| **b == b'\n').count() < 2 {
            assert!(fd::wait_readable(&pty.master, std::time::Duration::from_secs(60)).unwrap());
            let mut buffer = [0; 256];
            let n = fd::read(&pty.master, &mut buffer).unwrap();
            text.extend_from_slice(&buffer[..n]);
        }
        let text = String::from_utf8(text).unwrap();
        let pid = started.child.pid().to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(words, ["yes", &pid, &pid, &pid]);
        // The last master closed: the session is hung up.
        drop(pty.master);
        assert_eq!(started.child.wait().unwrap(), Exit::Signal { number: libc::SIGHUP, core: false });

        // What is no terminal cannot be one.
        let null = fd::dev_null().unwrap();
        let command = UserCommand {
            program: "/bin/true".into(),
            argv: vec!["true".into()],
            env: vec![],
            directory: "/".into(),
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: null.as_fd(),
            terminal: true,
            umask: None,
        };
        assert_eq!(command.spawn().unwrap_err().stage, Stage::Terminal);
    }
}
