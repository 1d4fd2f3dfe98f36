//! Functions that must take any bytes: for the fuzzers in `fuzz/` and the corpus that ordinary tests replay.
//! They look for panics and for broken promises of the machine, not for particular results.

use std::time::{Duration, Instant};

use sockward_crypto::Random;
use sockward_wire::gate::{ANSWER, Finder, Found};

use crate::event::{AuthMethod, Event, GlobalRequest, OpenRequest};
use crate::transport::PACKET_MAX;
use crate::{Algorithms, Config, Connection, Error, HostSignature, Received, Side};

/// Repeatable bytes in place of randomness.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// Any bytes in place of a peer's beginning: identification, packets, key exchange. The first byte chooses the
/// side, the second how the rest is chopped.
pub fn fuzz_handshake(data: &[u8], now: Instant) {
    let [side, piece, rest @ ..] = data else { return };
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
    let algorithms = Algorithms {
        kex: names(&["curve25519-sha256", "ecdh-sha2-nistp256"]),
        host_key: names(&["ssh-ed25519"]),
        ciphers: names(&["aes128-gcm@openssh.com", "aes128-ctr"]),
        macs: names(&["hmac-sha2-256"]),
    };
    let version = b"SSH-2.0-x".to_vec();
    let config = match side % 2 {
        0 => Config::client(version, algorithms),
        _ => Config::server(version, algorithms, "ssh-ed25519".into(), [0; 16]),
    };
    let Ok(mut conn) = Connection::new(config, Box::new(Counting(0)), now) else { return };
    let mut input = Vec::new();
    for piece in rest.chunks(usize::from(*piece).max(1)) {
        input.extend_from_slice(piece);
        if drive(&mut conn, &mut input, now).is_err() {
            return;
        }
    }
}

/// Any messages in any order on the connection layer, between actions of an application that does whatever the
/// bytes say. Each action is a byte and what it needs; messages are put into packets here, so that the fuzzer
/// need not find out how.
pub fn fuzz_connection_layer(data: &[u8], now: Instant) {
    let [side, rest @ ..] = data else { return };
    let side = if side % 2 == 0 { Side::Client } else { Side::Server };
    let Ok(mut conn) = Connection::new(Config::null(side), Box::new(Counting(0)), now) else { return };
    let mut rest = rest;
    let mut now = now;
    while let [action, tail @ ..] = rest {
        rest = tail;
        let channel = conn.channels().get(usize::from(action >> 4)).copied();
        let result = match (action & 15, channel) {
            (0..=7, _) => {
                let [length, tail @ ..] = rest else { return };
                let (payload, tail) = tail.split_at_checked(usize::from(*length)).unwrap_or((tail, &[]));
                rest = tail;
                drive(&mut conn, &mut packet(payload), now)
            }
            (8, _) => conn.open_channel(&OpenRequest::Session).map(drop),
            (9, Some(channel)) => conn.close_if_open(channel),
            (10, Some(channel)) => conn.send_eof(channel),
            (11, Some(channel)) => conn.consumed(channel, 1000),
            (12, Some(channel)) => {
                let sendable = conn.sendable(channel);
                conn.send_data(channel, None, 5000, |slots| {
                    let room: usize = slots.iter().map(|s| s.len()).sum();
                    assert!(room <= sendable.min(5000), "more room than window");
                    Ok::<_, ()>(room)
                })
                .map(drop)
            }
            (13, _) => {
                let at = GlobalRequest::StreamlocalForward { path: b"/x".to_vec() };
                conn.global_request(&at).map(drop)
            }
            (14, _) => {
                now += Duration::from_secs(60);
                conn.handle_timeout(now)
            }
            (15, Some(channel)) => {
                conn.hold_close(channel);
                Ok(())
            }
            _ => Ok(()),
        };
        if result.is_err() {
            return;
        }
        let Ok(out) = conn.pending_output() else { return };
        let written = out.len();
        conn.output_written(written);
    }
}

/// Any bytes in place of a gate, or of a gate's near end, from the first one on: noise, the greeting or the answer, and
/// packets as they stand, in pieces. The first byte chooses who is attacked, the second the size of the pieces.
/// Decisions are mocked: what lies under `/p/` is permitted, the near end has asked for `/p/s`.
pub fn fuzz_gate(data: &[u8], now: Instant) {
    let [side, piece, rest @ ..] = data else { return };
    let side = if side % 2 == 0 { Side::Client } else { Side::Server };
    let mut pieces = rest.chunks(usize::from(*piece).max(1));
    let mut input = Vec::new();
    if side == Side::Client {
        let mut finder = Finder::default();
        loop {
            let Some(piece) = pieces.next() else { return };
            match finder.push(piece) {
                Ok(Found::Nothing) => {}
                Ok(Found::Greeting) => break,
                Err(_) => return,
            }
        }
    } else {
        while input.len() < ANSWER.len() {
            let Some(piece) = pieces.next() else { return };
            input.extend_from_slice(piece);
        }
        if !input.starts_with(ANSWER) {
            return;
        }
        input.drain(..ANSWER.len());
    }
    let Ok(mut conn) = Connection::new(Config::null(side), Box::new(Counting(0)), now) else { return };
    if side == Side::Client {
        let at = GlobalRequest::StreamlocalForward { path: b"/p/s".to_vec() };
        if conn.global_request(&at).is_err() {
            return;
        }
    }
    loop {
        let over = converse(&mut conn, &mut input, now).is_err();
        match pieces.next() {
            Some(piece) if !over => input.extend_from_slice(piece),
            Some(_) | None => return,
        }
    }
}

