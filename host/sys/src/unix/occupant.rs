//! What is already at a socket's place: may it be replaced?
//!
//! Only a socket ever is. A stale one is one that nobody listens on: ECONNREFUSED twice, 200 ms
//! apart, on the same held file (once alone also means "bound, not listening yet"). A full backlog
//! (EAGAIN), another socket type (EPROTOTYPE) and a file we may not connect to (EACCES) are alive.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::birth::BirthError;
use super::connect::connect_file;
use crate::path::{Place, open_place};

/// Between the two looks: longer than anybody takes from bind(2) to listen(2).
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A socket file at a place, held by descriptor.
#[derive(Debug)]
pub struct Occupant {
    file: OwnedFd,
}

/// An occupant that may be replaced. It is replaced only if it still is what is there then.
#[derive(Debug)]
pub struct Replaceable {
    pub(super) file: OwnedFd,
}

/// What the first of two looks found.
#[derive(Debug)]
pub enum FirstLook {
    /// Somebody uses it.
    Live,
    /// Nobody listens now; look again when [`StaleProbe::due`].
    Unsure(StaleProbe),
}

/// What the second look found.
#[derive(Debug)]
pub enum SecondLook {
    /// Too early: come again when it is due.
    NotYet(StaleProbe),
    /// Somebody uses it.
    Live,
    /// Nobody does.
    Stale(Replaceable),
}

/// An occupant between the two looks. Nothing waits meanwhile.
#[derive(Debug)]
pub struct StaleProbe {
    file: OwnedFd,
    due: Instant,
}

impl Occupant {
    /// What is at the place: nothing, a socket, or [`BirthError::NotASocket`].
    pub fn look(place: &Place) -> Result<Option<Occupant>, BirthError> {
        let file = match open_place(place) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(BirthError::io("look at", error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| BirthError::io("look at", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(BirthError::NotASocket);
        }
        Ok(Some(Occupant { file }))
    }

    /// Replaces it whether it is in use or not (`StreamLocalBindUnlink yes`).
    #[must_use]
    pub fn live_or_not(self) -> Replaceable {
        Replaceable { file: self.file }
    }

    /// The first look (`StreamLocalBindUnlink stale`). A listener sees a connection that ends at once.
    pub fn probe(self) -> io::Result<FirstLook> {
        if listens(&self.file)? {
            return Ok(FirstLook::Live);
        }
        Ok(FirstLook::Unsure(StaleProbe { file: self.file, due: Instant::now() + BETWEEN_LOOKS }))
    }
}

impl StaleProbe {
    /// When the second look may be taken.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The second look.
    pub fn again(self) -> io::Result<SecondLook> {
        if Instant::now() < self.due {
            return Ok(SecondLook::NotYet(self));
        }
        if listens(&self.file)? {
            return Ok(SecondLook::Live);
        }
        Ok(SecondLook::Stale(Replaceable { file: self.file }))
    }
}

fn listens(file: &OwnedFd) -> io::Result<bool> {
    match connect_file(file.as_fd()) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED) => Ok(false),
            Some(Errno::AGAIN | Errno::PROTOTYPE | Errno::ACCESS | Errno::PERM) => Ok(true),
            _ => Err(error),
        },
    }
}
