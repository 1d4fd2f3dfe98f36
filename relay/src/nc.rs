//! `nc`: netcat's command line for what `relay` does. Half-close is carried always, as with `-N`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::time::Duration;

use lexopt::Arg;
use sockward_sys::log::{self as logger, LogLevel};
use sockward_sys::resolve::{self, Family};
use sockward_sys::signal;

use crate::address::{Address, Kind};
use crate::command::report;
use crate::failure::{Failure, Side};
use crate::joint::Directions;
use crate::listen::Listener;
use crate::options::{self, Options};
use crate::serial::{self, Manner};
use crate::solo::{self, Settings, Stop};

const USAGE: &str = "\
usage: sockward nc [-46dNnvz] [-q seconds] [-s address] [-w seconds] HOST PORT
       sockward nc [-dNvz] [-q seconds] [-w seconds] -U PATH
       sockward nc -l [-46dkNnv] [-p port] [-q seconds] [-s address] [-w seconds] [HOST] [PORT]
       sockward nc -lU [-dkNv] [-q seconds] [-w seconds] PATH
  -4, -6  that family alone              -N  end the connection's sending at the end of input (always so)
  -d      do not read standard input     -n  no name look-ups
  -k      one connection after another   -p  the port to listen on
  -l      listen                         -q  how long to wait after the end of input (for ever)
  -U      a socket's path                -s  the local address
  -v      say more                       -w  how long connecting, and silence, may last
  -z      connect, and that is all
";

/// What the flags say.
#[derive(Debug, Default)]
struct Flags {
    listen: bool,
    keep: bool,
    unix: bool,
    numeric: bool,
    only_connect: bool,
    no_input: bool,
    verbose: u8,
    family: Option<Family>,
    wait: Option<Duration>,
    quit: Option<Duration>,
    source: Option<String>,
    port: Option<String>,
}

pub(crate) fn run(args: Vec<OsString>) -> u8 {
    let (flags, address) = match parse(args) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => {
            print!("{USAGE}");
            return 0;
        }
        Err(text) => {
            eprint!("nc: {text}\n{USAGE}");
            return 1;
        }
    };
    let level = match flags.verbose {
        0 => LogLevel::Info,
        1 => LogLevel::Debug1,
        _ => LogLevel::Debug3,
    };
    if let Err(e) = logger::init(logger::Target::Stderr, level) {
        eprintln!("nc: {e}");
    }
    report(serve(&flags, address), "nc").min(1)
}

fn parse(args: Vec<OsString>) -> Result<Option<(Flags, Address)>, String> {
    let mut parser = lexopt::Parser::from_args(args.into_iter().skip(1));
    let mut flags = Flags::default();
    let mut words: Vec<OsString> = Vec::new();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Arg::Short('l') => flags.listen = true,
            Arg::Short('k') => flags.keep = true,
            Arg::Short('U') => flags.unix = true,
            Arg::Short('N') => {}
            Arg::Short('n') => flags.numeric = true,
            Arg::Short('z') => flags.only_connect = true,
            Arg::Short('d') => flags.no_input = true,
            Arg::Short('v') => flags.verbose += 1,
            Arg::Short('4') => flags.family = Some(Family::V4),
            Arg::Short('6') => flags.family = Some(Family::V6),
            Arg::Short('w') => flags.wait = Some(seconds(&value(&mut parser)?)?),
            Arg::Short('q') => flags.quit = quit(&value(&mut parser)?)?,
            Arg::Short('s') => flags.source = Some(text(value(&mut parser)?)?),
            Arg::Short('p') => flags.port = Some(text(value(&mut parser)?)?),
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(word) => words.push(word),
            other => return Err(other.unexpected().to_string()),
        }
    }
    if flags.keep && !flags.listen {
        return Err("-k goes with -l".into());
    }
    if flags.port.is_some() && !flags.listen {
        return Err("-p goes with -l".into());
    }
    let address = address(&flags, words)?;
    Ok(Some((flags, address)))
}

fn value(parser: &mut lexopt::Parser) -> Result<OsString, String> {
    parser.value().map_err(|e| e.to_string())
}

