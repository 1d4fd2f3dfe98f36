//! End to end, as root with throwaway users: what several tests share.
//!
//! | tests | what they show |
//! | --- | --- |
//! | `access` | who may listen, open and connect: every row, allowed and refused |
//! | `audit` | what each step leaves in the audit log |
//! | `certificates` | kinds of keys and certificates, security keys among them |
//! | `explain` | that it says what the server does |
//! | `files` | sockets belong to the login, and nothing of anybody else's is touched |
//! | `endings` | whoever ends, and however, no socket stays behind |
//! | `logins` | who may not log in; what a login's commands find themselves in |
//! | `life` | a reload keeps what there is; the end of the server |
//! | `terminals` | what a command finds in one, what reaches it, how it ends |
//! | `worker` | what a worker that was taken over can still do |
//! | `monitor` | what the monitor believes of what such a worker, reader or helper says |
//! | `packaging` | that systemd understands what is in packaging/ |
//! | `ordinary` | the server of a user without rights and without a configuration |
//! | `gate` | the gate behind stock sshd: policy, peers, endings, hostile near ends |
//! | `programs` | git, rsync, psql, curl and nginx over our client; a second user at its port |
//! | `share` | `share` and `attach`, what is asked before anybody connects, and whose socket it is |
//! | `reconnect` | the client finds its way back, whatever the network does, and no byte gets elsewhere |
//! | `recipes` | the command lines that this project exists for, word for word |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod access;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

pub use sockward_test_support as support;
use support::{Server, User, is_root, missing, users};

/// Whether this test can run; says so if not.
#[must_use]
pub fn as_root() -> bool {
    is_root() || !missing("needs root, for throwaway users and namespaces")
}

/// A directory in the server's, with this owner and this mode.
pub fn directory(server: &Server, name: &str, owner: &User, mode: u32) -> PathBuf {
    let path = server.dir.join(name);
    std::fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.uid), Some(owner.gid)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    path
}

/// What is in a directory.
#[must_use]
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// alex, who shares; bob, who may use.
#[must_use]
pub fn alex_and_bob() -> (&'static User, &'static User) {
    let [alex, bob, _] = users();
    (alex, bob)
}
