//! Our own binary, opened at start and executed again in other roles.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::exec::{Plan, Program, run};
use super::{Child, SpawnError};
use crate::fd;

/// A descriptor of the running binary. What it starts is that very file, also after the path was
/// replaced by an upgrade or deleted.
#[derive(Debug)]
pub struct SelfExe(OwnedFd);

/// A process of ours to start.
///
/// Standard input and output are /dev/null. It runs with this process's ids: a role that should
/// have fewer rights drops them itself, first thing ([`crate::identity::become_user`]).
/// It must end when its link does; no parent-death signal is set, because the kernel clears that
/// at the change of ids.
#[derive(Clone, Debug, Default)]
pub struct Role<'a> {
    /// All arguments; the first is what ps(1) shows, the next names the role.
    pub argv: Vec<OsString>,
    /// The whole environment. Leave it empty: a backtrace setting would make a sandboxed panic
    /// open files.
    pub env: Vec<(OsString, OsString)>,
    /// Standard error; /dev/null if absent.
    pub stderr: Option<BorrowedFd<'a>>,
    /// The descriptors 3, 4, … of the role, taken there with [`fd::inherited`].
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Whether it leads a session of its own, out of reach of a terminal's signals.
    pub new_session: bool,
}

impl SelfExe {
    /// Opens the running binary. At start, while /proc is there and before any change of ids.
    pub fn open() -> io::Result<SelfExe> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(SelfExe(rustix::fs::open("/proc/self/exe", flags, Mode::empty())?))
    }

    /// Starts a role; returns when it was executed.
    pub fn spawn(&self, role: &Role<'_>) -> Result<Child, SpawnError> {
        let null = fd::dev_null().map_err(|source| SpawnError { stage: super::Stage::Prepare, source })?;
        let mut descriptors = vec![null.as_fd(), null.as_fd(), role.stderr.unwrap_or(null.as_fd())];
        descriptors.extend(&role.descriptors);
        run(&Plan {
            program: Program::Descriptor(self.0.as_fd()),
            argv: &role.argv,
            env: &role.env,
            descriptors: &descriptors,
            new_session: role.new_session,
            directory: None,
            umask: None,
        })
    }
}

impl AsFd for SelfExe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Names the process for ps(1) and top(1); 15 bytes are kept. A binary executed by descriptor may
/// otherwise be called by that descriptor's number.
pub fn set_process_name(name: &str) {
    let bytes: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(bytes) {
        let _ = rustix::thread::set_name(&name);
    }
}
