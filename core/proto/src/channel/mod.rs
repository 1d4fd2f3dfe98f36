//! The connection layer (RFC 4254): channels, their windows and halves, requests and their answers.
//! It decides nothing: what may be opened or listened on is asked of the application.
//!
//! Receiving is in `receive.rs`, what the application does in `commands.rs`, global requests in `global.rs`.

mod commands;
mod global;
mod receive;
mod replies;
mod table;
mod window;

pub use global::GlobalId;
pub use table::ChannelId;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::ChannelLimits;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::question::{Dropped, Owed};
use crate::transport::Transport;
use global::Globals;
use table::{Channel, Table};
use window::WindowBudget;

/// The largest data we take in one message; what OpenSSH uses for forwardings.
pub const MAX_PACKET: u32 = 32 * 1024;

/// The connection layer of one connection.
pub(crate) struct Channels {
    table: Table,
    limits: ChannelLimits,
    budget: WindowBudget,
    globals: Globals,
    /// The peer said no-more-sessions.
    no_more_sessions: bool,
    /// OPENs of the peer that wait for the application.
    opens_waiting: u32,
}

/// The connection's parts that this layer works with.
pub(crate) struct Context<'a> {
    pub(crate) transport: &'a mut Transport,
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) dropped: &'a Dropped,
    pub(crate) now: Instant,
}

impl Context<'_> {
    /// Encodes and sends one message.
    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut out = Vec::new();
        encode(&mut out);
        self.transport.send(&out)
    }

    fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

impl Channels {
    pub(crate) fn new(limits: ChannelLimits) -> Self {
        Channels {
            table: Table::new(limits.channels),
            limits,
            budget: WindowBudget::new(limits.window_budget),
            globals: Globals::default(),
            no_more_sessions: false,
            opens_waiting: 0,
        }
    }

    /// How many channels are open or being opened.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many more the limit allows.
    pub(crate) fn left(&self) -> usize {
        (self.limits.channels as usize).saturating_sub(self.table.len())
    }

    /// Whether the peer has taken the channel, so that it can be closed.
    pub(crate) fn is_confirmed(&self, id: ChannelId) -> bool {
        self.table.get(id).is_some_and(|c| c.remote.is_some())
    }

    pub(crate) fn ids(&self) -> Vec<ChannelId> {
        self.table.ids().collect()
    }

    /// The measured round trip, which windows grow by.
    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.budget.rtt = Some(rtt);
    }

    /// A dropped question is a refusal.
    pub(crate) fn settle(&mut self, owed: Owed, cx: &mut Context<'_>) -> Result<()> {
        match owed {
            Owed::OpenFailure { remote } => self.refuse_number(remote, "refused", cx),
            Owed::RequestFailure { slot, generation, serial } => {
                self.answer_serial(ChannelId { slot, generation }, serial, false, cx)
            }
            Owed::GlobalFailure { serial } => self.globals.decided(serial, None, cx),
            Owed::AuthFailure | Owed::HostKey | Owed::Signature => {
                Err(Error::ApiMisuse("not a question of the connection layer"))
            }
        }
    }

    fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let channel = self.table.remove(id)?;
        self.budget.give_back(channel.recv.window.size());
        Some(channel)
    }
}
