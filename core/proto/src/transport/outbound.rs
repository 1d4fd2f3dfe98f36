//! Packets on their way out: framing, padding and sealing at the end of one byte buffer (RFC 4253 §6).
//! What the payloads mean, and whether they may be sent now, is decided above.

use std::io::IoSliceMut;

use sockward_crypto::{Random, Sealer};
use sockward_wire::number;

use crate::error::Result;

/// packet_length and padding_length.
const HEAD: usize = 5;
/// RFC 4253 §6: at least four bytes of padding.
const PADDING_MIN: usize = 4;
/// Message number, recipient, length: what stands before the bytes of a CHANNEL_DATA.
const DATA_HEAD: usize = 9;
/// The same with the data type of a CHANNEL_EXTENDED_DATA.
const EXTENDED_HEAD: usize = 13;

/// The send side of the packet layer.
///
/// `buffer[start..end]` waits to be written. All of `buffer` is initialised, so that descriptors can be
/// read straight into the place of a packet's payload.
pub(crate) struct Outbound {
    sealer: Sealer,
    sequence: u32,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Packets and bytes under the present keys, for the rekey limits.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// Where channel data goes: the peer's channel number and, for stderr, the data type.
#[derive(Clone, Copy)]
pub(crate) struct DataTarget {
    pub(crate) recipient: u32,
    pub(crate) extended: Option<u32>,
}

impl DataTarget {
    fn head_len(self) -> usize {
        if self.extended.is_some() { EXTENDED_HEAD } else { DATA_HEAD }
    }

    /// The message up to and with the data's length, written to the front of `out`.
    fn write_head(self, data_len: usize, out: &mut [u8]) {
        let [_, _, _, _, l4, l5, l6, l7] = (data_len as u64).to_be_bytes();
        let [r0, r1, r2, r3] = self.recipient.to_be_bytes();
        match self.extended {
            None => copy(out, &[number::CHANNEL_DATA, r0, r1, r2, r3, l4, l5, l6, l7]),
            Some(kind) => {
                let [k0, k1, k2, k3] = kind.to_be_bytes();
                let number = number::CHANNEL_EXTENDED_DATA;
                copy(out, &[number, r0, r1, r2, r3, k0, k1, k2, k3, l4, l5, l6, l7]);
            }
        }
    }
}

impl Outbound {
    pub(crate) fn new() -> Self {
        Outbound {
            sealer: Sealer::clear(),
            sequence: 0,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            packets: 0,
            bytes: 0,
        }
    }

    /// What waits to be written.
    pub(crate) fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// `n` bytes of [`Self::pending`] were written.
    pub(crate) fn written(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Takes a large buffer to work in, and gives back the smaller one.
    pub(crate) fn lend(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        let pending = self.end - self.start;
        if self.buffer.len() >= buffer.len() || pending > buffer.len() {
            return buffer;
        }
        copy(&mut buffer, self.pending());
        self.start = 0;
        self.end = pending;
        std::mem::replace(&mut self.buffer, buffer)
    }

    /// Gives the buffer back, unless much still waits in it; a little is kept in a buffer of its size.
    pub(crate) fn reclaim(&mut self) -> Vec<u8> {
        let pending = self.pending();
        if pending.len() > KEPT_MAX {
            return Vec::new();
        }
        let kept = pending.to_vec();
        self.start = 0;
        self.end = kept.len();
        std::mem::replace(&mut self.buffer, kept)
    }

    /// Bytes outside any packet: the identification line.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        copy(self.room(bytes.len()), bytes);
        self.end += bytes.len();
    }

    /// Seals one packet with this payload.
    pub(crate) fn packet(&mut self, payload: &[u8], random: &mut dyn Random) -> Result<()> {
        let frame = self.frame(payload.len());
        let room = self.room(frame.total);
        copy(room.get_mut(HEAD..).unwrap_or_default(), payload);
        self.finish(frame, random)
    }

