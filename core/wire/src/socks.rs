//! The server's side of SOCKS 4, 4A and 5 (RFC 1928), as far as ssh serves it: CONNECT without authentication.
//! What may be connected to, and connecting, is the caller's business.
//!
//! ```text
//!   5:  methods ─▶ Answer ─▶ request ─▶ Request ─▶ reply
//!   4:                       request ─▶ Request ─▶ reply
//! ```
//!
//! [`Dialogue::read`] looks at the bytes from where the last step ended and says how many it used: what follows a
//! request belongs to the connection.

use std::net::{Ipv4Addr, Ipv6Addr};

/// No request is longer: SOCKS 4A has two texts, and a host's name has at most 255 bytes. What is longer and still
/// not complete is refused.
pub const REQUEST_MAX: usize = 1024;

const V4: u8 = 4;
const V5: u8 = 5;
const CONNECT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xff;

/// How far one client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialogue {
    /// A SOCKS 5 client has been told the method.
    greeted: bool,
}

/// What the bytes so far come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come.
    Incomplete,
    /// Send the answer; the rest of the input is yet to be read.
    Answer {
        /// Bytes used.
        consumed: usize,
        /// To be sent.
        answer: Vec<u8>,
    },
    /// The client wants to be connected; send [`Request::reply`].
    Request {
        /// Bytes used.
        consumed: usize,
        /// What is wanted.
        request: Request,
    },
    /// Nothing that can be done: send the answer, which may be empty, and close.
    Refused(Vec<u8>),
}

/// Where a client wants to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A name or an address as text; not empty, no blanks, no control characters.
    pub host: Vec<u8>,
    /// Not 0.
    pub port: u16,
    version: u8,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Connected.
    Connected,
    /// A rule is against it.
    NotAllowed,
    /// It could not be connected.
    Failed,
}

impl Dialogue {
    /// Looks at what the client sent and was not used yet.
    pub fn read(&mut self, input: &[u8]) -> Progress {
        let step = match input.first() {
            None => Some(Progress::Incomplete),
            Some(&V4) if !self.greeted => version_4(input),
            Some(&V5) if self.greeted => version_5(input),
            Some(&V5) => self.methods(input),
            Some(_) => Some(Progress::Refused(Vec::new())),
        };
        match step {
            Some(step) => step,
            None if input.len() >= REQUEST_MAX => Progress::Refused(Vec::new()),
            None => Progress::Incomplete,
        }
    }

    /// RFC 1928 §3.
    fn methods(&mut self, input: &[u8]) -> Option<Progress> {
        let count = usize::from(*input.get(1)?);
        let methods = input.get(2..2 + count)?;
        if !methods.contains(&NO_AUTHENTICATION) {
            return Some(Progress::Refused(vec![V5, NO_METHOD]));
        }
        self.greeted = true;
        Some(Progress::Answer { consumed: 2 + count, answer: vec![V5, NO_AUTHENTICATION] })
    }
}

/// RFC 1928 §4. None: not complete.
fn version_5(input: &[u8]) -> Option<Progress> {
    const COMMAND_NOT_SUPPORTED: u8 = 7;
    const ADDRESS_NOT_SUPPORTED: u8 = 8;
    let refused = |code| Some(Progress::Refused(reply_5(code)));
    let (command, kind) = (*input.get(1)?, *input.get(3)?);
    if command != CONNECT {
        return refused(COMMAND_NOT_SUPPORTED);
    }
    let (host, used) = match kind {
        1 => (Ipv4Addr::from(array::<4>(input, 4)?).to_string().into_bytes(), 8),
        3 => {
            let end = 5 + usize::from(*input.get(4)?);
            (input.get(5..end)?.to_vec(), end)
        }
        4 => (Ipv6Addr::from(array::<16>(input, 4)?).to_string().into_bytes(), 20),
        _ => return refused(ADDRESS_NOT_SUPPORTED),
    };
    let port = u16::from_be_bytes(array(input, used)?);
    Some(request(V5, host, port, used + 2))
}

/// SOCKS 4 and its extension 4A. None: not complete.
fn version_4(input: &[u8]) -> Option<Progress> {
    let command = *input.get(1)?;
    let port = u16::from_be_bytes(array(input, 2)?);
    let address = array::<4>(input, 4)?;
    let (_user, end) = text(input, 8)?;
    if command != CONNECT {
        return Some(Progress::Refused(reply_4(false)));
    }
    // 4A: an impossible address, and a name behind the user's.
    let (host, end) = match address {
        [0, 0, 0, last] if last > 0 => text(input, end)?,
        address => (Ipv4Addr::from(address).to_string().into_bytes(), end),
    };
    Some(request(V4, host, port, end))
}

fn request(version: u8, host: Vec<u8>, port: u16, consumed: usize) -> Progress {
    let request = Request { host, port, version };
    let sane = |b: &u8| *b > b' ' && *b != 0x7f;
    if request.port == 0 || request.host.is_empty() || !request.host.iter().all(sane) {
        return Progress::Refused(request.reply(Outcome::Failed));
    }
    Progress::Request { consumed, request }
}

fn array<const N: usize>(input: &[u8], at: usize) -> Option<[u8; N]> {
    input.get(at..at + N)?.try_into().ok()
}

/// A text up to a NUL, and where it ends behind that.
fn text(input: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let rest = input.get(at..)?;
    let len = rest.iter().position(|&b| b == 0)?;
    Some((rest.get(..len)?.to_vec(), at + len + 1))
}

