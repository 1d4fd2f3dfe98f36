//! The agent protocol's messages that a client needs (draft-ietf-sshm-ssh-agent; OpenSSH PROTOCOL.agent).
//! Each frame is a length and a body; this module writes whole frames and reads bodies.

use crate::{Put, Reader, WireError, WireResult};

/// The largest frame taken from an agent, as OpenSSH.
pub const FRAME_MAX: usize = 256 * 1024;
/// More keys than any agent holds.
const KEYS_MAX: u32 = 2048;

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;

/// Sign with SHA-256 where the key is RSA.
pub const FLAG_RSA_SHA2_256: u32 = 2;
/// Sign with SHA-512 where the key is RSA.
pub const FLAG_RSA_SHA2_512: u32 = 4;

/// A key the agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Public key or certificate.
    pub key: &'a [u8],
    /// For people.
    pub comment: &'a [u8],
}

/// An agent's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It will not or cannot.
    Failure,
    /// Done.
    Success,
    /// Its keys.
    Identities(Vec<Identity<'a>>),
    /// A signature in the form SSH messages carry it.
    Signature(&'a [u8]),
}

/// The frame that asks for the agent's keys.
#[must_use]
pub fn request_identities() -> Vec<u8> {
    frame(|out| out.put_u8(REQUEST_IDENTITIES))
}

/// The frame that asks for a signature.
#[must_use]
pub fn sign_request(key: &[u8], data: &[u8], flags: u32) -> Vec<u8> {
    frame(|out| {
        out.put_u8(SIGN_REQUEST);
        out.put_string(key);
        out.put_string(data);
        out.put_u32(flags);
    })
}

/// The frame that tells the agent which connection its signatures are for (PROTOCOL.agent, session-bind).
#[must_use]
pub fn session_bind(host_key: &[u8], session_id: &[u8], signature: &[u8], forwarding: bool) -> Vec<u8> {
    frame(|out| {
        out.put_u8(EXTENSION);
        out.put_string(b"session-bind@openssh.com");
        out.put_string(host_key);
        out.put_string(session_id);
        out.put_string(signature);
        out.put_bool(forwarding);
    })
}

fn frame(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_nested(fill);
    out
}

/// The length of the frame at the start of `input`, header included; none until four bytes are there.
pub fn frame_length(input: &[u8]) -> WireResult<Option<usize>> {
    let Some(head) = input.first_chunk::<4>() else { return Ok(None) };
    let n = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if n == 0 || n > FRAME_MAX { Err(WireError::TooLong("agent frame")) } else { Ok(Some(n + 4)) }
}

impl<'a> Answer<'a> {
    /// Reads a frame's body.
    pub fn decode(body: &'a [u8]) -> WireResult<Self> {
        let mut r = Reader::new(body);
        let answer = match r.u8("agent answer")? {
            FAILURE => return Ok(Answer::Failure),
            SUCCESS => return Ok(Answer::Success),
            IDENTITIES_ANSWER => {
                let n = r.u32("agent key count")?;
                if n > KEYS_MAX {
                    return Err(WireError::TooLong("agent key count"));
                }
                let mut keys = Vec::new();
                for _ in 0..n {
                    keys.push(Identity { key: r.string("agent key")?, comment: r.string("agent comment")? });
                }
                Answer::Identities(keys)
            }
            SIGN_RESPONSE => Answer::Signature(r.string("agent signature")?),
            _ => return Err(WireError::Invalid("agent answer")),
        };
        r.finish("agent answer")?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_measured_and_capped() {
        assert_eq!(frame_length(&[0, 0, 0]), Ok(None));
        assert_eq!(frame_length(&request_identities()), Ok(Some(5)));
        assert!(frame_length(&[0xff; 4]).is_err());
        assert!(frame_length(&[0; 4]).is_err());
    }

    #[test]
    fn answers() {
        let mut body = vec![IDENTITIES_ANSWER, 0, 0, 0, 1];
        body.put_string(b"key");
        body.put_string(b"comment");
        let keys = vec![Identity { key: b"key", comment: b"comment" }];
        assert_eq!(Answer::decode(&body), Ok(Answer::Identities(keys)));
        assert_eq!(Answer::decode(&[FAILURE]), Ok(Answer::Failure));
        assert!(Answer::decode(&[IDENTITIES_ANSWER, 0xff, 0, 0, 0]).is_err());
        assert!(Answer::decode(&[99]).is_err());
    }
}
