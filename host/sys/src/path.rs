//! Paths to descriptors: one component at a time, without following, so that what was decided on is
//! what is used. Requests and the literal leading directories of a pattern go through the same walk.
//!
//! A symbolic link is followed only if it and the directory it lies in belong to root and nobody
//! else can write there (`/var/run` → `/run` works; a user's own link leads nowhere). `..` leads
//! back to the directory that the walk came through, by its held descriptor. Paths are bytes.
//! The walk runs with the process's own rights: what the user cannot search is refused by the kernel.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// As the kernel's own limit (MAXSYMLINKS).
const LINKS_MAX: u32 = 40;

/// Directories held open during a walk. Real paths have a dozen.
const DEPTH_MAX: usize = 64;

/// A directory, by descriptor, and the path without links by which the walk reached it.
#[derive(Debug)]
pub struct ResolvedDir {
    fd: OwnedFd,
    path: Vec<u8>,
}

/// A name in a resolved directory. Whether anything is there, and what, is not said.
#[derive(Debug)]
pub struct Place {
    dir: ResolvedDir,
    name: Vec<u8>,
}

/// Why a path leads nowhere, and up to where it was followed.
#[derive(Debug)]
pub struct WalkError {
    /// What is wrong.
    pub kind: WalkErrorKind,
    /// The path up to the component that it is about.
    pub at: Vec<u8>,
}

/// See [`WalkError`].
#[derive(Debug)]
pub enum WalkErrorKind {
    /// It does not start with "/".
    Relative,
    /// The last component is missing, "." or "..": no name for a socket.
    NoName,
    /// A directory on the way does not exist.
    NotFound,
    /// A component on the way is no directory.
    NotADirectory,
    /// A symbolic link that somebody else but root made or could replace.
    UntrustedLink,
    /// More than 40 links.
    TooManyLinks,
    /// More than 64 directories deep.
    TooDeep,
    /// This user may not search a directory on the way.
    Denied,
    /// Anything else the system said.
    Io(io::Error),
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.escape_ascii();
        match &self.kind {
            WalkErrorKind::Relative => write!(f, "path \"{at}\" does not start with \"/\""),
            WalkErrorKind::NoName => write!(f, "path \"{at}\" does not end in a file name"),
            WalkErrorKind::NotFound => write!(f, "directory \"{at}\" does not exist"),
            WalkErrorKind::NotADirectory => write!(f, "\"{at}\" is not a directory"),
            WalkErrorKind::UntrustedLink => {
                write!(f, "symbolic link \"{at}\" is not followed: others than root could have made it")
            }
            WalkErrorKind::TooManyLinks => write!(f, "too many symbolic links at \"{at}\""),
            WalkErrorKind::TooDeep => write!(f, "path is more than {DEPTH_MAX} directories deep at \"{at}\""),
            WalkErrorKind::Denied => write!(f, "no permission to search \"{at}\""),
            WalkErrorKind::Io(error) => write!(f, "\"{at}\": {error}"),
        }
    }
}

impl std::error::Error for WalkError {}

impl ResolvedDir {
    /// The directory of an absolute path.
    pub fn of(path: &[u8]) -> Result<ResolvedDir, WalkError> {
        walk(path, &mut 0)
    }

    /// The path without links; "/" or without a slash at its end.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        if self.path.is_empty() { b"/" } else { &self.path }
    }
}

impl AsFd for ResolvedDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Place {
    /// The place an absolute path names, for making something there. A link in the last component
    /// is not followed: it is something that is there already.
    pub fn for_new(path: &[u8]) -> Result<Place, WalkError> {
        place(path, &mut 0)
    }

    /// The place of what an absolute path leads to, for using it: links in the last component are
    /// followed under the rule of all others. The last component may be absent.
    pub fn of_existing(path: &[u8]) -> Result<Place, WalkError> {
        let mut links = 0;
        let mut path = path.to_vec();
        loop {
            let place = place(&path, &mut links)?;
            match open_link(place.dir.as_fd(), &place.name) {
                Ok(Found::Link(link, stat)) => {
                    let at = place.path();
                    let target = follow(place.dir.as_fd(), &link, &stat, &mut links)
                        .map_err(|kind| WalkError { kind, at })?;
                    path = join(place.dir.path(), &target);
                }
                Ok(Found::Other) | Err(Errno::NOENT) => return Ok(place),
                Err(error) => return Err(WalkError { kind: error.into(), at: place.path() }),
            }
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &ResolvedDir {
        &self.dir
    }

    /// The name in it.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The whole path without links, for matching, showing and auditing; never for opening.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        join(&self.dir.path, &self.name)
    }
}

/// `name` if it is absolute, else below `base`.
#[must_use]
pub fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    if name.starts_with(b"/") { name.to_vec() } else { [base, b"/", name].concat() }
}

fn place(path: &[u8], links: &mut u32) -> Result<Place, WalkError> {
    let no_name = || WalkError { kind: WalkErrorKind::NoName, at: path.to_vec() };
    let mut halves = path.rsplitn(2, |b| *b == b'/');
    let name = halves.next().filter(|name| !matches!(*name, [] | b"." | b"..")).ok_or_else(no_name)?;
    let Some(directory) = halves.next() else {
        return Err(WalkError { kind: WalkErrorKind::Relative, at: path.to_vec() });
    };
    let directory: &[u8] = if directory.is_empty() { b"/" } else { directory };
    Ok(Place { dir: walk(directory, links)?, name: name.to_vec() })
}

