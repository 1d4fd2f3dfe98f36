//! sshd_config: OpenSSH's file, every keyword of it known, and our own keywords beside them.
//!
//! ```text
//!   bytes ─parse─▶ Config ─┬─global()────────────▶ Effective (before the user is known)
//!   -o, Include ───┘       └─effective(facts)────▶ Effective (for one connection)
//!                                                     │
//!   authorized_keys, certificate ─▶ KeyOptions ─permit(…)─▶ policy::Permit
//! ```
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
mod table;
mod user_file;

pub use config::Config;
pub use dump::dump;
pub use effective::{
    AuditLog, ChannelTimeout, Effective, GroupPattern, HostKeyFile, Isolation, ListenAddress, MaxStartups,
    RekeyLimit, RootLogin, SocketMode, SubsystemLine, UserEnvironment, UserPattern,
};
#[doc(hidden)]
pub use fuzz::fuzz_sshd_config;
pub use keyword::{Keyword, Merge, Scope};
pub use login::LoginRefusal;
pub use matching::{ConnectionFacts, TestSpec};
pub use not_yet::{KEY_OPTIONS as NOT_YET_KEY_OPTIONS, KEYWORDS as NOT_YET};
pub use parse::{Algorithms, Context, IncludedFile, Loader, parse};
pub use permit::PermitError;
pub use table::{ALIASES, find as find_keyword, keywords};
pub use user_file::expand_user_file;

#[cfg(test)]
mod tests;
