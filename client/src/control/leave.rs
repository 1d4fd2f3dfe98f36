//! ControlMaster `ask` and `autoask`: what other clients want waits for the user's leave, given through the askpass
//! program. One question at a time; a client waits for one answer at a time, and no answer means no.

use std::collections::VecDeque;

use sockward_config::forward::{Form, Target};
use sockward_config::ssh::ControlMaster;

use super::master::Asked;
use crate::forwards::local;
use crate::jobs::{Job, Jobs};
use crate::plan::Plan;
use crate::prompt;

/// What waits for leave.
#[derive(Default)]
pub(crate) struct Leave {
    waiting: VecDeque<(usize, Asked, String)>,
    asking: Option<Asking>,
}

/// The question that is put.
struct Asking {
    answer: Job<bool>,
    /// None if whoever wanted it is gone.
    whose: Option<(usize, Asked)>,
}

/// The question to put before something is done; none if it needs no leave.
pub(crate) fn question(plan: &Plan, asked: &Asked) -> Option<String> {
    match plan.configuration.settings.control_master {
        ControlMaster::Ask | ControlMaster::AutoAsk => {}
        ControlMaster::No | ControlMaster::Yes | ControlMaster::Auto => return None,
    }
    let host = plan.host();
    Some(match asked {
        Asked::Session(..) => format!("Allow shared connection to {host}? "),
        Asked::Exit => format!("Terminate shared connection to {host}? "),
        Asked::Stop => format!("Disable further multiplexing on shared connection to {host}? "),
        Asked::Forward(form, forward) => {
            let kind = match form {
                Form::Local => "local",
                Form::Remote => "remote",
                Form::Dynamic => "dynamic",
            };
            format!("Open {kind} forward {} on {host}? ", local::describe(forward, false))
        }
        Asked::Stdio(Target::Unix(path), ..) => format!("Allow forward to path {path}? "),
        Asked::Stdio(target, ..) => format!("Allow forward to {}? ", local::target(target)),
        Asked::Check | Asked::Cancel(..) | Asked::Window(_) | Asked::Gone => return None,
    })
}

impl Leave {
    /// Whether a client waits for an answer already.
    pub(crate) fn has(&self, n: usize) -> bool {
        let asking = self.asking.iter().filter_map(|asking| asking.whose.as_ref()).any(|(m, _)| *m == n);
        asking || self.waiting.iter().any(|(m, ..)| *m == n)
    }

    /// Has something wait.
    pub(crate) fn wait(&mut self, n: usize, asked: Asked, question: String) {
        self.waiting.push_back((n, asked, question));
    }

    /// A client is gone: what it wanted is not done, whatever the answer.
    pub(crate) fn gone(&mut self, n: usize) {
        self.waiting.retain(|(m, ..)| *m != n);
        if let Some(asking) = &mut self.asking {
            asking.whose.take_if(|(m, _)| *m == n);
        }
    }

    /// The next that was answered, and whether it may be. Puts the question that is next.
    pub(crate) fn answered(&mut self, jobs: &Jobs) -> Option<(usize, Asked, bool)> {
        loop {
            if let Some(asking) = self.asking.take() {
                let Some(allowed) = asking.answer.poll() else {
                    self.asking = Some(asking);
                    return None;
                };
                if let Some((n, asked)) = asking.whose {
                    return Some((n, asked, allowed));
                }
            }
            let (n, asked, question) = self.waiting.pop_front()?;
            match jobs.start(move || prompt::permitted(&question)) {
                Ok(answer) => self.asking = Some(Asking { answer, whose: Some((n, asked)) }),
                Err(e) => {
                    log::error!("cannot start a thread: {e}");
                    return Some((n, asked, false));
                }
            }
        }
    }
}
