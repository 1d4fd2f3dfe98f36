//! After the login: questions of the connection layer go to the user's helper, its answers and descriptors
//! come back. Forwardings are in `forwards.rs`, commands and shells in `sessions.rs`.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use sockward_drive::{Env, PumpEvent, Session};
use sockward_privsep::login::{Answer, Refusal, Request};
use sockward_privsep::worker::LoggedIn;
use sockward_privsep::{Channel, Outcome};
use sockward_proto::event::{ChannelRequest, GlobalQuestion, OpenQuestion, RequestQuestion};
use sockward_proto::{Error, Event, Result};
use sockward_sys::link::Link;
use sockward_wire::channel::open_failure;

use crate::application::LinkEnd;
use crate::forwards::Forwards;
use crate::idle::Idle;
use crate::sessions::Sessions;
use crate::traffic::Traffic;

/// Messages taken off a helper's link before the connection's descriptors have their turn.
const MESSAGES_AT_ONCE: usize = 256;

/// One login's link and what goes on over it.
pub struct Login {
    helper: Channel<Request, Answer>,
    asked: HashMap<u64, Asked>,
    next: u64,
    forwards: Forwards,
    sessions: Sessions,
    idle: Idle,
    traffic: Traffic,
    /// The helper wants to know since when the client was heard of.
    asked_alive: Option<Instant>,
}

/// A question of the SSH client that the helper is to answer.
pub(crate) enum Asked {
    /// A channel to a target.
    Open(OpenQuestion),
    /// A session channel.
    Session(OpenQuestion),
    /// A listener, or its end.
    Global(GlobalQuestion),
    /// A variable, a command.
    Request(RequestQuestion),
}

/// Puts questions to the helper; lent to the parts of a login.
pub(crate) struct Helper<'a> {
    channel: &'a mut Channel<Request, Answer>,
    asked: &'a mut HashMap<u64, Asked>,
    next: &'a mut u64,
}

impl Helper<'_> {
    /// Asks; `make` puts the question's number into the request.
    pub(crate) fn ask(&mut self, question: Asked, make: impl FnOnce(u64) -> Request) -> Result<u64> {
        let id = *self.next;
        *self.next += 1;
        self.asked.insert(id, question);
        self.tell(&make(id))?;
        Ok(id)
    }

    /// Whether it has not taken yet what it was told.
    pub(crate) fn is_behind(&self) -> bool {
        self.channel.backlog() > 0
    }

    /// Tells something that is not answered.
    pub(crate) fn tell(&mut self, request: &Request) -> Result<()> {
        self.channel.say(request, None).map_err(|_| Error::ApiMisuse("the user's helper does not listen"))
    }
}

