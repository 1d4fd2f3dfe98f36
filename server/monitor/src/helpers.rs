//! The helpers: one process for each uid that is logged in, with a login for each connection.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use sockward_policy::Permit;
use sockward_privsep::helper::{Event, FromHelper, Login, ToHelper};
use sockward_sys::link::Link;
use sockward_sys::unix;

use crate::processes::{Processes, Started};

/// One helper.
pub(crate) struct Helper {
    pub(crate) uid: u32,
    pub(crate) process: Started<ToHelper, FromHelper>,
    logins: HashMap<u64, LoginFacts>,
}

/// What the monitor keeps of a login, to judge by it what the helper says.
struct LoginFacts {
    /// For the log.
    label: String,
    /// The group that the administrator chose for its sockets.
    group: Option<u32>,
}

/// All helpers, by a number of their own (for the poller) and by uid.
#[derive(Default)]
pub(crate) struct Helpers {
    slots: Vec<Option<Helper>>,
    by_uid: HashMap<u32, usize>,
    next_login: u64,
}

/// A login that was handed to a helper.
pub(crate) struct Handed {
    /// The login's number.
    pub(crate) login: u64,
    /// The worker's end of its link.
    pub(crate) link: OwnedFd,
    /// The helper, if it has just been started: to be watched.
    pub(crate) started: Option<usize>,
}

impl Helpers {
    /// Hands a login to its user's helper, starting one if there is none.
    pub(crate) fn log_in(
        &mut self,
        permit: Permit,
        connection: [String; 4],
        label: &str,
        processes: &Processes,
    ) -> io::Result<Handed> {
        let account = permit.account.clone();
        let (index, started) = match self.by_uid.get(&account.uid) {
            Some(&index) => (index, None),
            None => {
                let process = processes.helper(&account.name, account.uid, account.gid)?;
                let index = self.insert(Helper { uid: account.uid, process, logins: HashMap::new() });
                (index, Some(index))
            }
        };
        let login = self.next_login;
        self.next_login += 1;
        let (ours, theirs) = Link::pair()?;
        let helper = self.get_mut(index).ok_or_else(|| io::Error::other("the helper is gone"))?;
        let group = permit.birth.group.as_ref().filter(|g| g.by_administrator).and_then(|g| g.gid);
        helper.logins.insert(login, LoginFacts { label: label.to_owned(), group });
        let message = Login { id: login, permit, connection, label: label.to_owned() };
        helper.process.channel.say(&ToHelper::Login(Box::new(message)), Some(theirs.into()))?;
        Ok(Handed { login, link: ours.into(), started })
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Helper> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// Ends a login whatever its worker does.
    pub(crate) fn end_login(&mut self, uid: u32, login: u64) {
        if let Some(helper) = self.by_uid.get(&uid).copied().and_then(|index| self.get_mut(index)) {
            // A helper that does not listen is about to be found gone.
            let _ = helper.process.channel.say(&ToHelper::EndLogin { login }, None);
        }
    }

    /// The helper is gone.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Helper> {
        let helper = self.slots.get_mut(index)?.take()?;
        self.by_uid.remove(&helper.uid);
        Some(helper)
    }

    pub(crate) fn take_all(&mut self) -> Vec<Helper> {
        self.by_uid.clear();
        std::mem::take(&mut self.slots).into_iter().flatten().collect()
    }

    fn insert(&mut self, helper: Helper) -> usize {
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.by_uid.insert(helper.uid, index);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(helper);
        }
        index
    }
}

impl Helper {
    /// The helper says something.
    pub(crate) fn said(&mut self, message: FromHelper, fd: Option<OwnedFd>) -> io::Result<()> {
        match message {
            FromHelper::Event { login, event } => {
                let label = self.logins.get(&login).map_or("unknown login", |l| l.label.as_str());
                log_event(label, &event);
                Ok(())
            }
            FromHelper::LoginEnded { login } => {
                self.logins.remove(&login);
                Ok(())
            }
            // Its link is closed then, and it goes. A login that has been sent to it since is in the list.
            FromHelper::Idle if self.logins.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            FromHelper::Idle => Ok(()),
            FromHelper::SetGroup { login, id } => {
                let error = self.set_group(login, fd).err().map(|e| e.to_string());
                self.process.channel.say(&ToHelper::GroupSet { id, error }, None)
            }
            FromHelper::Log { error: true, text } => {
                log::error!("helper of uid {}: {text}", self.uid);
                Ok(())
            }
            FromHelper::Log { error: false, text } => {
                log::debug!("helper of uid {}: {text}", self.uid);
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
        unix::set_group_of(file.as_fd(), self.uid, gid)
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
