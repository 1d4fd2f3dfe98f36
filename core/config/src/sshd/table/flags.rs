//! Rows: yes, no and other choices.

use sockward_policy::{Conflict, Direction, GatewayPorts, Unlink};

use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{FLAG, Keyword, assign, word_of};
use crate::sshd::values::{Isolation, RootLogin};

const ROOT_LOGIN: &[(&str, RootLogin)] = &[
    ("prohibit-password", RootLogin::ProhibitPassword),
    ("without-password", RootLogin::ProhibitPassword),
    ("forced-commands-only", RootLogin::ForcedCommandsOnly),
    ("yes", RootLogin::Yes),
    ("no", RootLogin::No),
];

const GATEWAY_PORTS: &[(&str, GatewayPorts)] = &[
    ("clientspecified", GatewayPorts::ClientSpecified),
    ("yes", GatewayPorts::Yes),
    ("no", GatewayPorts::No),
];

const DIRECTION: &[(&str, Direction)] = &[
    ("yes", Direction::Yes),
    ("all", Direction::Yes),
    ("no", Direction::No),
    ("remote", Direction::Remote),
    ("local", Direction::Local),
];

const UNLINK: &[(&str, Unlink)] = &[("stale", Unlink::Stale), ("yes", Unlink::Yes), ("no", Unlink::No)];

const CONFLICT: &[(&str, Conflict)] = &[("refuse", Conflict::Refuse)];

const ISOLATION: &[(&str, Option<Isolation>)] =
    &[("auto", None), ("connection", Some(Isolation::Connection)), ("shared", Some(Isolation::Shared))];

pub(super) static ROWS: &[Keyword] = &[
    Keyword::value(
        "PermitRootLogin",
        Match,
        &["prohibit-password"],
        "Whether root may log in: yes, prohibit-password, forced-commands-only (the key has one) or no.",
        |a| assign(a.choice(ROOT_LOGIN)?, |e, v| e.permit_root_login = v),
        |e| word_of(ROOT_LOGIN, e.permit_root_login),
    ),
    Keyword::value(
        "PubkeyAuthentication",
        Match,
        &["yes"],
        "Whether keys are accepted.",
        |a| assign(a.flag()?, |e, v| e.pubkey_authentication = v),
        |e| word_of(FLAG, e.pubkey_authentication),
    ),
    Keyword::value(
        "PermitTTY",
        Match,
        &["yes"],
        "Whether a session may have a terminal.",
        |a| assign(a.flag()?, |e, v| e.permit_tty = v),
        |e| word_of(FLAG, e.permit_tty),
    ),
    Keyword::value(
        "StrictModes",
        Global,
        &["yes"],
        "Whether a user's key files are read only if nobody else can write to them or the directories above.",
        |a| assign(a.flag()?, |e, v| e.strict_modes = v),
        |e| word_of(FLAG, e.strict_modes),
    ),
    Keyword::value(
        "TCPKeepAlive",
        Global,
        &["yes"],
        "Whether the system probes silent connections.",
        |a| assign(a.flag()?, |e, v| e.tcp_keep_alive = v),
        |e| word_of(FLAG, e.tcp_keep_alive),
    ),
    Keyword::value(
        "GatewayPorts",
        Match,
        &["no"],
        "Whether remote TCP forwardings listen on loopback (no), everywhere (yes) or where the client asks.",
        |a| assign(a.choice(GATEWAY_PORTS)?, |e, v| e.gateway_ports = v),
        |e| word_of(GATEWAY_PORTS, e.gateway_ports),
    ),
    Keyword::value(
        "UseDNS",
        Global,
        &["no"],
        "Whether the client's address is resolved to a verified name, for Match Host, USER@HOST and from=.",
        |a| assign(a.flag()?, |e, v| e.use_dns = v),
        |e| word_of(FLAG, e.use_dns),
    ),
    Keyword::value(
        "AllowTcpForwarding",
        Match,
        &["yes"],
        "Which ways TCP may be forwarded: yes, no, local, remote. Sockets follow it in the same direction.",
        |a| assign(a.choice(DIRECTION)?, |e, v| e.allow_tcp_forwarding = v),
        |e| word_of(DIRECTION, e.allow_tcp_forwarding),
    ),
    Keyword::value(
        "DisableForwarding",
        Match,
        &["no"],
        "Switches all forwarding off, whatever else is written.",
        |a| assign(a.flag()?, |e, v| e.disable_forwarding = v),
        |e| word_of(FLAG, e.disable_forwarding),
    ),
    Keyword::value(
        "AllowStreamLocalForwarding",
        Match,
        &["yes"],
        "Which ways Unix domain sockets may be forwarded: yes, no, local, remote.",
        |a| assign(a.choice(DIRECTION)?, |e, v| e.allow_streamlocal_forwarding = v),
        |e| word_of(DIRECTION, e.allow_streamlocal_forwarding),
    ),
    Keyword::value(
        "StreamLocalBindUnlink",
        Match,
        &["stale"],
        "Whether a socket file that is there is replaced: if nobody listens on it (stale), in any case (yes), never (no).",
        |a| assign(a.choice(UNLINK)?, |e, v| e.unlink = v),
        |e| word_of(UNLINK, e.unlink),
    ),
    Keyword::value(
        "StreamLocalConflict",
        Match,
        &["refuse"],
        "What happens if another login holds a socket's name.",
        |a| assign(a.choice(CONFLICT)?, |e, v| e.conflict = v),
        |e| word_of(CONFLICT, e.conflict),
    )
    .ours(),
    Keyword::value(
        "RefuseConnection",
        Match,
        &["no"],
        "Ends the connection before anybody can log in.",
        |a| assign(a.flag()?, |e, v| e.refuse_connection = v),
        |e| word_of(FLAG, e.refuse_connection),
    ),
    Keyword::value(
        "WorkerIsolation",
        Global,
        &["auto"],
        "Whether each connection has a network process of its own (connection) or a few serve all (shared).",
        |a| assign(a.choice(ISOLATION)?, |e, v| e.worker_isolation = v),
        |e| word_of(ISOLATION, e.worker_isolation),
    )
    .ours(),
];
