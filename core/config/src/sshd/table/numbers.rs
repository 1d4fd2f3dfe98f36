//! Rows: ports and addresses, times, counts and modes.

use crate::choice::AddressFamily;
use crate::lookup;
use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{Args, Fault, Keyword, Merge, append, assign, assign_at, one};
use crate::sshd::values::ListenAddress;

/// OpenSSH accepts no RSA key below this either (SSH_RSA_MINIMUM_MODULUS_SIZE).
const RSA_MIN: u32 = 1024;

pub(super) static ROWS: &[Keyword] = &[
    Keyword::value(
        "Port",
        Global,
        &["22"],
        "The port to listen on. More than one may be given.",
        |a| assign_at(vec![port(a)?], |e, v, s| append(&mut e.ports, v, s)),
        |e| e.ports.iter().map(u16::to_string).collect(),
    )
    .merged(Merge::All),
    Keyword::value(
        "AddressFamily",
        Global,
        &["any"],
        "Whether to listen on IPv4 (inet), IPv6 (inet6) or both (any).",
        |a| assign(a.word(AddressFamily::from_word, AddressFamily::WORDS)?, |e, v| e.address_family = v),
        |e| one(e.address_family.word()),
    ),
    Keyword::value(
        "ListenAddress",
        Global,
        &[],
        "An address to listen on, with or without a port; all addresses if none is given.",
        |a| assign_at(vec![listen_address(a)?], |e, v, s| append(&mut e.listen, v, s)),
        |e| {
            let bracketed = |h: &str| if h.contains(':') { format!("[{h}]") } else { h.to_owned() };
            e.listeners().iter().map(|(host, port)| format!("{}:{port}", bracketed(host))).collect()
        },
    )
    .merged(Merge::All),
    Keyword::value(
        "LoginGraceTime",
        Global,
        &["120"],
        "The time a client has to log in; 0 is no limit.",
        |a| assign(a.time()?, |e, v| e.login_grace_time = v),
        |e| one(e.login_grace_time.to_string()),
    ),
    Keyword::value(
        "MaxAuthTries",
        Match,
        &["6"],
        "How often a connection may try to authenticate.",
        |a| assign(a.int()?, |e, v| e.max_auth_tries = v),
        |e| one(e.max_auth_tries.to_string()),
    ),
    Keyword::value(
        "MaxSessions",
        Match,
        &["10"],
        "How many shells, commands and subsystems one connection may have open; 0 leaves forwarding alone.",
        |a| assign(a.int()?, |e, v| e.max_sessions = v),
        |e| one(e.max_sessions.to_string()),
    ),
    Keyword::value(
        "MaxListeners",
        Match,
        &["none"],
        "How many listeners one login may have at once.",
        |a| assign(a.int_or_none()?, |e, v| e.max_listeners = v),
        |e| number_or_none(e.max_listeners),
    )
    .ours(),
    Keyword::value(
        "MaxForwardedConnections",
        Match,
        &["none"],
        "How many forwarded connections one login may have at once.",
        |a| assign(a.int_or_none()?, |e, v| e.max_forwarded_connections = v),
        |e| number_or_none(e.max_forwarded_connections),
    )
    .ours(),
    Keyword::value(
        "ClientAliveInterval",
        Match,
        &["0"],
        "After this time without a word from the client the server asks whether it is there; 0 never asks.",
        |a| assign(a.time()?, |e, v| e.client_alive_interval = v),
        |e| one(e.client_alive_interval.to_string()),
    ),
    Keyword::value(
        "ClientAliveCountMax",
        Match,
        &["3"],
        "After so many questions without an answer the connection is ended; 0 never ends it.",
        |a| assign(a.int()?, |e, v| e.client_alive_count_max = v),
        |e| one(e.client_alive_count_max.to_string()),
    ),
    Keyword::value(
        "RequiredRSASize",
        Match,
        &["1024"],
        "RSA keys with fewer bits are not accepted. It can only be raised.",
        |a| assign(a.int()?.max(RSA_MIN), |e, v| e.required_rsa_size = v),
        |e| one(e.required_rsa_size.to_string()),
    ),
    Keyword::value(
        "StreamLocalBindMask",
        Match,
        &["0177"],
        "Permission bits that a listening socket does not get (octal).",
        |a| assign_at(octal(a)?, |e, v, s| e.socket_mode.set(s.pass, Some(v), None)),
        |e| e.socket_mode.mask.map_or_else(Vec::new, |m| one(format!("0{m:o}"))),
    )
    .merged(Merge::Last),
    Keyword::value(
        "StreamLocalBindMode",
        Match,
        &[],
        "The permission bits of a listening socket (octal), in place of StreamLocalBindMask.",
        |a| assign_at(octal(a)?, |e, v, s| e.socket_mode.set(s.pass, None, Some(v))),
        |e| e.socket_mode.mode.map_or_else(Vec::new, |m| one(format!("0{m:o}"))),
    )
    .ours(),
    Keyword::value(
        "UnusedConnectionTimeout",
        Match,
        &["none"],
        "A connection without an open channel is ended after this time.",
        |a| {
            let seconds = if a.one()?.is("none") { 0 } else { a.time()? };
            assign(seconds, |e, v| e.unused_connection_timeout = v)
        },
        |e| number_or_none(Some(e.unused_connection_timeout).filter(|&s| s != 0)),
    ),
];

