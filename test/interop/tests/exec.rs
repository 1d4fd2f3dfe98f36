//! Commands: status, signals, the three streams, environment, and how a session ends.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::process::Stdio;

use sockward_test_interop::support::{Client, Kind, Origin, ServerSetup};
use sockward_test_interop::{Pair, scenarios};

scenarios![
    status_and_streams,
    killed_by_a_signal,
    input_to_the_end,
    output_nobody_reads,
    a_command_that_outlives_its_output,
    environment,
    a_forced_command,
    a_subsystem,
    the_login_shell,
    an_unknown_key,
];

fn status_and_streams(pair: Pair) {
    let server = pair.server();
    for status in [0, 1, 7, 255] {
        let out = Client::new(pair.client, &server).run(&format!("echo out; echo err >&2; exit {status}"));
        assert_eq!(out.status.code(), Some(status));
        assert_eq!((out.stdout, out.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    }
}

fn killed_by_a_signal(pair: Pair) {
    let server = pair.server();
    let out = Client::new(pair.client, &server).run("kill -TERM $$; sleep 10");
    assert_eq!(out.status.code(), Some(255));
}

fn input_to_the_end(pair: Pair) {
    let server = pair.server();
    let bytes = Origin::pattern(5, 8 << 20);
    let mut command = Client::new(pair.client, &server).command("cat; echo done >&2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let thread = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let out = child.wait_with_output().unwrap();
    thread.join().unwrap();
    assert!(out.stdout == bytes);
    assert_eq!(out.stderr, b"done\n");
}

/// `yes | head`: the reader goes, the writer is told, nothing hangs.
///
/// OpenSSH's client tells only servers that call themselves OpenSSH (nchan.c); from any other it takes what the
/// command has to say to the end. So the command has an end there.
fn output_nobody_reads(pair: Pair) {
    let server = pair.server();
    let told = pair.client == Kind::Ours || pair.server == Kind::OpenSsh;
    let writer = if told { "yes" } else { "yes | head -c 20000000" };
    // The second has closed its stderr, whose end is otherwise the last that is heard of it.
    for remote in [writer.to_owned(), format!("exec 2>&-; {writer}")] {
        let mut command = Client::new(pair.client, &server).command(&remote);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 4000]).unwrap();
        drop(output);
        child.wait().unwrap();
    }
}

fn a_command_that_outlives_its_output(pair: Pair) {
    let server = pair.server();
    let out = Client::new(pair.client, &server).run("exec 1>&- 2>&-; sleep 0.3; exit 9");
    assert_eq!(out.status.code(), Some(9));
}

fn environment(pair: Pair) {
    let server = pair.server_with(&ServerSetup::with("AcceptEnv LC_TEST\nSetEnv FIXED=here\n"));
    let client = Client::new(pair.client, &server).args(["-o", "SetEnv=LC_TEST=given OTHER=refused"]);
    let out = client.run("echo \"$LC_TEST|$OTHER|$FIXED|$USER|$HOME\"; set -- $SSH_CONNECTION; echo $#");
    let user = &server.user;
    let expected = format!("given||here|{}|{}\n4\n", user.name, user.home.display());
    assert_eq!(String::from_utf8(out.stdout).unwrap(), expected);
    // Variables are sent by system-wide configurations: nobody wants to hear of each that is refused.
    assert_eq!(String::from_utf8(out.stderr).unwrap(), "");
}

fn a_forced_command(pair: Pair) {
    let options = "command=\"echo forced: $SSH_ORIGINAL_COMMAND\"".to_owned();
    let server = pair.server_with(&ServerSetup { key_options: options, ..ServerSetup::default() });
    let out = Client::new(pair.client, &server).run("id");
    assert_eq!(out.stdout, b"forced: id\n");
    let server = pair.server_with(&ServerSetup::with("ForceCommand echo by configuration\n"));
    let out = Client::new(pair.client, &server).run("id");
    assert_eq!(out.stdout, b"by configuration\n");
}

fn a_subsystem(pair: Pair) {
    let server = pair.server_with(&ServerSetup::with("Subsystem hello echo hello from a subsystem\n"));
    let out = Client::new(pair.client, &server).args(["-s"]).run("hello");
    assert_eq!(out.stdout, b"hello from a subsystem\n");
    let out = Client::new(pair.client, &server).args(["-s"]).run("unknown");
    assert_ne!(out.status.code(), Some(0));
}

fn the_login_shell(pair: Pair) {
    let server = pair.server();
    let mut command = Client::new(pair.client, &server).args(["-T"]).command("");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"echo $0; pwd; exit 5\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with('-'), "not a login shell: {text}");
    assert!(text.contains(server.user.home.to_str().unwrap()), "{text}");
    assert_eq!(out.status.code(), Some(5));
}

fn an_unknown_key(pair: Pair) {
    let server = pair.server();
    std::fs::write(&server.keys.authorized, "").unwrap();
    let out = Client::new(pair.client, &server).run("true");
    assert_eq!(out.status.code(), Some(255));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("Permission denied (publickey"), "{text}");
}
