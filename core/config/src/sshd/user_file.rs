//! Files of a user that the configuration names by a template: AuthorizedKeysFile, AuthorizedPrincipalsFile.

use sockward_policy::Account;

use crate::tokens::{self, TokenError};

/// The tokens of these templates, for messages.
pub(super) const USER_FILE_TOKENS: &str = "%h, %u, %U and %%";

/// The path that a template stands for: tokens filled in, and under the home directory unless it is absolute.
pub fn expand_user_file(template: &[u8], account: &Account) -> Result<Vec<u8>, TokenError> {
    let uid = account.uid.to_string();
    let table = [(b'h', account.home.as_slice()), (b'u', account.name.as_bytes()), (b'U', uid.as_bytes())];
    let path = tokens::percent(template, &table)?;
    Ok(if path.starts_with(b"/") { path } else { [account.home.as_slice(), b"/", &path].concat() })
}

/// Whether a template has only tokens that can be filled in.
pub(super) fn check_tokens(template: &[u8]) -> Result<(), TokenError> {
    tokens::percent(template, &[(b'h', b""), (b'u', b""), (b'U', b"")]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let account = Account {
            name: "alex".into(),
            uid: 1000,
            gid: 1000,
            home: b"/home/alex".into(),
            shell: b"/bin/sh".into(),
        };
        for (template, path) in [
            (".ssh/authorized_keys", "/home/alex/.ssh/authorized_keys"),
            ("/etc/keys/%u", "/etc/keys/alex"),
            ("%h/k%%/%U", "/home/alex/k%/1000"),
        ] {
            assert_eq!(expand_user_file(template.as_bytes(), &account).unwrap(), path.as_bytes());
        }
        assert_eq!(check_tokens(b"%h/%i"), Err(TokenError::Unknown('i')));
    }
}
