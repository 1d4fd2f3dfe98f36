//! An attacker who may write in the directories on the way, as fast as she can, against a helper and its permit:
//! what is opened or listened on is what was decided on, or nothing. SOCKWARD_RACE_ROUNDS sets the rounds.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sockward_policy::{ListKind, Origin, RuleList, Source};
use sockward_privsep::login::{Endpoint, Refusal};

use crate::double::{ALEX, EVE, Helper, TempDir, Worker, give, permit, unix};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("a_second_name_brings_in_no_other_socket", a_second_name_brings_in_no_other_socket),
    ("race_for_the_target", race_for_the_target),
    ("race_for_the_directory_of_a_listener", race_for_the_directory_of_a_listener),
];

/// The word by which this binary becomes the attacker: the word, then names that trade places by pairs.
pub(crate) const ATTACKER: &str = "attacker";

/// Trades names for as long as the test is there.
pub(crate) fn attack(names: &[OsString]) -> ! {
    let test = parent_id();
    while parent_id() == test {
        for _ in 0..1000 {
            for pair in names.chunks_exact(2) {
                let _ = renameat_with(CWD, &pair[0], CWD, &pair[1], RenameFlags::EXCHANGE);
            }
        }
    }
    std::process::exit(0)
}

/// The attacker, until it is dropped.
struct Attacker(Child);

