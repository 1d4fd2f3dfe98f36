//! Listeners in the file system: the birth of a socket with its final owner, group and mode, past what is there
//! already. Nothing waits in here: the poller comes back when something is due. What is dropped half-way leaves
//! nothing behind.

use std::time::{Duration, Instant};

use sockward_policy::{By, Conflict, Unlink};
use sockward_privsep::helper::FromHelper;
use sockward_sys::account::Group;
use sockward_sys::path::Place;
use sockward_sys::unix::{BirthError, FirstLook, Newborn, Occupant, Replaceable, SecondLook, StaleProbe};

use super::held::Held;
use super::listen::{BACKLOG, Outcome, Sockets, Step};
use super::paths;
use crate::caller::Caller;
use crate::refused::{Refused, though_allowed};

/// How long the monitor may take to set a group.
const GROUP_WAIT: Duration = Duration::from_secs(10);

/// How long the client of another login may take to show that it is there.
const HOLDER_WAIT: Duration = Duration::from_secs(5);

/// A silent login gives its name up within the round; the next one finds it free.
const EVICTION: Duration = Duration::from_millis(1);

/// What a birth waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// A sign of life of the login that holds the name.
    Holder { place: Place, holder: u64, until: Instant },
    /// That login was silent and gives the name up.
    Evicted { place: Place, at: Instant },
    /// The second look at a socket that is there.
    SecondLook { place: Place, held: Held, probe: StaleProbe },
    /// The group, which the monitor sets.
    Group { unborn: Unborn, gid: u32, until: Instant },
}

/// A bound socket that nobody can reach yet, and what it becomes.
#[derive(Debug)]
pub(super) struct Unborn {
    socket: Newborn,
    mode: u32,
    over: Option<Replaceable>,
    held: Held,
}

/// Begins to make a socket at a path as the client names it; and the line that allows it.
pub(super) fn begin(id: u64, path: &[u8], caller: &mut Caller<'_>) -> Result<(By, Outcome), Refused> {
    let (place, by) = paths::permitted(caller.permit, path, &paths::LISTEN)?;
    though_allowed(begin_at(id, place, caller), &by).map(|outcome| (by, outcome))
}

fn begin_at(id: u64, place: Place, caller: &mut Caller<'_>) -> Result<Outcome, Refused> {
    match (caller.shared.held.hold(place.path(), caller.login), caller.permit.birth.conflict) {
        (Ok(held), _) => begin_held(id, place, held, caller),
        // The same login, by another spelling of the path.
        (Err(holder), _) if holder == caller.login => Err(taken()),
        (Err(holder), Conflict::Refuse) => {
            caller.shared.conflicts.wait(holder, caller.login, id);
            Ok(wait(Stage::Holder { place, holder, until: caller.shared.now + HOLDER_WAIT }))
        }
    }
}

fn begin_held(id: u64, place: Place, held: Held, caller: &mut Caller<'_>) -> Result<Outcome, Refused> {
    let over = match (Occupant::look(&place)?, caller.permit.birth.unlink) {
        (None, _) => None,
        (Some(_), Unlink::No) => return Err(BirthError::Exists.into()),
        (Some(occupant), Unlink::Yes) => Some(occupant.live_or_not()),
        (Some(occupant), Unlink::Stale) => match occupant.probe()? {
            FirstLook::Live => return Err(live()),
            FirstLook::Unsure(probe) => return Ok(wait(Stage::SecondLook { place, held, probe })),
        },
    };
    bear(id, place, held, over, caller)
}

impl Stage {
    /// When it is over at the latest.
    pub(super) fn due(&self) -> Instant {
        match self {
            Stage::Holder { until, .. } => *until,
            Stage::Evicted { at, .. } => *at,
            Stage::SecondLook { probe, .. } => probe.due(),
            Stage::Group { until, .. } => *until,
        }
    }

