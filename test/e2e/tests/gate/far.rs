//! The far side of these tests: a stock server whose only key runs a gate, and what is left of it afterwards.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use sockward_test_e2e::alex_and_bob;
use sockward_test_e2e::support::{Client, Kind, Origin, Running, Server, ServerSetup, sockward, wait_until};

/// A stock server whose only key runs a gate, and a directory of alex's for its sockets.
pub(crate) struct Far {
    pub(crate) server: Server,
    pub(crate) sockets: PathBuf,
}

impl Far {
    /// `flags`: the gate's, with SOCKETS for the directory.
    pub(crate) fn new(flags: &str) -> Far {
        let sockets = std::env::temp_dir().join(format!("sockward-gate-{}-{}", std::process::id(), next()));
        std::fs::create_dir(&sockets).unwrap();
        let flags = flags.replace("SOCKETS", &sockets.display().to_string());
        let key_options = format!("command=\"{} gate {flags}\",restrict", sockward().display());
        let server = Server::start(Kind::OpenSsh, &ServerSetup { key_options, ..ServerSetup::default() });
        let (alex, _) = alex_and_bob();
        std::os::unix::fs::chown(&sockets, Some(alex.uid), Some(alex.gid)).unwrap();
        Far { server, sockets }
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }

    /// `-R SOCKET:ORIGIN` through the gate, by one of the two programs that speak SSH.
    pub(crate) fn share(&self, socket: &Path, target: &str, transport: &str) -> Running {
        let running = Client::new(Kind::Ours, &self.server)
            .args(["-o", "Via=gate", "-o", &format!("Transport={transport}")])
            .args(["-R", &format!("{}:{target}", socket.display())])
            .forward();
        wait_until("the gate listens", || {
            assert!(!running.log().contains("failed"), "{}", running.log());
            is_socket(socket)
        });
        running
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.sockets);
    }
}

fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn address(origin: &Origin) -> String {
    format!("127.0.0.1:{}", origin.port)
}

pub(crate) fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
}

/// Whether a gate or its helper is there whose command line names this directory, or whose parent did.
pub(crate) fn gates_of(far: &Far) -> Vec<String> {
    let out = Command::new("ps").args(["-eo", "pid,args", "-ww"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let needle = far.sockets.display().to_string();
    text.lines().filter(|l| l.contains(" gate ") && l.contains(&needle)).map(str::to_owned).collect()
}
