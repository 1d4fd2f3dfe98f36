//! The command line.

use super::*;
use crate::choice::{AddressFamily, LogLevel};

fn message(arguments: &str) -> String {
    match action(arguments) {
        Err(CommandLineError::Message(text)) => text,
        other => panic!("{arguments}: {other:?}"),
    }
}

#[test]
fn every_letter_of_the_usage_is_taken() {
    let (_, flags) = USAGE.split_once("[-").unwrap();
    let (flags, rest) = flags.split_once(']').unwrap();
    for flag in flags.chars() {
        if flag != 'V' {
            invocation(&format!("-{flag} host x"));
        }
    }
    let with_value: Vec<char> = rest.split("[-").skip(1).filter_map(|part| part.chars().next()).collect();
    for flag in with_value {
        let value = match flag {
            'c' => "aes128-ctr",
            'D' => "1",
            'e' => "none",
            'L' => "1:h:1",
            'm' => "hmac-sha2-256",
            'O' => "check",
            'o' => "Port=1",
            'p' => "1",
            'Q' => continue,
            'R' => "1",
            'W' => "h:1",
            'w' => "any",
            _ => "value",
        };
        invocation(&format!("-{flag} {value} host"));
        assert!(matches!(action(&format!("host -{flag}")), Err(CommandLineError::Usage(Some(_)))), "{flag}");
    }
    for flag in "dhjruzHUZ0".chars() {
        assert!(matches!(action(&format!("-{flag} host")), Err(CommandLineError::Usage(Some(_)))), "{flag}");
    }
}

#[test]
fn the_commands_of_the_design_read() {
    let i = invocation("-nNT -R 8080:localhost:80 -oExitOnForwardFailure=yes host");
    assert_eq!(i.options.stdin_null, Some(true));
    assert_eq!(i.options.session_type, Some(SessionType::None));
    assert_eq!(i.options.request_tty, Some(RequestTty::No));
    assert_eq!(i.options.exit_on_forward_failure, Some(true));
    let words = ["-o", "ExitOnForwardFailure yes", "host"].map(OsString::from);
    let Ok(Action::Run(i)) = parse_arguments(words, &Fake::default(), &ALGORITHMS) else { panic!() };
    assert_eq!(i.options.exit_on_forward_failure, Some(true));
    let i = invocation("-nNT -R /var/run/http.sock:localhost:80 host");
    let forward = i.options.remote_forwards.unwrap().0.remove(0);
    assert_eq!(forward.to_string(), "/var/run/http.sock [localhost]:80");
    assert_eq!(invocation("-T host nc localhost 8080").command, b"nc localhost 8080");
    assert_eq!(invocation("-T host forced-command").command, b"forced-command");
}

#[test]
fn order_decides_where_the_first_value_stays() {
    for (arguments, port) in [
        ("-p 22 -oPort=23 host", 22),
        ("-oPort=23 -p 22 host", 23),
        ("-p 22 ssh://host:24", 22),
        ("ssh://host:24 -p 22", 24),
        ("host -p http", 80),
    ] {
        assert_eq!(invocation(arguments).options.port, Some(Some(Port(port))), "{arguments}");
    }
    let i = invocation("-4 -oAddressFamily=any -6 host");
    assert_eq!(i.options.address_family, Some(AddressFamily::Inet6));
    for (arguments, user, given) in
        [("-l a b@host", "a", true), ("-oUser=c b@host", "c", false), ("b@host -l a", "b", true)]
    {
        let i = invocation(arguments);
        assert_eq!((i.options.user.flatten().as_deref(), i.user_given), (Some(user), given), "{arguments}");
    }
}

#[test]
fn options_after_the_host_and_the_commands_own() {
    let i = invocation("host -p 5 -L1:b:2 ls -l -- -x");
    assert_eq!((i.host.as_str(), &*i.command), ("host", &b"ls -l -- -x"[..]));
    assert_eq!(i.options.local_forwards.unwrap_or_default().0.len(), 1);
    assert_eq!(invocation("-- host -p 5").command, b"-p 5");
    assert_eq!(invocation("host -- -p 5").command, b"-p 5");
}

