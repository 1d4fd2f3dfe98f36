//! Sockets in the file system: what a listener looks like, what it replaces, when its file goes.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use sockward_policy::{Permit, Unlink};
use sockward_privsep::helper::{Event, Peer};
use sockward_privsep::login::{Answer, Refusal, Request};
use sockward_sys::path::Place;
use sockward_sys::unix::Newborn;

use crate::double::{
    ALEX, Helper, TempDir, Worker, assert_joined, give, named, permit, read_all, unix, wait_for,
};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("a_listener_is_the_users_and_has_its_mode", a_listener_is_the_users_and_has_its_mode),
    ("names_without_a_slash_are_in_the_home", names_without_a_slash_are_in_the_home),
    ("a_stale_socket_is_replaced_and_nothing_else", a_stale_socket_is_replaced_and_nothing_else),
    ("unlink_yes_replaces_live_sockets_and_no_nothing", unlink_yes_replaces_live_sockets_and_no_nothing),
    ("a_probe_keeps_nobody_waiting", a_probe_keeps_nobody_waiting),
    ("only_ones_own_file_is_removed", only_ones_own_file_is_removed),
    ("two_logins_do_not_fight_for_a_name", two_logins_do_not_fight_for_a_name),
    ("a_silent_holder_loses_its_name", a_silent_holder_loses_its_name),
    ("targets_in_the_file_system_are_connected_to", targets_in_the_file_system_are_connected_to),
    ("a_full_backlog_is_waited_for", a_full_backlog_is_waited_for),
    ("long_and_odd_names_work", long_and_odd_names_work),
];

struct Scene {
    helper: Helper,
    worker: Worker,
    tmp: TempDir,
}

/// A helper of alex, one login, and a directory of hers.
fn scene(change: impl FnOnce(&mut Permit, &Path)) -> Option<(Scene, std::path::PathBuf)> {
    if !root_or_skip("a test of sockets") {
        return None;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let mut helper = Helper::start(ALEX);
    let mut permit = permit(ALEX);
    change(&mut permit, &dir);
    let worker = helper.log_in(permit);
    Some((Scene { helper, worker, tmp }, dir))
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn a_listener_is_the_users_and_has_its_mode() {
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(|p, _| p.birth.mode = 0o640) else {
        return;
    };
    let path = dir.join("s");
    let (listener, port) = worker.listen(unix(&path)).unwrap();
    assert_eq!(port, None);
    let metadata = std::fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (ALEX, ALEX, 0o640));
    assert_eq!(names_in(&dir), ["s"]);
    let client = UnixStream::connect(&path).unwrap();
    let (of, connection, origin, socket) = worker.accepted();
    assert_eq!((of, origin), (listener, None));
    assert_joined(&socket, &client.into());
    let (at, peer) = helper.event(|e| match e {
        Event::Connection { at, peer, refused: None, .. } => Some((at.clone(), peer.clone())),
        _ => None,
    });
    let pid = i32::try_from(std::process::id()).unwrap();
    let Peer::Process { uid, gid, pid: from, command, .. } = peer else { panic!("{peer:?}") };
    assert_eq!((uid, gid, from), (Some(0), Some(0), Some(pid)));
    assert!(command.is_some());
    assert_eq!(at, path.to_str().unwrap());
    assert!(connection > 0);
    assert_eq!(worker.unlisten(unix(&path)), Ok(listener));
    assert!(names_in(&dir).is_empty());
    // The connection stays: it is the worker's.
    let (a, b) = (socket, UnixStream::connect(&path).unwrap_err());
    assert_eq!(b.kind(), std::io::ErrorKind::NotFound);
    drop(a);
}

fn names_without_a_slash_are_in_the_home() {
    let home = |p: &mut Permit, dir: &Path| p.account.home = dir.as_os_str().as_encoded_bytes().to_vec();
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(home) else { return };
    worker.listen(named("a.sock")).unwrap();
    worker.listen(named("~/b.sock")).unwrap();
    assert_eq!(names_in(&dir), ["a.sock", "b.sock"]);
    let target = worker.open(named("~/a.sock")).unwrap();
    assert_joined(&worker.accepted().3, &target);
    let real = helper.event(|e| match e {
        Event::Listen { at, result: Ok(real), .. } if at == "~/b.sock" => Some(real.clone()),
        _ => None,
    });
    assert_eq!(real, dir.join("b.sock").to_str().unwrap());
    // As it was asked for, and not otherwise.
    assert!(worker.unlisten(unix(&dir.join("a.sock"))).is_err());
    worker.unlisten(named("a.sock")).unwrap();
    assert_eq!(names_in(&dir), ["b.sock"]);
}

fn a_stale_socket_is_replaced_and_nothing_else() {
    let Some((Scene { helper: _helper, mut worker, tmp }, dir)) = scene(|_, _| {}) else { return };
    let path = dir.join("s");
    drop(UnixListener::bind(&path).unwrap());
    give(&path, ALEX, 0o600);
    let old = std::fs::symlink_metadata(&path).unwrap();
    let (listener, _) = worker.listen(unix(&path)).unwrap();
    assert_ne!(std::fs::symlink_metadata(&path).unwrap().ctime_nsec(), old.ctime_nsec());
    drop(UnixStream::connect(&path).unwrap());
    assert_eq!(worker.accepted().0, listener);
    worker.unlisten(unix(&path)).unwrap();

    let live = UnixListener::bind(&path).unwrap();
    give(&path, ALEX, 0o600);
    let refused = worker.listen(unix(&path)).unwrap_err();
    assert_eq!(refused, (Refusal::Failed, "somebody listens there already".into()));
    drop(UnixStream::connect(&path).unwrap());
    drop(live);
    std::fs::remove_file(&path).unwrap();

    let outside = tmp.path().join("outside");
    drop(UnixListener::bind(&outside).unwrap());
    for make in [
        &(|| std::fs::write(&path, "mine").unwrap()) as &dyn Fn(),
        &|| std::fs::create_dir(&path).unwrap(),
        &|| symlink(&outside, &path).unwrap(),
        &|| symlink("/nonexistent", &path).unwrap(),
    ] {
        make();
        let (why, text) = worker.listen(unix(&path)).unwrap_err();
        assert_eq!((why, text.as_str()), (Refusal::Failed, "a file that is not a socket has that name"));
        assert_eq!(names_in(&dir), ["s"], "nothing is left beside it");
        std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path)).unwrap();
    }
    assert!(outside.exists());
}

