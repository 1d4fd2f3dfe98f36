//! The rounds of a session, and how the halves of its pumps end. Receiving is in `inflow.rs`, sending in
//! `outflow.rs`. Each step costs what it moves, not how many channels there are.

use sockward_proto::{ChannelId, Event};

use crate::halves::SinkState;
use crate::pump::{Closing, Ends, ErrorHalf};
use crate::session::{End, Env, Handler, PumpEvent, Session, Status};

/// Rounds of a session before the thread's other sessions have their turn.
const ROUNDS: usize = 8;
/// Bytes that closed channels may leave waiting for readers that do not read.
const ORPHAN_BYTES_MAX: usize = 16 << 20;

impl Session {
    /// Does what can be done now. Call it when a descriptor is ready, the deadline has come or a command was given.
    pub fn work<H: Handler>(&mut self, env: &mut Env<'_>, handler: &mut H) -> Result<Status, End> {
        if self.conn.poll_timeout().is_some_and(|at| at <= env.now) {
            let result = self.conn.handle_timeout(env.now);
            self.protocol(result)?;
        }
        self.sample_rtt(env.now);
        for _ in 0..ROUNDS {
            let buffer = self.conn.lend_buffer(env.buffers.take());
            env.buffers.put(buffer);
            let result = self.round(env, handler);
            env.buffers.put(self.conn.reclaim_buffer());
            result?;
            if !self.wants_to_receive() && !self.wants_to_read_pumps() {
                if self.partial.is_empty() {
                    self.partial = Vec::new();
                }
                return Ok(Status::Idle);
            }
        }
        Ok(Status::Busy)
    }

    /// Once the network has gone: goes on writing what a channel has received to its descriptors, and then ends them.
    /// True when nothing is left to write; else come again when one of them is ready.
    pub fn write_out<H: Handler>(&mut self, channel: ChannelId, env: &mut Env<'_>, handler: &mut H) -> bool {
        let is_its = |session: &Session, index: &usize| {
            session.pumps.get(*index).is_some_and(|pump| pump.channel == channel)
        };
        let Some(index) = self.pumps.indexes().into_iter().find(|index| is_its(self, index)) else {
            return true;
        };
        // The connection has ended: what its channel layer says to this does not matter any more.
        if self.pumps.get(index).is_some_and(|pump| !pump.orphan) {
            let _ = self.channel_closed(channel, env, handler);
        }
        let _ = self.drain(index, env, handler);
        !is_its(self, &index)
    }

    fn round<H: Handler>(&mut self, env: &mut Env<'_>, handler: &mut H) -> Result<(), End> {
        self.receive(env, handler)?;
        self.events(env, handler)?;
        self.drain_pumps(env, handler)?;
        self.read_pumps(env, handler)?;
        self.flush()
    }

    /// Hands events to the handler, after doing what concerns the pumps. Nothing matters any more once the connection
    /// has ended.
    pub(crate) fn events<H: Handler>(&mut self, env: &mut Env<'_>, handler: &mut H) -> Result<(), End> {
        while !self.conn.is_closed()
            && let Some(event) = self.conn.poll_event()
        {
            match event {
                Event::Writable(channel) => {
                    if let Some(index) = self.pumps.of(channel) {
                        self.schedule(index);
                    }
                    continue;
                }
                // Data could not be sent during the exchange: everybody looks again.
                Event::Keys { first: false, .. } => {
                    self.pumps.indexes().into_iter().for_each(|index| self.schedule(index));
                }
                Event::Eof(channel) => self.peer_ended(channel, env, handler)?,
                Event::PeerClosed(channel) => self.peer_closed(channel, env, handler)?,
                Event::Closed(channel) => self.channel_closed(channel, env, handler)?,
                _ => {}
            }
            let result = handler.event(self, env, event);
            self.protocol(result)?;
        }
        Ok(())
    }

    /// No more data will come on a channel: its sinks end when they are empty.
    fn peer_ended<H: Handler>(
        &mut self,
        channel: ChannelId,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(index) = self.pumps.of(channel) else { return Ok(()) };
        self.end_sinks(index);
        self.settle(index, env, handler)
    }

