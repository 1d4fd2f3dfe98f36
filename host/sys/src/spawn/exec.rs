//! fork and exec, the one place for both. Everything is prepared before the fork; between fork and
//! exec the child makes system calls only, so that it is safe whatever threads there were.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::process::Pid;

use super::Child;
use crate::{fd, limits, signal};

/// What to execute: the child's whole surroundings.
pub(super) struct Plan<'a> {
    pub(super) program: Program<'a>,
    pub(super) argv: &'a [OsString],
    pub(super) env: &'a [(OsString, OsString)],
    /// These become the descriptors 0, 1, 2, … of the child, and nothing else is open there.
    pub(super) descriptors: &'a [BorrowedFd<'a>],
    pub(super) new_session: bool,
    /// Descriptor 0 is a terminal that becomes the new session's.
    pub(super) controlling_terminal: bool,
    pub(super) directory: Option<BorrowedFd<'a>>,
    pub(super) umask: Option<u32>,
}

pub(super) enum Program<'a> {
    /// An opened executable: the same file whatever its path holds by now.
    Descriptor(BorrowedFd<'a>),
    Path(&'a OsStr),
}

/// What a start failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Before the fork: arguments, descriptors, memory, process limits.
    Prepare = 0,
    /// setsid(2).
    Session = 1,
    /// Changing to the working directory.
    Directory = 2,
    /// Putting the descriptors in place and closing all others.
    Descriptors = 3,
    /// execve(2) itself: no such file, no permission, not a program.
    Exec = 4,
    /// Making a terminal the session's.
    Terminal = 5,
}

/// Why a process did not start. Nothing of it is left running.
#[derive(Debug)]
pub struct SpawnError {
    /// What it failed at.
    pub stage: Stage,
    /// The system's error.
    pub source: io::Error,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.stage {
            Stage::Prepare => "cannot start a process",
            Stage::Session => "cannot start a session",
            Stage::Directory => "cannot change to the working directory",
            Stage::Descriptors => "cannot set up descriptors",
            Stage::Exec => "cannot execute",
            Stage::Terminal => "cannot take the terminal",
        };
        write!(f, "{what}: {}", self.source)
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> io::Error {
        io::Error::new(error.source.kind(), error)
    }
}

/// Starts the program; returns when it was executed, or why it was not.
pub(super) fn run(plan: &Plan<'_>) -> Result<Child, SpawnError> {
    let prepare = |source| SpawnError { stage: Stage::Prepare, source };
    let prepared = Prepared::new(plan).map_err(prepare)?;
    let (report_in, report_out) = fd::pipe().map_err(prepare)?;
    let report_out = prepared.lift(report_out).map_err(prepare)?;

    let blocked = signal::AllBlocked::new().map_err(prepare)?;
    // SAFETY: the child runs `become_program` only, which is made for the time after a fork.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        become_program(&prepared, report_out.as_raw_fd());
    }
    let fork_error = io::Error::last_os_error();
    drop(blocked);
    drop(report_out);
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Err(prepare(fork_error)) };

    let mut child = Child::new(pid);
    let mut report = Vec::new();
    // The write end closes at exec or at the child's end, so this is short.
    let read = std::fs::File::from(report_in).read_to_end(&mut report);
    let (stage, source) = match (read, report.as_slice()) {
        (Ok(_), []) => return Ok(child),
        (Ok(_), &[stage, a, b, c, d]) => {
            (Stage::from_byte(stage), io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d])))
        }
        (Ok(_), _) => (Stage::Exec, io::Error::other("the child's report makes no sense")),
        (Err(error), _) => (Stage::Exec, error),
    };
    let _ = child.kill();
    let _ = child.wait();
    Err(SpawnError { stage, source })
}

impl Stage {
    fn from_byte(byte: u8) -> Stage {
        match byte {
            1 => Stage::Session,
            2 => Stage::Directory,
            3 => Stage::Descriptors,
            0 => Stage::Prepare,
            5 => Stage::Terminal,
            _ => Stage::Exec,
        }
    }
}

/// The plan as the system calls want it. Owns what the pointers point to.
struct Prepared {
    path: Option<CString>,
    program: Option<OwnedFd>,
    _strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    /// Duplicates, all numbered above the places they are to take.
    descriptors: Vec<OwnedFd>,
    directory: Option<OwnedFd>,
    new_session: bool,
    controlling_terminal: bool,
    umask: Option<u32>,
    nofile: Option<u64>,
    open_max: RawFd,
}

