//! Replays what the fuzzers have found worth keeping (`fuzz/corpus`), on every ordinary test run.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Instant;

type Target = (&'static str, fn(&[u8]));

/// Each target of `fuzz/` and the function behind it.
const TARGETS: &[Target] = &[
    ("authorized_keys", sockward_config::authorized_keys::fuzz_authorized_keys),
    ("certificate", sockward_crypto::fuzz::fuzz_certificate),
    ("connection_layer", |data| sockward_proto::fuzz::fuzz_connection_layer(data, Instant::now())),
    ("forward", sockward_config::forward::fuzz_forward),
    ("gate", |data| sockward_proto::fuzz::fuzz_gate(data, Instant::now())),
    ("gate_greeting", sockward_wire::gate::fuzz_greeting),
    ("handshake", |data| sockward_proto::fuzz::fuzz_handshake(data, Instant::now())),
    ("keyfile", sockward_crypto::fuzz::fuzz_keyfile),
    ("known_hosts", sockward_config::known_hosts::fuzz_known_hosts),
    ("path_pattern", sockward_policy::path::fuzz_path_pattern),
    ("public_key", sockward_crypto::fuzz::fuzz_public_key),
    ("revocation", sockward_config::revocation::fuzz_revocation),
    ("socks", sockward_wire::socks::fuzz_socks),
    ("ssh_config", sockward_config::ssh::fuzz_ssh_config),
    ("sshd_config", sockward_config::sshd::fuzz_sshd_config),
];

#[test]
fn what_the_fuzzers_kept() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (name, function) in TARGETS {
        let mut replayed = 0;
        for entry in
            std::fs::read_dir(fuzz.join("corpus").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
        {
            function(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
        assert!(replayed > 0, "nothing to replay for {name}");
    }
    // And no target is forgotten here.
    let mut targets = std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap();
    let named = |file: &str| TARGETS.iter().any(|(name, _)| file == format!("{name}.rs"));
    assert!(targets.all(|t| named(t.unwrap().file_name().to_str().unwrap())));
}
