//! A pump moves bytes between one channel and its descriptors. It knows halves and when they end; when to
//! read and how much is the session's business.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use sockward_proto::ChannelId;

use crate::halves::{Sink, Source};
use crate::session::Totals;
use crate::token::Role;

/// The descriptors of a channel. All must be non-blocking.
#[derive(Debug)]
pub enum Ends {
    /// None yet: received data waits within its window.
    Pending,
    /// A connected socket, both directions.
    Socket(OwnedFd),
    /// The master of a command's terminal, both directions. It has no half-close: closed with the channel, it
    /// hangs up.
    Terminal(OwnedFd),
    /// A command's pipes, or the client's own streams.
    Pipes(Box<Pipes>),
}

/// Descriptors that each go one way.
#[derive(Debug, Default)]
pub struct Pipes {
    /// Read from; its bytes become channel data.
    pub input: Option<OwnedFd>,
    /// Written to.
    pub output: Option<OwnedFd>,
    /// Extended data, whichever way it goes.
    pub error: Option<ErrorEnd>,
}

/// Where extended data comes from or goes to.
#[derive(Debug)]
pub enum ErrorEnd {
    /// A command's stderr: read from.
    Read(OwnedFd),
    /// The client's stderr: written to.
    Write(OwnedFd),
}

/// How a channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// When both directions have ended, or one broke: a forwarded connection.
    Automatic,
    /// When the application says so: a session, which has an exit status to tell.
    Manual,
}

/// One channel's descriptors and how far they have come.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) channel: ChannelId,
    pub(crate) ends: Ends,
    pub(crate) closing: Closing,
    pub(crate) source: Source,
    pub(crate) sink: Sink,
    pub(crate) error: Option<Box<ErrorHalf>>,
    /// Stands in the session's list of pumps to read from.
    pub(crate) queued: bool,
    /// Stands in the session's list of pumps to write to.
    pub(crate) writable_queued: bool,
    /// The channel is gone; the sinks may still have something to write.
    pub(crate) orphan: bool,
    pub(crate) totals: Totals,
    /// When bytes went through last, or when it got its descriptors.
    pub(crate) used: Option<Instant>,
}

/// The half for extended data.
#[derive(Debug)]
pub(crate) enum ErrorHalf {
    Source(Source),
    Sink(Sink),
}

impl Pump {
    pub(crate) fn new(channel: ChannelId, closing: Closing) -> Self {
        Pump {
            channel,
            ends: Ends::Pending,
            closing,
            source: Source::default(),
            sink: Sink::default(),
            error: None,
            queued: false,
            writable_queued: false,
            orphan: false,
            totals: Totals::default(),
            used: None,
        }
    }

    /// Takes its descriptors.
    pub(crate) fn set_ends(&mut self, ends: Ends) {
        self.ends = ends;
        self.source.to_the_last = matches!(self.ends, Ends::Terminal(_));
        if let Ends::Pipes(pipes) = &self.ends {
            self.source.done = pipes.input.is_none();
            if pipes.output.is_none() {
                self.sink.finish();
            }
            self.error = pipes.error.as_ref().map(|end| {
                Box::new(match end {
                    ErrorEnd::Read(_) => ErrorHalf::Source(Source::default()),
                    ErrorEnd::Write(_) => ErrorHalf::Sink(Sink::default()),
                })
            });
        }
    }

