//! Session channels: commands, shells and subsystems that the helper runs (RFC 4254 §6). The command's pipes,
//! or its terminal, are joined to the channel; its end is told before the channel closes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use sockward_drive::{Closing, Ends, Env, ErrorEnd, Pipes, Session};
use sockward_privsep::login::{ExitStatus, Program, Request, Stream, WindowSize};
use sockward_proto::event::{ChannelRequest, OpenQuestion, RequestQuestion};
use sockward_proto::{ChannelId, Result};
use sockward_wire::channel::Size;

use crate::login::{Asked, Helper};

/// Bytes of a terminal's modes that are handed on: each opcode below 160 (RFC 4254 §8) and its value, and more
/// than enough to say some twice.
const MODES_MAX: usize = 4096;

/// One login's session channels, by the number the helper knows.
#[derive(Default)]
pub(crate) struct Sessions {
    open: HashMap<u64, Open>,
    by_channel: HashMap<ChannelId, u64>,
}

struct Open {
    channel: ChannelId,
    pipes: Pipes,
    /// The master of its terminal, on its way to the pump.
    terminal: Option<OwnedFd>,
    has_terminal: bool,
    /// The terminal's new size, until the helper listens.
    resized: Option<WindowSize>,
    command: Command,
    input_ended: bool,
    /// The client has closed the channel. Our own CLOSE waits for the command's end, so that its status goes out
    /// before (RFC 4254 §6.10).
    peer_closed: bool,
    /// How the command ended, while its terminal's last output is on the way.
    status: Option<ChannelRequest>,
}

/// How far a session's command has come. RFC 4254 §6.5 allows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// Not asked for.
    None,
    /// Asked for: it runs, or will.
    Runs,
    /// It was refused, or could not be started.
    Refused,
    /// It has ended.
    Exited,
}

/// The type of a session channel by what runs in it, as `ChannelTimeout` names it; none of other requests.
pub(crate) fn kind(request: &ChannelRequest) -> Option<String> {
    match request {
        ChannelRequest::Shell => Some("session:shell".into()),
        ChannelRequest::Exec(_) => Some("session:command".into()),
        ChannelRequest::Subsystem(name) => {
            Some(format!("session:subsystem:{}", String::from_utf8_lossy(name)))
        }
        ChannelRequest::Env { .. }
        | ChannelRequest::Signal(_)
        | ChannelRequest::Pty { .. }
        | ChannelRequest::Eow
        | ChannelRequest::WindowChange(_)
        | ChannelRequest::Break(_)
        | ChannelRequest::ExitStatus(_)
        | ChannelRequest::ExitSignal { .. } => None,
    }
}

