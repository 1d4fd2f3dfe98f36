//! The algorithms this program has, for the configuration to choose from, and the lists of `-Q`.

use sockward_config::algorithms::Algorithms;
use sockward_config::ssh::{QUERIES, Query};
use sockward_crypto::{AlgorithmNames, Cipher, KexMethod, KeyAlgorithm, KeyType, Mac, SignatureAlg};

/// As the configuration wants them.
pub(crate) fn of(names: &AlgorithmNames) -> Algorithms<'_> {
    Algorithms::all(&names.ciphers, &names.macs, &names.kex, &names.keys, &names.ca_signatures)
}

/// What `-Q` prints, one name a line.
pub(crate) fn list(query: Query) -> Vec<&'static str> {
    let plain = || KeyType::ALL.into_iter().map(KeyType::name);
    let certificates = || KeyType::ALL.into_iter().map(KeyType::certificate_name);
    match query {
        Query::Cipher => Cipher::NAMES.iter().map(|(name, _)| *name).collect(),
        Query::CipherAuth => {
            Cipher::NAMES.iter().filter(|(_, cipher)| cipher.is_aead()).map(|(name, _)| *name).collect()
        }
        Query::Compression => vec!["none"],
        Query::Kex => KexMethod::NAMES.iter().map(|(name, _)| *name).collect(),
        Query::Mac => Mac::NAMES.iter().map(|(name, _)| *name).collect(),
        Query::Key => plain().chain(certificates()).collect(),
        Query::KeyPlain => plain().collect(),
        Query::KeyCert => certificates().collect(),
        Query::KeySig => KeyAlgorithm::all().map(KeyAlgorithm::name).collect(),
        Query::KeyCaSign | Query::Sig => SignatureAlg::ALL.iter().map(|alg| alg.name()).collect(),
        Query::ProtocolVersion => vec!["2"],
        Query::Help => QUERIES.iter().map(|(name, _)| *name).filter(|name| *name != "help").collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_an_answer_without_repetition() {
        for (name, query) in QUERIES {
            let mut names = list(*query);
            assert!(!names.is_empty(), "{name}");
            let before = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), before, "{name}");
        }
    }
}
