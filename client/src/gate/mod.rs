//! The near end of a gate (`Via gate`): another `ssh`, ours or the installed one, runs the gate on the far host, and
//! forwardings go over its standard input and output. Whatever that `ssh` can do (jump hosts, security keys, control
//! connections) serves them; nothing here knows how the far host is reached.

mod command;

use std::io;
use std::time::{Duration, Instant};

use sockward_crypto::SystemRandom;
use sockward_drive::{Net, Session};
use sockward_proto::{Config, Connection, KeepAlive, Side};
use sockward_sys::fd;
use sockward_sys::signal::{Signal, Signals};
use sockward_sys::stream::{Wait, wait};
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

/// Runs the other `ssh` and finds the gate behind what the far host prints. Waits, and ends the process with a signal
/// that comes meanwhile. The error is a sentence.
pub(crate) fn start(plan: &Plan, signals: &Signals) -> Result<(Net, Proxy), String> {
    let (program, argv) = plan.far_command.clone().ok_or("there is no command that leads to a gate")?;
    let shown: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
    log::debug!("Reaching the gate by: {}", shown.join(" "));
    let (net, proxy) = proxy::through(program, argv).map_err(|e| format!("cannot run ssh: {e}"))?;
    meet(&net, signals).map(|()| (net, proxy))
}

/// The connection layer over the stream that leads to the gate.
pub(crate) fn session(
    net: Net,
    index: usize,
    keep_alive: Option<KeepAlive>,
    registry: &mio::Registry,
) -> io::Result<Session> {
    let mut config = Config::null(Side::Client);
    config.keep_alive = Some(keep_alive.unwrap_or(KEEP_ALIVE));
    let conn = Connection::new(config, Box::new(SystemRandom::new()), Instant::now());
    Session::new(index, conn.map_err(io::Error::other)?, net, registry)
}

fn meet(net: &Net, signals: &Signals) -> Result<(), String> {
    let mut finder = Finder::default();
    let mut until: Option<Instant> = None;
    let mut buffer = [0; 4096];
    loop {
        match fd::read(net.read_fd(), &mut buffer) {
            Ok(0) => return Err(no_gate("the far command ended", &finder)),
            Ok(n) => {
                until.get_or_insert_with(|| Instant::now() + NOISE_LASTS);
                let found = finder.push(buffer.get(..n).unwrap_or_default());
                match found.map_err(|e| no_gate(&e.to_string(), &finder))? {
                    Found::Nothing => continue,
                    Found::Greeting => break,
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(no_gate(&e.to_string(), &finder)),
        }
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let fd = net.read_fd();
        let mut waits = [Wait::new(&fd, true, false), Wait::new(signals, true, false)];
        if !wait(&mut waits, left).map_err(|e| e.to_string())? {
            return Err(no_gate("no gate answered within 10 seconds of other output", &finder));
        }
        while let Some(signal) = signals.next().map_err(|e| e.to_string())? {
            if !matches!(signal, Signal::WindowChange | Signal::Child) {
                signal.end_process();
            }
        }
    }
    // A pipe that has just been made takes these few bytes at once.
    let to = net.write_fd().unwrap_or(net.read_fd());
    match fd::write(to, ANSWER) {
        Ok(n) if n == ANSWER.len() => Ok(()),
        Ok(_) | Err(_) => Err("the gate does not listen".into()),
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
        let met = meet(&net, &Signals::new(&[]).unwrap());
        drop(net);
        let heard = talker.join().unwrap();
        met.map(|()| heard)
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
