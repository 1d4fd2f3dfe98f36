//! Connecting, on this machine, to what the server's listeners (`-R`) are bound to: names looked up by jobs, all
//! addresses tried, sockets that are too busy asked again. Nothing waits, and nobody waits for another's target.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use sockward_config::forward::Target;
use sockward_proto::ChannelId;
use sockward_proto::event::OpenQuestion;
use sockward_sys::resolve::{Family, Forward, NotResolved, forward_blocking, without_asking};
use sockward_sys::{tcp, unix};

use crate::connect::reason;
use crate::jobs::{Job, Jobs};
use crate::watched::Watched;

/// A socket whose backlog is full is asked again after so long, and not for longer than so long.
const BUSY_AGAIN: Duration = Duration::from_millis(20);
const BUSY_FOR: Duration = Duration::from_secs(10);

/// Look-ups at once: a thread each, and the SOCKS clients of a listener on the server name what they like.
const NAMES_MAX: usize = 256;

/// Who waits for a connection.
#[derive(Debug)]
pub(crate) enum Whose {
    /// The server, for its answer.
    Question(OpenQuestion),
    /// A SOCKS client at the other end of a channel.
    Socks(ChannelId),
    /// Nobody: whether it can be made is all there is to know.
    Probe,
}

/// Connections on their way, each with who waits for it.
pub(crate) struct Targets {
    next: usize,
    family: Family,
    names: HashMap<(String, u16), Names>,
    trying: HashMap<usize, Attempt>,
    busy: Vec<Busy>,
    done: Vec<Outcome>,
}

/// A look-up and all who wait for it.
struct Names {
    job: Job<Forward>,
    waiting: Vec<Whose>,
}

struct Attempt {
    whose: Whose,
    socket: OwnedFd,
    shown: String,
    left: VecDeque<SocketAddr>,
}

struct Busy {
    whose: Whose,
    path: Vec<u8>,
    shown: String,
    again: Instant,
    until: Instant,
}

/// What became of it: a connected socket, or why there is none, for the server.
pub(crate) type Outcome = (Whose, Result<OwnedFd, String>);

impl Targets {
    /// None yet.
    pub(crate) fn new(family: Family) -> Self {
        Targets {
            next: 0,
            family,
            names: HashMap::new(),
            trying: HashMap::new(),
            busy: Vec::new(),
            done: Vec::new(),
        }
    }

