//! A session channel: a command, shell or subsystem, joined to standard streams (RFC 4254 §6): ours, or those of
//! another client that uses this connection.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::mpsc::Receiver;

use sockward_config::ssh::{RequestTty, SessionType};
use sockward_drive::{Closing, Ends, Env, ErrorEnd, Pipes, Session};
use sockward_proto::event::{ChannelRequest, OpenRequest, RequestQuestion};
use sockward_proto::{ChannelId, Connection, Result};
use sockward_sys::fd;
use sockward_sys::terminal::{Changed, raw};
use sockward_wire::channel::Size;

use crate::escape::{BREAK, Command, Escapes};
use crate::jobs::{Job, Jobs};
use crate::plan::Plan;
use crate::{FAILURE, stdio, terminal};

/// What a session is to be.
pub(crate) struct Request {
    /// The terminal to ask for.
    pub(crate) terminal: Option<Terminal>,
    /// Variables to send.
    pub(crate) environment: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) kind: SessionType,
    /// The command or the subsystem's name; empty for a shell.
    pub(crate) command: Vec<u8>,
    /// At a terminal.
    pub(crate) escape: Option<u8>,
}

/// A terminal to ask for.
pub(crate) struct Terminal {
    pub(crate) term: Vec<u8>,
    pub(crate) size: Size,
    /// Encoded modes.
    pub(crate) modes: Vec<u8>,
    /// Without one the session is not wanted.
    pub(crate) insisted: bool,
}

/// The streams of a session.
pub(crate) struct Streams {
    /// None: the session has no input.
    pub(crate) input: Option<OwnedFd>,
    pub(crate) output: OwnedFd,
    pub(crate) error: OwnedFd,
}

/// A session under way.
pub(crate) struct ClientSession {
    channel: ChannelId,
    request: Request,
    /// Requests that the server has still to answer, in order.
    expected: VecDeque<Expected>,
    /// Until the channel is open: taken at once, for -f puts others in their place.
    streams: Option<Streams>,
    /// Our own terminal is put into raw mode.
    own_terminal: bool,
    raw: Option<Changed>,
    outputs: Vec<Job<()>>,
    commands: Option<Receiver<Command>>,
    status: Option<u32>,
    closed: bool,
    finished: bool,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Terminal,
    Program(&'static str),
}

/// The session cannot go on; the text says why.
pub(crate) struct Hopeless(pub(crate) String);

impl Request {
    /// What the plan wants of this program's own session.
    pub(crate) fn of(plan: &Plan) -> Self {
        let settings = &plan.configuration.settings;
        let set = &settings.set_env.0;
        let term = set.iter().find(|(name, value)| name == "TERM" && !value.is_empty());
        let term = term.map(|(_, value)| value.clone()).or_else(|| std::env::var_os("TERM"));
        let sent = std::env::vars_os().filter(|(name, _)| settings.send_env.sends(name.as_bytes()));
        let bytes = |(name, value): (OsString, OsString)| (name.into_vec(), value.into_vec());
        Request {
            terminal: plan.terminal.then(|| Terminal {
                term: term.unwrap_or_default().into_vec(),
                size: terminal::size(),
                modes: terminal::modes(),
                insisted: matches!(settings.request_tty, RequestTty::Yes | RequestTty::Force),
            }),
            environment: sent.chain(set.iter().cloned()).map(bytes).collect(),
            kind: settings.session_type,
            command: plan.configuration.command.clone(),
            escape: settings.escape_char.0.filter(|_| plan.terminal),
        }
    }
}

impl Streams {
    /// This program's own.
    pub(crate) fn take(stdin_null: bool) -> io::Result<Self> {
        let input = if stdin_null { None } else { Some(fd::duplicate(io::stdin())?) };
        Ok(Streams { input, output: fd::take_stdout()?, error: fd::duplicate(io::stderr())? })
    }
}

impl ClientSession {
    /// This program's own session: asks for the channel.
    pub(crate) fn own(plan: &Plan, conn: &mut Connection) -> Result<Self> {
        let streams = Streams::take(plan.configuration.settings.stdin_null)
            .inspect_err(|e| log::error!("cannot use the standard streams: {e}"))
            .ok();
        let session = ClientSession::open(Request::of(plan), streams, conn)?;
        Ok(ClientSession { own_terminal: plan.terminal, ..session })
    }

