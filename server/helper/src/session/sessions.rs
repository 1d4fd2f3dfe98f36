//! The session channels of one login, and the commands that run on them.
//!
//! A command outlives its channel and its login if it wants to: it sees closed pipes and gets no signal, or a
//! terminal that is hung up, as with OpenSSH. It is only reaped here.

use std::collections::BTreeMap;
use std::io;

use sockward_policy::{Limited, SessionKind, Variable, decide_one_more, decide_session, decide_tty};
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, ExitStatus, Program, Refusal, WindowSize};
use sockward_sys::signal;
use sockward_sys::spawn::{Child, Exit};

use super::command::{self, Command};
use super::terminal::{Asked, Terminal};
use crate::caller::Caller;
use crate::refused::Refused;

/// Variables of one session, as many as OpenSSH takes.
const VARIABLES_MAX: usize = 128;
/// Bytes of all of them: what Linux takes for one string of an environment.
const VARIABLES_BYTES_MAX: usize = 128 * 1024;

/// One login's sessions, by the worker's number.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: BTreeMap<u64, Session>,
}

#[derive(Debug, Default)]
struct Session {
    variables: Vec<Variable>,
    terminal: Option<Terminal>,
    state: State,
    /// The client has closed it; what runs still counts against `MaxSessions`.
    closed: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing was asked for yet.
    #[default]
    Idle,
    Running {
        child: Child,
        takes_signals: bool,
    },
    Ended,
}

impl Sessions {
    /// The worker asks for a session channel.
    pub(crate) fn requested(&mut self, id: u64, caller: &mut Caller<'_>) -> io::Result<()> {
        let room = decide_one_more(caller.permit, Limited::Sessions, self.all.len()).into_result();
        // A channel on which nothing can run is refused while there is a message to say so.
        let any = decide_session(caller.permit, SessionKind::Shell).into_result().map(drop);
        match any.and(room) {
            Ok(()) => {
                self.all.insert(id, Session::default());
                caller.answer(&Answer::Done { id })
            }
            Err(refusal) => refuse(id, "session", refusal.into(), caller),
        }
    }

    /// A variable for the command that will run.
    pub(crate) fn variable(
        &mut self,
        id: u64,
        session: u64,
        variable: Variable,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let taken = self.all.get_mut(&session).is_some_and(|s| s.take(variable, caller));
        match taken {
            true => caller.answer(&Answer::Done { id }),
            false => {
                let text = "the server does not take this variable (AcceptEnv)".to_owned();
                caller.answer(&Answer::Refused { id, why: Refusal::Prohibited, text })
            }
        }
    }

    /// The worker asks for a terminal.
    pub(crate) fn terminal(
        &mut self,
        id: u64,
        session: u64,
        asked: Asked,
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        const WHAT: &str = "terminal";
        let Some(Session { terminal: none @ None, state: State::Idle, closed: false, .. }) =
            self.all.get_mut(&session)
        else {
            return refuse(
                id,
                WHAT,
                Refused::failed("a session has one terminal, from its beginning"),
                caller,
            );
        };
        let allowed = decide_tty(caller.permit).into_result().map_err(Refused::from);
        match allowed.and_then(|_| Terminal::open(asked, caller.shared)) {
            Ok(terminal) => {
                *none = Some(terminal);
                caller.answer(&Answer::Done { id })
            }
            Err(refused) => refuse(id, WHAT, refused, caller),
        }
    }

    /// The size of a terminal has changed. Without one there is nothing to change.
    pub(crate) fn resize(&self, session: u64, size: WindowSize) {
        if let Some(terminal) = self.all.get(&session).and_then(|s| s.terminal.as_ref()) {
            terminal.resize(size);
        }
    }

