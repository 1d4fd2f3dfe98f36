//! The command lines of `share` and `attach`, and the `ssh` command line that they stand for.

use std::ffi::{OsStr, OsString};
use std::net::TcpListener;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use lexopt::{Arg, Parser};
use sockward_config::forward::{Forward, ForwardPath, Listen, Target};

use super::Program;
use super::told::Words;

/// What the user can have otherwise, with `-o`: the first value counts, and these come last.
/// `Reconnect` has keepalives of its own, which notice a dead path within 15 s.
const DEFAULTS: &[&str] = &["ForwardProbe=permission", "Reconnect=yes"];

/// What holds whatever else is said: these come first. A connection that is shared would outlive this program.
const FIXED: &[&str] =
    &["ExitOnForwardFailure=yes", "ClearAllForwardings=no", "ControlMaster=no", "ControlPath=none"];

/// What the command line leads to.
pub(super) enum Parsed {
    Help,
    Run(Box<Wanted>),
}

/// What is to be run, and what is said about it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) ssh: Vec<OsString>,
    pub(super) words: Words,
}

/// A socket or a port of the loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Port(u16),
    Path(ForwardPath),
}

/// What the gate is told besides.
#[derive(Default)]
struct GateOptions(Vec<OsString>);

/// Reads a command line, whose first word is the program's name. The error is a sentence.
pub(super) fn parse(program: Program, args: Vec<OsString>) -> Result<Parsed, String> {
    let mut parser = Parser::from_iter(args);
    let (mut options, mut words) = (Vec::new(), Vec::new());
    let (mut json, mut owner, mut gate) = (false, None, GateOptions::default());
    let mut via_gate = false;
    let told = |e: lexopt::Error| e.to_string();
    while let Some(arg) = parser.next().map_err(told)? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Parsed::Help),
            Arg::Long("json") => json = true,
            Arg::Long("via") => match parser.value().map_err(told)?.to_str() {
                Some("gate") => via_gate = true,
                Some("server") => via_gate = false,
                _ => return Err("--via takes gate or server".to_owned()),
            },
            Arg::Long("owner") if program == Program::Attach => owner = Some(parser.value().map_err(told)?),
            Arg::Long(name @ ("mode" | "group" | "permit-peer")) if program == Program::Share => {
                let name = format!("--{name}");
                gate.0.extend([name.into(), parser.value().map_err(told)?]);
            }
            Arg::Short(flag @ ('o' | 'p' | 'l' | 'i' | 'J' | 'F')) => {
                options.extend([format!("-{flag}").into(), parser.value().map_err(told)?]);
            }
            Arg::Short(flag @ ('4' | '6' | 'v' | 'q')) => options.push(format!("-{flag}").into()),
            Arg::Value(word) => words.push(word),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let via = |o: &OsString| o.to_string_lossy().to_ascii_lowercase().replace(' ', "") == "via=gate";
    via_gate |= options.iter().any(via);
    if via_gate {
        options.push("-oVia=gate".into());
    } else if !gate.0.is_empty() {
        return Err(
            "--mode, --group and --permit-peer are the gate's (--via gate); a server has StreamLocalBindMode, \
             StreamLocalBindGroup and PermitPeer in its configuration"
                .to_owned(),
        );
    }
    if let Some(owner) = owner {
        let mut line = OsString::from("-oTargetOwner=");
        line.push(owner);
        options.push(line);
    }
    let (near, far) = match (program, words.as_slice()) {
        (Program::Share, [target, far]) => (Some(target), far),
        (Program::Attach, [far]) => (None, far),
        (Program::Attach, [far, local]) => (Some(local), far),
        (Program::Share, _) => return Err("two words are needed: TARGET HOST:SOCKET".to_owned()),
        (Program::Attach, _) => return Err("one or two words are needed: HOST:SOCKET [LOCAL]".to_owned()),
    };
    let (destination, end) = far_end(far)?;
    let near = match near {
        Some(near) => near.clone(),
        None => free_port()?.into(),
    };
    let (flag, forward) = match program {
        Program::Share => ("-R", Forward { listen: end.listen(), target: near_target(&near)? }),
        Program::Attach => ("-L", Forward { listen: near_listen(&near)?, target: end.target() }),
    };
    let mut ssh: Vec<OsString> = ["ssh", "-N", "-T"].map(Into::into).into();
    ssh.extend(FIXED.iter().map(|line| format!("-o{line}").into()));
    ssh.extend(options);
    ssh.extend(DEFAULTS.iter().map(|line| format!("-o{line}").into()));
    ssh.extend([flag.into(), OsString::from_vec(forward.to_spec()), "--".into(), destination.clone()]);
    if !gate.0.is_empty() {
        ssh.push(gate.command(&end));
    }
    let shown = match program {
        Program::Share => show_target(&forward.target),
        Program::Attach => show_listen(&forward.listen),
    };
    let host = destination.to_string_lossy();
    let host = host.rsplit_once('@').map_or(&*host, |(_, host)| host).to_owned();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let words = Words { program, json, host, near: shown, far: end.shown() };
    Ok(Parsed::Run(Box::new(Wanted { ssh, words })))
}

