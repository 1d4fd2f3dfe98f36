//! Amounts as keywords write them: intervals (`1h30m`), sizes (`512K`), the two parts of RekeyLimit.

/// OpenSSH counts seconds in an `int`.
const INTERVAL_MAX: u64 = i32::MAX as u64;

/// The smallest size OpenSSH takes for RekeyLimit, in bytes: one cipher block.
const REKEY_MIN: u64 = 16;

/// An interval in seconds: numbers with the units s (or none), m, h, d, w, added up. At most 2^31 - 1.
#[must_use]
pub fn interval(text: &str) -> Option<u32> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let (unit, seconds) = match after.as_bytes().first() {
            None => (0, 1),
            Some(b's' | b'S') => (1, 1),
            Some(b'm' | b'M') => (1, 60),
            Some(b'h' | b'H') => (1, 60 * 60),
            Some(b'd' | b'D') => (1, 24 * 60 * 60),
            Some(b'w' | b'W') => (1, 7 * 24 * 60 * 60),
            Some(_) => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(seconds)?;
        total = total.checked_add(part).filter(|&t| t <= INTERVAL_MAX)?;
        rest = after.split_at_checked(unit)?.1;
    }
    if text.is_empty() { None } else { u32::try_from(total).ok() }
}

/// A size in bytes: a number and the unit B (or none), K, M, G, T, P or E, powers of 1024.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let shift = match unit.as_bytes() {
        [] | [b'b' | b'B'] => 0,
        [b'k' | b'K'] => 10,
        [b'm' | b'M'] => 20,
        [b'g' | b'G'] => 30,
        [b't' | b'T'] => 40,
        [b'p' | b'P'] => 50,
        [b'e' | b'E'] => 60,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The first argument of RekeyLimit in bytes; 0 is the cipher's default. The error says what is wrong.
pub fn rekey_bytes(word: &str) -> Result<u64, String> {
    if word == "default" {
        return Ok(0);
    }
    match size(word) {
        Some(bytes) if bytes != 0 && bytes < REKEY_MIN => {
            Err(format!("RekeyLimit '{word}' is too small, the least is {REKEY_MIN} bytes"))
        }
        Some(bytes) => Ok(bytes),
        None => Err(format!("bad number '{word}', expected bytes with K, M or G, or 'default'")),
    }
}

/// The second argument of RekeyLimit in seconds; `none` is `None`. The error says what is wrong.
pub fn rekey_seconds(word: &str) -> Result<Option<u32>, String> {
    if word == "none" {
        return Ok(None);
    }
    interval(word)
        .map(Some)
        .ok_or_else(|| format!("invalid time value '{word}', expected for example '1h30m' or 'none'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("1h30m", Some(5400)),
            ("1W2d3H4M5S", Some(604_800 + 172_800 + 10_800 + 240 + 5)),
            ("1m30", Some(90)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("99999999999999999999", None),
            ("3551w", None),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1 m", None),
        ] {
            assert_eq!(interval(text), seconds, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("16", Some(16)),
            ("1k", Some(1024)),
            ("2M", Some(2 << 20)),
            ("1G", Some(1 << 30)),
            ("16E", None),
            ("1KB", None),
            ("K", None),
            ("-1", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn rekey_limit_parts() {
        assert_eq!(rekey_bytes("default"), Ok(0));
        assert_eq!(rekey_bytes("16"), Ok(16));
        assert!(rekey_bytes("15").is_err_and(|e| e.contains("too small")));
        assert_eq!(rekey_seconds("none"), Ok(None));
        assert_eq!(rekey_seconds("1m"), Ok(Some(60)));
        assert!(rekey_seconds("soon").is_err());
    }
}
