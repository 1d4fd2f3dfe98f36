//! The first words: the gate's greeting and the near end's answer. Before the answer nothing else is said, so that
//! whoever connects by mistake does no harm and hears why.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use sockward_sys::signal::Signals;
use sockward_sys::stream::{Stream, Wait, wait};
use sockward_wire::gate::{ANSWER, GREETING};

/// How long the near end may take: a slow link, not a person.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the meeting went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// The near end has answered.
    NearEnd,
    /// Nobody is there, or a signal has come.
    Nobody,
}

/// Greets, and waits for the answer. The error is a sentence.
pub(crate) fn meet(input: &Stream, output: &Stream, signals: &Signals) -> Result<Met, String> {
    let until = Instant::now() + PATIENCE;
    let mut greeting = GREETING;
    let mut answer = Vec::new();
    while answer.len() < ANSWER.len() {
        if !greeting.is_empty() {
            match output.write(greeting) {
                Ok(n) => greeting = greeting.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(Met::Nobody),
            }
        }
        // Not a byte more than the answer: what follows is the connection's.
        let mut buffer = [0; ANSWER.len()];
        let room = buffer.get_mut(answer.len()..).unwrap_or_default();
        match input.read(room) {
            Ok(0) if answer.is_empty() => return Ok(Met::Nobody),
            Ok(0) => return Err("the near end went in the middle of its answer".into()),
            Ok(n) => {
                answer.extend_from_slice(room.get(..n).unwrap_or_default());
                if !ANSWER.starts_with(&answer) {
                    return Err(
                        "what is at the other end does not speak to a gate; use 'sockward ssh -o Via=gate'"
                            .into(),
                    );
                }
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(format!("standard input: {e}")),
        }
        let left = until.saturating_duration_since(Instant::now());
        let output = output.as_fd();
        let mut waits = vec![Wait::new(input, true, false), Wait::new(signals, true, false)];
        if !greeting.is_empty() {
            waits.push(Wait::new(&output, false, true));
        }
        if !wait(&mut waits, Some(left)).map_err(|e| e.to_string())? {
            return Err("the near end did not answer".into());
        }
        if signals.next().map_err(|e| e.to_string())?.is_some() {
            return Ok(Met::Nobody);
        }
    }
    Ok(Met::NearEnd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn meet_with(words: &[u8]) -> (Result<Met, String>, Vec<u8>) {
        let (mut near, far) = UnixStream::pair().unwrap();
        let stream = |s: &UnixStream| Stream::shared(OwnedFd::from(s.try_clone().unwrap()));
        let signals = Signals::new(&[]).unwrap();
        near.write_all(words).unwrap();
        near.shutdown(std::net::Shutdown::Write).unwrap();
        let met = meet(&stream(&far), &stream(&far), &signals);
        let mut rest = vec![0; 64];
        let n = (&far).read(&mut rest).unwrap_or(0);
        rest.truncate(n);
        (met, rest)
    }

    #[test]
    fn the_answer_is_taken_and_nothing_behind_it() {
        let words = [ANSWER, b"packet"].concat();
        assert_eq!(meet_with(&words), (Ok(Met::NearEnd), b"packet".to_vec()));
        assert_eq!(meet_with(b"").0, Ok(Met::Nobody));
        assert!(meet_with(b"SSH-2.0-OpenSSH\r\n").0.unwrap_err().contains("Via=gate"));
        assert!(meet_with(b"SOCKWARD").0.is_err());
    }
}
