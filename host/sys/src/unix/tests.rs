//! Birth, replacement, removal, staleness, peers: one behaviour a test, on real files.

use super::*;
use crate::path::Place;
use crate::testing::{ALEX, EVE, TempDir, alone, as_user, in_child, mode, root_or_skip, start_child};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

fn place(path: &Path) -> Place {
    Place::for_new(path.as_os_str().as_bytes()).unwrap()
}

fn listen(path: &Path) -> Result<Listener, BirthError> {
    Newborn::bind(place(path)).and_then(|born| born.publish(0o600, 16, None))
}

fn look(path: &Path) -> Occupant {
    Occupant::look(&place(path)).unwrap().unwrap()
}

fn bits(path: &Path) -> (u32, u32, u32) {
    let m = std::fs::symlink_metadata(path).unwrap();
    (m.uid(), m.gid(), m.mode() & 0o7777)
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Both looks of a probe, with the wait between them.
fn is_stale(occupant: Occupant) -> Option<Replaceable> {
    let FirstLook::Unsure(probe) = occupant.probe().unwrap() else { return None };
    let SecondLook::NotYet(probe) = probe.again().unwrap() else { panic!("too early") };
    std::thread::sleep(probe.due().saturating_duration_since(std::time::Instant::now()));
    match probe.again().unwrap() {
        SecondLook::Stale(replaceable) => Some(replaceable),
        SecondLook::Live => None,
        SecondLook::NotYet(_) => panic!("it was due"),
    }
}

#[test]
fn a_listener_serves_and_leaves_nothing_behind() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        let listener = listen(&path).unwrap();
        assert_eq!(listener.path(), path.as_os_str().as_bytes());
        assert_eq!(entries(tmp.path()), ["s"]);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = connect(&place(&path), Names::Any).unwrap();
        let server = listener.accept().unwrap();
        crate::fd::write(&client, b"hello").unwrap();
        assert_eq!(crate::fd::read(&server, &mut [0; 9]).unwrap(), 5);
        assert_eq!(listener.close().unwrap(), Removal::Removed);
        assert!(entries(tmp.path()).is_empty());
        drop(listen(&path).unwrap());
        assert!(entries(tmp.path()).is_empty(), "dropping removes too");
    });
}

#[test]
fn nothing_is_reachable_before_it_is_published() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        let born = Newborn::bind(place(&path)).unwrap();
        assert!(!path.exists());
        let stat = rustix::fs::fstat(born.file()).unwrap();
        assert_eq!(stat.st_mode, 0o140_600);
        let hidden = entries(tmp.path());
        assert_eq!(bits(&tmp.path().join(&hidden[0])).2, 0o700);
        let inside = tmp.path().join(&hidden[0]).join("s");
        assert_eq!(UnixStream::connect(&inside).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(born);
        assert!(entries(tmp.path()).is_empty());
    });
}

#[test]
fn owner_group_and_mode_are_as_asked_whatever_the_umask() {
    alone(|| {
        if !root_or_skip("owner, group and mode") {
            return;
        }
        let tmp = TempDir::new();
        let plain = tmp.dir("plain", ALEX, 0o755);
        let setgid = tmp.dir("setgid", ALEX, 0o2775);
        std::os::unix::fs::chown(&setgid, None, Some(EVE)).unwrap();
        mode(&setgid, 0o2775);
        let sticky = tmp.dir("sticky", 0, 0o1777);
        in_child(|| {
            rustix::process::umask(rustix::fs::Mode::RWXU);
            let groups: Vec<_> = [ALEX, 54_200].map(nix::unistd::Gid::from_raw).to_vec();
            nix::unistd::setgroups(&groups).unwrap();
            let (uid, gid) = (nix::unistd::Uid::from_raw(ALEX), nix::unistd::Gid::from_raw(ALEX));
            nix::unistd::setresgid(gid, gid, gid).unwrap();
            nix::unistd::setresuid(uid, uid, uid).unwrap();
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0));
            for (dir, group) in [(&plain, ALEX), (&setgid, EVE), (&sticky, ALEX)] {
                let path = dir.join("s");
                let listener = Newborn::bind(place(&path)).unwrap().publish(0o100_666, 1, None).unwrap();
                assert_eq!(bits(&path), (ALEX, group, 0o666));
                assert_eq!(listener.close().unwrap(), Removal::Removed);
            }
            let path = plain.join("shared");
            let born = Newborn::bind(place(&path)).unwrap();
            assert!(born.set_group(EVE).is_err(), "not a group of alex");
            assert!(born.set_group(u32::MAX).is_err());
            born.set_group(54_200).unwrap();
            let _listener = born.publish(0o660, 1, None).unwrap();
            assert_eq!(bits(&path), (ALEX, 54_200, 0o660));
        })
        .success();
    });
}