fn address(flags: &Flags, words: Vec<OsString>) -> Result<Address, String> {
    let shown =
        words.iter().map(|w| w.to_string_lossy().escape_debug().to_string()).collect::<Vec<_>>().join(" ");
    let family = flags.family.unwrap_or(Family::Any);
    let kind = if flags.unix {
        let [path] = <[OsString; 1]>::try_from(words).map_err(|_| "-U takes one path")?;
        let path = path.into_vec();
        if flags.listen { Kind::UnixListen { path } } else { Kind::Unix { path } }
    } else {
        let words = words.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let (host, name) = match (flags.listen, words.as_slice(), &flags.port) {
            (_, [host, port], None) => (Some(host.clone()), port),
            (true, [port], None) => (None, port),
            (true, [], Some(port)) => (None, port),
            (true, [host], Some(port)) => (Some(host.clone()), port),
            _ => return Err("a host and a port are needed".into()),
        };
        let port = name.parse().ok().or_else(|| resolve::service(name).filter(|_| !flags.numeric));
        let port = port.ok_or_else(|| format!("'{}' is no port", name.escape_debug()))?;
        match (flags.listen, host) {
            (true, host) => Kind::TcpListen { host, port, family },
            (false, Some(host)) => {
                if flags.numeric && host.parse::<std::net::IpAddr>().is_err() {
                    return Err(format!("'{}' is no address (-n)", host.escape_debug()));
                }
                Kind::Tcp { host, port, family }
            }
            (false, None) => return Err("a host is missing".into()),
        }
    };
    let bind = flags.source.clone();
    let options = Options { fork: flags.keep, bind, connect_timeout: flags.wait, ..Options::default() };
    Ok(Address { text: shown, kind, options })
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("'{}' is not UTF-8", word.to_string_lossy()))
}

fn seconds(word: &OsString) -> Result<Duration, String> {
    options::seconds(Some(word.as_encoded_bytes())).map_err(|e| format!("'{}' {e}", word.to_string_lossy()))
}

/// `-q -1` is for ever.
fn quit(word: &OsString) -> Result<Option<Duration>, String> {
    if word == "-1" { Ok(None) } else { seconds(word).map(Some) }
}

fn serve(flags: &Flags, address: Address) -> Result<(), Stop> {
    signal::ignore_sigpipe();
    let signals = solo::endings()?;
    let address = Rc::new(address);
    if flags.only_connect {
        return solo::open(&address, Side::First, &signals).map(drop);
    }
    if flags.keep {
        let failed = |what: String| Failure::at(Side::First, &address.text, what);
        let listener = Listener::bind(&address).map_err(failed)?;
        log::debug!("{}: listening on {}", address.text, listener.places());
        return serial::run(&listener, &address, Manner::Netcat, &signals);
    }
    let directions = if flags.no_input { Directions::Forward } else { Directions::Both };
    let settings = Settings { directions, linger: flags.quit, idle: flags.wait };
    let stdio =
        Address { text: "standard input and output".into(), kind: Kind::Stdio, options: Options::default() };
    solo::run(&address, &Rc::new(stdio), &settings, &signals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(words: &[&str]) -> Result<Kind, String> {
        let args = ["nc"].iter().chain(words).map(OsString::from).collect();
        parse(args).map(|parsed| parsed.unwrap().1.kind)
    }

    #[test]
    fn netcat_s_forms_are_read() {
        let listen = |host: Option<&str>, port| Kind::TcpListen {
            host: host.map(Into::into),
            port,
            family: Family::Any,
        };
        for (words, expected) in [
            (&["localhost", "80"][..], Kind::Tcp { host: "localhost".into(), port: 80, family: Family::Any }),
            (&["-N4", "h", "ssh"], Kind::Tcp { host: "h".into(), port: 22, family: Family::V4 }),
            (&["-U", "/run/x"], Kind::Unix { path: b"/run/x".to_vec() }),
            (&["-lU", "/run/x"], Kind::UnixListen { path: b"/run/x".to_vec() }),
            (&["-lkU", "/run/x"], Kind::UnixListen { path: b"/run/x".to_vec() }),
            (&["-l", "8080"], listen(None, 8080)),
            (&["-l", "-p", "8080"], listen(None, 8080)),
            (&["-l", "127.0.0.1", "8080"], listen(Some("127.0.0.1"), 8080)),
        ] {
            assert_eq!(kind(words), Ok(expected), "{words:?}");
        }
        for wrong in
            [&["-k", "h", "1"][..], &["h"], &["-U", "a", "b"], &["-X", "h", "1"], &["-n", "h", "1"], &["-l"]]
        {
            assert!(kind(wrong).is_err(), "{wrong:?}");
        }
    }
}
