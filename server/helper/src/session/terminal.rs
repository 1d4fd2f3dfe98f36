//! A session's terminal: opened with the user's rights, as big and with the modes that the client says. The worker
//! gets its master to read and write; a copy stays here, to change the size without giving the worker a system
//! call for it, and goes with the session: then the terminal is hung up.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use sockward_privsep::login::{Stream, WindowSize};
use sockward_sys::fd;
use sockward_sys::pty::{self, Pty};
use sockward_sys::terminal::Size;

use super::command::Streams;
use crate::caller::Shared;
use crate::refused::Refused;

/// What the client says about the terminal it wants.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) term: Vec<u8>,
    pub(crate) size: WindowSize,
    pub(crate) modes: Vec<u8>,
}

/// One session's terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    term: Vec<u8>,
    name: PathBuf,
    master: OwnedFd,
    /// Until the command runs: as long as anybody here has it open, its end is not seen.
    slave: Option<OwnedFd>,
}

impl Terminal {
    pub(super) fn open(asked: Asked, shared: &Shared) -> Result<Terminal, Refused> {
        let Asked { term, size, modes } = asked;
        if term.contains(&0) {
            return Err(Refused::failed("the name of the terminal's type contains a NUL byte"));
        }
        let Pty { master, slave, name } = Pty::open()?;
        if shared.is_short(&slave) {
            return Err(Refused::shortage("too many open files"));
        }
        if let Err(e) = pty::set_modes(&slave, &modes) {
            log::debug!("modes of {}: {e}", name.display());
        }
        let terminal = Terminal { term, name, master, slave: Some(slave) };
        terminal.resize(size);
        Ok(terminal)
    }

    /// Its file's name.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// TERM, unless the client named none.
    pub(super) fn term(&self) -> Option<&[u8]> {
        Some(self.term.as_slice()).filter(|term| !term.is_empty())
    }

    pub(super) fn resize(&self, WindowSize { columns, rows, width, height }: WindowSize) {
        if let Err(e) = pty::set_size(&self.master, Size { columns, rows, width, height }) {
            log::debug!("size of {}: {e}", self.name.display());
        }
    }

    /// The command's three streams, and the worker's end.
    pub(super) fn streams(&self) -> Result<Streams, Refused> {
        let Some(slave) = &self.slave else { return Err(Refused::failed("the terminal was used before")) };
        Ok(Streams {
            stdin: fd::duplicate(slave)?,
            stdout: fd::duplicate(slave)?,
            stderr: fd::duplicate(slave)?,
            worker: vec![(Stream::Terminal, fd::duplicate(&self.master)?)],
        })
    }

    /// The command runs.
    pub(super) fn started(&mut self) {
        self.slave = None;
    }
}
