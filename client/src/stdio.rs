//! The inherited standard streams, whatever they are. The poller refuses regular files and /dev/null, and O_NONBLOCK
//! would be shared with whoever else holds the stream; so a thread copies between each stream and a pipe of ours.

use std::io;
use std::os::fd::OwnedFd;

use sockward_sys::fd;

use crate::escape::{Escapes, Typed};
use crate::jobs::{Job, Jobs, Speaker};

/// What a thread copies at once, and what the pipes are to hold.
const CHUNK: usize = 256 * 1024;

/// A stream to write to.
#[derive(Debug)]
pub(crate) struct Output {
    /// Written to by the loop: non-blocking.
    pub(crate) end: OwnedFd,
    /// Ends when everything has reached the stream, or the stream has broken.
    pub(crate) done: Job<()>,
}

/// What a person at a terminal has typed that is not for the server.
pub(crate) type Command = crate::escape::Command;

/// Begins to read a stream. Returns what the loop reads: non-blocking.
pub(crate) fn input(jobs: &Jobs, from: OwnedFd) -> io::Result<OwnedFd> {
    let (ours, to) = pipe()?;
    fd::set_nonblocking(&ours, true)?;
    jobs.start(move || copy(&from, &to, Until::NobodyReads, |bytes, to| write_all(to, bytes).is_ok()))?;
    Ok(ours)
}

/// The same for a terminal with an escape character: commands are told through the line.
pub(crate) fn typed(
    jobs: &Jobs,
    from: OwnedFd,
    mut escapes: Escapes,
    speaker: Speaker<Command>,
) -> io::Result<OwnedFd> {
    let (ours, to) = pipe()?;
    fd::set_nonblocking(&ours, true)?;
    let feed = move |bytes: &[u8], to: &OwnedFd| {
        escapes.feed(bytes).into_iter().all(|piece| match piece {
            Typed::Data(data) => write_all(to, &data).is_ok(),
            Typed::Command(command) => speaker.say(command),
        })
    };
    jobs.start(move || copy(&from, &to, Until::NobodyReads, feed))?;
    Ok(ours)
}

/// An input that has ended already.
pub(crate) fn no_input() -> io::Result<OwnedFd> {
    let (ours, _) = fd::pipe()?;
    fd::set_nonblocking(&ours, true)?;
    Ok(ours)
}

/// Begins to write to a stream. It is closed when the loop closes its end.
pub(crate) fn output(jobs: &Jobs, to: OwnedFd) -> io::Result<Output> {
    let (from, end) = pipe()?;
    fd::set_nonblocking(&end, true)?;
    let done =
        jobs.start(move || copy(&from, &to, Until::TheEnd, |bytes, to| write_all(to, bytes).is_ok()))?;
    Ok(Output { end, done })
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = fd::pipe()?;
    fd::grow_pipe(&write, CHUNK);
    Ok((read, write))
}

/// When a thread stops to copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// At the end of the source.
    TheEnd,
    /// Then, or as soon as the reader of its pipe is gone: what comes later is for others to read.
    NobodyReads,
}

/// Copies until the source ends or the sink takes no more. Both are closed then.
fn copy(from: &OwnedFd, to: &OwnedFd, until: Until, mut sink: impl FnMut(&[u8], &OwnedFd) -> bool) {
    let mut buffer = vec![0; CHUNK];
    loop {
        // A background process that reads its terminal is stopped: only when there is something to read.
        let wanted = match until {
            Until::TheEnd => fd::wait_readable_long(from).map(|()| true),
            Until::NobodyReads => fd::wait_readable_unless_broken(from, to),
        };
        if !wanted.unwrap_or(false) {
            return;
        }
        match fd::read(from, &mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if !sink(buffer.get(..n).unwrap_or_default(), to) {
                    return;
                }
            }
            // Somebody else has set O_NONBLOCK on a stream that we share, and was faster.
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(_) => return,
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match fd::write(to, bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // As above.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => fd::wait_writable_long(to)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};
    use std::io::{Read, Seek, Write};

    fn jobs() -> (Poll, Jobs) {
        let poll = Poll::new().unwrap();
        let jobs = Jobs::new(&poll, Token(0)).unwrap();
        (poll, jobs)
    }

    fn read_to_end(from: &OwnedFd) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            fd::wait_readable_long(from).unwrap();
            match fd::read(from, &mut buffer).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[test]
    fn files_and_the_null_device_are_inputs() {
        let (_poll, jobs) = jobs();
        let exe = std::fs::read("/proc/self/exe").unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(read_to_end(&input(&jobs, file.into()).unwrap()) == exe);
        assert!(read_to_end(&input(&jobs, fd::dev_null().unwrap()).unwrap()).is_empty());
        assert!(read_to_end(&no_input().unwrap()).is_empty());
    }

    #[test]
    fn an_output_ends_when_everything_is_written() {
        let (_poll, jobs) = jobs();
        let path = std::env::temp_dir().join(format!("sockward-stdio-{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let out = output(&jobs, file.try_clone().unwrap().into()).unwrap();
        let mut writer = std::fs::File::from(out.end);
        writer.write_all(&[7; 10_000]).unwrap();
        drop(writer);
        while out.done.poll().is_none() {
            std::thread::yield_now();
        }
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, [7; 10_000]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_shared_stream_that_somebody_made_non_blocking_still_works() {
        let (_poll, jobs) = jobs();
        let (reader, stream) = fd::pipe().unwrap();
        fd::set_nonblocking(&stream, true).unwrap();
        let out = output(&jobs, stream).unwrap();
        let feeder = std::thread::spawn(move || {
            for _ in 0..100 {
                write_all(&out.end, &[1; 10_000]).unwrap();
            }
        });
        assert_eq!(read_to_end(&reader).len(), 1_000_000);
        feeder.join().unwrap();
    }
}
