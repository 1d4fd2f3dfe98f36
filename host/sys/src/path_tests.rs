//! The walk: what it follows, what it refuses, and an attacker who swaps a directory for a link.

use super::*;
use crate::testing::{
    ALEX, EVE, TempDir, as_user, race, race_rounds, root_or_skip, start_child, take_time, take_uid,
};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn resolved(path: &str) -> Result<String, String> {
    match ResolvedDir::of(path.as_bytes()) {
        Ok(dir) => Ok(String::from_utf8(dir.path().to_vec()).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

/// A tree whose directories all belong to root and only to root, beside the writable /tmp.
fn trusted_tree() -> TempDir {
    let tmp = TempDir::new();
    tmp.dir("real", 0, 0o755);
    tmp.dir("real/deep", 0, 0o755);
    symlink("real", tmp.path().join("relative")).unwrap();
    symlink(tmp.path().join("real"), tmp.path().join("absolute")).unwrap();
    symlink("real/../real/./deep/..", tmp.path().join("winding")).unwrap();
    symlink("loop", tmp.path().join("loop")).unwrap();
    symlink("", tmp.path().join("empty")).unwrap_err();
    tmp
}

#[test]
fn plain_paths_and_dots() {
    let tmp = trusted_tree();
    let base = tmp.path().to_str().unwrap();
    assert_eq!(resolved("/"), Ok("/".into()));
    assert_eq!(resolved("//../..//."), Ok("/".into()));
    assert_eq!(resolved(&format!("{base}//real/./deep/")), Ok(format!("{base}/real/deep")));
    assert_eq!(resolved(&format!("{base}/real/deep/../..")), Ok(base.into()));
    assert!(matches!(ResolvedDir::of(b"tmp").unwrap_err().kind, WalkErrorKind::Relative));
    assert!(matches!(ResolvedDir::of(b"/none/x/y").unwrap_err().kind, WalkErrorKind::NotFound));
    assert_eq!(ResolvedDir::of(b"/none/x/y").unwrap_err().at, b"/none");
    assert!(matches!(ResolvedDir::of(b"/etc/passwd/x").unwrap_err().kind, WalkErrorKind::NotADirectory));
}

#[test]
fn roots_own_links_are_followed_and_counted() {
    if !root_or_skip("links of root") {
        return;
    }
    let tmp = trusted_tree();
    let base = tmp.path().to_str().unwrap();
    for name in ["relative", "absolute", "winding"] {
        assert_eq!(resolved(&format!("{base}/{name}/deep")), Ok(format!("{base}/real/deep")), "{name}");
    }
    let looped = ResolvedDir::of(format!("{base}/loop/x").as_bytes()).unwrap_err();
    assert!(matches!(looped.kind, WalkErrorKind::TooManyLinks));
    assert_eq!(looped.at, format!("{base}/loop").into_bytes());
}

#[test]
fn links_that_others_made_or_could_replace_are_refused() {
    if !root_or_skip("untrusted links") {
        return;
    }
    let tmp = trusted_tree();
    let refused = |path: &Path| {
        let error = ResolvedDir::of(&bytes(path)).unwrap_err();
        assert!(matches!(error.kind, WalkErrorKind::UntrustedLink), "{error}");
        assert_eq!(error.at, bytes(path));
    };
    // Root's link in a directory of somebody else, in a group-writable one, in a sticky one.
    for (name, uid, mode) in [("theirs", EVE, 0o755), ("group", 0, 0o775), ("sticky", 0, 0o1777)] {
        let link = tmp.dir(name, uid, mode).join("link");
        symlink("/etc", &link).unwrap();
        refused(&link);
    }
    // Eve's link in root's directory, and her own in her home, even for herself.
    let link = tmp.path().join("eves");
    symlink("/etc", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(EVE), None).unwrap();
    refused(&link);
    as_user(EVE, || refused(&link)).success();
}

#[test]
fn the_last_component_is_a_name_or_nothing() {
    for path in [&b"/"[..], b"/run/", b"/run/.", b"/run/..", b"/run//"] {
        assert!(matches!(Place::for_new(path).unwrap_err().kind, WalkErrorKind::NoName));
    }
    assert!(matches!(Place::for_new(b"x").unwrap_err().kind, WalkErrorKind::Relative));
    let place = Place::for_new(b"/run//not-there").unwrap();
    assert_eq!((place.dir().path(), place.name()), (&b"/run"[..], &b"not-there"[..]));
    assert_eq!(place.path(), b"/run/not-there");
    assert_eq!(Place::for_new(b"/x").unwrap().path(), b"/x");
}

#[test]
fn the_last_link_is_followed_for_use_and_not_for_making() {
    if !root_or_skip("last link") {
        return;
    }
    let tmp = trusted_tree();
    symlink("relative/sock", tmp.path().join("a")).unwrap();
    symlink("a", tmp.path().join("b")).unwrap();
    let path = bytes(&tmp.path().join("b"));
    assert_eq!(Place::of_existing(&path).unwrap().path(), bytes(&tmp.path().join("real/sock")));
    assert_eq!(Place::for_new(&path).unwrap().path(), path);
    let link = tmp.dir("theirs", EVE, 0o755).join("l");
    symlink("/run/docker.sock", &link).unwrap();
    assert!(matches!(Place::of_existing(&bytes(&link)).unwrap_err().kind, WalkErrorKind::UntrustedLink));
    let looped = Place::of_existing(&bytes(&tmp.path().join("loop"))).unwrap_err();
    assert!(matches!(looped.kind, WalkErrorKind::TooManyLinks));
}

#[test]
fn search_rights_are_the_walkers() {
    if !root_or_skip("search rights") {
        return;
    }
    let tmp = TempDir::new();
    tmp.dir("closed", EVE, 0o700);
    let path = bytes(&tmp.path().join("closed/x/y"));
    as_user(ALEX, || {
        assert!(matches!(ResolvedDir::of(&path).unwrap_err().kind, WalkErrorKind::Denied));
    })
    .success();
}

#[test]
fn names_need_not_be_text_and_long_paths_work() {
    let tmp = TempDir::new();
    let mut path = bytes(tmp.path());
    for _ in 0..12 {
        path.extend_from_slice(b"/\xff\xfe0123456789012345");
        std::fs::create_dir(Path::new(std::ffi::OsStr::from_bytes(&path))).unwrap();
    }
    assert!(path.len() > 200);
    assert_eq!(ResolvedDir::of(&path).unwrap().path(), path);
    let deep = b"/a".repeat(100);
    assert!(matches!(ResolvedDir::of(&deep).unwrap_err().kind, WalkErrorKind::NotFound));
    let winding = [&b"/tmp"[..], &b"/../tmp".repeat(200)].concat();
    assert_eq!(ResolvedDir::of(&winding).unwrap().path(), b"/tmp");
}

#[test]
fn too_deep_is_said() {
    let tmp = TempDir::new();
    let mut path = tmp.path().to_owned();
    for _ in 0..DEPTH_MAX {
        path.push("d");
    }
    std::fs::create_dir_all(&path).unwrap();
    assert!(matches!(ResolvedDir::of(&bytes(&path)).unwrap_err().kind, WalkErrorKind::TooDeep));
}

#[test]
fn a_full_descriptor_table_is_an_error() {
    crate::testing::in_child(|| {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum }).unwrap();
        assert!(matches!(ResolvedDir::of(b"/usr/lib").unwrap_err().kind, WalkErrorKind::Io(_)));
    })
    .success();
}

/// Eve trades a directory of hers for a link to a place she must not reach, and moves a directory away while the
/// walk is in it, as fast as she can. Paths lead to what they name or nowhere, by `..` too.
#[test]
fn a_swapped_directory_never_leads_elsewhere() {
    if !root_or_skip("walk race") {
        return;
    }
    let _alone = race();
    let tmp = TempDir::in_memory();
    let hers = tmp.dir("eve", EVE, 0o755);
    let secret = tmp.dir("secret", 0, 0o755);
    tmp.dir("secret/sub", 0, 0o755);
    tmp.dir("eve/out", EVE, 0o755);
    let attacker = start_child(|| {
        take_uid(EVE);
        take_time();
        let (swap, link) = (hers.join("swap"), hers.join("link"));
        let (moved, away) = (hers.join("moved"), hers.join("out/moved"));
        std::fs::create_dir_all(swap.join("sub")).unwrap();
        std::fs::create_dir_all(moved.join("deep")).unwrap();
        symlink(&secret, &link).unwrap();
        let rename = |from: &Path, to: &Path, flags| {
            rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags).unwrap();
        };
        loop {
            // The directory and the link trade names, so that there is always one of them.
            rename(&swap, &link, rustix::fs::RenameFlags::EXCHANGE);
            rename(&moved, &away, rustix::fs::RenameFlags::empty());
            rename(&away, &moved, rustix::fs::RenameFlags::empty());
        }
    });
    let id = |at: &dyn AsFd| rustix::fs::fstat(at.as_fd()).map(|stat| (stat.st_dev, stat.st_ino)).unwrap();
    let id_of = |path: &Path| id(&std::fs::File::open(path).unwrap());
    let (in_hers, in_secret) = (id_of(&hers), [id_of(&secret), id_of(&secret.join("sub"))]);
    // What is asked for, and where it is if it is anywhere; the attacked directory itself is known by what it is not.
    let asked = [
        ("swap/sock", "swap/sock", None),
        ("swap/sub/sock", "swap/sub/sock", None),
        ("swap/../sock", "sock", Some(in_hers)),
        ("swap/sub/../../sock", "sock", Some(in_hers)),
        ("moved/deep/../../sock", "sock", Some(in_hers)),
    ];
    let (mut through, mut refused) = ([0; 5], [0; 5]);
    let mut round = 0;
    while round < race_rounds() || (through.contains(&0) || refused.contains(&0)) && round < 1_000_000 {
        for (n, (path, real, directory)) in asked.iter().enumerate() {
            match Place::for_new(&bytes(&hers.join(path))) {
                Ok(place) => {
                    through[n] += 1;
                    assert_eq!(place.path(), bytes(&hers.join(real)));
                    let there = id(place.dir());
                    assert!(!in_secret.contains(&there), "{path} leads out");
                    assert!(directory.is_none_or(|directory| directory == there), "{path} leads elsewhere");
                }
                Err(error) => {
                    refused[n] += 1;
                    // Between the two opens of a component a link may have become the directory again.
                    assert!(
                        matches!(
                            error.kind,
                            WalkErrorKind::UntrustedLink
                                | WalkErrorKind::NotFound
                                | WalkErrorKind::NotADirectory
                        ),
                        "{error}"
                    );
                }
            }
        }
        round += 1;
    }
    drop(attacker);
    assert!(!through.contains(&0) && !refused.contains(&0), "no race: {through:?} {refused:?}");
}
