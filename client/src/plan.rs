//! What one run of the client is to do: the configuration, and what the command line says beside it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use sockward_config::ssh::{Configuration, ControlCommand, SessionType, Via};

use crate::notice::Notices;

/// What is to be done. It does not change during the run; connecting again has one of its own (`reconnect.rs`).
#[derive(Clone)]
pub(crate) struct Plan {
    /// All keywords, and what they led to.
    pub(crate) configuration: Configuration,
    /// `-O`: what to tell the master, instead of all else.
    pub(crate) control: Option<ControlCommand>,
    /// What `-F` said, for a client that reaches a jump host.
    pub(crate) config_file: Option<OsString>,
    /// How often `-v` was given.
    pub(crate) verbosity: u8,
    /// Whether a terminal is asked for on the server.
    pub(crate) terminal: bool,
    /// Whether messages go to standard error.
    pub(crate) logs_to_stderr: bool,
    /// `Via gate`: the program that leads to it, and its arguments.
    pub(crate) far_command: Option<(PathBuf, Vec<OsString>)>,
    /// Who is told how the forwardings are.
    pub(crate) notices: Notices,
    /// The user's home directory.
    pub(crate) home: OsString,
}

impl Plan {
    /// TargetOwner.
    pub(crate) fn target_owner(&self) -> Option<&str> {
        self.configuration.settings.target_owner.as_deref()
    }

    /// Whether the server is to connect to anything for us.
    pub(crate) fn reaches_far_targets(&self) -> bool {
        let settings = &self.configuration.settings;
        let forwards = [&settings.local_forwards, &settings.dynamic_forwards];
        forwards.iter().any(|all| !all.0.is_empty()) || self.configuration.stdio_forward.is_some()
    }

    /// The server's name as messages have it.
    pub(crate) fn host(&self) -> &str {
        &self.configuration.host
    }

    /// What `~` stands for.
    pub(crate) fn home(&self) -> &OsStr {
        &self.home
    }

    /// Whether the server is reached through a command instead of by TCP.
    pub(crate) fn has_proxy(&self) -> bool {
        let settings = &self.configuration.settings;
        settings.proxy_command.is_some() || settings.proxy_jump.is_some()
    }

    /// Whether forwardings go over a gate, which has no sessions.
    pub(crate) fn is_via_gate(&self) -> bool {
        self.configuration.settings.via == Via::Gate
    }

    /// Whether a session channel is opened.
    pub(crate) fn has_session(&self) -> bool {
        self.configuration.settings.session_type != SessionType::None && !self.is_via_gate()
    }
}
