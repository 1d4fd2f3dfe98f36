//! Commands: what they are started with, how their end is told, who may signal them.

use std::os::fd::AsFd;
use std::path::Path;

use sockward_policy::{By, ForcedCommand, Limit, Origin, Permit, Reason, Source, Subsystem, Variable};
use sockward_privsep::helper::Event;
use sockward_privsep::login::{Answer, ExitStatus, Program, Refusal, Request, Stream, WindowSize};
use sockward_sys::fd;

use crate::double::{ALEX, Helper, Streams, TempDir, Worker, permit, read_all, wait_for};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("a_command_has_its_streams_and_its_end", a_command_has_its_streams_and_its_end),
    ("the_environment_is_sshds", the_environment_is_sshds),
    ("a_command_inherits_nothing_of_ours", a_command_inherits_nothing_of_ours),
    ("a_shell_is_a_login_shell", a_shell_is_a_login_shell),
    ("a_forced_command_runs_whatever_is_asked_for", a_forced_command_runs_whatever_is_asked_for),
    ("subsystems_are_known_by_name", subsystems_are_known_by_name),
    ("variables_are_taken_as_far_as_they_are_accepted", variables_are_taken_as_far_as_they_are_accepted),
    ("signals_reach_the_commands_group_alone", signals_reach_the_commands_group_alone),
    ("a_home_that_cannot_be_entered_is_said", a_home_that_cannot_be_entered_is_said),
    ("what_cannot_run_is_refused", what_cannot_run_is_refused),
    ("sessions_are_limited_by_what_runs", sessions_are_limited_by_what_runs),
    ("commands_outlive_their_login", commands_outlive_their_login),
    ("a_session_has_one_terminal_from_its_beginning", a_session_has_one_terminal_from_its_beginning),
];

fn start(change: impl FnOnce(&mut Permit)) -> (Helper, Worker) {
    let uid = match sockward_sys::identity::effective_uid() {
        0 => ALEX,
        own => own,
    };
    let mut permit = permit(uid);
    permit.account.home = b"/".into();
    change(&mut permit);
    let mut helper = Helper::start(uid);
    let worker = helper.log_in(permit);
    (helper, worker)
}

fn variable(name: &str, value: &str) -> Variable {
    Variable { name: name.into(), value: value.into() }
}

fn signal_name(status: &ExitStatus) -> &str {
    match status {
        ExitStatus::Signal { name, .. } => name,
        ExitStatus::Code(_) => "",
    }
}

fn a_command_has_its_streams_and_its_end() {
    let (mut helper, mut worker) = start(|_| {});
    let ran = worker.run("echo out; echo err >&2; exit 7");
    assert_eq!(ran, ("out\n".into(), "err\n".into(), ExitStatus::Code(7)));
    for signal in ["TERM", "KILL", "SEGV", "USR1"] {
        let (_, _, status) = worker.run(&format!("ulimit -c 0; kill -{signal} $$"));
        assert_eq!(signal_name(&status), signal, "{status:?}");
    }
    let (_, _, status) = worker.run("ulimit -c 0; kill -BUS $$");
    assert!(signal_name(&status).ends_with("@sockward"), "{status:?}");
    // Standard input, and its end.
    let session = worker.session().unwrap();
    let Streams { stdin, stdout, .. } =
        worker.execute(session, Program::Exec("cat; echo end".into())).unwrap();
    let stdin = stdin.unwrap();
    assert_eq!(fd::write(&stdin, b"through\n").unwrap(), 8);
    drop(stdin);
    assert_eq!(read_all(&stdout), "through\nend\n");
    assert_eq!(worker.exited(session), ExitStatus::Code(0));
    let what = helper.event(|e| match e {
        Event::Execute { what, result: Ok(run) } => Some((what.clone(), run.clone())),
        _ => None,
    });
    // Its text is nobody else's business.
    assert_eq!(what, ("command".into(), "command".into()));
}

