//! What is not used is closed: channels by `ChannelTimeout`, a connection without channels by
//! `UnusedConnectionTimeout`. Each channel has one entry in an order of times; what it costs does not depend on how
//! many there are, nor on how much goes through them: when a time has come, the channel's last use is looked at.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use sockward_drive::Session;
use sockward_privsep::worker::LoggedIn;
use sockward_proto::{ChannelId, Result};
use sockward_wire::pattern;

/// The timeout that stands for all channels together; no wildcard matches it.
const GLOBAL: &str = "global";

/// The times of one login; `C` is a channel.
#[derive(Debug)]
pub(crate) struct Idle<C = ChannelId> {
    /// Patterns of channel types, the first one holds; none is no timeout.
    rules: Vec<(String, Option<Duration>)>,
    /// All channels together.
    global: Option<Duration>,
    /// A connection without channels.
    unused: Option<Duration>,
    /// When to look at a channel next; the number tells entries of one time apart.
    order: BTreeMap<(Instant, u64), (C, Duration)>,
    next: u64,
    /// All that are open, for the global timeout.
    open: HashSet<C>,
    global_due: Option<Instant>,
    unused_since: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<C = ChannelId> {
    /// Close these, which nobody has used for so long.
    Channels(Vec<(C, Duration)>),
    /// End the connection, which has had no channel for so long.
    Connection(Duration),
    /// Nothing.
    Nothing,
}

impl<C: Copy + Eq + Hash> Idle<C> {
    pub(crate) fn new(login: &LoggedIn, now: Instant) -> Self {
        let time = |seconds: u64| Some(Duration::from_secs(seconds)).filter(|t| !t.is_zero());
        let (global, rules) =
            login.channel_timeouts.iter().partition::<Vec<_>, _>(|(name, _)| name == GLOBAL);
        Idle {
            rules: rules.into_iter().map(|(pattern, seconds)| (pattern.clone(), time(*seconds))).collect(),
            global: global.first().and_then(|(_, seconds)| time(*seconds)),
            unused: time(login.unused_timeout),
            order: BTreeMap::new(),
            next: 0,
            open: HashSet::new(),
            global_due: None,
            unused_since: Some(now),
        }
    }

    /// A channel has its descriptors; `kind` is its type, of a session with what runs in it.
    pub(crate) fn began(&mut self, channel: C, kind: &str, now: Instant) {
        if let Some(global) = self.global {
            self.open.insert(channel);
            self.global_due.get_or_insert(now + global);
        }
        let rule =
            self.rules.iter().find(|(pattern, _)| pattern::matches(pattern.as_bytes(), kind.as_bytes()));
        if let Some(timeout) = rule.and_then(|(_, timeout)| *timeout) {
            self.look_at(channel, timeout, now + timeout);
        }
    }

    fn look_at(&mut self, channel: C, timeout: Duration, at: Instant) {
        self.next += 1;
        self.order.insert((at, self.next), (channel, timeout));
    }

    /// Whether it matters that there are channels.
    pub(crate) fn minds_use(&self) -> bool {
        self.unused.is_some()
    }

    /// Whether there are channels now.
    pub(crate) fn in_use(&mut self, in_use: bool, now: Instant) {
        match (in_use, self.unused_since) {
            (true, _) => self.unused_since = None,
            (false, None) => self.unused_since = Some(now),
            (false, Some(_)) => {}
        }
    }

    /// When something is due at the earliest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let channel = self.order.first_key_value().map(|((at, _), _)| *at);
        let unused = self.unused.zip(self.unused_since).map(|(timeout, since)| since + timeout);
        channel.into_iter().chain(self.global_due).chain(unused).min()
    }

    /// What is due. `used`: when a channel was used last, if it is still there.
    pub(crate) fn due(&mut self, now: Instant, used: impl Fn(C) -> Option<Instant>) -> Due<C> {
        if let Some((timeout, since)) = self.unused.zip(self.unused_since)
            && since + timeout <= now
        {
            return Due::Connection(timeout);
        }
        let mut over = Vec::new();
        while let Some(entry) = self.order.first_entry().filter(|entry| entry.key().0 <= now) {
            let (channel, timeout) = entry.remove();
            match used(channel).map(|used| used + timeout) {
                // It is gone.
                None => {}
                Some(at) if at <= now => over.push((channel, timeout)),
                Some(at) => self.look_at(channel, timeout, at),
            }
        }
        if let Some(global) = self.global.filter(|_| self.global_due.is_some_and(|at| at <= now)) {
            self.open.retain(|channel| used(*channel).is_some());
            let due = self.open.iter().filter_map(|channel| used(*channel)).max().map(|used| used + global);
            match due {
                Some(at) if at <= now => {
                    over.extend(self.open.drain().map(|channel| (channel, global)));
                    self.global_due = None;
                }
                other => self.global_due = other,
            }
        }
        if over.is_empty() { Due::Nothing } else { Due::Channels(over) }
    }
}

