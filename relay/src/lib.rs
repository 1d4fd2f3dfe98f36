//! `sockward relay A B` joins two addresses, and `sockward nc` does the same in nc's words. Runs as its user and
//! knows no SSH. Bytes of each direction flow and end on their own: nothing that was sent before an end is lost.
//!
//! ```text
//!   command, nc ─▶ Address ×2 ─┬─ one pair ──────────▶ solo ───┐
//!                              ├─ fork ──────────────▶ many ───┼─▶ Joint: Flow there, Flow back
//!                              └─ fork to stdio, -k ─▶ serial ─┘      End ─▶ (pipe) ─▶ End
//! ```

mod address;
mod command;
mod end;
mod failure;
mod flow;
mod joint;
mod listen;
mod many;
mod nc;
mod open;
mod options;
mod serial;
mod solo;
mod text;

use std::ffi::OsString;

/// Runs `relay`. The first argument is the program's name. Returns the exit status: 0 when both directions ended
/// well, 1 when the first address failed, 2 when the second did, 3 for a wrong command line or a failure of our own.
#[must_use]
pub fn relay(args: Vec<OsString>) -> u8 {
    command::run(args)
}

/// Runs `nc`: 0, or 1 when something failed, as nc.
#[must_use]
pub fn nc(args: Vec<OsString>) -> u8 {
    nc::run(args)
}
