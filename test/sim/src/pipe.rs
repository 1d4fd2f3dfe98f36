//! One direction of the simulated network.

/// Small repeatable pseudo-random numbers (SplitMix64), for chopping and choosing. Nothing secret.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n.max(1) as u64) as usize
    }
}

/// Bytes under way in one direction, delivered in pieces of at most `piece` bytes.
#[derive(Debug)]
pub struct Pipe {
    /// Sent and not yet delivered.
    pub wire: Vec<u8>,
    /// Delivered and not yet taken.
    pub arrived: Vec<u8>,
    /// The largest piece that is delivered at once; each is a random part of it.
    pub piece: usize,
    /// Every byte ever sent.
    pub total: u64,
    random: Random,
}

impl Pipe {
    /// A pipe that delivers pieces of up to `piece` bytes.
    #[must_use]
    pub fn new(piece: usize, seed: u64) -> Self {
        Pipe { wire: Vec::new(), arrived: Vec::new(), piece, total: 0, random: Random(seed) }
    }

    /// Puts bytes in.
    pub fn send(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.wire.extend_from_slice(bytes);
    }

    /// Lets one piece arrive. False if nothing was under way.
    pub fn deliver(&mut self) -> bool {
        let n = (1 + self.random.below(self.piece)).min(self.wire.len());
        self.arrived.extend(self.wire.drain(..n));
        n > 0
    }
}