    /// Asks for the channel of a session on these streams.
    pub(crate) fn open(request: Request, streams: Option<Streams>, conn: &mut Connection) -> Result<Self> {
        Ok(ClientSession {
            channel: conn.open_channel(&OpenRequest::Session)?,
            request,
            expected: VecDeque::new(),
            streams,
            own_terminal: false,
            raw: None,
            outputs: Vec::new(),
            commands: None,
            status: None,
            closed: false,
            finished: false,
        })
    }

    /// Whether a channel is this one.
    pub(crate) fn is(&self, channel: ChannelId) -> bool {
        self.channel == channel
    }

    /// The channel is open: joins our streams to it and asks for the program.
    pub(crate) fn opened(&mut self, session: &mut Session, env: &mut Env<'_>, jobs: &Jobs) -> Result<()> {
        self.ask_for_terminal(&mut session.conn)?;
        self.send_environment(&mut session.conn)?;
        self.ask_for_program(&mut session.conn)?;
        session.attach(self.channel, Closing::Manual);
        let joined = self
            .pipes(jobs)
            .and_then(|pipes| session.set_ends(self.channel, Ends::Pipes(Box::new(pipes)), env));
        if let Err(e) = joined {
            log::error!("cannot use the standard streams: {e}");
            return session.conn.close_channel(self.channel);
        }
        if self.own_terminal {
            self.raw = raw_terminal();
        }
        Ok(())
    }

    fn pipes(&mut self, jobs: &Jobs) -> io::Result<Pipes> {
        let taken = self.streams.take().ok_or_else(|| io::Error::other("they are not there"))?;
        let input = match (taken.input, self.request.escape) {
            (None, _) => stdio::no_input()?,
            (Some(input), Some(character)) => {
                let (speaker, commands) = jobs.line();
                self.commands = Some(commands);
                stdio::typed(jobs, input, Escapes::new(character), speaker)?
            }
            (Some(input), None) => stdio::input(jobs, input)?,
        };
        let output = stdio::output(jobs, taken.output)?;
        let error = stdio::output(jobs, taken.error)?;
        self.outputs = vec![output.done, error.done];
        Ok(Pipes { input: Some(input), output: Some(output.end), error: Some(ErrorEnd::Write(error.end)) })
    }

    fn ask_for_terminal(&mut self, conn: &mut Connection) -> Result<()> {
        let Some(Terminal { term, size, modes, .. }) = &self.request.terminal else { return Ok(()) };
        let request = ChannelRequest::Pty { term: term.clone(), size: *size, modes: modes.clone() };
        self.expected.push_back(Expected::Terminal);
        conn.request(self.channel, &request, true)
    }

    fn send_environment(&self, conn: &mut Connection) -> Result<()> {
        for (name, value) in &self.request.environment {
            log::debug!("channel {}: setting env {}", self.channel.index(), name.escape_ascii());
            let (name, value) = (name.clone(), value.clone());
            conn.request(self.channel, &ChannelRequest::Env { name, value }, false)?;
        }
        Ok(())
    }

    fn ask_for_program(&mut self, conn: &mut Connection) -> Result<()> {
        let command = self.request.command.clone();
        let shown = String::from_utf8_lossy(&command).into_owned();
        let (what, request) = match (self.request.kind, command.is_empty()) {
            (SessionType::Subsystem, _) => {
                log::debug!("Sending subsystem: {shown}");
                ("subsystem", ChannelRequest::Subsystem(command))
            }
            (_, false) => {
                log::debug!("Sending command: {shown}");
                ("exec", ChannelRequest::Exec(command))
            }
            (_, true) => ("shell", ChannelRequest::Shell),
        };
        self.expected.push_back(Expected::Program(what));
        conn.request(self.channel, &request, true)
    }

    /// The server has answered our oldest request.
    pub(crate) fn answered(&mut self, ok: bool) -> std::result::Result<(), Hopeless> {
        let n = self.channel.index();
        match (self.expected.pop_front(), ok) {
            (Some(Expected::Terminal), false) => {
                let text = format!("PTY allocation request failed on channel {n}");
                // Whoever insisted on a terminal does not want the program without one.
                if self.request.terminal.as_ref().is_some_and(|terminal| terminal.insisted) {
                    return Err(Hopeless(text));
                }
                log::error!("{text}");
                self.raw = None;
            }
            (Some(Expected::Program(what)), false) => {
                return Err(Hopeless(format!("{what} request failed on channel {n}")));
            }
            (Some(what), true) => log::trace!("{what:?} request accepted on channel {n}"),
            (None, _) => {}
        }
        Ok(())
    }

