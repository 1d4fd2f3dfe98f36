//! authorized_keys: which line counts, and which files are read.

use std::os::unix::fs::symlink;
use std::path::Path;

use sockward_policy::KeyOptions;
use sockward_privsep::reader::ToReader;

use crate::double::{ALEX, EVE, Home, Reader, become_of, certified, give};
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("the_first_line_that_admits_the_key_counts", the_first_line_that_admits_the_key_counts),
    (
        "files_are_read_in_order_and_anew_for_each_question",
        files_are_read_in_order_and_anew_for_each_question,
    ),
    ("a_certificate_is_found_by_its_authority", a_certificate_is_found_by_its_authority),
    ("principals_stand_in_a_file_with_their_options", principals_stand_in_a_file_with_their_options),
    ("strict_modes_refuse_what_others_can_write", strict_modes_refuse_what_others_can_write),
    ("files_are_read_with_the_users_rights", files_are_read_with_the_users_rights),
    ("links_are_judged_by_where_they_lead", links_are_judged_by_where_they_lead),
    ("what_is_no_small_regular_file_is_passed_over", what_is_no_small_regular_file_is_passed_over),
];

/// ssh-ed25519 keys that differ in their last byte, as blob and as text.
pub(crate) fn key(last: u8) -> (Vec<u8>, String) {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([last; 32]);
    let text = format!("ssh-ed25519 {}", base64(&blob));
    (blob, text)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().chain([&0; 2]).take(3).fold(0u32, |n, &b| n << 8 | u32::from(b));
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

fn line_of(found: Option<KeyOptions>) -> Option<u32> {
    found.map(|options| options.source.line)
}

fn the_first_line_that_admits_the_key_counts() {
    if !root_or_skip("the_first_line_that_admits_the_key_counts") {
        return;
    }
    let home = Home::new(ALEX);
    let ((one, one_text), (two, two_text), (three, _)) = (key(1), key(2), key(3));
    let file = format!(
        "# keys\n\
         garbage\n\
         from=\"192.0.2.0/24\" {one_text}\n\
         frobnicate {one_text}\n\
         cert-authority {one_text}\n\
         expiry-time=\"19990101Z\" {one_text}\n\
         command=\"true\",restrict {one_text} alex@home\n\
         {one_text}\n\
         from=\"127.0.0.0/8\",environment=\"A=b\" {two_text}\n"
    );
    let keys = home.write(&file, ALEX, 0o600);
    let mut reader = Reader::of(ALEX, &home.0, &[&keys], true);
    let found = reader.find(&one).unwrap();
    assert_eq!((found.source.line, found.source.file.as_str()), (7, keys.to_str().unwrap()));
    assert_eq!((found.forced_command.as_deref(), found.port_forwarding), (Some(&b"true"[..]), false));
    let at = |line| format!("{}:{line}", keys.display());
    let expected = [
        format!(
            "!key refused at {}: the key's from= does not name the host it is used from (host=localhost)",
            at(3)
        ),
        format!("!key refused at {}: unknown key option 'frobnicate'", at(4)),
        format!("!key refused at {}: the key's expiry-time is over (host=localhost)", at(6)),
        format!("{}: there is no public key in the line", at(2)),
        format!("{}: the key is a certificate authority, not one to log in with", at(5)),
        format!("key found at {}", at(7)),
    ];
    assert_eq!(reader.notes, expected);
    assert_eq!(line_of(reader.find(&two)), Some(9));
    assert_eq!(line_of(reader.find(&three)), None);
    for nonsense in [&b""[..], b"\0\0\0\x0bssh-ed25519", &[0xff; 100]] {
        assert_eq!(reader.find(nonsense), None);
    }
    assert_eq!(reader.end(), sockward_sys::spawn::Exit::Code(0));
}

fn files_are_read_in_order_and_anew_for_each_question() {
    if !root_or_skip("files_are_read_in_order_and_anew_for_each_question") {
        return;
    }
    let home = Home::new(ALEX);
    let ((one, one_text), (two, two_text)) = (key(1), key(2));
    let keys = home.write(&format!("{one_text}\n"), ALEX, 0o600);
    let second = home.0.join(".ssh/authorized_keys2");
    std::fs::write(&second, format!("# second\n{one_text}\n{two_text}\n")).unwrap();
    give(&second, ALEX, 0o600);
    let none = home.0.join(".ssh/none");
    let mut reader = Reader::of(ALEX, &home.0, &[&none, &keys, &second], true);
    assert_eq!(line_of(reader.find(&one)), Some(1));
    assert_eq!(line_of(reader.find(&two)), Some(3));
    std::fs::write(&second, "").unwrap();
    assert_eq!(reader.find(&two), None);
    assert!(reader.notes.is_empty(), "a missing file is no news: {:?}", reader.notes);
}

fn a_certificate_is_found_by_its_authority() {
    if !root_or_skip("a_certificate_is_found_by_its_authority") {
        return;
    }
    let home = Home::new(ALEX);
    let ((one, one_text), (two, two_text), (three, three_text)) = (key(1), key(2), key(3));
    let keys = home.write(
        &format!(
            "{one_text}\n{two_text}\nfrom=\"192.0.2.1\",cert-authority {two_text}\n\
             cert-authority,principals=\"web,db\" {two_text}\nno-pty,cert-authority {three_text}\n"
        ),
        ALEX,
        0o600,
    );
    let mut reader = Reader::of(ALEX, &home.0, &[&keys], true);
    let mut find = |authority: &[u8], names: &[&str]| {
        let found = reader.search(ToReader::FindKey(Box::new(certified(&one, authority, names))));
        (line_of(found), reader.notes.clone())
    };
    assert_eq!(find(&two, &["alex", "db"]).0, Some(4));
    // With a list of names the account's own does not count, and none is none of them.
    for names in [&["alex"][..], &[]] {
        let (found, notes) = find(&two, names);
        assert_eq!(found, None);
        assert!(
            notes.iter().any(|n| n.contains(":4: the certificate does not contain an authorized principal"))
        );
    }
    assert_eq!(find(&three, &["bob", "alex"]).0, Some(5));
    assert_eq!(find(&three, &["bob"]).0, None);
    // The certified key itself stands there as a plain key, which says nothing of this authority.
    assert_eq!(find(&one, &["alex"]).0, None);
}

fn principals_stand_in_a_file_with_their_options() {
    if !root_or_skip("principals_stand_in_a_file_with_their_options") {
        return;
    }
    let home = Home::new(ALEX);
    let text = "# names\nweb\nfrobnicate alex\ncommand=\"a b\" alex\nalex\nfrom=\"192.0.2.1\" far\nfar\n";
    let file = home.write(text, ALEX, 0o600);
    let start = |file: &Path| {
        let mut reader = Reader::start();
        reader.say(ToReader::LookUp { user: "no-such-user".into(), host_of: None });
        reader.answer();
        let mut whom = become_of(ALEX, &home.0, &[], true);
        whom.principals_file = Some(file.as_os_str().as_encoded_bytes().to_vec());
        reader.say(ToReader::Become(Box::new(whom)));
        reader.answer();
        reader
    };
    let mut reader = start(&file);
    let mut find = |names: &[&str]| {
        let principals = names.iter().map(|n| n.as_bytes().to_vec()).collect();
        reader.search(ToReader::FindPrincipal { principals })
    };
    let found = find(&["x", "alex"]).unwrap();
    assert_eq!((found.source.line, found.forced_command.as_deref()), (4, Some(&b"a b"[..])));
    // The first line with the name decides, also where it will not admit.
    assert_eq!(line_of(find(&["far"])), Some(6));
    assert_eq!(find(&["we"]), None);
    assert_eq!(find(&[]), None);
    give(&file, ALEX, 0o666);
    assert_eq!(find(&["web"]), None, "others can write it");
    let mut reader = start(&home.0.join("none"));
    assert_eq!(reader.search(ToReader::FindPrincipal { principals: vec![b"web".to_vec()] }), None);
}

fn strict_modes_refuse_what_others_can_write() {
    if !root_or_skip("strict_modes_refuse_what_others_can_write") {
        return;
    }
    let home = Home::new(ALEX);
    let (one, text) = key(1);
    let check = |what: &str, culprit: &Path| {
        let keys = home.keys();
        let mut strict = Reader::of(ALEX, &home.0, &[&keys], true);
        assert_eq!(strict.find(&one), None, "{what}");
        let note = format!(
            "!Authentication refused: authorized keys {}: bad ownership or modes for {what} {}",
            keys.display(),
            culprit.display()
        );
        assert_eq!(strict.notes, [note]);
        assert_eq!(line_of(Reader::of(ALEX, &home.0, &[&keys], false).find(&one)), Some(1), "{what}");
    };
    let keys = home.write(&text, ALEX, 0o660);
    check("file", &keys);
    home.write(&text, EVE, 0o644);
    check("file", &keys);
    home.write(&text, ALEX, 0o600);
    give(&home.0, ALEX, 0o775);
    check("directory", &home.0);
    give(&home.0, EVE, 0o755);
    check("directory", &home.0);
    give(&home.0, ALEX, 0o755);
    home.write(&text, 0, 0o644);
    assert!(Reader::of(ALEX, &home.0, &[&keys], true).find(&one).is_some(), "root's files are trusted");
}

fn files_are_read_with_the_users_rights() {
    if !root_or_skip("files_are_read_with_the_users_rights") {
        return;
    }
    let home = Home::new(ALEX);
    let (one, text) = key(1);
    for owner in [0, EVE] {
        let keys = home.write(&text, owner, 0o600);
        let mut reader = Reader::of(ALEX, &home.0, &[&keys], false);
        assert_eq!(reader.find(&one), None, "a file of uid {owner}");
        let note = format!("!Authentication refused: authorized keys {}: Permission denied", keys.display());
        assert_eq!(reader.notes, [note]);
    }
    // An account that does not exist: the same steps, with nobody's rights.
    let keys = home.write(&text, ALEX, 0o600);
    assert_eq!(Reader::of(EVE, Path::new("/nonexistent"), &[&keys], false).find(&one), None);
    let file = Path::new("/nonexistent/.ssh/authorized_keys");
    let mut nobody = Reader::of(EVE, Path::new("/nonexistent"), &[file], true);
    assert_eq!(nobody.find(&one), None);
    assert!(nobody.notes.is_empty());
}

fn links_are_judged_by_where_they_lead() {
    if !root_or_skip("links_are_judged_by_where_they_lead") {
        return;
    }
    let home = Home::new(ALEX);
    let (one, text) = key(1);
    let real = home.0.join("real");
    std::fs::write(&real, &text).unwrap();
    give(&real, ALEX, 0o600);
    symlink(&real, home.keys()).unwrap();
    assert!(Reader::of(ALEX, &home.0, &[&home.keys()], true).find(&one).is_some());
    // A link out of the home: every directory up to the root counts, and /tmp is everybody's.
    std::fs::remove_file(home.keys()).unwrap();
    let outside = std::env::temp_dir().join(format!("sockward-outside-{}", std::process::id()));
    std::fs::write(&outside, &text).unwrap();
    give(&outside, ALEX, 0o600);
    symlink(&outside, home.keys()).unwrap();
    let mut reader = Reader::of(ALEX, &home.0, &[&home.keys()], true);
    assert_eq!(reader.find(&one), None);
    assert!(reader.notes[0].ends_with("bad ownership or modes for directory /tmp"), "{:?}", reader.notes);
    std::fs::remove_file(outside).unwrap();
}

fn what_is_no_small_regular_file_is_passed_over() {
    if !root_or_skip("what_is_no_small_regular_file_is_passed_over") {
        return;
    }
    let home = Home::new(ALEX);
    let (one, text) = key(1);
    let keys = home.write(&text, ALEX, 0o600);
    let fifo = home.0.join("fifo");
    let made = std::process::Command::new("mkfifo").arg("-m666").arg(&fifo).status().unwrap();
    assert!(made.success());
    let huge = home.0.join("huge");
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    give(&huge, ALEX, 0o600);
    let files = [fifo.as_path(), Path::new("/dev/zero"), &home.0, &huge, &keys];
    let mut reader = Reader::of(ALEX, &home.0, &files, false);
    assert_eq!(line_of(reader.find(&one)), Some(1));
    let culprits =
        ["fifo is not", "/dev/zero is not", "is not a regular file", "huge is longer", "key found"];
    assert_eq!(reader.notes.len(), culprits.len());
    for (note, culprit) in reader.notes.iter().zip(culprits) {
        assert!(note.contains(culprit), "{note}");
    }
}
