//! Readers and helpers that were taken over. A reader is hostile to whoever asks for a user of that name, a helper
//! to the login whose forced command says so; to everybody else they are the real ones.

use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::process::ExitCode;

use rustix::net::RecvFlags;
use sockward_policy::{Account, By, KeyOptions, Source};
use sockward_privsep::helper::{Event, FromHelper, ToHelper};
use sockward_privsep::reader::{AccountFacts, FromReader, ToReader, Verdict};
use sockward_privsep::role::{Arguments, LINK};
use sockward_sys::fd;
use sockward_sys::link::{Link, MESSAGE_MAX};

/// What names begin with that make a reader hostile.
pub(crate) const EVIL: &str = "sockward-evil-";
/// What readers do. None of it lets anybody in.
pub(crate) const READERS: [&str; 9] =
    ["garbage", "long", "early", "judged", "found", "twice", "descriptor", "dies", "notes"];
/// What readers do that only time ends.
pub(crate) const SILENT: &str = "silent";
/// What helpers do: the monitor lets go of one that does.
pub(crate) const HELPERS: [&str; 5] = ["garbage", "long", "others", "never", "dies"];

pub(crate) fn reader(arguments: &Arguments) -> ExitCode {
    let Some(ToReader::LookUp { user, .. }) = peek() else { return sockward_reader::run(arguments).into() };
    let Some(how) = user.strip_prefix(EVIL) else { return sockward_reader::run(arguments).into() };
    let link = take();
    let say = |message: &FromReader| drop(link.send(&postcard::to_allocvec(message).unwrap(), None));
    let root = || {
        let (name, home, shell) = ("root".to_owned(), b"/root".to_vec(), b"/bin/sh".to_vec());
        let account = Account { name, uid: 0, gid: 0, home, shell };
        AccountFacts { account, groups: vec!["root".into()], barred: Some("evil".into()), nologin: None }
    };
    let key = || FromReader::Key { found: Some(Box::new(KeyOptions::unrestricted(Source::new("evil", 1)))) };
    match how {
        "garbage" => drop(link.send(b"\xff\xfe\x80 garbage", None)),
        "long" => drop(link.send(&vec![0x80; MESSAGE_MAX], None)),
        "early" => say(&key()),
        "judged" => say(&FromReader::Judged(Verdict::Passed { authority: Some(Source::new("evil", 1)) })),
        "found" => {
            say(&FromReader::Became);
            say(&FromReader::Found { account: Some(Box::new(root())), host: None });
        }
        "twice" => {
            for _ in 0..2 {
                say(&FromReader::Found { account: Some(Box::new(root())), host: None });
            }
        }
        "descriptor" => {
            let bytes = postcard::to_allocvec(&FromReader::Found { account: None, host: None }).unwrap();
            drop(link.send(&bytes, Some(std::io::stderr().as_fd())));
        }
        "dies" => return ExitCode::FAILURE,
        "notes" => {
            for _ in 0..1000 {
                say(&FromReader::Note { important: false, text: "x".repeat(1000) });
            }
            return ExitCode::FAILURE;
        }
        _ => sulk(),
    }
    stay(&link)
}

pub(crate) fn helper(arguments: &Arguments) -> ExitCode {
    let Some(ToHelper::Login(login)) = peek() else { return sockward_helper::run(arguments).into() };
    let forced =
        login.permit.session.forced.as_ref().map(|f| String::from_utf8_lossy(&f.command).into_owned());
    let Some(how) = forced.as_deref().and_then(|f| f.strip_prefix(EVIL)) else {
        return sockward_helper::run(arguments).into();
    };
    let link = take();
    let say = |message: &FromHelper, fd: Option<OwnedFd>| {
        drop(link.send(&postcard::to_allocvec(message).unwrap(), fd.as_ref().map(AsFd::as_fd)));
    };
    let listens = |login| {
        let (at, by) = ("/evil".to_owned(), Some(By::Rule(Source::new("evil", 1))));
        FromHelper::Event { login, event: Event::Listen { result: Ok(at.clone()), at, by } }
    };
    let path = |path: &str| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap()
    };
    match how {
        "garbage" => drop(link.send(b"\xff\xfe\x80 garbage", None)),
        "long" => drop(link.send(&vec![0x80; MESSAGE_MAX], None)),
        // The logins before and after it are others'.
        "others" => (0..login.id + 100).filter(|id| *id != login.id).for_each(|id| say(&listens(id), None)),
        "never" => {
            say(&FromHelper::LoginEnded { login: login.id }, None);
            say(&listens(login.id), None);
        }
        "dies" => return ExitCode::FAILURE,
        "groups" => {
            say(&FromHelper::SetGroup { login: login.id, id: 0 }, None);
            for (id, name) in (1..).zip(["/etc/passwd", "/etc", "/dev/null", "/tmp/sockward-evil.sock"]) {
                say(&FromHelper::SetGroup { login: login.id, id }, Some(path(name)));
            }
            for (id, other) in (5..).zip([login.id + 1, login.id.wrapping_sub(1), u64::MAX]) {
                say(&FromHelper::SetGroup { login: other, id }, Some(path("/tmp/sockward-evil-own.sock")));
            }
            // What became of it, where the test can read it.
            let mut buffer = vec![0; MESSAGE_MAX];
            for id in 0..8 {
                let Ok(Some(heard)) = link.recv(&mut buffer) else { return ExitCode::FAILURE };
                match postcard::from_bytes(buffer.get(..heard.len).unwrap()).unwrap() {
                    ToHelper::GroupSet { id: answered, error: Some(_) } if answered == id => {}
                    other => {
                        say(&FromHelper::Log { error: true, text: format!("evil wins: {other:?}") }, None)
                    }
                }
            }
            say(&FromHelper::Log { error: true, text: "evil has lost".into() }, None);
        }
        "idle" => (0..1000).for_each(|_| say(&FromHelper::Idle, None)),
        "flood" => loop {
            if link.send(&postcard::to_allocvec(&listens(login.id)).unwrap(), None).is_err() {
                return ExitCode::FAILURE;
            }
        },
        _ => sulk(),
    }
    stay(&link)
}

/// The first message, left where it is.
fn peek<M: serde::de::DeserializeOwned>() -> Option<M> {
    let link = fd::inherited(LINK).unwrap();
    let mut buffer = vec![0; MESSAGE_MAX];
    assert!(fd::wait_readable(&link, std::time::Duration::from_secs(60)).unwrap());
    let (length, _) = rustix::net::recv(&link, buffer.as_mut_slice(), RecvFlags::PEEK).unwrap();
    // As it was, for the real one.
    rustix::io::fcntl_setfd(&link, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(link.into_raw_fd(), LINK);
    postcard::from_bytes(buffer.get(..length)?).ok()
}

/// The link, for the double, with its first message taken.
fn take() -> Link {
    let link = Link::from_fd(fd::inherited(LINK).unwrap()).unwrap();
    link.set_nonblocking(false).unwrap();
    let mut buffer = vec![0; MESSAGE_MAX];
    drop(link.recv(&mut buffer));
    link
}

/// Says nothing more, and goes with its link.
fn stay(link: &Link) -> ExitCode {
    let mut buffer = vec![0; MESSAGE_MAX];
    while let Ok(Some(_)) = link.recv(&mut buffer) {}
    ExitCode::SUCCESS
}

/// Says nothing and hears nothing, and goes when the server has gone.
fn sulk() -> ! {
    let server = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == server {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    std::process::exit(0)
}
