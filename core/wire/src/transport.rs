//! Transport-layer messages: RFC 4253 §7, §10, §11, RFC 8308, and the key-exchange pair 30/31.

use crate::macros::{body, messages};
use crate::{NameList, Put, Reader, WireError, WireResult, number};

messages! {
    /// RFC 4253 §11.1: ends the connection.
    Disconnect<'a> = DISCONNECT {
        /// One of [`reason`].
        reason: u32,
        /// For people.
        description: &'a [u8],
        /// RFC 3066 tag, usually empty.
        language: &'a [u8],
    }
    /// RFC 4253 §11.2.
    Ignore<'a> = IGNORE {
        /// To be ignored.
        data: &'a [u8],
    }
    /// RFC 4253 §11.4: the answer to a message whose number is unknown.
    Unimplemented = UNIMPLEMENTED {
        /// Sequence number of the message that was not understood.
        sequence: u32,
    }
    /// RFC 4253 §11.3.
    Debug<'a> = DEBUG {
        /// Whether a person should see it.
        always_display: bool,
        /// The text.
        text: &'a [u8],
        /// RFC 3066 tag.
        language: &'a [u8],
    }
    /// RFC 4253 §10.
    ServiceRequest<'a> = SERVICE_REQUEST {
        /// The service asked for.
        service: &'a str,
    }
    /// RFC 4253 §10.
    ServiceAccept<'a> = SERVICE_ACCEPT {
        /// The service granted.
        service: &'a str,
    }
    /// RFC 4253 §7.1. The lists stand in the order of the wire.
    KexInit<'a> = KEXINIT {
        /// Random bytes; on our server they come from the monitor.
        cookie: [u8; 16],
        /// Key exchange methods.
        kex: NameList<'a>,
        /// Host-key algorithms.
        host_key: NameList<'a>,
        /// Ciphers, client to server.
        cipher_c2s: NameList<'a>,
        /// Ciphers, server to client.
        cipher_s2c: NameList<'a>,
        /// MACs, client to server.
        mac_c2s: NameList<'a>,
        /// MACs, server to client.
        mac_s2c: NameList<'a>,
        /// Compression, client to server.
        compression_c2s: NameList<'a>,
        /// Compression, server to client.
        compression_s2c: NameList<'a>,
        /// Languages, client to server.
        languages_c2s: &'a [u8],
        /// Languages, server to client.
        languages_s2c: &'a [u8],
        /// A guessed key-exchange packet follows.
        first_kex_packet_follows: bool,
        /// Zero.
        reserved: u32,
    }
    /// RFC 4253 §7.3.
    NewKeys = NEWKEYS {}
    /// RFC 5656 §4, RFC 8731, draft-ietf-sshm-mlkem-hybrid-kex: the client's share. All our methods use number 30.
    KexEcdhInit<'a> = KEX_INIT {
        /// Q_C or C_INIT.
        share: &'a [u8],
    }
    /// The server's share, its key and its signature over the exchange hash.
    KexEcdhReply<'a> = KEX_REPLY {
        /// K_S.
        host_key: &'a [u8],
        /// Q_S or S_REPLY.
        share: &'a [u8],
        /// Over the exchange hash.
        signature: &'a [u8],
    }
    /// OpenSSH PROTOCOL 1.8 (ping@openssh.com).
    Ping<'a> = PING {
        /// Returned in the PONG.
        data: &'a [u8],
    }
    /// The answer to PING.
    Pong<'a> = PONG {
        /// What the PING held.
        data: &'a [u8],
    }
}

/// RFC 8308 §2.3: name and value pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtInfo<'a> {
    /// In the order received; names may be unknown.
    pub extensions: Vec<(&'a [u8], &'a [u8])>,
}

/// More extensions than anybody sends; each costs memory here.
const MAX_EXTENSIONS: u32 = 128;

impl<'a> ExtInfo<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::EXT_INFO)?;
        let n = r.u32("ExtInfo.count")?;
        if n > MAX_EXTENSIONS {
            return Err(WireError::TooLong("ExtInfo.count"));
        }
        let mut extensions = Vec::new();
        for _ in 0..n {
            extensions.push((r.string("ExtInfo.name")?, r.string("ExtInfo.value")?));
        }
        r.finish("ExtInfo")?;
        Ok(ExtInfo { extensions })
    }

    /// Appends the message, number included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::EXT_INFO);
        out.put_u32(u32::try_from(self.extensions.len()).unwrap_or(MAX_EXTENSIONS));
        for (name, value) in &self.extensions {
            out.put_string(name);
            out.put_string(value);
        }
    }
}

/// Disconnect reasons (RFC 4250 §4.2.2).
pub mod reason {
    /// Not welcome here.
    pub const HOST_NOT_ALLOWED_TO_CONNECT: u32 = 1;
    /// A message broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 2;
    /// No common algorithms, or the exchange failed.
    pub const KEY_EXCHANGE_FAILED: u32 = 3;
    /// A packet was altered on its way.
    pub const MAC_ERROR: u32 = 5;
    /// The service asked for is not there.
    pub const SERVICE_NOT_AVAILABLE: u32 = 7;
    /// The other side speaks another version.
    pub const PROTOCOL_VERSION_NOT_SUPPORTED: u32 = 8;
    /// The host key was refused.
    pub const HOST_KEY_NOT_VERIFIABLE: u32 = 9;
    /// The other side went away.
    pub const CONNECTION_LOST: u32 = 10;
    /// A normal end.
    pub const BY_APPLICATION: u32 = 11;
    /// Too many at once.
    pub const TOO_MANY_CONNECTIONS: u32 = 12;
    /// Nothing left to try.
    pub const NO_MORE_AUTH_METHODS_AVAILABLE: u32 = 14;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_must_end_with_its_last_field() {
        let mut out = Vec::new();
        Unimplemented { sequence: 7 }.encode(&mut out);
        assert_eq!(Unimplemented::decode(&out), Ok(Unimplemented { sequence: 7 }));
        out.push(0);
        assert_eq!(Unimplemented::decode(&out), Err(WireError::Trailing("Unimplemented")));
    }

    #[test]
    fn ext_info_counts_are_capped_before_anything_is_read() {
        let mut out = vec![number::EXT_INFO];
        out.put_u32(u32::MAX);
        assert_eq!(ExtInfo::decode(&out), Err(WireError::TooLong("ExtInfo.count")));
    }
}
