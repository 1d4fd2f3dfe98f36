//! The advice of `sshd -t` beside the documentation: its recipes for sshd_config get none but the two remarks that
//! are meant there, and configurations that restrict less than they seem get theirs.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test reads the pages")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

use std::fs;
use std::path::Path;

use sockward_config::algorithms::{Algorithms, Names};
use sockward_config::lookup::NoLookup;
use sockward_config::sshd::{self, Context, IncludedFile};

const PAGES: &[&str] = &["README.md", "docs/administrators.md"];

/// True of every list of paths: the recipes are not for the stock server.
const NOT_FOR_OPENSSH: &str = "OpenSSH's sshd ";

/// True of every list for users who have a shell, and so of the recipes for them.
const FORWARDERS: &str = "forwarders of their own";

/// What `-t` says of `main`, which includes `rest`.
fn advice(main: &str, rest: &[(String, String)]) -> Vec<String> {
    const NAMES: Names<'static> = Names { supported: &["a"], default: &["a"] };
    let algorithms = Algorithms {
        ciphers: NAMES,
        macs: NAMES,
        kex: NAMES,
        host_keys: NAMES,
        user_keys: NAMES,
        ca_signatures: NAMES,
    };
    let context =
        Context { algorithms: &algorithms, lookup: &NoLookup, directory: b"/", options: &[], ports: &[] };
    let mut loader = |pattern: &str| {
        let directory = pattern.trim_end_matches("*.conf");
        let wanted = rest.iter().filter(|(name, _)| name.starts_with(directory));
        Ok(wanted
            .map(|(name, text)| IncludedFile { name: name.clone(), bytes: text.clone().into_bytes() })
            .collect())
    };
    let config = sshd::parse("sshd_config", main.as_bytes(), &mut loader, &context)
        .unwrap_or_else(|errors| panic!("{errors:?} of\n{main}\n{rest:?}"));
    config.warnings().iter().chain(&config.advice()).map(ToString::to_string).collect()
}

/// The blocks of a page that are server configurations: the file's name, and its text.
fn recipes(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page)).unwrap();
    let mut blocks = text.split("\n```sshd_config ").skip(1);
    let mut found = Vec::new();
    for block in blocks.by_ref() {
        let (name, rest) = block.split_once('\n').unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        found.push((name.to_owned(), text.to_owned()));
    }
    found
}

#[test]
fn the_recipes_of_the_documentation_are_what_they_seem() {
    let mut seen = 0;
    for page in PAGES {
        let recipes = recipes(page);
        let (main, parts): (Vec<_>, Vec<_>) =
            recipes.into_iter().partition(|(name, _)| name.ends_with("/sshd_config"));
        let main = &main.first().unwrap().1;
        // Each on its own, and all together.
        let alone = parts.iter().map(std::slice::from_ref);
        for rest in alone.chain([parts.as_slice()]) {
            let whole = if rest.iter().any(|(name, _)| name.starts_with("/etc/ssh/")) && rest.len() == 1 {
                // For the stock server, behind its own defaults.
                advice(&rest[0].1, &[])
            } else {
                advice(main, rest)
            };
            let alarms: Vec<_> =
                whole.iter().filter(|a| !a.contains(NOT_FOR_OPENSSH) && !a.contains(FORWARDERS)).collect();
            assert!(alarms.is_empty(), "{page}, {rest:?}: {alarms:?}");
            seen += 1;
        }
    }
    assert!(seen > 6, "the blocks of the pages were not found");
}

#[test]
fn who_cannot_run_commands_has_no_forwarders() {
    let recipes = recipes("docs/administrators.md");
    let bastion = recipes.iter().find(|(name, _)| name.contains("bastion")).unwrap();
    let remarks = advice(&bastion.1, &[]);
    assert!(remarks.iter().all(|a| !a.contains(FORWARDERS)), "{remarks:?}");
}

/// Configurations that restrict less than they seem, and a part of what is said of them.
const LESS_THAN_IT_SEEMS: &[(&str, &str)] = &[
    ("PermitOpen a:1\n", "PermitOpen does not restrict what is listened on"),
    ("PermitOpen none\n", "PermitOpen does not restrict what is listened on"),
    ("PermitListen /run/x\n", "PermitListen does not restrict what is opened"),
    ("Match User a\nPermitListen 8080\n", "PermitListen does not restrict what is opened"),
    ("PermitOpen none\nPermitListen none\n", FORWARDERS),
    ("PermitOpen none\nPermitListen none\nMatch User a\nPermitListen /run/x\n", FORWARDERS),
    ("ForceCommand /bin/x\n", "beside ForceCommand"),
    ("Match User a\nForceCommand /bin/x\nPermitOpen none\n", "beside ForceCommand"),
    ("PermitPeer bob\n", "the mode of the sockets lets nobody but the owner connect"),
    (
        "PermitListen /run/x localhost:1\nPermitPeer bob\n",
        "the mode of the sockets lets nobody but the owner connect",
    ),
    ("PermitListen /run/x\nPermitPeer bob\nStreamLocalBindMask 0177\n", "see StreamLocalBindMode"),
    ("Subsystem sftp internal-sftp\n", "internal-sftp is not implemented"),
    ("UsePAM yes\n", "PAM is not used"),
    ("PermitOpen /run/x\n", NOT_FOR_OPENSSH),
    ("PermitPeer bob\n", NOT_FOR_OPENSSH),
    ("StreamLocalBindUnlink stale\n", NOT_FOR_OPENSSH),
];

#[test]
fn what_restricts_less_than_it_seems_is_said() {
    for (text, expected) in LESS_THAN_IT_SEEMS {
        let remarks = advice(text, &[]);
        assert!(remarks.iter().any(|a| a.contains(expected)), "{text}: {remarks:?}");
    }
}

/// Configurations that are what they seem.
const WHAT_IT_SEEMS: &[&str] = &[
    "",
    "DisableForwarding yes\n",
    "DisableForwarding yes\nForceCommand /bin/x\n",
    "AllowTcpForwarding no\nAllowStreamLocalForwarding no\n",
    "PermitOpen any\nPermitListen any\n",
    "ForceCommand /bin/x\nPermitOpen none\nPermitListen none\n",
    "MaxSessions 0\nPermitOpen a:1\nPermitListen none\n",
    "AllowTcpForwarding local\nForceCommand /bin/x\nPermitOpen a:1\nPermitListen none\n",
    "StreamLocalBindUnlink yes\nStreamLocalBindMask 0117\n",
];

#[test]
fn what_is_what_it_seems_gets_no_advice() {
    for text in WHAT_IT_SEEMS {
        assert_eq!(advice(text, &[]), [""; 0], "{text}");
    }
    // Its one remark: who may connect to a port has nothing to do with the mode of a socket.
    let ports = advice("MaxSessions 0\nPermitOpen none\nPermitListen localhost:8080\nPermitPeer bob\n", &[]);
    assert!(ports.iter().all(|a| a.contains(NOT_FOR_OPENSSH)), "{ports:?}");
}