impl Request {
    /// What the client is told.
    #[must_use]
    pub fn reply(&self, outcome: Outcome) -> Vec<u8> {
        match (self.version, outcome) {
            (V5, Outcome::Connected) => reply_5(0),
            (V5, Outcome::NotAllowed) => reply_5(2),
            (V5, Outcome::Failed) => reply_5(1),
            (_, outcome) => reply_4(outcome == Outcome::Connected),
        }
    }
}

/// RFC 1928 §6; the bound address is the server's secret.
fn reply_5(code: u8) -> Vec<u8> {
    vec![V5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn reply_4(granted: bool) -> Vec<u8> {
    let code = if granted { 90 } else { 91 };
    vec![0, code, 0, 0, 0, 0, 0, 0]
}

/// For the fuzzer: any bytes in any pieces. What was used never exceeds what was there, and cutting changes nothing.
#[doc(hidden)]
pub fn fuzz_socks(input: &[u8]) {
    let whole = follow(input, input.len().max(1));
    assert_eq!(whole, follow(input, 1));
}

/// Reads to the end of the dialogue, `step` more bytes at a time. What was said, and how many bytes were used.
fn follow(input: &[u8], step: usize) -> (Vec<Progress>, usize) {
    let (mut dialogue, mut said, mut used, mut there) = (Dialogue::default(), Vec::new(), 0, 0);
    while there < input.len() {
        there = (there + step).min(input.len());
        loop {
            let progress = dialogue.read(input.get(used..there).unwrap_or_default());
            match &progress {
                Progress::Incomplete => break,
                Progress::Answer { consumed, .. } => used += consumed,
                Progress::Request { consumed, .. } => {
                    used += consumed;
                    assert!(used <= there);
                    said.push(progress);
                    return (said, used);
                }
                Progress::Refused(_) => {
                    said.push(progress);
                    return (said, used);
                }
            }
            assert!(used <= there);
            said.push(progress);
        }
    }
    (said, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for in the end, from how many bytes.
    fn asked(input: &[u8]) -> Option<(String, u16, usize)> {
        fuzz_socks(input);
        let (said, used) = follow(input, 1);
        match said.last()? {
            Progress::Request { request, .. } => {
                Some((String::from_utf8(request.host.clone()).ok()?, request.port, used))
            }
            _ => None,
        }
    }

    #[test]
    fn each_version_names_a_target_and_keeps_what_follows() {
        let five = |rest: &[u8]| [b"\x05\x02\x02\x00\x05\x01\x00", rest, b"later"].concat();
        for (input, host) in [
            (five(b"\x01\x7f\0\0\x01\x1f\x90"), "127.0.0.1"),
            (five(b"\x03\x07example\x1f\x90"), "example"),
            (five(b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x1f\x90"), "2001:db8::1"),
            (b"\x04\x01\x1f\x90\x7f\0\0\x01user\0later".to_vec(), "127.0.0.1"),
            (b"\x04\x01\x1f\x90\0\0\0\x01\0example\0later".to_vec(), "example"),
        ] {
            assert_eq!(asked(&input), Some((host.to_owned(), 8080, input.len() - 5)), "{input:?}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_in_its_own_version() {
        for (input, answer) in [
            (&b"\x05\x01\x02"[..], &b"\x05\xff"[..]),
            (b"\x05\x01\0\x05\x02\0\x01", b"\x05\x07\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\0\x05\x01\0\x09", b"\x05\x08\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\0\x05\x01\0\x03\0\0\x50", b"\x05\x01\0\x01\0\0\0\0\0\0"),
            (b"\x05\x01\0\x05\x01\0\x03\x03a b\0\x50", b"\x05\x01\0\x01\0\0\0\0\0\0"),
            (b"\x04\x02\0\x50\x7f\0\0\x01\0", b"\0\x5b\0\0\0\0\0\0"),
            (b"\x04\x01\0\0\x7f\0\0\x01\0", b"\0\x5b\0\0\0\0\0\0"),
            (b"GET / HTTP/1.0\r\n\r\n", b""),
            (b"\x05\x01\0\x04\x01\0", b""),
        ] {
            fuzz_socks(input);
            assert_eq!(follow(input, 1).0.last(), Some(&Progress::Refused(answer.to_vec())), "{input:?}");
        }
    }

    #[test]
    fn nothing_grows_without_a_bound() {
        let endless = [&b"\x04\x01\0\x50\x7f\0\0\x01"[..], &[b'u'; REQUEST_MAX]].concat();
        assert_eq!(Dialogue::default().read(&endless[..REQUEST_MAX - 1]), Progress::Incomplete);
        assert_eq!(Dialogue::default().read(&endless[..REQUEST_MAX]), Progress::Refused(Vec::new()));
    }

    #[test]
    fn replies_tell_the_outcome() {
        let reply = |version, outcome| Request { host: b"h".to_vec(), port: 1, version }.reply(outcome);
        for (outcome, four, five) in
            [(Outcome::Connected, 90, 0), (Outcome::NotAllowed, 91, 2), (Outcome::Failed, 91, 1)]
        {
            assert_eq!(
                (reply(V4, outcome)[..2].to_vec(), reply(V5, outcome)[..2].to_vec()),
                (vec![0, four], vec![5, five])
            );
        }
    }
}
