//! Two sessions on real sockets, joined by a socketpair, in one loop: what goes into a descriptor on one
//! side comes out of one on the other, whatever the readers do.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use sockward_crypto::SystemRandom;
use sockward_drive::{
    Buffers, Closing, End, Ends, Env, Handler, Net, PumpEvent, Session, Status, Subject, Totals,
};
use sockward_proto::event::OpenRequest;
use sockward_proto::{ChannelId, Config, Connection, Event, Side};

/// Opens channels for descriptors it is given, and takes channels with descriptors it makes.
struct App {
    opening: HashMap<ChannelId, OwnedFd>,
    /// Outer ends of the channels this side took, in order.
    taken: Sender<UnixStream>,
    finished: Vec<Totals>,
}

impl Handler for App {
    fn event(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        event: Event,
    ) -> sockward_proto::Result<()> {
        let (channel, inner) = match event {
            Event::OpenRequested(question) => {
                let (inner, outer) = UnixStream::pair().unwrap();
                self.taken.send(outer).unwrap();
                (session.conn.accept_channel(question)?, OwnedFd::from(inner))
            }
            Event::Opened(channel) => (channel, self.opening.remove(&channel).unwrap()),
            _ => return Ok(()),
        };
        sockward_sys::fd::set_nonblocking(&inner, true).unwrap();
        session.attach(channel, Closing::Automatic);
        session.set_ends(channel, Ends::Socket(inner), env).unwrap();
        Ok(())
    }

    fn pump(&mut self, _: &mut Session, _: &mut Env<'_>, event: PumpEvent) -> sockward_proto::Result<()> {
        if let PumpEvent::Finished(_, totals) = event {
            self.finished.push(totals);
        }
        Ok(())
    }
}

/// What the loop's thread leaves behind.
struct Left {
    channels: [usize; 2],
    finished: [Vec<Totals>; 2],
}

/// The loop, on a thread of its own.
struct World {
    open: Sender<OwnedFd>,
    taken: Receiver<UnixStream>,
    stop: Arc<AtomicBool>,
    /// The most bytes that waited for their readers so far.
    most_queued: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Left>>,
}

impl World {
    fn new() -> Self {
        let (open, requests) = channel();
        let (took, taken) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let most_queued = Arc::new(AtomicUsize::new(0));
        let (stopping, queued) = (Arc::clone(&stop), Arc::clone(&most_queued));
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || run(&requests, &took, &stopping, &queued, &ready));
        is_ready.recv().unwrap();
        World { open, taken, stop, most_queued, thread: Some(thread) }
    }

    /// A connection through both sessions: our end here and our end there.
    fn connect(&self) -> (UnixStream, UnixStream) {
        let (inner, outer) = UnixStream::pair().unwrap();
        self.open.send(inner.into()).unwrap();
        (outer, self.taken.recv_timeout(Duration::from_secs(20)).expect("a channel was taken"))
    }

    fn finish(mut self) -> Left {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn run(
    requests: &Receiver<OwnedFd>,
    took: &Sender<UnixStream>,
    stop: &AtomicBool,
    most_queued: &AtomicUsize,
    ready: &Sender<()>,
) -> Left {
    let mut poll = Poll::new().unwrap();
    let mut buffers = Buffers::default();
    let (a, b) = UnixStream::pair().unwrap();
    let session = |index, side, socket: UnixStream| {
        socket.set_nonblocking(true).unwrap();
        let conn =
            Connection::new(Config::null(side), Box::new(SystemRandom::new()), Instant::now()).unwrap();
        Session::new(index, conn, Net::socket(socket.into()), poll.registry()).unwrap()
    };
    let mut sessions = [session(0, Side::Client, a), session(1, Side::Server, b)];
    let app = || App { opening: HashMap::new(), taken: took.clone(), finished: Vec::new() };
    let mut apps = [app(), app()];
    let mut events = Events::with_capacity(256);
    ready.send(()).unwrap();
    let mut turns: VecDeque<usize> = VecDeque::new();
    let mut idle_since = Instant::now();
    loop {
        let timeout = if turns.is_empty() { Duration::from_millis(2) } else { Duration::ZERO };
        poll.poll(&mut events, Some(timeout)).unwrap();
        for event in &events {
            match Subject::of(event.token()) {
                Some(Subject::Net { session, .. }) => {
                    sessions[session].net_ready(event);
                    turns.push_back(session);
                }
                Some(Subject::Pump { session, pump, role }) => {
                    sessions[session].pump_ready(pump, role, event);
                    turns.push_back(session);
                }
                other => panic!("{other:?}"),
            }
        }
        if !events.is_empty() {
            idle_since = Instant::now();
        }
        for fd in requests.try_iter() {
            let id = sessions[0].conn.open_channel(&OpenRequest::Session).unwrap();
            apps[0].opening.insert(id, fd);
            turns.push_back(0);
        }
        for _ in 0..turns.len() {
            let index = turns.pop_front().unwrap();
            let mut env = Env { registry: poll.registry(), buffers: &mut buffers, now: Instant::now() };
            match sessions[index].work(&mut env, &mut apps[index]) {
                Ok(Status::Busy) => turns.push_back(index),
                Ok(Status::Idle) => {}
                Err(End::Protocol(e)) => panic!("{e}"),
                Err(end) => panic!("{end:?}"),
            }
        }
        most_queued.fetch_max(sessions[1].queued_bytes(), Ordering::Relaxed);
        let channels = sessions.each_ref().map(|s| s.conn.channel_count());
        if stop.load(Ordering::Relaxed)
            && turns.is_empty()
            && (channels == [0, 0] || idle_since.elapsed() > Duration::from_secs(5))
        {
            return Left { channels, finished: apps.map(|a| a.finished) };
        }
    }
}

/// Waits for something that comes soon, or fails.
fn wait_until(mut there: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !there() {
        assert!(Instant::now() < until, "it did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One test at a time: descriptors are counted.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that show what was lost, doubled or mixed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn bytes_arrive_complete_both_ways_at_once() {
    let _alone = alone();
    let world = World::new();
    let (here, there) = world.connect();
    let (up, down) = (pattern(1, 24 << 20), pattern(2, 24 << 20));
    let send = |mut socket: UnixStream, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            socket.write_all(&bytes).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
        })
    };
    let receive = |mut socket: UnixStream| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let threads =
        [send(here.try_clone().unwrap(), up.clone()), send(there.try_clone().unwrap(), down.clone())];
    let (got_down, got_up) = (receive(here), receive(there));
    assert!(got_up.join().unwrap() == up, "what went up");
    assert!(got_down.join().unwrap() == down, "what came down");
    threads.into_iter().for_each(|t| t.join().unwrap());
    let left = world.finish();
    assert_eq!(left.channels, [0, 0]);
    assert_eq!(left.finished[0], [Totals { received: 24 << 20, sent: 24 << 20 }]);
}

