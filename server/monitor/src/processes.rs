//! Starting the other processes: what each is given, and nothing more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use sockward_privsep::Channel;
use sockward_privsep::role::{Arguments, Role};
use sockward_sys::identity::EmptyRoot;
use sockward_sys::link::Link;
use sockward_sys::spawn::{self, Child, SelfExe};

/// What the monitor starts processes with.
pub(crate) struct Processes {
    exe: SelfExe,
    /// Root's servers alone: what the workers have for a root directory.
    empty_root: Option<EmptyRoot>,
    worker_ids: Option<(u32, u32)>,
    pub(crate) log_level: String,
}

/// A started process and our end of its link.
pub(crate) struct Started<Out, In> {
    pub(crate) channel: Channel<Out, In>,
    pub(crate) child: Child,
}

impl Processes {
    /// `worker_ids`: whom workers become; none where the server does not run as root.
    pub(crate) fn new(exe: SelfExe, worker_ids: Option<(u32, u32)>, log_level: String) -> io::Result<Self> {
        let empty_root = worker_ids.map(|_| EmptyRoot::create()).transpose()?;
        Ok(Processes { exe, empty_root, worker_ids, log_level })
    }

    /// A worker; its link is that of one connection, or the control link of a shared worker.
    pub(crate) fn worker<Out, In>(&self, role: Role) -> io::Result<Started<Out, In>> {
        let extra: Vec<BorrowedFd<'_>> = self.empty_root.iter().map(AsFd::as_fd).collect();
        self.start("sockward: worker", role, self.worker_ids, None, &extra)
    }

    /// A reader: keeps the monitor's rights until it is told whom to become.
    pub(crate) fn reader<Out, In>(&self) -> io::Result<Started<Out, In>> {
        self.start("sockward: reader", Role::Reader, None, None, &[])
    }

    /// A helper: becomes the user before it hears anything.
    pub(crate) fn helper<Out, In>(&self, user: &str, uid: u32, gid: u32) -> io::Result<Started<Out, In>> {
        self.start(&format!("sockward: helper [{user}]"), Role::Helper, Some((uid, gid)), Some(user), &[])
    }

    fn start<Out, In>(
        &self,
        title: &str,
        role: Role,
        ids: Option<(u32, u32)>,
        groups_of: Option<&str>,
        extra: &[BorrowedFd<'_>],
    ) -> io::Result<Started<Out, In>> {
        let (ours, theirs) = Link::pair()?;
        let arguments = Arguments {
            role,
            ids,
            groups_of: groups_of.map(str::to_owned),
            log_level: self.log_level.clone(),
        };
        let stderr = io::stderr();
        let mut descriptors = vec![theirs.as_fd()];
        descriptors.extend(extra);
        let child = self.exe.spawn(&spawn::Role {
            argv: arguments.to_args(title),
            env: Vec::new(),
            // Where a panic's last words go; nothing else is written there.
            stderr: Some(stderr.as_fd()),
            descriptors,
            new_session: true,
        })?;
        Ok(Started { channel: Channel::new(ours), child })
    }
}
