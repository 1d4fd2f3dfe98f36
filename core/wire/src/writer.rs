//! Appends RFC 4251 data types to a byte vector.

/// Writing of RFC 4251 §5 data types at the end of a `Vec<u8>`.
pub trait Put {
    /// One byte.
    fn put_u8(&mut self, v: u8);
    /// A boolean, as 0 or 1.
    fn put_bool(&mut self, v: bool);
    /// A big-endian 32-bit number.
    fn put_u32(&mut self, v: u32);
    /// A big-endian 64-bit number.
    fn put_u64(&mut self, v: u64);
    /// Bytes as they are, without a length.
    fn put_raw(&mut self, v: &[u8]);
    /// A length-prefixed string. Strings over 4 GiB do not occur: all our inputs are capped far below.
    fn put_string(&mut self, v: &[u8]);
    /// A non-negative multiple-precision integer given as big-endian bytes (leading zeros allowed).
    fn put_mpint(&mut self, v: &[u8]);
    /// A name-list: names joined by commas.
    fn put_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>);
    /// A length-prefixed string whose content `fill` writes.
    fn put_nested(&mut self, fill: impl FnOnce(&mut Vec<u8>));
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }

    fn put_bool(&mut self, v: bool) {
        self.push(u8::from(v));
    }

    fn put_u32(&mut self, v: u32) {
        self.extend_from_slice(&v.to_be_bytes());
    }

    fn put_u64(&mut self, v: u64) {
        self.extend_from_slice(&v.to_be_bytes());
    }

    fn put_raw(&mut self, v: &[u8]) {
        self.extend_from_slice(v);
    }

    fn put_string(&mut self, v: &[u8]) {
        self.put_u32(length(v.len()));
        self.extend_from_slice(v);
    }

    fn put_mpint(&mut self, v: &[u8]) {
        let first = v.iter().position(|&b| b != 0).unwrap_or(v.len());
        let digits = v.get(first..).unwrap_or_default();
        // A leading bit of one would read as negative: RFC 4251 wants a zero byte before it.
        let pad = digits.first().is_some_and(|&b| b >= 0x80);
        self.put_u32(length(digits.len() + usize::from(pad)));
        if pad {
            self.push(0);
        }
        self.extend_from_slice(digits);
    }

    fn put_names<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        self.put_nested(|out| {
            for (i, name) in names.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(name.as_bytes());
            }
        });
    }

    fn put_nested(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let at = self.len();
        self.put_u32(0);
        fill(self);
        let n = length(self.len() - at - 4);
        if let Some(prefix) = self.get_mut(at..at + 4) {
            prefix.copy_from_slice(&n.to_be_bytes());
        }
    }
}

/// The length prefix for `n` bytes. Saturates: a string that long cannot be built within our caps.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    #[test]
    fn mpint_round_trips_through_the_reader() {
        for v in [&[][..], &[0][..], &[0, 0, 5], &[0x80], &[0xff, 0, 1], &[1, 2, 3]] {
            let mut out = Vec::new();
            out.put_mpint(v);
            let digits: Vec<u8> = v.iter().copied().skip_while(|&b| b == 0).collect();
            assert_eq!(Reader::new(&out).mpint("n"), Ok(&digits[..]));
        }
    }

    #[test]
    fn nested_fills_in_its_length() {
        let mut out = vec![9];
        out.put_nested(|o| o.put_u8(7));
        assert_eq!(out, [9, 0, 0, 0, 1, 7]);
    }
}