fn the_environment_is_sshds() {
    let (_helper, mut worker) = start(|p| {
        p.session.accept_env = vec![b"FOO".into(), b"USER".into(), b"SSH_CLIENT".into(), b"BAR".into()];
        p.session.key_environment =
            vec![variable("KEY", "1"), variable("FOO", "of the key"), variable("MAIL", "x")];
        p.session.set_env =
            vec![variable("BAR", "of the server"), variable("SSH_CONNECTION", "x"), variable("KEY", "2")];
    });
    let session = worker.session().unwrap();
    for (name, value) in [("FOO", "client"), ("USER", "client"), ("SSH_CLIENT", "client"), ("BAR", "client")]
    {
        worker.env(session, name, value).unwrap();
    }
    let streams = worker.execute(session, Program::Exec("exec cat /proc/self/environ".into())).unwrap();
    let environ = read_all(&streams.stdout);
    let mut lines: Vec<_> =
        environ.split_terminator('\0').filter(|l| !l.starts_with("PWD=") && !l.starts_with("_=")).collect();
    lines.sort_unstable();
    let expected = [
        "BAR=of the server",
        "FOO=of the key",
        "HOME=/",
        "KEY=2",
        "LOGNAME=alex",
        "MAIL=x",
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/games",
        "SHELL=/bin/sh",
        "SSH_CLIENT=192.0.2.7 4242 22",
        "SSH_CONNECTION=192.0.2.7 4242 192.0.2.1 22",
        "USER=alex",
    ];
    assert_eq!(lines, expected);
}

fn a_command_inherits_nothing_of_ours() {
    if !root_or_skip("a_command_inherits_nothing_of_ours") {
        return;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let mut helper = Helper::start(ALEX);
    let mut permit = permit(ALEX);
    permit.account.home = dir.as_os_str().as_encoded_bytes().to_vec();
    let mut worker = helper.log_in(permit.clone());
    let _other = helper.log_in(permit);
    // Listeners, connections and other commands of the helper at the same time.
    worker.listen(crate::double::unix(&dir.join("s"))).unwrap();
    worker.listen(crate::double::tcp("localhost", 0)).unwrap();
    let session = worker.session().unwrap();
    let _cat = worker.execute(session, Program::Exec("cat".into())).unwrap();
    let script = "ls /proc/$$/fd; umask; pwd; echo $0; \
                  grep -E 'Uid|Gid|Groups|SigBlk|SigIgn|NoNewPrivs|Seccomp:' /proc/self/status; \
                  ulimit -Sn; cut -d' ' -f5,6 /proc/$$/stat; echo $$; stat -c %U /proc/$$/fd";
    let (out, err, status) = worker.run(script);
    assert_eq!((err.as_str(), status), ("", ExitStatus::Code(0)));
    let mut lines = out.lines();
    let mut next = || lines.next().unwrap().to_owned();
    assert_eq!([next(), next(), next()], ["0", "1", "2"]);
    let own_umask = umask_of(std::process::id());
    assert_eq!(u32::from_str_radix(&next(), 8).unwrap(), own_umask | 0o022);
    assert_eq!([next(), next()], [dir.to_str().unwrap(), "sh"]);
    assert_eq!(next(), format!("Uid:\t{ALEX}\t{ALEX}\t{ALEX}\t{ALEX}"));
    assert_eq!(next(), format!("Gid:\t{ALEX}\t{ALEX}\t{ALEX}\t{ALEX}"));
    assert_eq!(next(), format!("Groups:\t{ALEX} "));
    assert_eq!(next(), "SigBlk:\t0000000000000000");
    // 32 and 33 are glibc's own.
    let ignored = u64::from_str_radix(next().strip_prefix("SigIgn:\t").unwrap(), 16).unwrap();
    assert_eq!(ignored & !(0b11 << 31), 0);
    assert_eq!(next(), "NoNewPrivs:\t0");
    assert_eq!(next(), "Seccomp:\t0");
    let limit = std::fs::read_to_string("/proc/self/limits").unwrap();
    let soft = limit
        .lines()
        .find(|l| l.starts_with("Max open files"))
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .to_owned();
    assert_eq!(next(), soft);
    let ids = next();
    let own = next();
    assert_eq!(ids, format!("{own} {own}"), "a group and a session of its own");
    // Its user may look into it, as into any command.
    assert_ne!(next(), "root");
}

fn umask_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|l| l.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(mask.trim(), 8).unwrap()
}

