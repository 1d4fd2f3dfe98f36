//! Accounts, the order of the questions, and what a reader is after it has become somebody.

use sockward_test_support::missing;
use std::process::Command;

use sockward_privsep::reader::{FromReader, ToReader};
use sockward_sys::spawn::Exit;

use crate::double::{ALEX, Home, Reader, become_of, plain};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("accounts_are_looked_up_with_the_monitors_rights", accounts_are_looked_up_with_the_monitors_rights),
    ("a_peer_s_name_is_confirmed_or_not_told", a_peer_s_name_is_confirmed_or_not_told),
    ("questions_come_in_order", questions_come_in_order),
    ("a_reader_gives_its_rights_up_for_good", a_reader_gives_its_rights_up_for_good),
    ("without_root_it_becomes_itself_alone", without_root_it_becomes_itself_alone),
    ("as_an_ordinary_user", as_an_ordinary_user),
];

/// An account of the system for the time of a test.
struct Throwaway(&'static str);

impl Throwaway {
    /// None where accounts cannot be made.
    fn new(name: &'static str, more: &[&str]) -> Option<Throwaway> {
        let _ = Command::new("userdel").arg(name).output();
        let made = Command::new("useradd")
            .args(["--no-create-home", "--no-user-group"])
            .args(more)
            .arg(name)
            .status();
        made.ok().filter(std::process::ExitStatus::success).map(|_| Throwaway(name))
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(self.0).output();
    }
}

fn accounts_are_looked_up_with_the_monitors_rights() {
    let test = "accounts_are_looked_up_with_the_monitors_rights";
    if !root_or_skip(test) {
        return;
    }
    let root = Reader::look_up("root").unwrap();
    assert_eq!((root.account.uid, root.account.gid), (0, 0));
    assert!(root.groups.contains(&"root".to_owned()));
    assert_eq!(Reader::look_up("no-such-user-here"), None);
    const NAME: &str = "sockward-t1";
    let Some(account) = Throwaway::new(NAME, &["--shell", "/bin/sh"]) else {
        assert!(missing(&format!("half of {test} needs useradd to work")));
        return;
    };
    // What useradd makes is locked.
    let barred = || Reader::look_up(NAME).unwrap().barred;
    let change =
        |args: &[&str]| assert!(Command::new("usermod").args(args).arg(NAME).status().unwrap().success());
    assert_eq!(barred().as_deref(), Some("account is locked"));
    change(&["-p", "*"]);
    assert_eq!(barred(), None);
    change(&["-e", "2001-01-01"]);
    assert_eq!(barred().as_deref(), Some("account has expired"));
    change(&["-s", "/nonexistent/sh"]);
    assert_eq!(barred().as_deref(), Some("shell /nonexistent/sh does not exist"));
    drop(account);
    assert_eq!(Reader::look_up(NAME), None);
}

fn a_peer_s_name_is_confirmed_or_not_told() {
    let mut reader = Reader::start();
    let host_of = Some("127.0.0.1".parse().unwrap());
    reader.say(ToReader::LookUp { user: "root".into(), host_of });
    let Some(FromReader::Found { account: Some(_), host }) = reader.answer() else { panic!() };
    // /etc/hosts has it nearly everywhere; a machine without says why.
    match host {
        Some(name) => assert!(!name.is_empty() && reader.notes.is_empty()),
        None => assert!(reader.notes[0].starts_with("!no confirmed host name for 127.0.0.1: ")),
    }
}

fn questions_come_in_order() {
    let look_up = || ToReader::LookUp { user: "root".into(), host_of: None };
    let find = || ToReader::FindKey(Box::new(plain(b"")));
    let own = sockward_sys::identity::effective_uid();
    let home = std::path::Path::new("/nonexistent");
    let become_self = || ToReader::Become(Box::new(become_of(own, home, &[], true)));
    // The last of each is one too many.
    for questions in [
        vec![find()],
        vec![become_self()],
        vec![look_up(), look_up()],
        vec![look_up(), find()],
        vec![look_up(), become_self(), become_self()],
        vec![look_up(), become_self(), find(), find(), look_up()],
    ] {
        let mut reader = Reader::start();
        let last = questions.len() - 1;
        for (i, question) in questions.into_iter().enumerate() {
            reader.say(question);
            assert_eq!(reader.answer().is_none(), i == last, "question {i} of {last}");
        }
        assert_eq!(reader.end(), Exit::Code(1));
    }
    // The end of the link is no error.
    assert_eq!(Reader::start().end(), Exit::Code(0));
}

fn a_reader_gives_its_rights_up_for_good() {
    if !root_or_skip("a_reader_gives_its_rights_up_for_good") {
        return;
    }
    let home = Home::new(ALEX);
    let reader = Reader::of(ALEX, &home.0, &[], true);
    let pid = reader.child.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        format!("Uid:\t{ALEX}\t{ALEX}\t{ALEX}\t{ALEX}"),
        format!("Gid:\t{ALEX}\t{ALEX}\t{ALEX}\t{ALEX}"),
        format!("Groups:\t{ALEX} "),
        "CapPrm:\t0000000000000000".to_owned(),
    ] {
        assert!(status.lines().any(|l| l == line), "{line} is not in {status}");
    }
    // Nobody of that uid may look in: its entries belong to root.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    // The link alone beside the standard ones.
    assert_eq!(std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 4);
}

fn without_root_it_becomes_itself_alone() {
    if !root_or_skip("without_root_it_becomes_itself_alone") {
        return;
    }
    // A reader that is an ordinary user from the start: this binary started by one.
    let binary = std::env::current_exe().unwrap();
    let filter = ["as_an_ordinary_user"];
    let status = {
        use std::os::unix::process::CommandExt;
        Command::new(binary).args(filter).env("SOCKWARD_ORDINARY", "1").uid(ALEX).gid(ALEX).status()
    };
    match status {
        Ok(status) => assert!(status.success()),
        Err(e) => panic!("{e}"),
    }
}

/// Run by the test above, as an ordinary user.
pub(crate) fn as_an_ordinary_user() {
    if std::env::var_os("SOCKWARD_ORDINARY").is_none() {
        return;
    }
    let home = std::path::Path::new("/nonexistent");
    for (uid, becomes) in [(ALEX, true), (0, false), (ALEX + 1, false)] {
        let mut reader = Reader::start();
        reader.say(ToReader::LookUp { user: "root".into(), host_of: None });
        assert!(matches!(reader.answer(), Some(FromReader::Found { account: Some(_), .. })));
        let mut whom = become_of(uid, home, &[], true);
        // Whatever the group, such a process cannot change it.
        whom.gid = 0;
        reader.say(ToReader::Become(Box::new(whom)));
        assert_eq!(reader.answer().is_some(), becomes, "uid {uid}");
    }
}
