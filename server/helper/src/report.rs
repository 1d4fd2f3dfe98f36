//! What the helper tells the monitor: facts for log and audit, and its own log lines.
//!
//! Telling never stalls a forwarding: when the monitor is far behind, facts are dropped and counted, and the count
//! is told as soon as there is room.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use sockward_privsep::helper::{Event, FromHelper, ToHelper};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::log::{self, LogLevel, Target};

/// Facts that may wait. The link bears four times as many messages; the rest is for what must not be lost.
const WAITING_MAX: usize = 1024;
/// Log lines kept until the end of a turn.
const LINES_MAX: usize = 256;

thread_local! {
    static LINES: RefCell<Vec<(LogLevel, String)>> = const { RefCell::new(Vec::new()) };
}

/// Has the `log` macros collect lines for [`Monitor::settle`].
pub(crate) fn install_logger(level: LogLevel) -> io::Result<()> {
    let keep = |level: LogLevel, text: &str| {
        LINES.with_borrow_mut(|lines| {
            if lines.len() < LINES_MAX {
                lines.push((level, text.to_owned()));
            }
        });
    };
    log::init(Target::Callback(Arc::new(keep)), level)
}

/// The link to the monitor.
#[derive(Debug)]
pub(crate) struct Monitor {
    channel: Channel<FromHelper, ToHelper>,
    dropped: u64,
}

impl Monitor {
    pub(crate) fn new(channel: Channel<FromHelper, ToHelper>) -> Self {
        Monitor { channel, dropped: 0 }
    }

    /// Tells a fact of a login, if the monitor keeps up.
    pub(crate) fn event(&mut self, login: u64, event: Event) {
        if self.channel.backlog() >= WAITING_MAX {
            self.dropped += 1;
            return;
        }
        // A link that has ended shows when it is read.
        let _ = self.channel.say(&FromHelper::Event { login, event }, None);
    }

    /// Says what must not be lost.
    pub(crate) fn tell(&mut self, message: &FromHelper, fd: Option<OwnedFd>) -> io::Result<()> {
        self.channel.say(message, fd)
    }

    /// The next message.
    pub(crate) fn hear(&mut self, buffer: &mut [u8]) -> io::Result<Outcome<ToHelper>> {
        self.channel.hear(buffer)
    }

    /// At the end of a turn: sends what waits, log lines, and how many facts were dropped.
    pub(crate) fn settle(&mut self) {
        let lines: Vec<_> = LINES.with_borrow_mut(std::mem::take);
        if self.dropped > 0 && self.channel.backlog() < WAITING_MAX / 2 {
            let count = std::mem::take(&mut self.dropped);
            // As for facts.
            let _ = self.channel.say(&FromHelper::Lost { count }, None);
        }
        for (level, text) in lines {
            if self.channel.backlog() < WAITING_MAX {
                let error = level <= LogLevel::Error;
                // As above.
                let _ = self.channel.say(&FromHelper::Log { error, text }, None);
            }
        }
        let _ = self.channel.flush();
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_sys::link::Link;

    #[test]
    fn a_monitor_that_does_not_listen_loses_facts_and_is_told_how_many() {
        let (ours, theirs) = Link::pair().unwrap();
        let mut monitor = Monitor::new(Channel::new(ours));
        let mut other = Channel::<ToHelper, FromHelper>::new(theirs);
        const MANY: u64 = 20_000;
        for _ in 0..MANY {
            monitor.event(1, Event::Unlisten { at: "x".into() });
        }
        // What must not be lost still gets through.
        monitor.tell(&FromHelper::Idle, None).unwrap();
        let (mut facts, mut idle, mut said) = (0, 0, None);
        let mut buffer = Channel::<ToHelper, FromHelper>::buffer();
        while said.is_none() {
            monitor.settle();
            match other.hear(&mut buffer).unwrap() {
                Outcome::Message(FromHelper::Event { .. }, None) => facts += 1,
                Outcome::Message(FromHelper::Idle, None) => idle += 1,
                Outcome::Message(FromHelper::Lost { count }, None) => said = Some(count),
                Outcome::Empty => {}
                other => panic!("{other:?}"),
            }
        }
        while let Outcome::Message(message, None) = other.hear(&mut buffer).unwrap() {
            match message {
                FromHelper::Event { .. } => facts += 1,
                FromHelper::Idle => idle += 1,
                other => panic!("{other:?}"),
            }
            monitor.settle();
        }
        let lost = said.unwrap();
        assert_eq!((facts + lost, idle), (MANY, 1));
        assert!(lost > 0);
    }
}