impl Prepared {
    fn new(plan: &Plan<'_>) -> io::Result<Prepared> {
        if plan.argv.is_empty() {
            return Err(invalid("no argv[0]"));
        }
        let argv = plan.argv.iter().map(|arg| c_string(arg.as_bytes())).collect::<io::Result<Vec<_>>>()?;
        let env =
            plan.env.iter().map(|(name, value)| variable(name, value)).collect::<io::Result<Vec<_>>>()?;
        let pointers = |list: &[CString]| -> Vec<_> {
            list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let mut prepared = Prepared {
            path: None,
            program: None,
            // A CString's bytes stay where they are when the CString moves.
            argv: pointers(&argv),
            env: pointers(&env),
            _strings: argv.into_iter().chain(env).collect(),
            descriptors: Vec::new(),
            directory: None,
            new_session: plan.new_session,
            controlling_terminal: plan.controlling_terminal,
            umask: plan.umask,
            nofile: limits::inherited_nofile(),
            open_max: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .and_then(|max| RawFd::try_from(max).ok())
                .unwrap_or(1 << 20),
        };
        let floor =
            RawFd::try_from(plan.descriptors.len()).map_err(|_| invalid("too many descriptors"))?.max(3);
        let lift =
            |fd: &BorrowedFd<'_>| -> io::Result<OwnedFd> { Ok(rustix::io::fcntl_dupfd_cloexec(fd, floor)?) };
        prepared.descriptors = plan.descriptors.iter().map(lift).collect::<io::Result<_>>()?;
        prepared.directory = plan.directory.as_ref().map(lift).transpose()?;
        match &plan.program {
            Program::Descriptor(fd) => prepared.program = Some(lift(fd)?),
            Program::Path(path) => prepared.path = Some(c_string(path.as_bytes())?),
        }
        Ok(prepared)
    }

    /// Moves a descriptor of ours out of the way of the places to be taken.
    fn lift(&self, fd: OwnedFd) -> io::Result<OwnedFd> {
        let floor = RawFd::try_from(self.descriptors.len()).unwrap_or(RawFd::MAX).max(3);
        Ok(rustix::io::fcntl_dupfd_cloexec(fd, floor)?)
    }
}

/// The child's side: system calls only, no allocation, no lock, no return.
fn become_program(prepared: &Prepared, report: RawFd) -> ! {
    signal::reset_in_child();
    limits::restore_nofile(prepared.nofile);
    if let Some(mask) = prepared.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
    if prepared.new_session
        && let Err(error) = rustix::process::setsid()
    {
        fail(report, Stage::Session, error.raw_os_error());
    }
    if let Some(directory) = &prepared.directory
        && let Err(error) = rustix::process::fchdir(directory)
    {
        fail(report, Stage::Directory, error.raw_os_error());
    }
    let mut place: RawFd = 0;
    for source in &prepared.descriptors {
        // SAFETY: this process has its descriptor table to itself and ends in exec or _exit: no
        // owner is left that could be surprised by what closes here. dup2 clears close-on-exec.
        if unsafe { libc::dup2(source.as_raw_fd(), place) } < 0 {
            fail(report, Stage::Descriptors, errno());
        }
        place = place.saturating_add(1);
    }
    if prepared.controlling_terminal
        && let Some(terminal) = prepared.descriptors.first()
        && let Err(error) = rustix::process::ioctl_tiocsctty(terminal)
    {
        fail(report, Stage::Terminal, error.raw_os_error());
    }
    if !close_on_exec_from(place, prepared.open_max) {
        fail(report, Stage::Descriptors, errno());
    }
    match (&prepared.program, &prepared.path) {
        (Some(program), _) => {
            // SAFETY: the arrays are null-terminated lists of strings that `prepared` owns.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    program.as_raw_fd(),
                    c"".as_ptr(),
                    prepared.argv.as_ptr(),
                    prepared.env.as_ptr(),
                    libc::AT_EMPTY_PATH,
                )
            };
        }
        (None, Some(path)) => {
            // SAFETY: as above, and the path is a string that `prepared` owns.
            unsafe { libc::execve(path.as_ptr(), prepared.argv.as_ptr(), prepared.env.as_ptr()) };
        }
        (None, None) => fail(report, Stage::Prepare, libc::EINVAL),
    }
    fail(report, Stage::Exec, errno());
}

/// Marks every descriptor from `first` close-on-exec, so that the report's pipe lives until exec.
fn close_on_exec_from(first: RawFd, open_max: RawFd) -> bool {
    // SAFETY: sets flags on this process's descriptors; those that are not open are passed over.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if rc == 0 {
        return true;
    }
    // Linux before 5.11.
    for number in first..open_max {
        // SAFETY: as above.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    matches!(errno(), libc::ENOSYS | libc::EINVAL | libc::EBADF)
}

fn fail(report: RawFd, stage: Stage, errno: i32) -> ! {
    let [a, b, c, d] = errno.to_ne_bytes();
    let bytes = [stage as u8, a, b, c, d];
    // SAFETY: five bytes of this frame to a pipe of ours, which holds them without waiting.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn variable(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(invalid("an environment variable's name is empty or contains \"=\""));
    }
    c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat())
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| invalid("a NUL byte in an argument or the environment"))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
