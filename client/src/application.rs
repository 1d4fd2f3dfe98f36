//! What one connection's events lead to before the login: is it the right host, will it let us in? After it: see
//! `login.rs`. Mirror of the worker's `application.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sockward_config::choice::LogLevel;
use sockward_config::ssh::Settings;
use sockward_drive::{Env, Handler, PumpEvent, Session};
use sockward_proto::event::HostKeyQuestion;
use sockward_proto::{ChannelId, Event, HostKeyOffer, Negotiated, Result};
use sockward_sys::tcp;

use crate::FAILURE;
use crate::authenticate::{Authenticator, Binding, Progress};
use crate::jobs::{Job, Jobs};
use crate::login::{Lasting, Login};
use crate::messages::{self, Stage};
use crate::plan::Plan;
use crate::reconnect::Kept;
use crate::trust::{self, Judgement, Learner, Trust};
use crate::watched::Watched;

/// The application of one connection.
pub(crate) struct Application {
    plan: Arc<Plan>,
    jobs: Jobs,
    /// None behind a proxy.
    address: Option<SocketAddr>,
    /// Of the logins before.
    kept: Kept,
    stage: Stage,
    host_key: Option<(HostKeyQuestion, Job<Option<Judgement>>)>,
    /// What the server showed first, and how far it is trusted.
    trusted: Option<(HostKeyOffer, Judgement)>,
    authenticator: Option<Authenticator>,
    login: Option<Login>,
    /// Set when this program is to end.
    exit: Option<u8>,
}

impl Application {
    /// For a connection that has just been made.
    pub(crate) fn new(plan: Arc<Plan>, jobs: Jobs, address: Option<SocketAddr>, kept: Kept) -> Self {
        Application {
            plan,
            jobs,
            address,
            kept,
            stage: Stage::Banner,
            host_key: None,
            trusted: None,
            authenticator: None,
            login: None,
            exit: None,
        }
    }

    /// The stream leads to a gate: the other `ssh` has seen to host key and login.
    pub(crate) fn behind_gate(&mut self) {
        self.stage = Stage::Session;
        self.login =
            Some(Login::new(Arc::clone(&self.plan), self.jobs.clone(), Trust::Full, self.learner(false)));
    }

    fn learner(&self, introduces: bool) -> Learner {
        Learner::new(Arc::clone(&self.plan), self.jobs.clone(), self.address, introduces)
    }

    /// How far the connection has come.
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether people or the server's key are waited for, so that the server is not to blame for silence.
    pub(crate) fn has_met_the_server(&self) -> bool {
        self.host_key.is_some() || self.trusted.is_some()
    }

    /// Set when this program is to end.
    pub(crate) fn exit(&self) -> Option<u8> {
        self.exit.or(self.login.as_ref().and_then(Login::exit))
    }

    /// Whether the server has let us in.
    pub(crate) fn is_logged_in(&self) -> bool {
        self.login.is_some()
    }

    /// The channel that is joined to our standard streams.
    pub(crate) fn main_channel(&self) -> Option<ChannelId> {
        self.login.as_ref()?.main_channel()
    }

    /// The plain key of the host, if it is fully trusted.
    pub(crate) fn host_key(&self) -> Option<Vec<u8>> {
        let (offer, _) = self.trusted.as_ref().filter(|(_, judgement)| judgement.trust == Trust::Full)?;
        trust::plain_key(offer)
    }

