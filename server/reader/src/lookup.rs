//! What the system knows of an account, with the monitor's rights; and the peer's name.
//!
//! A name that is no account's goes through the same look-ups as one that is, with another account in its place,
//! and their results are thrown away: the time must not tell the two apart.

use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use sockward_policy::Account;
use sockward_privsep::reader::{AccountFacts, FromReader};
use sockward_sys::account::{self, Account as Entry, ShellProblem};
use sockward_sys::resolve::{self, Pending};
use sockward_sys::{fd, time};

use crate::notes::Notes;

/// How long the peer's name is waited for. It stands beside the account's look-ups, not behind them.
const NAME_WAIT: Duration = Duration::from_secs(10);

/// Looks up an account, and the name of an address if one is given.
pub(crate) fn look_up(user: &str, host_of: Option<IpAddr>, notes: &mut Notes) -> FromReader {
    let until = Instant::now() + NAME_WAIT;
    // Begun first: a child asks while this process looks up the account.
    let name = host_of.map(|address| (address, resolve::reverse(address)));
    let account = account_facts(user).unwrap_or_else(|e| {
        // Half of the facts could admit somebody whom the other half bars.
        notes.important(format!("account {} cannot be looked up: {e}", user.escape_debug()));
        None
    });
    let host = name.and_then(|(address, asked)| match asked.and_then(|pending| wait(pending, until)) {
        Ok(Ok(name)) => Some(name),
        Ok(Err(reason)) => {
            notes.important(format!("no confirmed host name for {address}: {}", reason.0));
            None
        }
        Err(e) => {
            notes.important(format!("no confirmed host name for {address}: {e}"));
            None
        }
    });
    FromReader::Found { account: account.map(Box::new), host }
}

fn wait(mut pending: Pending<String>, until: Instant) -> io::Result<resolve::Reverse> {
    loop {
        if let Some(answer) = pending.poll()? {
            return Ok(answer);
        }
        if !fd::wait_readable(&pending, until.saturating_duration_since(Instant::now()))? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the look-up took too long"));
        }
    }
}

fn account_facts(user: &str) -> io::Result<Option<AccountFacts>> {
    let found = Entry::by_name(user)?;
    let exists = found.is_some();
    // Root is there everywhere.
    let Some(entry) = found.map_or_else(|| Entry::by_uid(0), |e| Ok(Some(e)))? else { return Ok(None) };
    let facts = facts(entry)?;
    Ok(Some(facts).filter(|_| exists))
}

fn facts(entry: Entry) -> io::Result<AccountFacts> {
    let groups = entry.group_names()?;
    let barred = barred(&entry)?;
    let nologin = account::nologin();
    let account = Account {
        name: entry.name,
        uid: entry.uid,
        gid: entry.gid,
        home: entry.home.into_os_string().into_vec(),
        shell: entry.shell.into_os_string().into_vec(),
    };
    Ok(AccountFacts { account, groups, barred, nologin })
}

/// Why an account may not log in whatever its key, in OpenSSH's order, to follow "not allowed because".
fn barred(entry: &Entry) -> io::Result<Option<String>> {
    let shadow = entry.shadow()?;
    if shadow.as_ref().map_or(entry.passwd_locked, |s| s.locked) {
        return Ok(Some("account is locked".into()));
    }
    if let Some(problem) = entry.shell_problem() {
        let what = match problem {
            ShellProblem::Missing => "does not exist",
            ShellProblem::NotExecutable => "is not executable",
        };
        return Ok(Some(format!("shell {} {what}", entry.shell.display())));
    }
    let expired = shadow.is_some_and(|s| s.expired(time::unix_days()));
    Ok(expired.then(|| "account has expired".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_sys::log::LogLevel;

    fn found(user: &str) -> Option<Box<AccountFacts>> {
        let mut notes = Notes::new(LogLevel::Debug3);
        let FromReader::Found { account, host: None } = look_up(user, None, &mut notes) else { panic!() };
        assert_eq!(notes.into_messages().count(), 0);
        account
    }

    #[test]
    fn an_account_has_all_its_facts_and_nobody_has_none() {
        let root = found("root").unwrap();
        assert_eq!((root.account.uid, root.account.home.as_slice()), (0, &b"/root"[..]));
        assert!(root.groups.contains(&"root".to_owned()));
        for nobody in ["no-such-user-here", "", "root\0", "../root", "\\xff"] {
            assert_eq!(found(nobody), None, "{nobody:?}");
        }
    }

    #[test]
    fn a_shell_that_cannot_be_used_bars_an_account() {
        let mut entry = Entry::by_uid(0).unwrap().unwrap();
        entry.name = "no-such-user-here".into();
        entry.passwd_locked = false;
        assert_eq!(barred(&entry).unwrap(), None);
        entry.shell = "/etc/passwd".into();
        assert_eq!(barred(&entry).unwrap().unwrap(), "shell /etc/passwd is not executable");
        entry.shell = "/nonexistent/sh".into();
        assert_eq!(barred(&entry).unwrap().unwrap(), "shell /nonexistent/sh does not exist");
        entry.passwd_locked = true;
        assert_eq!(barred(&entry).unwrap().unwrap(), "account is locked");
    }
}