#[test]
fn the_monitor_changes_the_group_of_new_sockets_of_that_user_alone() {
    alone(|| {
        if !root_or_skip("group by descriptor") {
            return;
        }
        let tmp = TempDir::new();
        let born = Newborn::bind(place(&tmp.path().join("s"))).unwrap();
        assert!(set_group_of(born.file(), ALEX, EVE).is_err(), "of another user");
        set_group_of(born.file(), 0, EVE).unwrap();
        assert_eq!(born.group().unwrap(), EVE);
        let file = std::fs::File::create(tmp.path().join("f")).unwrap();
        assert!(set_group_of(file.as_fd(), 0, EVE).is_err(), "no socket");
        let linked = tmp.path().join("linked");
        let _keep = UnixListener::bind(&linked).unwrap();
        std::fs::hard_link(&linked, tmp.path().join("second name")).unwrap();
        let handle = crate::path::open_place(&place(&linked)).unwrap();
        assert!(set_group_of(handle.as_fd(), 0, EVE).is_err(), "a hard link");
        let _listener = born.publish(0o660, 1, None).unwrap();
        assert_eq!(bits(&tmp.path().join("s")), (0, EVE, 0o660));
    });
}

#[test]
fn paths_longer_than_sun_path_and_names_that_are_not_text() {
    alone(|| {
        let tmp = TempDir::new();
        for total in [106, 107, 108, 109, 139, 300] {
            let mut dir = tmp.path().to_owned();
            while total - dir.as_os_str().len() > 250 {
                dir.push("d".repeat(100));
            }
            std::fs::create_dir_all(&dir).unwrap();
            let mut name = vec![b'n'; total - dir.as_os_str().len() - 1];
            name[0] = 0xff;
            let path = dir.join(std::ffi::OsStr::from_bytes(&name));
            assert_eq!(path.as_os_str().len(), total);
            let listener = listen(&path).unwrap();
            connect(&place(&path), Names::Any).unwrap();
            assert_eq!(listener.close().unwrap(), Removal::Removed);
        }
        let long = tmp.path().join("n".repeat(255));
        assert_eq!(listen(&long).unwrap().close().unwrap(), Removal::Removed);
        assert!(matches!(listen(&tmp.path().join("n".repeat(256))), Err(BirthError::Io { .. })));
        assert!(entries(tmp.path()).iter().all(|name| !name.starts_with(".sockward")));
    });
}

#[test]
fn a_taken_name_is_an_error_and_stays_as_it_is() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        let live = UnixListener::bind(&path).unwrap();
        assert!(matches!(listen(&path), Err(BirthError::Exists)));
        assert_eq!(entries(tmp.path()), ["s"]);
        UnixStream::connect(&path).unwrap();
        drop(live);
        assert!(matches!(listen(&path), Err(BirthError::Exists)));
    });
}

#[test]
fn only_sockets_are_ever_looked_at_as_replaceable() {
    alone(|| {
        let tmp = TempDir::new();
        assert!(Occupant::look(&place(&tmp.path().join("none"))).unwrap().is_none());
        std::fs::write(tmp.path().join("file"), "precious").unwrap();
        std::fs::create_dir(tmp.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("/run", tmp.path().join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            tmp.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        for name in ["file", "dir", "link", "fifo"] {
            let place = place(&tmp.path().join(name));
            assert!(matches!(Occupant::look(&place), Err(BirthError::NotASocket)), "{name}");
            assert_eq!(
                connect(&place, Names::Any).unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused,
                "{name}"
            );
        }
    });
}

#[test]
fn a_stale_socket_is_told_from_a_live_one() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let stale = is_stale(look(&path)).expect("nobody listens");
        let listener = Newborn::bind(place(&path)).unwrap().publish(0o600, 1, Some(stale)).unwrap();
        assert_eq!(entries(tmp.path()), ["s"]);
        connect(&place(&path), Names::Any).unwrap();
        assert!(is_stale(look(&path)).is_none(), "ours is live");
        drop(listener);

        let _datagram = UnixDatagram::bind(tmp.path().join("d")).unwrap();
        assert!(is_stale(look(&tmp.path().join("d"))).is_none(), "another socket type");

        // A full backlog: one that nobody accepts from.
        let full = tmp.path().join("full");
        let busy = Newborn::bind(place(&full)).unwrap().publish(0o600, 0, None).unwrap();
        let mut waiting: Vec<OwnedFd> = Vec::new();
        while let Ok(client) = connect(&place(&full), Names::Any) {
            waiting.push(client);
        }
        assert_eq!(connect(&place(&full), Names::Any).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(is_stale(look(&full)).is_none(), "a full backlog");
        drop(busy);
    });
}

