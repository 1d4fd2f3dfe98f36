//! Lists of algorithms as `Ciphers`, `MACs`, `KexAlgorithms` and their kind take them: a whole list, or a change
//! (`+`, `-`, `^`) of the default one, with wildcards.
//!
//! Which algorithms there are is not known here: the caller passes [`Names`].

use std::fmt;

use sockward_wire::pattern::{self, ListMatch};

/// The names that one keyword chooses from.
#[derive(Clone, Copy, Debug)]
pub struct Names<'n> {
    /// All that this program can do, in order of preference.
    pub supported: &'n [&'n str],
    /// Those used when the keyword is not given, in order of preference.
    pub default: &'n [&'n str],
}

/// The algorithms a program has, by keyword, for either side.
#[derive(Clone, Copy, Debug)]
pub struct Algorithms<'n> {
    /// For `Ciphers`, `-c`.
    pub ciphers: Names<'n>,
    /// For `MACs`, `-m`.
    pub macs: Names<'n>,
    /// For `KexAlgorithms`.
    pub kex: Names<'n>,
    /// For `HostKeyAlgorithms` and the client's `HostbasedAcceptedAlgorithms`.
    pub host_keys: Names<'n>,
    /// For `PubkeyAcceptedAlgorithms`.
    pub user_keys: Names<'n>,
    /// For `CASignatureAlgorithms`.
    pub ca_signatures: Names<'n>,
}

impl<'n> Algorithms<'n> {
    /// Where everything there is is fit to be used by default. `keys`: for host keys and for user keys.
    #[must_use]
    pub fn all(
        ciphers: &'n [&'n str],
        macs: &'n [&'n str],
        kex: &'n [&'n str],
        keys: &'n [&'n str],
        ca_signatures: &'n [&'n str],
    ) -> Self {
        let [ciphers, macs, kex, keys, ca_signatures] =
            [ciphers, macs, kex, keys, ca_signatures].map(|names| Names { supported: names, default: names });
        Algorithms { ciphers, macs, kex, host_keys: keys, user_keys: keys, ca_signatures }
    }

    /// What a keyword of ssh_config chooses from.
    pub(crate) fn of_keyword(&self, keyword: &str) -> &Names<'n> {
        match keyword {
            "Ciphers" => &self.ciphers,
            "MACs" => &self.macs,
            "KexAlgorithms" => &self.kex,
            "PubkeyAcceptedAlgorithms" => &self.user_keys,
            "CASignatureAlgorithms" => &self.ca_signatures,
            _ => &self.host_keys,
        }
    }
}

/// What a keyword's argument says, its syntax and names checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlgorithmList {
    change: Change,
    patterns: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Replace,
    Append,
    Remove,
    Prepend,
}

/// Why an argument is no list of algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlgorithmError {
    /// Nothing there, or a name between two commas is missing.
    Empty,
    /// Neither this program nor OpenSSH knows an algorithm of that name.
    Unknown(String),
    /// `!` stands only in lists that take away (`-`).
    Negated(String),
    /// No algorithm that this program has is left.
    NothingLeft,
}

impl fmt::Display for AlgorithmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AlgorithmError::Empty => f.write_str("an algorithm's name is missing"),
            AlgorithmError::Unknown(name) => write!(f, "there is no algorithm '{name}'"),
            AlgorithmError::Negated(name) => {
                write!(f, "'{name}' cannot be negated here; to take algorithms away start the list with '-'")
            }
            AlgorithmError::NothingLeft => {
                f.write_str("no algorithm that is implemented is left in the list")
            }
        }
    }
}

impl std::error::Error for AlgorithmError {}

impl AlgorithmList {
    /// Reads an argument. The names it returns beside the list are OpenSSH's but not ours: they have no effect,
    /// and the caller may say so.
    ///
    /// Wildcards are taken in every list, as OpenSSH does for key algorithms. A name that nobody knows is an error
    /// in each form; OpenSSH lets it pass after `-`, where a slip of the pen would leave an algorithm switched on.
    pub fn parse(text: &str, names: &Names<'_>) -> Result<(Self, Vec<String>), AlgorithmError> {
        let (change, list) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Change::Append, rest),
            Some(("-", rest)) => (Change::Remove, rest),
            Some(("^", rest)) => (Change::Prepend, rest),
            _ => (Change::Replace, text),
        };
        let mut without_effect = Vec::new();
        for name in list.split(',') {
            let bare = match name.strip_prefix('!') {
                Some(bare) if change == Change::Remove => bare,
                Some(_) => return Err(AlgorithmError::Negated(name.to_owned())),
                None => name,
            };
            let matches = |known: &&str| pattern::matches(bare.as_bytes(), known.as_bytes());
            if bare.is_empty() {
                return Err(AlgorithmError::Empty);
            } else if names.supported.iter().any(matches) {
                continue;
            } else if OPENSSH_NAMES.iter().any(matches) {
                without_effect.push(name.to_owned());
            } else {
                return Err(AlgorithmError::Unknown(bare.to_owned()));
            }
        }
        let list = AlgorithmList { change, patterns: list.split(',').map(str::to_owned).collect() };
        list.resolve(names)?;
        Ok((list, without_effect))
    }

    /// The algorithms in order of preference: at least one.
    pub fn resolve(&self, names: &Names<'_>) -> Result<Vec<String>, AlgorithmError> {
        let patterns = || self.patterns.iter().map(String::as_str);
        let chosen = match self.change {
            Change::Remove => remove(names.default, &self.patterns),
            Change::Replace => select(patterns(), names.supported),
            Change::Append => select(names.default.iter().copied().chain(patterns()), names.supported),
            Change::Prepend => select(patterns().chain(names.default.iter().copied()), names.supported),
        };
        if chosen.is_empty() { Err(AlgorithmError::NothingLeft) } else { Ok(chosen) }
    }
}

