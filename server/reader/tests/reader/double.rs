//! A monitor's part of the conversation, a home directory to read in.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sockward_policy::{CertificateIdentity, KeyIdentity, KeyOptions, Presented};
use sockward_privsep::reader::{AccountFacts, Asker, Become, FromReader, ToReader};
use sockward_privsep::role::{Arguments, Role};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;
use sockward_sys::spawn::{self, Child, Exit, SelfExe};

/// Uids that belong to nobody here.
pub(crate) const ALEX: u32 = 54_101;
pub(crate) const EVE: u32 = 54_102;

/// Far more than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reader and the monitor's end of its link.
pub(crate) struct Reader {
    link: Channel<ToReader, FromReader>,
    pub(crate) child: Child,
    /// What it told the log since the last answer, the important ones marked with "!".
    pub(crate) notes: Vec<String>,
}

impl Reader {
    pub(crate) fn start() -> Reader {
        let (ours, theirs) = Link::pair().unwrap();
        let arguments =
            Arguments { role: Role::Reader, ids: None, groups_of: None, log_level: "VERBOSE".into() };
        let stderr = io::stderr();
        let child = SelfExe::open()
            .unwrap()
            .spawn(&spawn::Role {
                argv: arguments.to_args("sockward: reader"),
                stderr: Some(stderr.as_fd()),
                descriptors: vec![theirs.as_fd()],
                ..spawn::Role::default()
            })
            .unwrap();
        Reader { link: Channel::new(ours), child, notes: Vec::new() }
    }

    /// One that has become a user and reads these files.
    pub(crate) fn of(uid: u32, home: &Path, files: &[&Path], strict: bool) -> Reader {
        let mut reader = Reader::start();
        let ToReader::LookUp { .. } =
            reader.say(ToReader::LookUp { user: "no-such-user".into(), host_of: None })
        else {
            unreachable!()
        };
        assert_eq!(reader.answer(), Some(FromReader::Found { account: None, host: None }));
        reader.say(ToReader::Become(Box::new(become_of(uid, home, files, strict))));
        assert_eq!(reader.answer(), Some(FromReader::Became));
        reader
    }

    pub(crate) fn say(&mut self, question: ToReader) -> ToReader {
        // An end that has gone shows at the answer.
        let _ = self.link.say(&question, None);
        question
    }

    /// The next answer; none when the reader has gone.
    pub(crate) fn answer(&mut self) -> Option<FromReader> {
        let mut buffer = Channel::<ToReader, FromReader>::buffer();
        self.notes.clear();
        loop {
            match self.link.hear(&mut buffer).unwrap() {
                Outcome::Message(FromReader::Note { important, text }, None) => {
                    self.notes.push(format!("{}{text}", if important { "!" } else { "" }));
                }
                Outcome::Message(answer, None) => return Some(answer),
                Outcome::Message(_, Some(_)) => panic!("a descriptor"),
                Outcome::Empty => {
                    assert!(sockward_sys::fd::wait_readable(&self.link, PATIENCE).unwrap(), "no answer");
                }
                Outcome::End => return None,
            }
        }
    }

    pub(crate) fn find(&mut self, key: &[u8]) -> Option<KeyOptions> {
        self.search(ToReader::FindKey(Box::new(plain(key))))
    }

    /// Asks something that is answered with the line found.
    pub(crate) fn search(&mut self, question: ToReader) -> Option<KeyOptions> {
        self.say(question);
        match self.answer() {
            Some(FromReader::Key { found }) => found.map(|f| *f),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn look_up(user: &str) -> Option<AccountFacts> {
        let mut reader = Reader::start();
        reader.say(ToReader::LookUp { user: user.into(), host_of: None });
        match reader.answer() {
            Some(FromReader::Found { account, host: None }) => account.map(|a| *a),
            other => panic!("{other:?}"),
        }
    }

    /// Closes the link; how the reader ended.
    pub(crate) fn end(mut self) -> Exit {
        drop(self.link);
        self.child.wait().unwrap()
    }
}

/// alex, from here.
pub(crate) fn asker() -> Asker {
    Asker { user: "alex".into(), address: Some("127.0.0.1".parse().unwrap()), host: "localhost".into() }
}

/// A plain key as the monitor describes it.
pub(crate) fn plain(blob: &[u8]) -> Presented {
    Presented { key: identity(blob), certificate: None }
}

/// A certificate by an authority.
pub(crate) fn certified(blob: &[u8], authority: &[u8], principals: &[&str]) -> Presented {
    let certificate = CertificateIdentity {
        authority: identity(authority),
        serial: 7,
        key_id: b"laptop".to_vec(),
        principals: principals.iter().map(|p| p.as_bytes().to_vec()).collect(),
    };
    Presented { key: identity(blob), certificate: Some(certificate) }
}

fn identity(blob: &[u8]) -> KeyIdentity {
    KeyIdentity { blob: blob.to_vec(), sha1: [0; 20], sha256: [0; 32] }
}

pub(crate) fn become_of(uid: u32, home: &Path, files: &[&Path], strict: bool) -> Become {
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    Become {
        uid,
        gid: uid,
        groups_of: None,
        home: bytes(home),
        files: files.iter().map(|f| bytes(f)).collect(),
        strict,
        principals_file: None,
        asker: asker(),
    }
}

/// A home directory with a .ssh in it; removed with the value.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    pub(crate) fn new(owner: u32) -> Home {
        let path = std::env::temp_dir().join(format!("sockward-reader-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        for directory in [path.clone(), path.join(".ssh")] {
            std::fs::create_dir(&directory).unwrap();
            give(&directory, owner, 0o755);
        }
        Home(path)
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join(".ssh/authorized_keys")
    }

    pub(crate) fn write(&self, content: &str, owner: u32, mode: u32) -> PathBuf {
        let path = self.keys();
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).unwrap();
        give(&path, owner, mode);
        path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn give(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
