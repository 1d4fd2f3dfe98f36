//! The parts of the monitor and of the workers in the conversation.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sockward_policy::{
    Account, Conflict, Forwarding, Limit, Limits, Permit, SessionPermit, SocketBirth, Unlink,
};
use sockward_privsep::helper::{Event, FromHelper, Login, ToHelper};
use sockward_privsep::login::{Answer, Endpoint, ExitStatus, Program, Refusal, Request, Stream};
use sockward_privsep::role::{Arguments, Role};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::fd;
use sockward_sys::link::Link;
use sockward_sys::spawn::{self, Child, Exit, SelfExe};

/// Uids that belong to nobody here.
pub(crate) const ALEX: u32 = 54_101;
pub(crate) const EVE: u32 = 54_102;

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a refusal says.
pub(crate) type Refused = (Refusal, String);

/// A helper and the monitor's end of its link.
pub(crate) struct Helper {
    pub(crate) link: Channel<ToHelper, FromHelper>,
    pub(crate) child: Child,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) errors: Vec<String>,
    /// Logins that it has ended.
    pub(crate) ended: Vec<u64>,
    /// How often it has said that nothing is left.
    pub(crate) idle: usize,
    /// Sockets whose group it asks for.
    pub(crate) groups: VecDeque<(u64, OwnedFd)>,
    next: u64,
}

impl Helper {
    /// One that acts for a user; `gid` is its only group.
    pub(crate) fn start_with(uid: u32, gid: u32) -> Helper {
        let (ours, theirs) = Link::pair().unwrap();
        let arguments = Arguments {
            role: Role::Helper,
            ids: Some((uid, gid)),
            groups_of: None,
            log_level: "DEBUG3".into(),
        };
        let stderr = io::stderr();
        let child = SelfExe::open()
            .unwrap()
            .spawn(&spawn::Role {
                argv: arguments.to_args("sockward: helper"),
                stderr: Some(stderr.as_fd()),
                descriptors: vec![theirs.as_fd()],
                ..spawn::Role::default()
            })
            .unwrap();
        Helper {
            link: Channel::new(ours),
            child,
            events: Vec::new(),
            errors: Vec::new(),
            ended: Vec::new(),
            idle: 0,
            groups: VecDeque::new(),
            next: 0,
        }
    }

    pub(crate) fn start(uid: u32) -> Helper {
        Helper::start_with(uid, uid)
    }

    /// A login with this permit, and the worker's end of its link.
    pub(crate) fn log_in(&mut self, permit: Permit) -> Worker {
        let (ours, theirs) = Link::pair().unwrap();
        let id = self.next;
        self.next += 1;
        let connection = ["192.0.2.7", "4242", "192.0.2.1", "22"].map(str::to_owned);
        let login = Login { id, permit, connection, label: "alex".into() };
        self.link.say(&ToHelper::Login(Box::new(login)), Some(theirs.into())).unwrap();
        Worker { link: Channel::new(ours), login: id, next: 0, aside: VecDeque::new() }
    }

    /// Hears one message; false at the end of the link.
    pub(crate) fn hear(&mut self) -> bool {
        let mut buffer = Channel::<ToHelper, FromHelper>::buffer();
        loop {
            match self.link.hear(&mut buffer).unwrap() {
                Outcome::Message(message, fd) => {
                    match (message, fd) {
                        (FromHelper::Event { login, event }, None) => self.events.push((login, event)),
                        (FromHelper::Log { error, text }, None) => {
                            if error {
                                self.errors.push(text);
                            }
                        }
                        (FromHelper::LoginEnded { login }, None) => self.ended.push(login),
                        (FromHelper::Idle, None) => self.idle += 1,
                        (FromHelper::SetGroup { id, .. }, Some(fd)) => self.groups.push_back((id, fd)),
                        other => panic!("{other:?}"),
                    }
                    return true;
                }
                Outcome::Empty => {
                    assert!(fd::wait_readable(&self.link, PATIENCE).unwrap(), "the helper says nothing");
                }
                Outcome::End => return false,
            }
        }
    }

    /// Hears what has been said so far.
    pub(crate) fn drain(&mut self) {
        while fd::wait_readable(&self.link, Duration::ZERO).unwrap() && self.hear() {}
    }

    /// Hears until something holds.
    #[track_caller]
    pub(crate) fn until(&mut self, holds: impl Fn(&Helper) -> bool) {
        while !holds(self) {
            assert!(self.hear(), "the helper has gone: {:?}", self.errors);
        }
    }

    /// The next event of a kind.
    #[track_caller]
    pub(crate) fn event<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.events.iter().find_map(|(_, event)| wanted(event)) {
                return found;
            }
            assert!(self.hear(), "the helper has gone: {:?}", self.errors);
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Bytes of memory of its own.
    pub(crate) fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// Closes the link; how the helper ended.
    pub(crate) fn end(mut self) -> Exit {
        drop(self.link);
        self.child.wait().unwrap()
    }
}