    /// Whether this ends with the connection, whatever ends it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.login.as_ref().is_some_and(Login::is_stopped)
    }

    /// The connection is lost and will be made again: what is to be kept for then.
    pub(crate) fn leave(self, lasting: &mut Lasting, now: Instant) {
        if let Some(login) = self.login {
            login.leave(lasting, now);
        }
    }

    /// What still writes to our standard streams, and what has to wait for that.
    pub(crate) fn into_last(self) -> (Vec<Job<()>>, Option<Learner>) {
        self.login.map(Login::into_last).unwrap_or_default()
    }

    /// When to call [`Self::turn`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.login.as_ref()?.deadline()
    }

    /// Does what jobs and listeners have made possible.
    pub(crate) fn turn(
        &mut self,
        session: &mut Session,
        env: &mut Env<'_>,
        lasting: &mut Lasting,
    ) -> Result<()> {
        self.judge_host_key(session)?;
        if let Some(authenticator) = &mut self.authenticator {
            let progress = authenticator.wake(&mut session.conn)?;
            self.note(progress);
        }
        match &mut self.login {
            Some(login) => login.turn(session, env, lasting),
            None => Ok(()),
        }
    }

    /// The poller says something of what forwardings have watched.
    pub(crate) fn ready(&mut self, what: Watched, session: &mut Session, env: &mut Env<'_>) -> Result<()> {
        match &mut self.login {
            Some(login) => login.ready(what, session, env),
            None => Ok(()),
        }
    }

    /// The terminal's window has another size.
    pub(crate) fn window_changed(&self, session: &mut Session) -> Result<()> {
        match &self.login {
            Some(login) => login.window_changed(session),
            None => Ok(()),
        }
    }

    fn ask_about_host_key(&mut self, question: HostKeyQuestion, session: &mut Session) -> Result<()> {
        // Later exchanges need no second judgement: the files may have been changed meanwhile, by this program too.
        if self.trusted.as_ref().is_some_and(|(offer, _)| offer.key == question.offer.key) {
            return session.conn.accept_host_key(question);
        }
        let (plan, offer, address) = (Arc::clone(&self.plan), question.offer.clone(), self.address);
        let before = self.kept.host_key.clone();
        match self.jobs.start(move || trust::decide(&plan, &offer, address, before.as_deref())) {
            Ok(job) => self.host_key = Some((question, job)),
            // The question is dropped, and so the key refused.
            Err(e) => log::error!("cannot start a thread: {e}"),
        }
        Ok(())
    }

    fn judge_host_key(&mut self, session: &mut Session) -> Result<()> {
        let Some((question, job)) = self.host_key.take() else { return Ok(()) };
        let Some(judgement) = job.poll() else {
            self.host_key = Some((question, job));
            return Ok(());
        };
        match (&self.trusted, judgement) {
            (None, Some(judgement)) => self.trusted = Some((question.offer.clone(), judgement)),
            (Some((_, before)), Some(judgement)) if before.trust == judgement.trust => {}
            // Forwardings run already: another key later on cannot be less trusted.
            (Some(_), Some(_)) | (_, None) => {
                drop(question);
                // The refusal ends the connection as soon as it is asked for what to send.
                return session.conn.pending_output().map(drop);
            }
        }
        session.conn.accept_host_key(question)
    }

    fn keys(&mut self, first: bool, negotiated: &Negotiated, session: &mut Session) {
        log_algorithms(negotiated);
        if !first {
            return;
        }
        self.warn_of_weak_exchange(negotiated);
        self.stage = Stage::Login;
        let Some((offer, Judgement { trust, .. })) = &self.trusted else { return };
        let binding = session.conn.session_id().map(|session_id| Binding {
            host_key: offer.key.clone(),
            session_id: session_id.to_vec(),
            signature: offer.signature.clone(),
        });
        let (plan, jobs, unlocked) = (Arc::clone(&self.plan), self.jobs.clone(), self.kept.unlocked.clone());
        self.authenticator = Some(Authenticator::new(plan, jobs, *trust, binding, unlocked));
    }

    fn warn_of_weak_exchange(&self, negotiated: &Negotiated) {
        let settings = &self.plan.configuration.settings;
        let post_quantum = ["mlkem768", "sntrup761"].iter().any(|name| negotiated.kex_name.starts_with(name));
        if settings.warn_weak_crypto && !settings.kex_algorithms.ordered && !post_quantum {
            log::warn!("** WARNING: connection is not using a post-quantum key exchange algorithm.");
            log::warn!("** This session may be vulnerable to \"store now, decrypt later\" attacks.");
            log::warn!("** The server may need to be upgraded. See https://openssh.com/pq.html");
        }
    }

    fn note(&mut self, progress: Progress) {
        if let Progress::Denied(text) = progress {
            log::error!(target: "fatal", "{text}");
            self.exit = Some(FAILURE);
        }
    }

    fn logged_in(&mut self, session: &mut Session) {
        let typed = self.authenticator.take().is_some_and(|authenticator| authenticator.was_typed());
        if typed && self.plan.reconnects() {
            log::warn!(
                "Reconnect: what was typed to log in is not kept; without a key a lost connection is the end."
            );
        }
        self.stage = Stage::Session;
        let host = self.plan.host();
        match self.address {
            Some(address) => {
                log::info!(target: "verbose", "Authenticated to {host} ([{}]:{}).", address.ip(), address.port());
            }
            None => log::info!(target: "verbose", "Authenticated to {host} (via proxy)."),
        }
        self.set_traffic_class(session);
        let judgement = self.trusted.as_ref().map_or(Trust::Unsafe.into(), |(_, judgement)| *judgement);
        let learner = self.learner(judgement.introduces);
        self.login = Some(Login::new(Arc::clone(&self.plan), self.jobs.clone(), judgement.trust, learner));
    }

    /// IPQoS: until now somebody was waiting, whatever comes.
    fn set_traffic_class(&self, session: &Session) {
        let classes = self.plan.configuration.settings.ip_qos;
        if let (Some(class), false, Some(_)) = (classes.bulk.0, self.plan.terminal, self.address)
            && let Err(e) = tcp::set_type_of_service(session.net_fd(), class)
        {
            log::debug!("set IP_TOS: {e}");
        }
    }
}

