//! Where audit records go: the end of a file, or the system's log. A line is taken, kept for later or dropped, and
//! whoever writes is told which; nobody waits for a reader. (A disk that hangs delays who writes to it, as with any
//! file.)

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::log::Facility;

/// What waits for a reader that is behind (a pipe, the system's log).
const WAITING_MAX: usize = 1 << 20;
/// Where syslog(3) sends to.
const SYSLOG: &str = "/dev/log";
/// LOG_INFO.
const SEVERITY: u32 = 6;

/// Where records go.
#[derive(Debug)]
pub struct AuditSink {
    to: To,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    dropped: u64,
    /// The first of what waits has been written in part.
    begun: bool,
    /// The file ends in a part of a lost line: the next one begins a line of its own.
    torn: bool,
}

#[derive(Debug)]
enum To {
    File(File, PathBuf),
    Syslog(Option<UnixDatagram>, String),
}

impl AuditSink {
    /// The end of a file, made with mode 0600, or a named pipe that somebody reads.
    pub fn file(path: &Path) -> io::Result<AuditSink> {
        Ok(AuditSink::new(To::File(open(path)?, path.to_owned())))
    }

    /// The system's log. That nobody listens there now is no error.
    #[must_use]
    pub fn syslog(facility: Facility, ident: &str) -> AuditSink {
        let priority = facility.code() | SEVERITY;
        let prefix = format!("<{priority}>{ident}[{}]: ", std::process::id());
        AuditSink::new(To::Syslog(connect().ok(), prefix))
    }

    fn new(to: To) -> AuditSink {
        AuditSink { to, waiting: VecDeque::new(), waiting_bytes: 0, dropped: 0, begun: false, torn: false }
    }

    /// Opens the file anew, after it was moved away. The old one stays in use if that fails.
    pub fn reopen(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::File(file, path) => *file = open(path)?,
            To::Syslog(socket, _) => *socket = connect().ok(),
        }
        Ok(())
    }

    /// Writes a line, or keeps it until there is room, or drops it.
    pub fn write(&mut self, line: &str) {
        let mut bytes = match &self.to {
            To::File(..) => Vec::with_capacity(line.len() + 1),
            To::Syslog(_, prefix) => prefix.clone().into_bytes(),
        };
        bytes.extend_from_slice(line.as_bytes());
        if matches!(self.to, To::File(..)) {
            bytes.push(b'\n');
        }
        if self.waiting_bytes + bytes.len() > WAITING_MAX {
            self.dropped += 1;
        } else {
            self.waiting_bytes += bytes.len();
            self.waiting.push_back(bytes);
        }
        self.flush();
    }

    /// Writes what waits, as far as it is taken.
    pub fn flush(&mut self) {
        while let Some(bytes) = self.waiting.front_mut() {
            let written = match self.torn {
                true => self.to.take(b"\n").map(|_| self.torn = false).map(|()| 0),
                false => self.to.take(bytes),
            };
            match written {
                Ok(n) if n < bytes.len() => {
                    bytes.drain(..n);
                    self.waiting_bytes -= n;
                    self.begun |= n > 0;
                }
                Ok(_) => {
                    self.waiting_bytes -= bytes.len();
                    self.waiting.pop_front();
                    self.begun = false;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A full disk, a log that has gone: this line is lost, the next may be taken.
                Err(_) => {
                    self.waiting_bytes -= bytes.len();
                    self.waiting.pop_front();
                    self.dropped += 1;
                    self.torn |= std::mem::take(&mut self.begun);
                }
            }
        }
    }

    /// How many lines were lost since this was asked last.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Whether something waits for room.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl To {
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            To::File(file, _) => match file.write(bytes) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                other => other,
            },
            To::Syslog(socket, _) => {
                if socket.is_none() {
                    *socket = Some(connect()?);
                }
                let Some(connected) = socket else { return Err(io::ErrorKind::NotConnected.into()) };
                match connected.send(bytes) {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                        // It was restarted.
                        *socket = None;
                        Err(e)
                    }
                    other => other,
                }
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path)
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(SYSLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_are_appended_and_a_rotation_is_followed() {
        let tmp = TempDir::new();
        let path = tmp.path().join("audit");
        std::fs::write(&path, "old\n").unwrap();
        let mut sink = AuditSink::file(&path).unwrap();
        sink.write("one");
        std::fs::rename(&path, tmp.path().join("audit.1")).unwrap();
        sink.write("two");
        sink.reopen().unwrap();
        sink.write("three");
        assert_eq!(std::fs::read_to_string(tmp.path().join("audit.1")).unwrap(), "old\none\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((sink.take_dropped(), sink.is_behind()), (0, false));
    }

    #[test]
    fn a_full_disk_is_counted_and_waits_for_nothing() {
        let mut sink = AuditSink::file(Path::new("/dev/full")).unwrap();
        for _ in 0..10 {
            sink.write("lost");
        }
        assert_eq!((sink.take_dropped(), sink.take_dropped(), sink.is_behind()), (10, 0, false));
    }

    #[test]
    fn a_disk_that_fills_up_tears_one_line_and_no_other() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let tmp = TempDir::new();
        let path = tmp.path().join("audit");
        crate::testing::in_child(|| {
            // A file that may not grow stands for the disk: it takes a part of a line first.
            // SAFETY: tests only; without the signal the write fails like one to a full disk.
            unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
            let limit = |current| {
                let maximum = getrlimit(Resource::Fsize).maximum;
                setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
            };
            let mut sink = AuditSink::file(&path).unwrap();
            sink.write("first");
            limit(Some(10));
            for line in ["in part", "not at all"] {
                sink.write(line);
            }
            assert_eq!((sink.take_dropped(), sink.is_behind()), (2, false));
            limit(None);
            sink.write("last");
            sink.write("very last");
            assert_eq!(sink.take_dropped(), 0);
        })
        .success();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nin p\nlast\nvery last\n");
    }

    #[test]
    fn a_pipe_that_nobody_empties_keeps_nobody_waiting() {
        let tmp = TempDir::new();
        let path = tmp.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut sink = AuditSink::file(&path).unwrap();
        let line = "x".repeat(99);
        const LINES: u64 = 20_000;
        for _ in 0..LINES {
            sink.write(&line);
        }
        assert!(sink.is_behind());
        let lost = sink.take_dropped();
        assert!(lost > 0);
        let mut all = Vec::new();
        while sink.is_behind() {
            let mut buffer = [0; 65536];
            let n = reader.read(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..n]);
            sink.flush();
        }
        // The writer's end holds the reader's off the end of file; so does a child that a test beside this one has
        // forked, until it is gone.
        drop(sink);
        while let Err(e) = reader.read_to_end(&mut all) {
            assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(all.len() as u64, (LINES - lost) * 100, "whole lines, each once");
        assert!(all.chunks(100).all(|line| line.ends_with(b"x\n")));
    }
}
