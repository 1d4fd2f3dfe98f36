//! `expiry-time=`: dates and times as OpenSSH writes them, and seconds since 1970.

/// A date and time of day, each part in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// From 0.
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1, as many as the month has.
    pub day: u8,
    /// To 23.
    pub hour: u8,
    /// To 59.
    pub minute: u8,
    /// To 59.
    pub second: u8,
}

/// From the system's time zone to seconds since 1970; `None` where it cannot say. This crate knows no time zone:
/// a caller that does not either passes [`utc`] and says so in its manual page.
pub type LocalTime<'t> = &'t dyn Fn(&Civil) -> Option<u64>;

/// Seconds since 1970 of a time in UTC; `None` before.
#[must_use]
pub fn utc(civil: &Civil) -> Option<u64> {
    // Days since 1970-03-01 in the calendar of years that begin in March, where leap days come last.
    let (year, month) = (u64::from(civil.year), u64::from(civil.month));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + u64::from(civil.day) - 1;
    // The day 1970-01-01 in this count.
    let days = days.checked_sub(719_468)?;
    let (hour, minute, second) = (u64::from(civil.hour), u64::from(civil.minute), u64::from(civil.second));
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Reads `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]`; `UTC` may stand for the `Z`. Without either it is local time.
pub(super) fn parse(text: &[u8], local: LocalTime<'_>) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let upper = text.to_ascii_uppercase();
    let zone = ["UTC", "Z"].iter().find_map(|zone| upper.strip_suffix(zone));
    let digits = zone.unwrap_or(&upper);
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |d| d.parse::<u16>().ok());
    let small = |from, most: u16| u8::try_from(part(from, from + 2)?).ok().filter(|&n| u16::from(n) <= most);
    let civil = Civil {
        year: part(0, 4)?,
        month: small(4, 12)?,
        day: small(6, 31)?,
        hour: small(8, 23)?,
        minute: small(10, 59)?,
        second: small(12, 59)?,
    };
    if civil.day == 0 || civil.day > days_in(civil.year, civil.month)? {
        return None;
    }
    let seconds = if zone.is_some() { utc(&civil) } else { local(&civil) };
    seconds.filter(|&s| s > 0)
}

fn days_in(year: u16, month: u8) -> Option<u8> {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        for (text, seconds) in [
            ("19700102Z", Some(86_400)),
            ("20000229Z", Some(951_782_400)),
            ("20380101Z", Some(2_145_916_800)),
            ("203801010102z", Some(2_145_916_800 + 3720)),
            ("20380101010203UTC", Some(2_145_916_800 + 3723)),
            ("99991231235959Z", Some(253_402_300_799)),
            ("20380101", Some(2_145_916_800 - 3600)),
            ("19700101Z", None),
            ("19691231Z", None),
            ("20010229Z", None),
            ("20010431Z", None),
            ("20011301Z", None),
            ("20010100Z", None),
            ("2001010124Z", None),
            ("200101012400Z", None),
            ("20010101Z ", None),
            ("2001-1-1", None),
            ("INVALID", None),
            ("", None),
            ("Z", None),
        ] {
            // An hour east of Greenwich.
            let local = |civil: &Civil| utc(civil).map(|s| s - 3600);
            assert_eq!(parse(text.as_bytes(), &local), seconds, "{text}");
        }
    }
}
