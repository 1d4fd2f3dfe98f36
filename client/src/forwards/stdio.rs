//! `-W`: standard input and output, ours or another client's, joined with a target that the server connects to.

use std::io;
use std::os::fd::OwnedFd;

use sockward_config::forward::Target;
use sockward_drive::{Closing, Ends, Env, Pipes, Session};
use sockward_proto::{ChannelId, Connection, Result};
use sockward_sys::fd;

use super::far;
use crate::jobs::{Job, Jobs};
use crate::stdio;

/// The one connection.
pub(crate) struct Stdio {
    channel: ChannelId,
    /// The standard streams until the channel is open.
    streams: Option<(OwnedFd, OwnedFd)>,
    output: Option<Job<()>>,
    finished: bool,
}

impl Stdio {
    /// Asks the server to connect our own standard streams.
    pub(crate) fn own(target: &Target, owner: Option<&str>, conn: &mut Connection) -> Result<Option<Self>> {
        let streams = fd::duplicate(io::stdin()).and_then(|input| Ok((input, fd::take_stdout()?)));
        let streams = streams.inspect_err(|e| log::error!("cannot use the standard streams: {e}")).ok();
        Stdio::open(target, owner, streams, conn)
    }

    /// Asks the server to connect these streams.
    pub(crate) fn open(
        target: &Target,
        owner: Option<&str>,
        streams: Option<(OwnedFd, OwnedFd)>,
        conn: &mut Connection,
    ) -> Result<Option<Self>> {
        let Some(request) = far::request(target, None, owner) else { return Ok(None) };
        let channel = conn.open_channel(&request)?;
        Ok(Some(Stdio { channel, streams, output: None, finished: false }))
    }

    /// The channel.
    pub(crate) fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Whether a channel is this one.
    pub(crate) fn is(&self, channel: ChannelId) -> bool {
        self.channel == channel
    }

    /// The server has connected.
    pub(crate) fn opened(&mut self, session: &mut Session, env: &mut Env<'_>, jobs: &Jobs) -> io::Result<()> {
        let (input, output) = self.streams.take().ok_or_else(|| io::Error::other("they are not there"))?;
        let input = stdio::input(jobs, input)?;
        let output = stdio::output(jobs, output)?;
        self.output = Some(output.done);
        session.attach(self.channel, Closing::Automatic);
        let pipes = Pipes { input: Some(input), output: Some(output.end), error: None };
        session.set_ends(self.channel, Ends::Pipes(Box::new(pipes)), env)
    }

    /// The channel is gone, everything is in our pipe to standard output.
    pub(crate) fn finished(&mut self) {
        self.finished = true;
    }

    /// Whether everything has been written.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.output.as_ref().is_some_and(|job| job.poll().is_some()) {
            self.output = None;
        }
        self.finished && self.output.is_none()
    }

    /// What still writes.
    pub(crate) fn into_output(self) -> Option<Job<()>> {
        self.output
    }
}
