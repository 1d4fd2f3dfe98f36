//! Names on the wire, each once: algorithms, services, channel types, requests, extensions.
//! RFC 4250 §4.6–4.11, RFC 8308, 8332, 8709, 8731, 9142; OpenSSH PROTOCOL for names with an `@`.

/// Services (RFC 4250 §4.7).
pub mod service {
    /// User authentication.
    pub const USERAUTH: &str = "ssh-userauth";
    /// The connection layer.
    pub const CONNECTION: &str = "ssh-connection";
}

/// Pseudo algorithms that ride in the key-exchange list of KEXINIT.
pub mod kex_extension {
    /// The client takes EXT_INFO (RFC 8308 §2.1).
    pub const EXT_INFO_C: &str = "ext-info-c";
    /// The server takes EXT_INFO.
    pub const EXT_INFO_S: &str = "ext-info-s";
    /// Strict key exchange, client (OpenSSH PROTOCOL 1.9).
    pub const STRICT_C: &str = "kex-strict-c-v00@openssh.com";
    /// Strict key exchange, server.
    pub const STRICT_S: &str = "kex-strict-s-v00@openssh.com";
}

/// Extensions of EXT_INFO (RFC 8308 §3; OpenSSH PROTOCOL).
pub mod extension {
    /// The signature algorithms a server takes for user keys.
    pub const SERVER_SIG_ALGS: &str = "server-sig-algs";
    /// PING / PONG messages are understood; value "0".
    pub const PING: &str = "ping@openssh.com";
    /// publickey-hostbound-v00@openssh.com is understood; value "0".
    pub const HOSTBOUND: &str = "publickey-hostbound@openssh.com";
    /// A client of OpenSSH 9.6 and later asks for EXT_INFO during authentication.
    pub const EXT_INFO_IN_AUTH: &str = "ext-info-in-auth@openssh.com";
}

/// Channel types.
pub mod channel {
    /// RFC 4254 §6.1.
    pub const SESSION: &str = "session";
    /// RFC 4254 §7.2, client to server.
    pub const DIRECT_TCPIP: &str = "direct-tcpip";
    /// RFC 4254 §7.2, server to client.
    pub const FORWARDED_TCPIP: &str = "forwarded-tcpip";
    /// OpenSSH PROTOCOL 2.4, client to server.
    pub const DIRECT_STREAMLOCAL: &str = "direct-streamlocal@openssh.com";
    /// Ours: [`DIRECT_STREAMLOCAL`] to a socket of one user's alone (`TargetOwner`). Other servers do not know it,
    /// and so do not connect at all.
    pub const DIRECT_STREAMLOCAL_OWNER: &str = "direct-streamlocal-owner@sockward.dev";
    /// OpenSSH PROTOCOL 2.4, server to client.
    pub const FORWARDED_STREAMLOCAL: &str = "forwarded-streamlocal@openssh.com";
}

/// Channel requests (RFC 4254 §6; OpenSSH PROTOCOL 2.1).
pub mod request {
    /// Ask for a terminal.
    pub const PTY: &str = "pty-req";
    /// Set an environment variable.
    pub const ENV: &str = "env";
    /// Start the login shell.
    pub const SHELL: &str = "shell";
    /// Run a command.
    pub const EXEC: &str = "exec";
    /// Start a subsystem.
    pub const SUBSYSTEM: &str = "subsystem";
    /// A break on the line (RFC 4335).
    pub const BREAK: &str = "break";
    /// Terminal size changed.
    pub const WINDOW_CHANGE: &str = "window-change";
    /// Deliver a signal.
    pub const SIGNAL: &str = "signal";
    /// The command ended with a status.
    pub const EXIT_STATUS: &str = "exit-status";
    /// The command was killed by a signal.
    pub const EXIT_SIGNAL: &str = "exit-signal";
    /// The channel will write no more to its reader (OpenSSH).
    pub const EOW: &str = "eow@openssh.com";
    /// X11 forwarding.
    pub const X11: &str = "x11-req";
    /// Agent forwarding (OpenSSH PROTOCOL.agent).
    pub const AGENT: &str = "auth-agent-req@openssh.com";
}

/// Global requests.
pub mod global {
    /// Ours: may this be opened or listened on (`ForwardProbe`)? Nothing is connected or bound.
    pub const FORWARD_PROBE: &str = "forward-probe@sockward.dev";
    /// Listen on a TCP port (RFC 4254 §7.1).
    pub const TCPIP_FORWARD: &str = "tcpip-forward";
    /// Stop listening on a TCP port.
    pub const CANCEL_TCPIP_FORWARD: &str = "cancel-tcpip-forward";
    /// Listen on a socket path (OpenSSH PROTOCOL 2.4).
    pub const STREAMLOCAL_FORWARD: &str = "streamlocal-forward@openssh.com";
    /// Stop listening on a socket path.
    pub const CANCEL_STREAMLOCAL_FORWARD: &str = "cancel-streamlocal-forward@openssh.com";
    /// Are you there? Any answer will do.
    pub const KEEPALIVE: &str = "keepalive@openssh.com";
    /// No session channel shall be opened any more (OpenSSH PROTOCOL 2.2).
    pub const NO_MORE_SESSIONS: &str = "no-more-sessions@openssh.com";
    /// All host keys of the server (OpenSSH PROTOCOL 2.5).
    pub const HOSTKEYS: &str = "hostkeys-00@openssh.com";
    /// Prove that you hold these host keys.
    pub const HOSTKEYS_PROVE: &str = "hostkeys-prove-00@openssh.com";
}

/// Authentication methods (RFC 4250 §4.8).
pub mod method {
    /// Asks which methods there are.
    pub const NONE: &str = "none";
    /// A key.
    pub const PUBLICKEY: &str = "publickey";
    /// A password.
    pub const PASSWORD: &str = "password";
    /// Questions and answers (RFC 4256).
    pub const KEYBOARD_INTERACTIVE: &str = "keyboard-interactive";
}
