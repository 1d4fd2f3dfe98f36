//! The lists as seccomp filters, and their installation.
//!
//! A seccompiler filter has one action for what matches and one for all else. Three answers take two
//! filters, and of several the kernel takes the most severe answer:
//!
//! | call | first filter: named calls kill | second: the list allows | together |
//! | --- | --- | --- | --- |
//! | named as forbidden | kill | ENOSYS | kill |
//! | allowed | allow | allow | allow |
//! | any other | allow | ENOSYS | ENOSYS |
//!
//! Both kill calls of another architecture; on x86_64 a third kills the x32 calls, which share
//! the architecture and set a bit in the number.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Links;
use super::calls::{ALLOWED, GETSOCKOPT, KILLED, KILLED_HERE, SETFL, SETSOCKOPT};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters in all threads.
pub(super) fn install(links: Links<'_>) -> Result<(), seccompiler::Error> {
    let allow =
        compile(allowed(links)?, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()), SeccompAction::Allow)?;
    let kill = compile(killed(links)?, SeccompAction::Allow, SeccompAction::KillProcess)?;
    // The list of what is allowed goes last: installing a filter is not on it.
    apply_filter_all_threads(&kill)?;
    #[cfg(target_arch = "x86_64")]
    apply_filter_all_threads(&x32())?;
    apply_filter_all_threads(&allow)
}

/// Installs what kills, and no list of what is allowed. send(2) without an address is how a stream is written whose
/// flags are not ours to change.
pub(super) fn install_for_gate(helper: BorrowedFd<'_>) -> Result<(), seccompiler::Error> {
    let mut rules = killed(Links::Any)?;
    let elsewhere = int(0, SeccompCmpOp::Ne, helper.as_raw_fd())?;
    rules.insert(libc::SYS_sendmsg, vec![rule([elsewhere])?]);
    let address = SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_sendto, vec![rule([address])?]);
    let kill = compile(rules, SeccompAction::Allow, SeccompAction::KillProcess)?;
    #[cfg(target_arch = "x86_64")]
    apply_filter_all_threads(&x32())?;
    apply_filter_all_threads(&kill)
}

fn compile(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, otherwise, matched, ARCH)?.try_into()
}

fn allowed(links: Links<'_>) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let no_exec = masked(2, libc::PROT_EXEC, 0)?;
    rules.insert(
        libc::SYS_mmap,
        // Anonymous memory only: there is no file that it could be of.
        vec![rule([no_exec.clone(), masked(3, libc::MAP_ANONYMOUS, libc::MAP_ANONYMOUS)?])?],
    );
    rules.insert(libc::SYS_mprotect, vec![rule([no_exec])?]);
    rules.insert(libc::SYS_tgkill, vec![rule([own_pid(SeccompCmpOp::Eq)?])?]);
    rules.insert(libc::SYS_getsockopt, options(GETSOCKOPT)?);
    rules.insert(libc::SYS_setsockopt, options(SETSOCKOPT)?);
    rules.insert(
        libc::SYS_fcntl,
        vec![
            rule([equal(1, libc::F_GETFD)?])?,
            rule([equal(1, libc::F_SETFD)?])?,
            rule([equal(1, libc::F_GETFL)?])?,
            rule([equal(1, libc::F_SETFL)?, masked(2, !SETFL, 0)?])?,
        ],
    );
    rules.insert(libc::SYS_ioctl, vec![rule([long(1, SeccompCmpOp::Eq, libc::FIONREAD)?])?]);
    let recvmsg = match links {
        // No condition: whatever the arguments.
        Links::Any => Vec::new(),
        Links::Only(links) => {
            links.iter().map(|link| rule([equal(0, link.as_raw_fd())?])).collect::<Result<_, _>>()?
        }
    };
    if matches!(links, Links::Any) || !recvmsg.is_empty() {
        rules.insert(libc::SYS_recvmsg, recvmsg);
    }
    Ok(rules)
}

fn killed(links: Links<'_>) -> Result<Rules, BackendError> {
    let mut rules: Rules = KILLED.iter().chain(KILLED_HERE).map(|call| (*call, Vec::new())).collect();
    // Memory that is made executable, a signal to another process, descriptors from elsewhere.
    rules.insert(libc::SYS_mmap, vec![rule([masked(2, libc::PROT_EXEC, libc::PROT_EXEC)?])?]);
    rules.insert(libc::SYS_mprotect, vec![rule([masked(2, libc::PROT_EXEC, libc::PROT_EXEC)?])?]);
    rules.insert(libc::SYS_tgkill, vec![rule([own_pid(SeccompCmpOp::Ne)?])?]);
    if let Links::Only(links) = links {
        let elsewhere = links
            .iter()
            .map(|link| int(0, SeccompCmpOp::Ne, link.as_raw_fd()))
            .collect::<Result<Vec<_>, _>>()?;
        let recvmsg = if elsewhere.is_empty() { Vec::new() } else { vec![SeccompRule::new(elsewhere)?] };
        rules.insert(libc::SYS_recvmsg, recvmsg);
    }
    Ok(rules)
}

/// load the number; if it is at or above the x32 bit: kill; else: allow.
#[cfg(target_arch = "x86_64")]
fn x32() -> BpfProgram {
    const X32_SYSCALL_BIT: u32 = 0x4000_0000;
    let step = |code: u32, jt, jf, k| seccompiler::sock_filter {
        // All BPF codes fit.
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt,
        jf,
        k,
    };
    vec![
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_SYSCALL_BIT),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn options(list: &[(i32, i32)]) -> Result<Vec<SeccompRule>, BackendError> {
    list.iter().map(|(level, name)| rule([equal(1, *level)?, equal(2, *name)?])).collect()
}

fn own_pid(op: SeccompCmpOp) -> Result<SeccompCondition, BackendError> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    int(0, op, pid)
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.to_vec())
}

fn equal(argument: u8, value: i32) -> Result<SeccompCondition, BackendError> {
    int(argument, SeccompCmpOp::Eq, value)
}

/// The bits of an argument under a mask.
fn masked(argument: u8, mask: i32, value: i32) -> Result<SeccompCondition, BackendError> {
    int(argument, SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned())), value)
}

/// A comparison of the 32 bits that the kernel looks at where the argument is an int.
fn int(argument: u8, op: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, u64::from(value.cast_unsigned()))
}

/// An ioctl number: the kernel takes an unsigned int.
fn long(argument: u8, op: SeccompCmpOp, value: libc::Ioctl) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}
