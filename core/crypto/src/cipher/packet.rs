//! Sealing and opening of binary packets (RFC 4253 §6), in place and without allocation.
//!
//! ```text
//!   length(4)  padlen(1)  payload  padding  tag
//!   └ encrypted by ChaCha20 and by CTR without etm; else in clear and authenticated
//! ```
//!
//! The caller builds the layout, draws the padding and counts sequence numbers. After any error of a
//! [`Sealer`] or [`Opener`] the direction is dead: key streams and nonces no longer fit the peer's.

use aws_lc_rs::aead::chacha20_poly1305_openssh as chacha;

use super::ctr::{self, CtrMac};
use super::gcm::{self, Gcm};
use super::{Cipher, Mac};
use crate::{CryptoError, CryptoResult};

/// The longest packet taken, without length field and tag; OpenSSH's limit. RFC 4253 §6.1 asks for 35000.
pub const PACKET_LENGTH_MAX: u32 = 256 * 1024;
/// The padding length and the least padding (RFC 4253 §6).
const PACKET_LENGTH_MIN: u32 = 1 + 4;
/// Packets under one key. After so many the sequence number, ChaCha20's nonce, would come again. RFC 4344
/// §3.1 wants a new exchange sooner; here is the end in case nobody asked for one.
const PACKETS_PER_KEY: u64 = 1 << 32;
/// All our block sizes are at least this (RFC 4253 §6).
const CLEAR_BLOCK: usize = 8;

/// The keys of one direction, as derived.
pub struct PacketKeys<'a> {
    /// The cipher negotiated.
    pub cipher: Cipher,
    /// The MAC negotiated; none where the cipher authenticates by itself.
    pub mac: Option<Mac>,
    /// [`Cipher::key_len`] bytes.
    pub key: &'a [u8],
    /// [`Cipher::iv_len`] bytes.
    pub iv: &'a [u8],
    /// [`Mac::key_len`] bytes, empty without a MAC.
    pub mac_key: &'a [u8],
}

/// How packets of one direction are laid out.
#[derive(Clone, Copy)]
struct Layout {
    block: usize,
    length_is_aligned: bool,
    tag_len: usize,
    head_len: usize,
}

impl Layout {
    const CLEAR: Layout = Layout { block: CLEAR_BLOCK, length_is_aligned: true, tag_len: 0, head_len: 4 };

    fn of(cipher: Cipher, mac: Option<Mac>) -> Layout {
        // The MAC of the plain packet: the length is part of the first encrypted block.
        let length_in_block = mac.is_some_and(|m| !m.is_etm());
        Layout {
            block: cipher.block(),
            length_is_aligned: length_in_block,
            tag_len: mac.map_or(gcm::TAG_LEN, Mac::key_len),
            head_len: if length_in_block { ctr::BLOCK } else { 4 },
        }
    }
}

/// Checks that the keys are of the sizes their algorithms want, and a MAC there exactly if due.
fn check(keys: &PacketKeys<'_>) -> CryptoResult<()> {
    if keys.key.len() != keys.cipher.key_len() {
        Err(CryptoError::WrongSize("cipher key"))
    } else if keys.iv.len() != keys.cipher.iv_len() {
        Err(CryptoError::WrongSize("initialization vector"))
    } else if keys.mac.is_some() == keys.cipher.is_aead()
        || keys.mac_key.len() != keys.mac.map_or(0, Mac::key_len)
    {
        Err(CryptoError::WrongSize("MAC key"))
    } else {
        Ok(())
    }
}

fn ctr_mac(keys: &PacketKeys<'_>) -> CryptoResult<Box<CtrMac>> {
    let mac = keys.mac.ok_or(CryptoError::WrongSize("MAC key"))?;
    Ok(Box::new(CtrMac::new(keys.key, keys.iv, mac, keys.mac_key)?))
}

fn chacha_key<'a>(keys: &PacketKeys<'a>) -> CryptoResult<&'a [u8; chacha::KEY_LEN]> {
    keys.key.first_chunk().ok_or(CryptoError::WrongSize("cipher key"))
}

