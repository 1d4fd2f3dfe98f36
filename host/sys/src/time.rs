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

/// Seconds since 1970 of a date and time of day in the system's time zone (mktime(3)); `None` before 1970 and
/// for what the C library cannot count. Of an hour that the end of summer time repeats, one of both is meant.
#[must_use]
pub fn local_seconds(year: u16, [month, day]: [u8; 2], [hour, minute, second]: [u8; 3]) -> Option<u64> {
    // SAFETY: numbers and a null pointer, for which zero bytes are valid.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    parts.tm_year = i32::from(year) - 1900;
    parts.tm_mon = i32::from(month) - 1;
    parts.tm_mday = day.into();
    (parts.tm_hour, parts.tm_min, parts.tm_sec) = (hour.into(), minute.into(), second.into());
    // Whether it is summer time then, the library is to find out.
    parts.tm_isdst = -1;
    // SAFETY: a filled-in structure that is ours alone.
    let seconds = unsafe { libc::mktime(&raw mut parts) };
    u64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_zone_counts() {
        let in_zone = |zone: &'static str, expected| {
            crate::testing::in_child(move || {
                // SAFETY: the forked child has this one thread.
                unsafe { std::env::set_var("TZ", zone) };
                assert_eq!(local_seconds(2038, [1, 1], [1, 2, 3]), Some(expected));
            })
            .success();
        };
        in_zone("UTC0", 2_145_916_800 + 3723);
        in_zone("EAST-1", 2_145_916_800 + 123);
        assert_eq!(local_seconds(1960, [1, 1], [0, 0, 0]), None);
    }

    #[test]
    fn the_clock_is_past_the_day_this_was_written() {
        assert!(unix_seconds() > 1_760_000_000);
        assert_eq!(unix_days(), i64::try_from(unix_seconds() / 86_400).unwrap());
    }
}