    /// Lets `fill` write up to `want` bytes of channel data straight into the packets that will carry
    /// them, each of at most `max_packet` bytes, and seals as many packets as were begun. Returns what `fill` returned.
    pub(crate) fn data<E>(
        &mut self,
        target: DataTarget,
        want: usize,
        max_packet: usize,
        random: &mut dyn Random,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> std::result::Result<usize, E>,
    ) -> Result<std::result::Result<usize, E>> {
        let head = HEAD + target.head_len();
        let full = self.frame(target.head_len() + max_packet);
        let packets = want.div_ceil(max_packet).min(SLOTS_MAX);
        let mut left = want;
        let mut slots: [IoSliceMut<'_>; SLOTS_MAX] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        for (slot, frame) in
            slots.iter_mut().zip(self.room(packets * full.total).chunks_exact_mut(full.total))
        {
            let n = left.min(max_packet);
            *slot = IoSliceMut::new(frame.get_mut(head..head + n).unwrap_or_default());
            left -= n;
        }
        let n = match fill(slots.get_mut(..packets).unwrap_or_default()) {
            Ok(n) => n.min(want),
            Err(e) => return Ok(Err(e)),
        };
        let mut left = n;
        while left > 0 {
            let len = left.min(max_packet);
            let frame = self.frame(target.head_len() + len);
            target.write_head(len, self.room(frame.total).get_mut(HEAD..).unwrap_or_default());
            self.finish(frame, random)?;
            left -= len;
        }
        Ok(Ok(n))
    }

    /// New keys from the next packet on; strict key exchange starts counting anew.
    pub(crate) fn rekey(&mut self, sealer: Sealer, reset_sequence: bool) {
        self.sealer = sealer;
        self.packets = 0;
        self.bytes = 0;
        if reset_sequence {
            self.sequence = 0;
        }
    }

    /// The measures of a packet with a payload of `payload` bytes.
    fn frame(&self, payload: usize) -> Frame {
        let block = self.sealer.block();
        let aligned = payload + if self.sealer.length_is_aligned() { HEAD } else { 1 };
        let mut padding = block - aligned % block;
        if padding < PADDING_MIN {
            padding += block;
        }
        Frame { payload, padding, total: HEAD + payload + padding + self.sealer.tag_len() }
    }

    /// At least `n` initialised bytes behind what is pending.
    fn room(&mut self, n: usize) -> &mut [u8] {
        if self.buffer.len() - self.end < n && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < n {
            self.buffer.resize(self.end + n, 0);
        }
        self.buffer.get_mut(self.end..self.end + n).unwrap_or_default()
    }

    /// Writes lengths and padding around a payload that is in place, and seals the packet.
    fn finish(&mut self, frame: Frame, random: &mut dyn Random) -> Result<()> {
        let sequence = self.sequence;
        let tag = self.sealer.tag_len();
        self.room(frame.total);
        let packet = self.buffer.get_mut(self.end..self.end + frame.total).unwrap_or_default();
        let length = 1 + frame.payload + frame.padding;
        let [_, _, _, _, l0, l1, l2, l3] = (length as u64).to_be_bytes();
        // At most 16 + 3 bytes of padding with 16-byte blocks: one byte holds it.
        let [.., padding] = frame.padding.to_be_bytes();
        copy(packet, &[l0, l1, l2, l3, padding]);
        let pad_at = HEAD + frame.payload;
        random.fill(packet.get_mut(pad_at..frame.total - tag).unwrap_or_default());
        self.sealer.seal(sequence, packet)?;
        self.sequence = sequence.wrapping_add(1);
        self.end += frame.total;
        self.packets += 1;
        self.bytes += frame.total as u64;
        Ok(())
    }
}

/// More than this is not copied to free a lent buffer.
const KEPT_MAX: usize = 16 * 1024;

/// Packets filled by one call: 8 of 32 KiB are read from a descriptor at once.
const SLOTS_MAX: usize = 8;

#[derive(Clone, Copy)]
struct Frame {
    payload: usize,
    padding: usize,
    /// With head and tag.
    total: usize,
}

fn copy(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}
