//! What the client's poller watches, and the numbers that stand for it.

use mio::Token;
use sockward_drive::Subject;

/// Something of the program's own that is watched; the n-th of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Answers of jobs.
    Jobs,
    Signals,
    /// The connection to the server, on its way.
    Connector,
    /// A local listener.
    Listener(usize),
    /// A connection on its way to a target of the server's listeners.
    Target(usize),
    /// A SOCKS client that has not said yet where to.
    Socks(usize),
    /// The control socket and its clients.
    Control(usize),
}

/// Kinds there are; those that are there once share one.
const KINDS: usize = 5;
const ONCE: usize = 0;
const LISTENER: usize = 1;
const TARGET: usize = 2;
const SOCKS: usize = 3;
const CONTROL: usize = 4;

impl Watched {
    /// The poller's token.
    pub(crate) fn token(self) -> Token {
        let (kind, n) = match self {
            Watched::Jobs => (ONCE, 0),
            Watched::Signals => (ONCE, 1),
            Watched::Connector => (ONCE, 2),
            Watched::Listener(n) => (LISTENER, n),
            Watched::Target(n) => (TARGET, n),
            Watched::Socks(n) => (SOCKS, n),
            Watched::Control(n) => (CONTROL, n),
        };
        Subject::App(n * KINDS + kind).token()
    }

    /// What a number of the application's stands for.
    pub(crate) fn of(number: usize) -> Option<Self> {
        let n = number / KINDS;
        match (number % KINDS, n) {
            (ONCE, 0) => Some(Watched::Jobs),
            (ONCE, 1) => Some(Watched::Signals),
            (ONCE, 2) => Some(Watched::Connector),
            (LISTENER, n) => Some(Watched::Listener(n)),
            (TARGET, n) => Some(Watched::Target(n)),
            (SOCKS, n) => Some(Watched::Socks(n)),
            (CONTROL, n) => Some(Watched::Control(n)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_one_thing() {
        for n in [0, 1, 2, 77] {
            let all = [Watched::Listener(n), Watched::Target(n), Watched::Socks(n), Watched::Control(n)];
            for watched in all {
                let Some(Subject::App(number)) = Subject::of(watched.token()) else { panic!("not ours") };
                assert_eq!(Watched::of(number), Some(watched));
            }
        }
        for once in [Watched::Jobs, Watched::Signals, Watched::Connector] {
            let Some(Subject::App(number)) = Subject::of(once.token()) else { panic!("not ours") };
            assert_eq!(Watched::of(number), Some(once));
        }
    }
}
