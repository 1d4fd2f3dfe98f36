//! The command line of `relay`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use lexopt::Arg;
use sockward_sys::log::{self as logger, LogLevel};
use sockward_sys::signal;

use crate::address::{Address, Kind};
use crate::failure::{Failure, OTHER, Side};
use crate::joint::Directions;
use crate::listen::Listener;
use crate::serial::{self, Manner};
use crate::solo::{self, Settings, Stop};
use crate::{many, options};

const USAGE: &str = "usage: sockward relay [-dduUhV] [-t seconds] [-T seconds] ADDRESS ADDRESS";

const HELP: &str = "\
Joins two addresses. Each direction ends on its own (half-close), and nothing sent before an end is lost.

addresses (upper or lower case, as socat):
  -, stdio                   standard input and output
  tcp:HOST:PORT              connect; also tcp4:, tcp6:
  tcp-listen:[HOST:]PORT     listen; also tcp4-listen:, tcp6-listen:
  unix:PATH                  connect; also unix-connect:
  unix-listen:PATH           listen
  exec:COMMAND               run a command, without a shell

options, behind an address, each after a comma:
";

const FLAGS: &str = "
flags:
  -t seconds                 once one direction is over, how long the other may be silent (for ever)
  -T seconds                 how long both may be silent (for ever)
  -u, -U                     only from the first to the second; only back
  -d                         say more; again: more still
  -h, -V                     this text; the version

status: 0, or 1 when the first address failed, 2 when the second did, 3 for a wrong command line
";

enum Parsed {
    Run(Box<Invocation>),
    Print(String),
}

struct Invocation {
    first: Address,
    second: Address,
    settings: Settings,
    level: LogLevel,
}

pub(crate) fn run(args: Vec<OsString>) -> u8 {
    match parse(args) {
        Ok(Parsed::Print(text)) => {
            print!("{text}");
            0
        }
        Ok(Parsed::Run(invocation)) => {
            let Invocation { first, second, settings, level } = *invocation;
            if let Err(e) = logger::init(logger::Target::Stderr, level) {
                eprintln!("relay: {e}");
            }
            report(join(first, second, &settings), "relay")
        }
        Err(text) => {
            eprintln!("relay: {text}\n{USAGE}");
            OTHER
        }
    }
}

/// Says why, and the status; a signal ends the process.
pub(crate) fn report(result: Result<(), Stop>, program: &str) -> u8 {
    match result {
        Ok(()) => 0,
        Err(Stop::Failed(failure)) => {
            log::error!("{program}: {failure}");
            failure.status()
        }
        Err(Stop::Signal(signal)) => signal.end_process(),
    }
}

fn parse(args: Vec<OsString>) -> Result<Parsed, String> {
    let mut parser = lexopt::Parser::from_args(args.into_iter().skip(1));
    let mut settings = Settings::default();
    let mut verbosity = 0;
    let mut addresses = Vec::new();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Arg::Short('t') => settings.linger = Some(seconds(&mut parser)?),
            Arg::Short('T') => settings.idle = Some(seconds(&mut parser)?),
            Arg::Short('u') => settings.directions = Directions::Forward,
            Arg::Short('U') => settings.directions = Directions::Backward,
            Arg::Short('d') => verbosity += 1,
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Parsed::Print(format!("{USAGE}\n\n{HELP}{}{FLAGS}", options::help())));
            }
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Parsed::Print(format!("sockward {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Arg::Value(text) => addresses.push(Address::parse(&text)?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let level = match verbosity {
        0 => LogLevel::Info,
        1 => LogLevel::Verbose,
        2 => LogLevel::Debug1,
        _ => LogLevel::Debug3,
    };
    let [first, second] =
        <[Address; 2]>::try_from(addresses).map_err(|_| "two addresses are needed".to_owned())?;
    check(&first, &second)?;
    Ok(Parsed::Run(Box::new(Invocation { first, second, settings, level })))
}

/// What each address alone cannot know.
fn check(first: &Address, second: &Address) -> Result<(), String> {
    if second.options.fork {
        return Err(format!("{}: fork is for the first address", second.text));
    }
    if first.options.fork && second.listens() {
        return Err(format!("{}: cannot be the second address of one that forks", second.text));
    }
    if first.kind == Kind::Stdio && second.kind == Kind::Stdio {
        return Err("both addresses are stdio".into());
    }
    Ok(())
}

fn seconds(parser: &mut lexopt::Parser) -> Result<Duration, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    options::seconds(Some(OsStr::as_bytes(&value))).map_err(|e| format!("'{}' {e}", value.to_string_lossy()))
}

fn join(first: Address, second: Address, settings: &Settings) -> Result<(), Stop> {
    signal::ignore_sigpipe();
    let signals = solo::endings()?;
    let (first, second) = (Rc::new(first), Rc::new(second));
    if !first.options.fork {
        return solo::run(&first, &second, settings, &signals);
    }
    let failed = |what: String| Failure::at(Side::First, &first.text, what);
    let listener = Listener::bind(&first).map_err(failed)?;
    log::debug!("{}: listening on {}", first.text, listener.places());
    if second.kind == Kind::Stdio {
        log::warn!(
            "{}: connections to standard input and output are served one after another: they share one stream \
             without borders; 'sockward gate' keeps any number apart",
            first.text
        );
        return serial::run(&listener, &first, Manner::Relay, &signals);
    }
    many::run(listener, &first, &second, settings, &signals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Parsed, String> {
        parse(["relay"].iter().chain(words).map(OsString::from).collect())
    }

    #[test]
    fn the_command_line_is_two_addresses_and_flags() {
        let Ok(Parsed::Run(run)) = parsed(&["-t", "0.5", "-u", "TCP-LISTEN:1,fork", "-"]) else {
            panic!("not taken");
        };
        let Invocation { settings, second, .. } = *run;
        assert_eq!(settings.linger, Some(Duration::from_millis(500)));
        assert_eq!((settings.directions, second.kind), (Directions::Forward, Kind::Stdio));
        for wrong in [
            &["-", "-"][..],
            &["-"],
            &["-", "tcp-listen:1,fork"],
            &["tcp-listen:1,fork", "tcp-listen:2"],
            &["-t", "x", "-", "tcp:h:1"],
            &["-z", "-", "tcp:h:1"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
