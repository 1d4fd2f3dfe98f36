//! What the user is told and asked about host keys: OpenSSH's words, which people and scripts know.

use std::path::Path;

use sockward_config::known_hosts::{Entry, HostName, KnownHosts};
use sockward_crypto::PublicKey;

use crate::prompt::{self, Echo};

const RULE: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";

/// No more other names of a key are listed.
const NAMES_MAX: usize = 8;

/// The host showed another key than the known one.
pub(super) fn changed(key: &PublicKey, file: Option<&Path>, offending: Option<&Entry>) {
    let word = key.key_type().word();
    log::error!("{RULE}");
    log::error!("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @");
    log::error!("{RULE}");
    log::error!("IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!");
    log::error!("Someone could be eavesdropping on you right now (man-in-the-middle attack)!");
    log::error!("It is also possible that a host key has just been changed.");
    log::error!("The fingerprint for the {word} key sent by the remote host is");
    log::error!("{}.", key.fingerprint());
    log::error!("Please contact your system administrator.");
    if let Some(file) = file {
        log::error!("Add correct host key in {} to get rid of this message.", file.display());
    }
    if let Some(entry) = offending {
        log::error!("Offending {} key in {}", word_of(&entry.key_type), entry.source);
    }
}

/// The key must never be accepted.
pub(super) fn revoked(key: &PublicKey, host: &str) {
    log::error!("{RULE}");
    log::error!("@       WARNING: REVOKED HOST KEY DETECTED!               @");
    log::error!("{RULE}");
    log::error!("The {} host key for {host} is marked as revoked.", key.key_type().word());
    log::error!("This could mean that a stolen key is being used to");
    log::error!("impersonate this host.");
}

/// What to ask about a host that nobody knows.
pub(super) fn question(
    host: &HostName,
    address: Option<&HostName>,
    key: &PublicKey,
    known: &KnownHosts,
) -> String {
    let address = address.map_or("<no hostip for proxy command>", HostName::name);
    let mut text = format!(
        "The authenticity of host '{} ({address})' can't be established.\n{} key fingerprint is {}.\n",
        host.name(),
        key.key_type().word(),
        key.fingerprint()
    );
    let others: Vec<&Entry> = known.other_names(host, key.blob()).collect();
    if others.is_empty() {
        text += "This key is not known by any other names.\n";
    } else {
        text += "This host key is known by the following other names/addresses:\n";
        for entry in others.iter().take(NAMES_MAX) {
            text += &format!("    {}: {}\n", entry.source, entry.hosts);
        }
        if let Some(more) = others.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
            text += &format!("    ({more} additional names omitted)\n");
        }
    }
    text + "Are you sure you want to continue connecting (yes/no/[fingerprint])? "
}

/// Asks until the answer is yes, no or the fingerprint. Nobody there to answer means no.
pub(super) fn confirmed(question: &str, fingerprint: Option<&str>) -> bool {
    let again = match fingerprint {
        Some(_) => "Please type 'yes', 'no' or the fingerprint: ",
        None => "Please type 'yes' or 'no': ",
    };
    let mut prompt = question;
    while let Some(answer) = prompt::ask(prompt, Echo::On) {
        if let Some(decided) = decided(&answer, fingerprint) {
            return decided;
        }
        prompt = again;
    }
    false
}

fn decided(answer: &[u8], fingerprint: Option<&str>) -> Option<bool> {
    let word = answer.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if word.is_empty() || word.eq_ignore_ascii_case(b"no") {
        Some(false)
    } else if word.eq_ignore_ascii_case(b"yes") || fingerprint.is_some_and(|f| f.as_bytes() == word) {
        Some(true)
    } else {
        None
    }
}

/// The word for people of a key type that may be none of ours.
fn word_of(key_type: &str) -> String {
    let known = sockward_crypto::KeyType::ALL.into_iter().find(|known| known.name() == key_type);
    known.map_or_else(|| key_type.escape_debug().to_string(), |known| known.word().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_no_and_the_fingerprint_are_answers() {
        let fingerprint = Some("SHA256:abc");
        for (answer, expected) in [
            ("yes", Some(true)),
            (" YES ", Some(true)),
            ("no", Some(false)),
            ("", Some(false)),
            ("SHA256:abc", Some(true)),
            ("SHA256:abd", None),
            ("sha256:abc", None),
            ("y", None),
        ] {
            assert_eq!(decided(answer.as_bytes(), fingerprint), expected, "{answer}");
        }
        assert_eq!(decided(b"SHA256:abc", None), None);
    }

    #[test]
    fn a_question_names_where_else_the_key_is_known() {
        let key = sockward_crypto::PrivateKey::generate(sockward_crypto::KeyType::Ed25519).unwrap();
        let key = key.public();
        let mut known = KnownHosts::new(|_, _| [0; 20]);
        let host = HostName::new("host", 2222);
        let address = HostName::new("192.0.2.7", 2222);
        let text = question(&host, Some(&address), key, &known);
        assert!(text.starts_with(
            "The authenticity of host '[host]:2222 ([192.0.2.7]:2222)' can't be established.\nED25519 key"
        ));
        assert!(text.contains("not known by any other names.\n"));
        let line = sockward_crypto::write_public_line(key.blob(), "").unwrap();
        let text: String = (0..10).map(|n| format!("other{n} {line}\n")).collect();
        known.read("known", text.as_bytes());
        let text = question(&host, None, key, &known);
        assert!(text.contains("<no hostip for proxy command>"));
        assert!(text.contains("    known:8: other7\n    (2 additional names omitted)\nAre you sure"));
    }
}
