//! authorized_keys: lines of options, key type, key and comment (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
//!
//! ```text
//!   bytes ─entries─▶ line, type, blob ─options()─▶ policy::KeyOptions ─▶ monitor ─▶ Permit
//! ```
//!
//! A line that cannot be read is one entry that is an error: it never loses the other lines. An option that is not
//! known, or not enforced, refuses its key.
//!
//! # Differences from OpenSSH
//!
//! - `permitopen=` and `permitlisten=` take socket paths, ranges of ports, `any` and `none`; OpenSSH refuses such a key.
//! - `permitpeer=`, `streamlocalbindgroup=` and `streamlocalbindmode=` are our own (`sshd::NOT_YET_KEY_OPTIONS` names
//!   those that are not enforced yet).
//! - A day that its month does not have is an error in `expiry-time=`; OpenSSH counts it into the next month.
//! - `from=` refuses a peer without an address (pipes), whatever it says.
//! - A NUL byte in a line is an error; OpenSSH reads the line up to it. A line has a bound, and so has a file.

mod entry;
mod options;
mod principals;
mod time;

pub(crate) use entry::bare_key;
#[doc(hidden)]
pub use entry::fuzz_authorized_keys;
pub use entry::{Entry, FILE_MAX, Key, LINE_MAX, LineError, entries};
pub use options::{OptionContext, OptionError, parse as parse_options};
pub use principals::{PrincipalLine, principals};
pub use time::{Civil, LocalTime, utc};
