//! Who is at the other end of a Unix stream socket, as the kernel knows it: the credentials at the
//! time of connect(2), or of listen(2) for the listening side.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;

use nix::sys::socket::{getsockopt, sockopt};

/// The most supplementary groups Linux has for a process (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

/// The kernel's default for ids that cannot be said in this user namespace.
const DEFAULT_OVERFLOW: u32 = 65_534;

/// A peer. Ids that a user namespace hides are `None`: whoever that is, it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: Option<u32>,
    /// Effective group id.
    pub gid: Option<u32>,
    /// Supplementary groups that can be said.
    pub groups: Vec<u32>,
    /// Process id, if it is in a pid namespace we see. May be gone, and another's, by now.
    pub pid: Option<i32>,
}

impl Peer {
    /// Whether it is in a group, by its primary or a supplementary one.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == Some(gid) || self.groups.contains(&gid)
    }
}

/// Asks the kernel (SO_PEERCRED, SO_PEERGROUPS). An error means: not identified.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
    let mut groups = peer_groups(&socket)?;
    groups.retain(|gid| known(*gid).is_some());
    // A TCP socket answers too, with pid 0 and ids of -1.
    Ok(Peer {
        uid: known(credentials.uid()),
        gid: known(credentials.gid()),
        groups,
        pid: Some(credentials.pid()).filter(|pid| *pid > 0),
    })
}

/// The uid that stands for every uid this user namespace does not map.
#[must_use]
pub fn overflow_uid() -> u32 {
    static READ: OnceLock<u32> = OnceLock::new();
    *READ.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
        text.trim().parse().unwrap_or(DEFAULT_OVERFLOW)
    })
}

/// An id that the kernel told, unless it stands for one that cannot be told.
pub(crate) fn known(id: u32) -> Option<u32> {
    let hidden = id == u32::MAX || id == DEFAULT_OVERFLOW || id == overflow_uid();
    (!hidden).then_some(id)
}

fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; 32];
    loop {
        let mut bytes =
            libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        // SAFETY: the buffer holds as many bytes as `bytes` says, and any bytes are valid ids.
        let rc = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).map_err(io::Error::other)? / size_of::<u32>();
        if rc == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // On ERANGE the kernel has put the needed length in.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > GROUPS_MAX {
            return Err(error);
        }
        groups = vec![0; count];
    }
}
