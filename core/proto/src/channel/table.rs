//! The channels of one connection by number. A number is used again only after both sides have closed.

use sockward_wire::channel::open_failure;

use super::replies::Replies;
use super::window::{RecvWindow, SendWindow};
use crate::error::{Misbehaved, Result};

/// A channel of one connection. Stays unique when its number is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ChannelId {
    /// A small number, unique among the channels open now: for the application's own tables.
    #[must_use]
    pub fn index(self) -> usize {
        self.slot as usize
    }
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// The peer's number; none until it has confirmed.
    pub(super) remote: Option<u32>,
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    /// Requests under way. Most channels have none, ever.
    pub(super) replies: Option<Box<Replies>>,
}

/// What we send.
#[derive(Debug)]
pub(super) struct SendHalf {
    pub(super) window: SendWindow,
    pub(super) max_packet: u32,
    pub(super) state: SendState,
}

/// How far our half has ended (RFC 4254 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendState {
    Open,
    EofSent,
    /// Our CLOSE is out; the peer's is awaited.
    CloseSent,
}

/// What we receive.
#[derive(Debug)]
pub(super) struct RecvHalf {
    pub(super) window: RecvWindow,
    pub(super) eof: bool,
    pub(super) close: PeerClose,
}

/// What the peer's CLOSE does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerClose {
    /// It is answered and the channel is gone.
    Ends,
    /// It is told to the application, which closes in its own time.
    Told,
    /// It has come and ours is awaited: the peer sends nothing more.
    Arrived,
}

/// A channel and the count of channels before it, which makes its id unique.
#[derive(Debug)]
struct Entry {
    generation: u32,
    channel: Channel,
}

/// All channels.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    max: u32,
    next_generation: u32,
}

impl Table {
    pub(super) fn new(max: u32) -> Self {
        Table { slots: Vec::new(), free: Vec::new(), max, next_generation: 0 }
    }

    /// How many channels there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Room for one more? Otherwise the reason to refuse.
    pub(super) fn has_room(&self) -> std::result::Result<(), u32> {
        if self.len() < self.max as usize { Ok(()) } else { Err(open_failure::RESOURCE_SHORTAGE) }
    }

    pub(super) fn insert(&mut self, channel: Channel) -> ChannelId {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // `max` is a u32, so the number of slots fits one.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(Entry { generation, channel });
        }
        ChannelId { slot, generation }
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let place = self.slots.get_mut(id.index())?;
        let entry = place.take_if(|e| e.generation == id.generation)?;
        self.free.push(id.slot);
        if self.len() == 0 && self.slots.len() > KEPT_SLOTS {
            // A burst of channels must not leave its table behind.
            self.slots = Vec::new();
            self.free = Vec::new();
        }
        Some(entry.channel)
    }

    /// The channel the application means; none once it is gone.
    pub(super) fn get(&self, id: ChannelId) -> Option<&Channel> {
        let entry = self.slots.get(id.index())?.as_ref().filter(|e| e.generation == id.generation)?;
        Some(&entry.channel)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        let entry = self.slots.get_mut(id.index())?.as_mut().filter(|e| e.generation == id.generation)?;
        Some(&mut entry.channel)
    }

    /// The channel the peer means.
    pub(super) fn of_peer(&mut self, number: u32) -> Result<(ChannelId, &mut Channel)> {
        match self.slots.get_mut(number as usize).and_then(Option::as_mut) {
            Some(entry) => Ok((ChannelId { slot: number, generation: entry.generation }, &mut entry.channel)),
            None => Err(Misbehaved::NoSuchChannel(number).into()),
        }
    }

    /// The channel the peer means, which must be confirmed.
    pub(super) fn confirmed_of_peer(&mut self, number: u32) -> Result<(ChannelId, &mut Channel)> {
        let (id, channel) = self.of_peer(number)?;
        if channel.remote.is_none() {
            return Err(Misbehaved::NoSuchChannel(number).into());
        }
        Ok((id, channel))
    }

    /// The channel the peer means, which must be confirmed and not closed by the peer.
    pub(super) fn open_of_peer(&mut self, number: u32) -> Result<(ChannelId, &mut Channel)> {
        let (id, channel) = self.confirmed_of_peer(number)?;
        if channel.recv.close == PeerClose::Arrived {
            return Err(Misbehaved::NoSuchChannel(number).into());
        }
        Ok((id, channel))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ChannelId> + '_ {
        let living = self.slots.iter().zip(0..).filter_map(|(place, slot)| Some((place.as_ref()?, slot)));
        living.map(|(entry, slot)| ChannelId { slot, generation: entry.generation })
    }
}

/// Slots an idle connection keeps.
const KEPT_SLOTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel {
            remote: Some(7),
            send: SendHalf { window: SendWindow::new(0), max_packet: 0, state: SendState::Open },
            recv: RecvHalf { window: RecvWindow::new(0), eof: false, close: PeerClose::Ends },
            replies: None,
        }
    }

    #[test]
    fn an_old_id_does_not_reach_the_next_user_of_its_number() {
        let mut table = Table::new(10);
        let old = table.insert(channel());
        table.remove(old);
        let new = table.insert(channel());
        assert_eq!(old.slot, new.slot);
        assert!(table.get(old).is_none());
        assert!(table.remove(old).is_none());
        assert!(table.get(new).is_some());
    }

    #[test]
    fn a_burst_leaves_no_table_behind_and_no_old_id_valid() {
        let mut table = Table::new(5000);
        let ids: Vec<_> = (0..5000).map(|_| table.insert(channel())).collect();
        assert!(table.has_room().is_err());
        for id in &ids {
            table.remove(*id);
        }
        assert!(table.slots.len() <= KEPT_SLOTS);
        for _ in 0..5000 {
            let id = table.insert(channel());
            assert!(!ids.contains(&id));
            if table.len() == 5000 {
                break;
            }
        }
    }
}
