//! The audit log of a real server: what each step of a forwarding leaves in it, and that nobody waits for it.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sockward_test_e2e::access::{At, WORD, cast, reaches, server, share};
use sockward_test_e2e::support::{
    Client, Kind, Origin, Server, ServerSetup, Service, TempDir, free_port, key_pair, stock, wait_until,
};

/// The lines that hold all these words.
fn lines(path: &Path, words: &[&str]) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let holds = |line: &&str| words.iter().all(|word| line.contains(word));
    text.lines().filter(holds).map(str::to_owned).collect()
}

#[track_caller]
fn one(path: &Path, words: &[&str]) -> String {
    let mut found = Vec::new();
    wait_until(&format!("a record with {words:?}"), || {
        found = lines(path, words);
        !found.is_empty()
    });
    assert_eq!(found.len(), 1, "{words:?}: {found:#?}");
    found.remove(0)
}

#[test]
fn every_step_is_recorded_with_what_decided() {
    let Some([alex, bob, eve]) = cast() else { return };
    let logs = TempDir::new();
    let audit = logs.join("audit.json");
    let config = format!(
        "AuditLog {}\nPermitPeer sockward-bob\nStreamLocalBindMask 0111\nPermitOpen 127.0.0.1:1 /nowhere\n",
        audit.display()
    );
    let server = server(&config, "");
    let origin = Origin::tcp(Service::Page(WORD));
    let path = server.dir.join("far/s.sock");
    let at = At::Path(path.clone());
    let mut client = share(Kind::OpenSsh, &server, &at, origin.port).unwrap();
    assert!(reaches(bob, &at) && !reaches(eve, &at));
    let opened =
        Client::new(Kind::OpenSsh, &server).args(["-W", "127.0.0.1:2"]).command("").output().unwrap();
    assert!(!opened.status.success());
    client.stop();

    let file = server.config();
    let rule = |n: u32| format!("\"rule\":\"{}:{n}\"", file.display());
    let shown = format!("\"{}\"", path.display());
    let login = format!("\"ssh_user\":\"{}\"", alex.name);
    assert_eq!(
        lines(
            &audit,
            &[
                "\"event\":\"login\"",
                "\"granted\":true",
                &login,
                "\"key\":\"ED25519 SHA256:",
                "\"source_address\":\"127.0.0.1\""
            ]
        )
        .len(),
        2
    );
    let listen =
        one(&audit, &["\"event\":\"listen\"", "\"granted\":true", &shown, &format!("\"real\":{shown}")]);
    let connection = listen.split("\"connection\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let by_bob = format!("\"peer\":{{\"uid\":{},\"user\":\"{}\"", bob.uid, bob.name);
    let by_eve = format!("\"peer\":{{\"uid\":{},\"user\":\"{}\"", eve.uid, eve.name);
    let yes = one(
        &audit,
        &[
            "\"event\":\"connection\"",
            "\"granted\":true",
            &rule(2),
            &by_bob,
            "\"command\":\"curl\"",
            &connection,
        ],
    );
    one(
        &audit,
        &["\"event\":\"connection\"", "\"granted\":false", &rule(2), &by_eve, "(PermitPeer)", &connection],
    );
    one(&audit, &["\"event\":\"open\"", "\"granted\":false", &rule(4), "\"target\":\"127.0.0.1:2\""]);
    let forwarded = yes.split("\"forwarded\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    one(
        &audit,
        &[
            "\"event\":\"closed\"",
            &forwarded,
            "\"bytes\":{\"said_by\":\"worker\",\"from_client\":",
            "\"milliseconds\":",
        ],
    );
    one(&audit, &["\"event\":\"end\"", &connection, "\"reason\":"]);
    one(&audit, &["\"event\":\"unlisten\"", &connection]);
    // Numbered without a gap, and nobody else reads it.
    let all = std::fs::read_to_string(&audit).unwrap();
    for (n, line) in all.lines().enumerate() {
        assert!(
            line.starts_with("{\"v\":1,\"time\":\"2") && line.contains(&format!("\"number\":{},", n + 1)),
            "{line}"
        );
    }
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&audit).unwrap()) & 0o777, 0o600);
}

