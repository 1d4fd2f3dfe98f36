//! One session, and a peer and local programs that do what is least convenient: they do not read, go early, or
//! go on talking after the end. The test moves every byte itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use sockward_crypto::SystemRandom;
use sockward_drive::{
    Buffers, Closing, End, Ends, Env, Handler, Net, Pipes, PumpEvent, Session, Status, Subject,
};
use sockward_proto::event::{GlobalRequest, OpenRequest};
use sockward_proto::{ChannelId, Config, Connection, Event, Received, Side};
use sockward_wire::transport::Ping;

/// Small, so that little fits between a session and whoever does not read.
const SOCKET_BUFFER: usize = 16 * 1024;

/// Joins every channel to a new socket.
#[derive(Default)]
struct App {
    /// The outer ends, in order.
    outer: Vec<UnixStream>,
    /// Channels are sessions: two one-way descriptors, what is written to and then what is read from, and the
    /// peer's CLOSE is held.
    sessions: bool,
    peer_closed: Option<ChannelId>,
}

impl Handler for App {
    fn event(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        event: Event,
    ) -> sockward_proto::Result<()> {
        if let Event::PeerClosed(channel) = event {
            self.peer_closed = Some(channel);
        }
        if let Event::OpenRequested(question) = event {
            let mut pair = || {
                let (inner, outer) = UnixStream::pair().unwrap();
                inner.set_nonblocking(true).unwrap();
                outer.set_nonblocking(true).unwrap();
                rustix::net::sockopt::set_socket_send_buffer_size(&inner, SOCKET_BUFFER).unwrap();
                self.outer.push(outer);
                inner
            };
            let inner = pair();
            let channel = session.conn.accept_channel(question)?;
            if self.sessions {
                session.attach(channel, Closing::Manual);
                session.conn.hold_close(channel);
                let (output, input) = (Some(inner.into()), Some(pair().into()));
                let pipes = Pipes { output, input, error: None };
                session.set_ends(channel, Ends::Pipes(Box::new(pipes)), env).unwrap();
                return Ok(());
            }
            session.attach(channel, Closing::Automatic);
            session.set_ends(channel, Ends::Socket(OwnedFd::from(inner)), env).unwrap();
        }
        Ok(())
    }

    fn pump(&mut self, _: &mut Session, _: &mut Env<'_>, _: PumpEvent) -> sockward_proto::Result<()> {
        Ok(())
    }
}

