//! The file of a bound socket, while it is ours, and its removal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::scratch::Scratch;
use crate::path::{Place, is_name_of, unlink};

/// A socket file of ours: its directory and the file itself, held by descriptor for life, because
/// file systems hand inode numbers out again at once. Removed when dropped, if it is still ours.
#[derive(Debug)]
pub struct OwnedSocketFile {
    dir: OwnedFd,
    name: Vec<u8>,
    file: OwnedFd,
    removed: bool,
}

/// What became of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is removed.
    Removed,
    /// Nothing of that name was there.
    Gone,
    /// The name is somebody else's by now; that was left alone.
    NotOurs,
    /// As `NotOurs`, but somebody took the name at the worst moment: what had it now has this
    /// name beside it.
    Displaced(String),
}

impl OwnedSocketFile {
    pub(super) fn new(place: &Place, file: OwnedFd) -> io::Result<OwnedSocketFile> {
        let dir = place.dir().as_fd().try_clone_to_owned()?;
        Ok(OwnedSocketFile { dir, name: place.name().to_vec(), file, removed: false })
    }

    /// Removes the file if it still is the one that was bound.
    pub fn remove(mut self) -> io::Result<Removal> {
        self.remove_once()
    }

    fn remove_once(&mut self) -> io::Result<Removal> {
        self.removed = true;
        // A look before anything is moved: the moves below then only ever hit the wrong file
        // when somebody replaces it in between.
        match is_name_of(self.dir.as_fd(), &self.name, &self.file) {
            Ok(true) => {}
            Ok(false) => return Ok(Removal::NotOurs),
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(error) => return Err(error.into()),
        }
        let scratch = Scratch::create(self.dir.as_fd())?;
        let inner = b"socket";
        match scratch.move_in(&self.name, inner) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Removal::Gone),
            Err(error) => return Err(error.into()),
        }
        if is_name_of(scratch.as_fd(), inner, &self.file)? {
            unlink(scratch.as_fd(), inner)?;
            return Ok(Removal::Removed);
        }
        Ok(match scratch.put_back(inner, &self.name)? {
            None => Removal::NotOurs,
            Some(aside) => Removal::Displaced(aside),
        })
    }
}

impl Drop for OwnedSocketFile {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = self.remove_once()
        {
            log::debug!("cannot remove socket \"{}\": {error}", self.name.escape_ascii());
        }
    }
}