#[test]
fn a_rotated_file_is_opened_anew_at_a_hangup() {
    if cast().is_none() {
        return;
    }
    let logs = TempDir::new();
    let audit = logs.join("audit.json");
    let server = server(&format!("AuditLog {}\n", audit.display()), "");
    let log_in = || assert!(Client::new(Kind::OpenSsh, &server).run("true").status.success());
    log_in();
    one(&audit, &["\"event\":\"login\""]);
    std::fs::rename(&audit, logs.join("old")).unwrap();
    let _ = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status();
    wait_until("the new file", || audit.exists());
    log_in();
    one(&audit, &["\"event\":\"login\""]);
    assert_eq!(lines(&logs.join("old"), &["\"event\":\"login\""]).len(), 1);
}

/// Who came in by which line, with which certificate of which authority, and who did not and why.
#[test]
fn logins_are_recorded_with_their_line_and_refused_ones_with_their_reason() {
    let Some([alex, _, eve]) = cast() else { return };
    let logs = TempDir::new();
    let (audit, cas) = (logs.join("audit.json"), logs.join("cas"));
    let ca = key_pair(logs.path(), "ca", "ed25519");
    std::fs::write(&cas, format!("# ours\n{}", std::fs::read_to_string(ca.with_extension("pub")).unwrap()))
        .unwrap();
    let lines = format!(
        "AuditLog {}\nTrustedUserCAKeys {}\nDenyUsers {}\n",
        audit.display(),
        cas.display(),
        eve.name
    );
    let server = server(&lines, "");
    let fingerprint = |key: &Path| {
        let out = Command::new(stock("ssh-keygen")).args(["-l", "-f"]).arg(key).output().unwrap();
        String::from_utf8(out.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let client = || Client::new(Kind::OpenSsh, &server);
    assert!(client().run("true").status.success());
    let keys = server.keys.authorized.display().to_string();
    let by_key = one(&audit, &["\"event\":\"login\"", "\"granted\":true", &format!("\"rule\":\"{keys}:1\"")]);
    assert!(by_key.contains(&format!("\"fingerprint\":\"{}\"", fingerprint(&server.keys.user))), "{by_key}");
    assert!(!by_key.contains("certificate"), "{by_key}");

    let certified = key_pair(logs.path(), "certified", "ed25519");
    let mut sign = Command::new(stock("ssh-keygen"));
    sign.args(["-q", "-s"]).arg(&ca).args(["-I", "laptop", "-z", "42", "-n", &alex.name]).arg(&certified);
    assert!(sign.status().unwrap().success());
    let with = |key: &Path| {
        let certificate = format!("CertificateFile={}-cert.pub", key.display());
        client().args(["-o", "IdentityFile=none", "-o", &certificate, "-i"]).args([key])
    };
    assert!(with(&certified).args(["-R", "127.0.0.1:1:127.0.0.1:2"]).run("true").status.success());
    let certificate =
        format!("\"certificate\":{{\"id\":\"laptop\",\"serial\":42,\"ca\":\"{}\"}}", fingerprint(&ca));
    let rule = format!("\"rule\":\"{}:2\"", cas.display());
    one(&audit, &["\"event\":\"login\"", "\"granted\":true", &certificate, &rule]);
    // The port is the system's: what was refused is in the totals.
    one(
        &audit,
        &[
            "\"event\":\"end\"",
            &certificate,
            "\"milliseconds\":",
            "\"totals\":{\"listeners\":0,\"accepted\":0,\"opened\":0,\"refused\":1,\"bytes\":{\"said_by\":\"worker\"",
        ],
    );

    let stranger = key_pair(logs.path(), "stranger", "ed25519");
    let refused = |user: &str, key: &Path, reason: &str| {
        let out = with(key).user(user).args(["-o", "IdentitiesOnly=yes"]).run("true");
        assert!(!out.status.success(), "{user}");
        one(
            &audit,
            &[
                "\"event\":\"login\"",
                "\"granted\":false",
                &format!("\"reason\":\"{reason}"),
                &format!("\"ssh_user\":\"{user}\""),
                "\"source_address\":\"127.0.0.1\"",
            ],
        )
    };
    let record = refused("sockward-nobody-at-all", &stranger, "no such user");
    assert!(record.contains(&fingerprint(&stranger)), "{record}");
    refused(&eve.name, &stranger, "listed in DenyUsers ");
    std::fs::write(&server.keys.authorized, "").unwrap();
    refused(&alex.name, &stranger, "no key was accepted");
}

/// The system's log gets the same records: a listener where syslog(3) sends to, in a /dev of the server's own.
#[test]
fn the_systems_log_gets_the_records() {
    if cast().is_none() {
        return;
    }
    let logs = TempDir::new();
    let socket = logs.join("log");
    let mounts = format!(
        "t=$(mktemp -d)\nmount -t tmpfs none $t\nchmod 755 $t\n\
         for n in null zero full random urandom tty; do cp -a /dev/$n $t/; done\n\
         mkdir $t/pts $t/shm\nln -s {} $t/log\nmount --move $t /dev\nrmdir $t\n",
        socket.display()
    );
    let setup =
        |lines: &str| ServerSetup { lines: lines.into(), mounts: mounts.clone(), ..ServerSetup::default() };
    // Nobody listens at first, which is no error.
    let server = Server::start(Kind::Ours, &setup("AuditLog syslog\nSyslogFacility LOCAL3\n"));
    let log_in = || assert!(Client::new(Kind::OpenSsh, &server).run("true").status.success());
    log_in();
    wait_until("what was lost is said", || server.log().contains("audit records could not be written"));
    let system = UnixDatagram::bind(&socket).unwrap();
    system.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    log_in();
    let mut heard = String::new();
    while !["login", "end", "lost"].iter().all(|e| heard.contains(&format!("\"event\":\"{e}\""))) {
        let mut buffer = [0; 65536];
        let n = system.recv(&mut buffer).unwrap();
        heard += &format!("{}\n", String::from_utf8_lossy(&buffer[..n]));
    }
    // LOG_LOCAL3, LOG_INFO.
    assert!(heard.lines().all(|line| line.starts_with("<158>sockward-audit[")), "{heard}");
    assert!(heard.contains("]: {\"v\":1,\"time\":\""), "{heard}");
}

/// A full disk: forwarding goes on, and the server says that records are missing, once.
#[test]
fn a_full_disk_stalls_nothing_and_is_said() {
    if cast().is_none() {
        return;
    }
    let server = server("AuditLog /dev/full\n", "");
    let origin = Origin::tcp(Service::Greet("hello"));
    let at = At::Port(free_port());
    let client = share(Kind::OpenSsh, &server, &at, origin.port).unwrap();
    let At::Port(port) = at else { unreachable!() };
    for _ in 0..50 {
        let mut text = String::new();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
    drop(client);
    wait_until("the end of the login", || server.log().contains("Connection closed by user"));
    assert_eq!(server.log().matches("audit records could not be written").count(), 1);
}

/// A pipe that nobody empties: forwarding goes on, and what is lost is counted.
#[test]
fn a_log_that_nobody_reads_stalls_nothing() {
    let Some([alex, ..]) = cast() else { return };
    let logs = TempDir::new();
    let audit = logs.join("pipe");
    assert!(Command::new("mkfifo").arg(&audit).status().unwrap().success());
    let mut reader = std::fs::OpenOptions::new().read(true).custom_flags(0o4000).open(&audit).unwrap();
    let server = server(&format!("AuditLog {}\n", audit.display()), "");
    let origin = Origin::tcp(Service::Greet("hello"));
    let at = At::Port(free_port());
    let client = share(Kind::OpenSsh, &server, &at, origin.port).unwrap();
    let At::Port(port) = at else { unreachable!() };
    for _ in 0..3000 {
        let mut text = String::new();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
    let _ = alex;
    drop(client);
    let mut all = Vec::new();
    wait_until("the count of what was lost", || {
        let mut buffer = vec![0; 1 << 20];
        if let Ok(n) = reader.read(&mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        // Each login lets the server look at its log.
        let _ = Client::new(Kind::OpenSsh, &server).run("true");
        String::from_utf8_lossy(&all).contains("\"event\":\"lost\",\"count\":")
    });
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_the_start() {
    if cast().is_none() {
        return;
    }
    let setup = ServerSetup { lines: "AuditLog /nonexistent/audit\n".into(), ..ServerSetup::default() };
    let started = std::panic::catch_unwind(|| Server::start(Kind::Ours, &setup));
    assert!(started.is_err());
}

#[test]
fn who_starts_a_server_in_the_background_is_told_of_a_log_that_cannot_be_opened() {
    let server = Server::start(Kind::Ours, &ServerSetup::default());
    let config = std::fs::read_to_string(server.config()).unwrap();
    let config = server.dir.write("config", format!("AuditLog /nonexistent/audit\n{config}"));
    let out = std::process::Command::new(sockward_test_e2e::support::sockward())
        .args(["sshd", "-f"])
        .arg(config)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&out.stderr).contains("AuditLog /nonexistent/audit"), "{out:?}");
}
