//! Host keys and logins against a stock server: what is asked at a terminal, known_hosts, key files, agents,
//! certificates, passwords.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::mini::{Answer, Behaviour, Mini};
use common::pty::Person;
use common::{Server, keygen, read, tool, wait_until};
use sockward_proto::event::{AuthMethod, Prompts};

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

// ---- host keys ----

#[test]
fn an_unknown_host_is_asked_about() {
    let Some(server) = Server::start("") else { return };
    std::fs::write(server.path("known"), "").unwrap();
    let ask = ["-o", "StrictHostKeyChecking=ask", "h", "echo in"];

    let mut person = Person::start(&server.ssh(&ask));
    let question = person.sees("(yes/no/[fingerprint])? ");
    assert!(question.contains(&format!("The authenticity of host '[127.0.0.1]:{}", server.port)));
    person.types("perhaps\r");
    person.sees("Please type 'yes', 'no' or the fingerprint: ");
    person.types("no\r");
    let (status, rest) = person.ends();
    assert!(status.code() == Some(255) && rest.contains("Host key verification failed."), "{rest:?}");
    assert_eq!(read(&server.path("known")), "");

    let fingerprint = question.split_whitespace().find(|word| word.starts_with("SHA256:")).unwrap();
    let mut person = Person::start(&server.ssh(&ask));
    person.sees("(yes/no/[fingerprint])? ");
    person.types(&format!("{}\r", fingerprint.trim_end_matches('.')));
    person.sees("Warning: Permanently added");
    let (status, rest) = person.ends();
    assert!(status.success() && rest.ends_with("in\r\n"), "{rest:?}");
    assert!(read(&server.path("known")).starts_with(&format!("[127.0.0.1]:{} ssh-ed25519 ", server.port)));
    server.run(&["h", "true"]).well();
}

#[test]
fn without_anybody_to_ask_an_unknown_host_is_refused() {
    let Some(server) = Server::start("") else { return };
    std::fs::write(server.path("known"), "").unwrap();
    for mode in ["ask", "yes"] {
        let mode = format!("StrictHostKeyChecking={mode}");
        server
            .run(&["-o", "BatchMode=yes", "-o", &mode, "h", "true"])
            .failed("Host key verification failed.");
    }
    let hashed = ["-o", "StrictHostKeyChecking=accept-new", "-o", "HashKnownHosts=yes", "h", "echo in"];
    let ended = server.run(&hashed);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "in\n"));
    assert!(read(&server.path("known")).starts_with("|1|"));
    server.run(&["h", "true"]).well();
    tool("ssh-keygen", &["-F", &format!("[127.0.0.1]:{}", server.port), "-f", path(&server.path("known"))]);
}

