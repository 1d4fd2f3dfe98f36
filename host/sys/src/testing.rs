//! What the tests of this crate share: throwaway directories, children with other rights, and the
//! rule for tests that need root. Compiled for tests alone.

use sockward_test_support::{is_root, missing};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::spawn::Exit;

/// Uids that belong to nobody here; no account is needed.
pub(crate) const ALEX: u32 = 54_101;
pub(crate) const EVE: u32 = 54_102;

/// Whether a test that needs root may run.
pub(crate) fn root_or_skip(test: &str) -> bool {
    is_root() || !missing(&format!("{test} needs root to take on other uids"))
}

/// How many rounds the race tests run: SOCKWARD_RACE_ROUNDS, or 20,000.
pub(crate) fn race_rounds() -> u32 {
    std::env::var("SOCKWARD_RACE_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(20_000)
}

/// In a child that races: it may take longer than others do, and is ended at last if its test is killed.
pub(crate) fn take_time() {
    // SAFETY: only moves the time at which a child that hangs is ended.
    unsafe { libc::alarm(600 + race_rounds() / 20) };
}

/// One race at a time: each wants the machine's cores for its two sides.
pub(crate) fn race() -> std::sync::MutexGuard<'static, ()> {
    static RACE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    RACE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A directory of mode 0755 that goes away with the value.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        TempDir::below(&std::env::temp_dir())
    }

    /// One in memory, where there is such a place: an attacker gets more attempts in the same time.
    pub(crate) fn in_memory() -> TempDir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { TempDir::below(memory) } else { TempDir::new() }
    }

    fn below(parent: &Path) -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("sockward-sys-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a subdirectory with this owner and mode.
    pub(crate) fn dir(&self, name: &str, uid: u32, bits: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
        }
        mode(&path, bits);
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
}

/// How a child of [`in_child`] ended.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Exit);

impl Ended {
    #[track_caller]
    pub(crate) fn success(self) {
        assert_eq!(self.0, Exit::Code(0), "the child failed, see its message above");
    }

    #[track_caller]
    pub(crate) fn killed_by(self, signal: i32) {
        assert!(matches!(self.0, Exit::Signal { number, .. } if number == signal), "{:?}", self.0);
    }
}

/// Runs a closure in a forked child of its own and waits: for what changes the whole process.
pub(crate) fn in_child(body: impl FnOnce()) -> Ended {
    Ended(start_child(body).wait())
}

/// Runs a test in a process where nothing else happens. The tests run side by side, and each forked
/// child holds copies of what the others have open at that moment: whoever minds when a socket is
/// really closed has to be alone.
#[track_caller]
pub(crate) fn alone(body: impl FnOnce()) {
    in_child(body).success();
}

/// The same as [`in_child`] as another user, with that user's id as its only group.
pub(crate) fn as_user(uid: u32, body: impl FnOnce()) -> Ended {
    in_child(|| {
        take_uid(uid);
        body();
    })
}

pub(crate) fn take_uid(uid: u32) {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[gid]).unwrap();
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
}

/// A running forked child; killed when dropped.
pub(crate) struct TestChild(libc::pid_t);

impl TestChild {
    pub(crate) fn wait(self) -> Exit {
        let mut status = 0;
        // SAFETY: our own child's pid and a valid place for the status.
        let rc = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(rc, self.0);
        std::mem::forget(self);
        Exit::from_wait_status(status)
    }
}

impl Drop for TestChild {
    fn drop(&mut self) {
        // SAFETY: kills and reaps a child that this value owns.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // SAFETY: as above; the status is not wanted.
        unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
    }
}

pub(crate) fn start_child(body: impl FnOnce()) -> TestChild {
    say_panics_of_children();
    // SAFETY: tests only. The child runs one closure and leaves by _exit; glibc makes the
    // allocator usable in it.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        // SAFETY: a child that hangs is ended by SIGALRM's default disposition.
        unsafe { libc::alarm(60) };
        let code = if catch_unwind(AssertUnwindSafe(body)).is_ok() { 0 } else { 101 };
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    TestChild(pid)
}

/// The harness keeps a thread's output in memory, which a child cannot hand back. Set once and in
/// the parent: the lock around the hook may be held by another thread at the time of a fork.
fn say_panics_of_children() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let harness = std::process::id();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::process::id() == harness {
                usual(info);
            } else {
                let _ = rustix::io::write(std::io::stderr(), format!("child: {info}\n").as_bytes());
            }
        }));
    });
}
