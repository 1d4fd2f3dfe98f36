//! AES-GCM packets (RFC 5647 §7): the length goes in clear and is authenticated.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{CryptoError, CryptoResult};

pub(super) const TAG_LEN: usize = 16;

/// One direction's key and its running nonce: four fixed bytes and a counter of eight.
pub(super) struct Gcm {
    key: LessSafeKey,
    nonce: [u8; NONCE_LEN],
}

impl Gcm {
    /// The length of `key` chooses between AES-128 and AES-256.
    pub(super) fn new(key: &[u8], iv: &[u8]) -> CryptoResult<Self> {
        let alg = if key.len() == AES_128_GCM.key_len() { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(alg, key).map_err(|_| CryptoError::WrongSize("cipher key"))?;
        let nonce = iv.try_into().map_err(|_| CryptoError::WrongSize("initialization vector"))?;
        Ok(Gcm { key: LessSafeKey::new(key), nonce })
    }

    pub(super) fn seal(&mut self, packet: &mut [u8]) -> CryptoResult<()> {
        let (length, text, tag_out) = parts(packet)?;
        let nonce = self.next_nonce();
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(*length), text)
            .map_err(|_| CryptoError::Library("AES-GCM"))?;
        let tag = tag.as_ref().first_chunk().ok_or(CryptoError::Library("AES-GCM tag"))?;
        *tag_out = *tag;
        Ok(())
    }

    pub(super) fn open(&mut self, packet: &mut [u8]) -> CryptoResult<()> {
        let (length, text, tag) = parts(packet)?;
        let nonce = self.next_nonce();
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(*length), tag, text)
            .map(|_| ())
            .map_err(|_| CryptoError::BadMac)
    }

    /// The nonce for this packet. The counter starts anywhere, so it may pass its end; that no value comes
    /// twice is for the cap on packets under one key, far below 2^64.
    fn next_nonce(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        if let Some(counter) = self.nonce.last_chunk_mut::<8>() {
            *counter = u64::from_be_bytes(*counter).wrapping_add(1).to_be_bytes();
        }
        nonce
    }
}

/// Length, what is encrypted, tag.
type Parts<'a> = (&'a [u8; 4], &'a mut [u8], &'a mut [u8; TAG_LEN]);

fn parts(packet: &mut [u8]) -> CryptoResult<Parts<'_>> {
    let short = CryptoError::WrongSize("packet");
    let (length, rest) = packet.split_first_chunk_mut::<4>().ok_or(short)?;
    let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(short)?;
    Ok((length, text, tag))
}