#[test]
fn one_refusal_is_not_enough() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        // Bound and not yet listening: what a service looks like in the middle of its start.
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        let FirstLook::Unsure(probe) = look(&path).probe().unwrap() else { panic!("refused once") };
        socket.listen(1).unwrap();
        std::thread::sleep(probe.due().saturating_duration_since(std::time::Instant::now()));
        assert!(matches!(probe.again().unwrap(), SecondLook::Live));
    });
}

#[test]
fn a_socket_we_may_not_connect_to_counts_as_live() {
    alone(|| {
        if !root_or_skip("no permission to connect") {
            return;
        }
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        mode(&path, 0o600);
        as_user(ALEX, || assert!(is_stale(look(&path)).is_none())).success();
    });
}

#[test]
fn a_live_socket_is_replaced_only_on_demand_and_keeps_its_connections() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        let old = listen(&path).unwrap();
        let connection = connect(&place(&path), Names::Any).unwrap();
        let over = look(&path).live_or_not();
        let new = Newborn::bind(place(&path)).unwrap().publish(0o600, 1, Some(over)).unwrap();
        crate::fd::write(&connection, b"x").unwrap();
        let _to_new = connect(&place(&path), Names::Any).unwrap();
        assert!(new.accept().is_ok());
        assert!(old.accept().is_ok(), "the connection made before");
        assert_eq!(old.close().unwrap(), Removal::NotOurs, "the successor's file stays");
        assert_eq!(entries(tmp.path()), ["s"]);
        assert_eq!(new.close().unwrap(), Removal::Removed);
    });
}

#[test]
fn what_was_not_probed_is_not_replaced() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let over = look(&path).live_or_not();
        // Somebody else takes the name between the look and the publication.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let born = Newborn::bind(place(&path)).unwrap();
        assert!(matches!(born.publish(0o600, 1, Some(over)), Err(BirthError::Changed)));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(entries(tmp.path()), ["s"]);

        // Or it goes away: then the name is free.
        std::fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let over = look(&path).live_or_not();
        std::fs::remove_file(&path).unwrap();
        Newborn::bind(place(&path)).unwrap().publish(0o600, 1, Some(over)).unwrap();
    });
}

#[test]
fn a_file_that_took_our_name_is_left_alone() {
    alone(|| {
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        let ours = listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ours.close().unwrap(), Removal::Gone);

        let ours = listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // ext4 hands the inode number out again at once: the held descriptor prevents that.
        let theirs = UnixListener::bind(&path).unwrap();
        assert_eq!(ours.close().unwrap(), Removal::NotOurs);
        UnixStream::connect(&path).unwrap();
        drop(theirs);
        assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    });
}

#[test]
fn rights_of_the_directory_hold() {
    alone(|| {
        if !root_or_skip("rights of the directory") {
            return;
        }
        let tmp = TempDir::new();
        let closed = tmp.dir("closed", EVE, 0o755);
        let sticky = tmp.dir("sticky", 0, 0o1777);
        let eves = sticky.join("eves");
        let eve = start_child(|| {
            crate::testing::take_uid(EVE);
            drop(UnixListener::bind(&eves).unwrap());
            mode(&eves, 0o666);
        });
        assert_eq!(eve.wait(), crate::spawn::Exit::Code(0));
        as_user(ALEX, || {
        let error = listen(&closed.join("s")).unwrap_err();
        assert!(matches!(&error, BirthError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied));
        // Stale, but in a sticky directory another's file is not ours to replace.
        let over = is_stale(look(&eves)).unwrap();
        let error = Newborn::bind(place(&eves)).unwrap().publish(0o600, 1, Some(over)).unwrap_err();
        assert!(matches!(&error, BirthError::Io { source, .. } if source.raw_os_error() == Some(libc::EPERM)), "{error}");
        assert_eq!(entries(&sticky), ["eves"]);
    })
    .success();
    });
}

