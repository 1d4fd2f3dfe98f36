//! The reader: looks up one account with the monitor's rights, then becomes that user for good and reads its key
//! files. It serves one connection before the login and answers one question at a time; it decides nothing.
//!
//! ```text
//!   LookUp ─▶ lookup.rs: passwd, groups, shadow, shell, nologin, the peer's name ─▶ Found
//!   Become ─▶ the user's ids, nobody may look in ─▶ Became
//!   FindKey ─▶ keys.rs: files in order, lines in order ─▶ Key      (as often as asked)
//! ```

mod keys;
mod lookup;
mod notes;
mod process;

pub use process::run;
