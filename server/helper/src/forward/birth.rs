//! Listeners that are being made, up to the moment they listen: names to addresses, and the birth of a socket in the
//! file system with its final owner, group and mode. Nothing waits in here: the poller comes back when something is
//! due. What is dropped half-way leaves nothing behind.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sockward_policy::{By, Conflict, Unlink};
use sockward_privsep::helper::FromHelper;
use sockward_privsep::login::Endpoint;
use sockward_sys::account::Group;
use sockward_sys::path::Place;
use sockward_sys::unix::{BirthError, FirstLook, Newborn, Occupant, Replaceable, SecondLook, StaleProbe};

use super::listen::{BACKLOG, Outcome, Sockets, Wanted};
use super::paths;
use crate::caller::Caller;
use crate::poller::Subject;
use crate::refused::Refused;

/// How long the monitor may take to set a group.
const GROUP_WAIT: Duration = Duration::from_secs(10);

/// One login's births, by the worker's number.
#[derive(Debug, Default)]
pub(super) struct Births(HashMap<u64, Birth>);

/// A listener that is being made.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) wanted: Wanted,
    step: Step,
}

/// What it waits for.
#[derive(Debug)]
enum Step {
    /// The addresses to bind.
    Addresses { port: u16 },
    /// The second look at a socket that is there.
    SecondLook { place: Place, probe: StaleProbe },
    /// The group, which the monitor sets.
    Group { unborn: Unborn, gid: u32, until: Instant },
}

/// A bound socket that nobody can reach yet, and what it becomes.
#[derive(Debug)]
struct Unborn {
    socket: Newborn,
    mode: u32,
    over: Option<Replaceable>,
}

impl Births {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps a birth until what it waits for comes.
    pub(super) fn add(&mut self, id: u64, birth: Birth, caller: &mut Caller<'_>) {
        let due = match &birth.step {
            // The look-up has its own time.
            Step::Addresses { .. } => None,
            Step::SecondLook { probe, .. } => Some(probe.due()),
            Step::Group { until, .. } => Some(*until),
        };
        if let Some(due) = due {
            caller.shared.timers.set(Subject::Birth(caller.login, id), due);
        }
        self.0.insert(id, birth);
    }

    pub(super) fn take(&mut self, id: u64) -> Option<Birth> {
        self.0.remove(&id)
    }

    /// The one with this number, if addresses are what it waits for; and the port.
    pub(super) fn take_waiting_for_addresses(&mut self, id: u64) -> Option<(Wanted, u16)> {
        let Some(Birth { step: Step::Addresses { port }, .. }) = self.0.get(&id) else { return None };
        let port = *port;
        self.0.remove(&id).map(|birth| (birth.wanted, port))
    }
}

impl Birth {
    pub(super) fn of_addresses(wanted: Wanted, port: u16) -> Birth {
        Birth { wanted, step: Step::Addresses { port } }
    }

    /// Begins to make a socket at a path.
    pub(super) fn begin(
        id: u64,
        at: Endpoint,
        path: &[u8],
        shown: String,
        caller: &mut Caller<'_>,
    ) -> Result<Outcome, Refused> {
        let (place, by) = paths::permitted(caller.permit, path, &paths::LISTEN)?;
        let held = match (caller.shared.held.hold(place.path()), caller.permit.birth.conflict) {
            (Some(held), _) => held,
            // A login whose link has ended holds nothing any more. One that is half-dead, its worker still there,
            // does: asking its client first, and replacing it if no answer comes, needs a question to the worker
            // that does not exist yet. Until then it keeps the name, whatever `StreamLocalBindUnlink` says.
            (None, Conflict::Refuse) => {
                return Err(Refused::failed(
                    "another session of this user listens there (StreamLocalConflict)",
                ));
            }
        };
        let wanted = Wanted { at, shown, by, held: Some(held) };
        let over = match (Occupant::look(&place)?, caller.permit.birth.unlink) {
            (None, _) => None,
            (Some(_), Unlink::No) => return Err(BirthError::Exists.into()),
            (Some(occupant), Unlink::Yes) => Some(occupant.live_or_not()),
            (Some(occupant), Unlink::Stale) => match occupant.probe()? {
                FirstLook::Live => return Err(live()),
                FirstLook::Unsure(probe) => {
                    return Ok(Outcome::Wait(Birth { wanted, step: Step::SecondLook { place, probe } }));
                }
            },
        };
        bear(id, wanted, place, over, caller)
    }

