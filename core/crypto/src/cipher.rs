//! Ciphers and MACs of SSH packets by name, and what each needs. Sealing and opening is in [`packet`].

mod ctr;
mod gcm;
mod packet;

pub use packet::{Opener, PACKET_LENGTH_MAX, PacketKeys, Sealer};

/// A packet cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// RFC 5647 with OpenSSH's negotiation rule: the MAC is implied.
    Aes128Gcm,
    /// As above with the longer key.
    Aes256Gcm,
    /// OpenSSH's construction (draft-ietf-sshm-chacha20-poly1305): the length is encrypted, too.
    ChaCha20Poly1305,
    /// RFC 4344.
    Aes128Ctr,
    /// RFC 4344.
    Aes256Ctr,
}

const WITH_AES: [Cipher; 5] =
    [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305, Cipher::Aes128Ctr, Cipher::Aes256Ctr];
const WITHOUT_AES: [Cipher; 5] =
    [Cipher::ChaCha20Poly1305, Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Aes128Ctr, Cipher::Aes256Ctr];

impl Cipher {
    /// Every name. For the order to offer them in see [`Cipher::preferred`].
    pub const NAMES: &'static [(&'static str, Cipher)] = &[
        ("aes128-gcm@openssh.com", Cipher::Aes128Gcm),
        ("aes256-gcm@openssh.com", Cipher::Aes256Gcm),
        ("chacha20-poly1305@openssh.com", Cipher::ChaCha20Poly1305),
        ("aes128-ctr", Cipher::Aes128Ctr),
        ("aes256-ctr", Cipher::Aes256Ctr),
    ];

    /// The ciphers in the order this machine should offer them: AES-GCM first where the processor has
    /// instructions for it (it then costs a tenth of the others), ChaCha20 first where it has not.
    #[must_use]
    pub fn preferred() -> &'static [Cipher] {
        if has_aes() { &WITH_AES } else { &WITHOUT_AES }
    }

    /// The cipher of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Cipher> {
        Cipher::NAMES.iter().find(|(n, _)| *n == name).map(|(_, cipher)| *cipher)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cipher::Aes128Gcm => "aes128-gcm@openssh.com",
            Cipher::Aes256Gcm => "aes256-gcm@openssh.com",
            Cipher::ChaCha20Poly1305 => "chacha20-poly1305@openssh.com",
            Cipher::Aes128Ctr => "aes128-ctr",
            Cipher::Aes256Ctr => "aes256-ctr",
        }
    }

    /// Bytes of key to derive.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Cipher::Aes128Gcm | Cipher::Aes128Ctr => 16,
            Cipher::Aes256Gcm | Cipher::Aes256Ctr => 32,
            // Two keys: one for the length, one for the rest.
            Cipher::ChaCha20Poly1305 => 64,
        }
    }

    /// Bytes of initialization vector to derive. ChaCha20 takes the sequence number instead.
    #[must_use]
    pub fn iv_len(self) -> usize {
        match self {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => 12,
            Cipher::ChaCha20Poly1305 => 0,
            Cipher::Aes128Ctr | Cipher::Aes256Ctr => 16,
        }
    }

    /// Whether it authenticates by itself, so that no MAC is negotiated.
    #[must_use]
    pub fn is_aead(self) -> bool {
        match self {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => true,
            Cipher::Aes128Ctr | Cipher::Aes256Ctr => false,
        }
    }

    /// Packets are padded to multiples of this.
    fn block(self) -> usize {
        match self {
            Cipher::ChaCha20Poly1305 => 8,
            Cipher::Aes128Gcm | Cipher::Aes256Gcm | Cipher::Aes128Ctr | Cipher::Aes256Ctr => 16,
        }
    }
}

/// A MAC for the ciphers that need one (RFC 6668). With `Etm` the MAC is over the encrypted packet and
/// the length stays in clear (OpenSSH PROTOCOL 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mac {
    /// HMAC-SHA-256 over the encrypted packet.
    HmacSha256Etm,
    /// HMAC-SHA-512 over the encrypted packet.
    HmacSha512Etm,
    /// HMAC-SHA-256 over the plain packet.
    HmacSha256,
    /// HMAC-SHA-512 over the plain packet.
    HmacSha512,
}

impl Mac {
    /// Every name, in our order of preference, which is OpenSSH's.
    pub const NAMES: &'static [(&'static str, Mac)] = &[
        ("hmac-sha2-256-etm@openssh.com", Mac::HmacSha256Etm),
        ("hmac-sha2-512-etm@openssh.com", Mac::HmacSha512Etm),
        ("hmac-sha2-256", Mac::HmacSha256),
        ("hmac-sha2-512", Mac::HmacSha512),
    ];

    /// The MAC of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Mac> {
        Mac::NAMES.iter().find(|(n, _)| *n == name).map(|(_, mac)| *mac)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mac::HmacSha256Etm => "hmac-sha2-256-etm@openssh.com",
            Mac::HmacSha512Etm => "hmac-sha2-512-etm@openssh.com",
            Mac::HmacSha256 => "hmac-sha2-256",
            Mac::HmacSha512 => "hmac-sha2-512",
        }
    }

    /// Bytes of key to derive; the tag is as long.
    #[must_use]
    pub fn key_len(self) -> usize {
        match self {
            Mac::HmacSha256Etm | Mac::HmacSha256 => 32,
            Mac::HmacSha512Etm | Mac::HmacSha512 => 64,
        }
    }

    fn is_etm(self) -> bool {
        match self {
            Mac::HmacSha256Etm | Mac::HmacSha512Etm => true,
            Mac::HmacSha256 | Mac::HmacSha512 => false,
        }
    }
}

/// Whether the processor has instructions for AES and for GCM's multiplication.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests;
