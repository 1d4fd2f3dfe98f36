//! AuthorizedKeysCommand and AuthorizedPrincipalsCommand: whose rights, what environment, whose output counts.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sockward_policy::KeyOptions;
use sockward_privsep::reader::{Command, Search, ToReader};

use crate::double::{EVE, Reader, asker, certified, give, plain};
use crate::files::key;
use sockward_test_support::serial::{Test, root_or_skip};

pub(crate) const TESTS: &[Test] = &[
    ("a_program_runs_as_its_user_in_a_clean_environment", a_program_runs_as_its_user_in_a_clean_environment),
    ("only_the_whole_output_of_a_program_that_ends_well_counts", only_the_whole_output_counts),
    ("a_program_that_others_could_change_is_not_run", a_program_that_others_could_change_is_not_run),
    ("a_program_ends_with_the_link", a_program_ends_with_the_link),
    ("a_program_that_hangs_is_ended", a_program_that_hangs_is_ended),
    ("principals_come_from_a_program_with_their_options", principals_come_from_a_program),
];

/// A directory that belongs to root, as everything above it does: /tmp would not do.
struct Programs(PathBuf);

impl Programs {
    fn new() -> Self {
        let path = PathBuf::from(format!("/run/sockward-reader-test-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        give(&path, 0, 0o755);
        Programs(path)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        give(&path, 0, 0o755);
        path
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(program: &Path, arguments: &[&str], run_as: &str, search: Search) -> ToReader {
    command_within(600, program, arguments, run_as, search)
}

fn command_within(
    seconds: u64,
    program: &Path,
    arguments: &[&str],
    run_as: &str,
    search: Search,
) -> ToReader {
    let argv = std::iter::once(program.to_str().unwrap()).chain(arguments.iter().copied());
    ToReader::Run(Box::new(Command {
        keyword: "AuthorizedKeysCommand".into(),
        run_as: run_as.into(),
        argv: argv.map(|a| a.as_bytes().to_vec()).collect(),
        seconds,
        search,
        asker: asker(),
    }))
}

fn find(program: &Path, arguments: &[&str], run_as: &str) -> (Option<KeyOptions>, Vec<String>) {
    let mut reader = Reader::start();
    let found = reader.search(command(program, arguments, run_as, Search::Key(plain(&key(1).0))));
    (found, reader.notes)
}

fn a_program_runs_as_its_user_in_a_clean_environment() {
    if !root_or_skip("a_program_runs_as_its_user_in_a_clean_environment") {
        return;
    }
    let (programs, one) = (Programs::new(), key(1).1);
    let seen = Path::new("/tmp").join(format!("sockward-seen-{}", std::process::id()));
    let _ = std::fs::remove_file(&seen);
    let script = programs.script(
        "keys",
        &format!(
            "exec 3>{0}\nid -un >&3; id -Gn >&3; pwd >&3; tr '\\0' '\\n' </proc/$$/environ >&3\n\
             ls /proc/$$/fd | tr '\\n' ' ' >&3; readlink /proc/$$/fd/0 /proc/$$/fd/2 >&3\n\
             for a in \"$@\"; do echo \"<$a>\" >&3; done\necho 'command=\"true\" {one}'",
            seen.display()
        ),
    );
    let (found, notes) = find(&script, &["a b", "$(id)", "", "; x"], "daemon");
    let found = found.unwrap_or_else(|| panic!("{notes:?}"));
    assert_eq!(found.forced_command.as_deref(), Some(&b"true"[..]));
    assert_eq!(found.source.to_string(), "AuthorizedKeysCommand:1");
    let text = std::fs::read_to_string(&seen).unwrap();
    std::fs::remove_file(&seen).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines[3..7].sort_unstable();
    let expected = [
        "daemon",
        "daemon",
        "/",
        "HOME=/usr/sbin",
        "LOGNAME=daemon",
        "PATH=/usr/bin:/bin:/usr/sbin:/sbin",
        "USER=daemon",
    ];
    assert_eq!(lines[..7], expected, "{text}");
    // The script's own third, and the shell's copy of the script.
    assert!(["0 1 10 2 3 ", "0 1 2 255 3 "].iter().any(|fds| lines[7].starts_with(fds)), "{text}");
    assert_eq!(text.matches("/dev/null").count(), 2, "{text}");
    assert!(text.ends_with("<a b>\n<$(id)>\n<>\n<; x>\n"), "{text}");
}

fn only_the_whole_output_counts() {
    if !root_or_skip("only_the_whole_output_counts") {
        return;
    }
    let (programs, one) = (Programs::new(), key(1).1);
    let tries: [(&str, &str); 5] = [
        ("exit 3", "failed, status 3"),
        ("kill -9 $$", "exited on signal 9"),
        ("sh -c 'exit 1' || exit 1", "failed, status 1"),
        ("exec yes 'a line of no use'", "printed more than"),
        ("exec cat /dev/zero", "printed more than"),
    ];
    for (end, why) in tries {
        let script = programs.script("keys", &format!("echo '{one}'\n{end}"));
        let (found, notes) = find(&script, &[], "daemon");
        assert_eq!(found, None, "{end}");
        assert!(notes.iter().any(|n| n.starts_with('!') && n.contains(why)), "{end}: {notes:?}");
    }
    // Garbage around the line is no obstacle, and neither is a program that was closed early.
    for text in [format!("printf 'x\\n\\0\\n{one}\\n'"), format!("echo '{one}'; exec >&-; true")] {
        assert!(find(&programs.script("keys", &text), &[], "daemon").0.is_some(), "{text}");
    }
    assert_eq!(find(&programs.script("keys", "true"), &[], "daemon").0, None);
    // It is searched as a file is: by the options of its lines.
    let elsewhere = programs.script("keys", &format!("echo 'from=\"192.0.2.1\" {one}'"));
    assert_eq!(find(&elsewhere, &[], "daemon").0, None);
}

fn a_program_that_others_could_change_is_not_run() {
    if !root_or_skip("a_program_that_others_could_change_is_not_run") {
        return;
    }
    let (programs, one) = (Programs::new(), key(1).1);
    let print = format!("echo '{one}'");
    let sound = programs.script("sound", &print);
    let linked = programs.0.join("link");
    symlink(&sound, &linked).unwrap();
    assert!(find(&sound, &[], "daemon").0.is_some());
    assert!(find(&linked, &[], "daemon").0.is_some(), "a link is judged by where it leads");
    let in_tmp = PathBuf::from(format!("/tmp/sockward-program-{}", std::process::id()));
    std::fs::copy(&sound, &in_tmp).unwrap();
    give(&in_tmp, 0, 0o755);
    let open_directory = programs.0.join("open");
    std::fs::create_dir(&open_directory).unwrap();
    give(&open_directory, 0, 0o777);
    let inside = open_directory.join("keys");
    std::fs::copy(&sound, &inside).unwrap();
    for (path, owner, mode, why) in [
        (programs.script("a", &print), 0, 0o775, "bad ownership or modes for file"),
        (programs.script("b", &print), 0, 0o757, "bad ownership or modes for file"),
        (programs.script("c", &print), EVE, 0o755, "bad ownership or modes for file"),
        (programs.script("d", &print), 0, 0o644, "failed: "),
        (in_tmp.clone(), 0, 0o755, "bad ownership or modes for directory /tmp"),
        (inside, 0, 0o755, "bad ownership or modes for directory"),
        (programs.0.clone(), 0, 0o755, "is not a regular file"),
        (programs.0.join("none"), 0, 0, "No such file"),
    ] {
        if path.exists() {
            give(&path, owner, mode);
        }
        let (found, notes) = find(&path, &[], "daemon");
        assert_eq!(found, None, "{}", path.display());
        assert!(notes.iter().any(|n| n.starts_with('!') && n.contains(why)), "{why}: {notes:?}");
    }
    std::fs::remove_file(in_tmp).unwrap();
    let (found, notes) = find(&sound, &[], "no-such-user-here");
    assert_eq!(
        (found, notes[0].as_str()),
        (None, "!AuthorizedKeysCommandUser \"no-such-user-here\" not found")
    );
}

fn a_program_ends_with_the_link() {
    if !root_or_skip("a_program_ends_with_the_link") {
        return;
    }
    let programs = Programs::new();
    let pid_file = Path::new("/tmp").join(format!("sockward-pid-{}", std::process::id()));
    for hang in ["sleep 1000", "sleep 1000 & exec >&-; wait", "sleep 1000 & exit 0"] {
        let _ = std::fs::remove_file(&pid_file);
        let script = programs.script("keys", &format!("echo $$ >{}\n{hang}", pid_file.display()));
        let mut reader = Reader::start();
        reader.say(command(&script, &[], "daemon", Search::Key(plain(&key(1).0))));
        let group = loop {
            let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
            match text.trim_end().parse::<i32>() {
                Ok(pid) if text.ends_with('\n') => break pid,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        reader.end();
        // The whole group goes, whoever of it still ran.
        let group = nix::unistd::Pid::from_raw(group);
        while nix::sys::signal::killpg(group, None).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    std::fs::remove_file(&pid_file).unwrap();
}

/// Whether it hangs before its key, after it, or has closed its output: its time is over, and what it started ends too.
fn a_program_that_hangs_is_ended() {
    if !root_or_skip("a_program_that_hangs_is_ended") {
        return;
    }
    let (programs, one) = (Programs::new(), key(1).1);
    let pids = Path::new("/tmp").join(format!("sockward-hang-{}", std::process::id()));
    for text in
        ["sleep 1000", &format!("echo '{one}'; sleep 1000"), &format!("echo '{one}'; exec >&-; sleep 1000")]
    {
        let _ = std::fs::remove_file(&pids);
        let script = programs.script("hangs", &format!("echo $$ >{}; {text}", pids.display()));
        let mut reader = Reader::start();
        let wanted = Search::Key(plain(&key(1).0));
        let found = reader.search(command_within(1, &script, &[], "daemon", wanted));
        assert!(found.is_none(), "{text}");
        assert!(
            reader.notes.iter().any(|n| n.ends_with("hangs took longer than 1 seconds")),
            "{:?}",
            reader.notes
        );
        let pid: i32 = std::fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{text}");
    }
    std::fs::remove_file(&pids).unwrap();
}

fn principals_come_from_a_program() {
    if !root_or_skip("principals_come_from_a_program") {
        return;
    }
    let programs = Programs::new();
    let script = programs.script("names", "echo '# names'; echo bob; echo 'no-pty,command=\"x y\" alex'");
    let ask = |names: &[&str]| {
        let names = names.iter().map(|n| n.as_bytes().to_vec()).collect();
        let mut reader = Reader::start();
        reader.search(command(&script, &[], "daemon", Search::Principal(names)))
    };
    let found = ask(&["eve", "alex"]).unwrap();
    assert_eq!((found.pty, found.forced_command.as_deref()), (false, Some(&b"x y"[..])));
    assert_eq!(found.source.line, 3);
    assert_eq!(ask(&["eve"]), None);
    assert_eq!(ask(&[]), None);
    // A certificate's authority can stand in the output of the other program.
    let (one, two) = (key(1), key(2));
    let script = programs.script("keys", &format!("echo 'cert-authority,principals=\"web\" {}'", two.1));
    let ask = |names: &[&str]| {
        let search = Search::Key(certified(&one.0, &two.0, names));
        Reader::start().search(command(&script, &[], "daemon", search)).is_some()
    };
    assert!(ask(&["web"]) && !ask(&["alex"]) && !ask(&[]));
}
