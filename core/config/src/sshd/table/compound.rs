//! Rows: what has several parts: methods, timeouts, subsystems, limits, forwarding lists.

use std::fmt::Display;

use sockward_policy::{ListKind, Origin, PeerList, RuleList, Subsystem};

use crate::ipqos::IpQos;
use crate::lex::{self, Word};
use crate::sshd::effective::Effective;
use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{Args, Fault, Keyword, Merge, Stage, assign, assign_at, line_of, one, text};
use crate::sshd::values::{ChannelTimeout, MaxStartups, SubsystemLine, UserEnvironment};
use crate::units;

pub(super) static ROWS: &[Keyword] = &[
    Keyword::value(
        "AuthenticationMethods",
        Match,
        &["any"],
        "Lists of methods, joined by commas, of which one must be gone through. Here: publickey, any number of times, or any.",
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

/// Those that OpenSSH knows, here or not. In a list a device may follow, behind a colon.
const METHODS: &[&[u8]] =
    &[b"none", b"publickey", b"password", b"keyboard-interactive", b"hostbased", b"gssapi-with-mic"];

/// One list that public keys alone satisfy is enough: nothing else is offered. `none` alone, which nobody satisfies,
/// shuts everybody out who is not let in by a `Match` block.
fn methods(a: &Args<'_>) -> Result<Vec<String>, Fault> {
    let words = a.some()?;
    if words.iter().any(|w| w.bytes == b"any") {
        return match words {
            [_] => Ok(Vec::new()),
            _ => Err(Fault::new("\"any\" must appear alone in AuthenticationMethods")),
        };
    }
    for word in words {
        let names =
            word.bytes.split(|&b| b == b',').map(|m| m.split(|&b| b == b':').next().unwrap_or_default());
        if let Some(unknown) = names.into_iter().find(|name| !METHODS.contains(name)) {
            let unknown = String::from_utf8_lossy(unknown);
            return Err(Fault::at(word, format!("unknown authentication method \"{unknown}\" in list")));
        }
    }
    let shut = matches!(words, [word] if word.bytes == b"none");
    let by_keys = |w: &Word| w.bytes.split(|&b| b == b',').all(|method| method == b"publickey");
    if !shut && !words.iter().any(by_keys) {
        return Err(Fault::new(
            "of AuthenticationMethods only 'any' and 'publickey' are implemented, add the list 'publickey' (or 'publickey,publickey' for two keys) or remove the line",
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
