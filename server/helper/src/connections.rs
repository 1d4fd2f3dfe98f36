//! The forwarded connections of one login: how many there are, and since when. They end when the worker says so,
//! which has their descriptors; a worker that lies about it can only use up its own login's room.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use sockward_policy::{Limited, decide_one_more};
use sockward_privsep::helper::Event;
use sockward_privsep::login::Connection;

use crate::caller::Caller;
use crate::refused::Refused;

/// The most whatever the permit says. No worker carries as many.
const CONNECTIONS_MAX: usize = 65_536;

/// One login's connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: HashMap<Connection, Record>,
    next: u64,
}

#[derive(Debug)]
struct Record {
    /// The target or the listener, as asked for.
    what: Rc<str>,
    since: Instant,
}

impl Connections {
    /// Whether there may be one more, beside `begun` that are being opened.
    pub(crate) fn check_room(&self, begun: usize, caller: &Caller<'_>) -> Result<(), Refused> {
        let count = self.open.len() + begun;
        decide_one_more(caller.permit, Limited::ForwardedConnections, count).into_result()?;
        if count >= CONNECTIONS_MAX {
            return Err(Refused::shortage(format!(
                "too many: a login has at most {CONNECTIONS_MAX} connections"
            )));
        }
        Ok(())
    }

    /// The number of the next connection that is accepted.
    pub(crate) fn next_accepted(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A connection is the worker's from now on.
    pub(crate) fn began(&mut self, connection: Connection, what: Rc<str>, now: Instant) {
        self.open.insert(connection, Record { what, since: now });
    }

    /// The worker says that one has ended. One that is not known is nobody's.
    pub(crate) fn closed(
        &mut self,
        connection: Connection,
        received: u64,
        sent: u64,
        caller: &mut Caller<'_>,
    ) {
        let Some(Record { what, since }) = self.open.remove(&connection) else { return };
        let lasted = caller.shared.now.saturating_duration_since(since);
        let milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        caller.event(Event::Closed { connection, what: what.to_string(), received, sent, milliseconds });
    }
}