fn a_shell_is_a_login_shell() {
    let (_helper, mut worker) = start(|_| {});
    let session = worker.session().unwrap();
    let Streams { stdin, stdout, .. } = worker.execute(session, Program::Shell).unwrap();
    let stdin = stdin.unwrap();
    fd::write(&stdin, b"echo $0; exit 3\n").unwrap();
    assert_eq!(read_all(&stdout), "-sh\n");
    assert_eq!(worker.exited(session), ExitStatus::Code(3));
    // No second command on it.
    let (why, _) = worker.execute(session, Program::Shell).map(|_| ()).unwrap_err();
    assert_eq!(why, Refusal::Failed);
}

fn forced(command: &str, origin: Origin) -> Option<ForcedCommand> {
    Some(ForcedCommand { command: command.into(), origin, source: Source::new("config", 3) })
}

fn a_forced_command_runs_whatever_is_asked_for() {
    let (mut helper, mut worker) = start(|p| {
        p.session.forced = forced("echo \"$0 forced ${SSH_ORIGINAL_COMMAND-none}\"", Origin::Configuration);
        p.session.subsystems = vec![Subsystem { name: "sub".into(), command: "/bin/sub -x".into() }];
    });
    for (what, asked) in [
        (Program::Exec("rm -rf \"a b\"".into()), "rm -rf \"a b\""),
        (Program::Shell, "none"),
        (Program::Subsystem("sub".into()), "/bin/sub -x"),
    ] {
        let session = worker.session().unwrap();
        let streams = worker.execute(session, what).unwrap();
        assert_eq!(read_all(&streams.stdout), format!("sh forced {asked}\n"));
        assert_eq!(worker.exited(session), ExitStatus::Code(0));
    }
    let run = helper.event(|e| match e {
        Event::Execute { what, result: Ok(run) } if what == "subsystem 'sub'" => Some(run.clone()),
        _ => None,
    });
    assert!(run.starts_with("forced-command (config) 'echo "), "{run}");
}

fn subsystems_are_known_by_name() {
    let (mut helper, mut worker) = start(|p| {
        p.session.subsystems =
            vec![Subsystem { name: "echo".into(), command: "echo sub $SSH_ORIGINAL_COMMAND".into() }];
    });
    let session = worker.session().unwrap();
    let (why, text) = worker.execute(session, Program::Subsystem("sftp".into())).map(|_| ()).unwrap_err();
    assert_eq!((why, text), (Refusal::Prohibited, Reason::NoSubsystem.to_string()));
    // The session is not used up by it.
    let streams = worker.execute(session, Program::Subsystem("echo".into())).unwrap();
    assert_eq!(read_all(&streams.stdout), "sub\n");
    let what = helper.event(|e| match e {
        Event::Execute { what, result: Err(_) } => Some(what.clone()),
        _ => None,
    });
    assert_eq!(what, "subsystem 'sftp'");
}

