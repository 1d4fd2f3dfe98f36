//! Rows: files, commands, lists of algorithms, words of the log.

use crate::algorithms::{AlgorithmList, Names};
use crate::choice::{LogLevel, SyslogFacility};
use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{Args, Fault, Keyword, assign, one, or_none, text};
use crate::sshd::program::{KEYS_TOKENS, PRINCIPALS_TOKENS, check_program};
use crate::sshd::values::AuditLog;

/// A version line has 255 bytes, `SSH-2.0-` and the name of the software among them (RFC 4253 section 4.2).
const ADDENDUM_MAX: usize = 200;

pub(super) static ROWS: &[Keyword] = &[
    Keyword::value(
        "PidFile",
        Global,
        &["/run/sshd.pid"],
        "The file that says the server's process id.",
        |a| assign(a.file()?, |e, v| e.pid_file = v),
        |e| or_none(e.pid_file.as_deref()),
    ),
    Keyword::value(
        "Ciphers",
        Global,
        &[],
        "The ciphers offered; +, - and ^ before a list add to, take from and put in front of the default.",
        |a| assign(algorithms(a, &a.context.algorithms.ciphers)?, |e, v| e.ciphers = v),
        |e| one(e.ciphers.join(",")),
    ),
    Keyword::value(
        "MACs",
        Global,
        &[],
        "The message authentication codes offered.",
        |a| assign(algorithms(a, &a.context.algorithms.macs)?, |e, v| e.macs = v),
        |e| one(e.macs.join(",")),
    ),
    Keyword::value(
        "Banner",
        Match,
        &["none"],
        "A file that is shown before login.",
        |a| assign(a.file()?, |e, v| e.banner = v),
        |e| or_none(e.banner.as_deref()),
    ),
    Keyword::value(
        "ForceCommand",
        Match,
        &["none"],
        "Runs in place of what the client asks for. Without a list, sockets cannot be forwarded beside it.",
        |a| assign(force_command(a)?, |e, v| e.force_command = v),
        |e| or_none(e.force_command.as_deref()),
    ),
    Keyword::value(
        "TrustedUserCAKeys",
        Match,
        &["none"],
        "A file of keys whose certificates are accepted.",
        |a| assign(a.file()?, |e, v| e.trusted_user_ca_keys = v),
        |e| or_none(e.trusted_user_ca_keys.as_deref()),
    ),
    Keyword::value(
        "AuthorizedPrincipalsFile",
        Match,
        &["none"],
        "A file of the principals that a certificate may name to log in as this user.",
        |a| assign(user_file(a)?, |e, v| e.authorized_principals_file = v),
        |e| or_none(e.authorized_principals_file.as_deref()),
    ),
    Keyword::value(
        "VersionAddendum",
        Global,
        &["none"],
        "Text behind the name of the software in the version line.",
        |a| assign(addendum(a)?, |e, v| e.version_addendum = v),
        |e| one(if e.version_addendum.is_empty() { "none" } else { e.version_addendum.as_str() }),
    ),
    Keyword::value(
        "AuthorizedKeysCommand",
        Match,
        &["none"],
        "A program that prints the keys of a user.",
        |a| assign(program(a, KEYS_TOKENS)?, |e, v| e.authorized_keys_command = v),
        |e| or_none(e.authorized_keys_command.as_deref()),
    ),
    Keyword::value(
        "AuthorizedKeysCommandUser",
        Match,
        &["none"],
        "The user that AuthorizedKeysCommand runs as.",
        |a| assign(a.optional()?, |e, v| e.authorized_keys_command_user = v),
        |e| or_none(e.authorized_keys_command_user.as_deref().map(str::as_bytes)),
    ),
    Keyword::value(
        "AuthorizedPrincipalsCommand",
        Match,
        &["none"],
        "A program that prints the principals of a user.",
        |a| assign(program(a, PRINCIPALS_TOKENS)?, |e, v| e.authorized_principals_command = v),
        |e| or_none(e.authorized_principals_command.as_deref()),
    ),
    Keyword::value(
        "AuthorizedPrincipalsCommandUser",
        Match,
        &["none"],
        "The user that AuthorizedPrincipalsCommand runs as.",
        |a| assign(a.optional()?, |e, v| e.authorized_principals_command_user = v),
        |e| or_none(e.authorized_principals_command_user.as_deref().map(str::as_bytes)),
    ),
    Keyword::value(
        "KexAlgorithms",
        Global,
        &[],
        "The key exchange methods offered.",
        |a| assign(algorithms(a, &a.context.algorithms.kex)?, |e, v| e.kex_algorithms = v),
        |e| one(e.kex_algorithms.join(",")),
    ),
    Keyword::value(
        "CASignatureAlgorithms",
        Match,
        &[],
        "The signatures of certificate authorities that are accepted.",
        |a| assign(algorithms(a, &a.context.algorithms.ca_signatures)?, |e, v| e.ca_signature_algorithms = v),
        |e| one(e.ca_signature_algorithms.join(",")),
    ),
    Keyword::value(
        "HostKeyAlgorithms",
        Global,
        &[],
        "The host key signatures offered.",
        |a| assign(algorithms(a, &a.context.algorithms.host_keys)?, |e, v| e.host_key_algorithms = v),
        |e| one(e.host_key_algorithms.join(",")),
    ),
    Keyword::value(
        "PubkeyAcceptedAlgorithms",
        Match,
        &[],
        "The signatures of users' keys that are accepted.",
        |a| assign(algorithms(a, &a.context.algorithms.user_keys)?, |e, v| e.pubkey_accepted_algorithms = v),
        |e| one(e.pubkey_accepted_algorithms.join(",")),
    ),
    Keyword::value(
        "StreamLocalBindGroup",
        Match,
        &["none"],
        "The group of a listening socket; its owner is always the login.",
        |a| assign(a.optional()?, |e, v| e.socket_group = v),
        |e| or_none(e.socket_group.as_deref().map(str::as_bytes)),
    )
    .ours(),
    Keyword::value(
        "AuditLog",
        Global,
        &["none"],
        "A file, or syslog, that gets a record of each login, listener and connection.",
        |a| {
            let syslog = a.one()?.is("syslog");
            let log = if syslog { Some(AuditLog::Syslog) } else { a.file()?.map(AuditLog::File) };
            assign(log, |e, v| e.audit_log = v)
        },
        |e| match &e.audit_log {
            Some(AuditLog::Syslog) => one("syslog"),
            Some(AuditLog::File(path)) => or_none(Some(path)),
            None => or_none(None),
        },
    )
    .ours(),
    Keyword::value(
        "LogLevel",
        Match,
        &["INFO"],
        "How much is logged.",
        |a| assign(a.word(LogLevel::from_word, LogLevel::WORDS)?, |e, v| e.log_level = v),
        |e| one(e.log_level.word()),
    ),
    Keyword::value(
        "SyslogFacility",
        Global,
        &["AUTH"],
        "What the system's log sorts the messages under.",
        |a| assign(a.word(SyslogFacility::from_word, SyslogFacility::WORDS)?, |e, v| e.syslog_facility = v),
        |e| one(e.syslog_facility.word()),
    ),
];

