//! sshd_config: OpenSSH's file, every keyword of it known, and our own keywords beside them.
//!
//! ```text
//!   bytes ─parse─▶ Config ─┬─global()────────────▶ Effective (before the user is known)
//!   -o, Include ───┘       └─effective(facts)────▶ Effective (for one connection)
//!                                                     │
//!   authorized_keys, certificate ─▶ KeyOptions ─permit(…)─▶ policy::Permit
//! ```
//!
//! # Differences from OpenSSH
//!
//! - A line whose keyword has an opening quote alone is an error (OpenSSH skips it). So is a NUL byte.
//! - The templates of AuthorizedKeysFile are checked at start-up. An absent feature that a line restricts is an error
//!   or accepted as the row says; `-T` prints what holds here (`passwordauthentication no`).
//! - `StreamLocalBindUnlink` is `stale` by default. A name that is no algorithm of anybody is an error after `-` too.
//! - Peers over pipes match no address, as in OpenSSH; `Match RDomain` holds for no connection.
//!
//! `table` has a row for each keyword. What restricts something and is not enforced is an error: see `not_yet` and
//! the rows of what is absent. No file is read here; the caller's loader does it for `Include`.

mod advice;
mod config;
mod dump;
mod effective;
mod fuzz;
mod keyword;
mod login;
mod matching;
mod not_yet;
mod parse;
mod permit;
mod program;
mod table;
mod user_file;
mod values;

pub use config::Config;
pub use dump::dump;
pub use effective::Effective;
#[doc(hidden)]
pub use fuzz::fuzz_sshd_config;
pub use keyword::{Keyword, Merge, Scope};
pub use login::LoginRefusal;
pub use matching::{ConnectionFacts, TestSpec};
pub use not_yet::{KEY_OPTIONS as NOT_YET_KEY_OPTIONS, KEYWORDS as NOT_YET};
pub use parse::{Context, IncludedFile, Loader, parse};
pub use permit::PermitError;
pub use program::{ProgramError, expand_program};
pub use table::{ALIASES, find as find_keyword, keywords};
pub use user_file::expand_user_file;
pub use values::{
    AuditLog, ChannelTimeout, GroupPattern, HostKeyFile, Isolation, ListenAddress, MaxStartups, RekeyLimit,
    RootLogin, SocketMode, SubsystemLine, UserEnvironment, UserPattern,
};

#[cfg(test)]
mod tests;