/// Takes what is in the input as a gate or its near end does, under the mocked decisions. What is to be said is said
/// only when the machine waits for that: until then it must stay bounded.
fn converse(conn: &mut Connection, input: &mut Vec<u8>, now: Instant) -> Result<(), Error> {
    loop {
        let waits = match conn.recv(input, now)? {
            Received::NeedMore => {
                assert!(input.len() <= PACKET_MAX + 4, "more than a packet is asked for");
                return Ok(());
            }
            Received::Blocked => true,
            Received::Progress(n) => {
                assert!(n > 0 && n <= input.len(), "progress of {n} in {}", input.len());
                input.drain(..n);
                false
            }
            Received::Data { consumed, data, channel, .. } => {
                assert!(data.end <= consumed && consumed <= input.len(), "data beyond its packet");
                // Every other reader stalls.
                if channel.index().is_multiple_of(2) {
                    conn.consumed(channel, data.len())?;
                }
                input.drain(..consumed);
                false
            }
        };
        while let Some(event) = conn.poll_event() {
            decide(conn, event)?;
        }
        let due = conn.pending_output()?.len();
        assert!(due <= OUTPUT_MAX, "{due} bytes wait to be said");
        if waits {
            assert!(due > 0, "it waits, and has nothing to say");
            conn.output_written(due);
        }
    }
}

/// More than a peer that reads nothing may make us hold.
const OUTPUT_MAX: usize = 4 << 20;

fn decide(conn: &mut Connection, event: Event) -> Result<(), Error> {
    let permitted = |path: &[u8]| path.starts_with(b"/p/");
    match event {
        Event::OpenRequested(question) => {
            let allowed = match &question.kind {
                OpenRequest::DirectStreamlocal { path, .. }
                | OpenRequest::ForwardedStreamlocal { path, .. } => permitted(path),
                OpenRequest::Session | OpenRequest::DirectTcpip(_) | OpenRequest::ForwardedTcpip(_) => false,
            };
            // Dropped, and so refused.
            if allowed { conn.accept_channel(question).map(drop) } else { Ok(()) }
        }
        Event::Global(question) => {
            let allowed = match &question.request {
                GlobalRequest::StreamlocalForward { path }
                | GlobalRequest::CancelStreamlocalForward { path } => permitted(path),
                _ => false,
            };
            conn.answer_global(question, allowed.then(Vec::new))
        }
        Event::Requested(question) => conn.answer_request(question, false),
        _ => Ok(()),
    }
}

impl Connection {
    /// Closes a channel that may not be open yet: then nothing happens.
    fn close_if_open(&mut self, channel: crate::ChannelId) -> Result<(), Error> {
        match self.channels.is_confirmed(channel) {
            true => self.close_channel(channel),
            false => Ok(()),
        }
    }
}

/// Takes what is in the input, answers every question in one way or the other.
fn drive(conn: &mut Connection, input: &mut Vec<u8>, now: Instant) -> Result<(), Error> {
    loop {
        let length = input.len();
        match conn.recv(input, now)? {
            Received::NeedMore => return Ok(()),
            Received::Blocked => {}
            Received::Progress(n) => {
                assert!(n > 0 && n <= length, "progress of {n} in {length}");
                input.drain(..n);
            }
            Received::Data { consumed, data, channel, .. } => {
                assert!(data.end <= consumed && consumed <= length, "data beyond its packet");
                // Every other reader stalls.
                if channel.index().is_multiple_of(2) {
                    conn.consumed(channel, data.len())?;
                }
                input.drain(..consumed);
            }
        }
        while let Some(event) = conn.poll_event() {
            answer(conn, event)?;
        }
    }
}

fn answer(conn: &mut Connection, event: Event) -> Result<(), Error> {
    match event {
        Event::HostKey(question) => conn.accept_host_key(question),
        Event::Signature(question) => {
            let signature = HostSignature { host_key: vec![1], signature: vec![2], next_cookie: [0; 16] };
            conn.host_signature(question, &signature)
        }
        Event::AuthRequested(question) if question.method == AuthMethod::None => conn.auth_success(question),
        Event::AuthRequested(question) => conn.auth_failure(question, "publickey", false),
        Event::OpenRequested(question) => match question.kind {
            OpenRequest::Session => conn.accept_channel(question).map(drop),
            // Dropped, and so refused.
            _ => Ok(()),
        },
        Event::Global(question) => conn.answer_global(question, Some(vec![0, 0, 0, 9])),
        Event::Requested(question) => conn.answer_request(question, true),
        _ => Ok(()),
    }
}

/// A clear packet (RFC 4253 §6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let payload = if payload.is_empty() { &[0][..] } else { payload };
    let mut padding = 8 - (payload.len() + 5) % 8;
    if padding < 4 {
        padding += 8;
    }
    let length = u32::try_from(payload.len() + 1 + padding).unwrap_or(u32::MAX);
    let mut out = length.to_be_bytes().to_vec();
    out.push(u8::try_from(padding).unwrap_or(4));
    out.extend_from_slice(payload);
    out.resize(out.len() + padding, 0);
    out
}
