//! The command line of the other `ssh`: that of this one without what concerns forwardings and sessions.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use sockward_config::ssh::Transport;

/// What is run on the far host where nobody says otherwise. A forced command there outweighs it.
const GATE: &str = "sockward gate --permit-any";

/// ssh(1)'s flags that take a value.
const WITH_VALUE: &[u8] = b"BbcDEeFIiJLlmOopPQRSWw";
/// Flags that are this program's business alone, with and without a value.
const OURS: &[u8] = b"DGLNRTWfgnst";

/// Keywords of `-o` that are this program's business alone, in lower case.
const OUR_KEYWORDS: &[&str] = &[
    "clearallforwardings",
    "dynamicforward",
    "exitonforwardfailure",
    "forkafterauthentication",
    "forwardprobe",
    "gatewayports",
    "localforward",
    "permitpeer",
    "permitremoteopen",
    "reconnect",
    "reconnectmaxdelay",
    "reconnectwait",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "sessiontype",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "targetowner",
    "transport",
    "via",
];

/// What the other `ssh` is told besides: the first word counts, whatever its files say.
const TOLD: &[&str] = &[
    "ClearAllForwardings=yes",
    "SessionType=default",
    "RemoteCommand=none",
    "StdinNull=no",
    "ForkAfterAuthentication=no",
];

/// The running binary, whatever its path holds by now.
const OURSELVES: &str = "/proc/self/exe";

/// `--via gate` is `-o Via=gate`. Only before the destination: what follows may be the command's.
pub(crate) fn long_option(args: Vec<OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut out: Vec<OsString> = args.by_ref().take(1).collect();
    while let Some(arg) = args.next() {
        let via = |value: &OsStr| {
            let mut line = OsString::from("-oVia=");
            line.push(value);
            line
        };
        let bytes = arg.as_encoded_bytes();
        if bytes == b"--via" {
            out.push(via(&args.next().unwrap_or_default()));
        } else if let Some(value) = arg.to_str().and_then(|text| text.strip_prefix("--via=")) {
            out.push(via(OsStr::new(value)));
        } else if !bytes.starts_with(b"-") || bytes == b"--" {
            out.push(arg);
            break;
        } else {
            let takes_next = split(bytes).is_some_and(|(_, rest)| rest.is_empty());
            out.push(arg);
            if takes_next {
                out.extend(args.next());
            }
        }
    }
    out.extend(args);
    out
}

/// The other `ssh` and its arguments. `args` are this program's, its name first; `command` is what runs on the far
/// host, if that is said. None: there is no installed `ssh`.
pub(crate) fn ssh_command(
    args: &[OsString],
    transport: Transport,
    command: Option<&OsStr>,
) -> Option<(PathBuf, Vec<OsString>)> {
    let mut argv = vec![OsString::from("ssh"), "-T".into()];
    let program = match transport {
        Transport::Own => {
            argv.extend(["-oVia=server", "-oTransport=own"].map(Into::into));
            PathBuf::from(OURSELVES)
        }
        Transport::Ssh => installed()?,
    };
    argv.extend(TOLD.iter().map(|line| OsString::from(format!("-o{line}"))));
    let (kept, host) = sift(args);
    argv.extend(kept);
    argv.extend(["--".into(), host?]);
    argv.push(command.map_or_else(|| GATE.into(), OsStr::to_owned));
    Some((program, argv))
}

/// The same, for an attempt to connect again: nobody is asked anything, an attempt has an end, and what goes wrong is
/// said on standard error, which somebody hears, and is not kept silent.
pub(crate) fn for_attempts(argv: Vec<OsString>, connect_timeout: u32, is_quiet: bool) -> Vec<OsString> {
    // The first word of such an option counts; a program's own name stands before all.
    let timeout = format!("-oConnectTimeout={connect_timeout}");
    let said = argv.iter().any(|word| mentions(word, "connecttimeout"));
    let told = [
        Some("-oBatchMode=yes"),
        (!said).then_some(timeout.as_str()),
        is_quiet.then_some("-oLogLevel=ERROR"),
    ];
    let mut words = argv.into_iter();
    let mut out: Vec<OsString> = words.by_ref().take(1).collect();
    out.extend(told.into_iter().flatten().map(OsString::from));
    while let Some(word) = words.next() {
        let elsewhere = word == "-E";
        let is_last = word == "--";
        let takes_next = split(word.as_encoded_bytes()).is_some_and(|(_, rest)| rest.is_empty());
        let next = if takes_next { words.next() } else { None };
        if !elsewhere && word != "-y" && word != "-q" && !(is_quiet && is_level(next.as_deref())) {
            out.push(word);
            out.extend(next);
        }
        if is_last {
            break;
        }
    }
    out.extend(words);
    out
}

/// Whether an option sets LogLevel.
fn is_level(option: Option<&OsStr>) -> bool {
    option.is_some_and(|option| keyword(option) == "loglevel")
}

fn mentions(word: &OsStr, keyword: &str) -> bool {
    word.to_string_lossy().to_ascii_lowercase().contains(keyword)
}