/// Uses up one packet of the key's life.
fn wear(left: &mut u64) -> CryptoResult<()> {
    *left = left.checked_sub(1).ok_or(CryptoError::KeyWornOut)?;
    Ok(())
}

/// A ChaCha20 packet as its text, length included, and its tag.
fn chacha_parts(packet: &mut [u8]) -> CryptoResult<(&mut [u8], &mut [u8; chacha::TAG_LEN])> {
    match packet.split_last_chunk_mut() {
        Some((text, tag)) if text.len() >= chacha::PACKET_LENGTH_LEN => Ok((text, tag)),
        _ => Err(CryptoError::WrongSize("packet")),
    }
}

/// Encrypts and authenticates the packets of one direction.
pub struct Sealer {
    layout: Layout,
    packets_left: u64,
    mode: SealMode,
}

enum SealMode {
    Clear,
    Gcm(Box<Gcm>),
    ChaCha(Box<chacha::SealingKey>),
    CtrMac(Box<CtrMac>),
}

impl Sealer {
    /// Leaves packets as they are: before the first NEWKEYS.
    #[must_use]
    pub fn clear() -> Sealer {
        Sealer { layout: Layout::CLEAR, packets_left: PACKETS_PER_KEY, mode: SealMode::Clear }
    }

    /// Takes up new keys. Keys of the wrong size, or a MAC that does not fit the cipher, are refused.
    pub fn new(keys: PacketKeys<'_>) -> CryptoResult<Sealer> {
        check(&keys)?;
        let mode = match keys.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => SealMode::Gcm(Box::new(Gcm::new(keys.key, keys.iv)?)),
            Cipher::ChaCha20Poly1305 => {
                SealMode::ChaCha(Box::new(chacha::SealingKey::new(chacha_key(&keys)?)))
            }
            Cipher::Aes128Ctr | Cipher::Aes256Ctr => SealMode::CtrMac(ctr_mac(&keys)?),
        };
        Ok(Sealer { layout: Layout::of(keys.cipher, keys.mac), packets_left: PACKETS_PER_KEY, mode })
    }

    /// What is aligned must be a multiple of this.
    #[must_use]
    pub fn block(&self) -> usize {
        self.layout.block
    }

    /// Whether the four bytes of the length count for the alignment.
    #[must_use]
    pub fn length_is_aligned(&self) -> bool {
        self.layout.length_is_aligned
    }

    /// Bytes of tag behind the padding.
    #[must_use]
    pub fn tag_len(&self) -> usize {
        self.layout.tag_len
    }

    /// Seals one packet in place: length, padding length, payload, padding, and room for the tag.
    pub fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> CryptoResult<()> {
        wear(&mut self.packets_left)?;
        match &mut self.mode {
            SealMode::Clear => Ok(()),
            SealMode::Gcm(gcm) => gcm.seal(packet),
            SealMode::ChaCha(key) => {
                let (text, tag) = chacha_parts(packet)?;
                key.seal_in_place(sequence, text, tag);
                Ok(())
            }
            SealMode::CtrMac(ctr) => ctr.seal(sequence, packet),
        }
    }
}

/// Checks and decrypts the packets of one direction.
pub struct Opener {
    layout: Layout,
    packets_left: u64,
    mode: OpenMode,
}

enum OpenMode {
    Clear,
    Gcm(Box<Gcm>),
    ChaCha(Box<chacha::OpeningKey>),
    CtrMac(Box<CtrMac>),
}

impl Opener {
    /// Takes packets as they are: before the first NEWKEYS.
    #[must_use]
    pub fn clear() -> Opener {
        Opener { layout: Layout::CLEAR, packets_left: PACKETS_PER_KEY, mode: OpenMode::Clear }
    }

