//! The wall clock, for what people read and for expiry dates. Durations are `std::time::Instant`'s.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 00:00 UTC; 0 if the clock is set before that.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Days since 1970-01-01 UTC, the unit of shadow(5).
#[must_use]
pub fn unix_days() -> i64 {
    i64::try_from(unix_seconds() / 86_400).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_past_the_day_this_was_written() {
        assert!(unix_seconds() > 1_760_000_000);
        assert_eq!(unix_days(), i64::try_from(unix_seconds() / 86_400).unwrap());
    }
}
