//! Helpers as the monitor starts them: this very binary, executed again with a helper's arguments. So it has a
//! `main` of its own in place of the usual harness, which would have threads.
// All of this binary is tests, which the lints do not see without the usual harness.
#![allow(clippy::unwrap_used, clippy::panic)]

mod double;
mod hostile;
mod life;
mod peers;
mod ports;
mod probes;
mod races;
mod sessions;
mod sockets;
mod sockets_rights;

use std::process::ExitCode;

use sockward_privsep::role::Arguments;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|word| word == races::ATTACKER) {
        races::attack(&args[2..]);
    }
    match Arguments::parse(&args) {
        Some(arguments) => sockward_helper::run(&arguments).into(),
        None => {
            let tests = [
                ports::TESTS,
                peers::TESTS,
                sockets::TESTS,
                sockets_rights::TESTS,
                sessions::TESTS,
                life::TESTS,
                probes::TESTS,
                hostile::TESTS,
                races::TESTS,
            ];
            sockward_test_support::serial::run(&args, &tests.concat())
        }
    }
}
