//! A worker that says to the monitor whatever the other end of its connection wants, and tells there what it hears.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use sockward_privsep::role::LINK;
use sockward_privsep::worker::{FromWorker, Start, ToWorker};
use sockward_sys::fd;
use sockward_sys::link::{Link, MESSAGE_MAX};

/// Send these bytes on the link.
const PLAIN: u8 = 0;
/// Send them with a descriptor.
const WITH_DESCRIPTOR: u8 = 1;
/// Send them so often that the link is full, and never hear again.
const FLOOD: u8 = 2;

/// The worker.
pub(crate) fn run() -> ExitCode {
    sockward_sys::signal::ignore_sigpipe();
    let link = Link::from_fd(fd::inherited(LINK).unwrap()).unwrap();
    link.set_nonblocking(false).unwrap();
    let mut buffer = vec![0; MESSAGE_MAX];
    let start = link.recv(&mut buffer).unwrap().unwrap();
    let socket: OwnedFd = start.fd.unwrap();
    fd::set_nonblocking(&socket, false).unwrap();
    let mut stream = TcpStream::from(socket);
    frame(&mut stream, PLAIN, &buffer[..start.len]).unwrap();
    let mut strings = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(Some(heard)) = link.recv(&mut buffer) {
                if frame(&mut stream, PLAIN, &buffer[..heard.len]).is_err() {
                    break;
                }
            }
            std::process::exit(0)
        });
        while let Ok((kind, bytes)) = unframe(&mut strings) {
            let passed = (kind == WITH_DESCRIPTOR).then(|| strings.as_fd());
            loop {
                if link.send(&bytes, passed).is_err() {
                    std::process::exit(1);
                }
                if kind != FLOOD {
                    break;
                }
            }
        }
        std::process::exit(0)
    })
}

fn frame(stream: &mut TcpStream, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
    let mut out = vec![kind];
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out.extend(bytes);
    stream.write_all(&out)
}

fn unframe(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok((kind, bytes))
}

/// The strings of one puppet.
pub(crate) struct Puppet {
    stream: TcpStream,
    /// What the monitor began with.
    pub(crate) start: Start,
}

impl Puppet {
    /// Connects to the server, which starts a worker for it.
    pub(crate) fn new(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let (_, bytes) = unframe(&mut stream).unwrap();
        let ToWorker::Start(start) = postcard::from_bytes(&bytes).unwrap() else { panic!("not a start") };
        Puppet { stream, start: *start }
    }

    /// Has it say this to the monitor.
    pub(crate) fn say(&mut self, message: &FromWorker) {
        self.say_bytes(&postcard::to_allocvec(message).unwrap());
    }

    /// Has it say these bytes.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        frame(&mut self.stream, PLAIN, bytes).unwrap();
    }

    /// Has it say this, with a descriptor.
    pub(crate) fn say_with_descriptor(&mut self, message: &FromWorker) {
        frame(&mut self.stream, WITH_DESCRIPTOR, &postcard::to_allocvec(message).unwrap()).unwrap();
    }

    /// Has it say this without end.
    pub(crate) fn flood(&mut self, message: &FromWorker) {
        frame(&mut self.stream, FLOOD, &postcard::to_allocvec(message).unwrap()).unwrap();
    }

    /// What the monitor says next; none when it has ended the connection.
    pub(crate) fn hear(&mut self) -> Option<ToWorker> {
        match unframe(&mut self.stream) {
            Ok((_, bytes)) => Some(postcard::from_bytes(&bytes).unwrap()),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("the monitor says nothing"),
            Err(_) => None,
        }
    }
}
