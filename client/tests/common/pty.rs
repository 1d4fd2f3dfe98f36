//! A client with a terminal: the test sits at the other side of a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A person at a terminal.
pub struct Person {
    terminal: File,
    /// Held so that the terminal outlives the client.
    line: OwnedFd,
    child: Child,
    seen: String,
}

impl Person {
    /// Starts a command at a new terminal of 100 columns and 40 rows, which controls it.
    pub fn start(command: &Command) -> Person {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut wrapped = Command::new("setsid");
        wrapped.args(["-c", "-w"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped.stdin(line.try_clone().unwrap());
        wrapped.stdout(line.try_clone().unwrap());
        wrapped.stderr(line.try_clone().unwrap());
        let mut person = Person {
            terminal: File::from(master),
            line,
            child: wrapped.spawn().unwrap(),
            seen: String::new(),
        };
        person.resize(100, 40);
        person
    }

    /// The process id of the command: `setsid` has become it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.line, size).unwrap();
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Reads until a text has been shown, and forgets everything up to it.
    #[track_caller]
    pub fn sees(&mut self, text: &str) -> String {
        let mut buffer = [0; 1024];
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            // The terminal itself never ends: the test holds it open.
            while !self.shows_something() {
                let ended = self.child.try_wait().unwrap();
                assert!(ended.is_none() || self.shows_something(), "{text:?} is not shown: {:?}", self.seen);
            }
            let n = self.terminal.read(&mut buffer).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    fn shows_something(&self) -> bool {
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        let a_while = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        rustix::event::poll(&mut fds, Some(&a_while)).unwrap() > 0
    }

    pub fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end of the command; returns its status and what was shown last.
    pub fn ends(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        drop(self.line);
        let mut rest = Vec::new();
        // A terminal without users ends with an error.
        let _ = self.terminal.read_to_end(&mut rest);
        (status, self.seen + &String::from_utf8_lossy(&rest))
    }
}
