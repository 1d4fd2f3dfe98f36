//! Asking the user: on the controlling terminal, or by the program that SSH_ASKPASS names (ssh(1), ENVIRONMENT).
//! These functions wait for an answer: they are for jobs.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use sockward_sys::spawn::{Exit, Tool};
use sockward_sys::{fd, terminal};
use zeroize::Zeroizing;

/// What is used without SSH_ASKPASS.
const ASKPASS: &str = "/usr/bin/ssh-askpass";

/// Longer answers are cut, as OpenSSH does.
const ANSWER_MAX: usize = 1023;

/// Something the user typed.
pub(crate) type Answer = Zeroizing<Vec<u8>>;

/// Whether what is typed may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// A question.
    On,
    /// A secret.
    Off,
}

/// Asks. `None`: there is nobody to ask, or no answer was given.
pub(crate) fn ask(prompt: &str, echo: Echo) -> Option<Answer> {
    let askpass = Askpass::from_environment();
    if askpass == Askpass::First {
        log::debug!("requested to askpass");
        return by_program(prompt, None);
    }
    match terminal::controlling() {
        Ok(tty) => on_terminal(&tty, prompt, echo).unwrap_or_else(|e| {
            log::debug!("asking on the terminal: {e}");
            None
        }),
        Err(e) => {
            log::debug!("can't open /dev/tty: {e}");
            if askpass == Askpass::Never { None } else { by_program(prompt, None) }
        }
    }
}

/// Asks for leave, by the askpass program alone: there may be no terminal, or somebody else at it. As in OpenSSH an empty
/// answer means yes, for the program has buttons.
pub(crate) fn permitted(question: &str) -> bool {
    if Askpass::from_environment() == Askpass::Never {
        log::debug!("nobody can be asked: {question}");
        return false;
    }
    let answer = by_program(question, Some("confirm"));
    answer.is_some_and(|answer| answer.is_empty() || answer.eq_ignore_ascii_case(b"yes"))
}

/// When the askpass program is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Askpass {
    /// Instead of a terminal.
    First,
    /// Where there is no terminal.
    WithoutTerminal,
    Never,
}

impl Askpass {
    fn from_environment() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let display = set("DISPLAY") || set("WAYLAND_DISPLAY");
        let require = std::env::var("SSH_ASKPASS_REQUIRE").unwrap_or_default();
        Askpass::choose(display, &require.to_ascii_lowercase())
    }

    fn choose(display: bool, require: &str) -> Self {
        match (require, display) {
            ("force", _) | ("prefer", true) => Askpass::First,
            ("never", _) => Askpass::Never,
            (_, true) => Askpass::WithoutTerminal,
            (_, false) => Askpass::Never,
        }
    }
}

fn on_terminal(tty: &OwnedFd, prompt: &str, echo: Echo) -> io::Result<Option<Answer>> {
    let silent = match echo {
        Echo::On => None,
        Echo::Off => Some(terminal::silent(tty)?),
    };
    // At the beginning of a line, over what was typed before it was hidden.
    write_all(tty, format!("\r{}", shown(prompt)).as_bytes())?;
    let answer = read_line(tty);
    if silent.is_some() {
        write_all(tty, b"\n")?;
    }
    answer
}

/// The hint tells the program what kind of question it is.
fn by_program(prompt: &str, hint: Option<&str>) -> Option<Answer> {
    let program = std::env::var_os("SSH_ASKPASS").unwrap_or_else(|| ASKPASS.into());
    match run_program(&program, prompt, hint) {
        Ok(answer) => answer,
        Err(e) => {
            log::error!("ssh_askpass: exec({}): {e}", program.display());
            None
        }
    }
}