impl Handler for Application {
    fn event(&mut self, session: &mut Session, env: &mut Env<'_>, event: Event) -> Result<()> {
        match event {
            Event::PeerVersion(line) => {
                log::debug!("Remote protocol version: {}", line.escape_ascii());
                self.stage = Stage::Login;
            }
            Event::HostKey(question) => return self.ask_about_host_key(question, session),
            Event::Keys { first, negotiated } => self.keys(first, &negotiated, session),
            Event::Debug { always_display, text } => {
                show_debug(always_display, &text);
                if let Some(login) = &mut self.login {
                    login.remarked(&text);
                }
            }
            Event::AuthReady => {
                if let Some(authenticator) = &mut self.authenticator {
                    return authenticator.ready(&mut session.conn);
                }
            }
            Event::AuthFailed { methods, partial } => {
                if let Some(authenticator) = &mut self.authenticator {
                    let progress = authenticator.failed(&mut session.conn, methods, partial)?;
                    self.note(progress);
                }
            }
            Event::KeyAcceptable { algorithm, key } => {
                if let Some(authenticator) = &mut self.authenticator {
                    let progress = authenticator.key_acceptable(&mut session.conn, &algorithm, &key)?;
                    self.note(progress);
                }
            }
            Event::Prompts(prompts) => {
                if let Some(authenticator) = &mut self.authenticator {
                    let progress = authenticator.prompts(prompts);
                    self.note(progress);
                }
            }
            Event::Banner(text) => {
                if shows_banner(&self.plan.configuration.settings) {
                    messages::show_banner(&text);
                }
            }
            Event::Authenticated => self.logged_in(session),
            other => {
                if let Some(login) = &mut self.login {
                    return login.event(session, env, other);
                }
                // Before the login the connection layer does not run, so there are no such events.
            }
        }
        Ok(())
    }

    fn pump(&mut self, session: &mut Session, _env: &mut Env<'_>, event: PumpEvent) -> Result<()> {
        match &mut self.login {
            Some(login) => login.pump(session, event),
            None => Ok(()),
        }
    }
}

fn shows_banner(settings: &Settings) -> bool {
    settings.log_level >= LogLevel::Info
}

/// A DEBUG message of the server. Ours says in one why it refuses something.
fn show_debug(always_display: bool, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    if always_display {
        log::info!("Remote: {text}");
    } else {
        log::debug!("Remote: {text}");
    }
}

/// OpenSSH's words: its tests and people's scripts look for them.
fn log_algorithms(negotiated: &Negotiated) {
    log::debug!("kex: algorithm: {}", negotiated.kex_name);
    log::debug!("kex: host key algorithm: {}", negotiated.host_key.name());
    for (direction, algorithms) in [("server->client", &negotiated.s2c), ("client->server", &negotiated.c2s)]
    {
        let mac = algorithms.mac.map_or("<implicit>", sockward_crypto::Mac::name);
        log::debug!("kex: {direction} cipher: {} MAC: {mac} compression: none", algorithms.cipher.name());
    }
    log::debug!("SSH2_MSG_NEWKEYS sent");
    log::debug!("SSH2_MSG_NEWKEYS received");
}
