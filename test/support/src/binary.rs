//! The programs under test and those they are compared with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Our binary, built from the code as it stands. `SOCKWARD_BIN` names another one.
pub fn sockward() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SOCKWARD_BIN") {
            return PathBuf::from(path);
        }
        // .../target/PROFILE/deps/test-HASH
        let deps = std::env::current_exe().unwrap();
        let directory = deps.parent().and_then(Path::parent).unwrap();
        let release = directory.file_name().is_some_and(|name| name == "release");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "sockward"]);
        if release {
            build.arg("--release");
        }
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        build.env("CARGO_TARGET_DIR", directory.parent().unwrap());
        assert!(build.status().unwrap().success(), "the binary does not build");
        directory.join("sockward")
    })
}

/// A program of OpenSSH's.
pub fn stock(name: &str) -> PathBuf {
    for directory in ["/usr/sbin", "/usr/bin"] {
        let path = Path::new(directory).join(name);
        if path.is_file() {
            return path;
        }
    }
    panic!("{name} is not installed (Debian: openssh-server, openssh-client)");
}