impl Attacker {
    fn start(dir: &Path, pairs: &[(&str, &str)]) -> Attacker {
        let names = pairs.iter().flat_map(|(a, b)| [a, b]);
        let mut command = Command::new(std::env::current_exe().unwrap());
        Attacker(command.arg(ATTACKER).args(names).current_dir(dir).uid(EVE).gid(EVE).spawn().unwrap())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rounds() -> usize {
    std::env::var("SOCKWARD_RACE_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(20_000)
}

/// In memory where that is possible: an attacker gets more attempts in the same time.
fn directory() -> TempDir {
    TempDir::below(Path::new(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }))
}

fn list(kind: ListKind, paths: &[PathBuf]) -> RuleList {
    let words = paths.iter().map(|p| p.as_os_str().as_encoded_bytes());
    RuleList::parse(kind, Origin::Configuration, words, &|_| None, Source::new("config", 7)).unwrap()
}

/// A socket that the kernel lets everybody connect to.
fn serve(path: PathBuf, owner: u32) -> UnixListener {
    let listener = UnixListener::bind(&path).unwrap();
    give(&path, owner, 0o777);
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A login that may open some paths.
fn opening(paths: &[PathBuf]) -> (Helper, Worker) {
    let mut permit = permit(ALEX);
    permit.forwarding.open.push(list(ListKind::PermitOpen, paths));
    let mut helper = Helper::start(ALEX);
    let worker = helper.log_in(permit);
    (helper, worker)
}

/// The name under which the other end was bound.
fn bound_as(socket: OwnedFd) -> PathBuf {
    UnixStream::from(socket).peer_addr().unwrap().as_pathname().unwrap().to_owned()
}

fn a_second_name_brings_in_no_other_socket() {
    if !root_or_skip("a_second_name_brings_in_no_other_socket") {
        return;
    }
    let tmp = TempDir::new();
    let (secret, hers) = (tmp.dir("secret", 0, 0o755), tmp.dir("hers", EVE, 0o755));
    let _forbidden = serve(secret.join("s"), 0);
    std::fs::hard_link(secret.join("s"), hers.join("s")).unwrap();
    let (mut helper, mut worker) = opening(&[hers.join("*")]);
    let (why, text) = worker.open(unix(&hers.join("s"))).unwrap_err();
    assert!(why == Refusal::Failed && text.contains("second name"), "{text}");
    // Where every path may be opened there is nothing to go round.
    let mut anywhere = helper.log_in(permit(ALEX));
    anywhere.open(unix(&hers.join("s"))).unwrap();
    std::fs::remove_file(secret.join("s")).unwrap();
    worker.open(unix(&hers.join("s"))).unwrap();
}

/// Eve trades permitted names for links, hard links, files and directories that would lead to sockets which the
/// kernel would let alex use and the permit does not.
fn race_for_the_target() {
    if !root_or_skip("race_for_the_target") {
        return;
    }
    let tmp = directory();
    let (secret, hers) = (tmp.dir("secret", 0, 0o755), tmp.dir("hers", EVE, 0o755));
    let own = hers.join("d");
    std::fs::create_dir(&own).unwrap();
    give(&own, EVE, 0o755);
    let permitted = [serve(hers.join("a"), EVE), serve(hers.join("b"), EVE), serve(own.join("s"), EVE)];
    let forbidden = [serve(secret.join("s"), 0), serve(tmp.path().join("a"), 0)];
    symlink(secret.join("s"), hers.join("link")).unwrap();
    symlink(&secret, hers.join("dlink")).unwrap();
    std::fs::hard_link(secret.join("s"), hers.join("hard")).unwrap();
    std::fs::write(hers.join("file"), "").unwrap();
    for name in ["link", "dlink", "file"] {
        lchown(hers.join(name), Some(EVE), Some(EVE)).unwrap();
    }
    let (_helper, mut worker) = opening(&[hers.join("a"), hers.join("b"), own.join("s")]);
    let pairs = [("a", "link"), ("b", "hard"), ("d", "dlink"), ("a", "file"), ("b", "file")];
    let attacker = Attacker::start(&hers, &pairs);
    let asked = [hers.join("a"), hers.join("b"), own.join("s"), own.join("../a")];
    let (mut opened, mut refused) = ([0_usize; 4], [0_usize; 4]);
    let mut round = 0;
    while round < rounds() || (opened.contains(&0) || refused.contains(&0)) && round < 1_000_000 {
        let n = round % asked.len();
        match worker.open(unix(&asked[n])) {
            Ok(socket) => {
                opened[n] += 1;
                let name = bound_as(socket);
                assert!(name.starts_with(&hers), "led to {}", name.display());
            }
            Err(_) => refused[n] += 1,
        }
        round += 1;
        // Backlogs end somewhere.
        for listener in &permitted {
            let _ = listener.accept();
        }
    }
    drop(attacker);
    assert!(!opened.contains(&0) && !refused.contains(&0), "no race: {opened:?} {refused:?}");
    for listener in forbidden {
        assert!(listener.accept().is_err(), "somebody got through");
    }
}

/// Eve trades the directory to listen in for a link to one in which alex could write and may not listen.
fn race_for_the_directory_of_a_listener() {
    if !root_or_skip("race_for_the_directory_of_a_listener") {
        return;
    }
    let tmp = directory();
    let (secret, hers) = (tmp.dir("secret", ALEX, 0o777), tmp.dir("hers", EVE, 0o777));
    let own = hers.join("d");
    std::fs::create_dir(&own).unwrap();
    give(&own, EVE, 0o3777);
    symlink(&secret, hers.join("link")).unwrap();
    lchown(hers.join("link"), Some(EVE), Some(EVE)).unwrap();
    let mut permit = permit(ALEX);
    permit.forwarding.listen.push(list(ListKind::PermitListen, &[own.join("*"), hers.join("up")]));
    let mut helper = Helper::start(ALEX);
    let mut worker = helper.log_in(permit);
    let attacker = Attacker::start(&hers, &[("d", "link")]);
    let asked: [Endpoint; 2] = [unix(&own.join("s")), unix(&own.join("../up"))];
    let (mut listened, mut refused) = ([0_usize; 2], [0_usize; 2]);
    let mut round = 0;
    while round < rounds() || (listened.contains(&0) || refused.contains(&0)) && round < 1_000_000 {
        let n = round % 2;
        match worker.listen(asked[n].clone()) {
            Ok(_) => {
                listened[n] += 1;
                worker.unlisten(asked[n].clone()).unwrap();
            }
            Err(_) => refused[n] += 1,
        }
        round += 1;
        // What is said of it is read, or the helper would hold it.
        helper.drain();
        helper.events.clear();
    }
    drop(attacker);
    assert!(!listened.contains(&0) && !refused.contains(&0), "no race: {listened:?} {refused:?}");
    assert_eq!(std::fs::read_dir(&secret).unwrap().count(), 0, "something was made elsewhere");
    let left = [own, hers.join("link")].into_iter().find(|d| !d.is_symlink()).unwrap();
    assert_eq!(std::fs::read_dir(left).unwrap().count(), 0, "something is left over");
    assert_eq!(std::fs::read_dir(&hers).unwrap().count(), 2);
}