    /// Its time has come.
    pub(super) fn due(self, id: u64, caller: &mut Caller<'_>) -> Result<Outcome, Refused> {
        let Birth { wanted, step } = self;
        match step {
            Step::Addresses { port } => Ok(Outcome::Wait(Birth::of_addresses(wanted, port))),
            Step::SecondLook { place, probe } => match probe.again()? {
                SecondLook::NotYet(probe) => {
                    Ok(Outcome::Wait(Birth { wanted, step: Step::SecondLook { place, probe } }))
                }
                SecondLook::Live => Err(live()),
                SecondLook::Stale(old) => bear(id, wanted, place, Some(old), caller),
            },
            Step::Group { .. } => Err(no_group("the monitor did not answer")),
        }
    }

    /// The monitor has set the group, or says why not.
    pub(super) fn group_set(self, error: Option<String>) -> Result<Outcome, Refused> {
        let Birth { wanted, step } = self;
        match (step, error) {
            (Step::Group { .. }, Some(error)) => Err(no_group(&error)),
            (Step::Group { unborn, gid, .. }, None) => match unborn.socket.group()? == gid {
                true => publish(wanted, unborn),
                false => Err(no_group("the group is another one")),
            },
            (step @ (Step::Addresses { .. } | Step::SecondLook { .. }), _) => {
                Ok(Outcome::Wait(Birth { wanted, step }))
            }
        }
    }
}

/// Binds, and gives the socket its group. Without the group that is due it never gets to its name.
fn bear(
    id: u64,
    wanted: Wanted,
    place: Place,
    over: Option<Replaceable>,
    caller: &mut Caller<'_>,
) -> Result<Outcome, Refused> {
    let socket = Newborn::bind(place)?;
    if caller.shared.is_short(socket.file()) {
        return Err(Refused::shortage("too many open files"));
    }
    let unborn = Unborn { socket, mode: caller.permit.birth.mode.into(), over };
    let Some(group) = &caller.permit.birth.group else { return publish(wanted, unborn) };
    let gid = match Group::by_name(&group.name) {
        Ok(Some(found)) => found.gid,
        Ok(None) => return Err(no_group(&format!("there is no group {}", group.name.escape_debug()))),
        Err(e) => return Err(no_group(&e.to_string())),
    };
    if unborn.socket.set_group(gid).is_ok() {
        return publish(wanted, unborn);
    }
    if !group.by_administrator {
        // Not the user's to give: what a key asks for holds with the user's own rights alone.
        let what = "the login is not in the group of its sockets (StreamLocalBindGroup)";
        return Err(Refused::by(By::Rule(group.source.clone()), what));
    }
    let file = unborn.socket.file().try_clone_to_owned()?;
    let question = caller.shared.next_group;
    caller.shared.next_group += 1;
    caller.shared.groups.insert(question, (caller.login, id));
    caller.shared.monitor.tell(&FromHelper::SetGroup { login: caller.login, id: question }, Some(file))?;
    let until = caller.shared.now + GROUP_WAIT;
    Ok(Outcome::Wait(Birth { wanted, step: Step::Group { unborn, gid, until } }))
}

fn publish(wanted: Wanted, unborn: Unborn) -> Result<Outcome, Refused> {
    let Unborn { socket, mode, over } = unborn;
    let listener = socket.publish(mode, BACKLOG, over)?;
    Ok(Outcome::Listening(wanted, Sockets::Unix(listener)))
}

fn live() -> Refused {
    Refused::failed("somebody listens there already")
}

fn no_group(why: &str) -> Refused {
    let text = "the group of the socket cannot be set (StreamLocalBindGroup)";
    Refused { log: format!("{text}: {why}"), ..Refused::failed(text) }
}
