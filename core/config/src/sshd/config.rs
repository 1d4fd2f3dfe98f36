//! A configuration that was read: its lines in order, each with the `Match` block it stands in. From it come the
//! values of the server and of each connection, as OpenSSH works them out:
//!
//! 1. Defaults, then the command line and the global section in order. The first of a keyword holds, except of
//!    keywords that add up. `Match all` at the top of a file is part of the global section too.
//! 2. For a connection, the blocks that hold, in order, by the same rule; what they set takes the place of what
//!    step 1 gave, lists included. Subsystems are replaced name by name.

use std::collections::BTreeSet;

use sockward_policy::Source;

use super::effective::Effective;
use super::keyword::{Assign, Keyword, Merge, Scope, Stage};
use super::matching::{ConnectionFacts, Criterion};
use super::values::Pass;
use crate::ConfigError;

/// A configuration without errors.
pub struct Config {
    pub(super) lines: Vec<Line>,
    pub(super) blocks: Vec<Block>,
    pub(super) global: Effective,
    pub(super) warnings: Vec<ConfigError>,
}

/// One line that sets a value.
pub(super) struct Line {
    pub keyword: &'static Keyword,
    pub assign: Assign,
    pub source: Source,
    /// The index of its block.
    pub block: usize,
}

/// The global section (the first of all) or a `Match` block.
pub(super) struct Block {
    /// The block that the file of this one was included in: both must hold.
    pub parent: usize,
    pub criteria: Vec<Criterion>,
    /// Whether it always holds: then it counts as global too, and global keywords may stand in it.
    pub always: bool,
}

/// The index of the global section.
pub(super) const GLOBAL: usize = 0;

impl Config {
    /// The values that hold before anybody has said who they are.
    #[must_use]
    pub fn global(&self) -> &Effective {
        &self.global
    }

    /// The values that hold for a connection: once the user is known they are worked out again with the user.
    ///
    /// The error is for a connection to which `Match` blocks give values that do not go together.
    pub fn effective(&self, facts: &ConnectionFacts<'_>) -> Result<Effective, ConfigError> {
        let mut holds: Vec<bool> = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let parent = holds.get(block.parent).copied().unwrap_or(true);
            holds.push(parent && block.criteria.iter().all(|c| c.holds(facts)));
        }
        let mut values = self.global.clone();
        // Global keywords of a `Match all` had their say among the global ones.
        let in_blocks = self.lines.iter().filter(|l| l.block != GLOBAL && l.keyword.scope == Scope::Match);
        apply(&mut values, Pass::Match, in_blocks.filter(|l| holds.get(l.block) == Some(&true)));
        check(&values)?;
        Ok(values)
    }

    /// Whether names of hosts can change what holds, so that the caller looks up the client's name first: `UseDNS`,
    /// and a `Match Host` or a pattern USER@HOST. (A key's `from=` may ask for it later.)
    #[must_use]
    pub fn asks_for_host_name(&self) -> bool {
        let criteria = self.blocks.iter().flat_map(|b| &b.criteria);
        let users = self.global.allow_users.iter().chain(&self.global.deny_users);
        let in_blocks = self.lines.iter().filter(|l| l.block != GLOBAL);
        self.global.use_dns
            && (criteria.into_iter().any(|c| matches!(c, Criterion::Host(_)))
                || users.into_iter().any(|p| p.host.is_some())
                || in_blocks.into_iter().any(|l| matches!(l.keyword.name, "AllowUsers" | "DenyUsers")))
    }

    /// The groups that `StreamLocalBindGroup` names, in whatever block, each with the line of its first mention.
    #[must_use]
    pub fn socket_groups(&self) -> Vec<(String, Source)> {
        let mut found: Vec<(String, Source)> = Vec::new();
        for line in self.lines.iter().filter(|l| l.keyword.name == "StreamLocalBindGroup") {
            let mut values = Effective::blank();
            (line.assign)(&mut values, Stage { pass: Pass::Global, fresh: true });
            if let Some(name) = values.socket_group
                && found.iter().all(|(other, _)| *other != name)
            {
                found.push((name, line.source.clone()));
            }
        }
        found
    }

    /// The algorithms that `PubkeyAcceptedAlgorithms` accepts for anybody: globally, or in some `Match` block. A client
    /// is told of them before it says who it is.
    #[must_use]
    pub fn pubkey_algorithms_of_anybody(&self) -> Vec<String> {
        let mut all = self.global.pubkey_accepted_algorithms.clone();
        for line in self.lines.iter().filter(|l| l.keyword.name == "PubkeyAcceptedAlgorithms") {
            let mut values = self.global.clone();
            (line.assign)(&mut values, Stage { pass: Pass::Match, fresh: true });
            all.extend(
                values
                    .pubkey_accepted_algorithms
                    .into_iter()
                    .filter(|a| !self.global.pubkey_accepted_algorithms.contains(a)),
            );
        }
        all
    }

    /// What was read and has no effect, for `-t` and the log.
    #[must_use]
    pub fn warnings(&self) -> &[ConfigError] {
        &self.warnings
    }
}

/// Sets values in order.
pub(super) fn apply<'l>(values: &mut Effective, pass: Pass, lines: impl IntoIterator<Item = &'l Line>) {
    let mut set = BTreeSet::new();
    for line in lines {
        let name = line.keyword.name;
        let fresh = set.insert(name);
        if fresh || line.keyword.merge != Merge::First {
            (line.assign)(values, Stage { pass, fresh });
            if fresh || line.keyword.merge == Merge::Last {
                values.sources.insert(name, line.source.clone());
            }
        }
    }
}

/// What must go together.
pub(super) fn check(values: &Effective) -> Result<(), ConfigError> {
    let commands = [
        ("AuthorizedKeysCommand", &values.authorized_keys_command, &values.authorized_keys_command_user),
        (
            "AuthorizedPrincipalsCommand",
            &values.authorized_principals_command,
            &values.authorized_principals_command_user,
        ),
    ];
    for (name, command, user) in commands {
        if command.is_some() && user.is_none() {
            let source = values.source(name).cloned().unwrap_or_else(Source::command_line);
            let message = format!("{name} set without {name}User, name the user that it runs as");
            return Err(ConfigError::new(source, message));
        }
    }
    Ok(())
}
