//! The large buffers of a thread. Connections are lent one while they are busy; an idle connection owns none.

/// Bytes read from the network at once.
pub(crate) const RECEIVE: usize = 512 * 1024;
/// Room for the packets built before they are written at once.
pub(crate) const SEND: usize = 320 * 1024;
/// Buffers kept for the next busy connection.
const SPARE_MAX: usize = 8;

/// One thread's buffers.
pub struct Buffers {
    /// For what is read from the network; a session keeps what is left of an incomplete packet for itself.
    pub(crate) receive: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers { receive: vec![0; RECEIVE], spare: Vec::new() }
    }
}

impl Buffers {
    /// A buffer to build packets in.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; SEND])
    }

    /// Gives one back. One that had to grow is not kept.
    pub(crate) fn put(&mut self, buffer: Vec<u8>) {
        if (SEND..=2 * SEND).contains(&buffer.len()) && self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }
}
