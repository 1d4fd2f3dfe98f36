//! What other clients of the user ask of a master: its sessions and forwardings over this connection, its end.

use std::time::{Duration, Instant};

use sockward_config::forward::{Form, Forward};
use sockward_config::ssh::ControlPersist;
use sockward_drive::{Env, Session};
use sockward_proto::Result;

use super::{Login, OURS};
use crate::FAILURE;
use crate::control::leave;
use crate::control::master::{Asked, Master};
use crate::control::messages::Tell;
use crate::forwards::far;
use crate::forwards::local::{self, Listeners};
use crate::trust::Trust;

impl Login {
    /// Makes the control socket; without one things go on.
    pub(super) fn open_control(&self, control: &mut Master, env: &Env<'_>) {
        if let Err(why) = control.listen(&self.plan, env.registry) {
            log::error!("{why}");
        }
    }

    /// What needs no leave of the user's; the rest waits for it.
    pub(super) fn with_leave(&mut self, n: usize, asked: Asked, control: &mut Master) -> Option<Asked> {
        if matches!(asked, Asked::Gone) {
            self.leave.gone(n);
        }
        let Some(question) = leave::question(&self.plan, &asked) else { return Some(asked) };
        if self.leave.has(n) {
            control.tell(n, &Tell::Failed("another question waits for its answer".to_owned()));
        } else {
            self.leave.wait(n, asked, question);
        }
        None
    }

    /// Does what another client wants, and tells it.
    pub(super) fn serve(
        &mut self,
        n: usize,
        asked: Asked,
        session: &mut Session,
        env: &mut Env<'_>,
        listeners: &mut Listeners,
        control: &mut Master,
    ) -> Result<()> {
        if let Some(answer) = self.asked(n, asked, session, env, listeners)? {
            control.tell(n, &answer);
        }
        if self.stopped {
            control.stop();
        }
        Ok(())
    }

    /// Another client wants something. Its answer, if it gets one at once.
    fn asked(
        &mut self,
        n: usize,
        asked: Asked,
        session: &mut Session,
        env: &mut Env<'_>,
        listeners: &mut Listeners,
    ) -> Result<Option<Tell>> {
        let conn = &mut session.conn;
        Ok(match asked {
            Asked::Check => Some(Tell::Alive(std::process::id())),
            Asked::Exit => {
                log::debug!("asked to exit by another client");
                self.exit = Some(if self.plan.has_session() { FAILURE } else { 0 });
                self.stopped = true;
                Some(Tell::Done)
            }
            Asked::Stop => {
                self.stopped = true;
                Some(Tell::Done)
            }
            Asked::Forward(form, forward) => self.forward(n, form, &forward, session, env, listeners)?,
            Asked::Cancel(form, forward) => {
                let there = match form {
                    Form::Remote => self.forwards.remote().cancel(&forward, conn)?,
                    Form::Local | Form::Dynamic => listeners.stop(&forward),
                };
                Some(if there { Tell::Done } else { Tell::Failed("no such forwarding".to_owned()) })
            }
            Asked::Session(request, streams) => {
                self.users.session(n, request, streams, conn)?;
                None
            }
            Asked::Stdio(target, input, output) => {
                let owner = self.plan.target_owner();
                self.users.stdio(n, &target, owner, (input, output), conn)?;
                None
            }
            Asked::Window(size) => {
                self.users.window(n, size, conn)?;
                None
            }
            Asked::Gone => {
                self.asked.retain(|_, client| *client != n);
                self.users.gone(n, conn)?;
                None
            }
        })
    }

    /// Another client wants a forwarding, which may be there already.
    fn forward(
        &mut self,
        n: usize,
        form: Form,
        forward: &Forward,
        session: &mut Session,
        env: &Env<'_>,
        listeners: &mut Listeners,
    ) -> Result<Option<Tell>> {
        let failed = |why: &str| Ok(Some(Tell::Failed(why.to_owned())));
        if self.trust != Trust::Full {
            return failed("forwarding disabled due to host key check failure");
        }
        let ours = session.conn.peer_version().starts_with(OURS);
        if let Some(remedy) = local::remedy(forward, form, ours) {
            return failed(&remedy);
        }
        if form != Form::Remote && self.plan.target_owner().is_some() && forward.far_path(form).is_none() {
            return failed(far::NO_PORTS);
        }
        if form != Form::Remote {
            let there = listeners.has(forward) || listeners.bind(forward, &self.plan, env.registry);
            return if there { Ok(Some(Tell::Done)) } else { failed("Port forwarding failed") };
        }
        match self.forwards.remote().has(forward) {
            Some(Some(port)) => Ok(Some(Tell::Port(port.into()))),
            Some(None) => Ok(Some(Tell::Done)),
            None => {
                let id = self.forwards.remote().ask(forward, &mut session.conn)?;
                self.asked.insert(id, n);
                Ok(None)
            }
        }
    }

    /// ControlPersist: until when to stay without a session.
    pub(super) fn persists_until(&self) -> Option<Instant> {
        match self.plan.configuration.settings.control_persist {
            ControlPersist::For(seconds) => Some(self.idle_since? + Duration::from_secs(seconds.into())),
            ControlPersist::No | ControlPersist::Yes => None,
        }
    }
}
