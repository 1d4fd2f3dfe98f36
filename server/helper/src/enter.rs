//! How a helper comes to be: from the monitor's rights to the user's, in an order that leaves no gap.

use std::io;

use sockward_privsep::Channel;
use sockward_privsep::helper::FromHelper;
use sockward_privsep::role::{self, Arguments};
use sockward_sys::link::Link;
use sockward_sys::log::LogLevel;
use sockward_sys::signal::{self, Signal, Signals};
use sockward_sys::{fd, limits, spawn};

use crate::process::Process;
use crate::report::{self, Monitor};

/// Signals that end a helper: its sockets are removed first.
const ENDING: [Signal; 4] = [Signal::Hangup, Signal::Interrupt, Signal::Quit, Signal::Terminate];

/// Runs a helper. The status to end with: 0 when the monitor has closed the link.
#[must_use]
pub fn run(arguments: &Arguments) -> u8 {
    let monitor = match fd::inherited(role::LINK).and_then(Link::from_fd) {
        Ok(link) => Monitor::new(Channel::new(link)),
        Err(e) => {
            eprintln!("helper: {e}");
            return 1;
        }
    };
    match prepare(arguments, monitor) {
        Ok(process) => match process.run() {
            Ok(()) => 0,
            // The monitor sees the link's end and says so.
            Err(_) => 1,
        },
        Err((mut monitor, e)) => {
            let text = format!("cannot act for the user: {e}");
            // Without the link there is nobody to tell.
            let _ = monitor.tell(&FromHelper::Log { error: true, text }, None);
            1
        }
    }
}

/// Nothing is read from the link before the rights are given up and nobody of the same uid can look in: the first
/// message brings a permit and the link of a login.
fn prepare(arguments: &Arguments, monitor: Monitor) -> Result<Process, (Monitor, io::Error)> {
    let steps = || -> io::Result<(Signals, u64)> {
        spawn::set_process_name("sockward-helper");
        match arguments.ids {
            Some(ids) => role::become_user(ids, arguments.groups_of.as_deref())?,
            None => sockward_sys::identity::forbid_tracing()?,
        }
        signal::ignore_sigpipe();
        let signals = Signals::new(&[&ENDING[..], &[Signal::Child]].concat())?;
        report::install_logger(LogLevel::from_name(&arguments.log_level).unwrap_or(LogLevel::Info))?;
        // Commands get the limit back that this process was started with.
        Ok((signals, limits::raise_nofile()?))
    };
    match steps() {
        Ok((signals, descriptors)) => Process::new(monitor, signals, descriptors),
        Err(e) => Err((monitor, e)),
    }
}
