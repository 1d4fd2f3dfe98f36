//! AES-CTR packets (RFC 4344 §4) with an HMAC, either over the plain packet as RFC 4253 §6.4 has it, or
//! over the encrypted one (OpenSSH PROTOCOL 1.5, "etm").

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use super::Mac;
use crate::{CryptoError, CryptoResult};

/// The block of AES: the key stream advances in whole ones.
pub(super) const BLOCK: usize = 16;
/// The library's stream does not work in place: this many bytes go through a copy at a time. Fits the
/// first-level cache and keeps an idle connection small.
const SCRATCH: usize = 4096;

/// One direction: key stream and MAC.
pub(super) struct CtrMac {
    stream: StreamingEncryptingKey,
    scratch: Zeroizing<[u8; SCRATCH]>,
    mac: hmac::Key,
    mac_len: usize,
    etm: bool,
}

impl CtrMac {
    /// The length of `key` chooses between AES-128 and AES-256.
    pub(super) fn new(key: &[u8], iv: &[u8], mac: Mac, mac_key: &[u8]) -> CryptoResult<Self> {
        let alg = if key.len() == 16 { &AES_128 } else { &AES_256 };
        let key = UnboundCipherKey::new(alg, key).map_err(|_| CryptoError::WrongSize("cipher key"))?;
        let iv: [u8; BLOCK] = iv.try_into().map_err(|_| CryptoError::WrongSize("initialization vector"))?;
        // CTR decrypts by encrypting: one kind of stream does for both directions.
        let stream = StreamingEncryptingKey::less_safe_ctr(key, EncryptionContext::Iv128(iv.into()))
            .map_err(|_| CryptoError::Library("AES-CTR"))?;
        if mac_key.len() != mac.key_len() {
            return Err(CryptoError::WrongSize("MAC key"));
        }
        let alg = match mac {
            Mac::HmacSha256Etm | Mac::HmacSha256 => hmac::HMAC_SHA256,
            Mac::HmacSha512Etm | Mac::HmacSha512 => hmac::HMAC_SHA512,
        };
        Ok(CtrMac {
            stream,
            scratch: Zeroizing::new([0; SCRATCH]),
            mac: hmac::Key::new(alg, mac_key),
            mac_len: mac.key_len(),
            etm: mac.is_etm(),
        })
    }

    pub(super) fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> CryptoResult<()> {
        let (text, tag) = self.split(packet)?;
        let computed = if self.etm {
            self.crypt(text.get_mut(4..).ok_or(CryptoError::WrongSize("packet"))?)?;
            self.tag(sequence, text)
        } else {
            let computed = self.tag(sequence, text);
            self.crypt(text)?;
            computed
        };
        // Both are mac_len long.
        tag.copy_from_slice(computed.as_ref().get(..tag.len()).ok_or(CryptoError::Library("HMAC"))?);
        Ok(())
    }

    /// Decrypts the first block, in which the length is. Not for etm, where the length is in clear.
    pub(super) fn open_head(&mut self, head: &mut [u8; BLOCK]) -> CryptoResult<()> {
        self.crypt(head)
    }

    /// Without etm the first block has been decrypted by [`CtrMac::open_head`] already.
    pub(super) fn open(&mut self, sequence: u32, packet: &mut [u8]) -> CryptoResult<()> {
        let (text, tag) = self.split(packet)?;
        let short = CryptoError::WrongSize("packet");
        if self.etm {
            self.check(sequence, text, tag)?;
            self.crypt(text.get_mut(4..).ok_or(short)?)
        } else {
            self.crypt(text.get_mut(BLOCK..).ok_or(short)?)?;
            self.check(sequence, text, tag)
        }
    }

    fn split<'p>(&self, packet: &'p mut [u8]) -> CryptoResult<(&'p mut [u8], &'p mut [u8])> {
        let at = packet.len().checked_sub(self.mac_len).ok_or(CryptoError::WrongSize("packet"))?;
        packet.split_at_mut_checked(at).ok_or(CryptoError::WrongSize("packet"))
    }

    /// The MAC covers the sequence number and the packet (RFC 4253 §6.4).
    fn tag(&self, sequence: u32, text: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(&sequence.to_be_bytes());
        context.update(text);
        context.sign()
    }

    fn check(&self, sequence: u32, text: &[u8], tag: &[u8]) -> CryptoResult<()> {
        let computed = self.tag(sequence, text);
        constant_time::verify_slices_are_equal(computed.as_ref(), tag).map_err(|_| CryptoError::BadMac)
    }

    /// Runs whole blocks through the key stream.
    fn crypt(&mut self, text: &mut [u8]) -> CryptoResult<()> {
        if !text.len().is_multiple_of(BLOCK) {
            return Err(CryptoError::WrongSize("packet"));
        }
        for chunk in text.chunks_mut(SCRATCH) {
            let from = self.scratch.get_mut(..chunk.len()).ok_or(CryptoError::WrongSize("packet"))?;
            from.copy_from_slice(chunk);
            self.stream.less_safe_update(from, chunk).map_err(|_| CryptoError::Library("AES-CTR"))?;
        }
        Ok(())
    }
}
