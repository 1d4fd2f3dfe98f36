//! The command line of sshd(8): one row a flag, from which the parser and `--help` come.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use sockward_monitor::{Options, Test};

use crate::programs::{USAGE_ERROR, version};

/// One flag.
struct Flag {
    letter: char,
    /// What its argument is called, if it has one.
    argument: Option<&'static str>,
    about: &'static str,
    set: fn(&mut Options, String) -> Result<(), String>,
}

const fn flag(
    letter: char,
    about: &'static str,
    set: fn(&mut Options, String) -> Result<(), String>,
) -> Flag {
    Flag { letter, argument: None, about, set }
}

const fn with(
    letter: char,
    argument: &'static str,
    about: &'static str,
    set: fn(&mut Options, String) -> Result<(), String>,
) -> Flag {
    Flag { letter, argument: Some(argument), about, set }
}

const FLAGS: &[Flag] = &[
    flag('4', "use IPv4 alone", |o, _| line(o, "AddressFamily inet")),
    flag('6', "use IPv6 alone", |o, _| line(o, "AddressFamily inet6")),
    with('C', "SPEC", "with -T: for this connection (user=,host=,addr=,laddr=,lport=)", |o, v| {
        o.specs.push(v);
        Ok(())
    }),
    flag('D', "stay in the foreground", |o, _| {
        o.foreground = true;
        Ok(())
    }),
    flag('d', "debug: foreground, log to stderr, one connection; more with each", |o, _| {
        o.debug = o.debug.saturating_add(1).min(3);
        Ok(())
    }),
    with('E', "FILE", "log to this file", |o, v| {
        o.log_file = Some(PathBuf::from(v));
        Ok(())
    }),
    flag('e', "log to stderr", |o, _| {
        o.log_to_stderr = true;
        Ok(())
    }),
    with('f', "FILE", "the configuration (none: /etc/sockward/sshd_config, /etc/ssh/sshd_config)", |o, v| {
        o.config = Some(PathBuf::from(v));
        Ok(())
    }),
    with('g', "SECONDS", "LoginGraceTime", |o, v| line(o, &format!("LoginGraceTime {v}"))),
    with('h', "FILE", "a host key; may be repeated", |o, v| line(o, &format!("HostKey {v}"))),
    flag('i', "serve the one connection on standard input and output", |o, _| {
        o.inetd = true;
        Ok(())
    }),
    with('o', "LINE", "a line that comes before the configuration", |o, v| line(o, &v)),
    with('p', "PORT", "listen on this port; may be repeated", |o, v| {
        let port = v.parse().ok().filter(|&port| port != 0);
        o.ports.push(port.ok_or_else(|| format!("bad port '{v}': expected 1 to 65535"))?);
        Ok(())
    }),
    flag('q', "log nothing", |o, _| {
        o.quiet = true;
        Ok(())
    }),
    flag('T', "tell the configuration that holds, and end", |o, _| {
        o.test = Some(Test::Dump);
        Ok(())
    }),
    flag('t', "check the configuration and the keys, and end", |o, _| {
        o.test.get_or_insert(Test::Check);
        Ok(())
    }),
];

fn line(options: &mut Options, text: &str) -> Result<(), String> {
    options.lines.push(text.to_owned());
    Ok(())
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Run(Box<Options>),
    Help,
    Version,
}

/// Runs `sshd` with these arguments, the first of which is the program's name.
pub(crate) fn main(args: Vec<OsString>) -> u8 {
    match parse(args) {
        Ok(Asked::Run(options)) => sockward_monitor::run(*options),
        Ok(Asked::Help) => {
            print!("{}", help());
            0
        }
        Ok(Asked::Version) => {
            eprintln!("{}", version());
            0
        }
        Err(why) => {
            eprint!("sockward sshd: {why}\n{}", help());
            USAGE_ERROR
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Asked, String> {
    let mut parser = Parser::from_iter(args);
    // As getopt: "-o=x" is the argument "=x".
    parser.set_short_equals(false);
    let mut options = Options::default();
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        let letter = match arg {
            Arg::Short('V') => return Ok(Asked::Version),
            Arg::Long("help") => return Ok(Asked::Help),
            Arg::Short(letter) => letter,
            Arg::Long(name) => return Err(format!("there is no option --{name}")),
            Arg::Value(value) => return Err(format!("extra argument {}", value.to_string_lossy())),
        };
        let flag = FLAGS.iter().find(|f| f.letter == letter);
        let flag = flag.ok_or_else(|| format!("there is no option -{letter}"))?;
        let value = match flag.argument {
            None => String::new(),
            Some(name) => {
                let value = parser.value().map_err(|_| format!("-{letter} wants an argument: {name}"))?;
                value.into_string().map_err(|v| format!("{}: not UTF-8", v.to_string_lossy()))?
            }
        };
        (flag.set)(&mut options, value)?;
    }
    Ok(Asked::Run(Box::new(options)))
}

fn help() -> String {
    let mut text = String::from("usage: sockward sshd [OPTIONS]\n\n");
    for flag in FLAGS {
        let left = format!("-{} {}", flag.letter, flag.argument.unwrap_or(""));
        text.push_str(&format!("  {left:<12} {}\n", flag.about));
    }
    text.push_str("  -V           tell the version, and end\n  --help       this text\n\n");
    text.push_str("Without -D it goes into the background. SIGHUP reloads, SIGTERM ends it.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Result<Options, String> {
        let args = std::iter::once("sshd").chain(args.iter().copied()).map(OsString::from).collect();
        match parse(args)? {
            Asked::Run(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_as_sshd_takes_them() {
        let o = options(&[
            "-Ddd",
            "-f",
            "/etc/x",
            "-E/var/log/x",
            "-oPort=2222",
            "-p22",
            "-h",
            "key",
            "-T",
            "-t",
        ]);
        let o = o.unwrap();
        assert!(o.foreground && o.debug == 2);
        assert_eq!(o.config, Some("/etc/x".into()));
        assert_eq!(o.log_file, Some("/var/log/x".into()));
        assert_eq!(o.lines, ["Port=2222", "HostKey key"]);
        assert_eq!((o.ports.as_slice(), o.test), (&[22][..], Some(Test::Dump)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, why) in [
            (&["-p", "0"][..], "bad port '0'"),
            (&["-p", "65536"], "bad port '65536'"),
            (&["-f"], "-f wants an argument: FILE"),
            (&["-z"], "there is no option -z"),
            (&["x"], "extra argument x"),
        ] {
            let error = options(args).unwrap_err();
            assert!(error.contains(why), "{args:?}: {error}");
        }
    }
}
