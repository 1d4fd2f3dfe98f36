//! What each crate may be built with. The arrows that are missing here are the security argument: the root
//! process does not link the protocol machine, the network process does not link the rule-maker.

#![allow(missing_docs)]

use sockward_test_house::built_with;

/// Each crate of the house and the crates of ours it may be built with, directly or not.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("crypto", &["wire"]),
    ("proto", &["wire", "crypto"]),
    ("policy", &["wire"]),
    ("config", &["wire", "policy"]),
    ("sys", &["wire"]),
    ("drive", &["wire", "crypto", "proto", "sys"]),
    ("privsep", &["wire", "sys"]),
    ("monitor", &["wire", "crypto", "config", "policy", "privsep", "sys"]),
    ("worker", &["wire", "crypto", "proto", "privsep", "drive", "sys"]),
    ("reader", &["wire", "config", "policy", "privsep", "sys"]),
    ("helper", &["wire", "policy", "privsep", "sys"]),
    ("gate", &["wire", "crypto", "proto", "policy", "privsep", "drive", "worker", "sys"]),
    ("relay", &["wire", "policy", "sys"]),
    // Above the server, which does not know of it.
    ("explain", &["wire", "crypto", "config", "policy", "privsep", "sys", "monitor", "helper"]),
    ("client", &["wire", "crypto", "proto", "policy", "config", "drive", "sys"]),
];

/// What core/ may not even come near: the machine.
const MACHINE: &[&str] = &["libc", "nix", "rustix", "mio", "tokio", "socket2"];

#[test]
fn no_crate_is_built_with_what_its_floor_forbids() {
    for (name, allowed) in ARROWS {
        let package = format!("sockward-{name}");
        for built in built_with(&package) {
            let Some(ours) = built.strip_prefix("sockward-") else { continue };
            assert!(allowed.contains(&ours), "{package} must not be built with {built}");
        }
    }
}

#[test]
fn the_root_process_has_no_protocol_and_the_network_process_no_rules() {
    let monitor = built_with("sockward-monitor");
    assert!(!monitor.contains("sockward-proto") && !monitor.contains("sockward-drive"));
    let worker = built_with("sockward-worker");
    assert!(!worker.contains("sockward-config") && !worker.contains("sockward-policy"));
    // The check can fail: what is allowed is seen.
    assert!(monitor.contains("sockward-policy") && worker.contains("sockward-proto"));
}

#[test]
fn the_core_is_built_with_no_system_library_of_its_own() {
    for name in ["wire", "proto", "policy", "config"] {
        let mut built = built_with(&format!("sockward-{name}"));
        if name == "proto" {
            // Cryptography comes with what it needs.
            for below in built_with("sockward-crypto") {
                built.remove(&below);
            }
        }
        let near: Vec<_> = MACHINE.iter().filter(|m| built.contains(**m)).collect();
        assert!(near.is_empty(), "sockward-{name} is built with {near:?}");
    }
}
