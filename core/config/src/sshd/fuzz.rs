//! The whole way of a configuration from bytes that anybody may have written. For fuzzing and its replay.

use super::matching::{ConnectionFacts, TestSpec};
use super::{Context, IncludedFile, dump, parse};
use crate::algorithms::{Algorithms, Names};
use crate::lookup::NoLookup;

const NAMES: Names<'static> = Names { supported: &["aes128-ctr", "aes256-ctr"], default: &["aes128-ctr"] };

pub(super) const ALGORITHMS: Algorithms<'static> = Algorithms {
    ciphers: NAMES,
    macs: NAMES,
    kex: NAMES,
    host_keys: NAMES,
    user_keys: NAMES,
    ca_signatures: NAMES,
};

/// Reads a file that includes itself, and asks all there is to ask of it.
#[doc(hidden)]
pub fn fuzz_sshd_config(data: &[u8]) {
    let options: Vec<String> =
        data.split(|&b| b == b'\n').take(2).map(|l| String::from_utf8_lossy(l).into()).collect();
    let context = Context {
        algorithms: &ALGORITHMS,
        lookup: &NoLookup,
        directory: b"/",
        options: &options,
        ports: &[],
    };
    let mut loader = |_: &str| Ok(vec![IncludedFile { name: "again".into(), bytes: data.to_vec() }]);
    let Ok(config) = parse("fuzz", data, &mut loader, &context) else { return };
    let _ = (config.advice(), config.asks_for_host_name(), dump(config.global()));
    let mut spec = TestSpec::default();
    let _ = spec.read(&String::from_utf8_lossy(data), &NoLookup);
    let facts = ConnectionFacts { user: Some(data), ..spec.facts(&[]) };
    if let Ok(values) = config.effective(&facts) {
        let _ = (dump(&values), values.listeners());
    }
}
