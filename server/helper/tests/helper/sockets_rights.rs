//! Sockets in the file system: who may. The kernel by the user's rights, the permit by its lists, the peers of a
//! listener, the group.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use sockward_policy::{By, ListKind, Origin, Permit, RuleList, SocketGroup, Source};
use sockward_privsep::helper::{Event, ToHelper};
use sockward_privsep::login::Refusal;
use sockward_sys::unix as sys_unix;

use crate::double::{ALEX, EVE, Helper, Refused, TempDir, Worker, give, permit, tcp, unix};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("the_kernel_refuses_what_the_user_may_not", the_kernel_refuses_what_the_user_may_not),
    ("lists_of_paths_hold_both_ways", lists_of_paths_hold_both_ways),
    ("what_is_not_listed_is_not_told_of", what_is_not_listed_is_not_told_of),
    ("a_group_of_the_users_own_is_set", a_group_of_the_users_own_is_set),
    ("another_group_is_the_monitors_to_set", another_group_is_the_monitors_to_set),
];

/// A group that every Debian has, and its only member where a test needs one.
const DAEMON: (&str, u32) = ("daemon", 1);

fn denied() -> Refused {
    (Refusal::Failed, "Permission denied".into())
}

fn list(kind: ListKind, words: &str) -> RuleList {
    let words = words.split_whitespace().map(str::as_bytes);
    RuleList::parse(kind, Origin::Configuration, words, &|_| None, Source::new("config", 7)).unwrap()
}

fn the_kernel_refuses_what_the_user_may_not() {
    if !root_or_skip("the_kernel_refuses_what_the_user_may_not") {
        return;
    }
    let tmp = TempDir::new();
    let (closed, open) = (tmp.dir("closed", EVE, 0o700), tmp.dir("open", EVE, 0o755));
    let _targets: Vec<_> = [(&closed, 0o666), (&open, 0o600)]
        .map(|(dir, mode)| {
            let path = dir.join("s");
            let target = UnixListener::bind(&path).unwrap();
            give(&path, EVE, mode);
            target
        })
        .into();
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit(ALEX));
    for dir in [&closed, &open] {
        assert_eq!(worker.open(unix(&dir.join("s"))).unwrap_err(), denied());
        let (why, text) = worker.listen(unix(&dir.join("new"))).unwrap_err();
        assert!(why == Refusal::Failed && text.ends_with("Permission denied"), "{text}");
    }
    // A socket that may not be connected to is live, not stale.
    let sticky = tmp.dir("sticky", 0, 0o1777);
    let path = sticky.join("s");
    drop(UnixListener::bind(&path).unwrap());
    give(&path, EVE, 0o600);
    let refused = worker.listen(unix(&path)).unwrap_err();
    assert_eq!(refused, (Refusal::Failed, "somebody listens there already".into()));
    // One that may be is stale, but not the user's to replace.
    give(&path, EVE, 0o666);
    assert_eq!(worker.listen(unix(&path)).unwrap_err().0, Refusal::Failed);
    assert_eq!(std::fs::metadata(&path).unwrap().uid(), EVE);
    assert_eq!(std::fs::read_dir(&sticky).unwrap().count(), 1, "nothing is left beside it");
    // The other way round.
    worker.listen(unix(&sticky.join("alex"))).unwrap();
    let mut eve = Helper::start(EVE);
    let mut of_eve = eve.log_in(permit(EVE));
    assert_eq!(of_eve.open(unix(&sticky.join("alex"))).unwrap_err(), denied());
    assert_eq!(of_eve.listen(unix(&sticky.join("alex"))).unwrap_err().0, Refusal::Failed);
    assert!(of_eve.open(unix(&closed.join("s"))).is_ok());
}