    /// Takes up new keys. Keys of the wrong size, or a MAC that does not fit the cipher, are refused.
    pub fn new(keys: PacketKeys<'_>) -> CryptoResult<Opener> {
        check(&keys)?;
        let mode = match keys.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => OpenMode::Gcm(Box::new(Gcm::new(keys.key, keys.iv)?)),
            Cipher::ChaCha20Poly1305 => {
                OpenMode::ChaCha(Box::new(chacha::OpeningKey::new(chacha_key(&keys)?)))
            }
            Cipher::Aes128Ctr | Cipher::Aes256Ctr => OpenMode::CtrMac(ctr_mac(&keys)?),
        };
        Ok(Opener { layout: Layout::of(keys.cipher, keys.mac), packets_left: PACKETS_PER_KEY, mode })
    }

    /// Bytes that must have arrived before the length can be known.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.layout.head_len
    }

    /// What is aligned must be a multiple of this.
    #[must_use]
    pub fn block(&self) -> usize {
        self.layout.block
    }

    /// Whether the four bytes of the length count for the alignment.
    #[must_use]
    pub fn length_is_aligned(&self) -> bool {
        self.layout.length_is_aligned
    }

    /// Bytes of tag behind the padding.
    #[must_use]
    pub fn tag_len(&self) -> usize {
        self.layout.tag_len
    }

    /// The length field of the packet that begins with `head`, [`Opener::head_len`] bytes.
    ///
    /// Exactly one call for each packet, before [`Opener::open`]. Where the MAC is over the plain packet
    /// this decrypts `head` in place; else `head` stays as it is. The length is **not authenticated yet**:
    /// it is bounded (5 to [`PACKET_LENGTH_MAX`]), no more.
    pub fn packet_length(&mut self, sequence: u32, head: &mut [u8]) -> CryptoResult<u32> {
        let short = CryptoError::WrongSize("packet head");
        let field = match &mut self.mode {
            OpenMode::ChaCha(key) => key.decrypt_packet_length(sequence, *head.first_chunk().ok_or(short)?),
            OpenMode::CtrMac(ctr) if self.layout.head_len == ctr::BLOCK => {
                let block = head.first_chunk_mut().ok_or(short)?;
                ctr.open_head(block)?;
                *block.first_chunk().ok_or(short)?
            }
            OpenMode::Clear | OpenMode::Gcm(_) | OpenMode::CtrMac(_) => *head.first_chunk().ok_or(short)?,
        };
        match u32::from_be_bytes(field) {
            n @ PACKET_LENGTH_MIN..=PACKET_LENGTH_MAX => Ok(n),
            n => Err(CryptoError::BadPacketLength(n)),
        }
    }

    /// Checks and decrypts one packet in place: 4 bytes, as many as the length says, and the tag.
    ///
    /// Afterwards `packet[4]` is the padding length and the payload follows; the first four bytes may still
    /// be encrypted. Except where the MAC is over the plain packet, the tag is checked first.
    pub fn open(&mut self, sequence: u32, packet: &mut [u8]) -> CryptoResult<()> {
        wear(&mut self.packets_left)?;
        match &mut self.mode {
            OpenMode::Clear => Ok(()),
            OpenMode::Gcm(gcm) => gcm.open(packet),
            OpenMode::ChaCha(key) => {
                let (text, tag) = chacha_parts(packet)?;
                key.open_in_place(sequence, text, tag).map(|_| ()).map_err(|_| CryptoError::BadMac)
            }
            OpenMode::CtrMac(ctr) => ctr.open(sequence, packet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_serves_for_as_many_packets_as_there_are_sequence_numbers() {
        let keys = || PacketKeys {
            cipher: Cipher::ChaCha20Poly1305,
            mac: None,
            key: &[1; 64],
            iv: &[],
            mac_key: &[],
        };
        let mut sealer = Sealer::new(keys()).unwrap();
        let mut opener = Opener::new(keys()).unwrap();
        assert_eq!((sealer.packets_left, opener.packets_left), (1 << 32, 1 << 32));
        sealer.packets_left = 1;
        opener.packets_left = 1;
        let mut packet = [0; 4 + 8 + 16];
        assert_eq!(sealer.seal(0, &mut packet), Ok(()));
        assert_eq!(opener.open(0, &mut packet), Ok(()));
        assert_eq!(sealer.seal(1, &mut packet), Err(CryptoError::KeyWornOut));
        assert_eq!(opener.open(1, &mut packet), Err(CryptoError::KeyWornOut));
    }
}
