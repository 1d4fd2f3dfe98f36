//! `sockward share` and `sockward attach`: plain words for `ssh -N -R` and `ssh -N -L`, with defaults that fail
//! early. This is words alone: the client does the work and tells how it goes.

mod arguments;
mod told;

use std::ffi::OsString;
use std::sync::{Arc, Mutex};

use arguments::{Parsed, Wanted};
use told::Teller;

use crate::programs::USAGE_ERROR;

const SHARE_HELP: &str = "\
usage: sockward share [OPTIONS] TARGET [USER@]HOST:SOCKET|PORT

Shares a service of this machine at a socket (or a port of the loopback) of a host.

  TARGET   PORT, HOST:PORT or a socket's path
  SOCKET   a path there: it starts with /, ~/ or unix:

  --via gate            over any SSH server, by 'sockward gate' there
    --mode MODE         permission bits of the socket (with --via gate; a server has them in its configuration)
    --group GROUP       its group
    --permit-peer LIST  users and @groups that may connect, joined by commas
";

const ATTACH_HELP: &str = "\
usage: sockward attach [OPTIONS] [USER@]HOST:SOCKET|PORT [LOCAL]

Brings a socket (or a port of the loopback) of a host to this machine.

  SOCKET   a path there: it starts with /, ~/ or unix:
  LOCAL    PORT, 127.0.0.1:PORT or a socket's path here; without it a free port of 127.0.0.1

  --owner USER          only if this user of the host is the one who listens at SOCKET (TargetOwner)
  --via gate            over any SSH server, by 'sockward gate' there
";

const COMMON_HELP: &str = "
  --json                one line of JSON for each event, for scripts
  -o LINE -p PORT -l USER -i FILE -J HOST -F FILE -4 -6 -v -q   as ssh(1)'s
  -h, --help            this text

One line says what is where, who may connect and how it is used. A lost connection is made again. Set before
ssh_config is read: ExitOnForwardFailure=yes, ForwardProbe=permission, Reconnect=yes; -o says otherwise.
";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Share,
    Attach,
}

/// Runs `share`; the arguments start with the program's name.
pub(crate) fn share(args: Vec<OsString>) -> u8 {
    run(Program::Share, args)
}

/// Runs `attach`.
pub(crate) fn attach(args: Vec<OsString>) -> u8 {
    run(Program::Attach, args)
}

fn run(program: Program, args: Vec<OsString>) -> u8 {
    match arguments::parse(program, args) {
        Ok(Parsed::Help) => {
            let own = match program {
                Program::Share => SHARE_HELP,
                Program::Attach => ATTACH_HELP,
            };
            print!("{own}{COMMON_HELP}");
            0
        }
        Ok(Parsed::Run(wanted)) => serve(*wanted),
        Err(why) => {
            let name = match program {
                Program::Share => "share",
                Program::Attach => "attach",
            };
            eprintln!("sockward {name}: {why}");
            USAGE_ERROR
        }
    }
}

fn serve(wanted: Wanted) -> u8 {
    let Wanted { ssh, words } = wanted;
    let teller = Arc::new(Mutex::new(Teller::new(words)));
    let told = Arc::clone(&teller);
    let status = sockward_client::run_telling(
        ssh,
        Arc::new(move |notice| {
            if let Ok(mut teller) = told.lock() {
                teller.tell(notice);
            }
        }),
    );
    if let Ok(mut teller) = teller.lock() {
        teller.end(status);
    }
    status
}
