//! The ssh side: `sockward ssh`, with ssh(1)'s command line, ssh_config(5) and messages.
//!
//! ```text
//!   start ─▶ Plan ─▶ process: one loop ──▶ connect, proxy ─▶ Session (drive, proto) ─▶ lost? reconnect
//!                       │                                       │ events
//!                       │                                       ▼
//!                       │                                  application ──▶ trust         is it the right host?
//!                       │                                       │    └───▶ authenticate  let us in
//!                       │                                       ▼
//!                       │                                     login ──▶ forwards  -L -R -D -W
//!                       ▼                                          └──▶ sessions  commands, shells: stdio, terminal
//!                     jobs: threads for what waits (names, agents, people, files)
//! ```

mod application;
mod authenticate;
mod background;
mod connect;
mod control;
mod escape;
mod forwards;
mod gate;
mod handshake;
mod jobs;
mod login;
mod messages;
mod notice;
mod plan;
mod process;
mod prompt;
mod proxy;
mod reconnect;
mod sessions;
mod start;
mod stdio;
mod terminal;
#[cfg(test)]
mod testing;
mod trust;
mod watched;

use std::ffi::OsString;

pub use notice::{Notice, Notify, Ready};

use control::client::Attempt;
use notice::Notices;
use plan::Plan;
use start::{Failed, Start};

/// The status of every failure of our own; a remote command's status is passed on as it is.
const FAILURE: u8 = 255;

/// What this program calls itself, to people and to servers.
pub(crate) const VERSION: &str = concat!("Sockward_", env!("CARGO_PKG_VERSION"));

/// Runs the client. The first argument is the program's name. Returns the exit status.
#[must_use]
pub fn run(args: Vec<OsString>) -> u8 {
    run_with(args, Notices::default())
}

/// The same for a program that wants to be told how the forwardings are.
#[must_use]
pub fn run_telling(args: Vec<OsString>, notify: Notify) -> u8 {
    run_with(args, Notices::to(notify))
}

fn run_with(args: Vec<OsString>, notices: Notices) -> u8 {
    sockward_sys::signal::ignore_sigpipe();
    let started = start::start(gate::long_option(args)).map(|start| match start {
        Start::Connect(plan) => Start::Connect(Box::new(Plan { notices, ..*plan })),
        Start::Done => Start::Done,
    });
    match started {
        Ok(Start::Done) => 0,
        Ok(Start::Connect(plan)) => match control::client::attempt(&plan) {
            Attempt::NoMaster => process::run(*plan),
            Attempt::Ended(status) => status,
        },
        Err(Failed) => FAILURE,
    }
}
