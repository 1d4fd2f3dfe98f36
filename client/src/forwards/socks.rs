//! SOCKS clients that have not been connected yet: of `-D`, on a socket of ours; of `-R port`, at the far end of a
//! channel. What they say is read no further than their request goes: the rest belongs to the connection.
//!
//! ```text
//!   -D   accepted ─▶ Local: talk ─▶ Wanted ─▶ a channel is asked for ─▶ reply ─▶ joined
//!   -R   channel  ─▶ Remote: talk ─▶ permitted? ─▶ targets: connect ─▶ reply ─▶ joined
//! ```

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use sockward_drive::Session;
use sockward_proto::{ChannelId, Result};
use sockward_sys::fd;
use sockward_wire::socks::{Dialogue, Outcome, Progress, REQUEST_MAX, Request};

use crate::watched::Watched;

/// Those of `-D`.
#[derive(Default)]
pub(crate) struct Locals {
    next: usize,
    talking: HashMap<usize, Local>,
}

struct Local {
    socket: OwnedFd,
    origin: Option<SocketAddr>,
    dialogue: Dialogue,
}

/// A local client has said where to.
pub(crate) struct Wanted {
    pub(crate) socket: OwnedFd,
    pub(crate) origin: Option<SocketAddr>,
    pub(crate) request: Request,
}

impl Locals {
    /// Somebody has connected.
    pub(crate) fn accepted(
        &mut self,
        socket: OwnedFd,
        origin: Option<SocketAddr>,
        registry: &Registry,
    ) -> Option<Wanted> {
        let n = self.next;
        self.next += 1;
        let token = Watched::Socks(n).token();
        if let Err(e) = registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE) {
            log::error!("cannot watch a connection: {e}");
            return None;
        }
        self.talking.insert(n, Local { socket, origin, dialogue: Dialogue::default() });
        self.ready(n, registry)
    }

    /// The poller says that the n-th has something to say.
    pub(crate) fn ready(&mut self, n: usize, registry: &Registry) -> Option<Wanted> {
        let local = self.talking.get_mut(&n)?;
        let step = local.talk();
        if matches!(step, Ok(None)) {
            return None;
        }
        let Local { socket, origin, .. } = self.talking.remove(&n)?;
        // Whoever gets it watches it in his own way; closing it would do the same.
        let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        match step {
            Ok(request) => request.map(|request| Wanted { socket, origin, request }),
            Err(e) => {
                log::debug!("SOCKS client of {}: {e}", super::local::origin(origin).0);
                None
            }
        }
    }
}

impl Local {
    /// Goes on as far as it goes without waiting. An error ends it.
    fn talk(&mut self) -> io::Result<Option<Request>> {
        let mut buffer = [0; REQUEST_MAX];
        loop {
            let there = match fd::peek(&self.socket, &mut buffer) {
                Ok(0) => return Err(io::Error::other("it left without a request")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            };
            match self.dialogue.read(buffer.get(..there).unwrap_or_default()) {
                Progress::Incomplete => return Ok(None),
                Progress::Answer { consumed, answer } => {
                    self.take(consumed, &mut buffer)?;
                    say(&self.socket, &answer)?;
                }
                Progress::Request { consumed, request } => {
                    self.take(consumed, &mut buffer)?;
                    return Ok(Some(request));
                }
                Progress::Refused(answer) => {
                    say(&self.socket, &answer)?;
                    return Err(io::Error::other("nothing that is served here"));
                }
            }
        }
    }

    /// Reads what was peeked at and used.
    fn take(&self, consumed: usize, buffer: &mut [u8]) -> io::Result<()> {
        let read = fd::read(&self.socket, buffer.get_mut(..consumed).unwrap_or_default())?;
        if read == consumed { Ok(()) } else { Err(io::Error::other("short read")) }
    }
}

/// Tells a local client what became of its request. It has been told little before: its buffer has room.
pub(crate) fn say(socket: &OwnedFd, answer: &[u8]) -> io::Result<()> {
    let written = if answer.is_empty() { 0 } else { fd::write(socket, answer)? };
    if written == answer.len() { Ok(()) } else { Err(io::Error::other("it does not listen")) }
}

/// Those of `-R port`.
#[derive(Default)]
pub(crate) struct Remotes(HashMap<ChannelId, Remote>);

struct Remote {
    state: State,
    /// It says no more than what waits.
    ended: bool,
    /// To be sent before anything else.
    out: Vec<u8>,
}

enum State {
    Talking(Dialogue),
    /// It has said where to.
    Connecting(Request),
    /// The connection is there.
    Joining(OwnedFd),
    /// It was refused.
    Closing,
}

/// What one round with the remote clients came to.
pub(crate) enum Step {
    /// One wants to be connected: answer with [`Remotes::connected`].
    Connect { channel: ChannelId, host: Vec<u8>, port: u16 },
    /// One has been told that it is connected.
    Join { channel: ChannelId, socket: OwnedFd },
}

impl Remotes {
    /// A channel from a listener of the server's, with a pump without descriptors.
    pub(crate) fn opened(&mut self, channel: ChannelId) {
        let state = State::Talking(Dialogue::default());
        self.0.insert(channel, Remote { state, ended: false, out: Vec::new() });
    }