fn unlink_yes_replaces_live_sockets_and_no_nothing() {
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(|p, _| p.birth.unlink = Unlink::Yes)
    else {
        return;
    };
    let path = dir.join("s");
    let _live = UnixListener::bind(&path).unwrap();
    give(&path, ALEX, 0o600);
    worker.listen(unix(&path)).unwrap();
    drop(UnixStream::connect(&path).unwrap());
    worker.accepted();
    std::fs::write(dir.join("file"), "").unwrap();
    assert!(worker.listen(unix(&dir.join("file"))).is_err());
    worker.unlisten(unix(&path)).unwrap();

    let mut permit = permit(ALEX);
    permit.birth.unlink = Unlink::No;
    let mut strict = helper.log_in(permit);
    drop(UnixListener::bind(&path).unwrap());
    let refused = strict.listen(unix(&path)).unwrap_err();
    assert_eq!(refused, (Refusal::Failed, "a file of that name exists".into()));
    std::fs::remove_file(&path).unwrap();
    strict.listen(unix(&path)).unwrap();
}

fn a_probe_keeps_nobody_waiting() {
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(|_, _| {}) else { return };
    let stale = |name: &str| {
        let path = dir.join(name);
        drop(UnixListener::bind(&path).unwrap());
        give(&path, ALEX, 0o600);
        path
    };
    let first = stale("first");
    let asked = worker.ask(|id| Request::Listen { id, at: unix(&first) });
    // What is asked later is answered first: the same login's, and another's.
    let mut other = helper.log_in(permit(ALEX));
    other.listen(unix(&dir.join("other"))).unwrap();
    let listen = worker.ask(|id| Request::Listen { id, at: unix(&dir.join("second")) });
    let Some((answer, None)) = worker.answer() else { panic!() };
    assert!(
        matches!(answer, sockward_privsep::login::Answer::Listening { id, .. } if id == listen),
        "{answer:?}"
    );
    worker.listening(asked).unwrap();
    // A login that ends meanwhile leaves what was there.
    let third = stale("third");
    let inode = std::fs::symlink_metadata(&third).unwrap().ino();
    worker.ask(|id| Request::Listen { id, at: unix(&third) });
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    assert_eq!(names_in(&dir), ["other", "third"]);
    assert_eq!(std::fs::symlink_metadata(&third).unwrap().ino(), inode);
    // And holds its name no more.
    other.listen(unix(&third)).unwrap();
}

