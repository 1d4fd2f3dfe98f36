//! What a login may execute: the session part of a permit. Deciding is `decide`'s business.

use serde::{Deserialize, Serialize};
use sockward_wire::pattern;

use crate::{Origin, Source};

/// Shell, commands, subsystems, terminals and environment of one login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPermit {
    /// Set where the login may execute nothing at all (`WorkerIsolation shared` of a server started as root).
    pub disabled: Option<Source>,
    /// What runs whatever is asked for. `ForceCommand` outweighs a key's `command=`.
    pub forced: Option<ForcedCommand>,
    /// `Subsystem`.
    pub subsystems: Vec<Subsystem>,
    /// The lines that forbid a terminal: `PermitTTY no`, `no-pty`, `restrict`.
    pub no_tty: Vec<Source>,
    /// `AcceptEnv`: patterns of names that a client may set. TERM comes with a terminal.
    pub accept_env: Vec<Vec<u8>>,
    /// From `environment=` of the key: over what the client sends and the login environment.
    pub key_environment: Vec<Variable>,
    /// `SetEnv`: over everything else.
    pub set_env: Vec<Variable>,
}

/// A command that runs in place of what the client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedCommand {
    /// For the login shell's `-c`.
    pub command: Vec<u8>,
    /// Who wrote it.
    pub origin: Origin,
    /// Where it stands.
    pub source: Source,
}

/// A name for a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subsystem {
    /// What a client asks for.
    pub name: Vec<u8>,
    /// For the login shell's `-c`.
    pub command: Vec<u8>,
}

/// One variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Before the `=`.
    pub name: Vec<u8>,
    /// Behind it.
    pub value: Vec<u8>,
}

impl Variable {
    /// Splits at the first `=`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let at = text.iter().position(|&b| b == b'=')?;
        let (name, value) = text.split_at_checked(at)?;
        Some(Variable { name: name.to_vec(), value: value.get(1..)?.to_vec() })
    }
}

/// What a client asks a session channel to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind<'a> {
    /// The login shell.
    Shell,
    /// A command.
    Exec(&'a [u8]),
    /// A subsystem, by name.
    Subsystem(&'a [u8]),
}

/// What to run, as the login user, through the login shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// For the shell's `-c`; none is a login shell.
    pub command: Option<Vec<u8>>,
    /// The value of SSH_ORIGINAL_COMMAND: what was asked for where a forced command runs instead.
    pub original: Option<Vec<u8>>,
}

impl SessionPermit {
    /// Whether the client may set this variable.
    #[must_use]
    pub fn accepts_env(&self, name: &[u8]) -> bool {
        self.accept_env.iter().any(|p| pattern::matches(p, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_names_by_pattern() {
        let session = SessionPermit {
            accept_env: vec![b"LANG".into(), b"LC_*".into(), b"_XXX_TEST_?".into()],
            ..SessionPermit::default()
        };
        for (name, accepted) in
            [("LANG", true), ("LC_ALL", true), ("_XXX_TEST_A", true), ("LD_PRELOAD", false), ("", false)]
        {
            assert_eq!(session.accepts_env(name.as_bytes()), accepted, "{name}");
        }
    }

    #[test]
    fn variables_split_at_the_first_equals() {
        let v = Variable::parse(b"A=b=c").unwrap();
        assert_eq!((v.name.as_slice(), v.value.as_slice()), (&b"A"[..], &b"b=c"[..]));
        assert_eq!(Variable::parse(b"A"), None);
    }
}
