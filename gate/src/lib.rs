//! `sockward gate`: the far end of forwardings over any SSH server's exec channel, usually as a forced command. It
//! speaks the connection layer over standard input and output, under the policy of its command line, as the user it
//! is run by. It is a server without keys and logins: the SSH session around it has done that part.
//!
//! What the near end asks for is done by a helper process, the same as the server's (`server/helper`), which gets
//! the permit from here; so policy, birth and removal of sockets, peers and limits are one code. The helper removes
//! the sockets when this process ends, however it ends.
//!
//! ```text
//!   near end ══ stdin, stdout ══ Session (drive, proto) ──events──▶ worker::Login ──▶ helper: listen, open
//!                                    ▲                                                   │ facts
//!                                    └────────── connected descriptors ◀─────────────────┴─▶ audit
//! ```

mod audit;
mod helper;
pub mod json;
mod meeting;
mod options;
mod process;

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use sockward_sys::log as logger;
use sockward_sys::signal;

use options::Parsed;

/// The status of every failure.
const FAILURE: u8 = 1;

/// Runs the gate. The first argument is the program's name. Returns the exit status: 0 when the near end has gone.
#[must_use]
pub fn run(args: Vec<OsString>) -> u8 {
    let options = match options::parse(args) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            print!("{}", options::HELP);
            return 0;
        }
        Err(text) => {
            eprintln!("gate: {text}\n{}", options::USAGE);
            return FAILURE;
        }
    };
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        eprintln!(
            "gate: standard input and output must lead to 'sockward ssh -o Via=gate', not to a terminal"
        );
        return FAILURE;
    }
    if let Err(e) = logger::init(logger::Target::Stderr, options.log_level) {
        eprintln!("gate: {e}");
    }
    signal::ignore_sigpipe();
    match process::run(*options) {
        Ok(()) => 0,
        Err(text) => {
            log::error!("gate: {text}");
            FAILURE
        }
    }
}
