//! The near end of a gate (`Via gate`): another `ssh`, ours or the installed one, runs the gate on the far host, and
//! forwardings go over its standard input and output. Whatever that `ssh` can do (jump hosts, security keys, control
//! connections) serves them; nothing here knows how the far host is reached.

mod command;
mod ears;

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use sockward_crypto::SystemRandom;
use sockward_drive::{Net, Session};
use sockward_proto::{Config, Connection, KeepAlive, Side};
use sockward_sys::fd;
use sockward_sys::spawn::Exit;
use sockward_wire::gate::{ANSWER, Finder, Found};

use crate::jobs::Jobs;
use crate::plan::Plan;
use crate::proxy::{self, Proxy};
use ears::Ears;

pub(crate) use command::{for_attempts, long_option, ssh_command};

/// How long the greeting may take once the far end has begun to print: a profile's output, not a program's. How
/// long a login takes is the other `ssh`'s business.
const NOISE_LASTS: Duration = Duration::from_secs(10);

/// Of the noise, what is shown when no greeting came.
const SHOWN: usize = 400;

/// Whether a far end that is gone without a word is noticed, where nothing else is said.
const KEEP_ALIVE: KeepAlive = KeepAlive { interval: Duration::from_secs(30), count_max: 3 };

/// How long the other `ssh` may take to exit after its output has ended, and how often it is looked at meanwhile.
const EXIT_TAKES: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The other `ssh` on its way: what the far host prints is read up to the gate's greeting. Never waits.
pub(crate) struct Meeting {
    net: Net,
    proxy: Proxy,
    finder: Finder,
    /// Who hears what the other `ssh` says; nobody the first time, when it may speak with people.
    ears: Option<Ears>,
    /// Until when the greeting must have come; none before anything has.
    until: Option<Instant>,
    /// The output has ended: until when an exit is waited for, and when to look next.
    ending: Option<(Instant, Instant)>,
}

/// There is no gate, for this reason.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoGate {
    /// A sentence.
    pub(crate) why: String,
    /// Whether time cannot mend it.
    pub(crate) is_final: bool,
}

impl From<String> for NoGate {
    fn from(why: String) -> Self {
        NoGate { why, is_final: false }
    }
}

impl Meeting {
    /// Runs the other `ssh`; its output is watched under `token`. With `jobs` a thread hears what it says, and passes
    /// it on. The error is a sentence.
    pub(crate) fn start(
        plan: &Plan,
        registry: &Registry,
        token: Token,
        jobs: Option<&Jobs>,
    ) -> Result<Self, String> {
        let (program, argv) = plan.far_command.clone().ok_or("there is no command that leads to a gate")?;
        let shown: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
        log::debug!("Reaching the gate by: {}", shown.join(" "));
        let cannot = |e: io::Error| format!("cannot run ssh: {e}");
        let (ears, stderr) = match jobs {
            Some(jobs) => Ears::open(plan, jobs).map(|(ears, stderr)| (Some(ears), Some(stderr))),
            None => Ok((None, None)),
        }
        .map_err(cannot)?;
        let (net, proxy) = proxy::through(program, argv, stderr).map_err(cannot)?;
        let fd = net.read_fd().as_raw_fd();
        let watched = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
        watched.map_err(|e| format!("cannot watch ssh: {e}"))?;
        Ok(Meeting { net, proxy, finder: Finder::default(), ears, until: None, ending: None })
    }

