//! Resource limits: many descriptors for ourselves, the old limit again for what we execute, no core files,
//! an end in time.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit this process was started with; `u64::MAX` = never raised.
static INHERITED_NOFILE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Raises the soft limit of open descriptors to the hard one and returns it.
///
/// Each forwarded connection takes one or two. What is executed by [`crate::spawn`] gets the
/// limit back that this process was started with: programs that use select(2) break above 1024.
pub fn raise_nofile() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Linux never has an infinite RLIMIT_NOFILE: fs.nr_open bounds it.
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if soft < hard {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
        // Only the first raise sees the inherited value.
        let _ = INHERITED_NOFILE.compare_exchange(u64::MAX, soft, Ordering::Relaxed, Ordering::Relaxed);
    }
    Ok(hard)
}

/// Forbids core files of this process and its children: for processes that hold secrets and run
/// nobody's commands (monitor, worker, reader), and for the client.
pub fn no_core_files() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    Ok(())
}

/// Has the kernel end this process after so many seconds (SIGALRM, not handled), whatever it hangs in then.
/// Each call begins anew; 0 takes it back. For processes with one short job and nobody's commands.
pub fn end_after(seconds: u32) {
    match seconds {
        0 => drop(nix::unistd::alarm::cancel()),
        seconds => drop(nix::unistd::alarm::set(seconds)),
    }
}

/// The soft limit to give back before an exec, if it was raised.
pub(crate) fn inherited_nofile() -> Option<u64> {
    match INHERITED_NOFILE.load(Ordering::Relaxed) {
        u64::MAX => None,
        soft => Some(soft),
    }
}

/// Sets the soft limit in a child between fork and exec: nothing but two system calls.
pub(crate) fn restore_nofile(soft: Option<u64>) {
    if let Some(soft) = soft {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // A child with a higher limit than asked is no reason to refuse to run it.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum });
    }
}

/// The file mode creation mask, without changing it; 0 where /proc does not tell.
#[must_use]
pub fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_child;

    #[test]
    fn raising_reaches_the_hard_limit_and_remembers_the_old_one() {
        in_child(|| {
            let hard = getrlimit(Resource::Nofile).maximum;
            setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum: hard }).unwrap();
            assert_eq!(Some(raise_nofile().unwrap()), hard);
            assert_eq!(getrlimit(Resource::Nofile).current, hard);
            assert_eq!(inherited_nofile(), Some(100));
            raise_nofile().unwrap();
            restore_nofile(inherited_nofile());
            assert_eq!(getrlimit(Resource::Nofile).current, Some(100));
        })
        .success();
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        in_child(|| {
            end_after(100);
            end_after(0);
            end_after(1);
            std::thread::sleep(std::time::Duration::from_secs(50));
        })
        .killed_by(libc::SIGALRM);
    }

    #[test]
    fn no_core_files_sets_the_soft_limit_to_nothing() {
        in_child(|| {
            no_core_files().unwrap();
            assert_eq!(getrlimit(Resource::Core).current, Some(0));
        })
        .success();
    }
}
