//! Bytes that their reader did not take yet. The channel's window bounds how many there can be.

use std::io::IoSlice;

/// A queue that costs nothing while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Appends the slices without their first `skip` bytes.
    pub(crate) fn append(&mut self, slices: &[IoSlice<'_>], mut skip: usize) {
        // Moving what is left to the front is worth it once it is the smaller part.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        for slice in slices {
            let n = skip.min(slice.len());
            skip -= n;
            self.bytes.extend_from_slice(slice.get(n..).unwrap_or_default());
        }
    }

    /// The first `n` pending bytes are done with.
    pub(crate) fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
        if self.is_empty() {
            *self = Queue::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut queue = Queue::default();
        let mut taken = Vec::new();
        for i in 0..100u8 {
            queue.append(&[IoSlice::new(&[i, i]), IoSlice::new(&[i])], 1);
            let first = queue.pending()[0];
            taken.push(first);
            queue.advance(1);
        }
        taken.extend_from_slice(queue.pending());
        let expected: Vec<u8> = (0..100).flat_map(|i| [i, i]).collect();
        assert_eq!(taken, expected);
        queue.advance(usize::MAX - 1000);
        assert!(queue.is_empty());
        assert_eq!(queue.bytes.capacity(), 0);
    }
}
