//! The environment of a session's command, as sshd makes it without PAM (session.c, do_setup_env). What is set later
//! stands over what was set before:
//!
//! 1. what the client sent and `AcceptEnv` let through
//! 2. USER, LOGNAME, HOME, PATH, MAIL, SHELL; TERM with a terminal
//! 3. `environment=` of the key, where `PermitUserEnvironment` lets it
//! 4. `SetEnv`
//! 5. SSH_CLIENT, SSH_CONNECTION, SSH_TTY, SSH_ORIGINAL_COMMAND
//!
//! Differences: sshd's own TZ is not handed on, and ~/.ssh/environment is not read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use sockward_policy::{Account, Permit, Variable};

use super::terminal::Terminal;

/// What Debian's sshd has for users, and for root.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";
const PATH_OF_ROOT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directory of mailboxes.
const MAIL: &str = "/var/mail";

/// Name and value pairs, each name once.
#[derive(Debug, Default)]
pub(super) struct Environment(Vec<(Vec<u8>, Vec<u8>)>);

impl Environment {
    /// Of a login. `client`: what its client sent; `connection`: client, port, server, port; `original`: what was
    /// asked for where a forced command runs instead.
    pub(super) fn new(
        permit: &Permit,
        client: &[Variable],
        shell: &[u8],
        connection: &[String; 4],
        terminal: Option<&Terminal>,
        original: Option<&[u8]>,
    ) -> Self {
        let mut env = Environment::default();
        let Account { name, uid, home, .. } = &permit.account;
        env.set_all(client);
        env.set("USER", name.as_bytes());
        env.set("LOGNAME", name.as_bytes());
        env.set("HOME", home);
        env.set("PATH", if *uid == 0 { PATH_OF_ROOT } else { PATH }.as_bytes());
        env.set("MAIL", format!("{MAIL}/{name}").as_bytes());
        env.set("SHELL", shell);
        if let Some(term) = terminal.and_then(Terminal::term) {
            env.set("TERM", term);
        }
        env.set_all(&permit.session.key_environment);
        env.set_all(&permit.session.set_env);
        let [peer, peer_port, local, local_port] = connection;
        env.set("SSH_CLIENT", format!("{peer} {peer_port} {local_port}").as_bytes());
        env.set("SSH_CONNECTION", format!("{peer} {peer_port} {local} {local_port}").as_bytes());
        if let Some(terminal) = terminal {
            env.set("SSH_TTY", terminal.name().as_os_str().as_encoded_bytes());
        }
        if let Some(original) = original {
            env.set("SSH_ORIGINAL_COMMAND", original);
        }
        env
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        self.set_bytes(name.as_bytes(), value);
    }

    fn set_all(&mut self, variables: &[Variable]) {
        for Variable { name, value } in variables {
            self.set_bytes(name, value);
        }
    }

    /// A name that cannot be one is left out, as in OpenSSH.
    fn set_bytes(&mut self, name: &[u8], value: &[u8]) {
        if name.is_empty() || name.contains(&b'=') {
            return;
        }
        match self.0.iter_mut().find(|(there, _)| there == name) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.0.push((name.to_vec(), value.to_vec())),
        }
    }

    pub(super) fn into_pairs(self) -> Vec<(OsString, OsString)> {
        let pair = |(name, value)| (OsString::from_vec(name), OsString::from_vec(value));
        self.0.into_iter().map(pair).collect()
    }
}
