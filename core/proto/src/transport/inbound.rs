//! Packets on their way in: finding one at the start of the received bytes, opening it in place
//! (RFC 4253 §6). What its payload means is decided above.

use std::ops::Range;

use sockward_crypto::Opener;

use crate::error::{Misbehaved, Result};

/// OpenSSH's limit; RFC 4253 §6.1 asks for 35,000.
pub const PACKET_MAX: usize = 256 * 1024;

/// The smallest packet_length: padding_length, an empty payload is not possible, four bytes of padding.
const LENGTH_MIN: u32 = 5;

/// RFC 4344 §3.1: no sequence number comes twice under the same keys. Limits rekey long before.
const SAME_KEYS_MAX: u64 = u32::MAX as u64;

/// The receive side of the packet layer.
pub(crate) struct Inbound {
    opener: Opener,
    sequence: u32,
    /// packet_length of the packet whose head has been read, while the rest is still to come.
    head: Option<u32>,
    max: usize,
    /// Packets and bytes under the present keys, for the rekey limits.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// An opened packet at the start of the input.
pub(crate) struct Packet {
    /// Where the payload stands in the input; never empty.
    pub(crate) payload: Range<usize>,
    /// How many bytes of the input it took.
    pub(crate) total: usize,
    /// Its sequence number, for UNIMPLEMENTED.
    pub(crate) sequence: u32,
}

impl Inbound {
    /// `max`: the largest packet taken.
    pub(crate) fn new(max: usize) -> Self {
        Inbound { opener: Opener::clear(), sequence: 0, head: None, max, packets: 0, bytes: 0 }
    }

    /// Opens the packet at the start of `input` in place; none while it is not complete.
    pub(crate) fn next(&mut self, input: &mut [u8]) -> Result<Option<Packet>> {
        let length = match self.head {
            Some(length) => length,
            None => {
                let Some(head) = input.get_mut(..self.opener.head_len()) else { return Ok(None) };
                let length = self.opener.packet_length(self.sequence, head)?;
                self.check_length(length)?;
                self.head = Some(length);
                length
            }
        };
        let total = 4 + length as usize + self.opener.tag_len();
        let Some(packet) = input.get_mut(..total) else { return Ok(None) };
        self.head = None;
        let sequence = self.sequence;
        self.opener.open(sequence, packet)?;
        let padding = packet.get(4).copied().unwrap_or(0);
        let end = (4 + length as usize).checked_sub(usize::from(padding)).filter(|&end| end > 5);
        let Some(end) = end.filter(|_| padding >= 4) else { return Err(Misbehaved::Padding.into()) };
        self.packets += 1;
        if self.packets > SAME_KEYS_MAX {
            return Err(Misbehaved::SequenceWrapped.into());
        }
        // Without strict key exchange the count goes on across keys, and may wrap then (RFC 4253 §6.4).
        self.sequence = sequence.wrapping_add(1);
        self.bytes += total as u64;
        Ok(Some(Packet { payload: 5..end, total, sequence }))
    }

    /// Packets received since the start, or since the keys changed under strict key exchange.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// From now on packets up to `max` bytes are taken.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// New keys from the next packet on; strict key exchange starts counting anew.
    pub(crate) fn rekey(&mut self, opener: Opener, reset_sequence: bool) {
        self.opener = opener;
        self.packets = 0;
        self.bytes = 0;
        if reset_sequence {
            self.sequence = 0;
        }
    }

    fn check_length(&self, length: u32) -> Result<()> {
        let counted = length as usize + if self.opener.length_is_aligned() { 4 } else { 0 };
        let fits = length >= LENGTH_MIN && length as usize <= self.max;
        if fits && counted.is_multiple_of(self.opener.block()) {
            Ok(())
        } else {
            Err(Misbehaved::PacketLength(length).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// An IGNORE in clear.
    const PACKET: [u8; 16] = [0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn numbers_may_wrap_across_keys_but_not_under_the_same() {
        let mut inbound = Inbound::new(PACKET_MAX);
        inbound.sequence = u32::MAX;
        inbound.packets = 1000;
        // Without strict key exchange the count goes on from one set of keys to the next (RFC 4253 §6.4).
        let last = inbound.next(&mut PACKET.clone()).unwrap().unwrap();
        assert_eq!((last.sequence, inbound.sequence()), (u32::MAX, 0));
        assert_eq!(inbound.next(&mut PACKET.clone()).unwrap().unwrap().sequence, 0);
        inbound.packets = u64::from(u32::MAX);
        let wrapped = inbound.next(&mut PACKET.clone()).err();
        assert_eq!(wrapped, Some(Error::from(Misbehaved::SequenceWrapped)));
    }
}
