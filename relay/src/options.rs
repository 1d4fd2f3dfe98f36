//! The options of an address: one table, from which comes what is taken where and what `--help` says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use sockward_policy::Source;
use sockward_policy::peer::{PeerList, PeerName};

/// What the options of one address say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Serve any number of connections.
    pub(crate) fork: bool,
    /// Connections at once.
    pub(crate) max_children: Option<usize>,
    /// Connections that wait in the kernel.
    pub(crate) backlog: i32,
    /// Replace a socket that is in use, too.
    pub(crate) unlink_early: bool,
    /// Permission bits of the socket file.
    pub(crate) mode: Option<u32>,
    /// Its owner, by name or number.
    pub(crate) user: Option<String>,
    /// Its group, by name or number.
    pub(crate) group: Option<String>,
    /// Who may connect; none is anybody.
    pub(crate) permit_peer: Option<Vec<PeerName>>,
    /// The local address of a port.
    pub(crate) bind: Option<String>,
    /// How long connecting may take.
    pub(crate) connect_timeout: Option<Duration>,
    /// Ask a silent peer whether it is there.
    pub(crate) keepalive: bool,
    /// The command's streams are two pipes instead of a socket.
    pub(crate) pipes: bool,
    /// The command's standard error goes the same way as its output.
    pub(crate) stderr: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fork: false,
            max_children: None,
            backlog: BACKLOG,
            unlink_early: false,
            mode: None,
            user: None,
            group: None,
            permit_peer: None,
            bind: None,
            connect_timeout: None,
            keepalive: false,
            pipes: false,
            stderr: false,
        }
    }
}

/// More than socat's 5: a burst must not be refused. The system's own limit holds besides.
const BACKLOG: i32 = 1024;

/// The kinds of address, for the column that says where an option is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stdio,
    Tcp,
    TcpListen,
    Unix,
    UnixListen,
    Exec,
}

type Set = fn(&mut Options, Option<&[u8]>) -> Result<(), String>;

/// One option.
struct Row {
    /// Its names, the best first.
    names: &'static [&'static str],
    places: &'static [Place],
    about: &'static str,
    set: Set,
}

use Place::{Exec, Tcp, TcpListen, Unix, UnixListen};

const TABLE: &[Row] = &[
    Row {
        names: &["fork"],
        places: &[UnixListen, TcpListen],
        about: "serve any number of connections",
        set: |o, v| flag(v).map(|v| o.fork = v),
    },
    Row {
        names: &["max-children"],
        places: &[UnixListen, TcpListen],
        about: "N connections at once",
        set: |o, v| number(v, 1, 1 << 20).map(|v| o.max_children = usize::try_from(v).ok()),
    },
    Row {
        names: &["backlog"],
        places: &[UnixListen, TcpListen],
        about: "N connections wait in the kernel",
        set: |o, v| number(v, 0, 1 << 20).map(|v| o.backlog = i32::try_from(v).unwrap_or(BACKLOG)),
    },
    Row {
        names: &["mode", "perm"],
        places: &[UnixListen],
        about: "the socket file's permission bits, octal",
        set: |o, v| octal(v).map(|v| o.mode = Some(v)),
    },
    Row {
        names: &["user", "uid", "owner"],
        places: &[UnixListen],
        about: "its owner",
        set: |o, v| text(v).map(|v| o.user = Some(v)),
    },
    Row {
        names: &["group", "gid"],
        places: &[UnixListen],
        about: "its group",
        set: |o, v| text(v).map(|v| o.group = Some(v)),
    },
    Row {
        names: &["permit-peer"],
        places: &[UnixListen],
        about: "users and @groups that may connect, joined by ':'",
        set: set_peers,
    },
    Row {
        names: &["unlink-early", "unlink"],
        places: &[UnixListen],
        about: "replace a socket that is in use, too",
        set: |o, v| flag(v).map(|v| o.unlink_early = v),
    },
    Row {
        names: &["unlink-close"],
        places: &[UnixListen],
        about: "always so: the file goes with its listener",
        set: |_, v| match flag(v)? {
            true => Ok(()),
            false => Err("the file always goes with its listener".into()),
        },
    },
    Row {
        names: &["bind"],
        places: &[Tcp, TcpListen],
        about: "the local address",
        set: |o, v| text(v).map(|v| o.bind = Some(v.trim_matches(['[', ']']).to_owned())),
    },
    Row {
        names: &["reuseaddr", "so-reuseaddr"],
        places: &[Tcp, TcpListen],
        about: "always so",
        set: |_, v| flag(v).map(drop),
    },
    Row {
        names: &["nodelay", "tcp-nodelay"],
        places: &[Tcp, TcpListen],
        about: "always so",
        set: |_, v| flag(v).map(drop),
    },
    Row {
        names: &["keepalive", "so-keepalive"],
        places: &[Tcp, TcpListen],
        about: "ask a silent peer whether it is there",
        set: |o, v| flag(v).map(|v| o.keepalive = v),
    },
    Row {
        names: &["connect-timeout"],
        places: &[Tcp, Unix],
        about: "seconds that connecting may take",
        set: |o, v| seconds(v).map(|v| o.connect_timeout = Some(v)),
    },
    Row {
        names: &["pipes"],
        places: &[Exec],
        about: "give the command two pipes instead of a socket",
        set: |o, v| flag(v).map(|v| o.pipes = v),
    },
    Row {
        names: &["stderr"],
        places: &[Exec],
        about: "take the command's standard error, too",
        set: |o, v| flag(v).map(|v| o.stderr = v),
    },
];

