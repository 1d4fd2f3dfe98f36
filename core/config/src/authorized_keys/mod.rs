//! authorized_keys: lines of options, key type, key and comment (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
//!
//! ```text
//!   bytes ─entries─▶ line, type, blob ─options()─▶ policy::KeyOptions ─▶ monitor ─▶ Permit
//! ```
//!
//! A line that cannot be read is one entry that is an error: it never loses the other lines. An option that is not
//! known, or not enforced, refuses its key.

mod certificate;
mod entry;
mod options;
mod principals;
mod time;

pub use certificate::{CertificateOptionError, certificate_options};
#[doc(hidden)]
pub use entry::fuzz_authorized_keys;
pub use entry::{Entry, FILE_MAX, Key, LINE_MAX, LineError, entries};
pub use options::{OptionContext, OptionError, parse as parse_options};
pub use principals::{PrincipalLine, principals};
pub use time::{Civil, LocalTime, utc};
