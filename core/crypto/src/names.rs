//! The names of what this build has on this processor, for a configuration to choose from. Each list is in our order of
//! preference; everything in it is fit to be used by default.

use crate::{Cipher, KexMethod, KeyAlgorithm, Mac, SignatureAlg};

/// Names of algorithms, by what they are for.
#[derive(Clone, Debug)]
pub struct AlgorithmNames {
    /// Ciphers, the fastest here first.
    pub ciphers: Vec<&'static str>,
    /// MACs.
    pub macs: Vec<&'static str>,
    /// Key exchange methods.
    pub kex: Vec<&'static str>,
    /// Signatures of host and user keys, those of certificates among them.
    pub keys: Vec<&'static str>,
    /// Signatures of certificate authorities.
    pub ca_signatures: Vec<&'static str>,
}

impl AlgorithmNames {
    /// All that there are.
    #[must_use]
    pub fn available() -> Self {
        AlgorithmNames {
            ciphers: Cipher::preferred().iter().map(|cipher| cipher.name()).collect(),
            macs: Mac::NAMES.iter().map(|(name, _)| *name).collect(),
            kex: KexMethod::NAMES.iter().map(|(name, _)| *name).collect(),
            keys: KeyAlgorithm::all().map(KeyAlgorithm::name).collect(),
            ca_signatures: SignatureAlg::ALL.iter().map(|alg| alg.name()).collect(),
        }
    }
}