fn variables_are_taken_as_far_as_they_are_accepted() {
    let (_helper, mut worker) = start(|p| p.session.accept_env = vec![b"LC_*".into(), b"X*".into()]);
    let session = worker.session().unwrap();
    worker.env(session, "LC_ALL", "C").unwrap();
    worker.env(session, "LC_ALL", "POSIX").unwrap();
    for (name, value) in [("LD_PRELOAD", "x"), ("", "x"), ("LC_=A", "x"), ("LC_\0", "x"), ("LC_A", "a\0b")] {
        assert_eq!(worker.env(session, name, value).unwrap_err().0, Refusal::Prohibited, "{name:?}");
    }
    assert!(worker.env(session, "XBIG", &"x".repeat(120 * 1024)).is_ok());
    assert!(worker.env(session, "XBIG2", &"x".repeat(20 * 1024)).is_err(), "too much of it");
    let taken = (0..200).filter(|n| worker.env(session, &format!("X{n}"), "").is_ok()).count();
    assert_eq!(taken, 125);
    assert!(worker.env(session + 1000, "LC_ALL", "C").is_err(), "no such session");
    let streams = worker.execute(session, Program::Exec("echo $LC_ALL ${#XBIG}".into())).unwrap();
    assert_eq!(read_all(&streams.stdout), "POSIX 122880\n");
    assert!(worker.env(session, "LC_A", "late").is_err());
}

fn signals_reach_the_commands_group_alone() {
    let (_helper, mut worker) = start(|_| {});
    let signal = |worker: &mut Worker, session, name: &str| {
        worker.link.say(&Request::Signal { session, name: name.into() }, None).unwrap();
    };
    let run = |worker: &mut Worker, script: &str| {
        let session = worker.session().unwrap();
        let streams = worker.execute(session, Program::Exec(script.into())).unwrap();
        let mut ready = [0; 6];
        assert!(fd::wait_readable(&streams.stdout, std::time::Duration::from_secs(60)).unwrap());
        assert_eq!(fd::read(&streams.stdout, &mut ready).unwrap(), 6);
        (session, streams)
    };
    let (other, _other_streams) = run(&mut worker, "echo ready; exec sleep 1000");
    // The shell's child gets it too: the pipe's other copies are gone.
    let (session, streams) = run(&mut worker, "echo ready; sleep 1000; echo no");
    for nonsense in ["", "SIGTERM", "STOP", "no", "15"] {
        signal(&mut worker, session, nonsense);
    }
    signal(&mut worker, session + 1000, "KILL");
    signal(&mut worker, session, "TERM");
    assert_eq!(signal_name(&worker.exited(session)), "TERM");
    assert_eq!(read_all(&streams.stdout), "");
    // Once more, when it has gone.
    signal(&mut worker, session, "KILL");
    signal(&mut worker, other, "KILL");
    assert_eq!(signal_name(&worker.exited(other)), "KILL");

    // What the client did not choose it does not end either.
    for change in [
        &(|p: &mut Permit| p.session.forced = forced("echo ready; read line; exit 5", Origin::Key))
            as &dyn Fn(&mut Permit),
        &|p: &mut Permit| {
            let command = "echo ready; read line; exit 5".into();
            p.session.subsystems = vec![Subsystem { name: "sub".into(), command }];
        },
    ] {
        let (_helper, mut worker) = start(change);
        let session = worker.session().unwrap();
        let Streams { stdin, stdout, .. } = worker
            .execute(session, Program::Subsystem("sub".into()))
            .or_else(|_| worker.execute(session, Program::Shell))
            .unwrap();
        assert!(fd::wait_readable(&stdout, std::time::Duration::from_secs(60)).unwrap());
        signal(&mut worker, session, "KILL");
        // Answered after it.
        worker.session().unwrap();
        fd::write(stdin.unwrap(), b"\n").unwrap();
        assert_eq!(worker.exited(session), ExitStatus::Code(5));
    }
}

