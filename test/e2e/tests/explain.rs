//! `sockward explain` says what the server does: each answer is held against a real login.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use sockward_test_e2e::access::{At, WORD, cast, group, own, reaches, server, share};
use sockward_test_e2e::support::{Kind, Origin, Server, Service, TempDir, sockward};

fn explain(server: &Server, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(sockward());
    command.arg("explain").arg("-f").arg(server.config()).args(["--user", &server.user.name]).args(args);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(matches!(status.code(), Some(0 | 1)), "{text}{}", String::from_utf8_lossy(&stderr));
    (status.success(), text)
}

#[test]
fn it_says_what_the_server_does_and_which_line_decides() {
    let Some([_, bob, eve]) = cast() else { return };
    let (name, _) = group();
    let dir = format!("/tmp/sw-explain-{}", std::process::id());
    std::fs::create_dir_all(&dir).unwrap();
    own(dir.as_ref(), &cast().unwrap()[0]);
    let lines = format!(
        "PermitListen {dir}/*.sock 127.0.0.1:8080\nPermitPeer @{name} sockward-alex sockward-eve\n\
         StreamLocalBindGroup {name}\nStreamLocalBindMode 0660\nPermitOpen none\n"
    );
    let server = server(&lines, "");
    let config = server.config().display().to_string();
    let good = format!("{dir}/x.sock");
    let origin = Origin::tcp(Service::Page(WORD));

    let at = At::Path(good.clone().into());
    let client = share(Kind::OpenSsh, &server, &at, origin.port).unwrap();
    for (peer, says) in [(bob, true), (eve, false)] {
        let (yes, text) = explain(&server, &["--listen", &good, "--peer", &peer.name]);
        assert_eq!((yes, reaches(peer, &at)), (says, says), "{text}");
        assert!(
            text.contains(&format!("may listen on {good} (really {good}): allowed by {config}:1\n")),
            "{text}"
        );
    }
    // eve is on the list; it is the mode that keeps her out, and it says so.
    let (_, text) = explain(&server, &["--listen", &good, "--peer", &eve.name]);
    assert!(text.contains("the socket's mode is 0660"), "{text}");
    drop(client);
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (yes, text) = explain(&server, &["--listen", &good, "--peer", &bob.name]);
    assert!(!yes && text.contains(&format!("{dir} cannot be searched (mode 0700)")), "{text}");

    for (args, yes, words) in [
        (["--listen", "8080"], false, "not in the server's list (PermitListen)"),
        (["--listen", "127.0.0.1:8080"], true, ":1"),
        (["--listen", "/run/other.sock"], false, "add it to the PermitListen list"),
        (["--open", "127.0.0.1:80"], false, "(PermitOpen), decided by"),
        (["--open", "/run/x"], false, ":5"),
        (["--command", "id"], true, "allowed by default"),
    ] {
        let (said, text) = explain(&server, &args);
        assert!(said == yes && text.contains(words), "{args:?}: {text}");
    }
    // With the key that logs in, what its line says counts too.
    let line = std::fs::read_to_string(&server.keys.authorized).unwrap();
    std::fs::write(&server.keys.authorized, format!("command=\"true\",permitlisten=\"9\" {line}")).unwrap();
    let public = server.keys.user.with_extension("pub").display().to_string();
    let (yes, text) = explain(&server, &["--key", &public, "--listen", &good, "--command", "id"]);
    let keys = server.keys.authorized.display();
    assert!(
        !yes && text.contains(&format!("{keys}:1")) && text.contains("what runs instead is: true"),
        "{text}"
    );
    let _ = std::fs::remove_dir_all(dir);
}

/// What is there decides too: access lists are named, second names and other users' sockets said.
#[test]
fn it_looks_at_what_is_there() {
    let Some([alex, bob, eve]) = cast() else { return };
    let dir = TempDir::new();
    let far = dir.join("far");
    std::fs::create_dir(&far).unwrap();
    own(&far, alex);
    let server = server(&format!("PermitOpen {0}/*\nPermitListen {0}/*\n", far.display()), "");
    let at = |name: &str| far.join(name).display().to_string();
    let target = UnixListener::bind(at("target")).unwrap();
    let mode = |bits| std::fs::set_permissions(at("target"), PermissionsExt::from_mode(bits)).unwrap();
    own(at("target").as_ref(), eve);
    for (bits, name, yes, words) in [
        (0o666, "target", true, "may open"),
        (0o600, "target", false, "cannot connect to it: the socket's mode is 0600"),
        (0o666, "missing", true, "nothing is there now"),
    ] {
        mode(bits);
        let (said, text) = explain(&server, &["--open", &at(name)]);
        assert!(said == yes && text.contains(words), "{name}: {text}");
    }
    std::fs::write(at("file"), "").unwrap();
    let (yes, text) = explain(&server, &["--open", &at("file")]);
    assert!(!yes && text.contains("not a socket"), "{text}");
    std::fs::hard_link(at("target"), at("second")).unwrap();
    let (yes, text) = explain(&server, &["--open", &at("second")]);
    assert!(!yes && text.contains("second name"), "{text}");
    drop(target);

    let (_, text) = explain(&server, &["--listen", &at("s"), "--peer", &bob.name]);
    assert!(!text.contains("ACL"), "{text}");
    // Version 2: owner rwx, this user x, group x, mask x, others x (acl(5)).
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 1, bob.uid), (4, 1, u32::MAX), (16, 1, u32::MAX), (32, 1, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), bits.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    match rustix::fs::setxattr(&far, name, &list, rustix::fs::XattrFlags::empty()) {
        Ok(()) => {
            let (_, text) = explain(&server, &["--listen", &at("s"), "--peer", &bob.name]);
            assert!(text.contains(&format!("{} has an access list (ACL)", far.display())), "{text}");
        }
        Err(rustix::io::Errno::OPNOTSUPP) => eprintln!("this file system has no access lists"),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn it_says_what_confines_a_login() {
    if cast().is_none() {
        return;
    }
    let server = server("WorkerIsolation shared\n", "");
    let (yes, text) = explain(&server, &["--sandbox"]);
    let config = server.config().display().to_string();
    assert!(yes && text.contains(&format!("workers: shared by logins of several users, who run nothing and are not root, decided by {config}:1")), "{text}");
    for words in ["workers run as: ", "seccomp: there", "landlock: ", "who connects: "] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
