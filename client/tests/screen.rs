//! What a person sees on a real terminal, tmux's: questions, answers that are not shown, refusals, a shell and its
//! escapes. Each test has a tmux server of its own.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Server, TempDir, keygen, read, tool, wait_until};
use sockward_test_support::has_program;

/// A terminal in which a command runs.
struct Screen {
    dir: TempDir,
}

impl Screen {
    fn start(command: &Command) -> Screen {
        let dir = TempDir::new();
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''"));
        let words: Vec<String> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        // What it ends with stays on the screen.
        let script =
            format!("unset SSH_AUTH_SOCK DISPLAY\n{}\necho \"status: $?.\"\nexec cat\n", words.join(" "));
        std::fs::write(dir.path().join("script"), script).unwrap();
        let screen = Screen { dir };
        let file = screen.dir.path().join("script");
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "40", "sh", path(&file)]);
        screen
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.dir.path().join("tmux");
        let out = tool("tmux", &[&["-S", path(&socket)], arguments].concat());
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Waits until something stands there so many times.
    fn sees(&self, text: &str, times: usize) -> String {
        wait_until(text, || self.text().matches(text).count() >= times);
        self.text()
    }

    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- screen ----\n{}", self.text());
        }
        let _ = Command::new("tmux").arg("-S").arg(self.dir.path().join("tmux")).arg("kill-server").output();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn server() -> Option<Server> {
    if has_program("tmux") { Server::start("") } else { None }
}

#[test]
fn a_passphrase_is_asked_for_and_never_shown() {
    let Some(server) = server() else { return };
    let key = server.path("locked");
    keygen(&key, "ed25519", "open sesame");
    std::fs::copy(server.path("locked.pub"), server.path("authorized_keys")).unwrap();
    server.configure("IdentityFile none");
    let screen = Screen::start(&server.ssh(&["-i", path(&key), "h", "echo i am in"]));
    let question = format!("Enter passphrase for key '{}':", key.display());
    screen.sees(&question, 1);
    screen.types("closed barley");
    screen.sees(&question, 2);
    screen.types("open sesame");
    let text = screen.sees("status: 0.", 1);
    assert!(text.contains("i am in") && !text.contains("barley") && !text.contains("sesame"), "{text}");
}

#[test]
fn an_unknown_host_is_taken_by_its_fingerprint_or_not_at_all() {
    let Some(server) = server() else { return };
    std::fs::write(server.path("known"), "").unwrap();
    let ask = server.ssh(&["-o", "StrictHostKeyChecking=ask", "h", "echo i am in"]);
    let screen = Screen::start(&ask);
    let text = screen.sees("(yes/no/[fingerprint])?", 1);
    assert!(text.contains(&format!("The authenticity of host '[127.0.0.1]:{}", server.port)), "{text}");
    let fingerprint = text.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
    let fingerprint = fingerprint.trim_end_matches('.').to_owned();
    screen.types("perhaps");
    screen.sees("Please type 'yes', 'no' or the fingerprint:", 1);
    screen.types("no");
    let text = screen.sees("status: 255.", 1);
    assert!(text.contains("Host key verification failed.") && !text.contains("i am in"), "{text}");
    assert_eq!(read(&server.path("known")), "");

    let screen = Screen::start(&ask);
    screen.sees("(yes/no/[fingerprint])?", 1);
    screen.types(&fingerprint);
    let text = screen.sees("status: 0.", 1);
    assert!(text.contains("Warning: Permanently added") && text.contains("i am in"), "{text}");
}

#[test]
fn whoever_is_refused_reads_why() {
    let Some(server) = server() else { return };
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    let screen = Screen::start(&server.ssh(&["h", "echo i am in"]));
    for n in 1..=3 {
        screen.sees("@127.0.0.1's password:", n);
        screen.types("closed barley");
    }
    let text = screen.sees("status: 255.", 1);
    assert_eq!(text.matches("Permission denied, please try again.").count(), 2, "{text}");
    assert!(text.contains("Permission denied (publickey,password"), "{text}");
    assert!(!text.contains("i am in") && !text.contains("barley"), "{text}");
}

#[test]
fn a_shell_has_the_terminal_and_its_escapes() {
    let Some(server) = server() else { return };
    let screen = Screen::start(&server.ssh(&["-t", "h", "PS1='ready> ' exec sh -i"]));
    screen.sees("ready>", 1);
    screen.types("echo $((6 * 7)) on $(stty size)");
    screen.sees("42 on 40 150", 1);
    screen.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    wait_until("the new size", || {
        screen.types("stty size");
        screen.text().contains("30 100")
    });
    screen.types("");
    screen.tmux(&["send-keys", "-l", "~?"]);
    screen.sees("Supported escape sequences:", 1);
    screen.types("");
    screen.tmux(&["send-keys", "-l", "~."]);
    screen.sees("status: 255.", 1);
}

#[test]
fn whoever_waits_for_a_lost_server_reads_what_happens() {
    let Some(mut server) = server() else { return };
    let options = ["-N", "-oReconnect=yes", "-oReconnectMaxDelay=0", "-oStrictHostKeyChecking=ask", "h"];
    let screen = Screen::start(&server.ssh(&options));
    // Said to nobody: that it is connected shows in the server's log.
    wait_until("the login", || read(&server.path("sshd.log")).contains("Accepted publickey"));
    server.stop();
    screen.sees("Connection to 127.0.0.1 lost: closed by remote host.", 1);
    screen.sees("Reconnecting to 127.0.0.1 in ", 1);
    screen.sees("Connection refused", 1);
    server.start_again();
    screen.sees("Reconnected to 127.0.0.1 after ", 1);
    // And then a server that does not let her in any more: nothing is asked, and it ends with the reason.
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    server.cut();
    let text = screen.sees("status: 255.", 1);
    assert!(text.contains("Permission denied (") && !text.contains("password:"), "{text}");
}
