//! Which scripts are run, and with which of our programs. One line for each script.

use Column::{C, S};

/// Which program is ours; the other one is the distribution's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Our sshd, stock ssh.
    S,
    /// Our ssh, stock sshd.
    C,
}

/// What a script has to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It passes.
    Pass,
    /// It says itself that it does not apply; why is written beside it.
    Skip,
    /// All of it passes but what it complains of in these words, each of them at least once; why is written beside it.
    But(&'static [&'static str]),
}

/// One script.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Its name, without `.sh`.
    pub name: &'static str,
    /// With which of our programs.
    pub columns: &'static [Column],
    /// How many seconds it takes: the longest are begun first.
    pub seconds: u32,
    /// What it has to come to.
    pub wanted: Wanted,
    /// Takes so long that it is run when asked for alone.
    pub long: bool,
    /// Types of keys that it cannot try: it has RSA keys sign with SHA-1, which we do not.
    pub leave_out: &'static str,
}

const fn script(name: &'static str, columns: &'static [Column], seconds: u32) -> Script {
    Script { name, columns, seconds, wanted: Wanted::Pass, long: false, leave_out: "-" }
}

/// Without the key types whose name is this.
const fn without(leave_out: &'static str, script: Script) -> Script {
    Script { leave_out, ..script }
}

/// When asked for alone.
const fn long(script: Script) -> Script {
    Script { long: true, ..script }
}

/// A certificate without principals is for nobody, as in OpenSSH 10.5; the script wants 9.2's "for any host".
const PRINCIPALS: Wanted = Wanted::But(&[
    "ssh cert connect empty principals failed unexpectedly",
    "ssh cert connect cert valid interval failed unexpectedly",
]);

/// All of them.
pub const TABLE: &[Script] = &[
    script("connect", &[S, C], 3),
    script("proxy-connect", &[S, C], 2),
    script("connect-uri", &[C], 2),
    script("proto-version", &[S], 1),
    script("proto-mismatch", &[S], 1),
    script("exit-status", &[S, C], 35),
    script("exit-status-signal", &[S, C], 2),
    script("transfer", &[S, C], 4),
    script("stderr-data", &[S, C], 13),
    script("stderr-after-eof", &[S, C], 3),
    script("yes-head", &[S, C], 4),
    script("envpass", &[S, C], 4),
    script("banner", &[S, C], 4),
    script("try-ciphers", &[S, C], 10),
    script("kextype", &[S, C], 12),
    script("keytype", &[S, C], 12),
    script("login-timeout", &[S, C], 16),
    script("reconfigure", &[S, C], 15),
    script("brokenkeys", &[S, C], 1),
    script("portnum", &[C], 5),
    script("knownhosts", &[C], 2),
    script("forwarding", &[S, C], 10),
    script("dynamic-forward", &[S, C], 11),
    script("multiplex", &[S, C], 75),
    script("localcommand", &[S, C], 2),
    script("host-expand", &[C], 1),
    script("percent", &[C], 27),
    // Over a hundred exchanges, and waits of two minutes.
    long(script("rekey", &[S, C], 330)),
    script("forward-control", &[S, C], 157),
    script("key-options", &[S, C], 5),
    script("cfgmatch", &[S], 10),
    script("cfgmatchlisten", &[S], 15),
    script("addrmatch", &[S], 2),
    script("allow-deny-users", &[S], 3),
    script("forcecommand", &[S], 3),
    script("channel-timeout", &[S], 26),
    script("connection-timeout", &[S, C], 41),
    without("ssh-rsa", script("cert-userkey", &[S, C], 60)),
    script("cert-hostkey", &[S], 50),
    Script { wanted: PRINCIPALS, ..script("cert-hostkey", &[C], 50) },
    script("cert-file", &[S, C], 5),
    script("principals-command", &[S, C], 6),
    script("keys-command", &[S, C], 2),
    script("limit-keytype", &[S, C], 8),
    script("multipubkey", &[S, C], 4),
    script("hostkey-rotate", &[S, C], 17),
];