    /// The descriptors to watch, each with its role.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (Role, BorrowedFd<'_>)> {
        let roles: &[Role] = match &self.ends {
            Ends::Pending => &[],
            Ends::Socket(_) | Ends::Terminal(_) => &[Role::Socket],
            Ends::Pipes(_) => &[Role::Input, Role::Output, Role::Error],
        };
        roles.iter().filter_map(|&role| {
            let fd = match role {
                Role::Socket | Role::Input => self.ends.input(),
                Role::Output => self.ends.output(),
                Role::Error => self.ends.error(),
            };
            Some((role, fd?))
        })
    }

    /// Whether a read could bring something.
    pub(crate) fn is_readable(&self) -> bool {
        let error = match self.error.as_deref() {
            Some(ErrorHalf::Source(source)) => source.is_ready(),
            Some(ErrorHalf::Sink(_)) | None => false,
        };
        !self.orphan && (self.source.is_ready() || error)
    }

    /// Whether everything that is to be read has been read.
    pub(crate) fn sources_done(&self) -> bool {
        let error = match self.error.as_deref() {
            Some(ErrorHalf::Source(source)) => source.done,
            Some(ErrorHalf::Sink(_)) | None => true,
        };
        self.source.done && error
    }

    /// Whether everything that was received has been written, or can be no more.
    pub(crate) fn sinks_done(&self) -> bool {
        let error = match self.error.as_deref() {
            Some(ErrorHalf::Sink(sink)) => sink.is_done(),
            Some(ErrorHalf::Source(_)) | None => true,
        };
        self.sink.is_done() && error
    }

    /// Whether a sink holds something back, be it only its end.
    pub(crate) fn wants_to_write(&self) -> bool {
        let error = match self.error.as_deref() {
            Some(ErrorHalf::Sink(sink)) => sink.wants_to_write(),
            Some(ErrorHalf::Source(_)) | None => false,
        };
        self.sink.wants_to_write() || error
    }

    /// Bytes received and not yet written.
    pub(crate) fn queued_bytes(&self) -> usize {
        let error = match self.error.as_deref() {
            Some(ErrorHalf::Sink(sink)) => sink.queue.pending().len(),
            Some(ErrorHalf::Source(_)) | None => 0,
        };
        self.sink.queue.pending().len() + error
    }

    /// Ends the sink towards its descriptor: nothing more will be written. Returns how many bytes are lost.
    pub(crate) fn end_output(&mut self) -> usize {
        match &mut self.ends {
            Ends::Socket(fd) if !self.sink.is_done() => {
                // The other end may be gone already; then there is nobody to tell.
                let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
            }
            Ends::Pipes(pipes) => pipes.output = None,
            Ends::Socket(_) | Ends::Terminal(_) | Ends::Pending => {}
        }
        self.sink.finish()
    }

    /// Ends reading: the writer at the other end shall notice.
    pub(crate) fn end_input(&mut self) {
        self.source.done = true;
        if let Ends::Pipes(pipes) = &mut self.ends {
            pipes.input = None;
        }
    }

    /// Nobody is there to read what the sources give: their writers shall notice. A terminal hangs up, and what was
    /// typed and not taken must not keep it from that.
    pub(crate) fn end_sources(&mut self) {
        self.end_input();
        if matches!(self.error.as_deref(), Some(ErrorHalf::Source(_))) {
            self.end_error();
        }
        if matches!(self.ends, Ends::Terminal(_)) {
            self.ends = Ends::Pipes(Box::default());
            self.sink.finish();
        }
    }

    /// Ends the half for extended data. Returns how many received bytes are lost.
    pub(crate) fn end_error(&mut self) -> usize {
        if let Ends::Pipes(pipes) = &mut self.ends {
            pipes.error = None;
        }
        match self.error.as_deref_mut() {
            Some(ErrorHalf::Source(source)) => {
                source.done = true;
                0
            }
            Some(ErrorHalf::Sink(sink)) => sink.finish(),
            None => 0,
        }
    }
}

impl Ends {
    /// What is read from.
    pub(crate) fn input(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Ends::Socket(fd) | Ends::Terminal(fd) => Some(fd.as_fd()),
            Ends::Pipes(pipes) => pipes.input.as_ref().map(AsFd::as_fd),
            Ends::Pending => None,
        }
    }

    /// What is written to.
    pub(crate) fn output(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Ends::Socket(fd) | Ends::Terminal(fd) => Some(fd.as_fd()),
            Ends::Pipes(pipes) => pipes.output.as_ref().map(AsFd::as_fd),
            Ends::Pending => None,
        }
    }

    /// The descriptor of extended data, whichever way it goes.
    pub(crate) fn error(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Ends::Pipes(pipes) => match pipes.error.as_ref()? {
                ErrorEnd::Read(fd) | ErrorEnd::Write(fd) => Some(fd.as_fd()),
            },
            Ends::Socket(_) | Ends::Terminal(_) | Ends::Pending => None,
        }
    }
}
