//! An attacker who may write in the same directory, against birth, replacement and removal.
//! SOCKWARD_RACE_ROUNDS sets the rounds.

use super::*;
use crate::path::Place;
use crate::testing::{ALEX, EVE, TempDir, mode, race_rounds, root_or_skip, start_child, take_uid};
use std::os::unix::ffi::OsStrExt;
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

/// Eve trades the name for files of hers (a socket, a regular file, a directory) while alex replaces,
/// publishes and removes there. Nothing of eve's may vanish, and nothing of alex's may be left over.
#[test]
fn nothing_of_others_is_ever_removed() {
    if !root_or_skip("replacement race") {
        return;
    }
    let tmp = TempDir::new();
    let shared = tmp.dir("shared", 0, 0o777);
    let name = shared.join("s");
    let theirs: Vec<u64> = {
        let (file, dir, sock) = (shared.join("file"), shared.join("dir"), shared.join("sock"));
        std::fs::write(&file, "precious").unwrap();
        std::fs::create_dir(&dir).unwrap();
        drop(UnixListener::bind(&sock).unwrap());
        mode(&sock, 0o600);
        [file, dir, sock]
            .iter()
            .map(|path| {
                std::os::unix::fs::lchown(path, Some(EVE), Some(EVE)).unwrap();
                std::fs::symlink_metadata(path).unwrap().ino()
            })
            .collect()
    };
    let attacker = start_child(|| {
        take_uid(EVE);
        // SAFETY: this one runs until it is killed.
        unsafe { libc::alarm(0) };
        let flags = [rustix::fs::RenameFlags::EXCHANGE, rustix::fs::RenameFlags::NOREPLACE];
        loop {
            for mine in ["file", "dir", "sock"] {
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
        // SAFETY: long runs are asked for by the environment.
        unsafe { libc::alarm(0) };
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
    for inode in theirs {
        assert!(is_there(&shared, inode), "a file of eve's is gone");
    }
}

/// The descriptors of forgotten listeners.
fn close_everything() {
    // SAFETY: in a forked child that uses no descriptor above 2 across rounds.
    unsafe { libc::close_range(3, u32::MAX, 0) };
}

/// Eve connects to every socket she can find, as fast as she can, while alex makes sockets that she
/// must never reach: one for alex alone and one for a group she is not in.
#[test]
fn nobody_connects_before_the_rights_are_final() {
    if !root_or_skip("birth race") {
        return;
    }
    let tmp = TempDir::new();
    let open = tmp.dir("open", ALEX, 0o777);
    let (report_in, report_out) = crate::fd::pipe().unwrap();
    let attacker = start_child(|| {
        take_uid(EVE);
        // SAFETY: this one runs until it is killed.
        unsafe { libc::alarm(0) };
        loop {
            for entry in std::fs::read_dir(&open).into_iter().flatten().flatten() {
                for path in [entry.path(), entry.path().join("s")] {
                    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
                        let _ = crate::fd::write(&report_out, b"!");
                    }
                }
            }
        }
    });
    let alex = start_child(|| {
        take_uid(ALEX);
        // The usual limit is for a few rounds.
        // SAFETY: only moves the time at which a child that hangs is ended.
        unsafe { libc::alarm(60 + race_rounds() / 20) };
        for round in 0..race_rounds() {
            let mode = if round % 2 == 0 { 0o600 } else { 0o660 };
            let listener = Newborn::bind(place(&open.join("s"))).unwrap().publish(mode, 4, None).unwrap();
            std::thread::yield_now();
            assert!(listener.accept().is_err());
            assert_eq!(listener.close().unwrap(), Removal::Removed);
        }
    });
    assert_eq!(alex.wait(), crate::spawn::Exit::Code(0));
    drop(attacker);
    drop(report_out);
    assert_eq!(crate::fd::read(&report_in, &mut [0; 1]).unwrap(), 0, "eve got through");
    assert_eq!(std::fs::read_dir(&open).unwrap().count(), 0);
}
