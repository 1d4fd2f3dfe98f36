//! The helpers: one process for each user that is logged in, with a login for each connection. Rights are taken on
//! once, so who is in other groups by now, or has another name for the same uid, gets another process.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use sockward_policy::Permit;
use sockward_privsep::helper::{Event, FromHelper, Login, ToHelper};
use sockward_sys::link::Link;
use sockward_sys::unix;

use crate::audit::{Audit, AuditSubject};
use crate::processes::{Processes, Started};

/// Everything that a helper's rights come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<String>,
}

/// One helper.
pub(crate) struct Helper {
    identity: Identity,
    pub(crate) process: Started<ToHelper, FromHelper>,
    logins: HashMap<u64, LoginFacts>,
}

/// What the monitor keeps of a login, to judge by it what the helper says.
struct LoginFacts {
    /// For the log.
    label: String,
    /// For the audit.
    subject: Rc<AuditSubject>,
    /// The group that the administrator chose for its sockets.
    group: Option<u32>,
}

/// All helpers, by a number of their own (for the poller) and by whom they act for.
#[derive(Default)]
pub(crate) struct Helpers {
    slots: Vec<Option<Helper>>,
    by_identity: HashMap<Identity, usize>,
    next_login: u64,
}

/// A login that was handed to a helper.
pub(crate) struct Handed {
    /// The login's number.
    pub(crate) login: u64,
    /// The worker's end of its link.
    pub(crate) link: OwnedFd,
    /// Which helper has it.
    pub(crate) helper: usize,
}

impl Helpers {
    /// Hands a login to its user's helper, starting one if there is none. `groups`: the names of all that the
    /// account is in; `watch` has a new one's link watched.
    pub(crate) fn log_in(
        &mut self,
        permit: Permit,
        groups: Vec<String>,
        connection: [String; 4],
        subject: &Rc<AuditSubject>,
        processes: &Processes,
        watch: impl FnOnce(&Helper, usize) -> io::Result<()>,
    ) -> io::Result<Handed> {
        let account = &permit.account;
        let identity = Identity { name: account.name.clone(), uid: account.uid, gid: account.gid, groups };
        let index = match self.by_identity.get(&identity) {
            Some(&index) => index,
            None => {
                let process = processes.helper(&account.name, account.uid, account.gid)?;
                let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
                let helper = Helper { identity, process, logins: HashMap::new() };
                watch(&helper, index)?;
                self.insert(index, helper);
                index
            }
        };
        let login = self.next_login;
        self.next_login += 1;
        let (ours, theirs) = Link::pair()?;
        let helper = self.get_mut(index).ok_or_else(|| io::Error::other("the helper is gone"))?;
        let label = format!("{} from {} key {}", subject.user, subject.facts, subject.key.described);
        let group = permit.birth.group.as_ref().filter(|g| g.by_administrator).and_then(|g| g.gid);
        helper.logins.insert(login, LoginFacts { label: label.clone(), subject: Rc::clone(subject), group });
        let message = Login { id: login, permit, connection, label };
        helper.process.channel.say(&ToHelper::Login(Box::new(message)), Some(theirs.into()))?;
        Ok(Handed { login, link: ours.into(), helper: index })
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Helper> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// Ends a login whatever its worker does; whether the helper still had it.
    pub(crate) fn end_login(&mut self, helper: usize, login: u64) -> bool {
        // Its place may be another's by now, which knows no such login.
        let Some(helper) = self.get_mut(helper).filter(|h| h.logins.contains_key(&login)) else {
            return false;
        };
        // A helper that does not listen is about to be found gone.
        let _ = helper.process.channel.say(&ToHelper::EndLogin { login }, None);
        true
    }

    /// The helper is gone.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Helper> {
        let helper = self.slots.get_mut(index)?.take()?;
        self.by_identity.remove(&helper.identity);
        Some(helper)
    }

    pub(crate) fn take_all(&mut self) -> Vec<Helper> {
        self.by_identity.clear();
        std::mem::take(&mut self.slots).into_iter().flatten().collect()
    }

