//! One SSH connection on real descriptors: reads packets, moves bytes through the pumps, writes packets.
//! What events mean is the handler's business. The path of a byte is in `flow.rs`.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use sockward_proto::{ChannelId, Connection, Event};

use crate::buffers::Buffers;
use crate::net::Net;
use crate::pump::{Closing, Ends, ErrorHalf, Pump};
use crate::pumps::Pumps;
use crate::token::{Role, Subject};

/// What a session borrows from its thread while it works.
pub struct Env<'a> {
    /// Where descriptors are watched.
    pub registry: &'a Registry,
    /// The thread's large buffers.
    pub buffers: &'a mut Buffers,
    /// The time of this round.
    pub now: Instant,
}

/// The application of a session.
pub trait Handler {
    /// Something happened on the connection. Errors end it.
    fn event(&mut self, session: &mut Session, env: &mut Env<'_>, event: Event)
    -> sockward_proto::Result<()>;

    /// Something happened to a channel's descriptors.
    fn pump(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        event: PumpEvent,
    ) -> sockward_proto::Result<()>;
}

/// What happens to a channel's descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PumpEvent {
    /// [`Closing::Manual`]: everything has been read; EOF was sent.
    InputEnded(ChannelId),
    /// [`Closing::Manual`]: the reader of what we write is gone.
    OutputBroken(ChannelId),
    /// The channel is gone and all that was received has been written: the pump is no more.
    Finished(ChannelId, Totals),
}

/// Bytes that went through a pump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Received on the channel.
    pub received: u64,
    /// Sent on the channel.
    pub sent: u64,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection layer or the peer ended it.
    Protocol(sockward_proto::Error),
    /// The network stream ended or broke.
    Lost,
    /// We said good-bye and everything was written.
    Done,
}

/// What a round of work left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing to do until a descriptor or the clock says so.
    Idle,
    /// There is more to do at once; others may have their turn before.
    Busy,
}

/// One SSH connection and its descriptors.
pub struct Session {
    pub(crate) index: usize,
    /// The connection; commands on it take effect with the next [`Session::work`].
    pub conn: Connection,
    pub(crate) net: Net,
    /// The beginning of a packet whose rest has not come, or what a question holds up.
    pub(crate) partial: Vec<u8>,
    pub(crate) pumps: Pumps,
    /// Pumps that may have something to read, in turn.
    pub(crate) ready: VecDeque<usize>,
    /// Pumps whose readers may take what waits for them.
    pub(crate) writable: VecDeque<usize>,
    /// Bytes that pumps without a channel still hold.
    pub(crate) orphan_bytes: usize,
    next_rtt: Option<Instant>,
}

/// How often the round trip is read from the kernel.
const RTT_EVERY: Duration = Duration::from_millis(500);

