//! Other clients' sessions over the master's connection: opened on their streams, ended with them, and how each ended.

use std::collections::HashMap;

use sockward_config::forward::Target;
use sockward_drive::{Env, Session};
use sockward_proto::event::RequestQuestion;
use sockward_proto::{ChannelId, Connection, Result};
use sockward_wire::channel::Size;

use super::messages::Tell;
use crate::escape::{self, Command, Whose};
use crate::forwards::stdio::Stdio;
use crate::jobs::{Job, Jobs};
use crate::sessions::{ClientSession, Hopeless, Request, Streams};

/// All of one connection, by the client's number.
#[derive(Default)]
pub(crate) struct Users {
    users: HashMap<usize, User>,
    told: Vec<(usize, Tell)>,
}

struct User {
    what: What,
    open: bool,
    /// Whoever asked is not there any more.
    gone: bool,
}

enum What {
    Session(Box<ClientSession>),
    Stdio(Stdio),
}

impl User {
    fn channel(&self) -> ChannelId {
        match &self.what {
            What::Session(session) => session.channel(),
            What::Stdio(stdio) => stdio.channel(),
        }
    }
}

impl Users {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// What is to be told to clients since the last call.
    pub(crate) fn told(&mut self) -> Vec<(usize, Tell)> {
        std::mem::take(&mut self.told)
    }

    /// Notes what to tell.
    pub(crate) fn tell(&mut self, n: usize, what: Tell) {
        self.told.push((n, what));
    }

    /// A client wants a session.
    pub(crate) fn session(
        &mut self,
        n: usize,
        request: Request,
        streams: Streams,
        conn: &mut Connection,
    ) -> Result<()> {
        if conn.channels_left() == 0 || self.users.contains_key(&n) {
            self.told.push((n, Tell::Failed("no more sessions".to_owned())));
            return Ok(());
        }
        let session = ClientSession::open(request, Some(streams), conn)?;
        let what = What::Session(Box::new(session));
        self.users.insert(n, User { what, open: false, gone: false });
        Ok(())
    }

    /// A client wants its streams joined with a target.
    pub(crate) fn stdio(
        &mut self,
        n: usize,
        target: &Target,
        owner: Option<&str>,
        streams: (std::os::fd::OwnedFd, std::os::fd::OwnedFd),
        conn: &mut Connection,
    ) -> Result<()> {
        if conn.channels_left() == 0 || self.users.contains_key(&n) {
            self.told.push((n, Tell::Failed("no more channels".to_owned())));
            return Ok(());
        }
        match Stdio::open(target, owner, Some(streams), conn)? {
            Some(stdio) => {
                self.users.insert(n, User { what: What::Stdio(stdio), open: false, gone: false });
            }
            None => self.told.push((n, Tell::Failed("no channel leads there".to_owned()))),
        }
        Ok(())
    }

    /// A client's terminal has another size.
    pub(crate) fn window(&self, n: usize, size: Size, conn: &mut Connection) -> Result<()> {
        match self.users.get(&n) {
            Some(User { what: What::Session(session), open: true, .. }) => session.window_changed(size, conn),
            Some(_) | None => Ok(()),
        }
    }

    /// A client is gone: its session ends.
    pub(crate) fn gone(&mut self, n: usize, conn: &mut Connection) -> Result<()> {
        let Some(user) = self.users.get_mut(&n) else { return Ok(()) };
        user.gone = true;
        if user.open { conn.close_channel(user.channel()) } else { Ok(()) }
    }

    fn of(&mut self, channel: ChannelId) -> Option<(usize, &mut User)> {
        let found = self.users.iter_mut().find(|(_, user)| user.channel() == channel);
        found.map(|(n, user)| (*n, user))
    }

    /// Whether a channel is one of theirs.
    pub(crate) fn owns(&self, channel: ChannelId) -> bool {
        self.users.values().any(|user| user.channel() == channel)
    }

    /// A channel is open.
    pub(crate) fn opened(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
        env: &mut Env<'_>,
        jobs: &Jobs,
    ) -> Result<()> {
        let Some((n, user)) = self.of(channel) else { return Ok(()) };
        user.open = true;
        if user.gone {
            return session.conn.close_channel(channel);
        }
        match &mut user.what {
            What::Session(main) => main.opened(session, env, jobs)?,
            What::Stdio(stdio) => {
                if let Err(e) = stdio.opened(session, env, jobs) {
                    log::error!("cannot use a client's streams: {e}");
                    return session.conn.close_channel(channel);
                }
            }
        }
        self.told.push((n, Tell::Opened));
        Ok(())
    }