fn only_ones_own_file_is_removed() {
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(|_, _| {}) else { return };
    let paths: Vec<_> = ["a", "b", "c"].map(|n| dir.join(n)).to_vec();
    for path in &paths {
        worker.listen(unix(path)).unwrap();
    }
    // One is gone, one is another's by now, one is ours.
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    let _other = UnixListener::bind(&paths[1]).unwrap();
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    assert_eq!(names_in(&dir), ["b"]);
    drop(UnixStream::connect(&paths[1]).unwrap());
    assert!(helper.errors.is_empty(), "{:?}", helper.errors);
}

fn two_logins_do_not_fight_for_a_name() {
    let Some((Scene { mut helper, mut worker, tmp }, dir)) = scene(|_, _| {}) else { return };
    let path = dir.join("s");
    worker.listen(unix(&path)).unwrap();
    let mut greedy = permit(ALEX);
    greedy.birth.unlink = Unlink::Yes;
    let mut other = helper.log_in(greedy);
    let conflict = "another session of this user listens there (StreamLocalConflict)";
    // By whatever way to the same place.
    let around = tmp.path().join("around");
    symlink(&dir, &around).unwrap();
    for at in [path.clone(), dir.join("./s"), dir.join("../alex/s"), around.join("s")] {
        let id = other.ask(|id| Request::Listen { id, at: unix(&at) });
        // The holder's client is asked, and is there.
        worker.find(|answer, fd| if answer == Answer::AskAlive { Ok(()) } else { Err((answer, fd)) });
        worker.link.say(&Request::Alive, None).unwrap();
        assert_eq!(other.listening(id).unwrap_err(), (Refusal::Failed, conflict.into()), "{at:?}");
        // A sign of life that nobody waits for changes nothing.
        worker.link.say(&Request::Alive, None).unwrap();
    }
    // The same login has it already, however it is spelt.
    assert_eq!(worker.listen(unix(&dir.join("./s"))).unwrap_err(), (Refusal::Failed, conflict.into()));
    drop(UnixStream::connect(&path).unwrap());
    worker.accepted();
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    other.listen(unix(&path)).unwrap();
    drop(UnixStream::connect(&path).unwrap());
    other.accepted();
}

/// A lost connection of the same user does not keep its names.
fn a_silent_holder_loses_its_name() {
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(|_, _| {}) else { return };
    let path = dir.join("s");
    worker.listen(unix(&path)).unwrap();
    worker.listen(unix(&dir.join("kept"))).unwrap();
    let mut other = helper.log_in(permit(ALEX));
    let asked = std::time::Instant::now();
    other.listen(unix(&path)).unwrap();
    assert!(asked.elapsed() >= std::time::Duration::from_secs(5));
    drop(UnixStream::connect(&path).unwrap());
    other.accepted();
    assert_eq!(names_in(&dir), ["kept", "s"]);
    // What it had otherwise it still has, and it is still a login.
    drop(UnixStream::connect(dir.join("kept")).unwrap());
    worker.accepted();
    assert_eq!(worker.unlisten(unix(&path)).unwrap_err().0, Refusal::Failed);
    let ended = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&ended));
    drop(UnixStream::connect(&path).unwrap());
    other.accepted();
}

