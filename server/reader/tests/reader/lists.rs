//! The administrator's lists: what they revoke, whom they trust, and that a list of no use revokes everything.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use sockward_privsep::reader::{FromReader, Guard, ToReader, Verdict};

use crate::double::{EVE, Home, Reader, certified, give, plain};
use crate::files::key;
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("lists_are_opened_with_the_monitors_rights", lists_are_opened_with_the_monitors_rights),
    ("a_list_of_no_use_revokes_everything", a_list_of_no_use_revokes_everything),
    ("an_authority_is_trusted_by_its_line", an_authority_is_trusted_by_its_line),
    ("the_guard_answers_nothing_else", the_guard_answers_nothing_else),
];

fn guard(revoked: &[&Path], authorities: Option<&Path>) -> Reader {
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let mut reader = Reader::start();
    reader.say(ToReader::Guard(Box::new(Guard {
        uid: EVE,
        gid: EVE,
        revoked: revoked.iter().map(|p| bytes(p)).collect(),
        authorities: authorities.map(bytes),
    })));
    assert_eq!(reader.answer(), Some(FromReader::Became));
    reader
}

fn judge(reader: &mut Reader, question: sockward_policy::Presented) -> Verdict {
    reader.say(ToReader::Judge(Box::new(question)));
    match reader.answer() {
        Some(FromReader::Judged(verdict)) => verdict,
        other => panic!("{other:?}"),
    }
}

const PASSED: Verdict = Verdict::Passed { authority: None };

fn lists_are_opened_with_the_monitors_rights() {
    if !root_or_skip("lists_are_opened_with_the_monitors_rights") {
        return;
    }
    let home = Home::new(0);
    let ((one, one_text), (two, _)) = (key(1), key(2));
    // Nobody but root can open it, and the reader is root no more when it reads it.
    let list = home.write(&format!("# revoked\n{one_text} lost\n"), 0, 0o600);
    let link = home.0.join("link");
    symlink(&list, &link).unwrap();
    let mut reader = guard(&[&link], None);
    let status = std::fs::read_to_string(format!("/proc/{}/status", reader.child.pid())).unwrap();
    assert!(status.lines().any(|l| l == format!("Uid:\t{EVE}\t{EVE}\t{EVE}\t{EVE}")), "{status}");
    for _ in 0..2 {
        assert_eq!(judge(&mut reader, plain(&one)), Verdict::Revoked);
        assert_eq!(reader.notes, [format!("!the key is revoked by file {}", link.display())]);
        assert_eq!(judge(&mut reader, plain(&two)), PASSED);
    }
    assert_eq!(judge(&mut reader, certified(&two, &one, &["alex"])), Verdict::Revoked);
    assert_eq!(
        reader.notes[0],
        format!("!the certificate's authority is revoked by file {}", link.display())
    );
}

fn a_list_of_no_use_revokes_everything() {
    if !root_or_skip("a_list_of_no_use_revokes_everything") {
        return;
    }
    let home = Home::new(0);
    let (one, one_text) = key(1);
    let file = |name: &str, content: &[u8]| {
        let path = home.0.join(name);
        std::fs::write(&path, content).unwrap();
        give(&path, 0, 0o644);
        path
    };
    let fifo = home.0.join("fifo");
    let name = CString::new(fifo.as_os_str().as_bytes()).unwrap();
    nix::unistd::mkfifo(name.as_c_str(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let huge = file("huge", b"");
    std::fs::File::options().write(true).open(&huge).unwrap().set_len(64 * 1024 * 1024 + 1).unwrap();
    let dangling = home.0.join("dangling");
    symlink(home.0.join("none"), &dangling).unwrap();
    let sound = file("sound", format!("{one_text}\n").as_bytes());
    for (path, why) in [
        (home.0.join("none"), "No such file or directory"),
        (dangling, "No such file or directory"),
        (home.0.clone(), "is not a regular file"),
        (fifo, "is not a regular file"),
        (huge, "is longer than"),
        (file("garbage", b"garbage\n"), "there is no public key in line 1"),
        (file("cut", b"SSHKRL\n\0\0\0\0\x01\0\0"), "the KRL is malformed: version"),
        (file("newer", b"SSHKRL\n\0\0\0\0\x02"), "unsupported KRL format version 2"),
    ] {
        // A sound list before it does not help.
        let mut reader = guard(&[&sound, &path], None);
        assert_eq!(judge(&mut reader, plain(&key(9).0)), Verdict::Revoked, "{}", path.display());
        assert!(reader.notes[0].contains(why), "{:?}", reader.notes);
    }
    let mut reader = guard(&[&file("empty", b"")], None);
    assert_eq!(judge(&mut reader, plain(&one)), PASSED);

    // A list that grows, or shrinks to nothing, while it is open is read as it is then.
    let list = file("list", b"# nobody\n");
    let mut reader = guard(&[&list], None);
    assert_eq!(judge(&mut reader, plain(&one)), PASSED);
    std::fs::write(&list, format!("# somebody\n{one_text}\n")).unwrap();
    assert_eq!(judge(&mut reader, plain(&one)), Verdict::Revoked);
}

fn an_authority_is_trusted_by_its_line() {
    if !root_or_skip("an_authority_is_trusted_by_its_line") {
        return;
    }
    let home = Home::new(0);
    let ((one, one_text), (two, two_text), (three, _)) = (key(1), key(2), key(3));
    let list = home.write(&format!("# ours\n\ngarbage\nrestrict {two_text}\n{one_text} ca\n"), 0, 0o600);
    let mut reader = guard(&[], Some(&list));
    let Verdict::Passed { authority: Some(at) } = judge(&mut reader, certified(&three, &one, &["alex"]))
    else {
        panic!("not trusted")
    };
    assert_eq!(at.to_string(), format!("{}:5", list.display()));
    // Options cannot stand there, a plain key is no certificate, another authority is another.
    assert_eq!(judge(&mut reader, certified(&three, &two, &["alex"])), PASSED);
    assert_eq!(judge(&mut reader, plain(&one)), PASSED);
    let mut reader = guard(&[], Some(&home.0.join("none")));
    assert_eq!(judge(&mut reader, certified(&three, &one, &["alex"])), PASSED);
    assert!(reader.notes[0].contains("No such file"), "{:?}", reader.notes);
}

fn the_guard_answers_nothing_else() {
    if !root_or_skip("the_guard_answers_nothing_else") {
        return;
    }
    let find = || ToReader::FindKey(Box::new(plain(&key(1).0)));
    let look_up = || ToReader::LookUp { user: "root".into(), host_of: None };
    for question in [find(), look_up(), ToReader::FindPrincipal { principals: vec![] }] {
        let mut reader = guard(&[], None);
        reader.say(question);
        assert_eq!(reader.answer(), None);
    }
    let mut reader = Reader::start();
    reader.say(ToReader::Judge(Box::new(plain(&key(1).0))));
    assert_eq!(reader.answer(), None, "lists nobody named");
}
