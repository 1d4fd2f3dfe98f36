//! Monitor and helper: logins come with their permits, facts for the log and the audit go back.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sockward_policy::{By, Permit};

use crate::login::Connection;

/// What the monitor says to a helper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHelper {
    /// A new login. The descriptor is its link to the worker.
    Login(Box<Login>),
    /// The answer to [`FromHelper::SetGroup`].
    GroupSet {
        /// The question's number.
        id: u64,
        /// What went wrong, if something did.
        error: Option<String>,
    },
    /// End a login at once.
    EndLogin {
        /// Which.
        login: u64,
    },
}

/// One login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Its number, the monitor's.
    pub id: u64,
    /// What it may do.
    pub permit: Permit,
    /// The addresses of its connection, for SSH_CONNECTION: client, client port, server, server port.
    pub connection: [String; 4],
    /// Who logged in and with what, for people: "alex from 192.0.2.7 port 4242 key SHA256:…".
    pub label: String,
}

/// What a helper says to the monitor. `login` says whose doing it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHelper {
    /// A fact of a login.
    Event {
        /// Which login.
        login: u64,
        /// What happened.
        event: Event,
    },
    /// Give this socket the group of the login's permit. The descriptor is the socket file, O_PATH.
    SetGroup {
        /// Which login.
        login: u64,
        /// The question's number.
        id: u64,
    },
    /// A login's link has ended and everything it had is gone.
    LoginEnded {
        /// Which login.
        login: u64,
    },
    /// No login and no command is left. The helper may be let go, by closing its link, if no login has been
    /// sent to it meanwhile: only the monitor knows that.
    Idle,
    /// So many facts were not told, because the monitor did not keep up.
    Lost {
        /// How many.
        count: u64,
    },
    /// A line for the log.
    Log {
        /// Whether it is an error.
        error: bool,
        /// The text.
        text: String,
    },
}

/// What happens in a login: the material of the log and the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A listener was asked for.
    Listen {
        /// What was asked for.
        at: String,
        /// Where it really is, or why not.
        result: Result<String, String>,
        /// The line that decided.
        by: Option<By>,
    },
    /// A listener is gone.
    Unlisten {
        /// What was asked for.
        at: String,
    },
    /// A target was asked for.
    Open {
        /// The connection's number from now on, if it is granted.
        connection: Connection,
        /// What was asked for.
        target: String,
        /// Where it really is, or why not.
        result: Result<String, String>,
        /// The line that decided.
        by: Option<By>,
    },
    /// Somebody connected to a listener.
    Connection {
        /// The connection's number.
        connection: Connection,
        /// The listener, as asked for.
        at: String,
        /// Who, as far as known.
        peer: Peer,
        /// Refused, and why.
        refused: Option<String>,
        /// The line that decided.
        by: Option<By>,
    },
    /// A forwarded connection has ended.
    Closed {
        /// Which.
        connection: Connection,
        /// The target or the listener, as asked for.
        what: String,
        /// Bytes from the SSH client, by the worker's count.
        received: u64,
        /// Bytes to the SSH client, by the worker's count.
        sent: u64,
        /// How long it lasted.
        milliseconds: u64,
    },
    /// A command or shell was asked for.
    Execute {
        /// What was asked for.
        what: String,
        /// What runs, or why nothing does.
        result: Result<String, String>,
    },
}

/// Who connected to a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// By TCP.
    Address {
        /// From here.
        from: SocketAddr,
        /// Whose socket it is, if it is of this machine and the kernel tells.
        uid: Option<u32>,
    },
    /// A local process, as the kernel knew it when it connected. What is none is hidden by a user namespace, or
    /// could not be asked.
    Process {
        /// User id.
        uid: Option<u32>,
        /// Group id.
        gid: Option<u32>,
        /// Process id; it may have ended since.
        pid: Option<i32>,
        /// What the process of that id calls itself, where it could be read.
        command: Option<String>,
        /// The program that it runs, where it could be read.
        executable: Option<String>,
    },
}

/// For the log: "127.0.0.1 port 4242 uid 1000", "uid 1000 pid 77".
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address { from, uid } => {
                write!(f, "{} port {}", from.ip(), from.port())?;
                uid.map_or(Ok(()), |uid| write!(f, " uid {uid}"))
            }
            Peer::Process { uid, pid, .. } => {
                match uid {
                    Some(uid) => write!(f, "uid {uid}")?,
                    None => f.write_str("an unknown uid")?,
                }
                pid.map_or(Ok(()), |pid| write!(f, " pid {pid}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_read_as_in_a_log() {
        let process = |uid, pid| Peer::Process { uid, gid: None, pid, command: None, executable: None };
        let address = |uid| Peer::Address { from: "[::1]:7".parse().unwrap(), uid };
        for (peer, text) in [
            (address(None), "::1 port 7"),
            (address(Some(1000)), "::1 port 7 uid 1000"),
            (process(Some(1000), Some(77)), "uid 1000 pid 77"),
            (process(Some(0), None), "uid 0"),
            (process(None, None), "an unknown uid"),
        ] {
            assert_eq!(peer.to_string(), text);
        }
    }
}
