//! The command line: all of the gate's policy, and nothing that is not named is permitted. The environment has no
//! part in it: some servers let the near end set variables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use lexopt::Arg;
use sockward_policy::{
    Account, By, Conflict, Forwarding, GatewayPorts, Limit, Limits, ListKind, Origin, PeerList, Permit,
    RuleList, SessionPermit, SocketBirth, SocketGroup, Source, Unlink,
};
use sockward_sys::log::LogLevel;
use sockward_sys::{account, resolve};

pub(crate) const USAGE: &str = "usage: sockward gate --permit-listen PATH|[HOST:]PORT ... --permit-open PATH|HOST:PORT ... \
                                [OPTIONS]; --help lists them";

pub(crate) const HELP: &str = "\
usage: sockward gate [OPTIONS]

The far end of forwardings over any SSH server, usually as a forced command:

  command=\"sockward gate --permit-listen /run/vnc/alex.sock --mode 0660 --group vnc\",restrict ssh-ed25519 ...

The near end is 'sockward ssh -o Via=gate -R /run/vnc/alex.sock:localhost:5900 HOST'.
Nothing is permitted that is not named. Paths are absolute or start with ~/; * and ? match within one name, and
have to be quoted in a forced command, which the login's shell reads; %u is the user's name, %U the user's number,
%h the home directory.

  --permit-listen WHAT   the near end may listen on this path or [HOST:]PORT; again for more
  --permit-open WHAT     the near end may connect to this path or HOST:PORT; again for more
  --permit-any           anything this user may: for a user's own shell account
  --mode MODE            permission bits of sockets, octal (0600)
  --group GROUP          group of sockets, one of the user's own
  --unlink stale|yes|no  replace a dead socket; a live one too; nothing (stale)
  --permit-peer LIST     users and @groups that may connect to what is listened on, joined by commas
  --gateway-ports        ports may be listened on beyond loopback, where the near end asks for it
  --max-listeners N      listeners at once (100)
  --max-connections N    connections at once (10000)
  --audit FILE           append what happens as lines of JSON
  -v, --verbose          say on standard error what happens; again: more
  -h, --help             this text

It ends with its standard input, and removes its sockets.
";

/// What `sshd` is content with (MaxSessions is not the gate's); a page opens a dozen.
const LISTENERS: u32 = 100;
const CONNECTIONS: u32 = 10_000;

/// What the command line leads to.
pub(crate) enum Parsed {
    Run(Box<Options>),
    Help,
}

/// What the gate is to do.
pub(crate) struct Options {
    pub(crate) permit: Permit,
    pub(crate) audit: Option<PathBuf>,
    pub(crate) log_level: LogLevel,
}

/// The flags as they were written.
#[derive(Default)]
struct Flags {
    listen: Vec<OsString>,
    open: Vec<OsString>,
    any: bool,
    mode: Option<u16>,
    group: Option<String>,
    unlink: Option<Unlink>,
    /// None inside: whoever the mode lets in.
    peers: Option<Option<PeerList>>,
    gateway_ports: GatewayPorts,
    listeners: Option<u32>,
    connections: Option<u32>,
    audit: Option<PathBuf>,
    verbose: u8,
}

/// Reads the command line, whose first word is the program's name. The error is a sentence.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Parsed, String> {
    match read(args)? {
        None => Ok(Parsed::Help),
        Some(flags) => {
            let own = account::Account::own().map_err(|e| format!("cannot look up this user: {e}"))?;
            let own = own.ok_or("this user has no entry in the passwd database")?;
            let account = Account {
                name: own.name,
                uid: own.uid,
                gid: own.gid,
                home: own.home.as_os_str().as_bytes().to_vec(),
                shell: own.shell.as_os_str().as_bytes().to_vec(),
            };
            let log_level = match flags.verbose {
                0 => LogLevel::Error,
                1 => LogLevel::Info,
                2 => LogLevel::Verbose,
                3 => LogLevel::Debug1,
                _ => LogLevel::Debug3,
            };
            let audit = flags.audit.clone();
            Ok(Parsed::Run(Box::new(Options { permit: permit(flags, account)?, audit, log_level })))
        }
    }
}

