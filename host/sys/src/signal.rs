//! Signals as readable events: blocked, then read from a signalfd(2) in the loop. No handlers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the loops of this project wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGCHLD: one or more children ended. Reap by pid, never with waitpid(-1).
    Child,
    /// SIGHUP: reload.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminate,
    /// SIGWINCH: the terminal's window has another size.
    WindowChange,
}

impl Signal {
    const ALL: [Signal; 6] = [
        Signal::Child,
        Signal::Hangup,
        Signal::Interrupt,
        Signal::Quit,
        Signal::Terminate,
        Signal::WindowChange,
    ];

    fn number(self) -> Number {
        match self {
            Signal::Child => Number::SIGCHLD,
            Signal::Hangup => Number::SIGHUP,
            Signal::Interrupt => Number::SIGINT,
            Signal::Quit => Number::SIGQUIT,
            Signal::Terminate => Number::SIGTERM,
            Signal::WindowChange => Number::SIGWINCH,
        }
    }

    /// Its number here, for messages.
    #[must_use]
    pub fn raw(self) -> i32 {
        self.number() as i32
    }

    /// Whether whoever started this process has it ignored, as nohup(1) does, or a shell without job control for
    /// its background commands. Ask before [`Signals::new`].
    #[must_use]
    pub fn is_ignored(self) -> bool {
        // SAFETY: a null pointer asks for the present disposition and changes nothing; zero bytes are a valid
        // sigaction for the kernel to fill in.
        let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let rc = unsafe { libc::sigaction(self.raw(), std::ptr::null(), &raw mut now) };
        rc == 0 && now.sa_sigaction == libc::SIG_IGN
    }

    /// Ends this process as the signal does when nobody handles it, so that a shell sees that.
    pub fn end_process(self) -> ! {
        // SAFETY: the default disposition, no handler.
        let _ = unsafe { nix::sys::signal::signal(self.number(), SigHandler::SigDfl) };
        let _ = nix::sys::signal::raise(self.number());
        let mut mask = SigSet::empty();
        mask.add(self.number());
        let _ = mask.thread_unblock();
        // A signal that ends no process (SIGCHLD, SIGWINCH).
        std::process::exit(128 + self.raw())
    }
}

/// Stops this whole process as control-Z does; returns when it is continued.
pub fn suspend() -> io::Result<()> {
    Ok(nix::sys::signal::kill(nix::unistd::getpid(), Number::SIGTSTP)?)
}

/// A set of blocked signals, readable when one is there.
///
/// The signals stay blocked when the value is dropped: the process is about to end then.
/// What [`crate::spawn`] executes starts with nothing blocked and default dispositions.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals in this thread, and in every thread it starts later: call it before any.
    pub fn new(wanted: &[Signal]) -> io::Result<Signals> {
        let mut mask = SigSet::empty();
        for signal in wanted {
            // An inherited "ignore" would discard the signal (and reap children unseen).
            // SAFETY: installs the default disposition, not a handler.
            unsafe { nix::sys::signal::signal(signal.number(), SigHandler::SigDfl) }?;
            mask.add(signal.number());
        }
        mask.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal, `None` when there is none now. Equal signals may have been merged.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        Ok(Signal::ALL.into_iter().find(|s| u32::try_from(s.number() as i32) == Ok(info.ssi_signo)))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores SIGPIPE: a write to a closed descriptor fails with EPIPE instead. Every process of ours.
pub fn ignore_sigpipe() {
    // SAFETY: ignoring a signal installs no handler.
    let _ = unsafe { nix::sys::signal::signal(Number::SIGPIPE, SigHandler::SigIgn) };
}

/// The signals that RFC 4254 §6.9 names, with their names.
const SSH_NAMES: [(&str, Number); 13] = [
    ("ABRT", Number::SIGABRT),
    ("ALRM", Number::SIGALRM),
    ("FPE", Number::SIGFPE),
    ("HUP", Number::SIGHUP),
    ("ILL", Number::SIGILL),
    ("INT", Number::SIGINT),
    ("KILL", Number::SIGKILL),
    ("PIPE", Number::SIGPIPE),
    ("QUIT", Number::SIGQUIT),
    ("SEGV", Number::SIGSEGV),
    ("TERM", Number::SIGTERM),
    ("USR1", Number::SIGUSR1),
    ("USR2", Number::SIGUSR2),
];

/// The RFC 4254 §6.9 name of a signal number.
#[must_use]
pub fn ssh_name(number: i32) -> Option<&'static str> {
    SSH_NAMES.iter().find(|(_, n)| *n as i32 == number).map(|(name, _)| *name)
}

