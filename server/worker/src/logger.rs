//! What the worker has to say goes to the monitor, which writes it as the worker's word.

use std::cell::RefCell;
use std::sync::Arc;

use sockward_privsep::worker::LogLevel;
use sockward_sys::log::{self, Target};

thread_local! {
    /// Lines of the connection whose turn it is; `process` sends them on its link.
    static LINES: RefCell<Vec<(LogLevel, String)>> = const { RefCell::new(Vec::new()) };
}

/// Lines kept until the turn ends; a flood of them must not take the memory.
const LINES_MAX: usize = 256;

/// Has the `log` macros collect lines.
pub(crate) fn install(level: log::LogLevel) -> std::io::Result<()> {
    let keep = |level: log::LogLevel, text: &str| {
        LINES.with_borrow_mut(|lines| {
            if lines.len() < LINES_MAX {
                lines.push((of(level), text.to_owned()));
            }
        });
    };
    log::init(Target::Callback(Arc::new(keep)), level)
}

/// The lines since the last call.
pub(crate) fn take() -> Vec<(LogLevel, String)> {
    LINES.with_borrow_mut(std::mem::take)
}

fn of(level: log::LogLevel) -> LogLevel {
    match level {
        log::LogLevel::Quiet | log::LogLevel::Fatal | log::LogLevel::Error => LogLevel::Error,
        log::LogLevel::Info => LogLevel::Info,
        log::LogLevel::Verbose => LogLevel::Verbose,
        log::LogLevel::Debug1 => LogLevel::Debug,
        log::LogLevel::Debug2 | log::LogLevel::Debug3 => LogLevel::Trace,
    }
}
