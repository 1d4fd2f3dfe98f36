//! A started process: waiting for it, signalling it, how it ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this status, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number; [`crate::signal::ssh_name`] has its name.
        number: i32,
        /// A core file was written.
        core: bool,
    },
}

impl Exit {
    pub(crate) fn from_wait_status(status: i32) -> Exit {
        if libc::WIFSIGNALED(status) {
            Exit::Signal { number: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        }
    }
}

/// A process that this one started and has to reap.
///
/// Dropping the value neither ends nor waits for the process: ours end when their link does.
/// An unreaped one stays a zombie until this process ends.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Absent on kernels before 5.3 only.
    pidfd: Option<OwnedFd>,
    exit: Option<Exit>,
}

impl Child {
    /// Takes on a child of this process that nobody has reaped.
    pub(crate) fn new(pid: Pid) -> Child {
        // An unreaped child's pid cannot be handed out again, so this is the child's.
        Child { pid, pidfd: rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok(), exit: None }
    }

    /// The process id; valid until the child is reaped.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// A descriptor that gets readable when the process ends, where the kernel has pidfds.
    #[must_use]
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// How it ended, if it has; reaps it. Never waits.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        self.reap(WaitOptions::NOHANG)
    }

    /// Waits for its end. Not for a loop that serves others.
    pub fn wait(&mut self) -> io::Result<Exit> {
        loop {
            if let Some(exit) = self.reap(WaitOptions::empty())? {
                return Ok(exit);
            }
        }
    }

    /// Sends a signal to the process; nothing happens if it was reaped already.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let Some(signal) = Signal::from_named_raw(number) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        if self.exit.is_some() {
            return Ok(());
        }
        match &self.pidfd {
            Some(pidfd) => rustix::process::pidfd_send_signal(pidfd, signal)?,
            None => rustix::process::kill_process(self.pid, signal)?,
        }
        Ok(())
    }

    /// Sends a signal to the process group that the child leads: a command started in a session of
    /// its own and what it runs. Nothing happens once the child was reaped.
    pub fn signal_group(&self, number: i32) -> io::Result<()> {
        let Some(signal) = Signal::from_named_raw(number) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        if self.exit.is_none() {
            rustix::process::kill_process_group(self.pid, signal)?;
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    fn reap(&mut self, options: WaitOptions) -> io::Result<Option<Exit>> {
        while self.exit.is_none() {
            match rustix::process::waitpid(Some(self.pid), options) {
                Ok(Some((_, status))) => self.exit = Some(Exit::from_wait_status(status.as_raw())),
                Ok(None) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.exit)
    }
}
