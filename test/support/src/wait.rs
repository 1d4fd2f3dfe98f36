//! Waiting for what comes soon.

use std::path::Path;
use std::time::{Duration, Instant};

/// How long something that comes soon may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `there` says so. Panics with `what` if it does not come.
pub fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a path exists.
pub fn wait_for(path: &Path) {
    wait_until(&path.display().to_string(), || path.symlink_metadata().is_ok());
}

/// A TCP port of the loopback that nobody has at the moment.
#[must_use]
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
