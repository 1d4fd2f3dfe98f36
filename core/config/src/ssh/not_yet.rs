//! What is read and printed but does nothing here, and what is done about that: THE place that says so.
//!
//! Once something is built, its name goes from [`NOT_YET`]; nothing else has to change.

use sockward_policy::Source;

use crate::ConfigError;

use super::settings::{Keyword, Options, Settings};
use crate::algorithms::Algorithms;

/// What happens if such a keyword has another value than its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// No connection is made: going on would be less safe than what was asked for, or something else altogether.
    Refuse,
    /// A warning: the user gets less than was asked for, but nothing less safe.
    Warn,
    /// Said at `-v`: hardly anyone would notice.
    Note,
}

/// Keywords whose effect is missing, with what to tell.
pub const NOT_YET: &[(&str, Severity, &str)] = &[
    ("AddKeysToAgent", Severity::Warn, "no keys are added to the agent; use ssh-add"),
    ("CanonicalizeHostname", Severity::Refuse, "names are not canonicalized; write full names"),
    ("ChannelTimeout", Severity::Warn, "idle channels are not closed"),
    ("Compression", Severity::Note, "nothing is compressed"),
    ("EnableEscapeCommandline", Severity::Note, "there is no command line behind ~C"),
    ("ForwardAgent", Severity::Warn, "the agent is not forwarded"),
    ("ForwardX11", Severity::Warn, "X11 is not forwarded"),
    ("GSSAPIAuthentication", Severity::Note, "GSSAPI is not used"),
    ("HostbasedAuthentication", Severity::Note, "this host's key is not used to log in"),
    ("KnownHostsCommand", Severity::Refuse, "no command is asked for known hosts; use UserKnownHostsFile"),
    ("LogVerbose", Severity::Note, "it names places in OpenSSH's source"),
    ("ObscureKeystrokeTiming", Severity::Warn, "the rhythm of typing is not hidden"),
    ("PKCS11Provider", Severity::Note, "smart cards are used through an agent alone"),
    ("ProxyUseFdpass", Severity::Refuse, "the proxy command must carry the data itself"),
    ("SecurityKeyProvider", Severity::Note, "security keys are used through an agent alone"),
    ("Tunnel", Severity::Refuse, "tunnel devices are not forwarded"),
    ("VerifyHostKeyDNS", Severity::Warn, "host keys are not looked up in DNS, unknown ones are asked about"),
    ("VersionAddendum", Severity::Note, "it is not sent"),
    ("VisualHostKey", Severity::Note, "host keys are shown by their fingerprints"),
];

/// Keywords without a row of their own, which have no effect in OpenSSH (or in some builds of it) either.
pub(super) const IGNORED: &[(&str, Severity, &str)] = &[
    ("Protocol", Severity::Note, "there is but version 2"),
    ("Cipher", Severity::Note, DEPRECATED),
    ("FallBackToRsh", Severity::Note, DEPRECATED),
    ("GlobalKnownHostsFile2", Severity::Note, DEPRECATED),
    ("RhostsAuthentication", Severity::Note, DEPRECATED),
    ("UserKnownHostsFile2", Severity::Note, DEPRECATED),
    ("UseRoaming", Severity::Note, DEPRECATED),
    ("UseRsh", Severity::Note, DEPRECATED),
    ("UsePrivilegedPort", Severity::Note, DEPRECATED),
    ("AFSTokenPassing", Severity::Warn, UNSUPPORTED),
    ("CompressionLevel", Severity::Warn, UNSUPPORTED),
    ("KerberosAuthentication", Severity::Warn, UNSUPPORTED),
    ("KerberosTGTPassing", Severity::Warn, UNSUPPORTED),
    ("RhostsRSAAuthentication", Severity::Warn, UNSUPPORTED),
    ("RSAAuthentication", Severity::Warn, UNSUPPORTED),
    // Debian's. With GSSAPI itself missing they change nothing.
    ("GSSAPIClientIdentity", Severity::Note, NO_GSSAPI),
    ("GSSAPIKexAlgorithms", Severity::Note, NO_GSSAPI),
    ("GSSAPIKeyExchange", Severity::Note, NO_GSSAPI),
    ("GSSAPIRenewalForcesRekey", Severity::Note, NO_GSSAPI),
    ("GSSAPIServerIdentity", Severity::Note, NO_GSSAPI),
    ("GSSAPITrustDns", Severity::Note, NO_GSSAPI),
];

const DEPRECATED: &str = "deprecated option";
const UNSUPPORTED: &str = "unsupported option";
const NO_GSSAPI: &str = "GSSAPI is not used";

/// Something to tell the user about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How loud.
    pub severity: Severity,
    /// Where it stands, and what.
    pub what: ConfigError,
}

/// The keywords of [`NOT_YET`] whose value is not the default. For `-G` nobody need care; a connection must not
/// be made if one of them is [`Severity::Refuse`].
#[must_use]
pub fn missing(settings: &Settings, algorithms: &Algorithms<'_>) -> Vec<Remark> {
    let defaults = Options::default().fill(algorithms);
    let mut remarks = Vec::new();
    for (name, severity, why) in NOT_YET {
        let Some(row) = Keyword::find(name) else { continue };
        if row.printed(settings) != row.printed(&defaults) {
            let source = settings.sources.get(row.name).cloned().unwrap_or_else(Source::command_line);
            let what = ConfigError::new(source, format!("{name} is not implemented: {why}"));
            remarks.push(Remark { severity: *severity, what });
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_a_row_or_is_none() {
        for (name, ..) in NOT_YET {
            assert_eq!(Keyword::find(name).map(|row| row.name), Some(*name));
        }
        for (name, ..) in IGNORED {
            assert!(Keyword::find(name).is_none(), "{name}");
        }
    }
}