#[test]
fn each_direction_ends_on_its_own() {
    let _alone = alone();
    let world = World::new();
    let (mut here, mut there) = world.connect();
    here.write_all(b"question").unwrap();
    here.shutdown(Shutdown::Write).unwrap();
    let mut question = Vec::new();
    there.read_to_end(&mut question).unwrap();
    assert_eq!(question, b"question");
    // The other direction still runs, and what is written just before the end arrives.
    there.write_all(&pattern(3, 300_000)).unwrap();
    drop(there);
    let mut answer = Vec::new();
    here.read_to_end(&mut answer).unwrap();
    assert!(answer == pattern(3, 300_000));
}

#[test]
fn readers_that_stall_stop_nobody_else() {
    let _alone = alone();
    let world = World::new();
    let stalled: Vec<_> = (0..4).map(|_| world.connect()).collect();
    let writers: Vec<_> = stalled
        .iter()
        .map(|(here, _)| {
            let mut here = here.try_clone().unwrap();
            std::thread::spawn(move || here.write_all(&pattern(9, 8 << 20)).is_ok())
        })
        .collect();
    // Until each has used its window up.
    let queued = || world.most_queued.load(Ordering::Relaxed);
    wait_until(|| queued() >= 4 * 200 * 1024);
    let (mut here, mut there) = world.connect();
    here.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for i in 0..500u32 {
        here.write_all(&i.to_le_bytes()).unwrap();
        let mut bytes = [0; 4];
        there.read_exact(&mut bytes).unwrap();
        there.write_all(&bytes).unwrap();
        here.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, i.to_le_bytes());
    }
    assert!(queued() <= 4 * 256 * 1024, "{} bytes were queued", queued());
    // They read at last, and nothing was lost.
    for (_, there) in &stalled {
        let mut bytes = vec![0; 8 << 20];
        there.try_clone().unwrap().read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(9, 8 << 20));
    }
    assert!(writers.into_iter().all(|w| w.join().unwrap()));
    drop((stalled, here, there));
    world.finish();
}