impl Login {
    /// Has the link watched as `token`.
    pub fn new(token: Token, link: Link, logged_in: &LoggedIn, env: &mut Env<'_>) -> std::io::Result<Self> {
        let helper: Channel<Request, Answer> = Channel::plain(link);
        let fd = std::os::fd::AsFd::as_fd(&helper).as_raw_fd();
        env.registry.register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Login {
            helper,
            asked: HashMap::new(),
            next: 0,
            forwards: Forwards::default(),
            sessions: Sessions::default(),
            idle: Idle::new(logged_in, env.now),
            traffic: Traffic::new(logged_in.traffic),
            asked_alive: None,
        })
    }

    fn split(&mut self) -> (&mut Forwards, &mut Sessions, Helper<'_>) {
        let Login { helper, asked, next, forwards, sessions, idle: _, traffic: _, asked_alive: _ } = self;
        (forwards, sessions, Helper { channel: helper, asked, next })
    }

    /// When something of it is due if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.idle.deadline()
    }

    /// Closes what has not been used for too long.
    pub fn keep_time(&mut self, session: &mut Session, now: Instant) -> Result<()> {
        self.idle.enforce(session, now)
    }

    /// At the end of a turn: notes whether there are channels and terminals, and tells the helper of a sign of life
    /// that it waits for.
    pub fn note_use(&mut self, session: &Session, now: Instant) {
        self.traffic.mark(session.net_fd(), self.sessions.has_terminal());
        if self.asked_alive.is_some_and(|asked| session.conn.last_heard() >= asked) {
            self.asked_alive = None;
            // A helper that does not listen any more ends the connection at the next turn.
            let _ = self.helper.say(&Request::Alive, None);
        }
        if !self.idle.minds_use() {
            return;
        }
        let asked = self.asked.values().any(|asked| matches!(asked, Asked::Open(_) | Asked::Session(_)));
        self.idle.in_use(asked || !self.forwards.is_empty() || !self.sessions.is_empty(), now);
    }

    /// Something happened on the connection layer.
    pub fn event(&mut self, session: &mut Session, env: &mut Env<'_>, event: Event) -> Result<()> {
        let (forwards, sessions, mut helper) = self.split();
        match event {
            Event::OpenRequested(question) => match question.kind {
                sockward_proto::event::OpenRequest::Session => {
                    helper.ask(Asked::Session(question), |id| Request::OpenSession { id }).map(drop)
                }
                _ => forwards.open_requested(question, session, &mut helper),
            },
            Event::Global(question) => forwards.global_requested(question, &mut helper),
            Event::Opened(channel) => {
                let kind = forwards.opened(channel, session, env)?;
                self.idle.began(channel, kind, env.now);
                Ok(())
            }
            Event::OpenFailed { channel, .. } => forwards.open_failed(channel, &mut helper),
            Event::Requested(question) => sessions.requested(question, session, &mut helper),
            Event::PeerClosed(channel) => sessions.peer_closed(channel, session, &mut helper),
            Event::Closed(channel) => sessions.closed(channel, &mut helper),
            // We send no requests that want an answer.
            Event::RequestAnswered { .. } | Event::GlobalAnswered { .. } => Ok(()),
            // The pumps have done what is to be done.
            Event::Writable(_) | Event::Eof(_) => Ok(()),
            // A client's events, and those before the login: the application or nobody has them.
            Event::PeerVersion(_)
            | Event::HostKey(_)
            | Event::Signature(_)
            | Event::Keys { .. }
            | Event::Debug { .. }
            | Event::AuthReady
            | Event::AuthFailed { .. }
            | Event::KeyAcceptable { .. }
            | Event::Prompts(_)
            | Event::Banner(_)
            | Event::Authenticated
            | Event::AuthRequested(_) => Ok(()),
        }
    }

    /// Something happened to a channel's descriptors.
    pub fn pump(&mut self, session: &mut Session, event: PumpEvent) -> Result<()> {
        let (forwards, sessions, mut helper) = self.split();
        match event {
            PumpEvent::InputEnded(channel) => sessions.input_ended(channel, session),
            PumpEvent::OutputBroken(channel) => sessions.output_broken(channel, session),
            PumpEvent::Finished(channel, totals) => forwards.finished(channel, totals, &mut helper),
        }
    }

    /// Takes what the helper says. True if there is more to take.
    pub fn hear(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        buffer: &mut [u8],
    ) -> std::result::Result<bool, LinkEnd> {
        self.helper.flush()?;
        let (_, sessions, mut helper) = self.split();
        sessions.tell_sizes(&mut helper)?;
        for _ in 0..MESSAGES_AT_ONCE {
            match self.helper.hear(buffer)? {
                Outcome::Message(answer, fd) => self.answered(answer, fd, session, env)?,
                Outcome::Empty => return Ok(false),
                Outcome::End => return Err(LinkEnd::Broken("the user's helper process has gone".into())),
            }
        }
        Ok(true)
    }

    /// A buffer for [`Self::hear`].
    #[must_use]
    pub fn buffer() -> Vec<u8> {
        Channel::<Request, Answer>::buffer()
    }

    fn answered(
        &mut self,
        answer: Answer,
        fd: Option<OwnedFd>,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> std::result::Result<(), LinkEnd> {
        let nonsense = || LinkEnd::Broken("a message of the helper that makes no sense here".into());
        match (answer, fd) {
            (Answer::Opened { id }, Some(fd)) => {
                let Some(Asked::Open(question)) = self.asked.remove(&id) else { return Err(nonsense()) };
                let (channel, kind) = self.forwards.connected(id, question, fd, session, env)?;
                self.idle.began(channel, kind, env.now);
            }
            (Answer::Refused { id, why, text }, None) => {
                let asked = self.asked.remove(&id).ok_or_else(nonsense)?;
                self.refused(asked, why, &text, session)?;
            }
            (Answer::Listening { id, listener, port }, None) => {
                let Some(Asked::Global(question)) = self.asked.remove(&id) else { return Err(nonsense()) };
                self.forwards.listening(question, listener, port, session)?;
            }
            (Answer::Probed { id, result }, None) => {
                let Some(Asked::Global(question)) = self.asked.remove(&id) else { return Err(nonsense()) };
                self.forwards.probed(question, result, session)?;
            }
            (Answer::Unlistened { id, listener }, None) => {
                let Some(Asked::Global(question)) = self.asked.remove(&id) else { return Err(nonsense()) };
                self.forwards.unlistened(question, listener, session)?;
            }
            (Answer::Accepted { listener, connection, origin }, Some(fd)) => {
                let (forwards, _, mut helper) = self.split();
                forwards.accepted(listener, connection, origin, fd, session, &mut helper)?;
            }
            (Answer::Done { id }, None) => match self.asked.remove(&id) {
                Some(Asked::Session(question)) => self.sessions.opened(id, question, session)?,
                Some(Asked::Request(question)) => {
                    let channel = question.channel;
                    if let Some(kind) = crate::sessions::kind(&question.request) {
                        self.idle.began(channel, &kind, env.now);
                    }
                    self.sessions.done(question, session, env)?;
                }
                Some(Asked::Open(_) | Asked::Global(_)) | None => return Err(nonsense()),
            },
            (Answer::Stream { session: id, stream }, Some(fd)) => self.sessions.stream(id, stream, fd),
            (Answer::Exited { session: id, status }, None) => self.sessions.exited(id, &status, session)?,
            (Answer::AskAlive, None) => {
                self.asked_alive = Some(env.now);
                session.conn.ask_alive()?;
            }
            _ => return Err(nonsense()),
        }
        Ok(())
    }

    fn refused(&mut self, asked: Asked, why: Refusal, text: &str, session: &mut Session) -> Result<()> {
        match asked {
            Asked::Open(question) | Asked::Session(question) => {
                let reason = match why {
                    Refusal::Prohibited => open_failure::ADMINISTRATIVELY_PROHIBITED,
                    Refusal::Failed => open_failure::CONNECT_FAILED,
                    Refusal::Shortage => open_failure::RESOURCE_SHORTAGE,
                };
                session.conn.refuse_channel(question, reason, text)
            }
            Asked::Global(question) => {
                // REQUEST_FAILURE carries no words; a DEBUG message does.
                session.conn.send_debug(text, true)?;
                session.conn.answer_global(question, None)
            }
            Asked::Request(question) => {
                // Clients send variables unasked; that one is not taken is no news for people.
                let is_news = !matches!(question.request, ChannelRequest::Env { .. });
                session.conn.send_debug(text, is_news)?;
                self.sessions.refused(question, session)
            }
        }
    }
}