/// The number of a signal with a name of RFC 4254 §6.9.
#[must_use]
pub fn from_ssh_name(name: &str) -> Option<i32> {
    SSH_NAMES.iter().find(|(n, _)| *n == name).map(|(_, number)| *number as i32)
}

/// Blocks every signal in this thread until the value is dropped: around a fork, so that nothing
/// is delivered to the child before its dispositions are the default ones.
pub(crate) struct AllBlocked(SigSet);

impl AllBlocked {
    pub(crate) fn new() -> io::Result<AllBlocked> {
        Ok(AllBlocked(SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?))
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask();
    }
}

/// Default dispositions and nothing blocked. For a child between fork and exec: async-signal-safe.
pub(crate) fn reset_in_child() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: installs default dispositions; the kernel refuses SIGKILL, SIGSTOP and what
        // glibc keeps for itself.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    #[test]
    fn blocked_signals_are_read_and_do_not_kill() {
        in_child(|| {
            let signals = Signals::new(&Signal::ALL).unwrap();
            assert_eq!(signals.next().unwrap(), None);
            for signal in Signal::ALL {
                nix::sys::signal::raise(signal.number()).unwrap();
                assert_eq!(signals.next().unwrap(), Some(signal));
            }
            assert_eq!(signals.next().unwrap(), None);
        })
        .success();
    }

    #[test]
    fn an_inherited_ignore_does_not_hide_a_signal() {
        in_child(|| {
            // SAFETY: no handler.
            unsafe { nix::sys::signal::signal(Number::SIGHUP, SigHandler::SigIgn) }.unwrap();
            let signals = Signals::new(&[Signal::Hangup]).unwrap();
            nix::sys::signal::raise(Number::SIGHUP).unwrap();
            assert_eq!(signals.next().unwrap(), Some(Signal::Hangup));
        })
        .success();
    }

    #[test]
    fn an_inherited_ignore_can_be_asked_about() {
        in_child(|| {
            // SAFETY: no handler. nohup(1) may have started the tests.
            unsafe { nix::sys::signal::signal(Number::SIGHUP, SigHandler::SigDfl) }.unwrap();
            assert!(!Signal::Hangup.is_ignored());
            // SAFETY: no handler.
            unsafe { nix::sys::signal::signal(Number::SIGHUP, SigHandler::SigIgn) }.unwrap();
            assert!(Signal::Hangup.is_ignored());
        })
        .success();
    }

    #[test]
    fn a_process_can_end_as_by_a_signal_that_it_has_blocked() {
        in_child(|| {
            let _signals = Signals::new(&[Signal::Interrupt]).unwrap();
            Signal::Interrupt.end_process();
        })
        .killed_by(libc::SIGINT);
    }

    #[test]
    fn an_ignored_sigpipe_becomes_an_error() {
        in_child(|| {
            ignore_sigpipe();
            let (r, w) = crate::fd::pipe().unwrap();
            drop(r);
            assert_eq!(crate::fd::write(&w, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        })
        .success();
    }

    #[test]
    fn ssh_names_go_both_ways() {
        assert_eq!(ssh_name(libc::SIGTERM), Some("TERM"));
        assert_eq!(ssh_name(libc::SIGCHLD), None);
        assert_eq!(from_ssh_name("USR1"), Some(libc::SIGUSR1));
        assert_eq!(from_ssh_name("SIGTERM"), None);
    }
}
