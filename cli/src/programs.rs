//! The programs in the binary: one row each, from which `--help` comes.

use std::ffi::OsString;

use crate::{demo, share, ssh, sshd};

/// One program.
struct Program {
    name: &'static str,
    about: &'static str,
    run: fn(Vec<OsString>) -> u8,
}

const PROGRAMS: &[Program] = &[
    Program { name: "ssh", about: "client; takes ssh(1)'s flags and ssh_config(5)", run: ssh::main },
    Program {
        name: "share",
        about: "shares a service of this machine at a socket or port of a host",
        run: share::share,
    },
    Program {
        name: "attach",
        about: "brings a socket or port of a host to this machine",
        run: share::attach,
    },
    Program {
        name: "gate",
        about: "far end of forwardings over any SSH server, as a forced command",
        run: sockward_gate::run,
    },
    Program {
        name: "relay",
        about: "joins two addresses: stdio, tcp, unix, exec; takes socat's spellings",
        run: sockward_relay::relay,
    },
    Program { name: "nc", about: "the same in netcat's words", run: sockward_relay::nc },
    Program { name: "sshd", about: "server; takes sshd(8)'s flags and sshd_config(5)", run: sshd::main },
    Program {
        name: "explain",
        about: "why a user may or may not listen, open or connect",
        run: sockward_explain::main,
    },
    Program {
        name: "demo",
        about: "the main job on this machine, step by step; needs nothing else",
        run: demo::main,
    },
];

/// The status of a wrong call, as ssh's.
pub(crate) const USAGE_ERROR: u8 = 255;

/// Runs the program that the first argument names.
pub(crate) fn main(mut args: Vec<OsString>) -> u8 {
    if args.len() < 2 {
        eprint!("{}", help());
        return USAGE_ERROR;
    }
    let name = args.remove(1);
    match name.to_str() {
        Some("--help" | "-h" | "help") => {
            print!("{}", help());
            0
        }
        Some("--version" | "-V") => {
            println!("{}", version());
            0
        }
        Some(name) => match PROGRAMS.iter().find(|p| p.name == name) {
            Some(program) => (program.run)(args),
            None => unknown(name),
        },
        None => unknown(&name.to_string_lossy()),
    }
}

fn unknown(name: &str) -> u8 {
    eprintln!("sockward: there is no command '{}'; sockward --help lists them", name.escape_debug());
    USAGE_ERROR
}

/// "sockward 0.1.0".
pub(crate) fn version() -> String {
    format!("sockward {}", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    let mut text = String::from(
        "SSH socket forwarding with real access control.\n\nusage: sockward COMMAND [ARGUMENTS]\n\n",
    );
    for program in PROGRAMS {
        text.push_str(&format!("  {:<8} {}\n", program.name, program.about));
    }
    text.push_str("\nCalled through a link named ssh or sshd it is that program.\n");
    text
}
