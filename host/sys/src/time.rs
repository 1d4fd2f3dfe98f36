//! The wall clock, for what people read and for expiry dates. Durations are `std::time::Instant`'s.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 00:00 UTC; 0 if the clock is set before that.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A moment as RFC 3339 has it, in UTC and with milliseconds: "2026-01-02T03:04:05.678Z".
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Years are counted from March, so that
/// the leap day is the last of one; 400 years have 146097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
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
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (951_868_799, "2000-02-29T23:59:59.250Z"),
            (951_868_800, "2000-03-01T00:00:00.250Z"),
            (1_767_225_599, "2025-12-31T23:59:59.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + std::time::Duration::from_millis(seconds * 1000 + 250)), text);
        }
    }

    #[test]
    fn the_clock_is_past_the_day_this_was_written() {
        assert!(unix_seconds() > 1_760_000_000);
        assert_eq!(unix_days(), i64::try_from(unix_seconds() / 86_400).unwrap());
    }
}
