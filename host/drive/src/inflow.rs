//! From the network to the channels' descriptors: `net.read` ─▶ `conn.recv`, which decrypts in place ─▶ data
//! of one channel gathered in a [`Run`] ─▶ one `writev` ─▶ `conn.consumed`. What a reader does not take
//! waits in its pump's queue; nobody else waits for it.

use std::io::IoSlice;
use std::ops::Range;

use sockward_proto::{ChannelId, PACKET_MAX, Received};
use sockward_wire::channel::STDERR;

use crate::buffers::RECEIVE;
use crate::halves::{Broken, Read};
use crate::outflow::OUT_HIGH;
use crate::pump::ErrorHalf;
use crate::session::{End, Env, Handler, Session};

/// Data messages gathered for one write.
const RUN_MAX: usize = 16;
/// What may wait unread while a question holds packets up.
const HELD_UP_MAX: usize = RECEIVE / 4 * 3;
/// Length field and tag of the largest packet: more must be allowed to wait than all of it but a byte.
const _: () = assert!(HELD_UP_MAX > 4 + PACKET_MAX + 64);
/// Nothing more is received while so much waits for the network: the peer asks and does not read the answers. Far
/// above what is ever sent unasked ([`OUT_HIGH`]), lest two sides wait for each other.
const OUT_MAX: usize = 8 * OUT_HIGH;

impl Session {
    /// Whether reading from the network would bring something that can be looked at.
    pub(crate) fn wants_to_receive(&self) -> bool {
        self.net.source.is_ready() && self.partial.len() <= HELD_UP_MAX && self.conn.output_len() < OUT_MAX
    }

    /// Reads from the network once and takes all packets that are complete.
    pub(crate) fn receive<H: Handler>(&mut self, env: &mut Env<'_>, handler: &mut H) -> Result<(), End> {
        let mut buffer = std::mem::take(&mut env.buffers.receive);
        let result = self.receive_into(&mut buffer, env, handler);
        env.buffers.receive = buffer;
        result
    }

    fn receive_into<H: Handler>(
        &mut self,
        buffer: &mut [u8],
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let mut filled = self.partial.len();
        let mut lost = false;
        if self.wants_to_receive() {
            match self.net.read(buffer.get_mut(filled..).unwrap_or_default()) {
                Read::Some(n) => filled += n,
                Read::Empty => {}
                Read::End | Read::Broken => {
                    self.net.source.done = true;
                    lost = true;
                }
            }
        }
        if filled > 0 {
            let kept = self.partial.len();
            if let Some(front) = buffer.get_mut(..kept) {
                front.copy_from_slice(&self.partial);
            }
            self.partial.clear();
            let used = self.packets(buffer.get_mut(..filled).unwrap_or_default(), env, handler)?;
            self.partial.extend_from_slice(buffer.get(used..filled).unwrap_or_default());
        }
        if !lost {
            return Ok(());
        }
        // A peer that has ended its direction alone may still read what waits, our good-bye for one.
        self.flush()?;
        Err(End::Lost)
    }

    /// Takes packets off the front of the input. Returns how many bytes they took: all, once the connection has ended.
    fn packets<H: Handler>(
        &mut self,
        input: &mut [u8],
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<usize, End> {
        let mut used = 0;
        let mut run = Run::default();
        loop {
            if self.conn.is_closed() {
                return Ok(input.len());
            }
            let received = self.conn.recv(input.get_mut(used..).unwrap_or_default(), env.now);
            if let Ok(Received::Data { consumed, channel, extended, data }) = received {
                let data = used + data.start..used + data.end;
                if !run.takes(channel, extended) {
                    self.deliver(&mut run, input, env, handler)?;
                }
                run.add(channel, extended, data);
                used += consumed;
                continue;
            }
            // Whatever came instead, what arrived before it goes to its reader first.
            self.deliver(&mut run, input, env, handler)?;
            match self.protocol(received)? {
                Received::Progress(n) => {
                    used += n;
                    self.events(env, handler)?;
                }
                Received::NeedMore | Received::Blocked | Received::Data { .. } => return Ok(used),
            }
        }
    }

    /// Writes gathered data to its channel's descriptor.
    fn deliver<H: Handler>(
        &mut self,
        run: &mut Run,
        input: &[u8],
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some((channel, extended)) = run.target.take() else { return Ok(()) };
        let mut slices = [IoSlice::new(&[]); RUN_MAX];
        for (slice, range) in slices.iter_mut().zip(run.ranges()) {
            *slice = IoSlice::new(input.get(range.clone()).unwrap_or_default());
        }
        let slices = slices.get(..std::mem::take(&mut run.len)).unwrap_or_default();
        let total: usize = slices.iter().map(|s| s.len()).sum();
        let written = match self.pumps.of(channel).and_then(|index| self.pumps.get_mut(index)) {
            // Nobody is there to read it.
            None => Ok(total),
            Some(pump) => {
                pump.totals.received += total as u64;
                pump.used = Some(env.now);
                match (extended, pump.error.as_deref_mut()) {
                    (None, _) => pump.sink.push(pump.ends.output(), slices),
                    (Some(STDERR), Some(ErrorHalf::Sink(sink))) => sink.push(pump.ends.error(), slices),
                    // Extended data that the application has no use for.
                    (Some(_), _) => Ok(total),
                }
            }
        };
        let result = self.conn.consumed(channel, *written.as_ref().unwrap_or(&total));
        self.protocol(result)?;
        match written {
            Ok(_) => Ok(()),
            Err(Broken) => self.output_broke(channel, extended.is_some(), env, handler),
        }
    }
}

/// Data of one channel that stands in several packets, gathered for one write.
#[derive(Default)]
struct Run {
    target: Option<(ChannelId, Option<u32>)>,
    ranges: [Range<usize>; RUN_MAX],
    len: usize,
}

impl Run {
    /// Whether one more piece of this channel's data fits.
    fn takes(&self, channel: ChannelId, extended: Option<u32>) -> bool {
        self.target.is_none_or(|t| t == (channel, extended)) && self.len < RUN_MAX
    }

    fn add(&mut self, channel: ChannelId, extended: Option<u32>, data: Range<usize>) {
        if let Some(slot) = self.ranges.get_mut(self.len) {
            *slot = data;
            self.len += 1;
            self.target = Some((channel, extended));
        }
    }

    fn ranges(&self) -> &[Range<usize>] {
        self.ranges.get(..self.len).unwrap_or_default()
    }
}