fn a_home_that_cannot_be_entered_is_said() {
    if !root_or_skip("a_home_that_cannot_be_entered_is_said") {
        return;
    }
    let tmp = TempDir::new();
    let closed = tmp.dir("closed", crate::double::EVE, 0o700);
    let file = tmp.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (home, why) in [
        (Path::new("/nonexistent/home"), "No such file or directory"),
        (&closed, "Permission denied"),
        (&file, "Not a directory"),
        (Path::new("relative"), "No such file or directory"),
    ] {
        let (_helper, mut worker) = start(|p| p.account.home = home.as_os_str().as_encoded_bytes().to_vec());
        let (out, err, status) = worker.run("pwd; echo second >&2");
        let said = format!("Could not chdir to home directory {}: {why}\nsecond\n", home.display());
        assert_eq!((out.as_str(), err, status), ("/\n", said, ExitStatus::Code(0)));
    }
}

fn what_cannot_run_is_refused() {
    let source = Source::new("config", 3);
    for (change, why, text) in [
        (
            &(|p: &mut Permit| p.account.shell = b"/nonexistent/sh".into()) as &dyn Fn(&mut Permit),
            Refusal::Failed,
            "cannot execute: No such file or directory",
        ),
        (
            &|p: &mut Permit| p.account.shell = b"/etc/passwd".into(),
            Refusal::Failed,
            "cannot execute: Permission denied",
        ),
    ] {
        let (mut helper, mut worker) = start(change);
        let session = worker.session().unwrap();
        let refused = worker.execute(session, Program::Exec("true".into())).map(|_| ()).unwrap_err();
        assert_eq!(refused, (why, text.into()));
        let logged = helper.event(|e| match e {
            Event::Execute { result: Err(why), .. } => Some(why.clone()),
            _ => None,
        });
        assert!(logged.starts_with(text), "{logged}");
    }
    let (_helper, mut worker) = start(|p| p.session.disabled = Some(source.clone()));
    let (why, text) = worker.session().unwrap_err();
    assert_eq!((why, text), (Refusal::Prohibited, Reason::NoExecution.to_string()));
    let (_helper, mut worker) = start(|_| {});
    let session = worker.session().unwrap();
    assert!(worker.execute(session, Program::Exec(b"a\0b".into())).is_err());
    assert!(worker.execute(session + 1, Program::Shell).is_err(), "no such session");
}

fn sessions_are_limited_by_what_runs() {
    let (_helper, mut worker) = start(|p| {
        p.session.forced = None;
        p.limits.sessions = Limit { max: Some(2), by: By::Rule(Source::new("config", 4)) };
    });
    let first = worker.session().unwrap();
    let second = worker.session().unwrap();
    let full = (Refusal::Shortage, "too many: the limit is 2 (MaxSessions)".to_owned());
    assert_eq!(worker.session().unwrap_err(), full);
    let close =
        |worker: &mut Worker, session| worker.link.say(&Request::CloseSession { session }, None).unwrap();
    // One that ran nothing makes room, and one that runs something does not until that has ended.
    close(&mut worker, second);
    let second = worker.session().unwrap();
    let streams = worker.execute(first, Program::Exec("read line".into())).unwrap();
    close(&mut worker, first);
    assert_eq!(worker.session().unwrap_err(), full);
    drop(streams);
    wait_until_there_is_room(&mut worker);
    // The client waits for its status all the same.
    let status = worker.find(|answer, fd| match (answer, fd) {
        (Answer::Exited { session, status }, None) if session == first => Ok(status),
        other => Err(other),
    });
    assert_eq!(status, ExitStatus::Code(1));
    close(&mut worker, second);
}

fn wait_until_there_is_room(worker: &mut Worker) {
    let worker = std::cell::RefCell::new(worker);
    wait_for("a session that has ended makes room", || worker.borrow_mut().session().is_ok());
}