/// The flags that concern the way to the host, and the host.
fn sift(args: &[OsString]) -> (Vec<OsString>, Option<OsString>) {
    let mut kept = Vec::new();
    let mut host = None;
    let mut args = args.iter().skip(1);
    while let Some(arg) = args.next() {
        let bytes = arg.as_encoded_bytes();
        if !bytes.starts_with(b"-") || bytes == b"-" || bytes == b"--" {
            if host.is_some() {
                break;
            }
            host = if bytes == b"--" { args.next().cloned() } else { Some(arg.clone()) };
            if bytes == b"--" {
                break;
            }
            continue;
        }
        let (plain, valued) = match split(bytes) {
            None => (bytes.get(1..).unwrap_or_default(), None),
            Some((at, rest)) => {
                let value = if rest.is_empty() { args.next().cloned() } else { bytes_to_os(rest) };
                let flag = bytes.get(at).copied().unwrap_or_default();
                (bytes.get(1..at).unwrap_or_default(), Some((flag, value.unwrap_or_default())))
            }
        };
        for flag in plain.iter().filter(|flag| !OURS.contains(flag)) {
            kept.push(OsString::from(format!("-{}", char::from(*flag))));
        }
        if let Some((flag, value)) = valued
            && !OURS.contains(&flag)
            && !(flag == b'o' && is_ours(&value))
        {
            kept.push(OsString::from(format!("-{}", char::from(flag))));
            kept.push(value);
        }
    }
    (kept, host)
}

/// Where in a word of flags the one stands that takes a value, and what stands behind it.
fn split(word: &[u8]) -> Option<(usize, &[u8])> {
    let at = word.iter().skip(1).position(|flag| WITH_VALUE.contains(flag))? + 1;
    Some((at, word.get(at + 1..).unwrap_or_default()))
}

fn bytes_to_os(bytes: &[u8]) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    Some(OsStr::from_bytes(bytes).to_owned())
}

fn is_ours(line: &OsStr) -> bool {
    OUR_KEYWORDS.contains(&keyword(line).as_str())
}

/// An option's keyword, in lower case.
fn keyword(line: &OsStr) -> String {
    let line = line.to_string_lossy();
    let keyword = line.trim_start().split(|c: char| c == '=' || c.is_whitespace()).next().unwrap_or_default();
    keyword.to_ascii_lowercase()
}

/// The `ssh` on PATH that is not this very program under that name.
fn installed() -> Option<PathBuf> {
    let own = Path::new(OURSELVES).canonicalize().ok();
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let all = std::env::split_paths(&path).map(|dir| dir.join("ssh"));
    all.filter(|program| program.is_absolute() && program.is_file()).find(|p| p.canonicalize().ok() != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        std::iter::once("ssh").chain(text.split(' ')).map(OsString::from).collect()
    }

    #[test]
    fn what_concerns_the_way_to_the_host_is_kept() {
        let line = "-nNT -p 22 -vL8080:h:80 -R/run/x:h:80 -o Via=gate -oTransport=ssh -i key -oUser=alex -4 host -C cmd -N";
        let (kept, host) = sift(&words(line));
        let kept: Vec<_> = kept.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(kept, ["-p", "22", "-v", "-i", "key", "-o", "User=alex", "-4", "-C"]);
        assert_eq!(host, Some("host".into()));
        assert_eq!(sift(&words("-p 1 -- host -p 2")), (vec!["-p".into(), "1".into()], Some("host".into())));
    }

    #[test]
    fn the_gate_is_what_runs_unless_somebody_says_otherwise() {
        let last = |command: Option<&str>| {
            let (program, argv) =
                ssh_command(&words("-N host"), Transport::Own, command.map(OsStr::new)).unwrap();
            assert_eq!(program, Path::new(OURSELVES));
            assert!(argv.iter().any(|word| word == "-oVia=server"));
            argv.last().unwrap().clone()
        };
        assert_eq!(last(None), GATE);
        assert_eq!(last(Some("forced-command")), "forced-command");
    }

    #[test]
    fn attempts_are_heard_and_ask_nobody() {
        let attempt = |line: &str, is_quiet| for_attempts(words(line), 15, is_quiet);
        let told = "-oBatchMode=yes -oConnectTimeout=15";
        assert_eq!(
            attempt("-T -E -q -v -y -q -p 22 -- -E cmd -q", false),
            words(&format!("{told} -T -v -p 22 -- -E cmd -q"))
        );
        assert_eq!(
            attempt("-o ConnectTimeout=3 -o LogLevel=QUIET -q -- h cmd", true),
            words("-oBatchMode=yes -oLogLevel=ERROR -o ConnectTimeout=3 -- h cmd")
        );
    }

    #[test]
    fn via_has_a_long_form_before_the_host() {
        assert_eq!(long_option(words("--via gate -N host")), words("-oVia=gate -N host"));
        assert_eq!(
            long_option(words("-o --via --via=gate host --via")),
            words("-o --via -oVia=gate host --via")
        );
    }
}