impl Sessions {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether one has a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        self.open.values().any(|open| open.has_terminal)
    }

    /// The helper allows the session.
    pub(crate) fn opened(&mut self, id: u64, question: OpenQuestion, session: &mut Session) -> Result<()> {
        let channel = session.conn.accept_channel(question)?;
        // What the client sends before the command runs waits in the pump.
        session.attach(channel, Closing::Manual);
        session.conn.hold_close(channel);
        let open = Open {
            channel,
            pipes: Pipes::default(),
            terminal: None,
            has_terminal: false,
            resized: None,
            command: Command::None,
            input_ended: false,
            peer_closed: false,
            status: None,
        };
        self.open.insert(id, open);
        self.by_channel.insert(channel, id);
        Ok(())
    }

    /// The client asks for something on a channel.
    pub(crate) fn requested(
        &mut self,
        question: RequestQuestion,
        session: &mut Session,
        helper: &mut Helper<'_>,
    ) -> Result<()> {
        let Some(&id) = self.by_channel.get(&question.channel) else {
            return session.conn.answer_request(question, false);
        };
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        let what = match &question.request {
            ChannelRequest::Shell => Program::Shell,
            ChannelRequest::Exec(command) => Program::Exec(command.clone()),
            ChannelRequest::Subsystem(name) => Program::Subsystem(name.clone()),
            ChannelRequest::Env { name, value } => {
                let (name, value) = (name.clone(), value.clone());
                let ask = |question_id| Request::Env { id: question_id, session: id, name, value };
                return helper.ask(Asked::Request(question), ask).map(drop);
            }
            ChannelRequest::Signal(name) => {
                helper.tell(&Request::Signal { session: id, name: name.clone() })?;
                return session.conn.answer_request(question, true);
            }
            ChannelRequest::Pty { term, size, modes } => {
                let (term, size) = (term.clone(), window_size(size));
                let modes = modes.get(..MODES_MAX).unwrap_or(modes).to_vec();
                let ask = |question_id| Request::Terminal { id: question_id, session: id, term, size, modes };
                return helper.ask(Asked::Request(question), ask).map(drop);
            }
            ChannelRequest::WindowChange(size) => {
                // Where there is no terminal the helper knows it, too: one may have been asked for just now.
                open.resized = Some(window_size(size));
                let known = open.has_terminal;
                self.tell_sizes(helper)?;
                return session.conn.answer_request(question, known);
            }
            // A pseudo-terminal has no line to break; who has one is told that it was done, as by OpenSSH.
            ChannelRequest::Break(_) => {
                let known = open.has_terminal;
                return session.conn.answer_request(question, known);
            }
            ChannelRequest::Eow => {
                let channel = question.channel;
                session.conn.answer_request(question, true)?;
                // Of a command that has closed its stderr nothing more will be heard.
                return if session.end_input(channel) { self.input_ended(channel, session) } else { Ok(()) };
            }
            ChannelRequest::ExitStatus(_) | ChannelRequest::ExitSignal { .. } => {
                return session.conn.answer_request(question, false);
            }
        };
        if open.command != Command::None {
            return session.conn.answer_request(question, false);
        }
        open.command = Command::Runs;
        let ask = |question_id| Request::Execute { id: question_id, session: id, what };
        helper.ask(Asked::Request(question), ask).map(drop)
    }

    /// One of a command's streams, ahead of the news that it runs.
    pub(crate) fn stream(&mut self, id: u64, stream: Stream, fd: OwnedFd) {
        let Some(open) = self.open.get_mut(&id) else { return };
        match stream {
            Stream::Stdin => open.pipes.output = Some(fd),
            Stream::Stdout => open.pipes.input = Some(fd),
            Stream::Stderr => open.pipes.error = Some(ErrorEnd::Read(fd)),
            Stream::Terminal => open.terminal = Some(fd),
        }
    }

    /// The helper did what was asked: set a variable, opened a terminal or started a command.
    pub(crate) fn done(
        &mut self,
        question: RequestQuestion,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<()> {
        let open = self.by_channel.get(&question.channel).and_then(|id| self.open.get_mut(id));
        let (channel, runs) = (question.channel, kind(&question.request).is_some());
        let is_terminal = matches!(question.request, ChannelRequest::Pty { .. });
        session.conn.answer_request(question, true)?;
        let Some(open) = open else { return Ok(()) };
        open.has_terminal |= is_terminal;
        if !runs {
            return Ok(());
        }
        let pipes = std::mem::take(&mut open.pipes);
        let ends = match open.terminal.take() {
            // It takes what was sent before the CLOSE, and nobody reads what it says.
            master if open.peer_closed => {
                drop(master);
                Ends::Pipes(Box::new(Pipes { output: pipes.output, ..Pipes::default() }))
            }
            Some(master) => Ends::Terminal(master),
            None => Ends::Pipes(Box::new(pipes)),
        };
        if session.set_ends(channel, ends, env).is_err() {
            return session.conn.close_channel(channel);
        }
        Ok(())
    }

    /// A command ended. Its status is told at once, and its output may still be on the way; with a terminal when
    /// all that it wrote is out.
    pub(crate) fn exited(&mut self, id: u64, status: &ExitStatus, session: &mut Session) -> Result<()> {
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.command = Command::Exited;
        let request = match status {
            ExitStatus::Code(code) => ChannelRequest::ExitStatus(*code),
            ExitStatus::Signal { name, core_dumped } => ChannelRequest::ExitSignal {
                name: name.clone().into_bytes(),
                core_dumped: *core_dumped,
                message: Vec::new(),
            },
        };
        let (channel, finished) = (open.channel, open.input_ended);
        if open.has_terminal && !finished {
            open.status = Some(request);
            session.read_to_the_last(channel);
            return Ok(());
        }
        session.conn.request(channel, &request, false)?;
        if finished { session.conn.close_channel(channel) } else { Ok(()) }
    }

    /// The helper did not do what was asked.
    pub(crate) fn refused(&mut self, question: RequestQuestion, session: &mut Session) -> Result<()> {
        let (channel, runs) = (question.channel, kind(&question.request).is_some());
        session.conn.answer_request(question, false)?;
        match self.by_channel.get(&channel).and_then(|id| self.open.get_mut(id)) {
            Some(open) if runs => {
                open.command = Command::Refused;
                // There is no end of a command to wait for.
                if open.peer_closed { session.conn.close_channel(channel) } else { Ok(()) }
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Tells the helper sizes that have changed, if it listens: a client may send more than it takes, and only the
    /// last one counts.
    pub(crate) fn tell_sizes(&mut self, helper: &mut Helper<'_>) -> Result<()> {
        for (&session, open) in &mut self.open {
            if !helper.is_behind()
                && let Some(size) = open.resized.take()
            {
                helper.tell(&Request::WindowChange { session, size })?;
            }
        }
        Ok(())
    }

    /// A command's outputs have ended.
    pub(crate) fn input_ended(&mut self, channel: ChannelId, session: &mut Session) -> Result<()> {
        let Some(open) = self.by_channel.get(&channel).and_then(|id| self.open.get_mut(id)) else {
            return Ok(());
        };
        open.input_ended = true;
        if let Some(status) = open.status.take() {
            session.conn.request(channel, &status, false)?;
        }
        if open.command == Command::Exited { session.conn.close_channel(channel) } else { Ok(()) }
    }

    /// A command reads no more: the client need not send (OpenSSH PROTOCOL 2.1).
    pub(crate) fn output_broken(&mut self, channel: ChannelId, session: &mut Session) -> Result<()> {
        let open = self.by_channel.get(&channel).and_then(|id| self.open.get(id));
        match open {
            Some(open) if !open.peer_closed => session.conn.request(channel, &ChannelRequest::Eow, false),
            Some(_) | None => Ok(()),
        }
    }

    /// The client has closed a channel: its command sees closed pipes, or its terminal hang up. While the command
    /// runs the channel stays, as with OpenSSH, and counts.
    pub(crate) fn peer_closed(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        helper: &mut Helper<'_>,
    ) -> Result<()> {
        let Some(&id) = self.by_channel.get(&channel) else { return Ok(()) };
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.peer_closed = true;
        open.input_ended = true;
        helper.tell(&Request::CloseSession { session: id })?;
        if let Some(status) = open.status.take() {
            session.conn.request(channel, &status, false)?;
        }
        if open.command == Command::Runs { Ok(()) } else { session.conn.close_channel(channel) }
    }

    /// A channel is gone.
    pub(crate) fn closed(&mut self, channel: ChannelId, helper: &mut Helper<'_>) -> Result<()> {
        let Some(id) = self.by_channel.remove(&channel) else { return Ok(()) };
        match self.open.remove(&id) {
            Some(open) if !open.peer_closed => helper.tell(&Request::CloseSession { session: id }),
            // It knows.
            Some(_) | None => Ok(()),
        }
    }
}

fn window_size(size: &Size) -> WindowSize {
    let cap = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
    let Size { columns, rows, width, height } = *size;
    WindowSize { columns: cap(columns), rows: cap(rows), width: cap(width), height: cap(height) }
}
