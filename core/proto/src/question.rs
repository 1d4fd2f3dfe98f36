//! Questions to the application are owned values: many may wait at once, and one that is dropped without
//! an answer is refused. Here is how a dropped one finds its way back to the connection.

use std::cell::RefCell;
use std::rc::Rc;

/// What is owed to the peer when a question is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// CHANNEL_OPEN_FAILURE for the peer's channel number.
    OpenFailure { remote: u32 },
    /// CHANNEL_FAILURE.
    RequestFailure { slot: u32, generation: u32, serial: u64 },
    /// REQUEST_FAILURE.
    GlobalFailure { serial: u64 },
    /// USERAUTH_FAILURE.
    AuthFailure,
    /// The end: a host key nobody vouched for.
    HostKey,
    /// The end: no signature.
    Signature,
}

/// The connection's list of dropped questions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropped(Rc<RefCell<Vec<Owed>>>);

impl Dropped {
    /// Takes everything dropped since the last call.
    pub(crate) fn take(&self) -> Vec<Owed> {
        // Nobody borrows across a call into the application, so this cannot fail.
        self.0.try_borrow_mut().map(|mut list| std::mem::take(&mut *list)).unwrap_or_default()
    }

    /// A question's link back.
    pub(crate) fn ticket(&self, owed: Owed) -> Ticket {
        self.optional_ticket(Some(owed))
    }

    /// The same for a question that may not need an answer.
    pub(crate) fn optional_ticket(&self, owed: Option<Owed>) -> Ticket {
        Ticket { owed, dropped: self.clone() }
    }
}

/// Held by a question; says on drop what is owed.
#[derive(Debug)]
pub(crate) struct Ticket {
    owed: Option<Owed>,
    dropped: Dropped,
}

impl Ticket {
    /// The question is being answered.
    pub(crate) fn redeem(mut self) -> Option<Owed> {
        self.owed.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let (Some(owed), Ok(mut list)) = (self.owed.take(), self.dropped.0.try_borrow_mut()) {
            list.push(owed);
        }
    }
}
