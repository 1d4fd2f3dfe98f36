//! Two ends joined: a flow each way, each of which ends on its own.

use std::io;

use crate::end::End;
use crate::failure::Side;
use crate::flow::{Broken, Flow, Step, Tools};

/// Steps of a flow before others have their turn.
const STEPS: usize = 16;

/// Which directions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Directions {
    #[default]
    Both,
    /// From the first address to the second.
    Forward,
    /// From the second to the first.
    Backward,
}

/// A pair of ends.
#[derive(Debug)]
pub(crate) struct Joint {
    pub(crate) first: End,
    pub(crate) second: End,
    forward: Half,
    backward: Half,
    /// The first error; the other direction goes on.
    pub(crate) trouble: Option<(Side, io::Error)>,
}

#[derive(Debug)]
struct Half {
    flow: Flow,
    state: HalfState,
}

/// Where a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfState {
    Moving,
    WantsRead,
    WantsWrite,
    Over,
}

/// What a turn left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// There is more to do at once.
    Busy,
    /// Nothing until a descriptor is ready.
    Idle,
    /// Both directions are over.
    Over,
}

impl Joint {
    pub(crate) fn new(first: End, second: End, directions: Directions) -> Joint {
        let half = |from: &End, to: &End, wanted: bool| {
            let sink = to.sink().unwrap_or(to.source());
            let state = if wanted && to.sink().is_some() { HalfState::Moving } else { HalfState::Over };
            Half { flow: Flow::new(from.source(), sink), state }
        };
        let forward = half(&first, &second, directions != Directions::Backward);
        let backward = half(&second, &first, directions != Directions::Forward);
        Joint { first, second, forward, backward, trouble: None }
    }

    /// Moves what can be moved now.
    pub(crate) fn turn(&mut self, tools: &mut Tools) -> Status {
        let Joint { first, second, forward, backward, trouble } = self;
        let broken = [
            (forward.turn(first, second, tools), Side::First, Side::Second),
            (backward.turn(second, first, tools), Side::Second, Side::First),
        ];
        for (broken, source, sink) in broken {
            match broken {
                None => {}
                Some(Broken::Source(e)) => drop(trouble.get_or_insert((source, e))),
                Some(Broken::Sink(e)) => drop(trouble.get_or_insert((sink, e))),
            }
        }
        match (forward.state, backward.state) {
            (HalfState::Over, HalfState::Over) => Status::Over,
            (HalfState::Moving, _) | (_, HalfState::Moving) => Status::Busy,
            _ => Status::Idle,
        }
    }

    /// What each end is waited for: reading, writing.
    pub(crate) fn waits(&self) -> [(bool, bool); 2] {
        let (f, b) = (self.forward.state, self.backward.state);
        let (read, write) = (HalfState::WantsRead, HalfState::WantsWrite);
        [(f == read, b == write), (b == read, f == write)]
    }

    /// One direction is over and the other waits for something to read.
    pub(crate) fn is_half_over(&self) -> bool {
        matches!(
            (self.forward.state, self.backward.state),
            (HalfState::Over, HalfState::WantsRead) | (HalfState::WantsRead, HalfState::Over)
        )
    }

    /// The end that still may say something while the other has said all.
    pub(crate) fn last_source(&self) -> Option<&End> {
        match (self.forward.state, self.backward.state) {
            (HalfState::Over, HalfState::Over) => None,
            (HalfState::Over, _) => Some(&self.second),
            (_, HalfState::Over) => Some(&self.first),
            _ => None,
        }
    }

    /// Something may have become ready.
    pub(crate) fn wake(&mut self) {
        for half in [&mut self.forward, &mut self.backward] {
            if half.state != HalfState::Over {
                half.state = HalfState::Moving;
            }
        }
    }

    /// Bytes from the first to the second, and back.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.forward.flow.moved(), self.backward.flow.moved())
    }
}

impl Half {
    fn turn(&mut self, from: &mut End, to: &mut End, tools: &mut Tools) -> Option<Broken> {
        if self.state != HalfState::Moving {
            return None;
        }
        for _ in 0..STEPS {
            let Some(sink) = to.sink() else {
                self.state = HalfState::Over;
                return None;
            };
            let step = self.flow.step(from.source(), sink, tools);
            self.state = match step {
                Ok(Step::Moved(_)) => continue,
                Ok(Step::WantsRead) => HalfState::WantsRead,
                Ok(Step::WantsWrite) => HalfState::WantsWrite,
                Ok(Step::Ended) | Err(_) => {
                    to.end_writing();
                    HalfState::Over
                }
            };
            return step.err();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, End) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (ours, End::socket(theirs.into()))
    }

    #[test]
    fn each_direction_ends_on_its_own() {
        let ((mut a, first), (mut b, second)) = (pair(), pair());
        let (mut joint, mut tools) = (Joint::new(first, second, Directions::Both), Tools::new());
        a.write_all(b"question").unwrap();
        a.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(joint.turn(&mut tools), Status::Idle);
        let mut asked = String::new();
        b.read_to_string(&mut asked).unwrap();
        assert_eq!(asked, "question");
        assert!(joint.is_half_over());
        assert_eq!(joint.waits(), [(false, false), (true, false)]);
        b.write_all(b"answer").unwrap();
        drop(b);
        joint.wake();
        assert_eq!(joint.turn(&mut tools), Status::Over);
        let mut answer = String::new();
        a.read_to_string(&mut answer).unwrap();
        assert_eq!((answer.as_str(), joint.totals()), ("answer", (8, 6)));
        assert!(joint.trouble.is_none());
    }

    #[test]
    fn a_broken_sink_does_not_stop_the_other_direction() {
        sockward_sys::signal::ignore_sigpipe();
        let ((mut a, first), (mut b, second)) = (pair(), pair());
        let (mut joint, mut tools) = (Joint::new(first, second, Directions::Both), Tools::new());
        b.write_all(b"last words").unwrap();
        b.shutdown(std::net::Shutdown::Read).unwrap();
        a.write_all(b"nobody listens").unwrap();
        joint.turn(&mut tools);
        drop(b);
        joint.wake();
        assert_eq!(joint.turn(&mut tools), Status::Over);
        let mut heard = String::new();
        a.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "last words");
        assert!(matches!(joint.trouble, Some((Side::Second, _))));
    }

    #[test]
    fn one_way_is_one_way() {
        let ((mut a, first), (mut b, second)) = (pair(), pair());
        let (mut joint, mut tools) = (Joint::new(first, second, Directions::Forward), Tools::new());
        a.write_all(b"x").unwrap();
        drop(a);
        assert_eq!(joint.turn(&mut tools), Status::Over);
        let mut heard = String::new();
        b.read_to_string(&mut heard).unwrap();
        assert_eq!((heard.as_str(), joint.totals()), ("x", (1, 0)));
    }
}