/// A permit whose lists name some paths, a directory of alex's, and what can be opened in it.
fn listed(open: &str, listen: &str) -> Option<(Helper, Worker, TempDir, PathBuf, UnixListener)> {
    if !root_or_skip("lists of paths") {
        return None;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let target = UnixListener::bind(dir.join("target")).unwrap();
    give(&dir.join("target"), ALEX, 0o600);
    let mut permit: Permit = permit(ALEX);
    let words = |text: &str| text.replace("DIR", dir.to_str().unwrap());
    permit.forwarding.open.push(list(ListKind::PermitOpen, &words(open)));
    permit.forwarding.listen.push(list(ListKind::PermitListen, &words(listen)));
    let mut helper = Helper::start(ALEX);
    let worker = helper.log_in(permit);
    Some((helper, worker, tmp, dir, target))
}

fn lists_of_paths_hold_both_ways() {
    let Some((mut helper, mut worker, tmp, dir, _target)) = listed("DIR/targ*", "DIR/%u-*.sock DIR/%U")
    else {
        return;
    };
    let not_listed = |list| (Refusal::Prohibited, format!("not in the server's list ({list})"));
    worker.open(unix(&dir.join("target"))).unwrap();
    assert_eq!(worker.open(unix(&dir.join("other"))).unwrap_err(), not_listed("PermitOpen"));
    // A list of paths names no port.
    assert_eq!(worker.open(tcp("127.0.0.1", 1)).unwrap_err(), not_listed("PermitOpen"));
    assert_eq!(worker.listen(tcp("localhost", 0)).unwrap_err(), not_listed("PermitListen"));
    worker.listen(unix(&dir.join("alex-1.sock"))).unwrap();
    worker.listen(unix(&dir.join(ALEX.to_string()))).unwrap();
    for name in ["alex-1", "eve-1.sock", "alex-x/y.sock", "target", "../alex-1.sock"] {
        assert_eq!(worker.listen(unix(&dir.join(name))).unwrap_err(), not_listed("PermitListen"), "{name}");
    }
    // What is resolved counts, on both sides: dots lead nowhere else, and a link of the user's nowhere at all.
    worker.listen(unix(&dir.join("../alex/./alex-2.sock"))).unwrap();
    let elsewhere = tmp.dir("elsewhere", ALEX, 0o755);
    std::os::unix::fs::symlink(&elsewhere, dir.join("link")).unwrap();
    std::os::unix::fs::lchown(dir.join("link"), Some(ALEX), None).unwrap();
    assert_eq!(worker.listen(unix(&dir.join("link/alex-3.sock"))).unwrap_err(), not_listed("PermitListen"));
    let by = helper.event(|e| match e {
        Event::Listen { at, result: Err(_), by } if at.ends_with("eve-1.sock") => Some(by.clone()),
        _ => None,
    });
    assert_eq!(by, Some(By::Rule(Source::new("config", 7))));
}

fn what_is_not_listed_is_not_told_of() {
    let Some((_helper, mut worker, tmp, dir, _target)) = listed("DIR/missing/*.sock", "DIR/missing/*.sock")
    else {
        return;
    };
    let closed = tmp.dir("closed", EVE, 0o700);
    // There or not, searchable or not: the answer is the same.
    for path in [
        dir.join("target"),
        dir.join("none"),
        dir.join("none/x"),
        closed.join("x"),
        Path::new("/x/..").into(),
    ] {
        let refused = worker.open(unix(&path)).unwrap_err();
        assert_eq!(
            refused,
            (Refusal::Prohibited, "not in the server's list (PermitOpen)".into()),
            "{path:?}"
        );
    }
    // What is listed may be told of.
    let missing = worker.open(unix(&dir.join("missing/x.sock"))).unwrap_err();
    assert_eq!(missing, (Refusal::Failed, "No such file or directory".into()));
    assert_eq!(worker.listen(unix(&dir.join("missing/x.sock"))).unwrap_err(), missing);
}

fn group(name: &str, by_administrator: bool) -> Option<SocketGroup> {
    let gid = (by_administrator && name == DAEMON.0).then_some(DAEMON.1);
    Some(SocketGroup { name: name.into(), gid, by_administrator, source: Source::new("config", 5) })
}

fn a_group_of_the_users_own_is_set() {
    if !root_or_skip("a_group_of_the_users_own_is_set") {
        return;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o2755);
    let mut helper = Helper::start_with(ALEX, DAEMON.1);
    for by_administrator in [true, false] {
        let mut permit = permit(ALEX);
        permit.birth.group = group(DAEMON.0, by_administrator);
        permit.birth.mode = 0o660;
        let mut worker = helper.log_in(permit);
        let path = dir.join(by_administrator.to_string());
        worker.listen(unix(&path)).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (ALEX, DAEMON.1, 0o660));
        assert!(helper.groups.is_empty());
    }
}