fn read(args: Vec<OsString>) -> Result<Option<Flags>, String> {
    let mut parser = lexopt::Parser::from_args(args.into_iter().skip(1));
    let mut flags = Flags::default();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Arg::Long("permit-listen") => flags.listen.push(value(&mut parser)?),
            Arg::Long("permit-open") => flags.open.push(value(&mut parser)?),
            Arg::Long("permit-any") => flags.any = true,
            Arg::Long("mode") => once(&mut flags.mode, mode(&text(&mut parser)?)?, "--mode")?,
            Arg::Long("group") => once(&mut flags.group, text(&mut parser)?, "--group")?,
            Arg::Long("unlink") => once(&mut flags.unlink, unlink(&text(&mut parser)?)?, "--unlink")?,
            Arg::Long("permit-peer") => {
                let list = text(&mut parser)?;
                let words = list.split(',').map(str::as_bytes);
                let peers = PeerList::parse(words, Source::new("--permit-peer", 0))
                    .map_err(|e| format!("--permit-peer: {e}"))?;
                once(&mut flags.peers, peers, "--permit-peer")?;
            }
            Arg::Long("gateway-ports") => flags.gateway_ports = GatewayPorts::ClientSpecified,
            Arg::Long("max-listeners") => {
                once(&mut flags.listeners, number(&text(&mut parser)?)?, "--max-listeners")?;
            }
            Arg::Long("max-connections") => {
                once(&mut flags.connections, number(&text(&mut parser)?)?, "--max-connections")?;
            }
            Arg::Long("audit") => once(&mut flags.audit, PathBuf::from(value(&mut parser)?), "--audit")?,
            Arg::Short('v') | Arg::Long("verbose") => flags.verbose += 1,
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if flags.any && !(flags.listen.is_empty() && flags.open.is_empty()) {
        return Err(
            "--permit-any permits all, so --permit-listen and --permit-open mean nothing beside it".into()
        );
    }
    Ok(Some(flags))
}

/// A restriction that is written must hold: the second of two would put the first out of force.
fn once<T>(slot: &mut Option<T>, value: T, flag: &str) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{flag} is given twice")),
    }
}

fn value(parser: &mut lexopt::Parser) -> Result<OsString, String> {
    parser.value().map_err(|e| e.to_string())
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    value(parser)?.into_string().map_err(|word| format!("'{}' is not UTF-8", word.to_string_lossy()))
}

fn mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| {
        format!("--mode: '{}' is not permission bits in octal, 0 to 0777", text.escape_debug())
    })
}

fn unlink(text: &str) -> Result<Unlink, String> {
    match text {
        "stale" => Ok(Unlink::Stale),
        "yes" => Ok(Unlink::Yes),
        "no" => Ok(Unlink::No),
        _ => Err(format!("--unlink: '{}' is none of stale, yes and no", text.escape_debug())),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("'{}' is not a number", text.escape_debug()))
}

