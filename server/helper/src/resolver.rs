//! Names to addresses for all logins: children ask, a few at a time, and an answer serves whoever asks for the same
//! name within the next seconds. So many connections to one name do not start a child each.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use sockward_sys::resolve::{self, Family, Forward, ForwardLookup, NotResolved, Pending};

use crate::caller::Shared;
use crate::poller::{Subject, Watched};

/// Children at once; more names wait for their turn.
const CHILDREN_MAX: usize = 16;
/// How long one child may take: longer than the system's resolver with its default settings.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer serves. Address records change; a browser opens its connections within this.
const KEPT: Duration = Duration::from_secs(5);
/// Answers kept.
const KEPT_MAX: usize = 64;

/// Names being looked up, and those that just were. Addresses carry no port.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    known: HashMap<String, (Forward, Instant)>,
    asked: HashMap<u64, Asked>,
    /// Names whose child is not started yet.
    waiting: VecDeque<u64>,
    running: usize,
    next: u64,
    /// Answers to hand out.
    answered: Vec<(Forward, Vec<Subject>)>,
}

#[derive(Debug)]
struct Asked {
    host: String,
    /// Who wants to know.
    waiters: Vec<Subject>,
    child: Option<(Pending<Vec<std::net::SocketAddr>>, Watched)>,
}

impl Shared {
    /// The addresses of a host, if they are known; otherwise `who` is told later ([`Self::take_answered`]).
    pub(crate) fn look_up(&mut self, host: &str, who: Subject) -> Option<Forward> {
        if let Some(known) = resolve::without_asking(host, 0, Family::Any) {
            return Some(known);
        }
        let resolver = &mut self.resolver;
        resolver.known.retain(|_, (_, until)| *until > self.now);
        if let Some((answer, _)) = resolver.known.get(host) {
            return Some(answer.clone());
        }
        match resolver.asked.values_mut().find(|asked| asked.host == host) {
            Some(asked) => asked.waiters.push(who),
            None => {
                let key = resolver.next;
                resolver.next += 1;
                resolver.asked.insert(key, Asked { host: host.to_owned(), waiters: vec![who], child: None });
                resolver.waiting.push_back(key);
                self.start_lookups();
            }
        }
        None
    }

    /// A child has something to say.
    pub(crate) fn lookup_progressed(&mut self, key: u64) {
        let Some(Asked { child: Some((pending, _)), .. }) = self.resolver.asked.get_mut(&key) else { return };
        match pending.poll() {
            Ok(None) => {}
            Ok(Some(answer)) => self.lookup_ended(key, answer),
            Err(e) => self.lookup_ended(key, Err(NotResolved(e.to_string()))),
        }
    }

    /// A child has taken too long.
    pub(crate) fn lookup_expired(&mut self, key: u64) {
        self.lookup_ended(key, Err(NotResolved("the name look-up took too long".into())));
    }

    /// Answers, and who waits for them.
    pub(crate) fn take_answered(&mut self) -> Vec<(Forward, Vec<Subject>)> {
        std::mem::take(&mut self.resolver.answered)
    }

    /// A login waits for nothing any more; what nobody waits for is not looked up.
    pub(crate) fn forget_lookups(&mut self, login: u64) {
        for asked in self.resolver.asked.values_mut() {
            asked.waiters.retain(|who| who.login() != Some(login));
        }
        let unwanted = self.resolver.asked.iter().filter(|(_, asked)| asked.waiters.is_empty());
        for key in unwanted.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.take_asked(key);
        }
        self.start_lookups();
    }

    fn start_lookups(&mut self) {
        while self.resolver.running < CHILDREN_MAX {
            let Some(key) = self.resolver.waiting.pop_front() else { return };
            let Some(asked) = self.resolver.asked.get_mut(&key) else { continue };
            let started = match resolve::forward(&asked.host, 0, Family::Any) {
                Ok(ForwardLookup::Done(answer)) => Err(answer),
                Ok(ForwardLookup::Pending(pending)) => {
                    let watched = self.poller.watch(&pending, Subject::Lookup(key), mio::Interest::READABLE);
                    watched.map(|w| (pending, w)).map_err(|e| Err(NotResolved(e.to_string())))
                }
                Err(e) => Err(Err(NotResolved(e.to_string()))),
            };
            match started {
                Ok(child) => {
                    asked.child = Some(child);
                    self.resolver.running += 1;
                    self.timers.set(Subject::Lookup(key), self.now + PATIENCE);
                }
                Err(answer) => self.lookup_ended(key, answer),
            }
        }
    }

    fn lookup_ended(&mut self, key: u64, answer: Forward) {
        let Some(asked) = self.take_asked(key) else { return };
        let known = &mut self.resolver.known;
        if known.len() >= KEPT_MAX
            && let Some(oldest) =
                known.iter().min_by_key(|(_, (_, until))| *until).map(|(host, _)| host.clone())
        {
            known.remove(&oldest);
        }
        known.insert(asked.host, (answer.clone(), self.now + KEPT));
        self.resolver.answered.push((answer, asked.waiters));
        self.start_lookups();
    }

    /// Ends a look-up; its child ends when it is dropped.
    fn take_asked(&mut self, key: u64) -> Option<Asked> {
        let mut asked = self.resolver.asked.remove(&key)?;
        self.timers.clear(Subject::Lookup(key));
        if let Some((pending, watched)) = asked.child.take() {
            self.poller.unwatch(&pending, watched);
            self.resolver.running -= 1;
        }
        Some(asked)
    }
}
