//! OpenSSH's own regression tests (Debian: openssh-tests) with our programs in place of its own. The scripts are
//! run as they are, each in a copy of their folder and in namespaces of its own.
//!
//! ```text
//!   table.rs   which script with which of our programs
//!   cage.rs    one script: its copy, the programs it finds, its namespaces, its end
//!   bench.rs   many at once; the table of results; what a failed one said
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod cage;
mod table;

pub use bench::{Row, run_all, show};
pub use cage::{Outcome, SCRIPTS, run};
pub use table::{Column, Script, TABLE, Wanted};