/// `[USER@]HOST:SOCKET|PORT`; an IPv6 address stands in brackets.
fn far_end(word: &OsStr) -> Result<(OsString, End), String> {
    let bytes = word.as_bytes();
    let wrong = |why: &str| format!("'{}': {why}", word.to_string_lossy());
    let needed = "HOST:SOCKET or HOST:PORT is needed; a socket's path starts with /, ~/ or unix:";
    let at = bytes.iter().position(|b| *b == b'@').filter(|at| !bytes.iter().take(*at).any(|b| *b == b'/'));
    let (user, rest) = bytes.split_at(at.map_or(0, |at| at + 1));
    let (host, end) = match rest {
        [b'[', rest @ ..] => {
            let close = rest.iter().position(|b| *b == b']').ok_or_else(|| wrong(needed))?;
            let (host, rest) = rest.split_at(close);
            (host, rest.strip_prefix(b"]:").ok_or_else(|| wrong(needed))?)
        }
        _ => {
            let colon = rest.iter().position(|b| *b == b':').ok_or_else(|| wrong(needed))?;
            let (host, rest) = rest.split_at(colon);
            (host, rest.strip_prefix(b":").unwrap_or_default())
        }
    };
    if host.is_empty() || word.as_bytes().starts_with(b"-") || host.starts_with(b"-") || host.contains(&b'/')
    {
        return Err(wrong(needed));
    }
    let destination = OsString::from_vec([user, host].concat());
    let end = match end {
        [b'/', ..] | [b'~', b'/', ..] => End::Path(path(end)?),
        [b'u', b'n', b'i', b'x', b':', path_bytes @ ..] => End::Path(path(path_bytes)?),
        _ => End::Port(port(end).ok_or_else(|| wrong(needed))?),
    };
    Ok((destination, end))
}

fn port(text: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|port| *port > 0)
}

fn path(bytes: &[u8]) -> Result<ForwardPath, String> {
    ForwardPath::new(bytes).map_err(|e| format!("'{}': {e}", bytes.escape_ascii()))
}

/// A path of this machine: `unix:` before it, or a slash in it.
fn near_path(word: &OsStr) -> Option<Result<ForwardPath, String>> {
    let bytes = word.as_bytes();
    match bytes.strip_prefix(b"unix:") {
        Some(rest) => Some(path(rest)),
        None if bytes.contains(&b'/') => Some(path(bytes)),
        None => None,
    }
}

fn near_target(word: &OsStr) -> Result<Target, String> {
    if let Some(path) = near_path(word) {
        return path.map(Target::Unix);
    }
    let (host, port) = host_port(word)?;
    Ok(Target::Tcp { host: host.unwrap_or("localhost").to_owned(), port })
}

fn near_listen(word: &OsStr) -> Result<Listen, String> {
    if let Some(path) = near_path(word) {
        return path.map(Listen::Unix);
    }
    let (host, port) = host_port(word)?;
    // One address, which is ours or nobody's: with both of a loopback one could be another user's.
    Ok(Listen::Tcp { bind: Some(host.unwrap_or("127.0.0.1").to_owned()), port })
}

fn host_port(word: &OsStr) -> Result<(Option<&str>, u16), String> {
    let wrong = || format!("'{}' is neither PORT, HOST:PORT nor a path", word.to_string_lossy());
    let text = word.to_str().ok_or_else(wrong)?;
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) => (Some(host), number),
        None => (None, text),
    };
    let host = host.map(|host| host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host));
    let bracketed = text.starts_with('[');
    if host.is_some_and(|host| host.is_empty() || host.contains(':') && !bracketed) {
        return Err(wrong());
    }
    Ok((host, port(number.as_bytes()).ok_or_else(wrong)?))
}

/// A port that is free now. Somebody could take it first: then there is an error and no forwarding.
fn free_port() -> Result<String, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map(|address| address.port().to_string()).map_err(|e| format!("there is no free port: {e}"))
}

impl End {
    fn listen(&self) -> Listen {
        match self {
            End::Port(port) => Listen::Tcp { bind: None, port: *port },
            End::Path(path) => Listen::Unix(path.clone()),
        }
    }

    fn target(&self) -> Target {
        match self {
            End::Port(port) => Target::Tcp { host: "localhost".to_owned(), port: *port },
            End::Path(path) => Target::Unix(path.clone()),
        }
    }

    fn shown(&self) -> String {
        match self {
            End::Port(port) => port.to_string(),
            End::Path(path) => path.to_string(),
        }
    }
}

fn show_target(target: &Target) -> String {
    match target {
        Target::Tcp { host, port } => show(host, *port),
        Target::Unix(path) => path.to_string(),
        Target::Socks => String::new(),
    }
}

fn show_listen(listen: &Listen) -> String {
    match listen {
        Listen::Tcp { bind, port } => show(bind.as_deref().unwrap_or("localhost"), *port),
        Listen::Unix(path) => path.to_string(),
    }
}

