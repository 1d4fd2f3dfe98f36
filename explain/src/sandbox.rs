//! What confines the processes of a login on this machine, and what the kernel can tell of who connects: read, not
//! tried.

use sockward_config::sshd::{Effective, Isolation};
use sockward_sys::account::Account;
use sockward_sys::{identity, unix};

/// Says it.
pub(crate) fn say(effective: &Effective) {
    let root = identity::effective_uid() == 0;
    let source = effective.source("WorkerIsolation").map_or("the default".to_owned(), ToString::to_string);
    match (root, effective.worker_isolation.unwrap_or(Isolation::Connection)) {
        (true, Isolation::Connection) => {
            println!("workers: one for each connection, decided by {source}");
        }
        (true, Isolation::Shared) => println!(
            "workers: shared by logins of several users, who run nothing and are not root, decided by {source}"
        ),
        (false, _) => {
            println!("workers: shared, as the user who starts the server: that user has all rights of it")
        }
    }
    match (root, ["sockward", "sshd", "nobody"].iter().find(|name| has(name))) {
        (true, Some(user)) => println!("workers run as: {user}, in an empty root directory"),
        (true, None) => println!("workers run as: there is no user for them, the server does not start"),
        (false, _) => println!("workers run as: the user who starts the server, in the same root directory"),
    }
    let kernel = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let seccomp = match kernel("/proc/sys/kernel/seccomp/actions_avail").contains("kill_process") {
        true => "there: a worker that makes another call than those listed for it is killed or told no",
        false => "this kernel does not tell; without it workers do not start",
    };
    println!("seccomp: {seccomp}");
    let landlock = match kernel("/sys/kernel/security/lsm").contains("landlock") {
        true => "there: workers open no file and no port",
        false => "not there, or this kernel does not tell; the list of calls holds without it",
    };
    println!("landlock: {landlock}");
    // All ids map to themselves in the first namespace alone.
    let whole = kernel("/proc/self/uid_map").split_whitespace().eq(["0", "0", "4294967295"]);
    match whole {
        true => println!("who connects: the kernel tells every user apart"),
        false => println!(
            "who connects: this is a user namespace, users outside of it look like uid {}, which PermitPeer refuses",
            unix::overflow_uid()
        ),
    }
    println!("helpers and the user's commands: the user's own rights, and nothing is taken from them");
}

fn has(name: &str) -> bool {
    Account::by_name(name).is_ok_and(|found| found.is_some())
}