/// For each pattern the supported names that match it, none twice.
fn select<'p>(patterns: impl Iterator<Item = &'p str>, supported: &[&str]) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    for wanted in patterns {
        for name in supported {
            let matches = pattern::matches(wanted.as_bytes(), name.as_bytes());
            if matches && !chosen.iter().any(|c| c == name) {
                chosen.push((*name).to_owned());
            }
        }
    }
    chosen
}

fn remove(default: &[&str], patterns: &[String]) -> Vec<String> {
    let removed = |name: &&&str| {
        let patterns = patterns.iter().map(String::as_bytes);
        pattern::matches_list(patterns, name.as_bytes()) == ListMatch::Yes
    };
    default.iter().filter(|name| !removed(name)).map(|name| (*name).to_owned()).collect()
}

/// What OpenSSH 9.2 to 10.x call their algorithms. A name from here that is not supported is no slip of the pen.
const OPENSSH_NAMES: &[&str] = &[
    // Ciphers.
    "3des-cbc",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "rijndael-cbc@lysator.liu.se",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    // MACs.
    "hmac-sha1",
    "hmac-sha1-96",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-md5",
    "hmac-md5-96",
    "umac-64@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "hmac-sha1-96-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-md5-etm@openssh.com",
    "hmac-md5-96-etm@openssh.com",
    "umac-64-etm@openssh.com",
    "umac-128-etm@openssh.com",
    // Key exchange.
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group-exchange-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "mlkem768x25519-sha256",
    "mlkem768nistp256-sha256",
    // Keys and signatures.
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ssh-dss",
    "ssh-dss-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-512-cert-v01@openssh.com",
    "ssh-xmss@openssh.com",
    "ssh-xmss-cert-v01@openssh.com",
    "ssh-mldsa44-ed25519@openssh.com",
    "ssh-mldsa44-ed25519-cert-v01@openssh.com",
];

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names {
        supported: &["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"],
        default: &["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"],
    };

    fn resolved(text: &str) -> Result<String, AlgorithmError> {
        let (list, _) = AlgorithmList::parse(text, &NAMES)?;
        Ok(list.resolve(&NAMES)?.join(","))
    }

    #[test]
    fn replaces_appends_removes_prepends() {
        for (text, list) in [
            ("aes256-ctr,aes128-ctr", "aes256-ctr,aes128-ctr"),
            ("aes256-ctr,aes*-ctr,aes256-ctr", "aes256-ctr,aes128-ctr"),
            ("+aes128-ctr", "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr"),
            ("+aes128-gcm@openssh.com", "aes128-gcm@openssh.com,aes256-gcm@openssh.com"),
            ("-aes128*", "aes256-gcm@openssh.com"),
            ("-!aes256*,*", "aes256-gcm@openssh.com"),
            (
                "^aes256-ctr,aes256-gcm@openssh.com",
                "aes256-ctr,aes256-gcm@openssh.com,aes128-gcm@openssh.com",
            ),
            ("*", "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr"),
        ] {
            assert_eq!(resolved(text).as_deref(), Ok(list), "{text}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_an_error_in_each_form() {
        for text in ["aes128-gmc@openssh.com", "+aes", "-aes128-gmc@openssh.com", "^x", "aes128-ctr,aes*-x"] {
            assert!(matches!(resolved(text), Err(AlgorithmError::Unknown(_))), "{text}");
        }
        for text in ["", "+", "aes128-ctr,", ",aes128-ctr", "-!"] {
            assert_eq!(resolved(text), Err(AlgorithmError::Empty), "{text}");
        }
        assert!(matches!(resolved("!aes128-ctr"), Err(AlgorithmError::Negated(_))));
    }

    #[test]
    fn what_only_openssh_has_is_skipped_and_named() {
        let (list, skipped) = AlgorithmList::parse("3des-cbc,aes128-ctr", &NAMES).unwrap();
        assert_eq!(list.resolve(&NAMES).unwrap(), ["aes128-ctr"]);
        assert_eq!(skipped, ["3des-cbc"]);
        assert_eq!(resolved("3des-cbc"), Err(AlgorithmError::NothingLeft));
        assert_eq!(resolved("-*"), Err(AlgorithmError::NothingLeft));
    }
}
