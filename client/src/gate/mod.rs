//! The near end of a gate (`Via gate`): another `ssh`, ours or the installed one, runs the gate on the far host, and
//! forwardings go over its standard input and output. Whatever that `ssh` can do (jump hosts, security keys, control
//! connections) serves them; nothing here knows how the far host is reached.

mod command;

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use sockward_crypto::SystemRandom;
use sockward_drive::{Net, Session};
use sockward_proto::{Config, Connection, KeepAlive, Side};
use sockward_sys::fd;
use sockward_wire::gate::{ANSWER, Finder, Found};

use crate::plan::Plan;
use crate::proxy::{self, Proxy};

pub(crate) use command::{long_option, ssh_command};

/// How long the greeting may take once the far end has begun to print: a profile's output, not a program's. How
/// long a login takes is the other `ssh`'s business.
const NOISE_LASTS: Duration = Duration::from_secs(10);

/// Of the noise, what is shown when no greeting came.
const SHOWN: usize = 400;

/// Whether a far end that is gone without a word is noticed, where nothing else is said.
const KEEP_ALIVE: KeepAlive = KeepAlive { interval: Duration::from_secs(30), count_max: 3 };

/// The other `ssh` on its way: what the far host prints is read up to the gate's greeting. Never waits.
pub(crate) struct Meeting {
    net: Net,
    proxy: Proxy,
    finder: Finder,
    /// Until when the greeting must have come; none before anything has.
    until: Option<Instant>,
}

impl Meeting {
    /// Runs the other `ssh`; its output is watched under `token`. The error is a sentence.
    pub(crate) fn start(plan: &Plan, registry: &Registry, token: Token) -> Result<Self, String> {
        let (program, argv) = plan.far_command.clone().ok_or("there is no command that leads to a gate")?;
        let shown: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
        log::debug!("Reaching the gate by: {}", shown.join(" "));
        let (net, proxy) = proxy::through(program, argv).map_err(|e| format!("cannot run ssh: {e}"))?;
        let fd = net.read_fd().as_raw_fd();
        let watched = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
        watched.map_err(|e| format!("cannot watch ssh: {e}"))?;
        Ok(Meeting { net, proxy, finder: Finder::default(), until: None })
    }

    /// When to call [`Self::step`] even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Reads what there is. True: the gate is found and answered.
    pub(crate) fn step(&mut self, now: Instant) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        loop {
            match fd::read(self.net.read_fd(), &mut buffer) {
                Ok(0) => return Err(no_gate("the far command ended", &self.finder)),
                Ok(n) => {
                    self.until.get_or_insert(now + NOISE_LASTS);
                    let found = self.finder.push(buffer.get(..n).unwrap_or_default());
                    match found.map_err(|e| no_gate(&e.to_string(), &self.finder))? {
                        Found::Nothing => {}
                        Found::Greeting => return self.answer().map(|()| true),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(no_gate(&e.to_string(), &self.finder)),
            }
        }
        if self.until.is_some_and(|until| until <= now) {
            return Err(no_gate("no gate answered within 10 seconds of other output", &self.finder));
        }
        Ok(false)
    }

    fn answer(&self) -> Result<(), String> {
        // A pipe that has just been made takes these few bytes at once.
        let to = self.net.write_fd().unwrap_or(self.net.read_fd());
        match fd::write(to, ANSWER) {
            Ok(n) if n == ANSWER.len() => Ok(()),
            Ok(_) | Err(_) => Err("the gate does not listen".into()),
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
        let mut meeting =
            Meeting { net, proxy: Proxy::OwnStreams(None), finder: Finder::default(), until: None };
        let met = loop {
            match meeting.step(Instant::now()) {
                Ok(false) => fd::wait_readable_long(meeting.net.read_fd()).unwrap(),
                end => break end,
            }
        };
        drop(meeting);
        let heard = talker.join().unwrap();
        met.map(|_| heard)
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
}