    fn insert(&mut self, index: usize, helper: Helper) {
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.by_identity.insert(helper.identity.clone(), index);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(helper);
        }
    }
}

impl Helper {
    pub(crate) fn uid(&self) -> u32 {
        self.identity.uid
    }

    /// It is gone: it tells nothing more of anybody.
    pub(crate) fn told_all(&self, audit: &mut Audit) {
        for facts in self.logins.values() {
            audit.last_fact(&facts.subject);
        }
    }

    /// The helper says something.
    pub(crate) fn said(
        &mut self,
        message: FromHelper,
        fd: Option<OwnedFd>,
        audit: &mut Audit,
    ) -> io::Result<()> {
        match message {
            FromHelper::Event { login, event } => {
                let Some(facts) = self.logins.get(&login) else {
                    return Err(io::Error::other("a fact of a login that is not there"));
                };
                log_event(&facts.label, &event);
                audit.event(&facts.subject, &event);
                Ok(())
            }
            FromHelper::LoginEnded { login } => {
                if let Some(facts) = self.logins.remove(&login) {
                    audit.last_fact(&facts.subject);
                }
                Ok(())
            }
            // Its link is closed then, and it goes. A login that has been sent to it since is in the list.
            FromHelper::Idle if self.logins.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            FromHelper::Idle => Ok(()),
            FromHelper::SetGroup { login, id } => {
                let error = self.set_group(login, fd).err().map(|e| e.to_string());
                self.process.channel.say(&ToHelper::GroupSet { id, error }, None)
            }
            FromHelper::Lost { count } => {
                log::error!(
                    "helper of uid {}: {count} events were not logged: the monitor did not keep up",
                    self.uid()
                );
                audit.unsaid(count);
                Ok(())
            }
            FromHelper::Log { error: true, text } => {
                log::error!("helper of uid {}: {text}", self.uid());
                Ok(())
            }
            FromHelper::Log { error: false, text } => {
                log::debug!("helper of uid {}: {text}", self.uid());
                Ok(())
            }
        }
    }
}

impl Helper {
    /// Gives a socket of this user the group that the login's permit has, and no other.
    fn set_group(&self, login: u64, file: Option<OwnedFd>) -> io::Result<()> {
        let no = |why| io::Error::new(io::ErrorKind::PermissionDenied, why);
        let gid = self.logins.get(&login).and_then(|facts| facts.group);
        let gid = gid.ok_or_else(|| no("the login has no group for its sockets"))?;
        let file = file.ok_or_else(|| no("no socket came with the question"))?;
        unix::set_group_of(file.as_fd(), self.uid(), gid)
    }
}

fn log_event(label: &str, event: &Event) {
    match event {
        Event::Listen { at, result: Ok(real), .. } if at == real => log::info!("{label}: listening on {at}"),
        Event::Listen { at, result: Ok(real), .. } => log::info!("{label}: listening on {at} ({real})"),
        Event::Listen { at, result: Err(why), .. } => log::info!("{label}: listening on {at} refused: {why}"),
        Event::Unlisten { at } => log::info!("{label}: no longer listening on {at}"),
        Event::Open { target, result: Ok(_), .. } => log::info!("{label}: opened {target}"),
        Event::Open { target, result: Err(why), .. } => {
            log::info!("{label}: opening {target} refused: {why}")
        }
        Event::Connection { at, peer, refused: None, .. } => {
            log::info!(target: "verbose", "{label}: connection to {at} from {peer}");
        }
        Event::Connection { at, peer, refused: Some(why), .. } => {
            log::info!("{label}: connection to {at} from {peer} refused: {why}");
        }
        Event::Closed { what, received, sent, .. } => {
            log::debug!("{label}: connection of {what} ended: {received} bytes in, {sent} out");
        }
        Event::Execute { what, result: Ok(_) } => log::info!(target: "verbose", "{label}: {what}"),
        Event::Execute { what, result: Err(why) } => log::info!("{label}: {what} refused: {why}"),
    }
}
