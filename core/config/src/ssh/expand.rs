//! What `%h` and its kind stand for in the client's configuration, and which keywords take them: TOKENS in
//! ssh_config(5).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::lookup::Lookup;
use crate::tokens::{self, Table, TokenError};

use super::machine::Local;

/// The facts of one connection that tokens stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'f> {
    pub(super) host: &'f str,
    pub(super) original_host: &'f str,
    pub(super) key_alias: &'f str,
    pub(super) port: u16,
    pub(super) user: &'f str,
    pub(super) jump_host: &'f str,
}

/// The tokens that most keywords take, with what they stand for.
#[derive(Clone, Debug)]
pub struct Tokens(Vec<(u8, Vec<u8>)>);

impl Tokens {
    pub(super) fn new(local: &Local, facts: &Facts<'_>) -> Self {
        let mut tokens = Tokens::without_user(local, facts);
        let port = facts.port.to_string();
        let hashed = [&*local.hostname, facts.host, &port, facts.user, facts.jump_host].concat();
        let hash: String = (local.sha1)(hashed.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        tokens.0.extend([(b'C', hash.into_bytes()), (b'r', facts.user.into())]);
        tokens
    }

    /// For `User`, which can hold neither itself nor what is made from it.
    pub(super) fn without_user(local: &Local, facts: &Facts<'_>) -> Self {
        let short = local.hostname.split('.').next().unwrap_or_default();
        Tokens(vec![
            (b'L', short.into()),
            (b'd', local.home.as_bytes().to_vec()),
            (b'h', facts.host.into()),
            (b'i', local.uid.to_string().into_bytes()),
            (b'j', facts.jump_host.into()),
            (b'k', facts.key_alias.into()),
            (b'l', local.hostname.clone().into_bytes()),
            (b'n', facts.original_host.into()),
            (b'p', facts.port.to_string().into_bytes()),
            (b'u', local.user.clone().into_bytes()),
        ])
    }

    /// The table for [`tokens::percent`]; a caller may add to it (`%T` of LocalCommand).
    #[must_use]
    pub fn table(&self) -> Vec<(u8, &[u8])> {
        self.0.iter().map(|(token, value)| (*token, value.as_slice())).collect()
    }

    /// The table of ProxyCommand and ProxyJump, which take `%h %k %n %p %r`.
    #[must_use]
    pub fn proxy_table(&self) -> Vec<(u8, &[u8])> {
        self.table().into_iter().filter(|(token, _)| b"hknpr".contains(token)).collect()
    }

    /// Expands tokens: RemoteCommand, the paths of forwardings.
    pub fn expand(&self, text: &OsStr) -> Result<OsString, TokenError> {
        tokens::percent(text.as_bytes(), &self.table()).map(OsString::from_vec)
    }

    /// Expands tokens and `${VARIABLE}`: SetEnv's values, VersionAddendum.
    pub fn expand_text(&self, text: &OsStr, lookup: &dyn Lookup) -> Result<OsString, TokenError> {
        expand_text(text.as_bytes(), &self.table(), lookup)
    }

    /// Expands `~`, tokens and `${VARIABLE}`: IdentityFile, CertificateFile, ControlPath, UserKnownHostsFile, …
    pub fn expand_path(&self, path: &OsStr, lookup: &dyn Lookup) -> Result<OsString, TokenError> {
        expand_text(&tokens::tilde(path.as_bytes(), lookup)?, &self.table(), lookup)
    }
}

fn expand_text(text: &[u8], table: &Table<'_>, lookup: &dyn Lookup) -> Result<OsString, TokenError> {
    tokens::percent_environment(text, table, lookup).map(OsString::from_vec)
}
