//! `sockward ssh --help`; everything else on ssh(1)'s command line is the client's.

use std::ffi::OsString;

const HELP: &str = "\
usage: sockward ssh [OPTIONS] DESTINATION [COMMAND]

DESTINATION is [USER@]HOST or ssh://[USER@]HOST[:PORT]. The options are ssh(1)'s, the configuration ssh_config(5)'s.
Those that matter for forwarding:

  -L [BIND:]PORT:TARGET, -L PATH:TARGET   listen here, connect from the far side
  -R [BIND:]PORT:TARGET, -R PATH:TARGET   listen on the far side, connect from here
  -W TARGET                               join standard input and output to a target of the far side
                 TARGET is HOST:PORT or a socket's path; a path starts with /, ~/ or unix:
  -N             no command            -f  go into the background once all is set up
  -T             no terminal           -n  no standard input
  -o LINE        a line of ssh_config; ExitOnForwardFailure=yes ends if a forwarding is refused,
                 Reconnect=yes connects again when the connection is lost
  -p PORT        the server's port     -i FILE  a key
  -J HOST[,...]  go through other hosts
  -v             say what happens; more with each
  -G             print the configuration that holds for the destination, and end
  -Q LIST        print what is there (cipher, mac, kex, key, ...), and end
  -V             tell the version, and end

The status is that of the remote command, 255 if something failed here.
";

/// Runs the client; the arguments start with the program's name.
pub(crate) fn main(args: Vec<OsString>) -> u8 {
    if args.get(1).is_some_and(|arg| arg == "--help") {
        print!("{HELP}");
        return 0;
    }
    sockward_client::run(args)
}