    /// A channel was refused.
    pub(crate) fn refused(&mut self, channel: ChannelId, why: String) {
        if let Some((n, _)) = self.of(channel) {
            self.users.remove(&n);
            self.told.push((n, Tell::Failed(why)));
        }
    }

    /// The server has answered a request of a session.
    pub(crate) fn answered(&mut self, channel: ChannelId, ok: bool, conn: &mut Connection) -> Result<()> {
        let Some((n, User { what: What::Session(session), .. })) = self.of(channel) else { return Ok(()) };
        match session.answered(ok) {
            Ok(()) => Ok(()),
            Err(Hopeless(why)) => {
                self.told.push((n, Tell::Failed(why)));
                conn.close_channel(channel)
            }
        }
    }

    /// The server tells something about a session.
    pub(crate) fn requested(&mut self, question: RequestQuestion, session: &mut Session) -> Result<()> {
        match self.of(question.channel) {
            Some((_, User { what: What::Session(main), .. })) => main.requested(question, session),
            Some(_) | None => session.conn.answer_request(question, false),
        }
    }

    /// A channel is closed.
    pub(crate) fn closed(&mut self, channel: ChannelId) {
        if let Some((_, User { what: What::Session(session), .. })) = self.of(channel) {
            session.closed();
        }
    }

    /// Nobody reads a session's output any more.
    pub(crate) fn output_broken(&mut self, channel: ChannelId, conn: &mut Connection) -> Result<()> {
        match self.of(channel) {
            Some((_, User { what: What::Session(session), .. })) => session.output_broken(conn),
            Some(_) | None => Ok(()),
        }
    }

    /// Everything received is in our pipes.
    pub(crate) fn finished(&mut self, channel: ChannelId) {
        match self.of(channel) {
            Some((_, User { what: What::Session(session), .. })) => session.finished(),
            Some((_, User { what: What::Stdio(stdio), .. })) => stdio.finished(),
            None => {}
        }
    }

    /// Obeys what was typed, and tells how those ended that are over. `list` is what `~#` shows.
    pub(crate) fn wake(&mut self, list: impl Fn() -> String, conn: &mut Connection) -> Result<()> {
        let mut over = Vec::new();
        for (n, user) in &mut self.users {
            let status = match &mut user.what {
                What::Session(session) => {
                    while let Some(command) = session.command() {
                        let text = obey(command, session, &list, conn)?;
                        self.told.extend(text.map(|text| (*n, Tell::Say(text))));
                    }
                    session.is_over().then(|| session.status())
                }
                What::Stdio(stdio) => stdio.is_over().then_some(0),
            };
            over.extend(status.map(|status| (*n, Tell::Status(status))));
        }
        for (n, tell) in over {
            self.users.remove(&n);
            self.told.push((n, tell));
        }
        Ok(())
    }

    /// What still writes to clients' streams.
    pub(crate) fn into_outputs(self) -> Vec<Job<()>> {
        let outputs = self.users.into_values().map(|user| match user.what {
            What::Session(session) => session.into_outputs(),
            What::Stdio(stdio) => stdio.into_output().into_iter().collect(),
        });
        outputs.flatten().collect()
    }
}

/// Does what was typed in another client's session, and returns what there is to say about it.
fn obey(
    command: Command,
    session: &mut ClientSession,
    list: impl Fn() -> String,
    conn: &mut Connection,
) -> Result<Option<String>> {
    let character = session.escape();
    Ok(Some(match command {
        Command::Terminate => {
            conn.close_channel(session.channel())?;
            format!("{character}.\r\n")
        }
        Command::Rekey => {
            conn.rekey()?;
            return Ok(None);
        }
        Command::Break => {
            session.send_break(conn)?;
            format!("{character}B\r\n")
        }
        Command::List => format!("{character}#\r\n{}", list()),
        Command::Help => escape::help(character, Whose::Shared),
        // The messages are the master's; and while its client is stopped, the master would still read the terminal.
        Command::Suspend | Command::Louder | Command::Quieter | Command::Unavailable(_) => {
            escape::unavailable(character, command, Whose::Shared)
        }
    }))
}
