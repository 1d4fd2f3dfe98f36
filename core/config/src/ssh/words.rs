//! Keywords of ssh_config that take one of a few words. The first word of a choice is what `-G` prints.

use crate::choice::choices;

use super::value::{Arguments, Printer, Value, choice_value};

choices! {
    /// `StrictHostKeyChecking`.
    pub enum StrictHostKeyChecking {
        /// Only keys that are in the files.
        Yes = "true" | "yes",
        /// New keys are accepted, changed ones too with restrictions.
        No = "false" | "no" | "off",
        /// The user is asked about a new key.
        Ask = "ask",
        /// A new key is accepted, a changed one is not.
        AcceptNew = "accept-new",
    }
}

choices! {
    /// Keywords that take `yes`, `no` or `ask`.
    pub enum YesNoAsk {
        /// Do it.
        Yes = "true" | "yes",
        /// Leave it.
        No = "false" | "no",
        /// Ask the user.
        Ask = "ask",
    }
}

choices! {
    /// `CanonicalizeHostname`.
    pub enum Canonicalize {
        /// Names are looked up as given.
        No = "false" | "no",
        /// Suffixes are tried unless a proxy is used.
        Yes = "true" | "yes",
        /// Suffixes are tried for proxied connections too.
        Always = "always",
    }
}

choices! {
    /// `ControlMaster`.
    pub enum ControlMaster {
        /// Use a master if there is one.
        No = "false" | "no",
        /// Be the master.
        Yes = "true" | "yes",
        /// Use one, or be it.
        Auto = "auto",
        /// Be it, and ask before each use.
        Ask = "ask",
        /// Use one, or be it and ask before each use.
        AutoAsk = "autoask",
    }
}

choices! {
    /// `Tunnel`.
    pub enum Tunnel {
        /// None.
        No = "false" | "no",
        /// Layer 3, the default kind.
        PointToPoint = "point-to-point" | "true" | "yes",
        /// Layer 2.
        Ethernet = "ethernet",
    }
}

choices! {
    /// `RequestTTY`.
    pub enum RequestTty {
        /// Never.
        No = "false" | "no",
        /// If standard input is a terminal.
        Yes = "true" | "yes",
        /// Always.
        Force = "force",
        /// For a login session.
        Auto = "auto",
    }
}

choices! {
    /// `SessionType`.
    pub enum SessionType {
        /// No session: forwardings alone (`-N`).
        None = "none",
        /// The command is a subsystem's name (`-s`).
        Subsystem = "subsystem",
        /// A shell or a command.
        Default = "default",
    }
}

choices! {
    /// `PubkeyAuthentication`.
    pub enum PubkeyAuthentication {
        /// In the form the server prefers.
        Yes = "true" | "yes",
        /// Not at all.
        No = "false" | "no",
        /// Without OpenSSH's host-bound extension.
        Unbound = "unbound",
        /// With it.
        HostBound = "host-bound",
    }
}

choices! {
    /// `FingerprintHash`.
    pub enum FingerprintHash {
        /// As hex bytes between colons.
        Md5 = "MD5",
        /// As base64.
        Sha256 = "SHA256",
    }
}

choices! {
    /// `ForwardProbe`: is the far end of a forwarding reachable, before anyone uses it?
    pub enum ForwardProbe {
        /// Not asked.
        No = "no" | "false",
        /// The server says whether the login may connect; nothing is connected.
        Permission = "permission",
        /// The server connects once.
        Connect = "connect",
    }
}

choices! {
    /// `Via`: what forwards on the far side.
    pub enum Via {
        /// The SSH server itself.
        Server = "server" | "none",
        /// A gate that runs as a command there.
        Gate = "gate",
    }
}

choices! {
    /// `Transport`: which program speaks SSH.
    pub enum Transport {
        /// This one.
        Own = "own" | "none",
        /// The installed `ssh`.
        Ssh = "ssh",
    }
}

choice_value!(
    Canonicalize,
    ControlMaster,
    FingerprintHash,
    ForwardProbe,
    PubkeyAuthentication,
    RequestTty,
    SessionType,
    StrictHostKeyChecking,
    Transport,
    Tunnel,
    Via,
    YesNoAsk,
    crate::choice::AddressFamily,
    crate::choice::LogLevel,
    crate::choice::SyslogFacility
);
