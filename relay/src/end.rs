//! An open address: what is read from, what is written to, and the command behind it, if there is one.

use std::io;
use std::os::fd::OwnedFd;

use sockward_sys::fd;
use sockward_sys::spawn::{Child, Exit};
use sockward_sys::stream::{self, Kind, Stream};

/// One end of a relay.
#[derive(Debug)]
pub(crate) struct End {
    read: Stream,
    /// None where the same descriptor is written to, or once writing has ended.
    write: Option<Stream>,
    both_ways: bool,
    child: Option<Child>,
}

impl End {
    /// A connected socket of our own, non-blocking.
    pub(crate) fn socket(socket: OwnedFd) -> End {
        End { read: Stream::own(socket), write: None, both_ways: true, child: None }
    }

    /// A command's socket.
    pub(crate) fn command_socket(socket: OwnedFd, child: Child) -> End {
        End { child: Some(child), ..End::socket(socket) }
    }

    /// A command's output and input, non-blocking.
    pub(crate) fn command_pipes(read: OwnedFd, write: OwnedFd, child: Child) -> End {
        let write = Some(Stream::own(write));
        End { read: Stream::own(read), write, both_ways: false, child: Some(child) }
    }

    /// This process's standard input and output. Their flags stay as they are.
    pub(crate) fn stdio() -> io::Result<End> {
        let read = Stream::shared(fd::duplicate(io::stdin())?);
        // Afterwards number 1 is not ours any more: the reader sees the end when this is closed.
        let write = Some(Stream::shared(fd::take_stdout()?));
        Ok(End { read, write, both_ways: false, child: None })
    }

    pub(crate) fn source(&self) -> &Stream {
        &self.read
    }

    /// What is written to; none once that has ended.
    pub(crate) fn sink(&self) -> Option<&Stream> {
        if self.both_ways { Some(&self.read) } else { self.write.as_ref() }
    }

    /// No more will be written: the other end is told.
    pub(crate) fn end_writing(&mut self) {
        if self.both_ways {
            stream::end_writing(&self.read);
        } else if let Some(write) = self.write.take() {
            write.end();
        }
    }

    /// Whether a person types here.
    pub(crate) fn is_terminal(&self) -> bool {
        self.read.kind() == Kind::Terminal
    }

    /// Closes everything and waits for the command, if there is one. The error says how it failed.
    pub(crate) fn close(self) -> Result<(), String> {
        let End { read, write, child, .. } = self;
        drop((read, write));
        let Some(mut child) = child else { return Ok(()) };
        match child.wait() {
            Ok(Exit::Code(0)) => Ok(()),
            Ok(Exit::Code(code)) => Err(format!("the command ended with status {code}")),
            Ok(Exit::Signal { number, .. }) => Err(format!("the command was ended by signal {number}")),
            Err(e) => Err(format!("the command cannot be waited for: {e}")),
        }
    }

    /// The command, for a loop that does not wait for it here.
    pub(crate) fn take_child(&mut self) -> Option<Child> {
        self.child.take()
    }
}