#[test]
fn whoever_breaks_off_is_noticed_and_nothing_is_left() {
    let _alone = alone();
    let open_descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let world = World::new();
    let before = open_descriptors();
    for round in 0..200 {
        let (mut here, mut there) = world.connect();
        match round % 4 {
            // The reader goes while bytes are on their way to it.
            0 => {
                let _ = here.write_all(&pattern(round, 100_000));
                drop(there);
                let mut rest = Vec::new();
                let _ = here.read_to_end(&mut rest);
            }
            // The writer goes; what it wrote arrives.
            1 => {
                here.write_all(b"last words").unwrap();
                drop(here);
                let mut words = Vec::new();
                there.read_to_end(&mut words).unwrap();
                assert_eq!(words, b"last words");
            }
            // Both at once.
            2 => drop((here, there)),
            // With data unread on both sides: the sockets reset.
            _ => {
                here.write_all(b"unread").unwrap();
                there.write_all(b"unread").unwrap();
                drop(there);
                drop(here);
            }
        }
    }
    wait_until(|| open_descriptors() <= before);
    assert_eq!(open_descriptors(), before);
    let left = world.finish();
    assert_eq!(left.channels, [0, 0]);
    assert_eq!(left.finished.map(|f| f.len()), [200, 200]);
}

#[test]
fn four_hundred_connections_at_once_keep_to_themselves() {
    let _alone = alone();
    let world = World::new();
    let pairs: Vec<_> = (0..400).map(|_| world.connect()).collect();
    for (i, (here, _)) in pairs.iter().enumerate() {
        here.try_clone().unwrap().write_all(&pattern(i as u64, 5000)).unwrap();
    }
    for (i, (_, there)) in pairs.iter().enumerate() {
        let mut bytes = vec![0; 5000];
        there.try_clone().unwrap().read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(i as u64, 5000));
    }
    drop(pairs);
    assert_eq!(world.finish().channels, [0, 0]);
}

#[test]
fn what_came_before_the_end_of_the_network_still_reaches_its_reader() {
    let _alone = alone();
    let now = Instant::now();
    let connection = |side| Connection::new(Config::null(side), Box::new(SystemRandom::new()), now).unwrap();
    let poll = Poll::new().unwrap();
    let (mut network, ours) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut session =
        Session::new(0, connection(Side::Client), Net::socket(ours.into()), poll.registry()).unwrap();
    let (taken, _) = channel();
    let mut app = App { opening: HashMap::new(), taken, finished: Vec::new() };
    let mut buffers = Buffers::default();
    let mut env = Env { registry: poll.registry(), buffers: &mut buffers, now };

    let (inner, mut reader) = UnixStream::pair().unwrap();
    let id = session
        .conn
        .open_channel(&OpenRequest::DirectStreamlocal { path: b"/x".to_vec(), owner: None })
        .unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&inner, 16 * 1024).unwrap();
    app.opening.insert(id, inner.into());
    session.work(&mut env, &mut app).unwrap();

    // A server that says all it has to say and goes away at once.
    let mut server = connection(Side::Server);
    let mut input = vec![0; 4096];
    let n = network.read(&mut input).unwrap();
    server.recv(&mut input[..n], now).unwrap();
    let Some(Event::OpenRequested(question)) = server.poll_event() else { panic!("no channel") };
    let channel = server.accept_channel(question).unwrap();
    let sent = pattern(7, 256 * 1024);
    let mut left = &sent[..];
    while !left.is_empty() {
        let n = server
            .send_data(channel, None, left.len(), |slices| {
                let mut n = 0;
                for slice in slices {
                    let take = slice.len().min(left.len() - n);
                    slice[..take].copy_from_slice(&left[n..n + take]);
                    n += take;
                }
                Ok::<_, ()>(n)
            })
            .unwrap()
            .unwrap();
        left = &left[n..];
    }
    let output = server.pending_output().unwrap().to_vec();
    let writer = std::thread::spawn(move || {
        network.write_all(&output).unwrap();
        drop(network);
    });

    // The reader reads nothing until the network has gone.
    let mut poll = poll;
    let mut events = Events::with_capacity(8);
    loop {
        poll.poll(&mut events, None).unwrap();
        events.iter().for_each(|event| tell(&mut session, event));
        let mut env = Env { registry: poll.registry(), buffers: &mut buffers, now };
        if let Err(end) = session.work(&mut env, &mut app) {
            assert_eq!(end, End::Lost);
            assert!(!session.write_out(id, &mut env, &mut app), "the reader has not read");
            break;
        }
    }
    writer.join().unwrap();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    loop {
        poll.poll(&mut events, None).unwrap();
        events.iter().for_each(|event| tell(&mut session, event));
        let mut env = Env { registry: poll.registry(), buffers: &mut buffers, now };
        if session.write_out(id, &mut env, &mut app) {
            break;
        }
    }
    assert!(reading.join().unwrap() == sent);
    assert_eq!(app.finished.len(), 1);
}

fn tell(session: &mut Session, event: &mio::event::Event) {
    match Subject::of(event.token()) {
        Some(Subject::Net { .. }) => session.net_ready(event),
        Some(Subject::Pump { pump, role, .. }) => session.pump_ready(pump, role, event),
        Some(Subject::App(_)) | None => {}
    }
}
