//! `MaxStartups`, `PerSourceMaxStartups`: how many may be at the door at once.

use std::collections::HashMap;
use std::net::IpAddr;

use sockward_config::sshd::MaxStartups;

/// Connections that have not authenticated.
#[derive(Debug, Default)]
pub(crate) struct Startups {
    total: u32,
    by_source: HashMap<IpAddr, u32>,
}

/// One who is at the door, and which block it was counted with: a reload may draw the blocks anew.
#[derive(Debug)]
pub(crate) struct Seat(Option<IpAddr>);

/// `PerSourceMaxStartups` and `PerSourceNetBlockSize`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerSource {
    pub(crate) max: Option<u32>,
    pub(crate) block: (u8, u8),
}

impl Startups {
    /// Whether one more may come in. `dice` is a random number below 100.
    pub(crate) fn admits(
        &self,
        limits: MaxStartups,
        per_source: PerSource,
        from: Option<IpAddr>,
        dice: u32,
    ) -> bool {
        let source = from.and_then(|a| self.by_source.get(&block(a, per_source.block))).copied();
        if per_source.max.zip(source).is_some_and(|(max, n)| n >= max) {
            return false;
        }
        dice >= drop_percent(limits, self.total)
    }

    #[must_use]
    pub(crate) fn enter(&mut self, from: Option<IpAddr>, per_source: PerSource) -> Seat {
        self.total += 1;
        let key = from.map(|address| block(address, per_source.block));
        if let Some(key) = key {
            *self.by_source.entry(key).or_default() += 1;
        }
        Seat(key)
    }

    pub(crate) fn leave(&mut self, Seat(key): Seat) {
        self.total = self.total.saturating_sub(1);
        let Some(key) = key else { return };
        if let Some(n) = self.by_source.get_mut(&key) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.by_source.remove(&key);
            }
        }
    }
}

/// How many of a hundred newcomers are dropped: none below `start`, all from `full` on, linear between.
fn drop_percent(limits: MaxStartups, there: u32) -> u32 {
    let MaxStartups { start, rate, full } = limits;
    if there < start {
        0
    } else if there >= full || rate >= 100 {
        100
    } else {
        rate + (100 - rate) * (there - start) / (full - start).max(1)
    }
}

/// The network block an address belongs to.
fn block(address: IpAddr, bits: (u8, u8)) -> IpAddr {
    match address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.0.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(a) & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.1.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(a) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MaxStartups = MaxStartups { start: 10, rate: 30, full: 100 };
    const FREE: PerSource = PerSource { max: None, block: (32, 128) };

    #[test]
    fn early_drop_grows_from_start_to_full() {
        assert_eq!(drop_percent(LIMITS, 9), 0);
        assert_eq!(drop_percent(LIMITS, 10), 30);
        assert_eq!(drop_percent(LIMITS, 55), 65);
        assert_eq!(drop_percent(LIMITS, 100), 100);
        let one = MaxStartups { start: 1, rate: 100, full: 1 };
        assert_eq!((drop_percent(one, 0), drop_percent(one, 1)), (0, 100));
    }

    #[test]
    fn those_who_leave_make_room() {
        let one = MaxStartups { start: 1, rate: 100, full: 1 };
        let mut startups = Startups::default();
        assert!(startups.admits(one, FREE, None, 0));
        let seat = startups.enter(None, FREE);
        assert!(!startups.admits(one, FREE, None, 99));
        startups.leave(seat);
        assert!(startups.admits(one, FREE, None, 0));
    }

    #[test]
    fn a_network_block_has_its_own_limit() {
        let limit = PerSource { max: Some(1), block: (24, 64) };
        let address = |s: &str| Some(s.parse::<IpAddr>().unwrap());
        let mut startups = Startups::default();
        let seat = startups.enter(address("192.0.2.7"), limit);
        assert!(!startups.admits(LIMITS, limit, address("192.0.2.99"), 99));
        assert!(startups.admits(LIMITS, limit, address("192.0.3.1"), 0));
        assert!(startups.admits(LIMITS, limit, None, 0));
        startups.leave(seat);
        assert!(startups.admits(LIMITS, limit, address("192.0.2.99"), 99));
        assert!(startups.by_source.is_empty());
    }
}
