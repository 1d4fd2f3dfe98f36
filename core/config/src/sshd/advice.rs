//! What restricts less than it seems, for `-t`: not errors, and nothing that the program could put right.

use sockward_policy::{Direction, RuleList, Rules, Source, Unlink};

use super::config::{Config, GLOBAL, apply};
use super::effective::Effective;
use super::values::Pass;
use crate::ConfigError;

impl Config {
    /// Sentences on the global section and on each `Match` block, taken for itself, with the line that each is about.
    #[must_use]
    pub fn advice(&self) -> Vec<ConfigError> {
        let mut advice = Vec::new();
        on_values(&self.global, &mut advice);
        for (index, block) in self.blocks.iter().enumerate() {
            if index != GLOBAL && !block.always {
                let mut values = self.global.clone();
                apply(&mut values, Pass::Match, self.lines.iter().filter(|l| l.block == index));
                on_values(&values, &mut advice);
            }
        }
        for line in self.lines.iter().filter(|l| l.keyword.ours) {
            let message = format!("OpenSSH's sshd does not know {} and refuses this file", line.keyword.name);
            advice.push(ConfigError::new(line.source.clone(), message));
        }
        // A list of the global section holds in the blocks too, and is spoken of once.
        let mut once: Vec<ConfigError> = Vec::new();
        for item in advice {
            if !once.contains(&item) {
                once.push(item);
            }
        }
        once
    }
}

fn on_values(values: &Effective, advice: &mut Vec<ConfigError>) {
    let mut say = |source: Option<&Source>, message: &str| {
        if let Some(source) = source {
            advice.push(ConfigError::new(source.clone(), message));
        }
    };
    let (open, listen) = (values.permit_open.as_ref(), values.permit_listen.as_ref());
    let runs_commands = values.max_sessions > 0 && values.force_command.is_none();
    for list in open.into_iter().chain(listen) {
        if runs_commands && restricts(list) {
            say(
                Some(&list.source),
                "users who can run commands can go round this list with forwarders of their own, unless ForceCommand or MaxSessions 0 stops them",
            );
        }
        if list.paths().next().is_some() {
            say(
                Some(&list.source),
                "OpenSSH's sshd takes no socket paths in this list and refuses this file",
            );
        }
    }
    let forwards = |way| !values.disable_forwarding && values.allow_tcp_forwarding.includes(way);
    let open_alone = open.filter(|l| restricts(l) && listen.is_none() && forwards(Direction::Remote));
    say(
        open_alone.map(|l| &l.source),
        "PermitOpen does not restrict what is listened on (-R), PermitListen does",
    );
    let listen_alone = listen.filter(|l| restricts(l) && open.is_none() && forwards(Direction::Local));
    say(
        listen_alone.map(|l| &l.source),
        "PermitListen does not restrict what is opened (-L, -D), PermitOpen does",
    );
    if values.force_command.is_some() && !values.disable_forwarding && (open.is_none() || listen.is_none()) {
        say(
            values.source("ForceCommand"),
            "beside ForceCommand, TCP can be forwarded as before, and sockets only where a PermitOpen or PermitListen list names them",
        );
    }
    if values.unlink == Unlink::Stale {
        say(
            values.source("StreamLocalBindUnlink"),
            "OpenSSH's sshd takes 'yes' and 'no' alone here and refuses this file; 'stale' is what holds without the line",
        );
    }
    let sockets = listen.is_none_or(|l| l.rules == Rules::Any || l.paths().next().is_some());
    let nobody_else = values.socket_mode.bits() & 0o022 == 0;
    if sockets && nobody_else && values.permit_peer.as_ref().is_some_and(|l| !l.peers.is_empty()) {
        say(
            values.source("PermitPeer"),
            "the mode of the sockets lets nobody but the owner connect, whoever PermitPeer names; see StreamLocalBindMode",
        );
    }
}

fn restricts(list: &RuleList) -> bool {
    list.rules != Rules::Any
}
