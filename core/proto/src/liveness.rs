//! Is the peer still there? `ClientAliveInterval` / `ServerAliveInterval` (RFC 4254 §4 requests as probes).

use std::time::{Duration, Instant};

use crate::config::KeepAlive;

/// Watches one connection's silence.
#[derive(Debug)]
pub(crate) struct Liveness {
    settings: Option<KeepAlive>,
    /// When something was last heard or asked.
    since: Instant,
    /// When something was last heard.
    heard: Instant,
    unanswered: u32,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Ask for a sign of life.
    Ask,
    /// The peer is gone.
    GiveUp,
}

impl Liveness {
    pub(crate) fn new(settings: Option<KeepAlive>, now: Instant) -> Self {
        let mut liveness = Liveness { settings: None, since: now, heard: now, unanswered: 0 };
        liveness.set(settings);
        liveness
    }

    /// Other settings from now on.
    pub(crate) fn set(&mut self, settings: Option<KeepAlive>) {
        self.settings = settings.filter(|s| s.interval > Duration::ZERO);
    }

    /// Anything arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.since = now;
        self.heard = now;
        self.unanswered = 0;
    }

    /// When something was last heard.
    pub(crate) fn last_heard(&self) -> Instant {
        self.heard
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Beyond what the clock can hold is never.
        self.since.checked_add(self.settings?.interval)
    }

    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let (Some(settings), Some(at)) = (self.settings, self.deadline()) else { return Due::Nothing };
        if now < at {
            return Due::Nothing;
        }
        if settings.count_max > 0 && self.unanswered >= settings.count_max {
            return Due::GiveUp;
        }
        self.since = now;
        self.unanswered += 1;
        Due::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_count_max_times_then_gives_up() {
        let t0 = crate::testing::epoch();
        let interval = Duration::from_secs(5);
        let mut alive = Liveness::new(Some(KeepAlive { interval, count_max: 2 }), t0);
        assert_eq!(alive.due(t0 + Duration::from_secs(4)), Due::Nothing);
        assert_eq!(alive.due(t0 + interval), Due::Ask);
        assert_eq!(alive.due(t0 + 2 * interval), Due::Ask);
        assert_eq!(alive.due(t0 + 3 * interval), Due::GiveUp);
        alive.heard(t0 + 3 * interval);
        assert_eq!(alive.due(t0 + 4 * interval), Due::Ask);
    }
}
