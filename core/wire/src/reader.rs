//! A cursor over received bytes (RFC 4251 §5). It cannot overrun: every step returns an error instead.

use crate::{WireError, WireResult};

/// Reads RFC 4251 data types off the front of a byte slice.
///
/// Each method names what it reads, so that an error can say which field was wrong.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes exactly `n` bytes.
    pub fn take(&mut self, n: usize, what: &'static str) -> WireResult<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(WireError::Short(what))?;
        self.rest = rest;
        Ok(head)
    }

    /// Takes exactly `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> WireResult<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short(what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> WireResult<u8> {
        self.array::<1>(what).map(|[b]| b)
    }

    /// A boolean; any value but zero is true (RFC 4251 §5).
    pub fn bool(&mut self, what: &'static str) -> WireResult<bool> {
        Ok(self.u8(what)? != 0)
    }

    /// A big-endian 32-bit number.
    pub fn u32(&mut self, what: &'static str) -> WireResult<u32> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// A big-endian 64-bit number.
    pub fn u64(&mut self, what: &'static str) -> WireResult<u64> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A length-prefixed string of any bytes.
    pub fn string(&mut self, what: &'static str) -> WireResult<&'a [u8]> {
        let n = self.u32(what)?;
        // u32 always fits usize on the platforms we build for; a longer claim than the input is Short.
        self.take(usize::try_from(n).map_err(|_| WireError::TooLong(what))?, what)
    }

    /// A length-prefixed string of at most `max` bytes.
    pub fn string_max(&mut self, max: usize, what: &'static str) -> WireResult<&'a [u8]> {
        let s = self.string(what)?;
        if s.len() > max { Err(WireError::TooLong(what)) } else { Ok(s) }
    }

    /// A length-prefixed string that must be UTF-8.
    pub fn text(&mut self, what: &'static str) -> WireResult<&'a str> {
        std::str::from_utf8(self.string(what)?).map_err(|_| WireError::Invalid(what))
    }

    /// A non-negative multiple-precision integer, as its big-endian bytes without leading zeros.
    ///
    /// Negative numbers and padded encodings are refused (RFC 4251 §5 forbids unnecessary leading bytes).
    pub fn mpint(&mut self, what: &'static str) -> WireResult<&'a [u8]> {
        let s = self.string(what)?;
        match s {
            [] => Ok(s),
            [0] => Err(WireError::Invalid(what)),
            [0, second, ..] if *second < 0x80 => Err(WireError::Invalid(what)),
            [0, tail @ ..] => Ok(tail),
            [first, ..] if *first >= 0x80 => Err(WireError::Invalid(what)),
            _ => Ok(s),
        }
    }

    /// Ends the reading: whatever is left over is an error.
    pub fn finish(self, what: &'static str) -> WireResult<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(what)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_input_is_short() {
        let mut r = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(r.string("x"), Err(WireError::Short("x")));
    }

    #[test]
    fn mpint_takes_only_the_shortest_form() {
        let ok = |b: &[u8]| Reader::new(b).mpint("n").map(<[u8]>::to_vec);
        assert_eq!(ok(&[0, 0, 0, 0]), Ok(vec![]));
        assert_eq!(ok(&[0, 0, 0, 1, 0x7f]), Ok(vec![0x7f]));
        assert_eq!(ok(&[0, 0, 0, 2, 0, 0x80]), Ok(vec![0x80]));
        assert!(ok(&[0, 0, 0, 1, 0]).is_err());
        assert!(ok(&[0, 0, 0, 2, 0, 0x7f]).is_err());
        assert!(ok(&[0, 0, 0, 1, 0x80]).is_err());
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut r = Reader::new(&[1, 2]);
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.finish("m"), Err(WireError::Trailing("m")));
    }
}