    /// What has come to an end since the last call.
    pub(crate) fn finished(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.done)
    }

    /// When to call [`Self::wake`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.busy.iter().map(|busy| busy.again).min()
    }

    /// Begins to connect. `home` is what `~` stands for.
    pub(crate) fn connect(
        &mut self,
        whose: Whose,
        target: &Target,
        home: &[u8],
        jobs: &Jobs,
        registry: &Registry,
        now: Instant,
    ) {
        match target {
            Target::Tcp { host, port } => self.connect_tcp(whose, host, *port, jobs, registry),
            Target::Unix(path) => match path.near(home) {
                Ok(near) => {
                    let shown = path.to_string();
                    let path = near.as_bytes().to_vec();
                    self.connect_unix(Busy { whose, path, shown, again: now, until: now + BUSY_FOR }, now);
                }
                Err(e) => self.fail(whose, &path.to_string(), e.to_string()),
            },
            // Its clients say where to.
            Target::Socks => self.fail(whose, "socks", "no target".to_owned()),
        }
    }

    fn connect_tcp(&mut self, whose: Whose, host: &str, port: u16, jobs: &Jobs, registry: &Registry) {
        if let Some(known) = without_asking(host, port, self.family) {
            return self.resolved(vec![whose], host, port, known, registry);
        }
        let key = (host.to_owned(), port);
        if let Some(names) = self.names.get_mut(&key) {
            return names.waiting.push(whose);
        }
        if self.names.len() >= NAMES_MAX {
            return self.fail(whose, host, "too many names are looked up".to_owned());
        }
        let (name, family) = (host.to_owned(), self.family);
        match jobs.start(move || forward_blocking(&name, port, family)) {
            Ok(job) => drop(self.names.insert(key, Names { job, waiting: vec![whose] })),
            Err(e) => self.fail(whose, host, reason(&e)),
        }
    }

    fn resolved(&mut self, waiting: Vec<Whose>, host: &str, port: u16, found: Forward, registry: &Registry) {
        match found {
            Ok(addresses) => {
                for whose in waiting {
                    let left = addresses.clone().into();
                    self.try_next(whose, format!("{host} port {port}"), left, None, registry);
                }
            }
            Err(NotResolved(why)) => {
                log::error!("connect_to {host}: unknown host ({why})");
                self.done.extend(waiting.into_iter().map(|whose| (whose, Err(why.clone()))));
            }
        }
    }

    fn try_next(
        &mut self,
        whose: Whose,
        shown: String,
        mut left: VecDeque<SocketAddr>,
        mut last: Option<io::Error>,
        registry: &Registry,
    ) {
        while let Some(address) = left.pop_front() {
            let number = self.next;
            let token = Watched::Target(number).token();
            let begun = tcp::connect(address, None).and_then(|socket| {
                tcp::set_nodelay(&socket)?;
                registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::WRITABLE)?;
                Ok(socket)
            });
            match begun {
                Ok(socket) => {
                    self.next += 1;
                    self.trying.insert(number, Attempt { whose, socket, shown, left });
                    return;
                }
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(|| "no address".to_owned(), |error| reason(&error));
        log::error!("connect_to {shown}: failed.");
        self.done.push((whose, Err(why)));
    }

    /// The poller says that the n-th connection is made or has failed.
    pub(crate) fn ready(&mut self, number: usize, registry: &Registry) {
        let Some(attempt) = self.trying.get(&number) else { return };
        let result = tcp::connect_result(&attempt.socket);
        if matches!(result, Ok(false)) {
            return;
        }
        let Some(Attempt { whose, socket, shown, left }) = self.trying.remove(&number) else { return };
        // Whoever gets it watches it in his own way; closing it would do the same.
        let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        match result {
            Ok(_) => self.done.push((whose, Ok(socket))),
            Err(error) => {
                drop(socket);
                self.try_next(whose, shown, left, Some(error), registry);
            }
        }
    }

    fn connect_unix(&mut self, busy: Busy, now: Instant) {
        match unix::connect_path(&busy.path) {
            Ok(socket) => self.done.push((busy.whose, Ok(socket))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && now < busy.until => {
                self.busy.push(Busy { again: now + BUSY_AGAIN, ..busy });
            }
            Err(error) => self.fail(busy.whose, &busy.shown, reason(&error)),
        }
    }

    /// A job has ended or the deadline has come.
    pub(crate) fn wake(&mut self, registry: &Registry, now: Instant) {
        let mut found = Vec::new();
        self.names.retain(|key, names| match names.job.poll() {
            None => true,
            Some(answer) => {
                found.push((key.clone(), std::mem::take(&mut names.waiting), answer));
                false
            }
        });
        for ((host, port), waiting, answer) in found {
            self.resolved(waiting, &host, port, answer, registry);
        }
        let (due, later) = std::mem::take(&mut self.busy).into_iter().partition(|busy| busy.again <= now);
        self.busy = later;
        let due: Vec<Busy> = due;
        for busy in due {
            self.connect_unix(busy, now);
        }
    }

    fn fail(&mut self, whose: Whose, shown: &str, why: String) {
        log::error!("connect to {shown} failed: {why}");
        self.done.push((whose, Err(why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    #[test]
    fn look_ups_have_a_limit() {
        let poll = Poll::new().unwrap();
        let jobs = Jobs::new(&poll, Token(0)).unwrap();
        let mut targets = Targets::new(Family::Any);
        for n in 0..NAMES_MAX + 1 {
            // Nobody is asked for such a name.
            targets.connect_tcp(Whose::Probe, &format!("no such name {n}"), 1, &jobs, poll.registry());
        }
        let Some((_, Err(why))) = targets.finished().pop() else { panic!("all are looked up") };
        assert_eq!((why.as_str(), targets.names.len()), ("too many names are looked up", NAMES_MAX));
        while !targets.names.is_empty() {
            targets.wake(poll.registry(), Instant::now());
        }
        assert_eq!(targets.finished().len(), NAMES_MAX);
    }
}
