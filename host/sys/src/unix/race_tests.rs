//! An attacker who may write in the same directory, against birth, replacement and removal.
//! SOCKWARD_RACE_ROUNDS sets the rounds.

use super::*;
use crate::path::Place;
use crate::testing::{
    ALEX, EVE, TempDir, mode, race, race_rounds, root_or_skip, start_child, take_time, take_uid,
};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

fn place(path: &Path) -> Place {
    Place::for_new(path.as_os_str().as_bytes()).unwrap()
}

/// Whether a file with this inode is anywhere in the directory, private ones included.
fn is_there(dir: &Path, inode: u64) -> bool {
    std::fs::read_dir(dir).unwrap().flatten().any(|entry| {
        std::fs::symlink_metadata(entry.path()).is_ok_and(|m| {
            m.ino() == inode || m.is_dir() && entry.file_name() != "dir" && is_there(&entry.path(), inode)
        })
    })
}

/// Names for a socket in a directory: one whose whole path has each of these lengths (at the limit of an address,
/// one over it, far over it), and one that is no text.
fn names_in(dir: &Path) -> Vec<OsString> {
    let before = dir.as_os_str().len() + 1;
    let of_length = |total: usize| OsString::from_vec(vec![b's'; total - before]);
    let mut names: Vec<_> = [107, 108, 139].map(of_length).into();
    names.push(OsStr::from_bytes(b"\xff\xfe s").to_owned());
    names
}

/// Eve trades the name for files of hers (a dead and a live socket, a regular file, a directory, a link) while alex
/// replaces, publishes and removes there. Nothing of eve's may vanish, and nothing of alex's may be left over.
fn nothing_of_others_is_removed_in(bits: u32) {
    let _alone = race();
    let tmp = TempDir::in_memory();
    let shared = tmp.dir("shared", 0, bits);
    let name = shared.join("s");
    let live = UnixListener::bind(shared.join("live")).unwrap();
    let kinds = ["file", "dir", "sock", "live", "link"];
    let theirs: Vec<u64> = {
        std::fs::write(shared.join("file"), "precious").unwrap();
        std::fs::create_dir(shared.join("dir")).unwrap();
        drop(UnixListener::bind(shared.join("sock")).unwrap());
        std::os::unix::fs::symlink("file", shared.join("link")).unwrap();
        mode(&shared.join("sock"), 0o600);
        kinds
            .iter()
            .map(|kind| {
                let path = shared.join(kind);
                std::os::unix::fs::lchown(&path, Some(EVE), Some(EVE)).unwrap();
                std::fs::symlink_metadata(path).unwrap().ino()
            })
            .collect()
    };
    let attacker = start_child(|| {
        take_uid(EVE);
        take_time();
        let flags = [rustix::fs::RenameFlags::EXCHANGE, rustix::fs::RenameFlags::NOREPLACE];
        loop {
            for mine in kinds {
                for flag in flags {
                    let _ = rustix::fs::renameat_with(
                        rustix::fs::CWD,
                        shared.join(mine),
                        rustix::fs::CWD,
                        &name,
                        flag,
                    );
                }
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &name,
                    rustix::fs::CWD,
                    shared.join(mine),
                    rustix::fs::RenameFlags::NOREPLACE,
                );
            }
        }
    });
    let alex = start_child(|| {
        take_uid(ALEX);
        take_time();
        let (mut published, mut changed) = (0, 0);
        let mut round = 0;
        while round < race_rounds() || (published == 0 || changed == 0) && round < 100_000 {
            round += 1;
            let over = match Occupant::look(&place(&name)) {
                Ok(occupant) => occupant.map(Occupant::live_or_not),
                Err(_) => None,
            };
            // Eve's own socket is a socket: alex may be told to replace it, which is no attack.
            // What she did not put there as a socket must survive.
            let over =
                over.filter(|over| rustix::fs::fstat(&over.file).is_ok_and(|stat| stat.st_uid == ALEX));
            match Newborn::bind(place(&name)).and_then(|born| born.publish(0o600, 1, over)) {
                Ok(listener) => {
                    published += 1;
                    if round % 2 == 0 {
                        let _ = listener.close();
                    } else {
                        // Left behind as a crash would leave it, for the next round to replace.
                        std::mem::forget(listener);
                        if round % 64 == 1 {
                            close_everything();
                        }
                    }
                }
                Err(_) => changed += 1,
            }
        }
        assert!(published > 0 && changed > 0, "the race never happened: {published} {changed}");
    });
    assert_eq!(alex.wait(), crate::spawn::Exit::Code(0));
    drop(attacker);
    drop(live);
    for (inode, kind) in theirs.into_iter().zip(kinds) {
        assert!(is_there(&shared, inode), "a {kind} of eve's is gone");
    }
}