fn algorithms(a: &Args<'_>, names: &Names<'_>) -> Result<Vec<String>, Fault> {
    let word = a.one()?;
    let fault =
        |e: &dyn std::fmt::Display| Fault::at(word, format!("bad {} '{}': {e}", a.keyword, word.text()));
    let (list, without_effect) = AlgorithmList::parse(&text(word)?, names).map_err(|e| fault(&e))?;
    if !without_effect.is_empty() {
        a.warn(format!("{} is not implemented and has no effect in {}", without_effect.join(","), a.keyword));
    }
    list.resolve(names).map_err(|e| fault(&e))
}

fn force_command(a: &Args<'_>) -> Result<Option<Vec<u8>>, Fault> {
    let command = a.command()?;
    let program = a.words.first().map(|w| w.bytes.as_slice());
    if command.is_some() && program == Some(b"internal-sftp") {
        return Err(Fault::new(
            "ForceCommand internal-sftp is not implemented, give the path of sftp-server, for example /usr/lib/openssh/sftp-server",
        ));
    }
    Ok(command)
}

fn user_file(a: &Args<'_>) -> Result<Option<Vec<u8>>, Fault> {
    let word = a.one()?;
    if word.is("none") {
        return Ok(None);
    }
    super::lists::user_template(a, word).map(Some)
}

fn program(a: &Args<'_>, tokens: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let command = a.command()?;
    if let Some(command) = &command {
        let fault = |e: &dyn std::fmt::Display| Fault::new(format!("{}: {e}", a.keyword));
        check_program(command, tokens).map_err(|e| fault(&e))?;
    }
    Ok(command)
}

fn addendum(a: &Args<'_>) -> Result<String, Fault> {
    let Some(text) = a.command()? else { return Ok(String::new()) };
    let printable = text.iter().all(|b| (b' '..=b'~').contains(b));
    if !printable || text.len() > ADDENDUM_MAX {
        return Err(Fault::new(format!(
            "invalid VersionAddendum, expected at most {ADDENDUM_MAX} printable ASCII characters"
        )));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