    /// Its time has come.
    pub(super) fn progress(self, id: u64, caller: &mut Caller<'_>) -> Result<Outcome, Refused> {
        match self {
            Stage::Holder { place, holder, .. } => {
                caller.shared.conflicts.forget_birth(caller.login, id);
                caller.shared.conflicts.evict(holder, place.path());
                Ok(wait(Stage::Evicted { place, at: caller.shared.now + EVICTION }))
            }
            Stage::Evicted { place, .. } => match caller.shared.held.hold(place.path(), caller.login) {
                Ok(held) => begin_held(id, place, held, caller),
                // Somebody was faster.
                Err(_) => Err(taken()),
            },
            Stage::SecondLook { place, held, probe } => match probe.again()? {
                SecondLook::NotYet(probe) => Ok(wait(Stage::SecondLook { place, held, probe })),
                SecondLook::Live => Err(live()),
                SecondLook::Stale(old) => bear(id, place, held, Some(old), caller),
            },
            Stage::Group { .. } => Err(no_group("the monitor did not answer")),
        }
    }

    /// The monitor has set the group, or says why not.
    pub(super) fn group_set(self, error: Option<String>) -> Result<Outcome, Refused> {
        match (self, error) {
            (Stage::Group { .. }, Some(error)) => Err(no_group(&error)),
            (Stage::Group { unborn, gid, .. }, None) => match unborn.socket.group()? == gid {
                true => publish(unborn),
                false => Err(no_group("the group is another one")),
            },
            (stage @ (Stage::SecondLook { .. } | Stage::Holder { .. } | Stage::Evicted { .. }), _) => {
                Ok(wait(stage))
            }
        }
    }

    /// The login that holds the name is alive.
    pub(super) fn holder_is_there(self) -> Result<Outcome, Refused> {
        match self {
            Stage::Holder { .. } => Err(taken()),
            stage @ (Stage::SecondLook { .. } | Stage::Evicted { .. } | Stage::Group { .. }) => {
                Ok(wait(stage))
            }
        }
    }

    /// Whether it holds a name.
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        match self {
            Stage::SecondLook { held, .. } | Stage::Group { unborn: Unborn { held, .. }, .. } => {
                held.path() == path
            }
            Stage::Holder { .. } | Stage::Evicted { .. } => false,
        }
    }
}

/// Binds, and gives the socket its group. Without the group that is due it never gets to its name.
fn bear(
    id: u64,
    place: Place,
    held: Held,
    over: Option<Replaceable>,
    caller: &mut Caller<'_>,
) -> Result<Outcome, Refused> {
    let socket = Newborn::bind(place)?;
    if caller.shared.is_short(socket.file()) {
        return Err(Refused::shortage("too many open files"));
    }
    let unborn = Unborn { socket, mode: caller.permit.birth.mode.into(), over, held };
    let Some(group) = &caller.permit.birth.group else { return publish(unborn) };
    let gid = match group.by_administrator {
        true => group.gid,
        // With the user's own rights, and the user's own name service. Only this user's logins wait for it.
        false => Group::by_name(&group.name)?.map(|found| found.gid),
    };
    let Some(gid) = gid else {
        return Err(no_group(&format!("there is no group {}", group.name.escape_debug())));
    };
    if unborn.socket.set_group(gid).is_ok() {
        return publish(unborn);
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
    Ok(wait(Stage::Group { unborn, gid, until: caller.shared.now + GROUP_WAIT }))
}

fn publish(unborn: Unborn) -> Result<Outcome, Refused> {
    let Unborn { socket, mode, over, held } = unborn;
    let listener = socket.publish(mode, BACKLOG, over)?;
    Ok(Outcome::Listening(Sockets::Unix { listener, held }))
}

fn wait(stage: Stage) -> Outcome {
    Outcome::Wait(Step::Socket(stage))
}

/// Another login of this user has the name.
pub(super) fn taken() -> Refused {
    Refused::failed("another session of this user listens there (StreamLocalConflict)")
}

fn live() -> Refused {
    Refused::failed("somebody listens there already")
}

fn no_group(why: &str) -> Refused {
    let text = "the group of the socket cannot be set (StreamLocalBindGroup)";
    Refused { log: format!("{text}: {why}"), ..Refused::failed(text) }
}