#[test]
fn nothing_of_others_is_ever_removed() {
    if root_or_skip("replacement race") {
        nothing_of_others_is_removed_in(0o777);
    }
}

#[test]
fn nothing_of_others_is_ever_removed_from_a_sticky_setgid_directory() {
    if root_or_skip("replacement race") {
        nothing_of_others_is_removed_in(0o3777);
    }
}

/// The descriptors of forgotten listeners.
fn close_everything() {
    // SAFETY: in a forked child that uses no descriptor above 2 across rounds.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

/// Eve connects to every socket she can find, as fast as she can, while alex makes sockets that she must never
/// reach: for alex alone and for a group she is not in, in a plain, a sticky and two setgid directories, one of
/// which would give the socket her group.
#[test]
fn nobody_connects_before_the_rights_are_final() {
    if !root_or_skip("birth race") {
        return;
    }
    let _alone = race();
    let tmp = TempDir::in_memory();
    let open: Vec<_> =
        [("plain", ALEX, 0o777), ("sticky", ALEX, 0o1777), ("own", ALEX, 0o2777), ("hers", EVE, 0o3777)]
            .map(|(name, gid, bits)| {
                let dir = tmp.dir(name, ALEX, bits);
                std::os::unix::fs::chown(&dir, None, Some(gid)).unwrap();
                mode(&dir, bits);
                dir
            })
            .into();
    let (report_in, report_out) = crate::fd::pipe().unwrap();
    let attacker = start_child(|| {
        take_uid(EVE);
        take_time();
        loop {
            for dir in &open {
                // Names at the limit do not fit in an address otherwise.
                std::env::set_current_dir(dir).unwrap();
                for entry in std::fs::read_dir(".").into_iter().flatten().flatten() {
                    let name = entry.file_name();
                    let within =
                        names_in(dir).into_iter().chain(["socket".into()]).map(|n| Path::new(&name).join(n));
                    for path in std::iter::once(name.clone().into()).chain(within) {
                        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
                            let _ = crate::fd::write(&report_out, b"!");
                        }
                    }
                }
            }
        }
    });
    let alex = start_child(|| {
        take_uid(ALEX);
        take_time();
        let names: Vec<_> = open.iter().map(|dir| (dir, names_in(dir))).collect();
        for round in 0..race_rounds() as usize {
            let (dir, names) = &names[round % names.len()];
            let name = &names[round / open.len() % names.len()];
            let mode = if round % 8 < 4 { 0o600 } else { 0o660 };
            let born = Newborn::bind(place(&dir.join(name))).unwrap();
            born.set_group(ALEX).unwrap();
            let listener = born.publish(mode, 4, None).unwrap();
            std::thread::yield_now();
            assert!(listener.accept().is_err());
            assert_eq!(listener.close().unwrap(), Removal::Removed);
        }
    });
    assert_eq!(alex.wait(), crate::spawn::Exit::Code(0));
    drop(attacker);
    drop(report_out);
    assert_eq!(crate::fd::read(&report_in, &mut [0; 1]).unwrap(), 0, "eve got through");
    for dir in open {
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    }
}