fn targets_in_the_file_system_are_connected_to() {
    let Some((Scene { mut helper, mut worker, tmp }, dir)) = scene(|_, _| {}) else { return };
    let path = dir.join("s");
    let target = UnixListener::bind(&path).unwrap();
    give(&path, ALEX, 0o600);
    let socket = worker.open(unix(&path)).unwrap();
    let (other, _) = target.accept().unwrap();
    // The kernel knows whose it is.
    let peer = sockward_sys::unix::peer(&other).unwrap();
    assert_eq!((peer.uid, peer.gid, peer.pid), (Some(ALEX), Some(ALEX), Some(helper.pid())));
    assert_joined(&socket, &other.into());
    // Links of root's in root's directories are followed, others are not.
    symlink(&path, tmp.path().join("link")).unwrap();
    worker.open(unix(&tmp.path().join("link"))).unwrap();
    symlink(&path, dir.join("link")).unwrap();
    let (why, text) = worker.open(unix(&dir.join("link"))).unwrap_err();
    assert!(why == Refusal::Failed && text.contains("symbolic link") && !text.contains("alex"), "{text}");
    drop(target);
    std::fs::write(dir.join("file"), "").unwrap();
    for (name, text) in [
        ("s", "Connection refused"),
        ("file", "not a socket"),
        ("none", "No such file or directory"),
        ("none/s", "No such file or directory"),
        ("file/s", "Not a directory"),
    ] {
        assert_eq!(worker.open(unix(&dir.join(name))).unwrap_err(), (Refusal::Failed, text.into()), "{name}");
    }
    for odd in ["", "a\0b", "/", "..", "/tmp/.."] {
        assert_eq!(worker.open(named(odd)).unwrap_err().0, Refusal::Failed, "{odd:?}");
    }
    let log = helper.event(|e| match e {
        Event::Open { target, result: Err(why), .. } if target.ends_with("/link") => Some(why.clone()),
        _ => None,
    });
    assert!(log.contains(dir.to_str().unwrap()), "{log}");
}

fn a_full_backlog_is_waited_for() {
    let Some((Scene { mut helper, mut worker, tmp: _tmp }, dir)) = scene(|_, _| {}) else { return };
    let path = dir.join("s");
    let place = Place::for_new(path.as_os_str().as_encoded_bytes()).unwrap();
    // Room for one connection.
    let target = Newborn::bind(place).unwrap().publish(0o666, 0, None).unwrap();
    let first = worker.open(unix(&path)).unwrap();
    let waiting: Vec<_> =
        (0..20).map(|_| worker.ask(|id| Request::Open { id, target: unix(&path) })).collect();
    // Others go on meanwhile.
    let mut other = helper.log_in(permit(ALEX));
    other.listen(unix(&dir.join("other"))).unwrap();
    let accepted = std::cell::RefCell::new(Vec::new());
    wait_for("all are accepted", || {
        accepted.borrow_mut().extend(target.accept());
        accepted.borrow().len() == 21
    });
    drop(first);
    for id in waiting {
        worker.opened(id).unwrap();
    }
}

fn long_and_odd_names_work() {
    let Some((Scene { helper: _helper, mut worker, tmp: _tmp }, dir)) = scene(|_, _| {}) else { return };
    let mut deep = dir.clone();
    for _ in 0..3 {
        deep.push("d".repeat(100));
        std::fs::create_dir(&deep).unwrap();
        give(&deep, ALEX, 0o755);
    }
    let long = deep.join("n".repeat(255));
    worker.listen(unix(&long)).unwrap();
    let socket = worker.open(unix(&long)).unwrap();
    assert_joined(&worker.accepted().3, &socket);
    let odd = dir.join(std::ffi::OsStr::new("odd \n\t\"name"));
    worker.listen(unix(&odd)).unwrap();
    let mut bytes = dir.as_os_str().as_encoded_bytes().to_vec();
    bytes.extend(b"/\xff\xfe");
    let at = sockward_privsep::login::Endpoint::Path(bytes);
    worker.listen(at.clone()).unwrap();
    let socket = worker.open(at).unwrap();
    drop(worker.accepted());
    assert_eq!(read_all(&socket), "");
    let (why, _) = worker.listen(unix(&dir.join("n".repeat(256)))).unwrap_err();
    assert_eq!(why, Refusal::Failed);
    let (why, _) = worker.listen(named(&format!("/{}", "x/".repeat(3000)))).unwrap_err();
    assert_eq!(why, Refusal::Failed);
}
