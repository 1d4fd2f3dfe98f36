//! Randomness for those who may not fetch it themselves: the protocol core gets it as an argument.
//! Keys are not drawn here: the library that makes a key draws for it.

use zeroize::Zeroize;

/// A source of random bytes fit for cookies, padding and challenges. Tests put a fixed one in its place.
pub trait Random {
    /// Fills `out` whole.
    fn fill(&mut self, out: &mut [u8]);
}

/// Bytes drawn at once: each packet wants just a few for its padding, and a draw costs much more than a byte.
const REFILL: usize = 512;

/// The system's randomness by way of the library, drawn in blocks.
///
/// Holds bytes in advance, so a copy of the process would hand out the same ones: our processes are
/// executed anew, never continued after a fork.
pub struct SystemRandom {
    buffer: [u8; REFILL],
    used: usize,
}

impl SystemRandom {
    /// A source with an empty buffer; the first use draws.
    #[must_use]
    pub fn new() -> Self {
        SystemRandom { buffer: [0; REFILL], used: REFILL }
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        SystemRandom::new()
    }
}

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) {
        if out.len() > REFILL {
            system(out);
            return;
        }
        if REFILL - self.used < out.len() {
            // What is left would be split over two draws otherwise; dropping it costs nothing.
            system(&mut self.buffer);
            self.used = 0;
        }
        if let Some(from) = self.buffer.get_mut(self.used..self.used + out.len()) {
            out.copy_from_slice(from);
            from.zeroize();
        }
        self.used += out.len();
    }
}

impl Drop for SystemRandom {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

/// Fills `out` from the library's generator.
///
/// Going on without randomness would give keys away, so a failure ends the process. The library itself
/// aborts before it would return one.
#[expect(clippy::expect_used, reason = "no safe way on without randomness")]
pub(crate) fn system(out: &mut [u8]) {
    aws_lc_rs::rand::fill(out).expect("the random generator works");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_filled_and_no_byte_is_handed_out_twice() {
        let mut random = SystemRandom::new();
        let mut seen = std::collections::HashSet::new();
        for n in [0, 1, 16, 300, 300, REFILL, REFILL + 1, 4096] {
            let mut out = vec![0; n];
            random.fill(&mut out);
            for chunk in out.chunks_exact(16) {
                assert!(seen.insert(chunk.to_vec()), "{n}");
            }
        }
        assert!(seen.len() > 300);
    }

    #[test]
    fn handed_out_bytes_are_gone_from_the_buffer() {
        let mut random = SystemRandom::new();
        random.fill(&mut [0; 64]);
        assert_eq!(random.buffer[..64], [0; 64]);
        assert_ne!(random.buffer[64..128], [0; 64]);
    }
}