fn show(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl GateOptions {
    /// What runs on the far host, for its shell. A forced command there outweighs it.
    fn command(&self, end: &End) -> OsString {
        let mut command = OsString::from("sockward gate --permit-listen ");
        command.push(quoted(&match end {
            End::Port(port) => port.to_string().into_bytes(),
            End::Path(path) => path.written().as_bytes().to_vec(),
        }));
        for word in &self.0 {
            command.push(" ");
            command.push(quoted(word.as_bytes()));
        }
        command
    }
}

/// A word for any POSIX shell.
fn quoted(word: &[u8]) -> OsString {
    let mut out = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => out.extend(b"'\\''"),
            other => out.push(*other),
        }
    }
    out.push(b'\'');
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: Program, line: &str) -> Result<Wanted, String> {
        let args = std::iter::once("x").chain(line.split(' ')).map(OsString::from).collect();
        match parse(program, args)? {
            Parsed::Run(wanted) => Ok(*wanted),
            Parsed::Help => Err("help".into()),
        }
    }

    /// The forwarding and what follows it.
    fn tail(wanted: &Wanted) -> Vec<String> {
        let at = wanted.ssh.iter().position(|word| word == "-R" || word == "-L").unwrap();
        wanted.ssh[at..].iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn words_become_forwardings() {
        for (program, line, expected, near, far) in [
            (Program::Share, "5900 h:/run/x", "-R /run/x:[localhost]:5900 -- h", "localhost:5900", "/run/x"),
            (Program::Share, "[::1]:80 a@h:8080", "-R 8080:[::1]:80 -- a@h", "[::1]:80", "8080"),
            (Program::Share, "/s h:~/x", "-R ~/x:/s -- h", "/s", "~/x"),
            (Program::Share, "unix:s [::1]:unix:x", "-R unix:x:unix:s -- ::1", "unix:s", "unix:x"),
            (Program::Share, "./s h:/a:b", "-R /a\\:b:./s -- h", "./s", "/a:b"),
            (Program::Attach, "h:/run/x 80", "-L [127.0.0.1]:80:/run/x -- h", "127.0.0.1:80", "/run/x"),
            (Program::Attach, "h:5900 /tmp/s", "-L /tmp/s:[localhost]:5900 -- h", "/tmp/s", "5900"),
            (Program::Attach, "h:80 [::1]:81", "-L [::1]:81:[localhost]:80 -- h", "[::1]:81", "80"),
        ] {
            let wanted = run(program, line).unwrap();
            assert_eq!(tail(&wanted).join(" "), expected, "{line}");
            assert_eq!((wanted.words.near.as_str(), wanted.words.far.as_str()), (near, far), "{line}");
        }
        let free = run(Program::Attach, "h:/x").unwrap().words.near;
        assert!(free.strip_prefix("127.0.0.1:").is_some_and(|port| port.parse::<u16>().unwrap() > 0));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for line in
            ["80", "80 h", "80 h:", "80 h:x", "80 h:0", "80 h:70000", "80 -h:/x", "80 :/x", "80 h:~bob/x"]
        {
            assert!(run(Program::Share, line).is_err(), "{line}");
        }
        for line in ["x h:/x", "h:x h:/x", ":80 h:/x", "::1:80 h:/x", "80 h:/x more", "--owner bob 80 h:/x"] {
            assert!(run(Program::Share, line).is_err(), "{line}");
        }
        assert!(run(Program::Share, "--mode 0660 80 h:/x").unwrap_err().contains("StreamLocalBindMode"));
        assert!(run(Program::Attach, "--mode 0660 h:/x").is_err());
        assert!(run(Program::Attach, "-f h:/x").is_err());
    }

    #[test]
    fn options_come_before_the_defaults_and_behind_what_is_fixed() {
        let wanted = run(Program::Attach, "-o ForwardProbe=no --owner bob -p 22 h:/x 80 -v").unwrap();
        let at = |word: &str| wanted.ssh.iter().position(|w| w == word).unwrap_or_else(|| panic!("{word}"));
        assert!(at("-oExitOnForwardFailure=yes") < at("ForwardProbe=no"));
        assert!(at("ForwardProbe=no") < at("-oForwardProbe=permission"));
        assert!(at("-oTargetOwner=bob") < at("-L") && at("-v") < at("-L"));
    }

    #[test]
    fn the_gate_is_told_what_the_socket_is_to_be() {
        let line = "--via gate --mode 0660 --group vnc --permit-peer bob,@x 80 h:/a'b";
        let command = tail(&run(Program::Share, line).unwrap()).pop().unwrap();
        assert_eq!(
            command,
            "sockward gate --permit-listen '/a'\\''b' '--mode' '0660' '--group' 'vnc' '--permit-peer' 'bob,@x'"
        );
        assert_eq!(tail(&run(Program::Share, "--via gate 80 h:/x").unwrap()).pop().unwrap(), "h");
        assert!(run(Program::Share, "-o Via=gate --mode 0660 80 h:/x").is_ok());
    }
}
