//! The one logger behind the `log` crate's macros: where lines go, which are shown, how they look.
//!
//! OpenSSH's LogLevel is mapped so: `error!` ERROR, `warn!` and `info!` INFO, `debug!` DEBUG1,
//! `trace!` DEBUG2; the targets "fatal", "verbose" and "debug3" name the levels in between.
//! A message is one line of bounded length, written with one call; control characters are escaped,
//! so that what a peer sends cannot forge lines or drive a terminal. A line that cannot be written
//! is dropped: logging never fails, waits for space or panics.

mod level;
mod line;

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use level::{Facility, LogLevel};
use line::line;

/// What a [`Target::Callback`] is given: the level and the message as it was written, not escaped.
pub type Callback = dyn Fn(LogLevel, &str) + Send + Sync;

/// Where lines go.
#[derive(Clone)]
pub enum Target {
    /// Standard error. Lines end with CR LF when it is a terminal, which may be in raw mode.
    Stderr,
    /// The end of a file, made with mode 0600; [`reopen`] follows a rotation.
    File(PathBuf),
    /// syslog(3).
    Syslog {
        /// The program's name in each line; the process id is added.
        ident: &'static str,
        /// Where the line is filed.
        facility: Facility,
    },
    /// Somebody else, as the worker's link to the monitor. What it logs itself is dropped.
    Callback(Arc<Callback>),
}

/// Sets where lines go and which are shown. May be called again at any time.
pub fn init(target: Target, level: LogLevel) -> io::Result<()> {
    let sink = Sink::open(target)?;
    *state() = sink;
    set_level(level);
    // A second call finds the logger in place.
    let _ = log::set_logger(&Logger);
    Ok(())
}

/// Changes which lines are shown.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    log::set_max_level(match level {
        LogLevel::Quiet => log::LevelFilter::Off,
        LogLevel::Fatal | LogLevel::Error => log::LevelFilter::Error,
        LogLevel::Info | LogLevel::Verbose => log::LevelFilter::Info,
        LogLevel::Debug1 => log::LevelFilter::Debug,
        LogLevel::Debug2 | LogLevel::Debug3 => log::LevelFilter::Trace,
    });
}

/// Shows one kind of lines more or less, and says up to which they are shown now.
pub fn shift_level(louder: bool) -> LogLevel {
    let now = LEVEL.load(Ordering::Relaxed);
    let wanted = if louder { now.saturating_add(1) } else { now.saturating_sub(1) };
    let level = LogLevel::from_number(wanted);
    set_level(level);
    level
}

/// Opens the log file anew, after it was moved away. The old one stays in use if that fails.
pub fn reopen() -> io::Result<()> {
    let path = match &*state() {
        Sink::File(_, path) => path.clone(),
        Sink::None | Sink::Stderr { .. } | Sink::Syslog { .. } | Sink::Callback(_) => return Ok(()),
    };
    let sink = Sink::open(Target::File(path))?;
    *state() = sink;
    Ok(())
}

/// Writes one message at a level: what a worker sent over its link.
pub fn emit(level: LogLevel, message: &str) {
    if level != LogLevel::Quiet && level as u8 <= LEVEL.load(Ordering::Relaxed) {
        deliver(level, message);
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);
static STATE: Mutex<Sink> = Mutex::new(Sink::None);

thread_local! {
    /// This thread is inside a callback.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        LogLevel::of(metadata) as u8 <= LEVEL.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let message =
                record.args().as_str().map_or_else(|| Cow::Owned(record.args().to_string()), Cow::Borrowed);
            deliver(LogLevel::of(record.metadata()), &message);
        }
    }

    fn flush(&self) {}
}

enum Sink {
    None,
    Stderr { crlf: bool },
    File(File, PathBuf),
    Syslog { facility: i32 },
    Callback(Arc<Callback>),
}