    /// The server tells something about the channel.
    pub(crate) fn requested(&mut self, question: RequestQuestion, session: &mut Session) -> Result<()> {
        let known = match &question.request {
            ChannelRequest::ExitStatus(status) => {
                self.status = Some(*status);
                true
            }
            ChannelRequest::ExitSignal { name, message, .. } => {
                log::debug!("exit-signal {}: {}", name.escape_ascii(), message.escape_ascii());
                true
            }
            ChannelRequest::Eow => {
                session.end_input(self.channel);
                true
            }
            // RFC 4254 §6: these are a client's.
            ChannelRequest::Pty { .. }
            | ChannelRequest::Env { .. }
            | ChannelRequest::Shell
            | ChannelRequest::Exec(_)
            | ChannelRequest::Subsystem(_)
            | ChannelRequest::WindowChange(_)
            | ChannelRequest::Break(_)
            | ChannelRequest::Signal(_) => false,
        };
        session.conn.answer_request(question, known)
    }

    /// Nobody reads our output any more: an OpenSSH or one of ours is told, so that the program notices
    /// (OpenSSH PROTOCOL 2.1).
    pub(crate) fn output_broken(&self, conn: &mut Connection) -> Result<()> {
        let knows = [&b"SSH-2.0-OpenSSH_"[..], b"SSH-2.0-Sockward_"];
        if knows.iter().any(|name| conn.peer_version().starts_with(name)) {
            conn.request(self.channel, &ChannelRequest::Eow, false)?;
        }
        Ok(())
    }

    /// The window of the terminal has another size.
    pub(crate) fn window_changed(&self, size: Size, conn: &mut Connection) -> Result<()> {
        if self.request.terminal.is_some() && !self.closed {
            conn.request(self.channel, &ChannelRequest::WindowChange(size), false)?;
        }
        Ok(())
    }

    /// What was typed for us.
    pub(crate) fn command(&self) -> Option<Command> {
        self.commands.as_ref()?.try_recv().ok()
    }

    /// The escape character.
    pub(crate) fn escape(&self) -> char {
        self.request.escape.map_or('~', char::from)
    }

    /// RFC 4335 §3: a BREAK on the line that the terminal may stand for.
    pub(crate) fn send_break(&self, conn: &mut Connection) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        conn.request(self.channel, &ChannelRequest::Break(BREAK), false)
    }

    /// Stops this process until somebody continues it, with the terminal as the shell left it.
    pub(crate) fn suspend(&mut self, conn: &mut Connection) -> Result<()> {
        let was_raw = self.raw.take().is_some();
        if let Err(e) = sockward_sys::signal::suspend() {
            log::error!("cannot suspend: {e}");
        }
        if was_raw {
            self.raw = raw_terminal();
        }
        self.window_changed(terminal::size(), conn)
    }

    /// The channel was refused or is closed.
    pub(crate) fn closed(&mut self) {
        self.closed = true;
        self.raw = None;
    }

    /// The channel was never opened.
    pub(crate) fn refused(&mut self) {
        self.closed();
        self.finished = true;
    }

    /// Everything received is in our pipes.
    pub(crate) fn finished(&mut self) {
        self.finished = true;
    }

    /// The channel.
    pub(crate) fn channel(&self) -> ChannelId {
        self.channel
    }

    /// Whether everything has been written, too.
    pub(crate) fn is_over(&mut self) -> bool {
        self.outputs.retain(|job| job.poll().is_none());
        self.closed && self.finished && self.outputs.is_empty()
    }

    /// The exit status: the program's, if it was told.
    pub(crate) fn status(&self) -> u8 {
        // As exit(3) does, the lower eight bits.
        self.status.map_or(FAILURE, |status| status.to_be_bytes()[3])
    }
    /// What still writes.
    pub(crate) fn into_outputs(self) -> Vec<Job<()>> {
        self.outputs
    }
}

/// Our own terminal in raw mode, if it is one.
pub(crate) fn raw_terminal() -> Option<Changed> {
    raw(io::stdin()).inspect_err(|e| log::debug!("tcgetattr: {e}")).ok()
}