#[test]
fn files_that_know_nobody_and_keep_nothing() {
    let Some(server) = Server::start("") else { return };
    for none in ["/dev/null", "none"] {
        let (user, global) = (format!("UserKnownHostsFile={none}"), format!("GlobalKnownHostsFile={none}"));
        let nobody = ["-o", &user, "-o", &global];
        let lax = ["-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "h", "echo in"];
        assert_eq!(server.run(&[&nobody[..], &lax].concat()).well(), "in\n");
        server.run(&[&nobody[..], &["h", "true"]].concat()).failed("host key is known for");
        assert_eq!(server.run(&["-o", &global, "h", "echo in"]).well(), "in\n");
    }
    assert!(std::fs::metadata("/dev/null").unwrap().len() == 0);
}

#[test]
fn a_changed_or_revoked_key_is_told_and_refused() {
    let Some(server) = Server::start("") else { return };
    let name = format!("[127.0.0.1]:{}", server.port);
    keygen(&server.path("other"), "ed25519", "");
    std::fs::write(server.path("known"), format!("{name} {}", read(&server.path("other.pub")))).unwrap();
    for mode in ["yes", "accept-new", "ask"] {
        let mode = format!("StrictHostKeyChecking={mode}");
        let ended = server.run(&["-o", &mode, "-o", "HostKeyAlgorithms=ssh-ed25519", "h", "true"]);
        assert!(ended.stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED!"), "{}", ended.stderr);
        ended.failed("Host key verification failed.");
    }
    // Whoever insists gets in, but forwards nothing and types no password.
    let insisting = [
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "HostKeyAlgorithms=ssh-ed25519",
        "-L",
        "1:h:1",
        "h",
        "echo in",
    ];
    let ended = server.run(&insisting);
    assert_eq!((ended.code(), ended.out().as_str()), (Some(0), "in\n"));
    assert!(ended.stderr.contains("Port forwarding is disabled to avoid man-in-the-middle attacks."));

    let key = read(&server.path("host_ed25519.pub"));
    std::fs::write(server.path("known"), format!("{name} {key}@revoked * {key}")).unwrap();
    server.run(&["-o", "HostKeyAlgorithms=ssh-ed25519", "h", "true"]).failed("host key");
}

#[test]
fn a_host_certificate_stands_for_the_host() {
    let Some(server) = Server::start("") else { return };
    keygen(&server.path("ca"), "ed25519", "");
    let (ca, host) = (server.path("ca"), server.path("host_ed25519.pub"));
    for (principal, fits) in [("127.0.0.1", true), ("another.example", false)] {
        tool("ssh-keygen", &["-q", "-s", path(&ca), "-I", "host", "-h", "-n", principal, path(&host)]);
        let line = format!("HostCertificate {}", server.path("host_ed25519-cert.pub").display());
        server.append_and_reload(&line);
        let key = read(&server.path("ca.pub"));
        std::fs::write(server.path("known"), format!("@cert-authority * {key}")).unwrap();
        let ended = server.run(&["h", "echo in"]);
        if fits {
            assert_eq!(ended.well(), "in\n");
        } else {
            assert_eq!(ended.code(), Some(255));
            assert!(
                ended.stderr.contains("certificate invalid: name is not one of its principals"),
                "{}",
                ended.stderr
            );
        }
    }
}

// ---- keys ----

#[test]
fn a_passphrase_is_asked_for_and_not_shown() {
    let Some(server) = Server::start("") else { return };
    keygen(&server.path("locked"), "ed25519", "secret words");
    std::fs::copy(server.path("locked.pub"), server.path("authorized_keys")).unwrap();
    let locked = server.path("locked");
    let arguments = ["-o", "PreferredAuthentications=publickey", "-i", path(&locked), "h", "echo in"];
    let mut person = Person::start(&server.ssh(&arguments));
    let prompt = format!("Enter passphrase for key '{}': ", locked.display());
    person.sees(&prompt);
    assert!(!person.echoes());
    person.types("wrong\r");
    person.sees(&prompt);
    person.types("secret words\r");
    let (status, rest) = person.ends();
    assert!(status.success() && rest.ends_with("in\r\n") && !rest.contains("secret"), "{rest:?}");

    let mut person = Person::start(&server.ssh(&arguments));
    for _ in 0..3 {
        person.sees(&prompt);
        person.types("wrong\r");
    }
    let (status, rest) = person.ends();
    assert!(status.code() == Some(255) && rest.contains("Permission denied (publickey"), "{rest:?}");
    server
        .run(&["-o", "BatchMode=yes", "-i", path(&locked), "h", "true"])
        .failed("Permission denied (publickey");
}

#[test]
fn keys_of_each_kind_log_in() {
    let Some(server) = Server::start("") else { return };
    let mut authorized = String::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        keygen(&server.path(kind), kind, "");
        authorized += &read(&server.path(&format!("{kind}.pub")));
    }
    std::fs::write(server.path("authorized_keys"), authorized).unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = server.path(kind);
        assert_eq!(server.run(&["-i", path(&key), "h", "echo in"]).well(), "in\n", "{kind}");
        // The private half alone is enough.
        std::fs::remove_file(server.path(&format!("{kind}.pub"))).unwrap();
        assert_eq!(server.run(&["-i", path(&key), "h", "echo in"]).well(), "in\n", "{kind}");
    }
    let ended = server.run(&["-o", "IdentityFile=none", "-i", path(&server.path("absent")), "h", "true"]);
    assert!(ended.stderr.contains("no such identity: "), "{}", ended.stderr);
    ended.failed("Permission denied (publickey");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let Some(server) = Server::start("") else { return };
    std::fs::set_permissions(server.path("id"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = server.run(&["h", "true"]);
    assert!(ended.stderr.contains("WARNING: UNPROTECTED PRIVATE KEY FILE!"), "{}", ended.stderr);
    ended.failed("Permission denied (publickey");
}

#[test]
fn two_keys_where_the_server_wants_two() {
    let Some(server) = Server::start("AuthenticationMethods publickey,publickey") else { return };
    keygen(&server.path("second"), "ecdsa", "");
    let second = server.path("second");
    server.run(&["h", "true"]).failed("Permission denied (publickey");
    let both = read(&server.path("id.pub")) + &read(&server.path("second.pub"));
    std::fs::write(server.path("authorized_keys"), both).unwrap();
    assert_eq!(server.run(&["-i", path(&second), "h", "echo in"]).well(), "in\n");
}

#[test]
fn a_user_s_certificate_logs_in() {
    let Some(server) = Server::start("TrustedUserCAKeys ca.pub") else { return };
    keygen(&server.path("ca"), "ed25519", "");
    let (ca, id) = (server.path("ca"), server.path("id.pub"));
    std::fs::write(server.path("authorized_keys"), "").unwrap();
    server.append_and_reload(&format!("TrustedUserCAKeys {}.pub", ca.display()));
    server.run(&["h", "true"]).failed("Permission denied (publickey");
    tool("ssh-keygen", &["-q", "-s", path(&ca), "-I", "me", "-n", &common::user(), path(&id)]);
    assert_eq!(server.run(&["h", "echo in"]).well(), "in\n", "the certificate beside the key");
    let elsewhere = server.path("elsewhere");
    std::fs::rename(server.path("id-cert.pub"), &elsewhere).unwrap();
    server.run(&["h", "true"]).failed("Permission denied (publickey");
    let file = format!("CertificateFile={}", elsewhere.display());
    assert_eq!(server.run(&["-o", &file, "h", "echo in"]).well(), "in\n");
}

// ---- agents ----

/// An agent that ends with the test.
struct Agent(Child, String);

impl Agent {
    fn start(server: &Server) -> Agent {
        let socket = server.path("agent");
        let mut command = Command::new("ssh-agent");
        let child = command.args(["-D", "-a", path(&socket)]).stdout(Stdio::null()).spawn().unwrap();
        wait_until("the agent's socket", || socket.exists());
        Agent(child, path(&socket).to_owned())
    }

    fn add(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        command.args(["-q", path(key)]).env("SSH_AUTH_SOCK", &self.1).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_holds_the_key() {
    let Some(server) = Server::start("") else { return };
    let agent = Agent::start(&server);
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let key = server.path(kind);
        keygen(&key, kind, "");
        agent.add(&key);
        std::fs::copy(server.path(&format!("{kind}.pub")), server.path("authorized_keys")).unwrap();
        std::fs::remove_file(&key).unwrap();
        let from = format!("IdentityAgent={}", agent.1);
        let any = ["-o", &from, "-o", "IdentitiesOnly=no", "-o", "IdentityFile=none", "h", "echo in"];
        assert_eq!(server.run(&any).well(), "in\n", "{kind}");
        // Which of the agent's keys is told by the public half.
        let public = server.path(&format!("{kind}.pub"));
        assert_eq!(server.run(&["-o", &from, "-i", path(&public), "h", "echo in"]).well(), "in\n", "{kind}");
        let mut by_environment =
            server.ssh(&["-o", "IdentityAgent=SSH_AUTH_SOCK", "-i", path(&key), "h", "echo in"]);
        by_environment.env("SSH_AUTH_SOCK", &agent.1);
        assert_eq!(common::Ended::of(by_environment).well(), "in\n", "{kind}");
    }
    server
        .run(&["-o", &format!("IdentityAgent={}", agent.1), "h", "true"])
        .failed("Permission denied (publickey");
}

// ---- passwords and questions, which a server without PAM does not ask ----

/// The configuration of [`Server`] for a small server, without a server.
fn to_mini(mini: &Mini, dir: &common::TempDir, arguments: &[&str]) -> Command {
    std::fs::write(dir.path().join("known"), &mini.known).unwrap();
    let mut command = Command::new("timeout");
    command.args(["--foreground", "-k", "5", "120"]).arg(common::client()).args(["-F", "none"]);
    command.args(["-p", &mini.port.to_string(), "-o", "IdentityFile=none", "-o", "IdentityAgent=none"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", dir.path().join("known").display()));
    command.args(arguments).env_remove("DISPLAY").env_remove("SSH_ASKPASS_REQUIRE").stdin(Stdio::null());
    command
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let auth = |method: &AuthMethod| match method {
        AuthMethod::Password { password, .. } if password == b"right" => Answer::Success,
        _ => Answer::Failure { methods: "password", partial: false },
    };
    let (dir, mini) =
        (common::TempDir::new(), Mini::start(Behaviour { auth: Box::new(auth), ..Behaviour::default() }));
    let mut person = Person::start(&to_mini(&mini, &dir, &["alex@127.0.0.1", "true"]));
    person.sees("alex@127.0.0.1's password: ");
    assert!(!person.echoes());
    person.types("wrong\r");
    person.sees("Permission denied, please try again.");
    person.sees("alex@127.0.0.1's password: ");
    person.types("right\r");
    let (status, rest) = person.ends();
    assert!(status.success() && rest.ends_with("done\r\n"), "{rest:?}");
    assert!(mini.requests().iter().any(|request| request.starts_with("Exec(")));
}

#[test]
fn questions_are_asked_as_the_server_puts_them() {
    let auth = |method: &AuthMethod| match method {
        AuthMethod::KeyboardInteractive => {
            let prompts = vec![(b"Code: ".to_vec(), true), (b"\x1b[2JPin: ".to_vec(), false)];
            Answer::Prompts(Prompts { name: b"Two things".to_vec(), instruction: Vec::new(), prompts })
        }
        AuthMethod::Responses(answers) if *answers == [b"42".to_vec(), b"1234".to_vec()] => Answer::Success,
        _ => Answer::Failure { methods: "keyboard-interactive", partial: false },
    };
    let (dir, mini) =
        (common::TempDir::new(), Mini::start(Behaviour { auth: Box::new(auth), ..Behaviour::default() }));
    let mut person = Person::start(&to_mini(&mini, &dir, &["alex@127.0.0.1", "true"]));
    person.sees("Two things");
    person.sees("(alex@127.0.0.1) Code: ");
    assert!(person.echoes());
    person.types("42\r");
    let shown = person.sees("Pin: ");
    assert!(!shown.contains('\u{1b}'), "what could drive the terminal is not passed on: {shown:?}");
    person.types("1234\r");
    let (status, rest) = person.ends();
    assert!(status.success() && rest.ends_with("done\r\n"), "{rest:?}");
}

#[test]
fn nothing_is_asked_in_batch_mode() {
    let auth = |_: &AuthMethod| Answer::Failure { methods: "password,keyboard-interactive", partial: false };
    let (dir, mini) =
        (common::TempDir::new(), Mini::start(Behaviour { auth: Box::new(auth), ..Behaviour::default() }));
    let command = to_mini(&mini, &dir, &["-o", "BatchMode=yes", "alex@127.0.0.1", "true"]);
    common::Ended::of(command).failed("alex@127.0.0.1: Permission denied (password,keyboard-interactive).");
}
