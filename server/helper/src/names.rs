//! Who stands behind the names of a permit (PermitPeer), for those who connect, and behind a TargetOwner. The name service may wait for a
//! directory server, so children ask it, and those who connect wait meanwhile; an answer serves for a while.
//!
//! Names are looked up here and not once at the login: a login may last for weeks, and whoever is taken out of a
//! list's group loses access within [`KEPT`]. What cannot be looked up is nobody.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sockward_policy::Permit;
use sockward_policy::peer::PeerName;
use sockward_sys::account::{self, Identities};
use sockward_sys::resolve::Pending;

use crate::caller::Shared;
use crate::poller::{Subject, Watched};

/// How long an answer serves.
const KEPT: Duration = Duration::from_secs(10);
/// How long a failure does.
const FAILED_KEPT: Duration = Duration::from_secs(1);
/// How long one child may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers kept. One is a few numbers for each name of a list.
const KEPT_MAX: usize = 256;

/// Answers, and children that are asking.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashMap<Question, (Option<Rc<Identities>>, Instant)>,
    asked: HashMap<u64, Asked>,
    next: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    login: u64,
    about: About,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum About {
    /// The names of the login's permit; with a uid, the groups of its account, too.
    Peers(Option<u32>),
    /// A user that the client names (`TargetOwner`).
    User(String),
}

#[derive(Debug)]
struct Asked {
    question: Question,
    child: Pending<Identities>,
    watched: Watched,
}

/// The users and the groups that a permit's lists name, in order.
pub(crate) fn listed(permit: &Permit) -> (Vec<&str>, Vec<&str>) {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for name in permit.peers.iter().flat_map(|list| &list.peers) {
        match name {
            PeerName::User(user) => users.push(user.as_str()),
            PeerName::Group(group) => groups.push(group.as_str()),
        }
    }
    (users, groups)
}

impl Shared {
    /// Who stands behind the names of the permit's lists, in the order of [`listed`], and with `uid` the groups of
    /// that account. `None`: it is being asked, and the login gets a turn when it is known. `Some(None)`: it cannot
    /// be known.
    pub(crate) fn identities(
        &mut self,
        login: u64,
        permit: &Permit,
        uid: Option<u32>,
    ) -> Option<Option<Rc<Identities>>> {
        let question = Question { login, about: About::Peers(uid) };
        if let Some(known) = self.known_names(&question) {
            return Some(known);
        }
        if self.names.asked.values().any(|asked| asked.question == question) {
            return None;
        }
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let (users, groups) = listed(permit);
        self.ask_names(question, account::identities(owned(users), owned(groups), uid))
    }

    /// The uid of a user; as with [`Self::identities`], `None` means that it is being asked, or will be: a login has
    /// one such question under way at a time. `Some(None)`: there is no such user, or it cannot be known.
    pub(crate) fn user_id(&mut self, login: u64, name: &str) -> Option<Option<u32>> {
        let question = Question { login, about: About::User(name.to_owned()) };
        let uid =
            |known: Option<Rc<Identities>>| known.and_then(|found| found.users.first().copied().flatten());
        if let Some(known) = self.known_names(&question) {
            return Some(uid(known));
        }
        let of_login = |asked: &Asked| asked.question.login == login;
        let busy = |asked: &Asked| of_login(asked) && matches!(asked.question.about, About::User(_));
        if self.names.asked.values().any(busy) {
            return None;
        }
        self.ask_names(question, account::identities(vec![name.to_owned()], Vec::new(), None)).map(uid)
    }

    fn known_names(&mut self, question: &Question) -> Option<Option<Rc<Identities>>> {
        let now = self.now;
        self.names.known.retain(|_, (_, until)| *until > now);
        self.names.known.get(question).map(|(known, _)| known.clone())
    }

    fn ask_names(
        &mut self,
        question: Question,
        child: std::io::Result<Pending<Identities>>,
    ) -> Option<Option<Rc<Identities>>> {
        let (key, now) = (self.names.next, self.now);
        let started = child.and_then(|child| {
            let watched = self.poller.watch(&child, Subject::Names(key), mio::Interest::READABLE)?;
            Ok(Asked { question, child, watched })
        });
        match started {
            Ok(asked) => {
                self.names.next += 1;
                self.names.asked.insert(key, asked);
                self.timers.set(Subject::Names(key), now + PATIENCE);
                None
            }
            Err(e) => {
                log::error!("names cannot be looked up: {e}");
                Some(None)
            }
        }
    }

    /// A child has something to say, or has taken too long. The login that waited for it, if that is over.
    pub(crate) fn names_progressed(&mut self, key: u64, time_is_over: bool) -> Option<u64> {
        let asked = self.names.asked.get_mut(&key)?;
        let question = asked.question.clone();
        let found = match (asked.child.poll(), time_is_over) {
            (Ok(None), false) => return None,
            (Ok(Some(Ok(found))), _) => Ok(found),
            (Ok(Some(Err(e))), _) => Err(e.0),
            (Ok(None), true) => Err("it took too long".to_owned()),
            (Err(e), _) => Err(e.to_string()),
        };
        self.end_names(key);
        let kept = if found.is_ok() { KEPT } else { FAILED_KEPT };
        let found = found.inspect_err(|e| log::error!("names cannot be looked up: {e}")).ok().map(Rc::new);
        if self.names.known.len() >= KEPT_MAX {
            self.names.known.clear();
        }
        let login = question.login;
        self.names.known.insert(question, (found, self.now + kept));
        Some(login)
    }

    /// A login is gone.
    pub(crate) fn forget_names(&mut self, login: u64) {
        self.names.known.retain(|question, _| question.login != login);
        let its = self.names.asked.iter().filter(|(_, asked)| asked.question.login == login);
        for key in its.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.end_names(key);
        }
    }

    /// The child ends when it is dropped.
    fn end_names(&mut self, key: u64) {
        let Some(Asked { child, watched, .. }) = self.names.asked.remove(&key) else { return };
        self.timers.clear(Subject::Names(key));
        self.poller.unwatch(&child, watched);
    }
}
