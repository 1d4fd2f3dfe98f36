//! The client alone, for trying it and for its tests: the same as `sockward ssh`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sockward_client::run(std::env::args_os().collect()))
}
