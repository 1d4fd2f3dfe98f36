//! For unit tests alone: a moment to count from.

use std::time::Instant;

/// Some instant. The tests only add to it; nothing in this crate asks what time it is.
#[allow(clippy::disallowed_methods)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
