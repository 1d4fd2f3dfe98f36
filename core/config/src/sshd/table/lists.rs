//! Rows: files of keys, users and groups, environment.

use sockward_policy::{AddressList, Variable};

use crate::lex::Word;
use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{Args, Fault, Keyword, Merge, append, assign, assign_at, line_of, lines_of, text};
use crate::sshd::user_file::{USER_FILE_TOKENS, check_tokens};
use crate::sshd::values::{GroupPattern, HostKeyFile, Pass, UserPattern};
use crate::tokens;

pub(super) static ROWS: &[Keyword] = &[
    Keyword::value(
        "AuthorizedKeysFile",
        Match,
        &[".ssh/authorized_keys .ssh/authorized_keys2"],
        "Files of the keys that may log in as a user; %h, %u and %U stand for home, name and id.",
        |a| {
            let files = a.list_or_none()?.iter().map(|w| user_template(a, w));
            assign(files.collect::<Result<Vec<_>, _>>()?, |e, v| e.authorized_keys_files = v)
        },
        |e| line_of(e.authorized_keys_files.iter().map(Vec::as_slice), "none"),
    ),
    Keyword::value(
        "RevokedKeys",
        Match,
        &["none"],
        "Files of keys that are not accepted, as a list of keys or a KRL.",
        |a| {
            let files = a.list_or_none()?.iter().map(|w| a.absolute(w));
            assign(files.collect::<Result<Vec<_>, _>>()?, |e, v| e.revoked_keys = v)
        },
        |e| line_of(e.revoked_keys.iter().map(Vec::as_slice), "none"),
    ),
    Keyword::value(
        "HostKey",
        Global,
        &["/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key"],
        "A file with a private host key. More than one may be given.",
        |a| {
            assign_at(a.file()?, |e, path, stage| {
                let given = stage.pass > Pass::Default;
                append(
                    &mut e.host_keys,
                    path.map(|path| HostKeyFile { path, given }).into_iter().collect(),
                    stage,
                );
            })
        },
        |e| lines_of(e.host_keys.iter().map(|k| k.path.as_slice())),
    )
    .merged(Merge::All),
    Keyword::value(
        "HostCertificate",
        Global,
        &[],
        "A file with a certificate of a host key.",
        |a| {
            let file = a.file()?.into_iter().collect::<Vec<_>>();
            assign_at(file, |e, v, s| append(&mut e.host_certificates, v, s))
        },
        |e| lines_of(e.host_certificates.iter().map(Vec::as_slice)),
    )
    .merged(Merge::All),
    Keyword::value(
        "AllowUsers",
        Match,
        &[],
        "Only users that a pattern USER or USER@HOST names may log in.",
        |a| assign_at(users(a)?, |e, v, s| append(&mut e.allow_users, v, s)),
        |e| lines_of(e.allow_users.iter().map(|p| p.text.as_bytes())),
    )
    .merged(Merge::All),
    Keyword::value(
        "DenyUsers",
        Match,
        &[],
        "Users that a pattern USER or USER@HOST names may not log in.",
        |a| assign_at(users(a)?, |e, v, s| append(&mut e.deny_users, v, s)),
        |e| lines_of(e.deny_users.iter().map(|p| p.text.as_bytes())),
    )
    .merged(Merge::All),
    Keyword::value(
        "AllowGroups",
        Match,
        &[],
        "Only users with a group that a pattern names may log in.",
        |a| assign_at(groups(a)?, |e, v, s| append(&mut e.allow_groups, v, s)),
        |e| lines_of(e.allow_groups.iter().map(|p| p.text.as_bytes())),
    )
    .merged(Merge::All),
    Keyword::value(
        "DenyGroups",
        Match,
        &[],
        "Users with a group that a pattern names may not log in.",
        |a| assign_at(groups(a)?, |e, v, s| append(&mut e.deny_groups, v, s)),
        |e| lines_of(e.deny_groups.iter().map(|p| p.text.as_bytes())),
    )
    .merged(Merge::All),
    Keyword::value(
        "AcceptEnv",
        Match,
        &[],
        "Patterns of names of variables that a client may set.",
        |a| assign_at(env_patterns(a)?, |e, v, s| append(&mut e.accept_env, v, s)),
        |e| lines_of(e.accept_env.iter().map(Vec::as_slice)),
    )
    .merged(Merge::All),
    Keyword::value(
        "SetEnv",
        Match,
        &[],
        "Variables of every session, as NAME=VALUE; they outweigh all others.",
        |a| assign(variables(a)?, |e, v| e.set_env = v),
        |e| {
            let lines = e.set_env.iter().map(|v| [v.name.as_slice(), b"=", &v.value].concat());
            lines.map(|l| String::from_utf8_lossy(&l).into_owned()).collect()
        },
    ),
];

/// A file of a user: a template with tokens, `~` expanded as for the server itself (as OpenSSH does).
pub(super) fn user_template(a: &Args<'_>, word: &Word) -> Result<Vec<u8>, Fault> {
    check_tokens(&word.bytes).map_err(|e: tokens::TokenError| {
        let message = format!("{} '{}': {e}, {USER_FILE_TOKENS} can stand here", a.keyword, word.text());
        Fault::at(word, message)
    })?;
    a.tilde(word)
}

fn users(a: &Args<'_>) -> Result<Vec<UserPattern>, Fault> {
    let pattern = |w: &Word| {
        let at = w.bytes.iter().rposition(|&b| b == b'@');
        let (user, host) = match at.and_then(|at| w.bytes.split_at_checked(at)) {
            Some((user, [_, host @ ..])) => (user, Some(AddressList::parse(host))),
            Some(_) | None => (w.bytes.as_slice(), None),
        };
        let invalid = |e| Fault::at(w, format!("invalid {} pattern \"{}\": {e}", a.keyword, w.text()));
        Ok(UserPattern {
            text: w.text().into_owned(),
            user: user.to_vec(),
            host: host.transpose().map_err(invalid)?,
            source: a.source.clone(),
        })
    };
    a.some()?.iter().map(pattern).collect()
}

fn groups(a: &Args<'_>) -> Result<Vec<GroupPattern>, Fault> {
    let words = a.some()?.iter().map(text);
    words.map(|text| Ok(GroupPattern { text: text?, source: a.source.clone() })).collect()
}

fn env_patterns(a: &Args<'_>) -> Result<Vec<Vec<u8>>, Fault> {
    let words = a.some()?;
    match words.iter().find(|w| w.bytes.contains(&b'=')) {
        Some(word) => Err(Fault::at(word, format!("invalid environment name '{}'", word.text()))),
        None => Ok(words.iter().map(|w| w.bytes.clone()).collect()),
    }
}

/// The first of two with one name holds.
fn variables(a: &Args<'_>) -> Result<Vec<Variable>, Fault> {
    let mut variables: Vec<Variable> = Vec::new();
    for word in a.some()? {
        let variable = Variable::parse(&word.bytes).ok_or_else(|| {
            Fault::at(word, format!("invalid environment '{}', expected NAME=VALUE", word.text()))
        })?;
        if !variables.iter().any(|v| v.name == variable.name) {
            variables.push(variable);
        }
    }
    Ok(variables)
}