fn commands_outlive_their_login() {
    let (mut helper, mut worker) = start(|_| {});
    let session = worker.session().unwrap();
    let script = "trap '' PIPE; read line; echo gone 2>/dev/null || exit 9; exit 1";
    let Streams { stdin, stdout, stderr } = worker.execute(session, Program::Exec(script.into())).unwrap();
    let other = worker.session().unwrap();
    let background = worker.execute(other, Program::Exec("echo $$; exec sleep 1000".into())).unwrap();
    let mut pid = [0; 16];
    assert!(fd::wait_readable(background.stdout.as_fd(), std::time::Duration::from_secs(60)).unwrap());
    let n = fd::read(&background.stdout, &mut pid).unwrap();
    let pid: i32 = std::str::from_utf8(&pid[..n]).unwrap().trim().parse().unwrap();
    drop((background, stdin, stdout, stderr));
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    assert_eq!(helper.idle, 0, "a command is left");
    let proc = format!("/proc/{pid}/status");
    wait_for("it got a signal", || std::fs::read_to_string(&proc).unwrap().contains("sleep"));
    // Another login may come meanwhile.
    let mut next = helper.log_in(permit(ALEX));
    next.session().unwrap();
    drop(next);
    assert!(std::process::Command::new("kill").arg(pid.to_string()).status().unwrap().success());
    helper.until(|h| h.idle == 1);
    assert!(!Path::new(&proc).exists(), "it is not reaped");
    // The helper stays for the next login until it is let go.
    let mut last = helper.log_in(permit(ALEX));
    last.session().unwrap();
    drop(last);
    helper.until(|h| h.idle == 2);
}

fn a_session_has_one_terminal_from_its_beginning() {
    let (helper, mut worker) = start(|_| {});
    let size = |n| WindowSize { columns: n, rows: n, width: n, height: n };
    let terminal = |worker: &mut Worker, session, term: &str, modes: &[u8]| {
        let (term, modes) = (term.into(), modes.to_vec());
        let id = worker.ask(|id| Request::Terminal { id, session, term, size: size(u16::MAX), modes });
        worker.done(id)
    };
    let tell = |worker: &mut Worker, request| worker.link.say(&request, None).unwrap();
    let session = worker.session().unwrap();
    let before = helper.descriptors();
    // A size for what is not there, modes that are none, a name that can be none.
    tell(&mut worker, Request::WindowChange { session, size: size(1) });
    tell(&mut worker, Request::WindowChange { session: 77, size: size(1) });
    assert!(terminal(&mut worker, 77, "xterm", b"").is_err());
    assert!(terminal(&mut worker, session, "x\0term", b"").is_err());
    terminal(&mut worker, session, "xterm", b"\x01\0\0\0\x04\x35garbage that is broken off").unwrap();
    assert!(terminal(&mut worker, session, "xterm", b"").is_err(), "a second one");
    for n in 0..2000 {
        tell(&mut worker, Request::WindowChange { session, size: size(n) });
    }
    let what = Program::Exec("stty size; tty; echo $$; echo $TERM; exec sleep 100".into());
    let id = worker.ask(|id| Request::Execute { id, session, what });
    worker.done(id).unwrap();
    let master = worker.find(|answer, fd| match (answer, fd) {
        (Answer::Stream { session: s, stream: Stream::Terminal }, Some(fd)) if s == session => Ok(fd),
        other => Err(other),
    });
    assert!(terminal(&mut worker, session, "xterm", b"").is_err(), "when the command runs");
    let said = std::cell::RefCell::new(Vec::new());
    wait_for("what it says", || {
        let mut buffer = [0; 200];
        let n = fd::read(&master, &mut buffer).unwrap_or(0);
        said.borrow_mut().extend_from_slice(&buffer[..n]);
        said.borrow().ends_with(b"xterm\r\n")
    });
    let said = String::from_utf8(said.into_inner()).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0] == "1999 1999" && lines[1].starts_with("/dev/pts/"), "{said}");
    // With the channel and the worker's end goes the terminal: the command is hung up.
    drop(master);
    tell(&mut worker, Request::CloseSession { session });
    let process = Path::new("/proc").join(lines[2]);
    wait_for("the command is gone", || !process.exists());
    wait_for("its descriptors are gone", || helper.descriptors() <= before);
}
