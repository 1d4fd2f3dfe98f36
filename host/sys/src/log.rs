//! The one logger behind the `log` crate's macros: where lines go, which are shown, how they look.
//!
//! OpenSSH's LogLevel is mapped so: `error!` ERROR, `warn!` and `info!` INFO, `debug!` DEBUG1,
//! `trace!` DEBUG2; the targets "fatal", "verbose" and "debug3" name the levels in between.
//! A message is one line of bounded length, written with one call; control characters are escaped,
//! so that what a peer sends cannot forge lines or drive a terminal. A line that cannot be written
//! is dropped: logging never fails, waits for space or panics.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longer messages are cut.
const LINE_MAX: usize = 4096;

/// LogLevel of ssh_config(5) and sshd_config(5), from silent to most talkative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing at all.
    Quiet,
    /// Why the program ends.
    Fatal,
    /// What went wrong.
    Error,
    /// The default.
    Info,
    /// Key fingerprints, refused forwardings and the like.
    Verbose,
    /// Steps.
    Debug1,
    /// More of them.
    Debug2,
    /// All of them.
    Debug3,
}

impl LogLevel {
    const ALL: [(&'static str, LogLevel); 9] = [
        ("QUIET", LogLevel::Quiet),
        ("FATAL", LogLevel::Fatal),
        ("ERROR", LogLevel::Error),
        ("INFO", LogLevel::Info),
        ("VERBOSE", LogLevel::Verbose),
        ("DEBUG1", LogLevel::Debug1),
        ("DEBUG2", LogLevel::Debug2),
        ("DEBUG3", LogLevel::Debug3),
        ("DEBUG", LogLevel::Debug1),
    ];

    /// The level of a name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<LogLevel> {
        LogLevel::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
    }

    /// The name, as in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        LogLevel::ALL.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }

    /// The level of a record of the `log` crate.
    fn of(metadata: &log::Metadata<'_>) -> LogLevel {
        match (metadata.level(), metadata.target()) {
            (_, "fatal") => LogLevel::Fatal,
            (_, "verbose") => LogLevel::Verbose,
            (_, "debug3") => LogLevel::Debug3,
            (log::Level::Error, _) => LogLevel::Error,
            (log::Level::Warn | log::Level::Info, _) => LogLevel::Info,
            (log::Level::Debug, _) => LogLevel::Debug1,
            (log::Level::Trace, _) => LogLevel::Debug2,
        }
    }

    fn priority(self) -> i32 {
        match self {
            LogLevel::Fatal => libc::LOG_CRIT,
            LogLevel::Error => libc::LOG_ERR,
            LogLevel::Quiet | LogLevel::Info | LogLevel::Verbose => libc::LOG_INFO,
            LogLevel::Debug1 | LogLevel::Debug2 | LogLevel::Debug3 => libc::LOG_DEBUG,
        }
    }

    /// What OpenSSH puts before a message: debug levels always, the severe ones in syslog only.
    fn prefix(self, syslog: bool) -> &'static str {
        match self {
            LogLevel::Fatal if syslog => "fatal: ",
            LogLevel::Error if syslog => "error: ",
            LogLevel::Debug1 => "debug1: ",
            LogLevel::Debug2 => "debug2: ",
            LogLevel::Debug3 => "debug3: ",
            LogLevel::Quiet | LogLevel::Fatal | LogLevel::Error | LogLevel::Info | LogLevel::Verbose => "",
        }
    }
}

/// SyslogFacility of sshd_config(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(i32);

impl Facility {
    const ALL: [(&'static str, i32); 12] = [
        ("DAEMON", libc::LOG_DAEMON),
        ("USER", libc::LOG_USER),
        ("AUTH", libc::LOG_AUTH),
        ("AUTHPRIV", libc::LOG_AUTHPRIV),
        ("LOCAL0", libc::LOG_LOCAL0),
        ("LOCAL1", libc::LOG_LOCAL1),
        ("LOCAL2", libc::LOG_LOCAL2),
        ("LOCAL3", libc::LOG_LOCAL3),
        ("LOCAL4", libc::LOG_LOCAL4),
        ("LOCAL5", libc::LOG_LOCAL5),
        ("LOCAL6", libc::LOG_LOCAL6),
        ("LOCAL7", libc::LOG_LOCAL7),
    ];

    /// The facility of a name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Facility> {
        Facility::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| Facility(*value))
    }
}

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

/// The message as it is shown. Escapes as OpenSSH does (vis(3): octal, a doubled backslash), and
/// leaves printable text beyond ASCII as it is.
fn line(level: LogLevel, message: &str, syslog: bool, end: &str) -> String {
    let mut text = String::with_capacity(message.len() + 16);
    text.push_str(level.prefix(syslog));
    for c in message.chars() {
        if text.len() >= LINE_MAX {
            break;
        }
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' if !syslog => text.push(c),
            c if c.is_control() || is_direction(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\{byte:03o}");
                }
            }
            c => text.push(c),
        }
    }
    text.push_str(end);
    text
}

/// Characters that reorder what is shown after them.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, in_child};

    #[test]
    fn what_a_peer_sends_cannot_forge_lines_or_drive_a_terminal() {
        let shown = |message| line(LogLevel::Info, message, false, "\n");
        assert_eq!(shown("a\nb\r\x1b[2J\x07\u{9b}1m"), "a\\nb\\015\\033[2J\\007\\302\\2331m\n");
        assert_eq!(shown("back\\slash\tgrün \u{202e}x"), "back\\\\slash\tgrün \\342\\200\\256x\n");
        assert!(shown(&"\x01".repeat(100_000)).len() < LINE_MAX + 8);
    }

    #[test]
    fn prefixes_are_openssh_s() {
        assert_eq!(line(LogLevel::Error, "x", false, ""), "x");
        assert_eq!(line(LogLevel::Error, "x", true, ""), "error: x");
        assert_eq!(line(LogLevel::Debug2, "x", true, ""), "debug2: x");
    }

    #[test]
    fn names_go_both_ways() {
        for (name, level) in LogLevel::ALL {
            assert_eq!(LogLevel::from_name(&name.to_lowercase()), Some(level));
        }
        assert_eq!(LogLevel::Debug1.name(), "DEBUG1");
        assert_eq!(LogLevel::from_name("LOUD"), None);
        assert_eq!(Facility::from_name("local7"), Some(Facility(libc::LOG_LOCAL7)));
        assert!(Facility::from_name("mail").is_none());
    }

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
            set_level(LogLevel::Quiet);
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
