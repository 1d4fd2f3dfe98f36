//! Threads for what waits: name look-ups, an agent, files, people. The loop never does; it is woken when an
//! answer is there. A job is one thread with one answer, and ends with the process if nobody waits for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use mio::{Poll, Token, Waker};

/// Starts jobs; copies wake the same loop.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Waker>);

/// A job under way.
#[derive(Debug)]
pub(crate) struct Job<T>(Receiver<T>);

impl Jobs {
    /// Jobs whose answers wake the poller with this token.
    pub(crate) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Ok(Jobs(Arc::new(Waker::new(poll.registry(), token)?)))
    }

    /// Runs something that waits.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Job<T>> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let waker = Arc::clone(&self.0);
        std::thread::Builder::new().spawn(move || {
            // Nobody may wait any more.
            let _ = sender.send(work());
            let _ = waker.wake();
        })?;
        Ok(Job(receiver))
    }

    /// A line of messages into the loop, for a thread that has more than one thing to say.
    pub(crate) fn line<T: Send + 'static>(&self) -> (Speaker<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel();
        (Speaker { sender, waker: Arc::clone(&self.0) }, receiver)
    }
}

impl<T> Job<T> {
    /// The answer, once.
    pub(crate) fn poll(&self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

/// The thread's end of a line.
pub(crate) struct Speaker<T> {
    sender: mpsc::Sender<T>,
    waker: Arc<Waker>,
}

impl<T> Speaker<T> {
    /// Says something; false when nobody listens any more.
    pub(crate) fn say(&self, message: T) -> bool {
        self.sender.send(message).is_ok() && self.waker.wake().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Events;

    #[test]
    fn an_answer_wakes_the_loop_and_is_there_once() {
        let mut poll = Poll::new().unwrap();
        let jobs = Jobs::new(&poll, Token(3)).unwrap();
        let job = jobs.start(|| 6 * 7).unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, None).unwrap();
        assert_eq!(events.iter().next().map(|e| e.token()), Some(Token(3)));
        assert_eq!(job.poll(), Some(42));
        assert_eq!(job.poll(), None);
    }

    #[test]
    fn a_line_carries_several_messages() {
        let poll = Poll::new().unwrap();
        let jobs = Jobs::new(&poll, Token(0)).unwrap();
        let (speaker, heard) = jobs.line();
        let job = jobs.start(move || (1..=3).all(|n| speaker.say(n))).unwrap();
        assert_eq!(heard.iter().collect::<Vec<_>>(), [1, 2, 3]);
        drop(heard);
        while job.poll().is_none() {
            std::thread::yield_now();
        }
    }
}
