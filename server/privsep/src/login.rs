//! Worker and helper: one link for each login. The worker asks, the helper checks against the login's permit
//! (which came from the monitor, never from here), acts as the user and passes connected descriptors.
//!
//! Numbers (`id`) are the worker's own, to find its question again; those of listeners and accepted
//! connections are the helper's. The worker counts upwards and never uses a number twice: one that is not
//! above all before it is refused.

use serde::{Deserialize, Serialize};

/// What the worker asks or tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Connect to a target (`-L`). Answered by [`Answer::Opened`] or [`Answer::Refused`].
    Open {
        /// The question's number; the connection's afterwards.
        id: u64,
        /// Where to.
        target: Endpoint,
    },
    /// The same for a socket, and only if one user listens there.
    OpenOwned {
        /// The question's number; the connection's afterwards.
        id: u64,
        /// The socket's path, bytes as sent.
        path: Vec<u8>,
        /// The user, by name or number, bytes as sent.
        owner: Vec<u8>,
    },
    /// May this be opened or listened on? Answered by [`Answer::Probed`]; nothing is connected or bound.
    Probe {
        /// The question's number.
        id: u64,
        /// Whether it is about listening.
        listen: bool,
        /// Where.
        at: Endpoint,
    },
    /// Listen (`-R`). Answered by [`Answer::Listening`] or [`Answer::Refused`].
    Listen {
        /// The question's number.
        id: u64,
        /// Where.
        at: Endpoint,
    },
    /// Stop listening. Answered by [`Answer::Unlistened`] or [`Answer::Refused`].
    Unlisten {
        /// The question's number.
        id: u64,
        /// What was listened on, as it was asked for; with port 0, the port that was bound.
        at: Endpoint,
    },
    /// A forwarded connection has ended: an opened one by the question's number.
    Closed {
        /// Which.
        connection: Connection,
        /// Bytes from the SSH client, by the worker's count.
        received: u64,
        /// Bytes to the SSH client, by the worker's count.
        sent: u64,
    },
    /// A session channel. Answered by [`Answer::Done`] or [`Answer::Refused`].
    OpenSession {
        /// The question's number; the session's afterwards.
        id: u64,
    },
    /// An environment variable for a session's command. Answered by [`Answer::Done`] or [`Answer::Refused`].
    Env {
        /// The question's number.
        id: u64,
        /// The session.
        session: u64,
        /// Name.
        name: Vec<u8>,
        /// Value.
        value: Vec<u8>,
    },
    /// A terminal for what will run in a session. Answered by [`Answer::Done`] or [`Answer::Refused`].
    Terminal {
        /// The question's number.
        id: u64,
        /// The session.
        session: u64,
        /// TERM; may be empty.
        term: Vec<u8>,
        /// Its size.
        size: WindowSize,
        /// Encoded modes (RFC 4254 §8), as sent.
        modes: Vec<u8>,
    },
    /// The size of a session's terminal has changed.
    WindowChange {
        /// The session.
        session: u64,
        /// The new one.
        size: WindowSize,
    },
    /// Run something in a session. Answered by three [`Answer::Stream`] (one, where the session has a terminal)
    /// and [`Answer::Done`], or [`Answer::Refused`].
    Execute {
        /// The question's number.
        id: u64,
        /// The session.
        session: u64,
        /// What.
        what: Program,
    },
    /// A signal for a session's command, by SSH's name.
    Signal {
        /// The session.
        session: u64,
        /// Without SIG.
        name: Vec<u8>,
    },
    /// The client has closed a session channel, or it is gone; its command's pipes are closed, its terminal is hung
    /// up. How the command ends is told nonetheless.
    CloseSession {
        /// The session.
        session: u64,
    },
    /// The client was heard of since [`Answer::AskAlive`].
    Alive,
}

/// A terminal's size. What the kernel cannot hold is the most that it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
    /// Pixels, or 0.
    pub width: u16,
    /// Pixels, or 0.
    pub height: u16,
}

/// Which forwarded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Connection {
    /// Opened for the worker.
    Opened(u64),
    /// Accepted on a listener.
    Accepted(u64),
}

/// A target or a listener, as the client named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// TCP.
    Tcp {
        /// Host or bind address, bytes as sent.
        host: Vec<u8>,
        /// Port as sent.
        port: u32,
    },
    /// A socket path, bytes as sent.
    Path(Vec<u8>),
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// The login shell.
    Shell,
    /// A command for it.
    Exec(Vec<u8>),
    /// A subsystem by name.
    Subsystem(Vec<u8>),
}

/// What the helper answers or tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The descriptor is connected to the target.
    Opened {
        /// The question.
        id: u64,
    },
    /// No.
    Refused {
        /// The question.
        id: u64,
        /// The kind of no.
        why: Refusal,
        /// For the SSH client: names no paths of the server.
        text: String,
    },
    /// Listening.
    Listening {
        /// The question.
        id: u64,
        /// The listener's number.
        listener: u64,
        /// The port that was bound, where one was.
        port: Option<u16>,
    },
    /// What a probe found.
    Probed {
        /// The question.
        id: u64,
        /// Whether it may be; otherwise the kind of no, and why: names no paths of the server.
        result: Result<Found, (Refusal, String)>,
    },
    /// No longer listening.
    Unlistened {
        /// The question.
        id: u64,
        /// The listener's number.
        listener: u64,
    },
    /// Somebody connected and may. The descriptor is the connection.
    Accepted {
        /// The listener's number.
        listener: u64,
        /// The connection's number.
        connection: u64,
        /// The peer's address, where it has one.
        origin: Option<(String, u16)>,
    },
    /// It is done: the session is open, the variable set, the command started.
    Done {
        /// The question.
        id: u64,
    },
    /// The descriptor is one of the command's streams.
    Stream {
        /// The session.
        session: u64,
        /// Which stream.
        stream: Stream,
    },
    /// The command ended.
    Exited {
        /// The session.
        session: u64,
        /// How.
        status: ExitStatus,
    },
    /// Another login of this user wants a name that this one holds: ask the client for a sign of life. It is
    /// answered by [`Request::Alive`], or not at all.
    AskAlive,
}

/// What may be opened or listened on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Where a socket really is; empty for a port.
    pub place: Vec<u8>,
    /// Who may connect to a listener, for people; empty for a target.
    pub who: String,
}

/// The kinds of no: they decide the reason code of a CHANNEL_OPEN_FAILURE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The permit says no.
    Prohibited,
    /// It did not work.
    Failed,
    /// No room.
    Shortage,
}

/// A command's standard streams, named from the command's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Written to by the worker.
    Stdin,
    /// Read by the worker.
    Stdout,
    /// Read by the worker.
    Stderr,
    /// All three: the master of the command's terminal.
    Terminal,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// With a status.
    Code(u32),
    /// By a signal.
    Signal {
        /// SSH's name for it, without SIG.
        name: String,
        /// Whether a core was dumped.
        core_dumped: bool,
    },
}