/// The permit of the one login that there is.
fn permit(flags: Flags, account: Account) -> Result<Permit, String> {
    let list = |kind, words: &[OsString], flag: &str| {
        let word: &[u8] = if flags.any { b"any" } else { b"none" };
        let given: Vec<&[u8]> = match words {
            [] => vec![word],
            words => words.iter().map(|w| w.as_bytes()).collect(),
        };
        let source = Source::new(if flags.any { "--permit-any" } else { flag }, 0);
        RuleList::parse(kind, Origin::Configuration, given, &resolve::service, source)
            .map_err(|e| format!("{flag}: {e}"))
    };
    let limit = |max: Option<u32>, default: u32, flag: &str| Limit {
        max: Some(max.unwrap_or(default)),
        by: max.map_or(By::Default, |_| By::Rule(Source::new(flag, 0))),
    };
    let forwarding = Forwarding {
        open: vec![list(ListKind::PermitOpen, &flags.open, "--permit-open")?],
        listen: vec![list(ListKind::PermitListen, &flags.listen, "--permit-listen")?],
        gateway_ports: flags.gateway_ports,
        ..Forwarding::default()
    };
    // Set with this user's own rights: another's group is refused by the kernel.
    let group = flags.group.map(|name| SocketGroup {
        name,
        gid: None,
        by_administrator: false,
        source: Source::new("--group", 0),
    });
    Ok(Permit {
        account,
        forwarding,
        birth: SocketBirth {
            mode: flags.mode.unwrap_or(0o600),
            group,
            unlink: flags.unlink.unwrap_or_default(),
            conflict: Conflict::Refuse,
        },
        peers: flags.peers.flatten().into_iter().collect(),
        limits: Limits {
            sessions: Limit { max: Some(0), by: By::Default },
            listeners: limit(flags.listeners, LISTENERS, "--max-listeners"),
            forwarded_connections: limit(flags.connections, CONNECTIONS, "--max-connections"),
        },
        session: SessionPermit { disabled: Some(Source::new("gate", 0)), ..SessionPermit::default() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_policy::{Rules, decide_listen_tcp, decide_open_tcp, decide_session};

    fn permit_of(words: &[&str]) -> Result<Permit, String> {
        match parse(["gate"].iter().chain(words).map(OsString::from).collect())? {
            Parsed::Run(options) => Ok(options.permit),
            Parsed::Help => Err("help".into()),
        }
    }

    #[test]
    fn nothing_is_permitted_that_is_not_named() {
        let permit = permit_of(&[]).unwrap();
        assert_eq!(permit.forwarding.open[0].rules, Rules::None);
        assert_eq!(permit.forwarding.listen[0].rules, Rules::None);
        assert!(!decide_session(&permit, sockward_policy::SessionKind::Shell).is_allowed());
        let permit =
            permit_of(&["--permit-listen", "127.0.0.1:8080", "--permit-listen=/run/%u.sock"]).unwrap();
        assert!(decide_listen_tcp(&permit, b"127.0.0.1", 8080).is_allowed());
        assert!(!decide_listen_tcp(&permit, b"127.0.0.1", 8081).is_allowed());
        assert!(!decide_open_tcp(&permit, b"127.0.0.1", 8080).is_allowed());
        assert_eq!(permit.forwarding.listen[0].paths().count(), 1);
        let any = permit_of(&["--permit-any"]).unwrap();
        assert!(decide_open_tcp(&any, b"h", 1).is_allowed());
    }

    #[test]
    fn flags_reach_the_permit() {
        let words = "--mode 0660 --group vnc --unlink no --permit-peer bob,@vnc --max-listeners 2 --max-connections 3";
        let permit = permit_of(&words.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!((permit.birth.mode, permit.birth.unlink), (0o660, Unlink::No));
        assert!(permit.birth.group.is_some_and(|g| g.name == "vnc" && !g.by_administrator));
        assert_eq!(permit.peers[0].peers.len(), 2);
        assert_eq!(
            (permit.limits.listeners.max, permit.limits.forwarded_connections.max),
            (Some(2), Some(3))
        );
        assert!(permit_of(&["--permit-peer", "any"]).unwrap().peers.is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (words, what) in [
            (&["--permit-listen", "/a/../b"][..], "--permit-listen: '/a/../b'"),
            (&["--permit-listen", "any", "--permit-listen", "/x"], "'any' must stand alone"),
            (&["--permit-open", "80"], "--permit-open: '80'"),
            (&["--permit-any", "--permit-open", "h:80"], "--permit-any permits all"),
            (&["--mode", "999"], "--mode: '999'"),
            (&["--unlink", "maybe"], "--unlink: 'maybe'"),
            (&["--permit-peer", "bob,,eve"], "--permit-peer: "),
            (&["--max-listeners", "-1"], "'-1' is not a number"),
            (&["--nonsense"], "nonsense"),
            (&["stray"], "stray"),
            (&["--permit-peer", "bob", "--permit-peer=any"], "--permit-peer is given twice"),
            (&["--mode", "0600", "--mode", "0666"], "--mode is given twice"),
        ] {
            let error = permit_of(words).unwrap_err();
            assert!(error.contains(what), "{words:?}: {error}");
        }
    }
}
