//! `sockward demo`: the main job on one machine, told step by step. It needs nothing but this binary.
//!
//! The programs it starts are the real ones, with the arguments a user would give; what it shows is read from the
//! file system, the socket and the server's log. It is not a test: test/ holds those.

mod stage;
mod web;

use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use sockward_sys::account::{Account, Group};
use sockward_sys::signal::Signal;

use crate::programs::USAGE_ERROR;
use stage::Stage;

const USAGE: &str = "\
usage: sockward demo [--keep]

Starts a small web service and a server on loopback, as you; shares the one at a socket of the other; fetches a
page through it; shows a request that is refused, and why; tidies up.

  --keep   stay up, and tell what to try, until control-C
";

/// How long a page may take. Everything is on this machine.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// The largest page shown.
const PAGE_MAX: u64 = 64 * 1024;

/// Why the demo ended early.
#[derive(Debug)]
enum Failure {
    /// Something did not work.
    Broken(String),
    /// Its user has seen enough.
    Stopped(Signal),
}

impl Failure {
    fn of(what: &str, error: impl fmt::Display) -> Self {
        Failure::Broken(format!("{what}: {error}"))
    }
}

/// Runs the demo; the arguments start with the program's name.
pub(crate) fn main(args: Vec<OsString>) -> u8 {
    let mut keep = false;
    for arg in args.iter().skip(1) {
        match arg.to_str() {
            Some("--keep") => keep = true,
            Some("--help" | "-h") => {
                print!("{USAGE}");
                return 0;
            }
            _ => {
                eprintln!("sockward demo: unknown argument '{}'", arg.to_string_lossy().escape_debug());
                eprint!("{USAGE}");
                return USAGE_ERROR;
            }
        }
    }
    match tell(keep) {
        Ok(()) => 0,
        Err(Failure::Broken(text)) => {
            eprintln!("sockward demo: {text}");
            1
        }
        Err(Failure::Stopped(signal)) => signal.end_process(),
    }
}

fn tell(keep: bool) -> Result<(), Failure> {
    let mut stage = Stage::set()?;
    let result = play(&mut stage, keep);
    let cleared = stage.clear();
    result?;
    let gone = cleared?;
    say(&format!("\nTidied up: {} and everything in it is gone.", gone.display()));
    Ok(())
}

fn play(stage: &mut Stage, keep: bool) -> Result<(), Failure> {
    let port = web::serve().map_err(|e| Failure::of("cannot start a web service", e))?;
    say(&format!("1. A web service without any access control:  http://127.0.0.1:{port}/"));

    stage.start_server()?;
    say(&format!(
        "\n2. A server, run by {} on 127.0.0.1 port {}. The key in its authorized_keys may listen on one socket:\n     {}",
        stage.user,
        stage.port,
        stage.permit()
    ));

    let shared = stage.socket("web.sock");
    let mut sharing = stage.share(&shared, port)?;
    stage.wait("the socket", &mut sharing, || {
        std::fs::symlink_metadata(&shared).is_ok_and(|m| m.file_type().is_socket())
    })?;
    say(&format!(
        "\n3. The service, shared at that socket:\n     {}\n     {}",
        sharing.line,
        listing(&shared)?
    ));

    say(&format!(
        "\n4. A page, fetched through it:\n     curl --unix-socket {} http://localhost/",
        shared.display()
    ));
    say(&indented(&fetch(&shared)?));

    let other = stage.socket("other.sock");
    let mut refused = stage.share(&other, port)?;
    say(&format!("\n5. A socket that the key does not list:\n     {}", refused.line));
    stage.wait_for_end(&mut refused)?;
    if other.exists() {
        return Err(Failure::Broken(format!("{} is there, it should have been refused", other.display())));
    }
    say(&format!("   The client is told which kind of rule says no:\n{}", indented(&refused.said())));
    say(&format!("   The server's log has the line that decided:\n{}", indented(&stage.log_of("refused"))));

    if keep {
        say(&stage.to_try(&shared));
        let signal = stage.wait_for_signal(&mut sharing)?;
        say(&format!("\n{}: ending.", format_args!("{signal:?}")));
    }

    sharing.end();
    if shared.exists() {
        // The server removes its sockets when their login ends.
        stage.wait_gone(&shared)?;
    }
    Ok(())
}

/// Prints. A reader who went away ends the demo as any program.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        log::debug!("nobody reads the demo");
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("     | {line}")).collect();
    lines.join("\n")
}

/// As ls -l has it: mode, owner, group, name.
fn listing(path: &Path) -> Result<String, Failure> {
    let meta = std::fs::symlink_metadata(path).map_err(|e| Failure::of(&path.display().to_string(), e))?;
    let mode = meta.mode();
    let bits: String = [
        (0o400, "r"),
        (0o200, "w"),
        (0o100, "x"),
        (0o040, "r"),
        (0o020, "w"),
        (0o010, "x"),
        (0o004, "r"),
        (0o002, "w"),
        (0o001, "x"),
    ]
    .map(|(bit, letter)| if mode & bit != 0 { letter } else { "-" })
    .concat();
    let owner = Account::by_uid(meta.uid()).ok().flatten();
    let owner = owner.map_or_else(|| meta.uid().to_string(), |account| account.name);
    let group = Group::by_gid(meta.gid()).ok().flatten();
    let group = group.map_or_else(|| meta.gid().to_string(), |group| group.name);
    Ok(format!("s{bits} {owner} {group} {}   (mode {:04o})", path.display(), mode & 0o7777))
}

fn fetch(socket: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::of("cannot fetch the page", e);
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PAGE_TIME)).map_err(failed)?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.take(PAGE_MAX).read_to_string(&mut answer).map_err(failed)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.starts_with("HTTP/1.0 200") => Ok(page.to_owned()),
        _ => Err(Failure::Broken(format!("the page came back as {answer:?}"))),
    }
}
