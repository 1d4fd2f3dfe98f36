//! `ForwardProbe`: can the targets of forwardings be reached, before anybody uses them? With `permission` nothing is
//! connected: our server, or a gate, answers from its policy and the rights of files; other servers cannot say. With
//! `connect` each target is connected to once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sockward_config::forward::{ForwardPath, Listen, Target};
use sockward_config::ssh::ForwardProbe;
use sockward_drive::Env;
use sockward_proto::event::{GlobalRequest, OpenRequest};
use sockward_proto::{ChannelId, Connection, GlobalId, Result};
use sockward_sys::unix;
use sockward_wire::probe::{Answer, Asked, At, Status};

use super::targets::Whose;
use super::{Forwards, far, local};
use crate::connect::reason;

/// Probes under way, and what they found.
#[derive(Default)]
pub(crate) struct Probes {
    asked: HashMap<GlobalId, About>,
    opening: HashMap<ChannelId, String>,
    /// Connected once and being closed.
    closing: HashSet<ChannelId>,
    /// Targets on this machine that are being connected to.
    here: usize,
    found: Vec<Finding>,
}

enum About {
    /// A target of the server's.
    Target(String),
    /// A listener of the server's.
    Listener,
}

/// What a probe found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A target can be reached as far as was asked; where a socket really is.
    Target(Vec<u8>),
    /// A target that cannot be reached, and why.
    Refused(String),
    /// A target of which nothing can be known.
    Unknown(String),
    /// What the server says of a listener.
    Listener(Answer),
    /// The server says nothing of it.
    NoListener,
}

impl Probes {
    /// Asks the server whether it may connect to a target.
    pub(crate) fn ask_target(&mut self, target: &Target, conn: &mut Connection) -> Result<()> {
        let at = match target {
            Target::Tcp { host, port } => At::Tcp { host: host.clone().into_bytes(), port: (*port).into() },
            Target::Unix(path) => At::Path(path.written().as_bytes().to_vec()),
            // Whoever connects says where to.
            Target::Socks => return Ok(()),
        };
        let id = conn.global_request(&GlobalRequest::ForwardProbe(Asked { listen: false, at }))?;
        self.asked.insert(id, About::Target(local::target(target)));
        Ok(())
    }

    /// Asks the server about a listener that it has made: where it is, and who may connect.
    pub(crate) fn ask_listener(
        &mut self,
        listen: &Listen,
        allocated: Option<u16>,
        conn: &mut Connection,
    ) -> Result<()> {
        let at = match listen {
            Listen::Tcp { port, .. } => At::Tcp {
                host: listen.remote_address().unwrap_or_default().as_bytes().to_vec(),
                port: allocated.unwrap_or(*port).into(),
            },
            Listen::Unix(path) => At::Path(path.written().as_bytes().to_vec()),
        };
        let id = conn.global_request(&GlobalRequest::ForwardProbe(Asked { listen: true, at }))?;
        self.asked.insert(id, About::Listener);
        Ok(())
    }

    /// Nobody can answer for a target.
    pub(crate) fn cannot_ask(&mut self, target: &Target) {
        let text = format!(
            "ForwardProbe: this server cannot say whether it may connect to {}; ForwardProbe=connect would try",
            local::target(target)
        );
        self.found.push(Finding::Unknown(text));
    }

    /// Has the server connect once.
    pub(crate) fn connect(
        &mut self,
        target: &Target,
        request: &OpenRequest,
        conn: &mut Connection,
    ) -> Result<()> {
        let channel = conn.open_channel(request)?;
        self.opening.insert(channel, local::target(target));
        Ok(())
    }

    /// A target on this machine is being connected to.
    pub(crate) fn connecting_here(&mut self) {
        self.here += 1;
    }

    /// It was, or was not; then why.
    pub(crate) fn connected_here(&mut self, result: std::result::Result<(), String>) {
        self.here -= 1;
        self.near(result);
    }

    /// What was found of a target on this machine.
    pub(crate) fn near(&mut self, result: std::result::Result<(), String>) {
        self.found.push(match result {
            Ok(()) => Finding::Target(Vec::new()),
            Err(why) => Finding::Refused(format!("ForwardProbe: {why}")),
        });
    }

    /// The server has connected: that was all. False: the channel is none of ours.
    pub(crate) fn opened(&mut self, channel: ChannelId, conn: &mut Connection) -> Result<bool> {
        if self.opening.remove(&channel).is_none() {
            return Ok(false);
        }
        self.found.push(Finding::Target(Vec::new()));
        self.closing.insert(channel);
        conn.close_channel(channel).map(|()| true)
    }

    /// The server has not connected.
    pub(crate) fn open_failed(&mut self, channel: ChannelId, why: &str) {
        if let Some(target) = self.opening.remove(&channel) {
            let text = format!("ForwardProbe: the server cannot connect to {target}: {why}");
            self.found.push(Finding::Refused(text));
        }
    }

    /// A channel is gone.
    pub(crate) fn closed(&mut self, channel: ChannelId) {
        self.closing.remove(&channel);
    }

