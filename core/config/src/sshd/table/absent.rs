//! Rows: OpenSSH's keywords for what is not here, and those that OpenSSH itself ignores.
//!
//! The question for each: what would ignoring the line loosen? Where the answer is "nothing", because what the line
//! restricts cannot happen here at all, it is accepted. What permits or prefers something that is not here is
//! accepted with a warning for `-t`. What restricts more than its absence does is an error.

use sockward_policy::AddressList;

use crate::sshd::keyword::Scope::{Global, Match};
use crate::sshd::keyword::{Args, FLAG, Fault, Keyword};

pub(super) static ROWS: &[Keyword] = &[
    // Ways to log in.
    Keyword::absent("UsePAM", Global, "no", "PAM. Not here.", |a| {
        without(
            a,
            "PAM is not used: its account, session and limit modules do not run; locked and expired accounts are refused all the same",
        )
    }),
    Keyword::absent("PAMServiceName", Match, "", "PAM. Not here.", |a| {
        a.one()?;
        a.warn("PAM is not used");
        Ok(())
    }),
    Keyword::absent("PasswordAuthentication", Match, "no", "Login by password. Not here.", |a| {
        without(a, "passwords are not implemented, only public keys are accepted")
    }),
    Keyword::absent("KbdInteractiveAuthentication", Match, "no", "Login by dialogue. Not here.", |a| {
        without(a, "keyboard-interactive is not implemented, only public keys are accepted")
    }),
    Keyword::absent("PermitEmptyPasswords", Match, "no", "Login by password. Not here.", |a| {
        without(a, "passwords are not implemented, only public keys are accepted")
    }),
    Keyword::absent("HostbasedAuthentication", Match, "no", "Login by host key. Not here.", |a| {
        without(a, "host-based authentication is not implemented, only public keys are accepted")
    }),
    Keyword::absent("IgnoreRhosts", Match, "yes", "Login by host key. Not here.", |a| {
        a.choice(&[("yes", ()), ("no", ()), ("shosts-only", ())])
    }),
    Keyword::absent("IgnoreUserKnownHosts", Global, "no", "Login by host key. Not here.", flag),
    Keyword::absent("HostbasedUsesNameFromPacketOnly", Match, "no", "Login by host key. Not here.", flag),
    Keyword::absent("HostbasedAcceptedAlgorithms", Match, "", "Login by host key. Not here.", word),
    Keyword::absent("KerberosAuthentication", Match, "no", "Kerberos. Not here.", |a| {
        without(a, "Kerberos is not implemented, only public keys are accepted")
    }),
    Keyword::absent("KerberosOrLocalPasswd", Global, "", "Kerberos. Not here.", flag),
    Keyword::absent("KerberosTicketCleanup", Global, "", "Kerberos. Not here.", flag),
    Keyword::absent("KerberosGetAFSToken", Global, "", "Kerberos. Not here.", flag),
    Keyword::absent("GSSAPIAuthentication", Match, "no", "GSSAPI. Not here.", |a| {
        without(a, "GSSAPI is not implemented, only public keys are accepted")
    }),
    Keyword::absent("GSSAPIKeyExchange", Global, "no", "GSSAPI (Debian's patch). Not here.", |a| {
        without(a, "GSSAPI is not implemented")
    }),
    Keyword::absent("GSSAPICleanupCredentials", Global, "", "GSSAPI. Not here.", flag),
    Keyword::absent("GSSAPIDelegateCredentials", Global, "", "GSSAPI. Not here.", flag),
    Keyword::absent("GSSAPIStrictAcceptorCheck", Global, "", "GSSAPI. Not here.", flag),
    Keyword::absent("GSSAPIStoreCredentialsOnRekey", Global, "", "GSSAPI (Debian's patch). Not here.", flag),
    Keyword::absent("GSSAPIKexAlgorithms", Global, "", "GSSAPI (Debian's patch). Not here.", word),
    // Sessions.
    Keyword::absent("PrintMotd", Global, "no", "The message of the day. Not here.", |a| {
        without(a, "the message of the day is not printed")
    }),
    Keyword::absent("PrintLastLog", Global, "no", "The time of the last login. Not here.", |a| {
        without(a, "the time of the last login is not printed")
    }),
    Keyword::absent("PermitUserRC", Match, "no", "~/.ssh/rc. Not here.", |a| {
        without(a, "~/.ssh/rc is not run")
    }),
    Keyword::absent("ExposeAuthInfo", Match, "no", "A file that names the keys of a login. Not here.", |a| {
        only(a, "SSH_USER_AUTH is not implemented, and what relies on it would not find it")
    }),
    Keyword::absent("ChrootDirectory", Match, "none", "A directory to be shut in. Not here.", |a| {
        only_none(a, "sessions are not shut into a directory")
    }),
    Keyword::absent("RDomain", Match, "", "A routing domain for sessions. Not here.", |a| {
        only_none(a, "routing domains are not supported")
    }),
    // Forwarding.
    Keyword::absent("X11Forwarding", Match, "no", "X11. Not here.", |a| {
        without(a, "X11 forwarding is not implemented and is refused")
    }),
    Keyword::absent("X11DisplayOffset", Match, "", "X11. Not here.", |a| a.int().map(|_| ())),
    Keyword::absent("X11UseLocalhost", Match, "", "X11. Not here.", flag),
    Keyword::absent("XAuthLocation", Global, "", "X11. Not here.", word),
    Keyword::absent("AllowAgentForwarding", Match, "no", "The client's agent. Not here.", |a| {
        without(a, "agent forwarding is not implemented and is refused")
    }),
    Keyword::absent("PermitTunnel", Match, "no", "Tunnel devices. Not here.", |a| {
        const MODES: &[(&str, bool)] =
            &[("no", false), ("yes", true), ("point-to-point", true), ("ethernet", true)];
        if a.choice(MODES)? {
            a.warn("tunnel devices are not implemented and are refused");
        }
        Ok(())
    }),
    // The transport.
    Keyword::absent("Compression", Global, "no", "Compression. Not here.", |a| {
        if a.choice(&[("yes", true), ("delayed", true), ("no", false)])? {
            a.warn("compression is not implemented, connections are not compressed");
        }
        Ok(())
    }),
    Keyword::absent("ModuliFile", Global, "", "Groups for Diffie-Hellman group exchange. Not here.", word),
    Keyword::absent(
        "FingerprintHash",
        Global,
        "SHA256",
        "The hash of fingerprints in the log: sha256.",
        |a| {
            if a.choice(&[("sha256", false), ("md5", true)])? {
                a.warn("fingerprints are logged as SHA256");
            }
            Ok(())
        },
    ),
    Keyword::absent("HostKeyAgent", Global, "none", "An agent that holds the host keys. Not here.", |a| {
        only_none(a, "host keys are read from files alone")
    }),
    Keyword::absent("SecurityKeyProvider", Global, "", "A library for security keys. Not needed.", word),
    Keyword::absent(
        "DebianBanner",
        Global,
        "",
        "The distribution in the version line (Debian's patch). Not here.",
        flag,
    ),
    // Limits of sources.
    Keyword::absent("PerSourcePenalties", Global, "no", "Shuts out sources that misbehave. Not here.", |a| {
        match a.some()? {
            [no] if no.is("no") => Ok(()),
            _ => Err(not_here(a, "sources are not shut out")),
        }
    }),
    Keyword::absent("PerSourcePenaltyExemptList", Global, "", "Sources that are never shut out.", |a| {
        let word = a.one()?;
        AddressList::parse(&word.bytes).map_err(|e| Fault::at(word, e.to_string())).map(|_| ())
    }),
    // How OpenSSH is put together.
    Keyword::absent("LogVerbose", Match, "", "More log of parts of OpenSSH's source. Not here.", |a| {
        if !a.list_or_none()?.is_empty() {
            a.warn("LogVerbose has no effect, use LogLevel");
        }
        Ok(())
    }),
    Keyword::absent("SshdSessionPath", Global, "", "A part of OpenSSH. Not needed.", word),
    Keyword::absent("SshdAuthPath", Global, "", "A part of OpenSSH. Not needed.", word),
    Keyword::deprecated("ServerKeyBits", Global),
    Keyword::deprecated("KeyRegenerationInterval", Global),
    Keyword::deprecated("RhostsAuthentication", Global),
    Keyword::deprecated("RhostsRSAAuthentication", Match),
    Keyword::deprecated("RSAAuthentication", Match),
    Keyword::deprecated("CheckMail", Global),
    Keyword::deprecated("UseLogin", Global),
    Keyword::deprecated("VerifyReverseMapping", Global),
    Keyword::deprecated("ReverseMappingCheck", Global),
    Keyword::deprecated("AuthorizedKeysFile2", Match),
    Keyword::deprecated("UsePrivilegeSeparation", Global),
    Keyword::deprecated("KerberosTgtPassing", Global),
    Keyword::deprecated("AFSTokenPassing", Global),
    Keyword::deprecated("GSSAPIUseSessionCredCache", Global),
    Keyword::deprecated("Protocol", Global),
];

fn flag(a: &Args<'_>) -> Result<(), Fault> {
    a.flag().map(|_| ())
}

fn word(a: &Args<'_>) -> Result<(), Fault> {
    a.one().map(|_| ())
}

/// `no` is what happens; `yes` asks for something that is not here, and nothing is loosened without it.
fn without(a: &Args<'_>, why: &str) -> Result<(), Fault> {
    if a.choice(FLAG)? {
        a.warn(why);
    }
    Ok(())
}

/// `no` is what happens; `yes` cannot be left out quietly.
fn only(a: &Args<'_>, why: &str) -> Result<(), Fault> {
    if a.choice(FLAG)? { Err(not_here(a, why)) } else { Ok(()) }
}

/// `none` is what happens; anything else restricts.
fn only_none(a: &Args<'_>, why: &str) -> Result<(), Fault> {
    if a.one()?.is("none") { Ok(()) } else { Err(not_here(a, why)) }
}

fn not_here(a: &Args<'_>, why: &str) -> Fault {
    Fault::new(format!("{} is not implemented: {why}; remove the line to accept that", a.keyword))
}
