//! Tests of the client's configuration that need no other program.

mod arguments;
mod files;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use super::*;
use crate::ConfigError;
use crate::algorithms::{Algorithms, Names};
use crate::lookup::Lookup;

const CIPHERS: Names<'_> =
    Names { supported: &["aes128-gcm@openssh.com", "aes128-ctr"], default: &["aes128-gcm@openssh.com"] };
const MACS: Names<'_> = Names { supported: &["hmac-sha2-256"], default: &["hmac-sha2-256"] };
const KEYS: Names<'_> =
    Names { supported: &["ssh-ed25519", "rsa-sha2-512"], default: &["ssh-ed25519", "rsa-sha2-512"] };
const ALGORITHMS: Algorithms<'_> = Algorithms {
    ciphers: CIPHERS,
    macs: MACS,
    kex: Names { supported: &["curve25519-sha256"], default: &["curve25519-sha256"] },
    host_keys: KEYS,
    user_keys: KEYS,
    ca_signatures: KEYS,
};

/// A machine with some files, that notes which commands are run; those that hold "yes" succeed.
#[derive(Default)]
struct Fake {
    files: BTreeMap<&'static str, String>,
    ran: RefCell<Vec<String>>,
}

impl Lookup for Fake {
    fn env(&self, name: &OsStr) -> Option<OsString> {
        match name.to_str() {
            Some("SSH_AUTH_SOCK") => Some("/run/agent".into()),
            Some("EMPTY") => Some("".into()),
            Some("BAD") => Some("x;y".into()),
            _ => None,
        }
    }
    fn service(&self, name: &str) -> Option<u16> {
        (name == "http").then_some(80)
    }
    fn home(&self, user: Option<&OsStr>) -> Option<OsString> {
        user.is_none().then(|| "/home/alex".into())
    }
}

impl Machine for Fake {
    fn succeeds(&self, command: &OsStr) -> Result<bool, String> {
        let command = command.to_string_lossy().into_owned();
        self.ran.borrow_mut().push(command.clone());
        if command == "broken" { Err("killed".to_owned()) } else { Ok(command.contains("yes")) }
    }
    fn include(&self, pattern: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>, String> {
        let matching = |name: &&str| sockward_wire::pattern::matches(pattern.as_bytes(), name.as_bytes());
        let files = self.files.iter().filter(|(name, _)| matching(name));
        Ok(files.map(|(name, text)| (name.into(), text.clone().into_bytes())).collect())
    }
    fn addresses(&self) -> Vec<IpAddr> {
        vec![IpAddr::from([192, 0, 2, 7])]
    }
}

fn local() -> Local {
    Local {
        user: "alex".to_owned(),
        uid: 1000,
        home: "/home/alex".into(),
        hostname: "here.example.com".to_owned(),
        version: "Sockward_0.1".to_owned(),
        sha1: |data| [u8::try_from(data.len()).unwrap_or(0); 20],
    }
}

/// Arguments split at blanks.
fn action(arguments: &str) -> Result<Action, CommandLineError> {
    let words = arguments.split(' ').filter(|w| !w.is_empty()).map(OsString::from);
    parse_arguments(words, &Fake::default(), &ALGORITHMS)
}

fn invocation(arguments: &str) -> Invocation {
    match action(arguments) {
        Ok(Action::Run(invocation)) => *invocation,
        other => panic!("{arguments}: {other:?}"),
    }
}

fn load_on(
    machine: &Fake,
    arguments: &str,
    user: &str,
    system: &str,
) -> Result<Configuration, Vec<ConfigError>> {
    let files =
        ConfigFiles { user: Some(("user", user.as_bytes())), system: Some(("system", system.as_bytes())) };
    load(&invocation(arguments), &files, &local(), machine, &ALGORITHMS)
}

fn loaded(arguments: &str, user: &str) -> Configuration {
    load_on(&Fake::default(), arguments, user, "").unwrap_or_else(|e| panic!("{user}: {e:?}"))
}

fn errors(arguments: &str, user: &str) -> Vec<String> {
    match load_on(&Fake::default(), arguments, user, "") {
        Ok(_) => panic!("no error in {user}"),
        Err(errors) => errors.iter().map(|e| e.to_string()).collect(),
    }
}

/// The values `-G` prints for a keyword.
fn shown(configuration: &Configuration, keyword: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(&configuration.dump(&ALGORITHMS)).into_owned();
    let prefix = format!("{keyword} ");
    text.lines().filter_map(|l| l.strip_prefix(&prefix)).map(str::to_owned).collect()
}
