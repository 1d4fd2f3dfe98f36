//! What one connection's events lead to before the login: signatures and verdicts come from the monitor.
//! After it: see `login.rs`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use sockward_crypto::SystemRandom;
use sockward_drive::{Env, Handler, Net, PumpEvent, Session, Subject};
use sockward_privsep::worker::{
    AuthAnswer, AuthMethod, AuthRequest, FromWorker, SignRequest, Start, ToWorker,
};
use sockward_privsep::{Channel, Outcome};
use sockward_proto::event::{self, AuthQuestion, GlobalQuestion, GlobalRequest, SignatureQuestion};
use sockward_proto::{
    Algorithms, Config, Connection, Error, Event, HostSignature, KeepAlive, RekeyLimit, Result,
};
use sockward_sys::link::Link;
use sockward_wire::Put;

use crate::login::Login;
use crate::process;

/// Messages taken off a link before the connection's descriptors have their turn.
const MESSAGES_AT_ONCE: usize = 256;

/// Requests to prove host keys that wait for the monitor; a client sends one. More are refused.
const PROOFS_MAX: usize = 4;

/// The application of one connection.
pub(crate) struct Application {
    pub(crate) monitor: Channel<FromWorker, ToWorker>,
    /// Came ahead of the descriptor to read from.
    write_end: Option<OwnedFd>,
    signature: Option<SignatureQuestion>,
    /// Answered in this order.
    proofs: VecDeque<GlobalQuestion>,
    auth: Option<AuthQuestion>,
    pub(crate) login: Option<Login>,
    /// Holds the descriptor number that the login's link is to get; given up once the connection's own
    /// descriptors are there. The system-call list allows to receive descriptors on that number.
    reserved: Option<OwnedFd>,
    index: usize,
}

/// Why a link is of no more use to us.
#[derive(Debug)]
pub enum LinkEnd {
    /// The other process has gone, or said something it may not.
    Broken(String),
    /// The connection ended over what it said.
    Protocol(Error),
}

impl From<io::Error> for LinkEnd {
    fn from(e: io::Error) -> Self {
        LinkEnd::Broken(e.to_string())
    }
}

impl From<Error> for LinkEnd {
    fn from(e: Error) -> Self {
        LinkEnd::Protocol(e)
    }
}

impl Application {
    pub(crate) fn new(index: usize, link: Link, reserved: Option<OwnedFd>) -> Self {
        Application {
            monitor: Channel::plain(link),
            write_end: None,
            signature: None,
            proofs: VecDeque::new(),
            auth: None,
            login: None,
            reserved,
            index,
        }
    }

    /// Takes what the monitor says. Starts the session when it says so. True if there is more to take.
    pub(crate) fn hear_monitor(
        &mut self,
        session: &mut Option<Session>,
        env: &mut Env<'_>,
        buffer: &mut [u8],
    ) -> std::result::Result<bool, LinkEnd> {
        self.monitor.flush()?;
        for _ in 0..MESSAGES_AT_ONCE {
            let (message, fd) = match self.monitor.hear(buffer)? {
                Outcome::Message(message, fd) => (message, fd),
                Outcome::Empty => return Ok(false),
                Outcome::End => return Err(LinkEnd::Broken("the monitor has gone".into())),
            };
            match (message, fd, session.as_mut()) {
                (ToWorker::WriteEnd, Some(fd), None) => self.write_end = Some(fd),
                (ToWorker::Start(start), Some(fd), None) => {
                    *session = Some(self.start(*start, fd, env)?);
                    self.reserved = None;
                }
                (ToWorker::Signed { host_key, signature, next_cookie }, None, Some(session)) => {
                    let answer = HostSignature { host_key, signature, next_cookie };
                    if let Some(question) = self.signature.take() {
                        session.conn.host_signature(question, &answer)?;
                    }
                }
                (ToWorker::Proved(signatures), None, Some(session)) => {
                    let Some(question) = self.proofs.pop_front() else {
                        return Err(LinkEnd::Broken("a proof nobody asked for".into()));
                    };
                    let reply = signatures.map(|list| {
                        let mut out = Vec::new();
                        list.iter().for_each(|signature| out.put_string(signature));
                        out
                    });
                    session.conn.answer_global(question, reply)?;
                }
                (ToWorker::Banner(text), None, Some(session)) => session.conn.send_banner(&text)?,
                (ToWorker::Auth(answer), fd, Some(session)) => self.verdict(answer, fd, session, env)?,
                (ToWorker::Disconnect { reason, text }, None, Some(session)) => {
                    session.conn.disconnect_because(reason, &text);
                }
                _ => return Err(LinkEnd::Broken("a message of the monitor that makes no sense here".into())),
            }
        }
        Ok(true)
    }

    fn start(
        &mut self,
        start: Start,
        fd: OwnedFd,
        env: &mut Env<'_>,
    ) -> std::result::Result<Session, LinkEnd> {
        let algorithms =
            Algorithms { kex: start.kex, host_key: start.host_key, ciphers: start.ciphers, macs: start.macs };
        let identification = start.identification.into_bytes();
        let mut config = Config::server(identification, algorithms, start.user_key, start.cookie);
        config.rekey_limit =
            RekeyLimit { bytes: start.rekey_bytes, time: start.rekey_seconds.map(Duration::from_secs) };
        let conn = Connection::new(config, Box::new(SystemRandom::new()), env.now)?;
        let net = match self.write_end.take() {
            Some(write) => Net::pair(fd, write),
            None => Net::socket(fd),
        };
        Ok(Session::new(self.index, conn, net, env.registry)?)
    }

