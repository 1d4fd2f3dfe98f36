//! Control connections: one SSH connection, the master's, used by other clients of the same user (ControlMaster,
//! ControlPath, `-O`). Between processes of this program alone: the messages are not OpenSSH's.
//!
//! ```text
//!   another client ──▶ client: Ask, its standard streams ──link──▶ master ──▶ login: sessions, forwardings
//!                      its exit status ◀── Tell ◀──────────────────┘
//! ```
//!
//! The link is a SOCK_SEQPACKET socket at ControlPath, mode 0600; the master asks the kernel who is at its other end.

pub(crate) mod client;
pub(crate) mod leave;
pub(crate) mod master;
pub(crate) mod messages;
pub(crate) mod users;

use std::path::Path;

use sockward_config::ssh::{ControlMaster, ControlPersist, SessionType};

use crate::plan::Plan;

impl Plan {
    /// Whether other clients may use this connection.
    pub(crate) fn is_master(&self) -> bool {
        let settings = &self.configuration.settings;
        settings.control_path.is_some() && settings.control_master != ControlMaster::No
    }

    /// Whether the connection stays when the session that it was made for has ended.
    pub(crate) fn persists(&self) -> bool {
        self.is_master() && self.configuration.settings.control_persist != ControlPersist::No
    }

    /// For the process that keeps a connection that persists: no session, nothing of the standard streams.
    pub(crate) fn keep_connection_only(&mut self) {
        // What was there for a session ends with the connection, as the session does.
        let reconnects = self.reconnects();
        let settings = &mut self.configuration.settings;
        settings.reconnect = reconnects;
        settings.session_type = SessionType::None;
        settings.stdin_null = true;
        self.configuration.stdio_forward = None;
        self.configuration.command = Vec::new();
        self.terminal = false;
    }

    /// For the process beside it: a client like any other. The forwardings are there.
    pub(crate) fn use_connection_only(&mut self) {
        let settings = &mut self.configuration.settings;
        settings.control_master = ControlMaster::No;
        for forwards in
            [&mut settings.local_forwards, &mut settings.dynamic_forwards, &mut settings.remote_forwards]
        {
            forwards.0.clear();
        }
    }

    /// Where the control socket is.
    pub(crate) fn control_path(&self) -> Option<&Path> {
        self.configuration.settings.control_path.as_deref().map(Path::new)
    }
}
