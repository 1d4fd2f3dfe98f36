//! The reader's life: its link, the order of the questions, an end in time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use sockward_privsep::reader::{Become, FromReader, ToReader};
use sockward_privsep::role::{self, Arguments};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;
use sockward_sys::log::LogLevel;
use sockward_sys::{fd, limits, signal, spawn};

use crate::guard::Guard;
use crate::keys::KeyFiles;
use crate::notes::Notes;
use crate::{command, lookup};

/// What a question may take, and the time to the next one, in seconds. A reader that hangs in a file system or a
/// name service must not be left over; `LoginGraceTime`, the bound people choose, is kept by the monitor.
const STEP: u32 = 600;

/// How far the conversation has come. Questions come in this order, and none twice but the last.
#[derive(Debug)]
enum Stage {
    /// With the monitor's rights.
    Fresh,
    LookedUp,
    /// With the user's rights.
    Reading(KeyFiles),
    /// With the workers' rights.
    Guarding(Guard),
    /// With the rights of a command's user; nothing more is asked.
    Done,
}

/// Runs a reader. The status to end with: 0 when the monitor has closed the link.
#[must_use]
pub fn run(arguments: &Arguments) -> u8 {
    match serve(arguments) {
        Ok(()) => 0,
        // The monitor sees the link's end and says so; there is nobody else to tell.
        Err(_) => 1,
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    let link = Link::from_fd(fd::inherited(role::LINK)?)?;
    link.set_nonblocking(false)?;
    spawn::set_process_name("sockward-reader");
    signal::ignore_sigpipe();
    limits::no_core_files()?;
    let level = LogLevel::from_name(&arguments.log_level).unwrap_or(LogLevel::Info);
    let mut channel: Channel<FromReader, ToReader> = Channel::new(link);
    let mut buffer = Channel::<FromReader, ToReader>::buffer();
    let mut stage = Stage::Fresh;
    loop {
        limits::end_after(STEP);
        let question = match channel.hear(&mut buffer)? {
            Outcome::Message(question, None) => question,
            Outcome::Message(_, Some(_)) => return Err(io::Error::other("a descriptor nobody wants")),
            Outcome::Empty => continue,
            Outcome::End => return Ok(()),
        };
        let mut notes = Notes::new(level);
        let answer = answer(question, &mut stage, channel.as_fd(), &mut notes)?;
        for message in notes.into_messages().chain([answer]) {
            channel.say(&message, None)?;
        }
    }
}

fn answer(
    question: ToReader,
    stage: &mut Stage,
    link: BorrowedFd<'_>,
    notes: &mut Notes,
) -> io::Result<FromReader> {
    let now = sockward_sys::time::unix_seconds();
    let key = |found: Option<_>| FromReader::Key { found: found.map(Box::new) };
    match (question, &stage) {
        (ToReader::LookUp { user, host_of }, Stage::Fresh) => {
            *stage = Stage::LookedUp;
            Ok(lookup::look_up(&user, host_of, notes))
        }
        (ToReader::Become(whom), Stage::LookedUp) => {
            *stage = Stage::Reading(become_user(*whom)?);
            Ok(FromReader::Became)
        }
        (ToReader::FindKey(presented), Stage::Reading(files)) => Ok(key(files.find(&presented, now, notes))),
        (ToReader::FindPrincipal { principals }, Stage::Reading(files)) => {
            Ok(key(files.principal(&principals, now, notes)))
        }
        (ToReader::Guard(lists), Stage::Fresh) => {
            *stage = Stage::Guarding(Guard::open(*lists)?);
            Ok(FromReader::Became)
        }
        (ToReader::Judge(presented), Stage::Guarding(guard)) => {
            Ok(FromReader::Judged(guard.judge(&presented, notes)))
        }
        (ToReader::Run(command), Stage::Fresh) => {
            *stage = Stage::Done;
            command::run(&command, now, link, notes).map(key)
        }
        (
            ToReader::LookUp { .. }
            | ToReader::Become(_)
            | ToReader::FindKey(_)
            | ToReader::FindPrincipal { .. }
            | ToReader::Guard(_)
            | ToReader::Judge(_)
            | ToReader::Run(_),
            _,
        ) => Err(io::Error::other("a question at the wrong time")),
    }
}

/// An error ends the process: it may be half-way.
fn become_user(whom: Become) -> io::Result<KeyFiles> {
    role::become_user((whom.uid, whom.gid), whom.groups_of.as_deref())?;
    Ok(KeyFiles::new(whom))
}
