//! Connections to this machine's listeners that wait for the server: those that came while it was away, and those whose
//! channel was not open yet when the connection was lost. Nothing has been read from any of them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sockward_config::forward::Forward;
use sockward_wire::socks::{Outcome, Request};

use super::local::Accepted;
use super::socks::{self, Wanted};

/// So many are held; others wait in the listeners' backlogs.
const WAITING_MAX: usize = 128;

/// A connection that wants a channel.
pub(crate) enum Pending {
    /// Its listener says where to.
    Forward(Accepted),
    /// A SOCKS client, which has said where to.
    Socks(Wanted),
}

impl Pending {
    /// The connection, and the request of a SOCKS client: it is told how that went.
    pub(super) fn into_socket(self) -> (OwnedFd, Option<Request>) {
        match self {
            Pending::Forward(accepted) => (accepted.socket, None),
            Pending::Socks(wanted) => (wanted.socket, Some(wanted.request)),
        }
    }

    /// It gets no channel.
    pub(super) fn refuse(self) {
        if let Pending::Socks(Wanted { socket, request, .. }) = self {
            // One that has left needs no answer.
            let _ = socks::say(&socket, &request.reply(Outcome::Failed));
        }
    }

    fn is_of(&self, forward: &Arc<Forward>) -> bool {
        matches!(self, Pending::Forward(accepted) if Arc::ptr_eq(&accepted.forward, forward))
    }
}

/// All of them, in the order in which they are served.
#[derive(Default)]
pub(crate) struct Waiting(VecDeque<(Instant, Pending)>);

impl Waiting {
    /// Whether no more are held.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= WAITING_MAX
    }

    /// One more, behind all others.
    pub(super) fn push(&mut self, pending: Pending, now: Instant) {
        self.0.push_back((now, pending));
    }

    /// The next to be served.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        self.0.pop_front().map(|(_, pending)| pending)
    }

    /// Refuses those that have waited for so long; none is no limit.
    pub(super) fn expire(&mut self, patience: Option<Duration>, now: Instant) {
        let Some(patience) = patience else { return };
        while let Some((since, _)) = self.0.front()
            && now.saturating_duration_since(*since) >= patience
        {
            log::debug!("A connection has waited for the server in vain.");
            if let Some(pending) = self.pop() {
                pending.refuse();
            }
        }
    }

    /// When the first has waited for so long.
    pub(super) fn deadline(&self, patience: Option<Duration>) -> Option<Instant> {
        let (since, _) = self.0.front()?;
        since.checked_add(patience?)
    }

    /// A forwarding is cancelled.
    pub(super) fn forget(&mut self, forward: &Arc<Forward>) {
        self.0.retain(|(_, pending)| !pending.is_of(forward));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_config::forward::Form;
    use sockward_config::lookup::NoLookup;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn they_are_served_in_order_and_not_kept_beyond_the_limit() {
        let forward = |text: &[u8]| Arc::new(Forward::parse(text, Form::Local, &NoLookup).unwrap());
        let (one, two) = (forward(b"1:h:1"), forward(b"2:h:1"));
        let mut ours = Vec::new();
        let mut pending = |forward: &Arc<Forward>| {
            let (near, far) = UnixStream::pair().unwrap();
            ours.push(near);
            Pending::Forward(Accepted { forward: Arc::clone(forward), origin: None, socket: far.into() })
        };
        let (now, patience) = (Instant::now(), Duration::from_secs(5));
        let mut waiting = Waiting::default();
        waiting.push(pending(&one), now);
        waiting.push(pending(&two), now + patience);
        waiting.push(pending(&one), now + patience);
        assert_eq!(waiting.deadline(Some(patience)), Some(now + patience));
        assert_eq!(waiting.deadline(None), None);
        waiting.expire(None, now + 9 * patience);
        waiting.expire(Some(patience), now + patience);
        assert_eq!(waiting.0.len(), 2);
        waiting.forget(&one);
        assert!(waiting.pop().is_some_and(|first| first.is_of(&two)));
        assert!(waiting.pop().is_none() && !waiting.is_full());
        for near in &mut ours {
            assert_eq!(near.read(&mut [0]).unwrap(), 0, "whoever is not served sees the end");
        }
    }
}
