//! Session channels: commands, shells and subsystems that the helper runs (RFC 4254 §6). The command's pipes
//! are joined to the channel; its end is told before the channel closes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use sockward_drive::{Closing, Ends, Env, ErrorEnd, Pipes, Session};
use sockward_privsep::login::{ExitStatus, Program, Request, Stream};
use sockward_proto::event::{ChannelRequest, OpenQuestion, RequestQuestion};
use sockward_proto::{ChannelId, Result};
use sockward_wire::channel::STDERR;

use crate::login::{Asked, Helper};

/// What a client that asked for a terminal is told.
const NO_TERMINAL: &str =
    "this server gives no terminals yet: the session runs without one (ssh -T avoids this message)";

/// One login's session channels, by the number the helper knows.
#[derive(Default)]
pub(crate) struct Sessions {
    open: HashMap<u64, Open>,
    by_channel: HashMap<ChannelId, u64>,
}

struct Open {
    channel: ChannelId,
    pipes: Pipes,
    wanted_terminal: bool,
    /// A command was asked for: RFC 4254 §6.5 allows one.
    busy: bool,
    exited: bool,
    input_ended: bool,
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
        | ChannelRequest::ExitStatus(_)
        | ChannelRequest::ExitSignal { .. } => None,
    }
}

impl Sessions {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The helper allows the session.
    pub(crate) fn opened(&mut self, id: u64, question: OpenQuestion, session: &mut Session) -> Result<()> {
        let channel = session.conn.accept_channel(question)?;
        // What the client sends before the command runs waits in the pump.
        session.attach(channel, Closing::Manual);
        let open = Open {
            channel,
            pipes: Pipes::default(),
            wanted_terminal: false,
            busy: false,
            exited: false,
            input_ended: false,
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
            ChannelRequest::Pty { .. } => {
                open.wanted_terminal = true;
                session.conn.send_debug(NO_TERMINAL, true)?;
                return session.conn.answer_request(question, false);
            }
            ChannelRequest::Eow => {
                let channel = question.channel;
                session.conn.answer_request(question, true)?;
                // Of a command that has closed its stderr nothing more will be heard.
                return if session.end_input(channel) { self.input_ended(channel, session) } else { Ok(()) };
            }
            ChannelRequest::WindowChange(_)
            | ChannelRequest::ExitStatus(_)
            | ChannelRequest::ExitSignal { .. } => {
                return session.conn.answer_request(question, false);
            }
        };
        if std::mem::replace(&mut open.busy, true) {
            return session.conn.answer_request(question, false);
        }
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
        }
    }

    /// The helper did what was asked: set a variable or started a command.
    pub(crate) fn done(
        &mut self,
        question: RequestQuestion,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> Result<()> {
        let (channel, is_env) = (question.channel, matches!(question.request, ChannelRequest::Env { .. }));
        session.conn.answer_request(question, true)?;
        let id = self.by_channel.get(&channel);
        let Some(open) = id.and_then(|id| self.open.get_mut(id)).filter(|_| !is_env) else { return Ok(()) };
        let pipes = Box::new(std::mem::take(&mut open.pipes));
        if open.wanted_terminal {
            let text = format!("{NO_TERMINAL}\r\n");
            let write = |slots: &mut [std::io::IoSliceMut<'_>]| {
                let Some(slot) = slots.first_mut().and_then(|s| s.get_mut(..text.len())) else {
                    return Err(());
                };
                slot.copy_from_slice(text.as_bytes());
                Ok(text.len())
            };
            // A client that grants no window for so little does not get the message.
            let _ = session.conn.send_data(channel, Some(STDERR), text.len(), write)?;
        }
        if session.set_ends(channel, Ends::Pipes(pipes), env).is_err() {
            return session.conn.close_channel(channel);
        }
        Ok(())
    }

    /// A command ended. Its status is told at once; its output may still be on the way.
    pub(crate) fn exited(&mut self, id: u64, status: &ExitStatus, session: &mut Session) -> Result<()> {
        let Some(open) = self.open.get_mut(&id) else { return Ok(()) };
        open.exited = true;
        let request = match status {
            ExitStatus::Code(code) => ChannelRequest::ExitStatus(*code),
            ExitStatus::Signal { name, core_dumped } => ChannelRequest::ExitSignal {
                name: name.clone().into_bytes(),
                core_dumped: *core_dumped,
                message: Vec::new(),
            },
        };
        let (channel, finished) = (open.channel, open.input_ended);
        session.conn.request(channel, &request, false)?;
        if finished { session.conn.close_channel(channel) } else { Ok(()) }
    }

    /// A command's outputs have ended.
    pub(crate) fn input_ended(&mut self, channel: ChannelId, session: &mut Session) -> Result<()> {
        let Some(open) = self.by_channel.get(&channel).and_then(|id| self.open.get_mut(id)) else {
            return Ok(());
        };
        open.input_ended = true;
        if open.exited { session.conn.close_channel(channel) } else { Ok(()) }
    }

    /// A command reads no more: the client need not send (OpenSSH PROTOCOL 2.1).
    pub(crate) fn output_broken(&mut self, channel: ChannelId, session: &mut Session) -> Result<()> {
        session.conn.request(channel, &ChannelRequest::Eow, false)
    }

    /// A channel is gone.
    pub(crate) fn closed(&mut self, channel: ChannelId, helper: &mut Helper<'_>) -> Result<()> {
        let Some(id) = self.by_channel.remove(&channel) else { return Ok(()) };
        self.open.remove(&id);
        helper.tell(&Request::CloseSession { session: id })
    }
}