impl Idle {
    /// Does what is due.
    pub(crate) fn enforce(&mut self, session: &mut Session, now: Instant) -> Result<()> {
        match self.due(now, |channel| session.last_used(channel)) {
            Due::Nothing => Ok(()),
            Due::Connection(timeout) => {
                log::info!("terminating inactive connection after {} seconds", timeout.as_secs());
                session.conn.disconnect("the connection was not used (UnusedConnectionTimeout)");
                self.unused = None;
                Ok(())
            }
            Due::Channels(channels) => {
                for (channel, timeout) in channels {
                    log::info!(
                        target: "verbose",
                        "channel {}: closing after {} seconds of inactivity",
                        channel.index(),
                        timeout.as_secs()
                    );
                    session.conn.close_channel(channel)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(timeouts: &[(&str, u64)], unused: u64, now: Instant) -> Idle<u32> {
        let channel_timeouts =
            timeouts.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect();
        let login = LoggedIn {
            alive_interval: 0,
            alive_count_max: 3,
            channel_timeouts,
            unused_timeout: unused,
            host_keys: Vec::new(),
            traffic: None,
        };
        Idle::new(&login, now)
    }

    #[test]
    fn the_first_pattern_holds_and_use_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = idle(&[("session:command", 0), ("session:*", 5), ("direct-*", 3)], 0, start);
        let channels = [0, 1, 2, 3];
        for (channel, kind) in
            channels.iter().zip(["session:command", "session:shell", "direct-tcpip", "forwarded-tcpip"])
        {
            idle.began(*channel, kind, start);
        }
        assert_eq!(idle.deadline(), Some(at(3)));
        // Used in its third second, it has three more.
        let used = |channel| Some(if channel == channels[2] { at(2) } else { start });
        assert_eq!(idle.due(at(3), used), Due::Nothing);
        assert_eq!(idle.deadline(), Some(at(5)));
        let both =
            Due::Channels(vec![(channels[1], Duration::from_secs(5)), (channels[2], Duration::from_secs(3))]);
        assert_eq!(idle.due(at(5), used), both);
        assert_eq!(idle.deadline(), None);
    }

    #[test]
    fn the_global_one_is_for_all_together_and_no_pattern_is_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = idle(&[("glob*", 1), ("global", 4)], 0, start);
        let (one, two) = (1, 2);
        idle.began(one, "direct-tcpip", start);
        idle.began(two, "global", start);
        assert_eq!(idle.deadline(), Some(at(1)), "a type of that name, by its pattern");
        let used = |channel| Some(if channel == one { at(3) } else { start });
        assert_eq!(idle.due(at(4), used), Due::Channels(vec![(two, Duration::from_secs(1))]));
        assert_eq!(idle.deadline(), Some(at(7)));
        let only_one = |channel| (channel == one).then_some(at(3));
        assert_eq!(idle.due(at(7), only_one), Due::Channels(vec![(one, Duration::from_secs(4))]));
        assert_eq!(idle.deadline(), None);
        idle.began(two, "direct-tcpip", at(9));
        assert_eq!(idle.due(at(13), |_| None), Due::Nothing, "gone");
        assert_eq!(idle.deadline(), None);
    }

    #[test]
    fn a_connection_without_channels_ends() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = idle(&[], 2, start);
        assert_eq!(idle.deadline(), Some(at(2)));
        idle.in_use(true, at(1));
        assert_eq!((idle.deadline(), idle.due(at(9), |_| None)), (None, Due::Nothing));
        idle.in_use(false, at(10));
        idle.in_use(false, at(11));
        assert_eq!(idle.due(at(11), |_| None), Due::Nothing);
        assert_eq!(idle.due(at(12), |_| None), Due::Connection(Duration::from_secs(2)));
    }
}
