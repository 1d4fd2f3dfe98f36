//! How a process of ours is told what it is: its arguments and the descriptors it is started with. And how one
//! that acts for a user becomes that user.

use std::io;

use sockward_sys::identity::{self, Groups};

/// The descriptor of a process's first link, behind the three standard ones.
pub const LINK: i32 = 3;
/// A worker's empty root directory, where the server runs as root.
pub const EMPTY_ROOT: i32 = 4;

/// What a process started by the monitor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads one connection from the network.
    Worker,
    /// Reads many connections.
    SharedWorker,
    /// Looks up an account and reads key files.
    Reader,
    /// Acts for a logged-in user.
    Helper,
}

/// A role and what it needs to know before it hears anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The role.
    pub role: Role,
    /// The ids to take on at once; none leaves them.
    pub ids: Option<(u32, u32)>,
    /// The account whose groups go with the ids; none = no groups.
    pub groups_of: Option<String>,
    /// `LogLevel`, by name.
    pub log_level: String,
}

impl Role {
    const ALL: [(Role, &'static str); 4] = [
        (Role::Worker, "--role=worker"),
        (Role::SharedWorker, "--role=shared-worker"),
        (Role::Reader, "--role=reader"),
        (Role::Helper, "--role=helper"),
    ];

    /// The word for process lists and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Role::Worker | Role::SharedWorker => "worker",
            Role::Reader => "reader",
            Role::Helper => "helper",
        }
    }
}

impl Arguments {
    /// The process's arguments; `title` is what process lists show.
    #[must_use]
    pub fn to_args(&self, title: &str) -> Vec<std::ffi::OsString> {
        let role = Role::ALL.iter().find(|(r, _)| *r == self.role).map_or("", |(_, word)| word);
        let ids = self.ids.map_or_else(|| "-".to_owned(), |(uid, gid)| format!("{uid}:{gid}"));
        let groups_of = self.groups_of.as_deref().unwrap_or("-");
        [title, role, &ids, groups_of, &self.log_level].map(Into::into).to_vec()
    }

    /// Of a process's arguments, if they are those of a role.
    #[must_use]
    pub fn parse(args: &[std::ffi::OsString]) -> Option<Self> {
        let mut words = args.iter().skip(1).map(|a| a.to_str());
        let mut next = || words.next().flatten();
        let word = next()?;
        let (role, _) = Role::ALL.into_iter().find(|(_, w)| *w == word)?;
        let ids = match next()? {
            "-" => None,
            pair => {
                let (uid, gid) = pair.split_once(':')?;
                Some((uid.parse().ok()?, gid.parse().ok()?))
            }
        };
        let groups_of = Some(next()?).filter(|name| *name != "-").map(str::to_owned);
        Some(Arguments { role, ids, groups_of, log_level: next()?.to_owned() })
    }
}

/// Takes on a user's ids and groups for good ([`identity::become_user`]) and forbids that others of that user
/// look into the process. Without root a process stays who it is, and can only become that.
pub fn become_user((uid, gid): (u32, u32), groups_of: Option<&str>) -> io::Result<()> {
    match identity::effective_uid() {
        0 => {
            let groups = groups_of.map_or(Groups::None, |name| Groups::Of(name.to_owned()));
            identity::become_user(uid, gid, &groups)?;
        }
        own if own == uid => {}
        own => return Err(io::Error::other(format!("uid {own} cannot act for uid {uid}"))),
    }
    identity::forbid_tracing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_round_trip() {
        for (role, _) in Role::ALL {
            for (ids, groups_of) in [(None, None), (Some((1000, 100)), Some("alex".to_owned()))] {
                let arguments = Arguments { role, ids, groups_of, log_level: "DEBUG1".into() };
                assert_eq!(Arguments::parse(&arguments.to_args("sockward: x")), Some(arguments));
            }
        }
        assert_eq!(Arguments::parse(&["sockward".into(), "ssh".into()]), None);
        assert_eq!(Arguments::parse(&["sockward".into(), "--role=worker".into()]), None);
    }
}
