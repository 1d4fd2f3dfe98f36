//! Window arithmetic (RFC 4254 §5.2): credit is returned when bytes were consumed, not when they arrived,
//! and a window grows while its reader keeps up, within the connection's budget.

use std::time::{Duration, Instant};

use crate::error::{Error, Misbehaved};

/// No window is smaller: one packet of the size we take fits.
pub(super) const WINDOW_MIN: u32 = 32 * 1024;

/// What the round trip is taken for until it was measured.
const RTT_ASSUMED: Duration = Duration::from_millis(10);

/// How much all receive windows of a connection may hold.
#[derive(Debug)]
pub(super) struct WindowBudget {
    total: u64,
    /// Can be more than the total: see [`Self::grant`].
    granted: u64,
    /// The measured round trip, for growth.
    pub(super) rtt: Option<Duration>,
}

impl WindowBudget {
    pub(super) fn new(bytes: u64) -> Self {
        WindowBudget { total: bytes, granted: 0, rtt: None }
    }

    fn left(&self) -> u64 {
        self.total.saturating_sub(self.granted)
    }

    /// A window for a new channel: `wish`, or less as the budget runs low, but never nothing.
    ///
    /// The minimum is granted beyond the budget; the number of channels bounds that.
    pub(super) fn grant(&mut self, wish: u32) -> u32 {
        let share = u32::try_from(self.left() / 8).unwrap_or(u32::MAX);
        let size = wish.min(share).max(WINDOW_MIN);
        self.granted += u64::from(size);
        size
    }

    fn grow(&mut self, from: u32, max: u32) -> u32 {
        let more = from.min(max.saturating_sub(from)).min(u32::try_from(self.left() / 4).unwrap_or(u32::MAX));
        self.granted += u64::from(more);
        more
    }

    pub(super) fn give_back(&mut self, size: u32) {
        self.granted = self.granted.saturating_sub(u64::from(size));
    }
}

/// What the peer may still send us.
#[derive(Debug)]
pub(super) struct RecvWindow {
    /// Its full size.
    size: u32,
    /// What is left of it.
    left: u32,
    /// Consumed, but not credited yet.
    owed: u32,
    /// Consumed since `since`: when a whole window goes through within two round trips, it is what limits.
    passed: u32,
    since: Option<Instant>,
}

impl RecvWindow {
    pub(super) fn new(size: u32) -> Self {
        RecvWindow { size, left: size, owed: 0, passed: 0, since: None }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// `n` bytes arrived.
    pub(super) fn arrived(&mut self, n: usize) -> Result<(), Error> {
        let n = u32::try_from(n).map_err(|_| Misbehaved::WindowExceeded)?;
        self.left = self.left.checked_sub(n).ok_or(Misbehaved::WindowExceeded)?;
        Ok(())
    }

    /// `n` bytes went on to their reader. Returns the credit to send, when it is worth a message.
    pub(super) fn consumed(
        &mut self,
        n: usize,
        max: u32,
        budget: &mut WindowBudget,
        now: Instant,
    ) -> Option<u32> {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_add(n);
        self.passed = self.passed.saturating_add(n);
        // A quarter: early enough to keep the pipe full, late enough to be few messages.
        if self.owed < self.size / 4 {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if self.passed >= self.size {
            let rtt = budget.rtt.unwrap_or(RTT_ASSUMED).max(Duration::from_millis(1));
            if now.saturating_duration_since(since) <= 2 * rtt {
                let more = budget.grow(self.size, max);
                self.size += more;
                self.owed += more;
            }
            self.passed = 0;
            self.since = Some(now);
        }
        self.left += self.owed;
        Some(std::mem::take(&mut self.owed))
    }
}

/// What we may still send.
#[derive(Debug)]
pub(super) struct SendWindow(u32);

impl SendWindow {
    pub(super) fn new(bytes: u32) -> Self {
        SendWindow(bytes)
    }

    pub(super) fn left(&self) -> u32 {
        self.0
    }

    /// The peer grants more. True if the window was shut.
    pub(super) fn adjust(&mut self, bytes: u32) -> Result<bool, Error> {
        let was_shut = self.0 == 0;
        self.0 = self.0.checked_add(bytes).ok_or(Misbehaved::WindowOverflow)?;
        Ok(was_shut && bytes > 0)
    }

    /// `n` bytes were sent; never more than [`Self::left`].
    pub(super) fn sent(&mut self, n: usize) {
        self.0 = self.0.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_follows_consumption_not_arrival() {
        let mut budget = WindowBudget::new(1 << 30);
        let mut window = RecvWindow::new(100_000);
        let late = crate::testing::epoch() + Duration::from_secs(9);
        window.arrived(100_000).unwrap();
        assert_eq!(window.arrived(1), Err(Misbehaved::WindowExceeded.into()));
        assert_eq!(window.consumed(24_999, 100_000, &mut budget, late), None);
        assert_eq!(window.consumed(1, 100_000, &mut budget, late), Some(25_000));
        window.arrived(25_000).unwrap();
        assert!(window.arrived(1).is_err());
    }

    #[test]
    fn a_window_grows_only_while_its_reader_is_quick_and_the_budget_lasts() {
        let mut budget = WindowBudget::new(1 << 20);
        let mut window = RecvWindow::new(WINDOW_MIN);
        let now = crate::testing::epoch();
        for _ in 0..200 {
            window.arrived(8192).unwrap();
            window.consumed(8192, 1 << 30, &mut budget, now);
        }
        assert!(window.size() > 4 * WINDOW_MIN, "{}", window.size());
        assert!(window.size() < 1 << 20);

        let mut slow = RecvWindow::new(WINDOW_MIN);
        let mut clock = now;
        for _ in 0..50 {
            clock += Duration::from_secs(1);
            slow.arrived(8192).unwrap();
            slow.consumed(8192, 1 << 30, &mut budget, clock);
        }
        assert_eq!(slow.size(), WINDOW_MIN);
    }

    #[test]
    fn the_budget_shrinks_new_windows_but_leaves_a_packet_for_each() {
        let mut budget = WindowBudget::new(4 << 20);
        let sizes: Vec<u32> = (0..400).map(|_| budget.grant(256 * 1024)).collect();
        assert_eq!(sizes[0], 256 * 1024);
        assert_eq!(sizes[399], WINDOW_MIN);
    }

    #[test]
    fn what_was_granted_beyond_the_budget_does_not_come_back_as_more() {
        let mut budget = WindowBudget::new(1 << 20);
        for _ in 0..10 {
            let sizes: Vec<u32> = (0..1000).map(|_| budget.grant(256 * 1024)).collect();
            assert_eq!(sizes[0], 128 * 1024, "an eighth of the budget");
            assert_eq!(budget.grow(WINDOW_MIN, 1 << 30), 0, "all of it is used");
            sizes.into_iter().for_each(|size| budget.give_back(size));
        }
    }

    #[test]
    fn a_send_window_cannot_overflow() {
        let mut window = SendWindow::new(u32::MAX - 1);
        assert_eq!(window.adjust(1), Ok(false));
        assert_eq!(window.adjust(1), Err(Misbehaved::WindowOverflow.into()));
    }
}