    /// The channel is gone.
    pub(crate) fn gone(&mut self, channel: ChannelId) {
        self.0.remove(&channel);
    }

    /// The client says no more. What it has said before may hold its request still.
    pub(crate) fn ended(&mut self, channel: ChannelId) {
        if let Some(remote) = self.0.get_mut(&channel) {
            remote.ended = true;
        }
    }

    /// What became of a request.
    pub(crate) fn connected(&mut self, channel: ChannelId, outcome: std::result::Result<OwnedFd, Outcome>) {
        let Some(remote) = self.0.get_mut(&channel) else { return };
        let State::Connecting(request) = &remote.state else { return };
        let (reply, state) = match outcome {
            Ok(socket) => (request.reply(Outcome::Connected), State::Joining(socket)),
            Err(outcome) => (request.reply(outcome), State::Closing),
        };
        remote.out.extend(reply);
        remote.state = state;
    }

    /// Goes on with all of them as far as it goes without waiting. Call it whenever something may have arrived.
    pub(crate) fn step(&mut self, session: &mut Session) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        let mut done = Vec::new();
        for (channel, remote) in &mut self.0 {
            let step = remote.step(*channel, session)?;
            if matches!(step, Some(Step::Join { .. }))
                || matches!(remote.state, State::Closing) && remote.out.is_empty()
            {
                done.push(*channel);
            }
            steps.extend(step);
        }
        for channel in done {
            self.0.remove(&channel);
        }
        Ok(steps)
    }
}

impl Remote {
    fn step(&mut self, channel: ChannelId, session: &mut Session) -> Result<Option<Step>> {
        let mut step = None;
        while let State::Talking(dialogue) = &mut self.state {
            match dialogue.read(session.waiting(channel)) {
                // It can have no request any more.
                Progress::Incomplete if self.ended => self.state = State::Closing,
                Progress::Incomplete => break,
                Progress::Answer { consumed, answer } => {
                    session.take_waiting(channel, consumed)?;
                    self.out.extend(answer);
                }
                Progress::Request { consumed, request } => {
                    session.take_waiting(channel, consumed)?;
                    step = Some(Step::Connect { channel, host: request.host.clone(), port: request.port });
                    self.state = State::Connecting(request);
                }
                Progress::Refused(answer) => {
                    self.out.extend(answer);
                    self.state = State::Closing;
                }
            }
        }
        if !self.out.is_empty() {
            let sent = session.say(channel, &self.out)?;
            self.out.drain(..sent);
        }
        if !self.out.is_empty() {
            return Ok(step);
        }
        match std::mem::replace(&mut self.state, State::Closing) {
            State::Joining(socket) => step = Some(Step::Join { channel, socket }),
            State::Closing => session.conn.close_channel(channel)?,
            state => self.state = state,
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Poll;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, OwnedFd) {
        let (client, ours) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (client, ours.into())
    }

    #[test]
    fn what_follows_a_request_stays_in_the_socket() {
        let poll = Poll::new().unwrap();
        let (mut client, ours) = pair();
        let mut locals = Locals::default();
        client.write_all(b"\x05\x01").unwrap();
        assert!(locals.accepted(ours, None, poll.registry()).is_none());
        client.write_all(b"\x00\x05\x01\x00\x03\x04host\x00").unwrap();
        assert!(locals.ready(0, poll.registry()).is_none());
        client.write_all(b"\x50first").unwrap();
        let wanted = locals.ready(0, poll.registry()).unwrap();
        assert_eq!((wanted.request.host.as_slice(), wanted.request.port), (&b"host"[..], 80));
        say(&wanted.socket, &wanted.request.reply(Outcome::Connected)).unwrap();
        let (mut left, mut told) = ([0; 16], [0; 12]);
        assert_eq!(fd::read(&wanted.socket, &mut left).unwrap(), 5);
        assert_eq!(&left[..5], b"first");
        client.read_exact(&mut told).unwrap();
        assert_eq!(told, *b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0");
        assert!(locals.talking.is_empty());
    }

    #[test]
    fn who_talks_something_else_or_leaves_is_let_go() {
        let poll = Poll::new().unwrap();
        let mut locals = Locals::default();
        for says in [&b"GET / HTTP/1.0\r\n"[..], b""] {
            let (mut client, ours) = pair();
            client.write_all(says).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(locals.accepted(ours, None, poll.registry()).is_none());
            assert!(locals.talking.is_empty());
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
            assert!(rest.is_empty());
        }
    }
}
