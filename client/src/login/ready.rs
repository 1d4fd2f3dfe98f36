//! When everything is set up, and what was found then: ForwardProbe's findings, and what is told to a program that
//! wants to know (`notice.rs`).

use std::sync::Arc;

use sockward_config::forward::Listen;
use sockward_config::ssh::PermitPeer;
use sockward_drive::Session;
use sockward_proto::Result;

use super::{Login, OURS, State};
use crate::forwards::probe::Finding;
use crate::notice::{Notice, Ready};
use crate::plan::Plan;

/// Why there is no TargetOwner without a server that tells.
pub(super) const NO_OWNERS: &str = "TargetOwner: it cannot be known who listens on the far socket: the server is not \
                                    sockward's; run sockward sshd there, or sockward gate (-o Via=gate)";

/// How far a program has been told.
#[derive(Default)]
pub(super) struct Announced {
    found: Ready,
    step: Step,
}

#[derive(Default, PartialEq, Eq)]
enum Step {
    /// Forwardings are being set up.
    #[default]
    SettingUp,
    /// The server is asked about its listener.
    Asking,
    /// All is said.
    Said,
}

/// Who may connect to a listener on this machine, for people.
fn who_may_connect_here(listen: &Listen, plan: &Plan) -> String {
    let settings = &plan.configuration.settings;
    match (listen, &settings.permit_peer) {
        (Listen::Unix(_), _) => {
            format!("whom mode {:04o} lets", 0o777 & !settings.stream_local_bind_mask.0)
        }
        (Listen::Tcp { .. }, PermitPeer::OwnUser) => "you and root".to_owned(),
        (Listen::Tcp { .. }, PermitPeer::Any) => "every user of this machine".to_owned(),
        (Listen::Tcp { .. }, PermitPeer::List(list)) => list.texts().collect::<Vec<_>>().join(", "),
    }
}

impl Login {
    /// Whether the other end knows what only ours does.
    pub(super) fn is_ours(&self, session: &Session) -> bool {
        self.plan.is_via_gate() || session.conn.peer_version().starts_with(OURS)
    }

    /// Takes what probes have found, and tells whoever wants to know when all is set up.
    pub(super) fn probed(&mut self, session: &mut Session) -> Result<()> {
        for finding in self.forwards.probes().found() {
            match finding {
                Finding::Target(place) => {
                    self.ready.found.reachable.get_or_insert(true);
                    if !place.is_empty() {
                        self.ready.found.place.get_or_insert(place);
                    }
                }
                Finding::Unknown(text) => log::warn!("{text}"),
                Finding::Refused(text) if self.plan.configuration.settings.exit_on_forward_failure => {
                    self.fatal(&text);
                }
                Finding::Refused(text) => {
                    self.ready.found.reachable = Some(false);
                    log::error!("{text}");
                }
                Finding::Listener(answer) => {
                    self.ready.found.place = Some(answer.place).filter(|place| !place.is_empty());
                    self.ready.found.who = Some(answer.who);
                }
                Finding::NoListener => {}
            }
        }
        let set_up = matches!(self.state, State::Running) && !self.forwards.is_asking();
        if !set_up || self.exit.is_some() || !self.plan.notices.are_wanted() {
            return Ok(());
        }
        match self.ready.step {
            Step::SettingUp => {
                self.ready.step = Step::Asking;
                let plan = Arc::clone(&self.plan);
                if let Some(forward) = plan.configuration.settings.remote_forwards.0.first() {
                    let port = self.forwards.remote().has(forward).flatten();
                    self.ready.found = Ready { port, ..Ready::default() };
                    if self.is_ours(session) {
                        self.forwards.probes().ask_listener(&forward.listen, port, &mut session.conn)?;
                        return Ok(());
                    }
                } else if let Some(forward) = plan.configuration.settings.local_forwards.0.first() {
                    self.ready.found.who = Some(who_may_connect_here(&forward.listen, &plan));
                }
                self.probed(session)
            }
            Step::Asking => {
                self.ready.step = Step::Said;
                self.plan.notices.tell(&Notice::Ready(self.ready.found.clone()));
                Ok(())
            }
            Step::Said => Ok(()),
        }
    }
}
