//! What the system knows of a user: passwd and group databases (through the name service), shadow,
//! the shell, /etc/nologin. Facts only; whether they let somebody log in is the monitor's decision.
//!
//! A look-up may wait for a directory server: call it where nobody else has to wait.

mod identities;
mod shadow;

use std::ffi::CString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Gid, Group as NixGroup, Uid, User};

pub use identities::{Identities, identities};
pub use shadow::Shadow;

use crate::file::{self, Links};

/// What _PATH_BSHELL is on Linux: the shell of accounts that name none.
pub const DEFAULT_SHELL: &str = "/bin/sh";

/// Where an administrator writes that nobody but root may log in.
const NOLOGIN: &str = "/etc/nologin";

/// More of /etc/nologin is not shown to anybody.
const NOLOGIN_MAX: usize = 8 * 1024;

/// A line of the passwd database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name, as the database spells it.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell; [`DEFAULT_SHELL`] where the database has none.
    pub shell: PathBuf,
    /// Whether the passwd line itself holds a locked password ("!…" or "*LK*"), which counts where
    /// there is no shadow line.
    pub passwd_locked: bool,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The id.
    pub gid: u32,
}

/// Why a login shell cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShellProblem {
    /// There is no such file, or it cannot be looked at.
    Missing,
    /// It is no regular file or nobody may execute it.
    NotExecutable,
}

impl Account {
    /// The account of this name, if there is one.
    pub fn by_name(name: &str) -> io::Result<Option<Account>> {
        if name.is_empty() || name.contains('\0') {
            return Ok(None);
        }
        Ok(found(User::from_name(name))?.map(Account::from))
    }

    /// The account of this uid, if there is one; the first if there are several.
    pub fn by_uid(uid: u32) -> io::Result<Option<Account>> {
        Ok(found(User::from_uid(Uid::from_raw(uid)))?.map(Account::from))
    }

    /// The account this process runs as.
    pub fn own() -> io::Result<Option<Account>> {
        Account::by_uid(rustix::process::geteuid().as_raw())
    }

    /// All groups: the primary and the supplementary ones.
    pub fn groups(&self) -> io::Result<Vec<u32>> {
        let name = CString::new(self.name.as_str())?;
        let groups = nix::unistd::getgrouplist(&name, Gid::from_raw(self.gid))?;
        Ok(groups.into_iter().map(Gid::as_raw).collect())
    }

    /// The names of all groups, for AllowGroups and DenyGroups; a gid without a name is left out.
    pub fn group_names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for gid in self.groups()? {
            names.extend(Group::by_gid(gid)?.map(|group| group.name));
        }
        Ok(names)
    }

    /// What shadow(5) says of the account; `None` without a line or without the right to read it.
    pub fn shadow(&self) -> io::Result<Option<Shadow>> {
        Shadow::of(&self.name)
    }

    /// As OpenSSH's allowed_user: the shell must be a regular file with an execute bit.
    #[must_use]
    pub fn shell_problem(&self) -> Option<ShellProblem> {
        shell_problem(&self.shell)
    }
}

impl From<User> for Account {
    fn from(user: User) -> Account {
        let shell = if user.shell.as_os_str().is_empty() { PathBuf::from(DEFAULT_SHELL) } else { user.shell };
        Account {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
            shell,
            passwd_locked: shadow::is_locked(user.passwd.as_bytes()),
        }
    }
}

impl Group {
    /// The group of this name, if there is one.
    pub fn by_name(name: &str) -> io::Result<Option<Group>> {
        if name.is_empty() || name.contains('\0') {
            return Ok(None);
        }
        Ok(found(NixGroup::from_name(name))?.map(Group::from))
    }

    /// The group of this id, if there is one.
    pub fn by_gid(gid: u32) -> io::Result<Option<Group>> {
        Ok(found(NixGroup::from_gid(Gid::from_raw(gid)))?.map(Group::from))
    }
}

impl From<NixGroup> for Group {
    fn from(group: NixGroup) -> Group {
        Group { name: group.name, gid: group.gid.as_raw() }
    }
}

/// See [`Account::shell_problem`].
#[must_use]
pub fn shell_problem(shell: &Path) -> Option<ShellProblem> {
    match std::fs::metadata(shell) {
        Err(_) => Some(ShellProblem::Missing),
        Ok(m) if !m.is_file() || m.permissions().mode() & 0o111 == 0 => Some(ShellProblem::NotExecutable),
        Ok(_) => None,
    }
}

/// The text of /etc/nologin if it exists (empty if it cannot be read): nobody but root may log in.
#[must_use]
pub fn nologin() -> Option<Vec<u8>> {
    nologin_at(Path::new(NOLOGIN))
}

fn nologin_at(path: &Path) -> Option<Vec<u8>> {
    std::fs::metadata(path).ok()?;
    Some(file::read_small(path, NOLOGIN_MAX, Links::Follow).unwrap_or_default())
}

/// getpwnam(3): several errors mean no more than "there is none".
fn found<T>(result: nix::Result<Option<T>>) -> io::Result<Option<T>> {
    match result {
        Ok(entry) => Ok(entry),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, mode};

    #[test]
    fn root_is_known_by_name_and_uid() {
        let root = Account::by_name("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_path()), (0, 0, Path::new("/root")));
        assert_eq!(Account::by_uid(0).unwrap().unwrap(), root);
        assert!(root.groups().unwrap().contains(&0));
        assert!(root.group_names().unwrap().contains(&"root".to_owned()));
        assert_eq!(Group::by_name("root").unwrap(), Group::by_gid(0).unwrap());
    }

    #[test]
    fn names_that_do_not_exist_are_no_error() {
        for name in ["", "no-such-user-here", "a\0b", "root:x", "../root"] {
            assert_eq!(Account::by_name(name).unwrap(), None, "{name:?}");
            assert_eq!(Group::by_name(name).unwrap(), None, "{name:?}");
        }
        assert_eq!(Account::by_uid(crate::testing::EVE).unwrap(), None);
    }

    #[test]
    fn a_shell_must_be_an_executable_file() {
        let tmp = TempDir::new();
        let file = tmp.path().join("sh");
        assert_eq!(shell_problem(&file), Some(ShellProblem::Missing));
        std::fs::write(&file, "").unwrap();
        mode(&file, 0o644);
        assert_eq!(shell_problem(&file), Some(ShellProblem::NotExecutable));
        mode(&file, 0o654);
        assert_eq!(shell_problem(&file), None);
        assert_eq!(shell_problem(tmp.path()), Some(ShellProblem::NotExecutable));
    }

    #[test]
    fn nologin_exists_even_if_it_cannot_be_shown() {
        let tmp = TempDir::new();
        let file = tmp.path().join("nologin");
        assert_eq!(nologin_at(&file), None);
        std::fs::write(&file, "closed\n").unwrap();
        assert_eq!(nologin_at(&file), Some(b"closed\n".to_vec()));
        std::fs::write(&file, vec![b'x'; NOLOGIN_MAX + 1]).unwrap();
        assert_eq!(nologin_at(&file), Some(Vec::new()));
    }
}