/// A worker's end of a login's link.
pub(crate) struct Worker {
    pub(crate) link: Channel<Request, Answer>,
    pub(crate) login: u64,
    next: u64,
    /// Answers that came while another was waited for.
    aside: VecDeque<(Answer, Option<OwnedFd>)>,
}

/// An answer about listeners.
pub(crate) type Listening = (u64, Option<u16>);

impl Worker {
    /// Asks; the question's number.
    pub(crate) fn ask(&mut self, make: impl FnOnce(u64) -> Request) -> u64 {
        let id = self.next;
        self.next += 1;
        self.link.say(&make(id), None).unwrap();
        id
    }

    /// The next answer; none when the helper has ended the login.
    pub(crate) fn answer(&mut self) -> Option<(Answer, Option<OwnedFd>)> {
        self.answer_within(PATIENCE).expect_answer()
    }

    /// As [`Self::answer`]; `Err` when there is none in time.
    fn answer_within(&mut self, time: Duration) -> Waited {
        let mut buffer = Channel::<Request, Answer>::buffer();
        let until = Instant::now() + time;
        loop {
            // What is still to be said goes out as the helper takes it.
            let flushed = self.link.flush();
            match self.link.hear(&mut buffer).unwrap() {
                Outcome::Message(answer, fd) => return Waited::Heard(Some((answer, fd))),
                Outcome::End => return Waited::Heard(None),
                Outcome::Empty => {
                    flushed.unwrap();
                    let step = if self.link.backlog() > 0 {
                        Duration::from_millis(1)
                    } else {
                        until - Instant::now()
                    };
                    if !fd::wait_readable(&self.link, step).unwrap() && Instant::now() >= until {
                        return Waited::TimeOut;
                    }
                }
            }
        }
    }

    /// The next answer that is wanted; others stay for later.
    #[track_caller]
    pub(crate) fn find<T>(
        &mut self,
        mut wanted: impl FnMut(Answer, Option<OwnedFd>) -> Result<T, (Answer, Option<OwnedFd>)>,
    ) -> T {
        let mut aside = std::mem::take(&mut self.aside);
        for _ in 0..aside.len() {
            let Some((answer, fd)) = aside.pop_front() else { break };
            match wanted(answer, fd) {
                Ok(found) => {
                    aside.append(&mut self.aside);
                    self.aside = aside;
                    return found;
                }
                Err(other) => aside.push_back(other),
            }
        }
        self.aside = aside;
        loop {
            let Some((answer, fd)) = self.answer() else { panic!("the login has ended") };
            match wanted(answer, fd) {
                Ok(found) => return found,
                Err(other) => self.aside.push_back(other),
            }
        }
    }

    #[track_caller]
    pub(crate) fn opened(&mut self, wanted: u64) -> Result<OwnedFd, Refused> {
        self.find(|answer, fd| match (answer, fd) {
            (Answer::Opened { id }, Some(fd)) if id == wanted => Ok(Ok(fd)),
            (Answer::Refused { id, why, text }, None) if id == wanted => Ok(Err((why, text))),
            other => Err(other),
        })
    }

    #[track_caller]
    pub(crate) fn open(&mut self, target: Endpoint) -> Result<OwnedFd, Refused> {
        let id = self.ask(|id| Request::Open { id, target });
        self.opened(id)
    }

    #[track_caller]
    pub(crate) fn listening(&mut self, wanted: u64) -> Result<Listening, Refused> {
        self.find(|answer, fd| match (answer, fd) {
            (Answer::Listening { id, listener, port }, None) if id == wanted => Ok(Ok((listener, port))),
            (Answer::Refused { id, why, text }, None) if id == wanted => Ok(Err((why, text))),
            other => Err(other),
        })
    }

    #[track_caller]
    pub(crate) fn listen(&mut self, at: Endpoint) -> Result<Listening, Refused> {
        let id = self.ask(|id| Request::Listen { id, at });
        self.listening(id)
    }

    #[track_caller]
    pub(crate) fn unlisten(&mut self, at: Endpoint) -> Result<u64, Refused> {
        let wanted = self.ask(|id| Request::Unlisten { id, at });
        self.find(|answer, fd| match (answer, fd) {
            (Answer::Unlistened { id, listener }, None) if id == wanted => Ok(Ok(listener)),
            (Answer::Refused { id, why, text }, None) if id == wanted => Ok(Err((why, text))),
            other => Err(other),
        })
    }

    /// The next connection: listener, number, origin, descriptor.
    #[track_caller]
    pub(crate) fn accepted(&mut self) -> (u64, u64, Option<(String, u16)>, OwnedFd) {
        self.find(|answer, fd| match (answer, fd) {
            (Answer::Accepted { listener, connection, origin }, Some(fd)) => {
                Ok((listener, connection, origin, fd))
            }
            other => Err(other),
        })
    }

    #[track_caller]
    pub(crate) fn done(&mut self, wanted: u64) -> Result<(), Refused> {
        self.find(|answer, fd| match (answer, fd) {
            (Answer::Done { id }, None) if id == wanted => Ok(Ok(())),
            (Answer::Refused { id, why, text }, None) if id == wanted => Ok(Err((why, text))),
            other => Err(other),
        })
    }