fn another_group_is_the_monitors_to_set() {
    if !root_or_skip("another_group_is_the_monitors_to_set") {
        return;
    }
    let tmp = TempDir::new();
    let dir = tmp.dir("alex", ALEX, 0o755);
    let mut helper = Helper::start(ALEX);
    let path = dir.join("s");
    let nothing_there = || std::fs::read_dir(&dir).unwrap().count() == 0;
    let asked = |helper: &mut Helper| {
        let mut permit = permit(ALEX);
        permit.birth.group = group(DAEMON.0, true);
        permit.birth.mode = 0o660;
        let mut worker = helper.log_in(permit);
        let id = worker.ask(|id| sockward_privsep::login::Request::Listen { id, at: unix(&path) });
        helper.until(|h| !h.groups.is_empty());
        let (question, file) = helper.groups.pop_front().unwrap();
        assert!(!path.exists(), "it has its name before its group");
        (worker, id, question, file)
    };
    let answer = |helper: &mut Helper, id, error: Option<&str>| {
        helper.link.say(&ToHelper::GroupSet { id, error: error.map(str::to_owned) }, None).unwrap();
    };
    let no = (Refusal::Failed, "the group of the socket cannot be set (StreamLocalBindGroup)".to_owned());

    let (mut worker, id, question, file) = asked(&mut helper);
    sys_unix::set_group_of(std::os::fd::AsFd::as_fd(&file), ALEX, DAEMON.1).unwrap();
    answer(&mut helper, question, None);
    worker.listening(id).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (ALEX, DAEMON.1, 0o660));
    drop(UnixStream::connect(&path).unwrap());
    worker.accepted();
    worker.unlisten(unix(&path)).unwrap();

    let (mut worker, id, question, _file) = asked(&mut helper);
    answer(&mut helper, question, Some("cannot yet"));
    assert_eq!(worker.listening(id).unwrap_err(), no);
    assert!(nothing_there());
    let log = helper.event(|e| match e {
        Event::Listen { result: Err(why), .. } => Some(why.clone()),
        _ => None,
    });
    assert!(log.ends_with("cannot yet"), "{log}");

    // Said to be done, and not done.
    let (mut worker, id, question, _file) = asked(&mut helper);
    answer(&mut helper, question, None);
    assert_eq!(worker.listening(id).unwrap_err(), no);
    assert!(nothing_there());

    // The login ends meanwhile; the answer comes late.
    let (worker, _, question, _file) = asked(&mut helper);
    let login = worker.login;
    drop(worker);
    helper.until(|h| h.ended.contains(&login));
    assert!(nothing_there());
    answer(&mut helper, question, None);
    answer(&mut helper, 77, None);

    // What a key asks for is not the monitor's to give; what does not exist is nobody's.
    for (name, by_administrator, why) in
        [(DAEMON.0, false, Refusal::Prohibited), ("no-such-group", true, Refusal::Failed)]
    {
        let mut permit = permit(ALEX);
        permit.birth.group = group(name, by_administrator);
        let mut worker = helper.log_in(permit);
        assert_eq!(worker.listen(unix(&path)).unwrap_err().0, why);
        assert!(nothing_there() && helper.groups.is_empty());
    }
}
