//! Monitor and helper: logins come with their permits, facts for the log and the audit go back.

use serde::{Deserialize, Serialize};
use sockward_policy::{By, Permit};

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
        /// What was asked for.
        target: String,
        /// Where it really is, or why not.
        result: Result<String, String>,
        /// The line that decided.
        by: Option<By>,
    },
    /// Somebody connected to a listener.
    Connection {
        /// The listener, as asked for.
        at: String,
        /// Who, as far as known.
        peer: String,
        /// Refused, and why.
        refused: Option<String>,
    },
    /// A command or shell was asked for.
    Execute {
        /// What was asked for.
        what: String,
        /// What runs, or why nothing does.
        result: Result<String, String>,
    },
}
