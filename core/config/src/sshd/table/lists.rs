//! Rows: files of keys, users and groups, environment, forwarding lists, and what else has several parts.

use std::fmt::Display;

use sockward_policy::{AddressList, ListKind, Origin, PeerList, RuleList, Subsystem, Variable};

use crate::ipqos::IpQos;
use crate::lex::{self, Word};
use crate::sshd::effective::{
    ChannelTimeout, Effective, GroupPattern, HostKeyFile, MaxStartups, Pass, SubsystemLine, UserEnvironment,
    UserPattern,
};
use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{
    Args, Fault, Keyword, Merge, Stage, append, assign, assign_at, line_of, lines_of, one, text,
};
use crate::sshd::user_file::{USER_FILE_TOKENS, check_tokens};
use crate::{tokens, units};

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
    Keyword::value(
        "AuthenticationMethods",
        Match,
        &["any"],
        "Lists of methods, joined by commas, of which one must be gone through. Here: publickey or any.",
        |a| assign(methods(a)?, |e, v| e.authentication_methods = v),
        |e| line_of(e.authentication_methods.iter().map(String::as_bytes), "any"),
    ),
    Keyword::value(
        "ChannelTimeout",
        Match,
        &["none"],
        "Closes channels of a type (a pattern, or global) that were idle for a time, as TYPE=TIME.",
        |a| assign(channel_timeouts(a)?, |e, v| e.channel_timeouts = v),
        |e| line_of(e.channel_timeouts.iter().map(|t| t.text.as_bytes()), ""),
    ),
    Keyword::value(
        "Subsystem",
        Match,
        &[],
        "A name, and the command that runs for it.",
        |a| assign_at(subsystem(a)?, put_subsystem),
        |e| {
            let lines = e.subsystems.iter().map(|s| [s.name.as_slice(), b" ", &s.command].concat());
            lines.map(|l| String::from_utf8_lossy(&l).into_owned()).collect()
        },
    )
    .merged(Merge::Last),
    Keyword::value(
        "MaxStartups",
        Global,
        &["10:30:100"],
        "How many connections may be logging in: a number, or START:RATE:FULL for random early drop.",
        |a| assign(max_startups(a)?, |e, v| e.max_startups = v),
        |e| {
            let MaxStartups { start, rate, full } = e.max_startups;
            one(format!("{start}:{rate}:{full}"))
        },
    ),
    Keyword::value(
        "PerSourceMaxStartups",
        Global,
        &["none"],
        "How many connections of one source may be logging in.",
        |a| assign(a.int_or_none()?, |e, v| e.per_source_max_startups = v),
        |e| one(e.per_source_max_startups.map_or("none".to_owned(), |n| n.to_string())),
    ),
    Keyword::value(
        "PerSourceNetBlockSize",
        Global,
        &["32:128"],
        "How many leading bits of an IPv4 and an IPv6 address make a source.",
        |a| {
            assign(net_block(a)?, |e, (v4, v6)| {
                e.per_source_net_block_size = (v4, v6.unwrap_or(e.per_source_net_block_size.1));
            })
        },
        |e| one(format!("{}:{}", e.per_source_net_block_size.0, e.per_source_net_block_size.1)),
    ),
    Keyword::value(
        "IPQoS",
        Match,
        &["ef cs0"],
        "The traffic class of connections with a terminal, and of the others.",
        |a| assign(ip_qos(a)?, |e, v| e.ip_qos = v),
        |e| one(format!("{} {}", e.ip_qos.0, e.ip_qos.1)),
    ),
    Keyword::value(
        "RekeyLimit",
        Match,
        &["default none"],
        "After how many bytes, and after what time, new keys are made.",
        |a| {
            assign(rekey_limit(a)?, |e, (bytes, seconds)| {
                e.rekey_limit.bytes = bytes;
                if let Some(seconds) = seconds {
                    e.rekey_limit.seconds = seconds;
                }
            })
        },
        |e| one(format!("{} {}", e.rekey_limit.bytes, e.rekey_limit.seconds.unwrap_or(0))),
    ),
    Keyword::value(
        "PermitOpen",
        Match,
        &[],
        "What may be opened: HOST:PORT and socket paths, any, or none. What is not in the list is refused.",
        |a| assign(Some(rule_list(a, ListKind::PermitOpen)?), |e, v| e.permit_open = v),
        |e| shown_list(e.permit_open.as_ref()),
    ),
    Keyword::value(
        "PermitListen",
        Match,
        &[],
        "What may be listened on: PORT, HOST:PORT and socket paths, any, or none.",
        |a| assign(Some(rule_list(a, ListKind::PermitListen)?), |e, v| e.permit_listen = v),
        |e| shown_list(e.permit_listen.as_ref()),
    ),
    Keyword::value(
        "PermitPeer",
        Match,
        &["any"],
        "Local users, and @groups, that may connect to what a login listens on.",
        |a| {
            let list = PeerList::parse(a.some()?.iter().map(|w| w.bytes.as_slice()), a.source.clone());
            assign(list.map_err(Fault::new)?, |e, v| e.permit_peer = v)
        },
        |e| one(e.permit_peer.as_ref().map_or("any".to_owned(), |l| l.texts().collect::<Vec<_>>().join(" "))),
    )
    .ours(),
    Keyword::value(
        "PermitUserEnvironment",
        Global,
        &["no"],
        "Whether a user's files set variables: yes, no, or a list of patterns of names.",
        |a| {
            let word = a.one()?;
            let value = match word.bytes.as_slice() {
                b"yes" => UserEnvironment::Yes,
                b"no" => UserEnvironment::No,
                patterns => UserEnvironment::Matching(patterns.to_vec()),
            };
            assign(value, |e, v| e.permit_user_environment = v)
        },
        |e| match &e.permit_user_environment {
            UserEnvironment::Yes => one("yes"),
            UserEnvironment::No => one("no"),
            UserEnvironment::Matching(patterns) => one(String::from_utf8_lossy(patterns)),
        },
    ),
    Keyword::value(
        "PubkeyAuthOptions",
        Match,
        &["none"],
        "What security keys must attest: touch-required, verify-required.",
        |a| {
            assign(pubkey_options(a)?, |e, (touch, verify)| {
                e.touch_required = touch;
                e.verify_required = verify;
            })
        },
        |e| {
            let options = [(e.touch_required, "touch-required"), (e.verify_required, "verify-required")];
            line_of(options.iter().filter(|(on, _)| *on).map(|(_, name)| name.as_bytes()), "none")
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

/// One list that public keys alone satisfy is enough: nothing else is offered.
fn methods(a: &Args<'_>) -> Result<Vec<String>, Fault> {
    let words = a.some()?;
    if words.iter().any(|w| w.bytes == b"any") {
        return match words {
            [_] => Ok(Vec::new()),
            _ => Err(Fault::new("\"any\" must appear alone in AuthenticationMethods")),
        };
    }
    if !words.iter().any(|w| w.bytes == b"publickey") {
        return Err(Fault::new(
            "of AuthenticationMethods only 'any' and 'publickey' are implemented, add the list 'publickey' or remove the line",
        ));
    }
    words.iter().map(text).collect()
}

fn channel_timeouts(a: &Args<'_>) -> Result<Vec<ChannelTimeout>, Fault> {
    let timeout = |w: &Word| {
        let text = text(w)?;
        let parts = text.split_once('=').filter(|(channel, _)| !channel.is_empty());
        let timeout = parts.and_then(|(channel, time)| Some((channel.to_owned(), units::interval(time)?)));
        let (channel, seconds) = timeout.ok_or_else(|| {
            Fault::at(w, format!("invalid channel timeout {text}, expected for example session=5m"))
        })?;
        Ok(ChannelTimeout { channel, seconds, text })
    };
    a.list_or_none()?.iter().map(timeout).collect()
}

fn subsystem(a: &Args<'_>) -> Result<Subsystem, Fault> {
    let [name, command @ ..] = a.words else { return Err(a.missing()) };
    let program = command.first().filter(|p| !p.bytes.is_empty()).ok_or_else(|| a.missing())?;
    if name.bytes.is_empty() {
        return Err(a.missing());
    }
    if program.bytes == b"internal-sftp" {
        a.warn(
            "internal-sftp is not implemented, requests for this subsystem are refused; give the path of sftp-server",
        );
    }
    Ok(Subsystem { name: name.bytes.clone(), command: lex::join(command.iter().map(|w| w.bytes.as_slice())) })
}

/// The first of a name holds, and a `Match` block's takes the place of a global one.
fn put_subsystem(e: &mut Effective, new: Subsystem, stage: Stage) {
    let line = SubsystemLine { name: new.name, command: new.command, pass: stage.pass };
    match e.subsystems.iter_mut().find(|s| s.name == line.name) {
        Some(old) if old.pass < stage.pass => *old = line,
        Some(_) => {}
        None => e.subsystems.push(line),
    }
}

/// The rate of a MaxStartups that is one number; with it all are dropped from that number on.
const RATE_DEFAULT: u32 = 30;

fn max_startups(a: &Args<'_>) -> Result<MaxStartups, Fault> {
    let word = a.one()?;
    let invalid = || {
        let text = word.text();
        Fault::at(word, format!("invalid MaxStartups spec '{text}', expected a number or START:RATE:FULL"))
    };
    let text = text(word)?;
    let number = |t: &str| t.parse::<u32>().ok().filter(|&n| n > 0 && i32::try_from(n).is_ok());
    match text.split(':').collect::<Vec<_>>().as_slice() {
        [full] => {
            let full = number(full).ok_or_else(invalid)?;
            Ok(MaxStartups { start: full, rate: RATE_DEFAULT, full })
        }
        [start, rate, full] => {
            let (start, rate, full) = (number(start), number(rate), number(full));
            let rate = rate.filter(|&r| r <= 100);
            let (Some(start), Some(rate), Some(full)) = (start, rate, full) else { return Err(invalid()) };
            if start > full { Err(invalid()) } else { Ok(MaxStartups { start, rate, full }) }
        }
        _ => Err(invalid()),
    }
}

fn net_block(a: &Args<'_>) -> Result<(u8, Option<u8>), Fault> {
    let word = a.one()?;
    let text = text(word)?;
    let (v4, v6) = text.split_once(':').map_or((&*text, None), |(v4, v6)| (v4, Some(v6)));
    let bits = |t: &str, max: u8| t.parse::<u8>().ok().filter(|&b| b <= max);
    match (bits(v4, 32), v6.map(|v6| bits(v6, 128))) {
        (Some(v4), None) => Ok((v4, None)),
        (Some(v4), Some(Some(v6))) => Ok((v4, Some(v6))),
        (Some(_), Some(None)) | (None, _) => Err(Fault::at(
            word,
            format!("invalid PerSourceNetBlockSize '{text}', expected for example 32:128"),
        )),
    }
}

fn ip_qos(a: &Args<'_>) -> Result<(IpQos, IpQos), Fault> {
    let class = |word: &Word| {
        let class = IpQos::parse(&word.text());
        class.ok_or_else(|| Fault::at(word, format!("bad IPQoS value '{}'", word.text())))
    };
    match a.at_most(2)? {
        [both] => class(both).map(|c| (c, c)),
        [interactive, bulk, ..] => Ok((class(interactive)?, class(bulk)?)),
        [] => Err(a.missing()),
    }
}

type RekeyParts = (u64, Option<Option<u32>>);

/// The time is left as it is where the line does not name it.
fn rekey_limit(a: &Args<'_>) -> Result<RekeyParts, Fault> {
    let fault = |word: &Word, e: &dyn Display| Fault::at(word, e.to_string());
    let words = a.at_most(2)?;
    let first = words.first().ok_or_else(|| a.missing())?;
    let bytes = units::rekey_bytes(&first.text()).map_err(|e| fault(first, &e))?;
    let seconds = match words.get(1) {
        Some(word) => Some(units::rekey_seconds(&word.text()).map_err(|e| fault(word, &e))?),
        None => None,
    };
    Ok((bytes, seconds))
}

fn rule_list(a: &Args<'_>, kind: ListKind) -> Result<RuleList, Fault> {
    let words = a.some()?.iter().map(|w| w.bytes.as_slice());
    let services = |name: &str| a.context.lookup.service(name);
    RuleList::parse(kind, Origin::Configuration, words, &services, a.source.clone())
        .map_err(|e| Fault::new(format!("{}: {e}", a.keyword)))
}

fn shown_list(list: Option<&RuleList>) -> Vec<String> {
    one(list.map_or("any".to_owned(), |l| l.texts().collect::<Vec<_>>().join(" ")))
}

fn pubkey_options(a: &Args<'_>) -> Result<(bool, bool), Fault> {
    let (mut touch, mut verify) = (false, false);
    for word in a.some()? {
        match () {
            () if word.is("none") => {}
            () if word.is("touch-required") => touch = true,
            () if word.is("verify-required") => verify = true,
            () => {
                let message = format!("unsupported PubkeyAuthOptions option {}", word.text());
                return Err(Fault::at(word, message));
            }
        }
    }
    Ok((touch, verify))
}