struct Rig {
    poll: Poll,
    buffers: Buffers,
    session: Session,
    app: App,
    /// The peer's end of the network.
    network: UnixStream,
    peer: Connection,
    input: Vec<u8>,
    /// What the peer received on its channels.
    received: Vec<u8>,
    closed: bool,
}

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        let poll = Poll::new().unwrap();
        let (network, ours) = UnixStream::pair().unwrap();
        network.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, SOCKET_BUFFER).unwrap();
        let conn = |side| Connection::new(Config::null(side), Box::new(SystemRandom::new()), now).unwrap();
        let session = Session::new(0, conn(Side::Server), Net::socket(ours.into()), poll.registry()).unwrap();
        Rig {
            poll,
            buffers: Buffers::default(),
            session,
            app: App::default(),
            network,
            peer: conn(Side::Client),
            input: Vec::new(),
            received: Vec::new(),
            closed: false,
        }
    }

    /// Tells the session what is ready and lets it work until it is idle.
    fn work(&mut self) -> Result<(), End> {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        for event in &events {
            match Subject::of(event.token()) {
                Some(Subject::Net { .. }) => self.session.net_ready(event),
                Some(Subject::Pump { pump, role, .. }) => self.session.pump_ready(pump, role, event),
                other => panic!("{other:?}"),
            }
        }
        let Rig { poll, buffers, session, app, .. } = self;
        for _ in 0..1000 {
            let mut env = Env { registry: poll.registry(), buffers, now: Instant::now() };
            if session.work(&mut env, app)? == Status::Idle {
                return Ok(());
            }
        }
        panic!("the session is busy with nothing");
    }

    /// Writes what the peer has to say, as far as the network takes it.
    fn peer_writes(&mut self) {
        let out = self.peer.pending_output().unwrap().to_vec();
        let n = write_some(&mut self.network, &out);
        self.peer.output_written(n);
    }

    fn peer_reads(&mut self) {
        let mut buffer = vec![0; 1 << 20];
        let n = read_some(&mut self.network, &mut buffer);
        self.input.extend_from_slice(&buffer[..n]);
        loop {
            match self.peer.recv(&mut self.input, Instant::now()).unwrap() {
                Received::NeedMore | Received::Blocked => break,
                Received::Progress(n) => drop(self.input.drain(..n)),
                Received::Data { consumed, channel, data, .. } => {
                    self.received.extend_from_slice(&self.input[data.clone()]);
                    self.peer.consumed(channel, data.len()).unwrap();
                    self.input.drain(..consumed);
                }
            }
        }
        while let Some(event) = self.peer.poll_event() {
            self.closed |= matches!(event, Event::Closed(_));
        }
    }

    fn open_channel(&mut self) -> (ChannelId, UnixStream) {
        let id = self.peer.open_channel(&OpenRequest::Session).unwrap();
        while self.peer.sendable(id) == 0 {
            self.peer_writes();
            self.work().unwrap();
            self.peer_reads();
        }
        (id, self.app.outer.pop().unwrap())
    }

    fn peer_sends(&mut self, channel: ChannelId, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let sent = self.peer.send_data(channel, None, left.len(), |slices| {
                let mut n = 0;
                for slice in slices {
                    let take = slice.len().min(left.len() - n);
                    slice[..take].copy_from_slice(&left[n..n + take]);
                    n += take;
                }
                Ok::<_, ()>(n)
            });
            let n = sent.unwrap().unwrap();
            assert!(n > 0, "the window is shut");
            left = &left[n..];
        }
    }
}

fn read_some(from: &mut UnixStream, buffer: &mut [u8]) -> usize {
    match from.read(buffer) {
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
        Err(e) => panic!("{e}"),
    }
}

fn write_some(to: &mut UnixStream, bytes: &[u8]) -> usize {
    match to.write(bytes) {
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
        Err(e) => panic!("{e}"),
    }
}

/// A PING in a clear packet (RFC 4253 §6). Its answer is as long.
fn ping(data: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    Ping { data }.encode(&mut payload);
    let mut padding = 8 - (payload.len() + 5) % 8;
    if padding < 4 {
        padding += 8;
    }
    let mut out = u32::try_from(payload.len() + 1 + padding).unwrap().to_be_bytes().to_vec();
    out.push(u8::try_from(padding).unwrap());
    out.extend_from_slice(&payload);
    out.resize(out.len() + padding, 0);
    out
}

#[test]
fn what_a_target_said_before_it_left_arrives_though_more_is_sent_to_it() {
    let mut rig = Rig::new();
    let (channel, mut target) = rig.open_channel();
    // A server that refuses an upload: it answers and closes while the upload is still coming.
    let answer: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    target.write_all(&answer).unwrap();
    drop(target);
    rig.peer_sends(channel, &[7; 50_000]);
    for _ in 0..1000 {
        rig.peer_writes();
        rig.work().unwrap();
        rig.peer_reads();
        if rig.closed {
            break;
        }
    }
    assert!(rig.closed, "the channel ends when its target has gone");
    assert_eq!(rig.received.len(), answer.len());
    assert!(rig.received == answer);
}