    fn verdict(
        &mut self,
        answer: AuthAnswer,
        fd: Option<OwnedFd>,
        session: &mut Session,
        env: &mut Env<'_>,
    ) -> std::result::Result<(), LinkEnd> {
        let Some(question) = self.auth.take() else {
            return Err(LinkEnd::Broken("a verdict nobody asked for".into()));
        };
        match (answer, fd) {
            (AuthAnswer::Failure { methods, partial }, None) => {
                session.conn.auth_failure(question, &methods, partial)?;
            }
            (AuthAnswer::KeyAcceptable, None) => session.conn.auth_key_acceptable(question)?,
            (AuthAnswer::Success(logged_in), Some(fd)) => {
                let token = Subject::App(process::helper_link(self.index)).token();
                self.login = Some(Login::new(token, Link::from_fd(fd)?, &logged_in, env)?);
                session.conn.set_keep_alive(match logged_in.alive_interval {
                    0 => None,
                    seconds => Some(KeepAlive {
                        interval: Duration::from_secs(seconds),
                        count_max: logged_in.alive_count_max,
                    }),
                });
                session.conn.auth_success(question)?;
                if !logged_in.host_keys.is_empty() {
                    session.conn.tell_host_keys(&logged_in.host_keys)?;
                }
            }
            _ => return Err(LinkEnd::Broken("a verdict without its link, or with a stray one".into())),
        }
        Ok(())
    }

    /// Takes what the helper says. True if there is more to take.
    pub(crate) fn hear_helper(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        buffer: &mut [u8],
    ) -> std::result::Result<bool, LinkEnd> {
        let Some(login) = &mut self.login else { return Ok(false) };
        login.hear(session, env, buffer)
    }

    /// Whether proofs of host keys are on their way. What the helper says waits for them, the end of a command above
    /// all: a client that has its status leaves, and would never learn the keys.
    pub(crate) fn is_proving(&self) -> bool {
        !self.proofs.is_empty()
    }

    fn ask_monitor(&mut self, message: &FromWorker) -> Result<()> {
        // A monitor that does not listen any more ends the connection at the next turn, by its closed link.
        self.monitor.say(message, None).map_err(|_| Error::ApiMisuse("the monitor does not listen"))
    }
}

impl Handler for Application {
    fn event(&mut self, session: &mut Session, env: &mut Env<'_>, event: Event) -> Result<()> {
        match event {
            Event::Signature(question) => {
                let request = sign_request(&question.input);
                self.signature = Some(question);
                self.ask_monitor(&FromWorker::Sign(Box::new(request)))
            }
            Event::AuthRequested(question) => {
                let request = auth_request(&question);
                self.auth = Some(question);
                self.ask_monitor(&FromWorker::Auth(Box::new(request)))
            }
            Event::Global(GlobalQuestion { request: GlobalRequest::HostKeysProve(ref keys), .. })
                if self.proofs.len() < PROOFS_MAX =>
            {
                let keys = keys.clone();
                if let Event::Global(question) = event {
                    self.proofs.push_back(question);
                }
                self.ask_monitor(&FromWorker::Prove { keys })
            }
            Event::PeerVersion(line) => {
                log::debug!("Remote protocol version: {}", line.escape_ascii());
                Ok(())
            }
            Event::Keys { first, negotiated } => {
                log::debug!(
                    "kex: {} host key {} cipher {} / {}{}",
                    negotiated.kex_name,
                    negotiated.host_key.name(),
                    negotiated.c2s.cipher.name(),
                    negotiated.s2c.cipher.name(),
                    if first { "" } else { " (new keys)" }
                );
                Ok(())
            }
            Event::Debug { text, .. } => {
                log::debug!("Remote: {}", text.escape_ascii());
                Ok(())
            }
            other => match &mut self.login {
                Some(login) => login.event(session, env, other),
                // Before the login the connection layer does not run, so there are no such events.
                None => Ok(()),
            },
        }
    }

    fn pump(&mut self, session: &mut Session, _env: &mut Env<'_>, event: PumpEvent) -> Result<()> {
        match &mut self.login {
            Some(login) => login.pump(session, event),
            None => Ok(()),
        }
    }
}

fn sign_request(input: &sockward_proto::SignatureInput) -> SignRequest {
    SignRequest {
        client_version: input.client_version.clone(),
        server_version: input.server_version.clone(),
        client_kexinit: input.client_kexinit.clone(),
        server_kexinit: input.server_kexinit.clone(),
        client_share: input.client_share.clone(),
        server_share: input.server_share.clone(),
        secret: input.secret.clone(),
        method: input.method.clone(),
        algorithm: input.algorithm.name().to_owned(),
    }
}

fn auth_request(question: &AuthQuestion) -> AuthRequest {
    let method = match &question.method {
        event::AuthMethod::None => AuthMethod::None,
        event::AuthMethod::PublicKey { algorithm, key, host_key, signature } => AuthMethod::PublicKey {
            algorithm: algorithm.clone(),
            key: key.clone(),
            host_key: host_key.clone(),
            signature: signature.clone(),
        },
        event::AuthMethod::Password { .. } => AuthMethod::Other("password".into()),
        event::AuthMethod::KeyboardInteractive | event::AuthMethod::Responses(_) => {
            AuthMethod::Other("keyboard-interactive".into())
        }
        event::AuthMethod::Unknown(name) => AuthMethod::Other(name.clone()),
    };
    AuthRequest { user: question.user.clone(), service: question.service.clone(), method }
}
