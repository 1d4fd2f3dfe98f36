//! From the values of a connection and the options of the key (and certificate) that logged in to a [`Permit`]:
//! what all of them leave.

use std::fmt;

use sockward_policy::{
    Account, By, Direction, DirectionRule, ForcedCommand, Forwarding, KeyOptions, Limit, Limits, Origin,
    Permit, SessionPermit, SocketBirth, SocketGroup, Source, Subsystem, Switch, Variable,
};
use sockward_wire::pattern::{self, ListMatch};

use super::effective::Effective;
use super::values::{SubsystemLine, UserEnvironment};

/// Why keys cannot be used together, or beside this configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermitError {
    /// The key and the certificate force different commands.
    ForcedCommands,
    /// Two groups for a listening socket.
    SocketGroups(String, String),
}

impl fmt::Display for PermitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PermitError::ForcedCommands => f.write_str("forced command options do not match"),
            PermitError::SocketGroups(a, b) => {
                write!(f, "the group of sockets is '{a}' by one rule and '{b}' by another")
            }
        }
    }
}

impl std::error::Error for PermitError {}

impl Effective {
    /// What a login may do. `keys` is the line of authorized_keys, the certificate, or both.
    pub fn permit(&self, account: Account, keys: &[KeyOptions]) -> Result<Permit, PermitError> {
        Ok(Permit {
            forwarding: self.forwarding(keys),
            birth: self.birth(keys)?,
            peers: self.permit_peer.iter().chain(keys.iter().flat_map(|k| &k.peers)).cloned().collect(),
            limits: self.limits(),
            session: self.session(keys)?,
            account,
        })
    }

    fn forwarding(&self, keys: &[KeyOptions]) -> Forwarding {
        let rule = |keyword, switch, leaves| {
            self.source(keyword).map(|source| DirectionRule { leaves, switch, source: source.clone() })
        };
        let disabled = rule("DisableForwarding", Switch::DisableForwarding, Direction::No);
        let restricted = keys.iter().filter(|k| !k.port_forwarding).map(|k| DirectionRule {
            leaves: Direction::No,
            switch: Switch::PortForwarding,
            source: k.source.clone(),
        });
        Forwarding {
            tcp: disabled
                .filter(|_| self.disable_forwarding)
                .into_iter()
                .chain(rule("AllowTcpForwarding", Switch::AllowTcpForwarding, self.allow_tcp_forwarding))
                .chain(restricted)
                .collect(),
            streamlocal: rule(
                "AllowStreamLocalForwarding",
                Switch::AllowStreamLocalForwarding,
                self.allow_streamlocal_forwarding,
            )
            .into_iter()
            .collect(),
            open: self.permit_open.iter().chain(keys.iter().flat_map(|k| &k.open)).cloned().collect(),
            listen: self.permit_listen.iter().chain(keys.iter().flat_map(|k| &k.listen)).cloned().collect(),
            gateway_ports: self.gateway_ports,
        }
    }

    fn birth(&self, keys: &[KeyOptions]) -> Result<SocketBirth, PermitError> {
        let mode = keys.iter().filter_map(|k| k.socket_mode).fold(self.socket_mode.bits(), |a, b| a & b);
        let mut group = self.socket_group.as_ref().map(|name| SocketGroup {
            name: name.clone(),
            gid: None,
            by_administrator: true,
            source: self.source("StreamLocalBindGroup").cloned().unwrap_or_else(Source::command_line),
        });
        for (key, name) in keys.iter().filter_map(|k| Some((k, k.socket_group.as_ref()?))) {
            match &group {
                Some(other) if other.name != *name => {
                    return Err(PermitError::SocketGroups(other.name.clone(), name.clone()));
                }
                Some(_) => {}
                None => {
                    let (name, source) = (name.clone(), key.source.clone());
                    group = Some(SocketGroup { name, gid: None, by_administrator: false, source });
                }
            }
        }
        Ok(SocketBirth { mode, group, unlink: self.unlink, conflict: self.conflict })
    }

    fn limits(&self) -> Limits {
        let limit = |max, keyword| Limit { max, by: By::from(self.source(keyword)) };
        Limits {
            sessions: limit(Some(self.max_sessions), "MaxSessions"),
            listeners: limit(self.max_listeners, "MaxListeners"),
            forwarded_connections: limit(self.max_forwarded_connections, "MaxForwardedConnections"),
        }
    }

    fn session(&self, keys: &[KeyOptions]) -> Result<SessionPermit, PermitError> {
        let no_tty = self.source("PermitTTY").filter(|_| !self.permit_tty).into_iter();
        let keys_without = keys.iter().filter(|k| !k.pty).map(|k| &k.source);
        let not_internal = |s: &&SubsystemLine| !s.command.starts_with(b"internal-sftp");
        Ok(SessionPermit {
            disabled: None,
            forced: self.forced(keys)?,
            subsystems: self
                .subsystems
                .iter()
                .filter(not_internal)
                .map(|s| Subsystem { name: s.name.clone(), command: s.command.clone() })
                .collect(),
            no_tty: no_tty.chain(keys_without).cloned().collect(),
            accept_env: self.accept_env.clone(),
            key_environment: keys
                .iter()
                .flat_map(|k| &k.environment)
                .filter(|v| self.lets_set(v))
                .cloned()
                .collect(),
            set_env: self.set_env.clone(),
        })
    }

    /// The configuration's forced command outweighs those of the keys; those must be the same.
    fn forced(&self, keys: &[KeyOptions]) -> Result<Option<ForcedCommand>, PermitError> {
        let mut commands = keys.iter().filter_map(|k| Some((k.forced_command.as_ref()?, &k.source)));
        let first = commands.next();
        if let Some((command, _)) = first
            && commands.any(|(other, _)| other != command)
        {
            return Err(PermitError::ForcedCommands);
        }
        if let Some(command) = &self.force_command {
            let source = self.source("ForceCommand").cloned().unwrap_or_else(Source::command_line);
            let (command, origin) = (command.clone(), Origin::Configuration);
            return Ok(Some(ForcedCommand { command, origin, source }));
        }
        Ok(first.map(|(command, source)| ForcedCommand {
            command: command.clone(),
            origin: Origin::Key,
            source: source.clone(),
        }))
    }

    fn lets_set(&self, variable: &Variable) -> bool {
        match &self.permit_user_environment {
            UserEnvironment::Yes => true,
            UserEnvironment::No => false,
            UserEnvironment::Matching(list) => {
                pattern::matches_joined(list, &variable.name) == ListMatch::Yes
            }
        }
    }
}