    /// The worker asks for a command.
    pub(crate) fn execute(
        &mut self,
        id: u64,
        session: u64,
        what: &Program,
        connection: &[String; 4],
        caller: &mut Caller<'_>,
    ) -> io::Result<()> {
        let asked = command::describe(what);
        let Some(Session { variables, terminal, state: state @ State::Idle, closed: false }) =
            self.all.get_mut(&session)
        else {
            return refuse(id, &asked, Refused::failed("a session runs one command"), caller);
        };
        let started =
            command::start(what, variables, connection, caller.permit, terminal.as_ref(), caller.shared);
        match started {
            Ok(Command { child, streams, takes_signals }) => {
                if let Some(terminal) = terminal {
                    terminal.started();
                }
                *state = State::Running { child, takes_signals };
                caller.event(Event::Execute {
                    what: asked,
                    result: Ok(command::describe_run(caller.permit, what)),
                });
                for (stream, fd) in streams {
                    caller.pass(&Answer::Stream { session, stream }, fd)?;
                }
                caller.answer(&Answer::Done { id })
            }
            Err(refused) => refuse(id, &asked, refused, caller),
        }
    }

    /// A signal for a session's command and what belongs to its process group.
    pub(crate) fn signal(&self, session: u64, name: &[u8]) {
        let Some(Session { state: State::Running { child, takes_signals }, .. }) = self.all.get(&session)
        else {
            return;
        };
        let number = std::str::from_utf8(name).ok().and_then(signal::from_ssh_name);
        match (number, takes_signals) {
            (Some(number), true) => {
                if let Err(e) = child.signal_group(number) {
                    log::debug!("signal {}: {e}", name.escape_ascii());
                }
            }
            (Some(_), false) => log::debug!("no signals for a forced command or a subsystem"),
            (None, _) => log::debug!("unsupported signal"),
        }
    }

    /// The client has closed a session channel, or it is gone.
    pub(crate) fn closed(&mut self, session: u64) {
        let Some(entry) = self.all.get_mut(&session) else { return };
        entry.terminal = None;
        match entry.state {
            State::Running { .. } => entry.closed = true,
            State::Idle | State::Ended => drop(self.all.remove(&session)),
        }
    }

    /// Tells how commands ended that have.
    pub(crate) fn reap(&mut self, caller: &mut Caller<'_>) -> io::Result<()> {
        let mut ended = Vec::new();
        for (&number, session) in &mut self.all {
            let State::Running { child, .. } = &mut session.state else { continue };
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(exit)) => {
                    session.state = State::Ended;
                    ended.push((number, status(exit)));
                }
                Err(e) => {
                    log::error!("a command's end is not known: {e}");
                    session.state = State::Ended;
                    ended.push((number, ExitStatus::Code(255)));
                }
            }
        }
        self.all.retain(|_, s| !(s.closed && matches!(s.state, State::Ended)));
        for (session, status) in ended {
            caller.answer(&Answer::Exited { session, status })?;
        }
        Ok(())
    }

    /// The login is over: what still runs, to be reaped.
    pub(crate) fn into_children(self) -> impl Iterator<Item = Child> {
        self.all.into_values().filter_map(|session| match session.state {
            State::Running { child, .. } => Some(child),
            State::Idle | State::Ended => None,
        })
    }
}

impl Session {
    fn take(&mut self, variable: Variable, caller: &Caller<'_>) -> bool {
        let Variable { name, value } = &variable;
        let bytes: usize = self.variables.iter().map(|v| v.name.len() + v.value.len()).sum();
        let fits =
            self.variables.len() < VARIABLES_MAX && bytes + name.len() + value.len() <= VARIABLES_BYTES_MAX;
        let is_one = !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0);
        let idle = matches!(self.state, State::Idle) && !self.closed;
        let accepted = idle && is_one && fits && caller.permit.session.accepts_env(name);
        if accepted {
            self.variables.push(variable);
        }
        accepted
    }
}

fn refuse(id: u64, what: &str, refused: Refused, caller: &mut Caller<'_>) -> io::Result<()> {
    caller.refuse(id, &refused)?;
    caller.event(Event::Execute { what: what.to_owned(), result: Err(refused.log) });
    Ok(())
}

fn status(exit: Exit) -> ExitStatus {
    match exit {
        Exit::Code(code) => ExitStatus::Code(u32::try_from(code).unwrap_or(255)),
        Exit::Signal { number, core } => {
            // RFC 4254 §6.10 leaves room for names of one's own.
            let name = signal::ssh_name(number).map_or_else(|| format!("{number}@sockward"), str::to_owned);
            ExitStatus::Signal { name, core_dumped: core }
        }
    }
}