    /// A session channel; its number.
    #[track_caller]
    pub(crate) fn session(&mut self) -> Result<u64, Refused> {
        let id = self.ask(|id| Request::OpenSession { id });
        self.done(id).map(|()| id)
    }

    #[track_caller]
    pub(crate) fn env(&mut self, session: u64, name: &str, value: &str) -> Result<(), Refused> {
        let (name, value) = (name.into(), value.into());
        let id = self.ask(|id| Request::Env { id, session, name, value });
        self.done(id)
    }

    /// Runs something; its streams.
    #[track_caller]
    pub(crate) fn execute(&mut self, session: u64, what: Program) -> Result<Streams, Refused> {
        let id = self.ask(|id| Request::Execute { id, session, what });
        self.done(id)?;
        let mut ends = Vec::new();
        for wanted in [Stream::Stdin, Stream::Stdout, Stream::Stderr] {
            ends.push(self.find(|answer, fd| match (answer, fd) {
                (Answer::Stream { session: s, stream }, Some(fd)) if s == session && stream == wanted => {
                    Ok(fd)
                }
                other => Err(other),
            }));
        }
        let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(ends).unwrap();
        Ok(Streams { stdin: Some(stdin), stdout, stderr })
    }

    #[track_caller]
    pub(crate) fn exited(&mut self, wanted: u64) -> ExitStatus {
        self.find(|answer, fd| match (answer, fd) {
            (Answer::Exited { session, status }, None) if session == wanted => Ok(status),
            other => Err(other),
        })
    }

    /// Runs a command to its end, nothing on its standard input: what it wrote and how it ended.
    #[track_caller]
    pub(crate) fn run(&mut self, command: &str) -> (String, String, ExitStatus) {
        let session = self.session().unwrap();
        let mut streams = self.execute(session, Program::Exec(command.into())).unwrap();
        streams.stdin = None;
        let output = (read_all(&streams.stdout), read_all(&streams.stderr), self.exited(session));
        self.link.say(&Request::CloseSession { session }, None).unwrap();
        output
    }
}

/// What a wait for an answer came to.
enum Waited {
    Heard(Option<(Answer, Option<OwnedFd>)>),
    TimeOut,
}

impl Waited {
    fn expect_answer(self) -> Option<(Answer, Option<OwnedFd>)> {
        match self {
            Waited::Heard(heard) => heard,
            Waited::TimeOut => panic!("no answer"),
        }
    }
}

/// The worker's ends of a command's streams.
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Everything up to the end, from a descriptor that does not block.
pub(crate) fn read_all(fd: &OwnedFd) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match fd::read(fd, &mut buffer) {
            Ok(0) => return String::from_utf8(all).unwrap(),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                assert!(fd::wait_readable(fd, PATIENCE).unwrap(), "neither data nor an end");
            }
            // Closed with something of ours unread.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return String::from_utf8(all).unwrap(),
            Err(e) => panic!("{e}"),
        }
    }
}

/// Whether what is written on one comes out of the other.
#[track_caller]
pub(crate) fn assert_joined(a: &OwnedFd, b: &OwnedFd) {
    for (from, to) in [(a, b), (b, a)] {
        assert_eq!(fd::write(from, b"ping").unwrap(), 4);
        assert!(fd::wait_readable(to, PATIENCE).unwrap());
        let mut buffer = [0; 8];
        assert_eq!(fd::read(to, &mut buffer).unwrap(), 4);
    }
}

/// Waits for something that nobody tells of.
#[track_caller]
pub(crate) fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A permit that restricts nothing.
pub(crate) fn permit(uid: u32) -> Permit {
    Permit {
        account: Account {
            name: "alex".into(),
            uid,
            gid: uid,
            home: b"/nonexistent".into(),
            shell: b"/bin/sh".into(),
        },
        forwarding: Forwarding::default(),
        birth: SocketBirth { mode: 0o600, group: None, unlink: Unlink::Stale, conflict: Conflict::Refuse },
        peers: Vec::new(),
        limits: Limits { sessions: Limit::NONE, listeners: Limit::NONE, forwarded_connections: Limit::NONE },
        session: SessionPermit::default(),
    }
}

pub(crate) fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp { host: host.into(), port: port.into() }
}

pub(crate) fn unix(path: &Path) -> Endpoint {
    Endpoint::Path(path.as_os_str().as_encoded_bytes().to_vec())
}

pub(crate) fn named(path: &str) -> Endpoint {
    Endpoint::Path(path.into())
}

/// A directory of mode 0755 that goes away with the value.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        TempDir::below(&std::env::temp_dir())
    }

    pub(crate) fn below(parent: &Path) -> TempDir {
        let path = parent.join(format!("sockward-helper-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        give(&path, 0, 0o755);
        TempDir(path)
    }

    /// A new directory in it.
    pub(crate) fn dir(&self, name: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        give(&path, owner, mode);
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn give(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