#[test]
fn a_peer_that_asks_and_does_not_read_the_answers_is_kept_waiting() {
    let mut rig = Rig::new();
    let one = ping(&[1; 30_000]);
    let all = one.repeat(2000);
    let mut written = 0;
    // Until nothing more is taken from it.
    loop {
        let n = write_some(&mut rig.network, &all[written..]);
        rig.work().unwrap();
        written += n;
        if n == 0 {
            break;
        }
    }
    let held = rig.session.conn.pending_output().unwrap().len();
    assert!(held < 4 << 20, "{held} bytes of answers are held for somebody who does not read");
    // It reads at last, and everything is answered.
    let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
    for _ in 0..100_000 {
        written += write_some(&mut rig.network, &all[written..]);
        rig.work().unwrap();
        read += read_some(&mut rig.network, &mut buffer);
        if read == all.len() {
            return;
        }
    }
    panic!("{read} of {} bytes were answered", all.len());
}

#[test]
fn readers_get_what_has_arrived_while_the_network_takes_nothing() {
    let mut rig = Rig::new();
    let uploads = [rig.open_channel().1, rig.open_channel().1, rig.open_channel().1];
    let (download, mut reader) = rig.open_channel();
    let sent: Vec<u8> = (0..=250).cycle().take(200_000).collect();
    rig.peer_sends(download, &sent);
    while !rig.peer.pending_output().unwrap().is_empty() {
        rig.peer_writes();
        rig.work().unwrap();
    }
    assert!(rig.session.queued_bytes() > 100_000);
    // As much goes out as the network takes and the session holds.
    let chunk = [5; 8192];
    for _ in 0..1000 {
        uploads.iter().for_each(|mut upload| {
            let _ = upload.write(&chunk);
        });
        rig.work().unwrap();
    }
    assert!(rig.session.conn.pending_output().unwrap().len() >= 200 * 1024);
    let (mut got, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    for _ in 0..2000 {
        let n = read_some(&mut reader, &mut buffer);
        got.extend_from_slice(&buffer[..n]);
        rig.work().unwrap();
    }
    assert_eq!(got.len(), sent.len());
    assert!(got == sent);
}

#[test]
fn a_good_bye_is_the_end_whatever_still_comes() {
    let mut rig = Rig::new();
    let (channel, _target) = rig.open_channel();
    rig.peer_sends(channel, b"still talking");
    rig.peer.global_request(&GlobalRequest::StreamlocalForward { path: b"/x".to_vec() }).unwrap();
    rig.peer_writes();
    rig.session.conn.disconnect("that was all");
    assert_eq!(rig.work(), Err(End::Done));
}

/// The command takes all that was sent before the CLOSE, its writes fail at once, and the channel stays until the
/// application closes it.
#[test]
fn a_held_close_ends_a_command_s_streams_and_leaves_its_channel() {
    let mut rig = Rig::new();
    rig.app.sessions = true;
    let (id, mut stdout) = rig.open_channel();
    let mut stdin = rig.app.outer.pop().unwrap();
    let sent = [7; 4 * SOCKET_BUFFER];
    rig.peer_sends(id, &sent);
    rig.peer.close_channel(id).unwrap();
    while rig.app.peer_closed.is_none() {
        rig.peer_writes();
        rig.work().unwrap();
    }
    assert_eq!(stdout.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut taken = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => taken.extend_from_slice(&buffer[..n]),
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
        rig.work().unwrap();
    }
    assert!(taken == sent);
    assert_eq!(rig.session.queued_bytes(), 0);
    rig.peer_reads();
    assert!(!rig.closed);
    rig.session.conn.close_channel(rig.app.peer_closed.unwrap()).unwrap();
    rig.work().unwrap();
    rig.peer_reads();
    assert!(rig.closed);
    assert_eq!(rig.session.conn.channel_count(), 0);
}

#[test]
fn what_waits_goes_out_to_a_peer_that_has_ended_its_direction() {
    let mut rig = Rig::new();
    rig.network.shutdown(std::net::Shutdown::Write).unwrap();
    rig.session.conn.ask_alive().unwrap();
    assert_eq!(rig.work(), Err(End::Lost));
    assert!(read_some(&mut rig.network, &mut [0; 100]) > 0);
}
