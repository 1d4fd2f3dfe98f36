//! shadow(5): locked, expired. The password itself is looked at and not kept.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;

/// No line of shadow is longer.
const LINE_MAX: usize = 1 << 20;

/// What the shadow line of an account says. Days count from 1970-01-01 UTC; `None` = not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The password is locked: it starts with "!" (what OpenSSH tests on Linux) or is "*LK*"
    /// (accounts from other systems). OpenSSH refuses such accounts whatever the method, unless
    /// PAM decides.
    pub locked: bool,
    /// The account's last day.
    pub expires: Option<i64>,
    /// When the password was last changed; 0 = must be changed now.
    pub last_change: Option<i64>,
    /// Days a password is valid.
    pub maximum: Option<i64>,
}

impl Shadow {
    /// The account has expired: `today` is after its last day. OpenSSH refuses it.
    #[must_use]
    pub fn expired(&self, today: i64) -> bool {
        self.expires.is_some_and(|last| last < today)
    }

    /// The password has expired. OpenSSH minds it for password authentication only.
    #[must_use]
    pub fn password_expired(&self, today: i64) -> bool {
        match (self.last_change, self.maximum) {
            (Some(0), _) => true,
            (Some(changed), Some(maximum)) => changed.saturating_add(maximum) < today,
            (None, _) | (_, None) => false,
        }
    }

    /// The line of a name; `None` if there is none or it may not be read (not root).
    pub(super) fn of(name: &str) -> io::Result<Option<Shadow>> {
        let name = CString::new(name)?;
        let mut buffer: Vec<libc::c_char> = vec![0; 1024];
        loop {
            let mut entry = MaybeUninit::<libc::spwd>::uninit();
            let mut result: *mut libc::spwd = std::ptr::null_mut();
            // SAFETY: all pointers are valid for the call, and the length is the buffer's.
            let rc = unsafe {
                libc::getspnam_r(
                    name.as_ptr(),
                    entry.as_mut_ptr(),
                    buffer.as_mut_ptr(),
                    buffer.len(),
                    &raw mut result,
                )
            };
            match rc {
                0 if !result.is_null() => {
                    // SAFETY: on success with a result, `result` points to `entry`, filled in, whose
                    // strings lie in `buffer`, which lives on.
                    let shadow = Shadow::from_entry(unsafe { &*result });
                    wipe(&mut buffer);
                    return Ok(Some(shadow));
                }
                0 | libc::ENOENT | libc::ESRCH | libc::EACCES | libc::EPERM => return Ok(None),
                libc::ERANGE if buffer.len() < LINE_MAX => {
                    wipe(&mut buffer);
                    buffer = vec![0; buffer.len().saturating_mul(4)];
                }
                error => return Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    fn from_entry(entry: &libc::spwd) -> Shadow {
        let locked = !entry.sp_pwdp.is_null() && {
            // SAFETY: not null, so a NUL-terminated string of the filled-in entry.
            let password = unsafe { std::ffi::CStr::from_ptr(entry.sp_pwdp) };
            is_locked(password.to_bytes())
        };
        // An empty field is -1.
        let days = |value: libc::c_long| if value == -1 { None } else { Some(value) };
        Shadow {
            locked,
            expires: days(entry.sp_expire),
            last_change: days(entry.sp_lstchg),
            maximum: days(entry.sp_max),
        }
    }
}

pub(super) fn is_locked(password: &[u8]) -> bool {
    password.starts_with(b"!") || password == b"*LK*"
}

/// The buffer held a password hash.
fn wipe(buffer: &mut [libc::c_char]) {
    buffer.fill(0);
    std::hint::black_box(buffer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ALEX, as_user, root_or_skip};

    const OPEN: Shadow = Shadow { locked: false, expires: None, last_change: None, maximum: None };

    #[test]
    fn locked_is_a_prefix_and_an_empty_or_starred_password_is_not() {
        for locked in [&b"!"[..], b"!!", b"!$6$x", b"*LK*"] {
            assert!(is_locked(locked));
        }
        for open in [&b""[..], b"*", b"x", b"$6$!", b"*LK*x"] {
            assert!(!is_locked(open));
        }
    }

    #[test]
    fn an_account_expires_the_day_after_its_last() {
        let shadow = Shadow { expires: Some(100), ..OPEN };
        assert!(!shadow.expired(100));
        assert!(shadow.expired(101));
        assert!(!OPEN.expired(i64::MAX));
    }

    #[test]
    fn a_password_expires_by_age_or_at_once() {
        let aged = Shadow { last_change: Some(100), maximum: Some(10), ..OPEN };
        assert!(!aged.password_expired(110));
        assert!(aged.password_expired(111));
        assert!(Shadow { last_change: Some(0), ..OPEN }.password_expired(1));
        assert!(!Shadow { last_change: Some(100), ..OPEN }.password_expired(i64::MAX));
    }

    #[test]
    fn the_real_file_is_read_by_root_alone() {
        if !root_or_skip("shadow") {
            return;
        }
        // Debian's own accounts have "*": not locked in OpenSSH's sense.
        assert!(!Shadow::of("daemon").unwrap().unwrap().locked);
        assert_eq!(Shadow::of("no-such-user-here").unwrap(), None);
        as_user(ALEX, || assert_eq!(Shadow::of("daemon").unwrap(), None)).success();
    }
}
