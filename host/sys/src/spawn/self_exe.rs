//! Our own binary, opened at start and executed again in other roles.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::exec::{Plan, Program, run};
use super::{Child, SpawnError};
use crate::fd;

/// A descriptor of the running binary. What it starts is that very file, also after the path was
/// replaced by an upgrade or deleted.
#[derive(Debug)]
pub struct SelfExe(OwnedFd);

/// A process of ours to start.
///
/// Standard input and output are /dev/null. It runs with this process's ids: a role that should
/// have fewer rights drops them itself, first thing ([`crate::identity::become_user`]).
/// It must end when its link does; no parent-death signal is set, because the kernel clears that
/// at the change of ids.
#[derive(Clone, Debug, Default)]
pub struct Role<'a> {
    /// All arguments; the first is what ps(1) shows, the next names the role.
    pub argv: Vec<OsString>,
    /// The whole environment. Leave it empty: a backtrace setting would make a sandboxed panic
    /// open files.
    pub env: Vec<(OsString, OsString)>,
    /// Standard error; /dev/null if absent.
    pub stderr: Option<BorrowedFd<'a>>,
    /// The descriptors 3, 4, … of the role, taken there with [`fd::inherited`].
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Whether it leads a session of its own, out of reach of a terminal's signals.
    pub new_session: bool,
}

impl SelfExe {
    /// Opens the running binary. At start, while /proc is there and before any change of ids.
    pub fn open() -> io::Result<SelfExe> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(SelfExe(rustix::fs::open("/proc/self/exe", flags, Mode::empty())?))
    }

    /// Starts a role; returns when it was executed.
    pub fn spawn(&self, role: &Role<'_>) -> Result<Child, SpawnError> {
        let null = fd::dev_null().map_err(|source| SpawnError { stage: super::Stage::Prepare, source })?;
        let mut descriptors = vec![null.as_fd(), null.as_fd(), role.stderr.unwrap_or(null.as_fd())];
        descriptors.extend(&role.descriptors);
        run(&Plan {
            program: Program::Descriptor(self.0.as_fd()),
            argv: &role.argv,
            env: &role.env,
            descriptors: &descriptors,
            new_session: role.new_session,
            controlling_terminal: false,
            directory: None,
            umask: None,
        })
    }
}

impl AsFd for SelfExe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Names the calling thread, and if it is the first the process, for ps(1) and top(1); 15 bytes are
/// kept. On older kernels a binary executed by descriptor is called by that descriptor's number.
pub fn set_process_name(name: &str) {
    let bytes: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(bytes) {
        let _ = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Link;
    use crate::spawn::Exit;
    use crate::testing::{TempDir, alone};

    const ROLE: &str = "SOCKWARD_TEST_ROLE";

    /// The binary of these tests, run again for one test: the role below.
    fn role<'a>(descriptors: Vec<BorrowedFd<'a>>) -> Role<'a> {
        Role {
            argv: ["sockward: role", "--exact", "spawn::self_exe::tests::the_role_itself"]
                .map(Into::into)
                .to_vec(),
            env: vec![(ROLE.into(), "yes".into())],
            stderr: None,
            descriptors,
            new_session: true,
        }
    }

    #[test]
    fn the_role_itself() {
        if std::env::var_os(ROLE).is_none() {
            return;
        }
        let link = Link::from_fd(fd::inherited(3).unwrap()).unwrap();
        let pipe = fd::inherited(4).unwrap();
        set_process_name("sockward-role-with-a-long-name");
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            // The directory being read is open too.
            (!target.starts_with("/proc")).then(|| entry.file_name().into_string().unwrap())
        });
        let mut open: Vec<_> = open.collect();
        open.sort();
        let facts = format!(
            "{} {} {} {} {}",
            std::env::args().next().unwrap(),
            std::env::vars_os().count(),
            open.join(","),
            rustix::process::getsid(None).unwrap() == rustix::process::getpid(),
            std::fs::read_to_string("/proc/thread-self/comm").unwrap().trim(),
        );
        fd::write(&pipe, b"pipe").unwrap();
        link.send(facts.as_bytes(), None).unwrap();
        link.set_nonblocking(false).unwrap();
        // The end of the link is the end of the role.
        assert!(link.recv(&mut [0; 8]).unwrap().is_none());
    }

    fn start_and_check(exe: &SelfExe) {
        let (ours, theirs) = Link::pair().unwrap();
        let (r, w) = fd::pipe().unwrap();
        let mut child = exe.spawn(&role(vec![theirs.as_fd(), w.as_fd()])).unwrap();
        drop((theirs, w));
        ours.set_nonblocking(false).unwrap();
        let mut buf = [0; 1024];
        let len = ours.recv(&mut buf).unwrap().unwrap().len;
        let facts = std::str::from_utf8(&buf[..len]).unwrap();
        assert_eq!(facts, "sockward: role 1 0,1,2,3,4 true sockward-role-w");
        assert_eq!(fd::read(&r, &mut buf).unwrap(), 4);
        assert_eq!(child.try_wait().unwrap(), None);
        drop(ours);
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
        assert_eq!(child.wait().unwrap(), Exit::Code(0), "an answer that stays");
        child.kill().unwrap();
    }

    #[test]
    fn a_role_gets_its_descriptors_and_nothing_else() {
        start_and_check(&SelfExe::open().unwrap());
    }

    #[test]
    fn a_deleted_binary_still_starts_roles() {
        alone(|| {
            let tmp = TempDir::new();
            let copy = tmp.path().join("binary");
            std::fs::copy("/proc/self/exe", &copy).unwrap();
            let opened = rustix::fs::open(&copy, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
            std::fs::remove_file(&copy).unwrap();
            std::fs::write(&copy, "replaced").unwrap();
            start_and_check(&SelfExe(opened));
        });
    }

    #[test]
    fn a_role_may_be_given_the_numbers_that_it_is_to_have() {
        // The link's own number here may be 3, 4 or any other: the order decides.
        let exe = SelfExe::open().unwrap();
        let (ours, theirs) = Link::pair().unwrap();
        let (_r, w) = fd::pipe().unwrap();
        let mut wrong = exe.spawn(&role(vec![w.as_fd(), theirs.as_fd()])).unwrap();
        assert_ne!(wrong.wait().unwrap(), Exit::Code(0), "a pipe is no link");
        drop(ours);
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let null = fd::dev_null().unwrap();
        let error = SelfExe(null).spawn(&role(vec![])).unwrap_err();
        assert_eq!(error.stage, crate::spawn::Stage::Exec);
    }
}
