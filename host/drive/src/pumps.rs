//! The pumps of one session, found by their own number (for the poller) and by channel.
//! A pump can outlive its channel, while its last bytes are being written.

use sockward_proto::ChannelId;

use crate::pump::{Closing, Pump};

/// The session's pumps.
#[derive(Debug, Default)]
pub(crate) struct Pumps {
    slots: Vec<Option<Box<Pump>>>,
    free: Vec<usize>,
    /// By the channel's index; holds `pump + 1`, 0 = none.
    by_channel: Vec<u32>,
}

impl Pumps {
    pub(crate) fn add(&mut self, channel: ChannelId, closing: Closing) -> usize {
        let pump = Some(Box::new(Pump::new(channel, closing)));
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = pump;
        }
        if self.by_channel.len() <= channel.index() {
            self.by_channel.resize(channel.index() + 1, 0);
        }
        if let Some(entry) = self.by_channel.get_mut(channel.index()) {
            *entry = u32::try_from(index + 1).unwrap_or(0);
        }
        index
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Pump> {
        self.slots.get(index)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Pump> {
        self.slots.get_mut(index)?.as_deref_mut()
    }

    /// The pump of a living channel.
    pub(crate) fn of(&self, channel: ChannelId) -> Option<usize> {
        let index = (*self.by_channel.get(channel.index())?).checked_sub(1)? as usize;
        self.get(index).filter(|pump| pump.channel == channel).map(|_| index)
    }

    /// The channel is gone: its number may be used again.
    pub(crate) fn forget_channel(&mut self, channel: ChannelId) {
        if self.of(channel).is_some()
            && let Some(entry) = self.by_channel.get_mut(channel.index())
        {
            *entry = 0;
        }
    }

    pub(crate) fn remove(&mut self, index: usize) -> Option<Box<Pump>> {
        let pump = self.slots.get_mut(index)?.take()?;
        self.forget_removed(index, pump.channel);
        self.free.push(index);
        if self.free.len() == self.slots.len() {
            // A burst of channels must not leave its tables behind.
            *self = Pumps::default();
        }
        Some(pump)
    }

    pub(crate) fn indexes(&self) -> Vec<usize> {
        self.slots.iter().enumerate().filter(|(_, p)| p.is_some()).map(|(i, _)| i).collect()
    }

    fn forget_removed(&mut self, index: usize, channel: ChannelId) {
        if let Some(entry) = self.by_channel.get_mut(channel.index())
            && *entry as usize == index + 1
        {
            *entry = 0;
        }
    }
}