    /// The server has answered.
    pub(crate) fn answered(&mut self, id: GlobalId, reply: Option<&[u8]>) {
        let Some(about) = self.asked.remove(&id) else { return };
        // What is no answer says as little as none.
        let answer = reply.and_then(|fields| Answer::decode(fields).ok());
        self.found.push(match (about, answer) {
            (About::Listener, Some(answer)) if answer.status == Status::Allowed => Finding::Listener(answer),
            (About::Listener, _) => Finding::NoListener,
            (About::Target(_), Some(Answer { status: Status::Allowed, place, .. })) => Finding::Target(place),
            (About::Target(target), Some(Answer { text, .. })) => {
                Finding::Refused(format!("ForwardProbe: the server cannot connect to {target}: {text}"))
            }
            (About::Target(target), None) => Finding::Unknown(format!(
                "ForwardProbe: the server does not say whether it may connect to {target}"
            )),
        });
    }

    /// Whether anything is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty() || !self.opening.is_empty() || self.here > 0
    }

    /// What was found since the last call.
    pub(crate) fn found(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.found)
    }
}

impl Forwards {
    /// Sees whether the targets of all forwardings that were set up can be reached.
    pub(crate) fn probe(&mut self, ours: bool, conn: &mut Connection, env: &Env<'_>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let settings = &plan.configuration.settings;
        let kind = settings.forward_probe;
        if kind == ForwardProbe::No {
            return Ok(());
        }
        for target in settings.local_forwards.0.iter().map(|forward| &forward.target) {
            match (kind, far::request(target, None, plan.target_owner())) {
                (ForwardProbe::Connect, Some(request)) => self.probes.connect(target, &request, conn)?,
                (_, None) => {}
                (_, Some(_)) if ours => self.probes.ask_target(target, conn)?,
                (_, Some(_)) => self.probes.cannot_ask(target),
            }
        }
        for target in settings.remote_forwards.0.iter().map(|forward| &forward.target) {
            match (kind, target) {
                (_, Target::Socks) => {}
                (ForwardProbe::Connect, _) => {
                    self.probes.connecting_here();
                    let home = plan.home().as_encoded_bytes();
                    self.targets.connect(Whose::Probe, target, home, &self.jobs, env.registry, env.now);
                }
                (_, Target::Unix(path)) => {
                    self.probes.near(may_connect(path, plan.home().as_encoded_bytes()))
                }
                // Whether a port can be connected to shows only when it is.
                (_, Target::Tcp { .. }) => {}
            }
        }
        Ok(())
    }

    /// Probes under way.
    pub(crate) fn probes(&mut self) -> &mut Probes {
        &mut self.probes
    }
}

/// Whether this user may connect to a socket of this machine.
fn may_connect(path: &ForwardPath, home: &[u8]) -> std::result::Result<(), String> {
    let near = path.near(home).map_err(|e| format!("{path}: {e}"))?;
    unix::may_connect_path(near.as_bytes()).map_err(|e| format!("cannot connect to {path}: {}", reason(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::SystemRandom;
    use sockward_proto::{Config, Side};
    use std::time::Instant;

    fn answer(status: Status, text: &str) -> Vec<u8> {
        Answer { status, text: text.into(), place: b"/run/x".to_vec(), who: String::new() }.encode()
    }

    #[test]
    fn answers_are_what_they_say_and_anything_else_is_no_answer() {
        let mut conn =
            Connection::new(Config::null(Side::Client), Box::new(SystemRandom::new()), Instant::now())
                .unwrap();
        let target = Target::Tcp { host: "h".into(), port: 80 };
        let refused =
            |why| Finding::Refused(format!("ForwardProbe: the server cannot connect to h:80: {why}"));
        let unknown = || {
            Finding::Unknown("ForwardProbe: the server does not say whether it may connect to h:80".into())
        };
        for (reply, finding) in [
            (Some(answer(Status::Allowed, "")), Finding::Target(b"/run/x".to_vec())),
            (Some(answer(Status::Prohibited, "not on the list")), refused("not on the list")),
            (Some(answer(Status::Fails, "Permission denied")), refused("Permission denied")),
            (None, unknown()),
            (Some(Vec::new()), unknown()),
            (Some(vec![9; 40]), unknown()),
        ] {
            let mut probes = Probes::default();
            probes.ask_target(&target, &mut conn).unwrap();
            assert!(probes.is_waiting() && probes.found().is_empty());
            let id = *probes.asked.keys().next().unwrap();
            probes.answered(id, reply.as_deref());
            assert!(!probes.is_waiting());
            assert_eq!(probes.found(), [finding]);
        }
        let mut probes = Probes::default();
        probes.ask_listener(&Listen::Tcp { bind: None, port: 80 }, None, &mut conn).unwrap();
        let id = *probes.asked.keys().next().unwrap();
        probes.answered(id, Some(&answer(Status::Fails, "no")));
        assert_eq!(probes.found(), [Finding::NoListener]);
    }
}