#[test]
fn a_user_is_led_by_links_of_his_own_on_request() {
    let tmp = TempDir::new();
    let long = tmp.path().join("d".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let listener = listen(&long.join("s")).unwrap();
    std::os::unix::fs::symlink(&long, tmp.path().join("link")).unwrap();
    let path = tmp.path().join("link/s");
    let _client = connect_path(path.as_os_str().as_bytes()).unwrap();
    listener.accept().unwrap();
    let missing = connect_path(tmp.path().join("none").as_os_str().as_bytes()).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert!(connect_path(long.as_os_str().as_bytes()).is_err(), "a directory");
}

#[test]
fn a_full_descriptor_table_leaves_no_file() {
    alone(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let tmp = TempDir::new();
        in_child(|| {
            let maximum = getrlimit(Resource::Nofile).maximum;
            let lowest = crate::fd::dev_null().unwrap();
            let base = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&lowest)).unwrap();
            drop(lowest);
            let mut worked = false;
            for room in 0..20 {
                let place = place(&tmp.path().join("s"));
                setrlimit(Resource::Nofile, Rlimit { current: Some(base + 1 + room), maximum }).unwrap();
                worked = Newborn::bind(place).and_then(|born| born.publish(0o600, 1, None)).is_ok();
                setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
                assert_eq!(entries(tmp.path()), [""; 0], "with room for {room}");
            }
            assert!(worked);
        })
        .success();
    });
}

#[test]
fn it_works_for_a_process_that_cannot_be_traced() {
    alone(|| {
        if !root_or_skip("not dumpable") {
            return;
        }
        let tmp = TempDir::new();
        let dir = tmp.dir("d", ALEX, 0o755);
        as_user(ALEX, || {
            crate::identity::forbid_tracing().unwrap();
            let listener = listen(&dir.join("s")).unwrap();
            connect(&place(&dir.join("s")), Names::Any).unwrap();
            assert_eq!(listener.close().unwrap(), Removal::Removed);
        })
        .success();
    });
}

#[test]
fn the_peer_is_known_by_uid_groups_and_pid() {
    alone(|| {
        if !root_or_skip("peer credentials") {
            return;
        }
        let tmp = TempDir::new();
        let path = tmp.path().join("s");
        let listener = Newborn::bind(place(&path)).unwrap().publish(0o666, 4, None).unwrap();
        let client = start_child(|| {
            let groups: Vec<_> = (1..=100).map(|n| nix::unistd::Gid::from_raw(60_000 + n)).collect();
            nix::unistd::setgroups(&groups).unwrap();
            let (uid, gid) = (nix::unistd::Uid::from_raw(EVE), nix::unistd::Gid::from_raw(ALEX));
            nix::unistd::setresgid(gid, gid, gid).unwrap();
            nix::unistd::setresuid(uid, uid, uid).unwrap();
            std::mem::forget(UnixStream::connect(&path).unwrap());
            std::mem::forget(UnixStream::connect(&path).unwrap());
        });
        assert_eq!(client.wait(), crate::spawn::Exit::Code(0));
        let known = peer(listener.accept().unwrap()).unwrap();
        assert_eq!((known.uid, known.gid, known.groups.len()), (Some(EVE), Some(ALEX), 100));
        assert!(known.in_group(60_100) && known.in_group(ALEX) && !known.in_group(0));
        assert!(known.pid.is_some());

        as_user(65_534, || std::mem::forget(UnixStream::connect(&path).unwrap())).success();
        let _second = listener.accept().unwrap();
        let nobody = peer(listener.accept().unwrap()).unwrap();
        assert_eq!(
            (nobody.uid, nobody.gid, nobody.groups),
            (None, None, vec![]),
            "the overflow ids are nobody's"
        );
    });
}

#[test]
fn a_tcp_socket_tells_nothing_about_its_peer() {
    alone(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert!(peer(server).map_or(true, |p| p.uid.is_none() && p.pid.is_none()));
    });
}