/// The walk. Held directories, the path that led to them, and what is still to go, last first.
fn walk(path: &[u8], links: &mut u32) -> Result<ResolvedDir, WalkError> {
    if !path.starts_with(b"/") {
        return Err(WalkError { kind: WalkErrorKind::Relative, at: path.to_vec() });
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())
        .map_err(|error| WalkError { kind: error.into(), at: b"/".to_vec() })?;
    // The names are what led into each directory; the root has none.
    let mut held: Vec<(OwnedFd, Vec<u8>)> = vec![(root, Vec::new())];
    let mut pending = components(path);
    while let Some(name) = pending.pop() {
        let here = |name: &[u8]| {
            let mut at: Vec<u8> =
                held.iter().skip(1).flat_map(|(_, name)| [b"/", &name[..]].concat()).collect();
            at.extend_from_slice(b"/");
            at.extend_from_slice(name);
            at
        };
        if name == b".." {
            // As in the kernel, the root's parent is the root.
            if held.len() > 1 {
                held.pop();
            }
            continue;
        }
        let Some((current, _)) = held.last() else {
            return Err(WalkError { kind: WalkErrorKind::TooDeep, at: path.to_vec() });
        };
        if held.len() > DEPTH_MAX {
            return Err(WalkError { kind: WalkErrorKind::TooDeep, at: here(&name) });
        }
        match rustix::fs::openat(current, name.as_slice(), flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(next) => held.push((next, name)),
            // Linux says ENOTDIR of a link that is not to be followed and should be a directory.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let fail = |kind| WalkError { kind, at: here(&name) };
                match open_link(current.as_fd(), &name) {
                    Ok(Found::Link(link, stat)) => {
                        let target = follow(current.as_fd(), &link, &stat, links).map_err(fail)?;
                        if target.starts_with(b"/") {
                            held.truncate(1);
                        }
                        pending.extend(components(&target));
                    }
                    Ok(Found::Other) => return Err(fail(WalkErrorKind::NotADirectory)),
                    Err(error) => return Err(fail(error.into())),
                }
            }
            Err(error) => return Err(WalkError { kind: error.into(), at: here(&name) }),
        }
    }
    let path = held.iter().skip(1).flat_map(|(_, name)| [b"/", &name[..]].concat()).collect();
    match held.pop() {
        Some((fd, _)) => Ok(ResolvedDir { fd, path }),
        None => Err(WalkError { kind: WalkErrorKind::TooDeep, at: path }),
    }
}

/// The components in reverse order, without empty ones and ".".
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().filter(|name| !matches!(*name, [] | b".")).map(<[u8]>::to_vec).collect()
}

enum Found {
    Link(OwnedFd, Stat),
    Other,
}

fn open_link(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Found, Errno> {
    let fd = rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok(if FileType::from_raw_mode(stat.st_mode).is_symlink() { Found::Link(fd, stat) } else { Found::Other })
}

/// Where a link leads, if it may be followed.
fn follow(
    dir: BorrowedFd<'_>,
    link: &OwnedFd,
    stat: &Stat,
    links: &mut u32,
) -> Result<Vec<u8>, WalkErrorKind> {
    let directory = rustix::fs::fstat(dir)?;
    // An access-control list that lets others write shows in the group bits.
    let roots_alone = directory.st_uid == 0 && directory.st_mode & 0o022 == 0;
    if stat.st_uid != 0 || !roots_alone {
        return Err(WalkErrorKind::UntrustedLink);
    }
    *links = links.saturating_add(1);
    if *links > LINKS_MAX {
        return Err(WalkErrorKind::TooManyLinks);
    }
    // The empty path reads the very link that was looked at.
    let target = rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes();
    if target.is_empty() { Err(WalkErrorKind::NotFound) } else { Ok(target) }
}

impl From<Errno> for WalkErrorKind {
    fn from(error: Errno) -> WalkErrorKind {
        match error {
            Errno::NOENT => WalkErrorKind::NotFound,
            Errno::ACCESS | Errno::PERM => WalkErrorKind::Denied,
            Errno::NOTDIR => WalkErrorKind::NotADirectory,
            other => WalkErrorKind::Io(other.into()),
        }
    }
}

/// An O_PATH descriptor of what is at a place, a link not followed.
pub(crate) fn open_place(place: &Place) -> Result<OwnedFd, Errno> {
    open_name(place.dir.as_fd(), place.name())
}

/// The same for any directory descriptor and name.
pub(crate) fn open_name(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Whether a name is that of an open file. Takes no descriptor, so it works when there are none left.
pub(crate) fn is_name_of(dir: BorrowedFd<'_>, name: &[u8], file: impl AsFd) -> Result<bool, Errno> {
    let (there, file) = (rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?, rustix::fs::fstat(file)?);
    Ok((there.st_dev, there.st_ino) == (file.st_dev, file.st_ino))
}

/// Removes a name, not a directory.
pub(crate) fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    rustix::fs::unlinkat(dir, name, AtFlags::empty())
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
