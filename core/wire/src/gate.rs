//! How a gate and its near end find each other on a stream that begins with what a login shell printed.
//!
//! The gate says [`GREETING`] and then nothing until it has read [`ANSWER`], which the near end says when it has
//! found the greeting. From there on both speak SSH's connection layer (RFC 4254) in unencrypted binary packets
//! (RFC 4253 §6): the SSH session around the stream protects them. The gate is the server.

/// The gate's first bytes.
pub const GREETING: &[u8] = b"SOCKWARD-GATE-1\r\n";

/// The near end's first bytes.
pub const ANSWER: &[u8] = b"SOCKWARD-NEAR-1\r\n";

/// What may come before the greeting: a banner and a profile's output, not a log.
pub const NOISE_MAX: usize = 64 * 1024;

/// Looks for the greeting behind noise.
#[derive(Debug, Default)]
pub struct Finder {
    noise: Vec<u8>,
}

/// What was found so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not yet.
    Nothing,
    /// The greeting was there, and nothing behind it.
    Greeting,
}

/// Why the search is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// More than [`NOISE_MAX`] bytes of noise.
    TooMuchNoise,
    /// Something stands behind the greeting: a gate waits for the answer first.
    Impatient,
}

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NotFound::TooMuchNoise => "no gate answered within 64 KiB of other output",
            NotFound::Impatient => "something else than a gate speaks behind the greeting",
        })
    }
}

impl std::error::Error for NotFound {}

impl Finder {
    /// Takes what was read next.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Found, NotFound> {
        // The greeting may have begun in what came before.
        let from = self.noise.len().saturating_sub(GREETING.len() - 1);
        self.noise.extend_from_slice(bytes);
        let tail = self.noise.get(from..).unwrap_or_default();
        match tail.windows(GREETING.len()).position(|window| window == GREETING) {
            Some(at) if from + at > NOISE_MAX => Err(NotFound::TooMuchNoise),
            Some(at) if at + GREETING.len() == tail.len() => {
                self.noise.truncate(from + at);
                Ok(Found::Greeting)
            }
            Some(_) => Err(NotFound::Impatient),
            None if self.noise.len() > NOISE_MAX + GREETING.len() => Err(NotFound::TooMuchNoise),
            None => Ok(Found::Nothing),
        }
    }

    /// What came before the greeting: for people who wonder why there is none.
    #[must_use]
    pub fn noise(&self) -> &[u8] {
        &self.noise
    }
}

/// Pieces of any size from a far end that may say anything. For fuzzing.
#[doc(hidden)]
pub fn fuzz_greeting(data: &[u8]) {
    let (mut finder, mut rest) = (Finder::default(), data);
    let mut total = 0;
    while let Some((&size, tail)) = rest.split_first() {
        let piece = tail.get(..usize::from(size)).unwrap_or(tail);
        total += piece.len();
        let found = finder.push(piece);
        assert!(finder.noise().len() <= total && finder.noise().len() <= NOISE_MAX + GREETING.len() + 256);
        match found {
            Ok(Found::Nothing) => {
                let seen = finder.noise();
                assert!(!seen.windows(GREETING.len()).any(|window| window == GREETING));
            }
            Ok(Found::Greeting) | Err(_) => return,
        }
        rest = tail.get(piece.len()..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(pieces: &[&[u8]]) -> Result<Found, NotFound> {
        let mut finder = Finder::default();
        let mut last = Ok(Found::Nothing);
        for piece in pieces {
            last = finder.push(piece);
        }
        last
    }

    #[test]
    fn the_greeting_is_found_behind_noise_in_any_pieces() {
        let whole = [b"Welcome!\r\nSOCKWARD-GATE-2\nx", GREETING].concat();
        assert_eq!(push(&[&whole]), Ok(Found::Greeting));
        for size in 1..whole.len() {
            let pieces: Vec<&[u8]> = whole.chunks(size).collect();
            assert_eq!(push(&pieces), Ok(Found::Greeting), "{size}");
        }
        assert_eq!(push(&[GREETING.split_last().unwrap().1]), Ok(Found::Nothing));
    }

    #[test]
    fn noise_has_an_end() {
        let noise = vec![b'x'; NOISE_MAX];
        assert_eq!(push(&[&noise, GREETING]), Ok(Found::Greeting));
        assert_eq!(push(&[&noise, b"x", GREETING]), Err(NotFound::TooMuchNoise));
        assert_eq!(push(&[&noise, &[b'x'; 40]]), Err(NotFound::TooMuchNoise));
        assert_eq!(push(&[&[GREETING, b"x"].concat()]), Err(NotFound::Impatient));
        super::fuzz_greeting(&[200; 70_000]);
    }
}
