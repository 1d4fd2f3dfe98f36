//! The order of answers (RFC 4254 §4 and §5.4): requests carry no numbers, so answers must go out in the
//! order of the requests, however late or early the application decides each.

use std::collections::VecDeque;

use crate::error::{Error, Misbehaved};

/// Requests whose answers we keep in order, on one channel or on the connection.
const DUE_MAX: usize = 1024;

/// Requests under way in both directions. `A` is what an answer holds.
#[derive(Debug)]
pub(crate) struct Replies<A = bool> {
    due: VecDeque<Due<A>>,
    next_serial: u64,
    awaited: u32,
}

#[derive(Debug)]
struct Due<A> {
    serial: u64,
    answer: Option<A>,
}

impl<A> Default for Replies<A> {
    fn default() -> Self {
        Replies { due: VecDeque::new(), next_serial: 0, awaited: 0 }
    }
}

impl<A> Replies<A> {
    /// The peer asked and wants an answer. Returns the serial to answer by.
    pub(crate) fn asked(&mut self) -> Result<u64, Error> {
        if self.due.len() >= DUE_MAX {
            return Err(Misbehaved::TooManyRequests.into());
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.due.push_back(Due { serial, answer: None });
        Ok(serial)
    }

    /// The application decided. The answers that may go out now follow from [`Self::next_ready`].
    pub(crate) fn decided(&mut self, serial: u64, answer: A) {
        if let Some(due) = self.due.iter_mut().find(|d| d.serial == serial) {
            due.answer = Some(answer);
        }
    }

    /// The next answer in order, if it is decided.
    pub(crate) fn next_ready(&mut self) -> Option<A> {
        let answer = self.due.front_mut()?.answer.take()?;
        self.due.pop_front();
        Some(answer)
    }

    /// We asked and want an answer.
    pub(crate) fn awaiting(&mut self) {
        self.awaited += 1;
    }

    /// An answer arrived. An error if nobody waited for one.
    pub(crate) fn answered(&mut self) -> Result<(), Error> {
        self.awaited = self.awaited.checked_sub(1).ok_or(Misbehaved::UnwantedReply)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_the_questions() {
        let mut replies = Replies::default();
        let first = replies.asked().unwrap();
        let second = replies.asked().unwrap();
        replies.decided(second, true);
        assert_eq!(replies.next_ready(), None);
        replies.decided(first, false);
        assert_eq!(replies.next_ready(), Some(false));
        assert_eq!(replies.next_ready(), Some(true));
        assert_eq!(replies.next_ready(), None);
    }

    #[test]
    fn neither_unwanted_answers_nor_endless_questions() {
        let mut replies = Replies::<bool>::default();
        assert_eq!(replies.answered(), Err(Misbehaved::UnwantedReply.into()));
        for _ in 0..DUE_MAX {
            replies.asked().unwrap();
        }
        assert_eq!(replies.asked(), Err(Misbehaved::TooManyRequests.into()));
    }
}