impl Options {
    /// Reads the options of an address of one kind.
    pub(crate) fn read(place: Place, given: &[(String, Option<Vec<u8>>)]) -> Result<Options, String> {
        let mut options = Options::default();
        for (name, value) in given {
            let row = TABLE.iter().find(|row| row.names.contains(&name.as_str()));
            let row = row.ok_or_else(|| format!("unknown option '{}'", name.escape_debug()))?;
            if !row.places.contains(&place) {
                return Err(format!("option '{name}' is not for this kind of address"));
            }
            (row.set)(&mut options, value.as_deref()).map_err(|e| format!("option '{name}': {e}"))?;
        }
        Ok(options)
    }
}

/// The table for `--help`.
pub(crate) fn help() -> String {
    let line = |row: &Row| {
        let names = row.names.join(", ");
        format!("  {names:<26} {}\n", row.about)
    };
    TABLE.iter().map(line).collect()
}

fn flag(value: Option<&[u8]>) -> Result<bool, String> {
    match value {
        None | Some(b"1") => Ok(true),
        Some(b"0") => Ok(false),
        Some(_) => Err("takes 0 or 1".into()),
    }
}

fn text(value: Option<&[u8]>) -> Result<String, String> {
    let value = value.filter(|v| !v.is_empty()).ok_or("a value is missing")?;
    String::from_utf8(value.to_vec()).map_err(|_| "not UTF-8".into())
}

fn number(value: Option<&[u8]>, least: u64, most: u64) -> Result<u64, String> {
    let number: Option<u64> = text(value)?.parse().ok();
    number
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("takes a number from {least} to {most}"))
}

fn octal(value: Option<&[u8]>) -> Result<u32, String> {
    let mode = u32::from_str_radix(&text(value)?, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "takes permission bits in octal, 0 to 0777".into())
}

/// Seconds with a fraction, at most a year.
pub(crate) fn seconds(value: Option<&[u8]>) -> Result<Duration, String> {
    let seconds: Option<f64> = text(value)?.parse().ok();
    let seconds = seconds.filter(|s| (0.0..=31_536_000.0).contains(s)).ok_or("takes seconds")?;
    Ok(Duration::from_secs_f64(seconds))
}

fn set_peers(options: &mut Options, value: Option<&[u8]>) -> Result<(), String> {
    let text = text(value)?;
    let words: Vec<&[u8]> = text.split(':').map(str::as_bytes).collect();
    let list = PeerList::parse(words, Source::command_line())?;
    options.permit_peer = list.map(|list| list.peers);
    Ok(())
}

/// A value that goes to the system as it is.
pub(crate) fn os(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: Place, text: &str) -> Result<Options, String> {
        Options::read(place, &crate::text::split(format!("x:y,{text}").as_bytes()).unwrap().options)
    }

    #[test]
    fn socat_s_options_are_read() {
        let all = "fork,unlink-early,mode=0660,user=alex,group=vnc,backlog=7,max-children=3";
        let options = read(UnixListen, all).unwrap();
        assert!(options.fork && options.unlink_early);
        assert_eq!((options.mode, options.backlog, options.max_children), (Some(0o660), 7, Some(3)));
        assert_eq!((options.user.as_deref(), options.group.as_deref()), (Some("alex"), Some("vnc")));
        assert_eq!(read(TcpListen, "bind=[::1],reuseaddr").unwrap().bind.as_deref(), Some("::1"));
        assert_eq!(read(UnixListen, "permit-peer=bob:@vnc").unwrap().permit_peer.unwrap().len(), 2);
        assert_eq!(read(UnixListen, "permit-peer=any").unwrap().permit_peer, None);
        assert_eq!(read(UnixListen, "permit-peer=none").unwrap().permit_peer, Some(vec![]));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (place, text, what) in [
            (UnixListen, "crnl", "unknown option 'crnl'"),
            (Tcp, "fork", "option 'fork' is not for this kind of address"),
            (UnixListen, "mode=888", "option 'mode': takes permission bits in octal, 0 to 0777"),
            (UnixListen, "mode", "option 'mode': a value is missing"),
            (UnixListen, "fork=yes", "option 'fork': takes 0 or 1"),
            (Exec, "pty", "unknown option 'pty'"),
        ] {
            assert_eq!(read(place, text).unwrap_err(), what);
        }
    }
}