impl Sink {
    fn open(target: Target) -> io::Result<Sink> {
        Ok(match target {
            Target::Stderr => Sink::Stderr { crlf: rustix::termios::isatty(io::stderr()) },
            Target::File(path) => Sink::File(open_log(&path)?, path),
            Target::Syslog { ident, facility } => {
                let ident = CString::new(ident)?;
                // syslog(3) keeps the pointer: the string is given up for the life of the program.
                let ident: &'static std::ffi::CStr = Box::leak(ident.into_boxed_c_str());
                // SAFETY: the name lives for ever.
                unsafe { libc::openlog(ident.as_ptr(), libc::LOG_PID, facility.0) };
                Sink::Syslog { facility: facility.0 }
            }
            Target::Callback(callback) => Sink::Callback(callback),
        })
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn state() -> MutexGuard<'static, Sink> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn deliver(level: LogLevel, message: &str) {
    let sink = state();
    match &*sink {
        Sink::None => {}
        Sink::Stderr { crlf } => write_line(io::stderr(), level, message, if *crlf { "\r\n" } else { "\n" }),
        Sink::File(file, _) => write_line(file, level, message, "\n"),
        Sink::Syslog { facility } => {
            if let Ok(text) = CString::new(line(level, message, true, "")) {
                // SAFETY: a constant format that takes one string, and that string.
                unsafe { libc::syslog(level.priority() | facility, c"%s".as_ptr(), text.as_ptr()) };
            }
        }
        Sink::Callback(callback) => {
            let callback = Arc::clone(callback);
            // Not under the lock: the callback may log, or be replaced.
            drop(sink);
            if !BUSY.replace(true) {
                callback(level, message);
                BUSY.set(false);
            }
        }
    }
}

fn write_line(to: impl AsFd, level: LogLevel, message: &str, end: &str) {
    // One call, so that lines of several processes do not mix. A full disk or pipe loses the line.
    let _ = rustix::io::write(to, line(level, message, false, end).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, in_child};

    #[test]
    fn a_file_gets_the_wanted_lines_and_is_reopened() {
        in_child(|| {
            let tmp = TempDir::new();
            let (path, moved) = (tmp.path().join("log"), tmp.path().join("log.1"));
            init(Target::File(path.clone()), LogLevel::Info).unwrap();
            log::error!("first");
            log::debug!("not shown");
            log::info!(target: "verbose", "not shown");
            set_level(LogLevel::Verbose);
            log::info!(target: "verbose", "fingerprint");
            std::fs::rename(&path, &moved).unwrap();
            log::warn!("still the old file");
            reopen().unwrap();
            set_level(LogLevel::Debug2);
            log::trace!("two");
            log::trace!(target: "debug3", "not shown");
            emit(LogLevel::Debug3, "not shown");
            emit(LogLevel::Fatal, "from a worker");
            assert_eq!(shift_level(true), LogLevel::Debug3);
            assert_eq!(shift_level(true), LogLevel::Debug3);
            assert_eq!(shift_level(false), LogLevel::Debug2);
            set_level(LogLevel::Quiet);
            assert_eq!(shift_level(false), LogLevel::Quiet);
            log::error!(target: "fatal", "not shown");
            assert_eq!(std::fs::read_to_string(&moved).unwrap(), "first\nfingerprint\nstill the old file\n");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "debug2: two\nfrom a worker\n");
        })
        .success();
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        in_child(|| {
            init(Target::File("/dev/full".into()), LogLevel::Info).unwrap();
            log::error!("lost");
        })
        .success();
    }

    #[test]
    fn a_callback_that_logs_does_not_go_round() {
        in_child(|| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let keep = Arc::clone(&seen);
            let callback = move |level, message: &str| {
                log::error!("inner");
                keep.lock().unwrap().push((level, message.to_owned()));
            };
            init(Target::Callback(Arc::new(callback)), LogLevel::Info).unwrap();
            log::info!("raw\x1b");
            assert_eq!(*seen.lock().unwrap(), [(LogLevel::Info, "raw\x1b".to_owned())]);
        })
        .success();
    }
}