    /// When to call [`Self::step`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ending.map(|(_, look)| look).or(self.until)
    }

    /// Reads what there is. True: the gate is found and answered.
    pub(crate) fn step(&mut self, now: Instant) -> Result<bool, NoGate> {
        if self.ending.is_some() {
            return self.see_exit(now);
        }
        let mut buffer = [0; 4096];
        loop {
            match fd::read(self.net.read_fd(), &mut buffer) {
                Ok(0) => {
                    self.ending = Some((now + EXIT_TAKES, now));
                    return self.see_exit(now);
                }
                Ok(n) => {
                    self.until.get_or_insert(now + NOISE_LASTS);
                    let found = self.finder.push(buffer.get(..n).unwrap_or_default());
                    match found.map_err(|e| no_gate(&e.to_string(), &self.finder))? {
                        Found::Nothing => {}
                        Found::Greeting => return self.answer().map(|()| true),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(no_gate(&e.to_string(), &self.finder).into()),
            }
        }
        if self.until.is_some_and(|until| until <= now) {
            return Err(no_gate("no gate answered within 10 seconds of other output", &self.finder).into());
        }
        Ok(false)
    }

    /// The output has ended: the reason comes with the exit, and with what was said before it.
    fn see_exit(&mut self, now: Instant) -> Result<bool, NoGate> {
        let Some((until, _)) = self.ending else { return Ok(false) };
        let exit = self.proxy.exit();
        // A control master of its own may hold the pipe for longer.
        let heard_all = self.ears.as_mut().is_none_or(Ears::is_over);
        if now < until && (exit.is_none() || !heard_all) && self.proxy.is_command() {
            self.ending = Some((until, now + LOOK_EVERY));
            return Ok(false);
        }
        let last_words = self.ears.as_ref().and_then(Ears::last_words);
        Err(NoGate { is_final: is_final(exit, last_words.as_deref()), why: self.why(exit, last_words) })
    }

    fn why(&self, exit: Option<Exit>, last_words: Option<String>) -> String {
        match (exit, last_words) {
            (Some(Exit::Code(SSH_FAILED)), Some(words)) => format!("no gate: {words}"),
            (Some(Exit::Code(status)), _) if is_of_command(status) => {
                no_gate(&format!("the far command ended with status {status}"), &self.finder)
            }
            _ => no_gate("the far command ended", &self.finder),
        }
    }

    fn answer(&self) -> Result<(), NoGate> {
        // A pipe that has just been made takes these few bytes at once.
        let to = self.net.write_fd().unwrap_or(self.net.read_fd());
        match fd::write(to, ANSWER) {
            Ok(n) if n == ANSWER.len() => Ok(()),
            Ok(_) | Err(_) => Err("the gate does not listen".to_owned().into()),
        }
    }

    /// The stream that leads to the gate, not watched any more, and what it leads through.
    pub(crate) fn into_stream(self, registry: &Registry) -> (Net, Proxy) {
        let fd = self.net.read_fd().as_raw_fd();
        // It was registered, and closing it would do the same.
        let _ = registry.deregister(&mut SourceFd(&fd));
        (self.net, self.proxy)
    }

    /// It leads nowhere: what is to be ended.
    pub(crate) fn into_proxy(self) -> Proxy {
        self.proxy
    }
}

/// The connection layer over the stream that leads to the gate.
pub(crate) fn session(
    net: Net,
    index: usize,
    keep_alive: Option<KeepAlive>,
    registry: &Registry,
) -> io::Result<Session> {
    let mut config = Config::null(Side::Client);
    config.keep_alive = Some(keep_alive.unwrap_or(KEEP_ALIVE));
    let conn = Connection::new(config, Box::new(SystemRandom::new()), Instant::now());
    Session::new(index, conn.map_err(io::Error::other)?, net, registry)
}

/// What ssh(1) exits with where it failed itself; otherwise its status is the far command's.
const SSH_FAILED: i32 = 255;

/// Whether the far command itself ended with this status, and not by a signal: shells have 128 and more for those. 0
/// is what a gate ends with that is told to.
fn is_of_command(status: i32) -> bool {
    (1..128).contains(&status)
}

/// Whether time cannot mend what ended the other `ssh`. What is not known to be so is tried again.
fn is_final(exit: Option<Exit>, last_words: Option<&str>) -> bool {
    match exit {
        Some(Exit::Code(SSH_FAILED)) => last_words.is_some(),
        // 127: there is no such command.
        Some(Exit::Code(status)) => is_of_command(status),
        Some(Exit::Signal { .. }) | None => false,
    }
}

fn no_gate(why: &str, finder: &Finder) -> String {
    let noise = String::from_utf8_lossy(finder.noise().get(..SHOWN).unwrap_or(finder.noise())).into_owned();
    match noise.trim() {
        "" => format!("no gate: {why}"),
        noise => format!("no gate: {why}; the far host said: {}", noise.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_wire::gate::{GREETING, NOISE_MAX};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn meet_with(words: &[u8]) -> Result<Vec<u8>, String> {
        let (mut far, near) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let words = words.to_vec();
        let talker = std::thread::spawn(move || {
            // The near end may hang up before all is said.
            let _ = far.write_all(&words);
            let _ = far.shutdown(std::net::Shutdown::Write);
            let mut heard = Vec::new();
            let _ = far.read_to_end(&mut heard);
            heard
        });
        let net = Net::socket(near.into());
        let proxy = Proxy::OwnStreams(None);
        let finder = Finder::default();
        let mut meeting = Meeting { net, proxy, finder, ears: None, until: None, ending: None };
        let met = loop {
            match meeting.step(Instant::now()) {
                Ok(false) => fd::wait_readable_long(meeting.net.read_fd()).unwrap(),
                end => break end,
            }
        };
        drop(meeting);
        let heard = talker.join().unwrap();
        met.map(|_| heard).map_err(|none| none.why)
    }

    #[test]
    fn the_gate_is_found_behind_noise_and_answered() {
        sockward_sys::signal::ignore_sigpipe();
        let words = [b"Last login: never\n", GREETING].concat();
        assert_eq!(meet_with(&words), Ok(ANSWER.to_vec()));
        assert!(meet_with(b"bash: sockward: command not found\n").unwrap_err().contains("command not found"));
        assert!(meet_with(&vec![b'x'; NOISE_MAX * 2]).unwrap_err().contains("64 KiB"));
        assert!(meet_with(&[GREETING, &[0; 9]].concat()).unwrap_err().contains("behind the greeting"));
    }

    #[test]
    fn a_command_that_failed_is_final_and_one_that_was_ended_is_not() {
        let words = Some("Host key verification failed.");
        for (exit, words) in [(1, None), (127, None), (127, words), (255, words)] {
            assert!(is_final(Some(Exit::Code(exit)), words), "{exit}");
        }
        for (exit, words) in [(0, None), (143, None), (254, words), (255, None)] {
            assert!(!is_final(Some(Exit::Code(exit)), words), "{exit}");
        }
        assert!(!is_final(None, words));
    }
}
