//! `-f`: into the background after the login. The program has been a child of a waiting parent from the start, so
//! that it can go whatever threads it has by then.

use sockward_sys::daemon::{self, Attendant, Detachable};

use crate::plan::Plan;

/// The way to the background, where one was asked for.
#[derive(Debug)]
pub(crate) struct Background(Option<Detachable>);

/// Which of two processes this is.
pub(crate) enum Beside {
    /// The one that goes to the background.
    Child(Background),
    /// The one that stays.
    Parent(Attendant),
}

impl Background {
    /// Forks, and both go on. Call it as [`Background::prepare`].
    pub(crate) fn beside() -> std::io::Result<Beside> {
        Ok(match Detachable::beside()? {
            daemon::Beside::Child(detachable) => Beside::Child(Background(Some(detachable))),
            daemon::Beside::Parent(attendant) => Beside::Parent(attendant),
        })
    }

    /// Forks if the plan says so. Call it before any thread is started and before signals are blocked.
    pub(crate) fn prepare(plan: &Plan) -> std::io::Result<Self> {
        let wanted = plan.configuration.settings.fork_after_authentication;
        Ok(Background(if wanted { Some(Detachable::new()?) } else { None }))
    }

    /// Goes, once. Messages still come to the terminal if many of them are wanted.
    pub(crate) fn enter(&mut self, plan: &Plan) {
        let Some(detachable) = self.0.take() else { return };
        log::debug!("forking to background");
        if let Err(e) = detachable.detach(plan.logs_to_stderr && plan.verbosity > 0) {
            log::error!("cannot go to the background: {e}");
        }
    }
}
