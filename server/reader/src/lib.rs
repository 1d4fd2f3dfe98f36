//! The reader: a process that begins with the monitor's rights, gives them up for good and then reads what is not
//! the monitor's to read. It serves one connection before the login and answers one question at a time; it decides
//! nothing. Each reader has one of three jobs:
//!
//! ```text
//!   LookUp ─▶ lookup.rs: passwd, groups, shadow, shell, nologin, the peer's name ─▶ Found
//!   Become ─▶ the user's ids, nobody may look in ─▶ Became
//!   FindKey, FindPrincipal ─▶ keys.rs: files in order ─▶ Key                      (as often as asked)
//!
//!   Guard ─▶ guard.rs: opens the administrator's lists, the workers' ids ─▶ Became
//!   Judge ─▶ revoked? of a trusted authority? ─▶ Judged                           (as often as asked)
//!
//!   Run ─▶ command.rs: the ids of the command's user, its output ─▶ Key           (once)
//! ```
//!
//! `lines.rs` searches text, wherever it comes from.

mod command;
mod guard;
mod keys;
mod lines;
mod lookup;
mod notes;
mod process;

pub use process::run;