fn run_program(program: &OsStr, prompt: &str, hint: Option<&str>) -> io::Result<Option<Answer>> {
    let (answer, out) = fd::pipe()?;
    let (stdin, stderr) = (io::stdin(), io::stderr());
    let mut child = Tool {
        program: found_in_path(program),
        argv: vec![program.to_owned(), prompt.into()],
        env: hint.map(|hint| ("SSH_ASKPASS_PROMPT".into(), hint.into())).into_iter().collect(),
        stdin: stdin.as_fd(),
        stdout: out.as_fd(),
        stderr: stderr.as_fd(),
    }
    .spawn()?;
    drop(out);
    let line = read_line(&answer)?;
    // The rest of what it writes must neither block nor break it.
    while read_line(&answer)?.is_some() {}
    let ended = child.wait()?;
    Ok(if ended == Exit::Code(0) { Some(line.unwrap_or_default()) } else { None })
}

/// As execlp(3): a name without a slash is searched for.
fn found_in_path(program: &OsStr) -> PathBuf {
    let path = PathBuf::from(program);
    if program.as_encoded_bytes().contains(&b'/') {
        return path;
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).map(|dir| dir.join(&path)).find(|p| p.is_file()).unwrap_or(path)
}

/// Reads up to the end of a line; `None` if there is nothing at all.
fn read_line(from: &OwnedFd) -> io::Result<Option<Answer>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_MAX + 1));
    let mut byte = Zeroizing::new([0]);
    let mut seen = false;
    loop {
        match fd::read(from, byte.as_mut()) {
            Ok(0) => return Ok(seen.then_some(line)),
            Ok(_) if matches!(byte[0], b'\n' | b'\r') => return Ok(Some(line)),
            Ok(_) => {
                seen = true;
                if line.len() < ANSWER_MAX {
                    line.push(byte[0]);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = fd::write(to, bytes)?;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// A prompt may hold what a server sent: nothing of it may drive the terminal. Line ends and tabs stay.
fn shown(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len());
    for c in prompt.chars() {
        match c {
            '\n' | '\t' => text.push(c),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_program_is_asked() {
        for (display, require, expected) in [
            (false, "", Askpass::Never),
            (true, "", Askpass::WithoutTerminal),
            (false, "force", Askpass::First),
            (true, "prefer", Askpass::First),
            (false, "prefer", Askpass::Never),
            (true, "never", Askpass::Never),
        ] {
            assert_eq!(Askpass::choose(display, require), expected, "{display} {require}");
        }
    }

    #[test]
    fn one_line_of_bounded_length_is_an_answer() {
        let lines = |text: &[u8]| {
            let (r, w) = fd::pipe().unwrap();
            fd::write(&w, text).unwrap();
            drop(w);
            read_line(&r).unwrap().map(|line| line.to_vec())
        };
        assert_eq!(lines(b"secret\nrest"), Some(b"secret".to_vec()));
        assert_eq!(lines(b"no end"), Some(b"no end".to_vec()));
        assert_eq!(lines(b"\n"), Some(Vec::new()));
        assert_eq!(lines(b""), None);
        assert_eq!(lines(&[b'x'; 5000]).unwrap().len(), ANSWER_MAX);
    }

    #[test]
    fn a_server_s_words_cannot_drive_the_terminal() {
        assert_eq!(shown("a\nb\x1b[2J\u{9b}"), "a\nb\\u{1b}[2J\\u{9b}");
    }

    #[test]
    fn the_program_s_answer_counts_if_it_ends_well() {
        let dir = std::env::temp_dir().join(format!("sockward-askpass-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let script = |text: &str| {
            let path = dir.join("askpass");
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            run_program(path.as_os_str(), "Who?", None).unwrap().map(|a| a.to_vec())
        };
        assert_eq!(script("echo \"$1 me\""), Some(b"Who? me".to_vec()));
        assert_eq!(script("echo x; exit 1"), None);
        assert_eq!(script("yes | head -c 1000000"), Some(b"y".to_vec()));
        assert!(run_program(OsStr::new("/nonexistent/askpass"), "Who?", None).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
