//! The worker's start: everything that needs rights is done, then the rights go, for good, and only then is
//! the first byte of the network read.

use std::io;
use std::os::fd::AsFd;

use sockward_crypto::{Random, SystemRandom};
use sockward_privsep::role::{Arguments, EMPTY_ROOT, LINK, Role};
use sockward_sys::identity::{self, EmptyRoot, Groups};
use sockward_sys::link::Link;
use sockward_sys::log::LogLevel;
use sockward_sys::sandbox::{self, Links};
use sockward_sys::{fd, limits, signal, spawn};

use crate::logger;
use crate::process::Process;

/// Runs a worker until it has nothing left to serve. The status to end with.
#[must_use]
pub fn run(arguments: &Arguments) -> u8 {
    match serve(arguments) {
        Ok(()) => 0,
        Err(e) => {
            // There may be no link to say it on: the standard error is the monitor's.
            eprintln!("sockward worker: {e}");
            1
        }
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    signal::ignore_sigpipe();
    limits::no_core_files()?;
    spawn::set_process_name("sockward-worker");
    logger::install(LogLevel::from_name(&arguments.log_level).unwrap_or(LogLevel::Info))?;
    let link = Link::from_fd(fd::inherited(LINK)?)?;
    let mut process = Process::new()?;
    // The first draw opens a device file; afterwards the generator needs getrandom(2) alone.
    SystemRandom::new().fill(&mut [0; 1]);
    let reserved = fd::dev_null()?;
    if let Some((uid, gid)) = arguments.ids {
        EmptyRoot::from_fd(fd::inherited(EMPTY_ROOT)?)?.enter()?;
        identity::become_user(uid, gid, &Groups::None)?;
    }
    match arguments.role {
        Role::SharedWorker => {
            sandbox::harden_worker(Links::Any)?;
            process.serve(link)?;
        }
        Role::Worker | Role::Reader | Role::Helper => {
            sandbox::harden_worker(Links::Only(&[link.as_fd(), reserved.as_fd()]))?;
            process.add(link, Some(reserved))?;
        }
    }
    process.run()
}