fn number_or_none(number: Option<u32>) -> Vec<String> {
    one(number.map_or_else(|| "none".to_owned(), |n| n.to_string()))
}

fn port(a: &Args<'_>) -> Result<u16, Fault> {
    let word = a.one()?;
    let port = lookup::port(&word.text(), a.context.lookup).filter(|&p| p > 0);
    port.ok_or_else(|| Fault::at(word, format!("badly formatted port number '{}'", word.text())))
}

fn octal(a: &Args<'_>) -> Result<u16, Fault> {
    let word = a.one()?;
    let digits = word.bytes.iter().all(|b| (b'0'..=b'7').contains(b));
    let bits = u16::from_str_radix(&word.text(), 8).ok().filter(|&bits| digits && bits <= 0o777);
    bits.ok_or_else(|| {
        Fault::at(word, format!("invalid {} '{}', expected octal digits up to 0777", a.keyword, word.text()))
    })
}

/// `HOST`, `HOST:PORT`, `[HOST]:PORT`, or a bare IPv6 address.
fn listen_address(a: &Args<'_>) -> Result<ListenAddress, Fault> {
    let words = a.some()?;
    let (word, text) = match words {
        [word] => (word, word.text()),
        [_, rdomain, ..] => {
            return Err(Fault::at(
                rdomain,
                "routing domains are not supported, leave out 'rdomain' and what follows",
            ));
        }
        [] => return Err(a.missing()),
    };
    let bad = |what: &str| Fault::at(word, format!("{what} in ListenAddress '{text}'"));
    let bare_ipv6 = !text.contains('[') && text.matches(':').count() > 1;
    let (host, port) = if bare_ipv6 {
        (&*text, None)
    } else if let Some(inside) = text.strip_prefix('[') {
        let (host, after) = inside.split_once(']').ok_or_else(|| bad("unclosed bracket"))?;
        match (after.is_empty(), after.strip_prefix(':')) {
            (true, _) => (host, None),
            (false, Some(port)) => (host, Some(port)),
            (false, None) => return Err(bad("bad address:port usage")),
        }
    } else {
        text.split_once(':').map_or((&*text, None), |(host, port)| (host, Some(port)))
    };
    let number = |text| lookup::port(text, a.context.lookup).filter(|&p| p > 0);
    let port = match port.map(number) {
        Some(None) => return Err(bad("bad port number")),
        Some(port) => port,
        None => None,
    };
    if host.is_empty() {
        return Err(bad("missing address"));
    }
    Ok(ListenAddress { host: host.to_owned(), port })
}
