//! Who may log in at all: AllowUsers, DenyUsers, AllowGroups, DenyGroups, PermitRootLogin.

use std::fmt;

use sockward_policy::Source;
use sockward_policy::address::Peer;
use sockward_wire::pattern;

use super::effective::Effective;
use super::values::{GroupPattern, RootLogin, UserPattern};

/// Why somebody may not log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// A pattern of DenyUsers names the user.
    DenyUsers(Source),
    /// There is AllowUsers and no pattern names the user.
    AllowUsers(Option<Source>),
    /// There are patterns of groups and the user is in none.
    NoGroups,
    /// A pattern of DenyGroups names a group of the user.
    DenyGroups(Source),
    /// There is AllowGroups and no pattern names a group of the user.
    AllowGroups(Option<Source>),
}

/// For the log, as OpenSSH says it after "User NAME from HOST not allowed because ".
impl fmt::Display for LoginRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, source) = match self {
            LoginRefusal::DenyUsers(source) => ("listed in DenyUsers", Some(source)),
            LoginRefusal::AllowUsers(source) => ("not listed in AllowUsers", source.as_ref()),
            LoginRefusal::NoGroups => ("not in any group", None),
            LoginRefusal::DenyGroups(source) => ("a group is listed in DenyGroups", Some(source)),
            LoginRefusal::AllowGroups(source) => {
                ("none of user's groups are listed in AllowGroups", source.as_ref())
            }
        };
        f.write_str(text)?;
        source.map_or(Ok(()), |source| write!(f, " ({source})"))
    }
}

impl std::error::Error for LoginRefusal {}

impl Effective {
    /// Whether this account may log in from there, by the lists of users and groups. Denying comes before allowing.
    pub fn may_log_in(&self, user: &str, groups: &[String], peer: &Peer<'_>) -> Result<(), LoginRefusal> {
        if let Some(pattern) = self.deny_users.iter().find(|p| p.names(user, peer)) {
            return Err(LoginRefusal::DenyUsers(pattern.source.clone()));
        }
        if !self.allow_users.is_empty() && !self.allow_users.iter().any(|p| p.names(user, peer)) {
            return Err(LoginRefusal::AllowUsers(self.source("AllowUsers").cloned()));
        }
        if self.deny_groups.is_empty() && self.allow_groups.is_empty() {
            return Ok(());
        }
        if groups.is_empty() {
            return Err(LoginRefusal::NoGroups);
        }
        let in_one =
            |p: &GroupPattern| groups.iter().any(|g| pattern::matches(p.text.as_bytes(), g.as_bytes()));
        if let Some(pattern) = self.deny_groups.iter().find(|p| in_one(p)) {
            return Err(LoginRefusal::DenyGroups(pattern.source.clone()));
        }
        if !self.allow_groups.is_empty() && !self.allow_groups.iter().any(in_one) {
            return Err(LoginRefusal::AllowGroups(self.source("AllowGroups").cloned()));
        }
        Ok(())
    }
}

impl UserPattern {
    fn names(&self, user: &str, peer: &Peer<'_>) -> bool {
        pattern::matches(&self.user, user.as_bytes()) && self.host.as_ref().is_none_or(|h| h.admits(peer))
    }
}

impl RootLogin {
    /// Whether root may log in with a public key; `forced` is whether the key (or the certificate) has a forced
    /// command. `ForceCommand` of the configuration does not count, as in OpenSSH.
    #[must_use]
    pub fn permits_public_key(self, forced: bool) -> bool {
        match self {
            RootLogin::Yes | RootLogin::ProhibitPassword => true,
            RootLogin::ForcedCommandsOnly => forced,
            RootLogin::No => false,
        }
    }
}