    /// Nothing more goes either way, though the channel stays: its sources end at once, its sinks when they are empty.
    fn peer_closed<H: Handler>(
        &mut self,
        channel: ChannelId,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        if let Some(pump) = self.pumps.of(channel).and_then(|index| self.pumps.get_mut(index)) {
            pump.end_sources();
        }
        self.peer_ended(channel, env, handler)
    }

    /// The channel is gone. Its pump stays for what is still to be written.
    fn channel_closed<H: Handler>(
        &mut self,
        channel: ChannelId,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(index) = self.pumps.of(channel) else { return Ok(()) };
        self.pumps.forget_channel(channel);
        self.end_sinks(index);
        let mut nobody_reads = false;
        if let Some(pump) = self.pumps.get_mut(index) {
            pump.orphan = true;
            self.orphan_bytes += pump.queued_bytes();
            // What was typed and not taken must not keep a terminal from its hang-up.
            nobody_reads = matches!(pump.ends, Ends::Pending | Ends::Terminal(_));
        }
        if nobody_reads || self.orphan_bytes > ORPHAN_BYTES_MAX {
            self.abandon(index);
        }
        self.settle(index, env, handler)
    }

    /// The reader of a channel's data is gone. What it wrote before is still to be read: a server may answer and
    /// close while it is being sent more than it wants.
    pub(crate) fn output_broke<H: Handler>(
        &mut self,
        channel: ChannelId,
        extended: bool,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(index) = self.pumps.of(channel) else { return Ok(()) };
        let Some(pump) = self.pumps.get_mut(index) else { return Ok(()) };
        let closing = pump.closing;
        let thrown_away = if extended { pump.end_error() } else { pump.end_output() };
        if closing == Closing::Automatic && !pump.source.done {
            pump.source.readable = true;
            self.schedule(index);
        }
        let result = self.conn.consumed(channel, thrown_away);
        self.protocol(result)?;
        let result = match closing {
            Closing::Automatic => return self.settle(index, env, handler),
            Closing::Manual if extended => Ok(()),
            Closing::Manual => handler.pump(self, env, PumpEvent::OutputBroken(channel)),
        };
        self.protocol(result)
    }

    fn end_sinks(&mut self, index: usize) {
        let Some(pump) = self.pumps.get_mut(index) else { return };
        pump.sink.no_more();
        if let Some(ErrorHalf::Sink(sink)) = pump.error.as_deref_mut() {
            sink.no_more();
        }
    }

    /// Gives up what an orphan still holds.
    pub(crate) fn abandon(&mut self, index: usize) {
        if let Some(pump) = self.pumps.get_mut(index) {
            self.orphan_bytes -= pump.queued_bytes();
            pump.end_output();
            pump.end_error();
        }
    }

    /// Ends halves that have nothing left to do, closes a channel whose halves have both ended, and lets go
    /// of a pump whose channel is gone.
    pub(crate) fn settle<H: Handler>(
        &mut self,
        index: usize,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(pump) = self.pumps.get_mut(index) else { return Ok(()) };
        if !matches!(pump.ends, Ends::Pending)
            && pump.sink.state == SinkState::Ending
            && pump.sink.queue.is_empty()
        {
            pump.end_output();
        }
        if let Some(ErrorHalf::Sink(sink)) = pump.error.as_deref_mut()
            && sink.state == SinkState::Ending
            && sink.queue.is_empty()
        {
            pump.end_error();
        }
        let (channel, closing) = (pump.channel, pump.closing);
        let result = match (pump.orphan, closing) {
            (true, _) if pump.sinks_done() => {
                let totals = pump.totals;
                self.pumps.remove(index);
                handler.pump(self, env, PumpEvent::Finished(channel, totals))
            }
            (false, Closing::Automatic) if pump.sources_done() && pump.sinks_done() => {
                self.conn.close_channel(channel)
            }
            _ => Ok(()),
        };
        self.protocol(result)
    }
}