#[test]
fn messages_are_those_people_know() {
    for (arguments, text) in [
        ("-p 0 host", "Bad port '0'"),
        ("-p 65536 host", "Bad port '65536'"),
        ("-p 131073 host", "Bad port '131073'"),
        ("-p 2000blah host", "Bad port '2000blah'"),
        ("-e ab host", "Bad escape character 'ab'."),
        ("-w x host", "Bad tun device 'x'"),
        ("-O x host", "Invalid multiplex command."),
        ("-1 host", "SSH protocol v.1 is no longer supported"),
        ("-N -s host x", "Cannot specify -s with -N/SessionType"),
        ("-s -N host x", "Cannot specify -N with -s/SessionType"),
        (
            "-J a -J b host",
            "Only a single -J option is permitted (use commas to separate multiple jump hops)",
        ),
        ("-oProxyCommand=x -J a host", "Cannot specify -J with ProxyCommand"),
        ("-O check -W a:1 host", "Cannot specify stdio forward with -O"),
        ("-W a:1 -O check host", "Cannot specify multiplexing command with -W"),
        ("-Q nosuch", "Unsupported query \"nosuch\""),
        ("-y -E x host", "Can't specify both -y and -E"),
        ("-oBogus=x host", "command-line: bad configuration option: bogus"),
        ("-oHost=x host", "command-line: Host directive not supported as a command-line option"),
        ("ho;st", "hostname contains invalid characters"),
        ("-l $(x) host", "remote username contains invalid characters"),
    ] {
        assert_eq!(message(arguments), text);
    }
    for (arguments, start) in [
        ("-L x host", "Bad local forwarding specification 'x': "),
        ("-R 1:2:3:4:5 host", "Bad remote forwarding specification '1:2:3:4:5': "),
        ("-D 0 host", "Bad dynamic forwarding specification '0': "),
        ("-W x host", "Bad stdio forwarding specification 'x': "),
        ("-c x host", "Unknown cipher type 'x': "),
        ("-m x host", "Unknown mac type 'x': "),
        ("-J $x host", "Invalid -J argument: "),
    ] {
        assert!(message(arguments).starts_with(start), "{}", message(arguments));
    }
    for incomplete in ["", "-v", "@host", "ssh://host/path", "--help", "-s host"] {
        assert!(matches!(action(incomplete), Err(CommandLineError::Usage(_))), "{incomplete}");
    }
}

#[test]
fn louder_and_quieter() {
    for (arguments, level, verbosity) in [
        ("host", None, 0),
        ("-v host", Some(LogLevel::Debug1), 1),
        ("-vv host", Some(LogLevel::Debug2), 2),
        ("-vvvv host", Some(LogLevel::Debug3), 3),
        ("-q host", Some(LogLevel::Quiet), 0),
        ("-q -v host", Some(LogLevel::Debug1), 1),
        ("-v -q host", Some(LogLevel::Quiet), 1),
    ] {
        let i = invocation(arguments);
        assert_eq!((i.options.log_level, i.verbosity), (level, verbosity), "{arguments}");
    }
}

#[test]
fn stdio_forwarding_changes_two_defaults() {
    let c = loaded("-W a:1 -L 1:b:2 host", "");
    assert!(c.settings.exit_on_forward_failure && c.settings.clear_all_forwardings);
    assert_eq!(c.settings.local_forwards, Forwards::default());
    assert_eq!(c.settings.session_type, SessionType::None);
    assert_eq!(c.stdio_forward.map(|t| t.to_string()).as_deref(), Some("[a]:1"));
    let c = loaded("-W a:1 -oExitOnForwardFailure=no -L 1:b:2 host", "ClearAllForwardings no\n");
    assert!(!c.settings.exit_on_forward_failure);
    assert_eq!(c.settings.local_forwards.0.len(), 1);
}

#[test]
fn what_does_not_go_together() {
    for (arguments, text, part) in [
        ("host ls", "RemoteCommand x\n", "cannot execute command-line and remote command"),
        ("-f host", "", "cannot fork into background without a command"),
        ("-O check host", "", "no ControlPath specified"),
        ("host", "ConnectionAttempts 0\n", "expected 1 or more"),
    ] {
        let errors = errors(arguments, text);
        assert!(errors.iter().any(|e| e.contains(part)), "{errors:?}");
    }
    assert_eq!(loaded("-f host x", "").command, b"x");
    assert_eq!(loaded("-fN host", "").command, b"");
    assert_eq!(loaded("-S /c -O check host", "").settings.control_path, Some("/c".into()));
}

#[test]
fn the_rest_of_the_flags() {
    let i = invocation("-E log -F none -G -i a -i b -i a -S none -t -t -M -M -b 192.0.2.1 host");
    assert!(i.print_configuration && !i.syslog && invocation("-y host").syslog);
    assert_eq!((i.log_file, i.config_file), (Some("log".into()), ConfigFile::None));
    let files: Vec<_> =
        i.options.identity_files.unwrap().0.into_iter().map(|f| (f.path, f.by_user)).collect();
    assert_eq!(files, [("a".into(), true), ("b".into(), true)]);
    assert_eq!(i.options.request_tty, Some(RequestTty::Force));
    assert_eq!(i.options.control_master, Some(ControlMaster::Ask));
    assert!(matches!(action("-V"), Ok(Action::Version)));
    for (name, _) in QUERIES {
        assert!(matches!(action(&format!("-Q {name}")), Ok(Action::Query(_))), "{name}");
    }
    assert!(matches!(action("-Q kexalgorithms"), Ok(Action::Query(Query::Kex))));
}
