//! What `ssh` prints about itself: usage, and the lists that `-Q` can be asked for.

/// For standard error when the command line cannot be read; the exit code is 255.
pub const USAGE: &str = "\
usage: ssh [-46AaCfGgKkMNnqsTtVvXxYy] [-B bind_interface] [-b bind_address]
           [-c cipher_spec] [-D [bind_address:]port] [-E log_file]
           [-e escape_char] [-F configfile] [-I pkcs11] [-i identity_file]
           [-J destination] [-L address] [-l login_name] [-m mac_spec]
           [-O ctl_cmd] [-o option] [-P tag] [-p port] [-R address]
           [-S ctl_path] [-W host:port] [-w local_tun[:remote_tun]]
           destination [command [argument ...]]
       ssh [-Q query_option]
";

/// A list that `-Q` prints, one name a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Ciphers.
    Cipher,
    /// Ciphers that authenticate by themselves.
    CipherAuth,
    /// Compression methods.
    Compression,
    /// The names `-Q` takes.
    Help,
    /// Key exchanges.
    Kex,
    /// Types of keys and certificates.
    Key,
    /// Signature algorithms of certificate authorities.
    KeyCaSign,
    /// Types of certificates.
    KeyCert,
    /// Types of plain keys.
    KeyPlain,
    /// Types of keys and certificates, and signature algorithms.
    KeySig,
    /// Message authentication codes.
    Mac,
    /// Versions of the SSH protocol.
    ProtocolVersion,
    /// Signature algorithms.
    Sig,
}

/// What `-Q` takes. `-Q help` prints the names that are not keywords.
pub const QUERIES: &[(&str, Query)] = &[
    ("cipher", Query::Cipher),
    ("cipher-auth", Query::CipherAuth),
    ("compression", Query::Compression),
    ("kex", Query::Kex),
    ("key", Query::Key),
    ("key-ca-sign", Query::KeyCaSign),
    ("key-cert", Query::KeyCert),
    ("key-plain", Query::KeyPlain),
    ("key-sig", Query::KeySig),
    ("mac", Query::Mac),
    ("protocol-version", Query::ProtocolVersion),
    ("sig", Query::Sig),
    ("help", Query::Help),
];

/// Keywords that stand for a list, whatever the case of their letters.
const KEYWORD_QUERIES: &[(&str, Query)] = &[
    ("Ciphers", Query::Cipher),
    ("MACs", Query::Mac),
    ("KexAlgorithms", Query::Kex),
    ("CASignatureAlgorithms", Query::KeyCaSign),
    ("PubkeyAcceptedAlgorithms", Query::KeySig),
    ("PubkeyAcceptedKeyTypes", Query::KeySig),
    ("HostKeyAlgorithms", Query::KeySig),
    ("HostbasedKeyTypes", Query::KeySig),
    ("HostbasedAcceptedKeyTypes", Query::KeySig),
    ("HostbasedAcceptedAlgorithms", Query::KeySig),
];

impl Query {
    /// Reads the argument of `-Q`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let named = QUERIES.iter().find(|(n, _)| *n == name);
        named
            .or_else(|| KEYWORD_QUERIES.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)))
            .map(|(_, query)| *query)
    }
}