impl Session {
    /// A session number `index` (unique among the thread's) on `net`, which gets watched.
    pub fn new(index: usize, conn: Connection, net: Net, registry: &Registry) -> std::io::Result<Self> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let read = Subject::Net { session: index, write: false };
        match net.write_fd() {
            None => watch(registry, net.read_fd(), read, both)?,
            Some(fd) => {
                watch(registry, net.read_fd(), read, Interest::READABLE)?;
                watch(registry, fd, Subject::Net { session: index, write: true }, Interest::WRITABLE)?;
            }
        }
        Ok(Session {
            index,
            conn,
            net,
            partial: Vec::new(),
            pumps: Pumps::default(),
            ready: VecDeque::new(),
            writable: VecDeque::new(),
            orphan_bytes: 0,
            next_rtt: None,
        })
    }

    /// Gives a channel a pump, without descriptors yet: what arrives waits within the channel's window.
    pub fn attach(&mut self, channel: ChannelId, closing: Closing) {
        self.pumps.add(channel, closing);
    }

    /// Gives a channel's pump its descriptors.
    pub fn set_ends(&mut self, channel: ChannelId, ends: Ends, env: &mut Env<'_>) -> std::io::Result<()> {
        let Some(index) = self.pumps.of(channel) else { return Ok(()) };
        let Some(pump) = self.pumps.get_mut(index) else { return Ok(()) };
        pump.set_ends(ends);
        pump.used = Some(env.now);
        for (role, fd) in pump.watched() {
            let interest = match (role, pump.error.as_deref()) {
                (Role::Socket, _) => Interest::READABLE | Interest::WRITABLE,
                (Role::Input, _) | (Role::Error, Some(ErrorHalf::Source(_))) => Interest::READABLE,
                (Role::Output | Role::Error, _) => Interest::WRITABLE,
            };
            watch(env.registry, fd, Subject::Pump { session: self.index, pump: index, role }, interest)?;
        }
        // What waited for a descriptor can go out now.
        self.schedule(index);
        self.schedule_write(index);
        Ok(())
    }

    /// What has arrived on a channel whose pump has no descriptors yet: the application may look at it first.
    #[must_use]
    pub fn waiting(&self, channel: ChannelId) -> &[u8] {
        let pump = self.pumps.of(channel).and_then(|index| self.pumps.get(index));
        pump.map_or(&[], |pump| pump.sink.queue.pending())
    }

    /// The application has used the first `n` bytes of what waits.
    pub fn take_waiting(&mut self, channel: ChannelId, n: usize) -> sockward_proto::Result<()> {
        if let Some(pump) = self.pumps.of(channel).and_then(|index| self.pumps.get_mut(index)) {
            pump.sink.queue.advance(n);
        }
        self.conn.consumed(channel, n)
    }

    /// Sends some bytes of the application's own. How many: less than all while the window is shut or keys are
    /// exchanged.
    pub fn say(&mut self, channel: ChannelId, bytes: &[u8]) -> sockward_proto::Result<usize> {
        let want = bytes.len().min(self.conn.sendable(channel));
        let fill = |slices: &mut [std::io::IoSliceMut<'_>]| {
            let mut rest = bytes.get(..want).unwrap_or_default();
            for slice in slices {
                // A slice is a reader's buffer, and bytes are a reader: it cannot fail.
                let _ = std::io::Read::read(&mut rest, slice);
            }
            Ok::<usize, std::convert::Infallible>(want - rest.len())
        };
        let Ok(sent) = self.conn.send_data(channel, None, want, fill)?;
        Ok(sent)
    }

    /// Stops reading a channel's source, so that its writer notices (EOW). True if nothing else of the channel is
    /// to be read: there is no [`PumpEvent::InputEnded`] then.
    pub fn end_input(&mut self, channel: ChannelId) -> bool {
        let Some(pump) = self.pumps.of(channel).and_then(|index| self.pumps.get_mut(index)) else {
            return true;
        };
        pump.end_input();
        pump.sources_done()
    }

    /// Reads what a channel's terminal still holds and takes nothing more for its end: the command is gone, and
    /// what it left in the background does not count. [`PumpEvent::InputEnded`] follows, but for a terminal that
    /// has ended before.
    pub fn read_to_the_last(&mut self, channel: ChannelId) {
        let Some(index) = self.pumps.of(channel) else { return };
        let Some(pump) = self.pumps.get_mut(index) else { return };
        pump.source.last = true;
        pump.source.readable = true;
        self.schedule(index);
    }

    /// The poller says that a descriptor of the network is ready.
    pub fn net_ready(&mut self, event: &mio::event::Event) {
        if event.is_readable() {
            self.net.source.readable = true;
        }
        if event.is_read_closed() || event.is_error() {
            self.net.source.readable = true;
            self.net.source.closed = true;
        }
        if event.is_writable() || event.is_error() {
            self.net.writable = true;
        }
    }

    /// The poller says that a pump's descriptor is ready.
    pub fn pump_ready(&mut self, index: usize, role: Role, event: &mio::event::Event) {
        let Some(pump) = self.pumps.get_mut(index) else { return };
        let closed = event.is_read_closed() || event.is_error();
        let (readable, writable) = (event.is_readable() || closed, event.is_writable() || event.is_error());
        match (role, pump.error.as_deref_mut()) {
            (Role::Socket | Role::Input | Role::Output, _) => {
                if role != Role::Output && readable {
                    pump.source.readable = true;
                    pump.source.closed |= closed;
                }
                if role != Role::Input && (writable || closed) {
                    pump.sink.writable = true;
                }
            }
            (Role::Error, Some(ErrorHalf::Source(source))) => {
                source.readable |= readable;
                source.closed |= closed;
            }
            (Role::Error, Some(ErrorHalf::Sink(sink))) => sink.writable |= writable || closed,
            (Role::Error, None) => {}
        }
        if pump.is_readable() {
            self.schedule(index);
        }
        self.schedule_write(index);
    }

    /// The network's descriptor, or the one read from where there are two: for options of the socket.
    #[must_use]
    pub fn net_fd(&self) -> BorrowedFd<'_> {
        self.net.read_fd()
    }

    /// Whether something waits for the network and the network takes it: commands were given since the last work.
    #[must_use]
    pub fn can_flush(&mut self) -> bool {
        // An error is found out by the next work, too.
        self.net.writable && !self.conn.pending_output().is_ok_and(<[u8]>::is_empty)
    }

    /// Writes what still waits for the network after `conn.disconnect`. True when nothing is left to write or nobody
    /// takes it; else come again when the network's descriptor is writable.
    pub fn flush_last(&mut self) -> bool {
        self.flush().is_err()
    }

    /// When the session wants to work even if no descriptor is ready.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.conn.poll_timeout()
    }

    /// When bytes went through a channel's descriptors last, or when it got them; none before.
    #[must_use]
    pub fn last_used(&self, channel: ChannelId) -> Option<Instant> {
        self.pumps.of(channel).and_then(|index| self.pumps.get(index)).and_then(|pump| pump.used)
    }

    /// Bytes received on all channels that their readers have not taken.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.pumps.indexes().into_iter().filter_map(|i| self.pumps.get(i)).map(Pump::queued_bytes).sum()
    }

    /// Puts a pump in the row of those to look at.
    pub(crate) fn schedule(&mut self, index: usize) {
        if let Some(pump) = self.pumps.get_mut(index)
            && !pump.queued
        {
            pump.queued = true;
            self.ready.push_back(index);
        }
    }

    /// Puts a pump in the row of those to write to, if anything waits for it.
    fn schedule_write(&mut self, index: usize) {
        if let Some(pump) = self.pumps.get_mut(index)
            && !pump.writable_queued
            && pump.wants_to_write()
        {
            pump.writable_queued = true;
            self.writable.push_back(index);
        }
    }

    /// Reads the round trip from the kernel now and then: windows grow by it.
    pub(crate) fn sample_rtt(&mut self, now: Instant) {
        if self.next_rtt.is_none_or(|at| now >= at) {
            self.next_rtt = Some(now + RTT_EVERY);
            if let Ok(rtt) = sockward_sys::tcp::round_trip_time(self.net.read_fd()) {
                self.conn.set_rtt(rtt);
            }
        }
    }
}

/// Has a descriptor watched, edge-triggered.
fn watch(
    registry: &Registry,
    fd: BorrowedFd<'_>,
    subject: Subject,
    interest: Interest,
) -> std::io::Result<()> {
    registry.register(&mut SourceFd(&fd.as_raw_fd()), subject.token(), interest)
}
