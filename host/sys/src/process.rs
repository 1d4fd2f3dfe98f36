//! What /proc tells of another process, for the audit: words for people, never facts to decide on. The process
//! chose its name itself, and by now the id may be another's.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

/// The longest name that Linux gives (TASK_COMM_LEN), and some.
const COMMAND_MAX: u64 = 64;
/// Longer paths are cut.
const EXECUTABLE_MAX: usize = 4096;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What it calls itself.
    pub command: Option<String>,
    /// The program that it runs; told of processes of the own user alone.
    pub executable: Option<String>,
}

/// What can be read of a process. Bytes that are no text, and control characters, are escaped.
#[must_use]
pub fn about(pid: i32) -> About {
    About { command: command(pid), executable: executable(pid) }
}

fn command(pid: i32) -> Option<String> {
    let mut text = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/comm")).ok()?;
    file.take(COMMAND_MAX).read_to_end(&mut text).ok()?;
    Some(shown(text.trim_ascii_end()))
}

fn executable(pid: i32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let bytes = path.as_os_str().as_bytes();
    Some(shown(bytes.get(..EXECUTABLE_MAX).unwrap_or(bytes)))
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_known_and_nobody_is_not() {
        let own = about(i32::try_from(std::process::id()).unwrap());
        assert!(own.command.is_some());
        let exe = std::env::current_exe().unwrap();
        assert_eq!(own.executable.as_deref(), exe.to_str());
        assert_eq!(about(i32::MAX), About::default());
        assert_eq!(shown(b"a\nb\xff"), "a\\nb\\xff");
    }
}
