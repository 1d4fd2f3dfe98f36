//! From the channels' descriptors to the network: `readv` straight into the packets ─▶ sealed in place ─▶ one
//! `write` for many packets. Pumps that have something to read take turns.

use sockward_proto::Error;
use sockward_wire::channel::STDERR;

use crate::halves::{Broken, Read};
use crate::pump::{Closing, ErrorHalf};
use crate::session::{End, Env, Handler, PumpEvent, Session};
use crate::token::Role;

/// No more channel data is read while so much waits for the network.
pub(crate) const OUT_HIGH: usize = 256 * 1024;

impl Session {
    /// Whether a pump is waiting for its turn and there is room for what it would read.
    pub(crate) fn wants_to_read_pumps(&self) -> bool {
        !self.ready.is_empty() && !self.conn.is_closed() && self.conn.output_len() < OUT_HIGH
    }

    /// Writes to the readers that take something again, whether or not there is room for what could be read.
    pub(crate) fn drain_pumps<H: Handler>(&mut self, env: &mut Env<'_>, handler: &mut H) -> Result<(), End> {
        while !self.conn.is_closed()
            && let Some(index) = self.writable.pop_front()
        {
            if let Some(pump) = self.pumps.get_mut(index) {
                pump.writable_queued = false;
            }
            self.drain(index, env, handler)?;
        }
        Ok(())
    }

    /// Looks at the pumps that are ready, each once, until enough waits for the network.
    pub(crate) fn read_pumps<H: Handler>(&mut self, env: &mut Env<'_>, handler: &mut H) -> Result<(), End> {
        for _ in 0..self.ready.len() {
            if !self.wants_to_read_pumps() {
                break;
            }
            let Some(index) = self.ready.pop_front() else { break };
            if let Some(pump) = self.pumps.get_mut(index) {
                pump.queued = false;
            }
            self.read_pump(index, Role::Input, env, handler)?;
            self.read_pump(index, Role::Error, env, handler)?;
            if self.pumps.get(index).is_some_and(|p| p.is_readable() && self.conn.sendable(p.channel) > 0) {
                self.schedule(index);
            }
        }
        Ok(())
    }

    /// Reads from one of a pump's sources into packets.
    fn read_pump<H: Handler>(
        &mut self,
        index: usize,
        role: Role,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let pending = self.conn.pending_output().map(<[u8]>::len);
        let want = OUT_HIGH.saturating_sub(self.protocol(pending)?);
        let Some(pump) = self.pumps.get_mut(index).filter(|p| !p.orphan) else { return Ok(()) };
        let channel = pump.channel;
        let (source, fd, extended) = match (role, pump.error.as_deref_mut()) {
            (Role::Error, Some(ErrorHalf::Source(source))) => (source, pump.ends.error(), Some(STDERR)),
            (Role::Error, _) => return Ok(()),
            (Role::Socket | Role::Input | Role::Output, _) => (&mut pump.source, pump.ends.input(), None),
        };
        let Some(fd) = fd.filter(|_| source.is_ready() && want > 0 && self.conn.sendable(channel) > 0) else {
            return Ok(());
        };
        let mut outcome = Read::Empty;
        let sent = self.conn.send_data(channel, extended, want, |slices| {
            outcome = source.read(fd, slices);
            match outcome {
                Read::Some(n) => Ok(n),
                Read::Empty | Read::End | Read::Broken => Err(()),
            }
        });
        // No bytes are no error here: `outcome` says what happened.
        if let (Ok(n @ 1..), Some(pump)) = (self.protocol(sent)?, self.pumps.get_mut(index)) {
            pump.totals.sent += n as u64;
            pump.used = Some(env.now);
        }
        match outcome {
            Read::Some(_) | Read::Empty => Ok(()),
            Read::End => self.input_ended(index, role, env, handler),
            Read::Broken => self.input_broke(index, role, env, handler),
        }
    }

    fn input_ended<H: Handler>(
        &mut self,
        index: usize,
        role: Role,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(pump) = self.pumps.get_mut(index) else { return Ok(()) };
        if role == Role::Error {
            pump.end_error();
        } else {
            pump.end_input();
        }
        if !pump.sources_done() {
            return Ok(());
        }
        let (channel, closing) = (pump.channel, pump.closing);
        let result = self.conn.send_eof(channel);
        self.protocol(result)?;
        if closing == Closing::Manual {
            let result = handler.pump(self, env, PumpEvent::InputEnded(channel));
            self.protocol(result)?;
        }
        self.settle(index, env, handler)
    }

    /// A reset: for a forwarded connection the end of both directions.
    fn input_broke<H: Handler>(
        &mut self,
        index: usize,
        role: Role,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(pump) = self.pumps.get_mut(index) else { return Ok(()) };
        if pump.closing == Closing::Manual {
            return self.input_ended(index, role, env, handler);
        }
        let channel = pump.channel;
        pump.end_input();
        pump.end_output();
        let result = self.conn.close_channel(channel);
        self.protocol(result)
    }

    /// Writes what a pump's sinks hold back, and credits it.
    pub(crate) fn drain<H: Handler>(
        &mut self,
        index: usize,
        env: &mut Env<'_>,
        handler: &mut H,
    ) -> Result<(), End> {
        let Some(pump) = self.pumps.get_mut(index) else { return Ok(()) };
        let (channel, orphan) = (pump.channel, pump.orphan);
        let mut written = 0;
        let mut broken = None;
        if let Some(fd) = pump.ends.output() {
            match pump.sink.drain(fd) {
                Ok(n) => written += n,
                Err(Broken) => broken = Some(false),
            }
        }
        if let (Some(ErrorHalf::Sink(sink)), Some(fd)) = (pump.error.as_deref_mut(), pump.ends.error()) {
            match sink.drain(fd) {
                Ok(n) => written += n,
                Err(Broken) => broken = Some(true),
            }
        }
        match (orphan, broken) {
            (true, None) => self.orphan_bytes -= written,
            (true, Some(_)) => {
                self.orphan_bytes -= written;
                self.abandon(index);
            }
            (false, broken) => {
                let result = self.conn.consumed(channel, written);
                self.protocol(result)?;
                if let Some(extended) = broken {
                    self.output_broke(channel, extended, env, handler)?;
                }
            }
        }
        self.settle(index, env, handler)
    }

    /// Writes packets to the network.
    pub(crate) fn flush(&mut self) -> Result<(), End> {
        loop {
            let pending = self.conn.pending_output().map_err(End::Protocol)?;
            if pending.is_empty() {
                return if self.conn.is_closed() { Err(End::Done) } else { Ok(()) };
            }
            if !self.net.writable {
                return Ok(());
            }
            match self.net.write(pending) {
                Some(n) => self.conn.output_written(n),
                None => return Err(End::Lost),
            }
        }
    }

    /// An error of the protocol ends the session, after its DISCONNECT was given a chance.
    pub(crate) fn protocol<T>(&mut self, result: Result<T, Error>) -> Result<T, End> {
        result.map_err(|error| {
            let _ = self.flush();
            End::Protocol(error)
        })
    }
}
