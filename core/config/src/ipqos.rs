//! The traffic classes of `IPQoS`: DSCP names (RFC 2474, 2597, 3246, 5865, 8622) and the older type-of-service words.

use std::fmt;

/// The byte for IP_TOS / IPV6_TCLASS; `None` leaves what the system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpQos(pub Option<u8>);

impl IpQos {
    /// Expedited forwarding, for people who wait: the default of interactive sessions.
    pub const INTERACTIVE: IpQos = IpQos(Some(0xb8));
    /// Class selector 0, best effort: the default of everything else.
    pub const BULK: IpQos = IpQos(Some(0));

    /// Reads a name, a number (decimal or `0x…`, at most 255) or `none`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if word.eq_ignore_ascii_case("none") {
            return Some(IpQos(None));
        }
        if let Some((_, value)) = CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            return Some(IpQos(Some(*value)));
        }
        let number = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(hex, 16),
            _ if word.bytes().all(|b| b.is_ascii_digit()) => word.parse(),
            _ => return None,
        };
        number.ok().map(|value| IpQos(Some(value)))
    }
}

/// As `-G` and `-T` print it.
impl fmt::Display for IpQos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.0 else { return f.write_str("none") };
        match CLASSES.iter().find(|(_, v)| *v == value) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "0x{value:02x}"),
        }
    }
}

/// Names and bytes; where two names stand for one byte the first is printed.
const CLASSES: &[(&str, u8)] = &[
    ("af11", 0x28),
    ("af12", 0x30),
    ("af13", 0x38),
    ("af21", 0x48),
    ("af22", 0x50),
    ("af23", 0x58),
    ("af31", 0x68),
    ("af32", 0x70),
    ("af33", 0x78),
    ("af41", 0x88),
    ("af42", 0x90),
    ("af43", 0x98),
    ("cs0", 0x00),
    ("cs1", 0x20),
    ("cs2", 0x40),
    ("cs3", 0x60),
    ("cs4", 0x80),
    ("cs5", 0xa0),
    ("cs6", 0xc0),
    ("cs7", 0xe0),
    ("ef", 0xb8),
    ("le", 0x04),
    ("va", 0xb0),
    // Type of service (RFC 1349). OpenSSH 10 ignores these words; up to 9.x they mean this.
    ("lowdelay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_none() {
        for (word, printed) in [
            ("AF21", "af21"),
            ("ef", "ef"),
            ("184", "ef"),
            ("0xb8", "ef"),
            ("3", "0x03"),
            ("none", "none"),
            ("lowdelay", "lowdelay"),
            ("reliability", "le"),
        ] {
            assert_eq!(IpQos::parse(word).map(|q| q.to_string()).as_deref(), Some(printed), "{word}");
        }
        for bad in ["", "256", "-1", "+1", "0x", "0x100", "af99"] {
            assert_eq!(IpQos::parse(bad), None, "{bad}");
        }
    }
}
