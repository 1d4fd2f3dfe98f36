//! What reading the configuration asks of this machine: files, the environment, name tables, commands.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sockward_config::lookup::Lookup;
use sockward_config::ssh::{CONFIG_MAX, Local, Machine};
use sockward_sys::account::{Account, DEFAULT_SHELL};
use sockward_sys::spawn::{Exit, Tool};
use sockward_sys::{fd, identity, interface, resolve};

/// This machine, as the invoking user sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThisMachine;

impl Lookup for ThisMachine {
    fn env(&self, name: &OsStr) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn service(&self, name: &str) -> Option<u16> {
        resolve::service(name)
    }

    fn home(&self, user: Option<&OsStr>) -> Option<OsString> {
        let account = match user {
            Some(name) => Account::by_name(name.to_str()?),
            None => Account::own(),
        };
        Some(account.ok()??.home.into_os_string())
    }
}

impl Machine for ThisMachine {
    fn succeeds(&self, command: &OsStr) -> Result<bool, String> {
        let run = || -> io::Result<Exit> {
            let null = fd::dev_null()?;
            let stderr = io::stderr();
            let (stdin, stderr) = (null.as_fd(), stderr.as_fd());
            let mut child = shell(command, stdin, stdin, stderr).spawn()?;
            child.wait()
        };
        run().map(|exit| exit == Exit::Code(0)).map_err(|e| e.to_string())
    }

    fn include(&self, pattern: &OsStr) -> Result<Vec<(OsString, Vec<u8>)>, String> {
        let text = pattern.to_str().ok_or("the pattern is not UTF-8")?;
        let mut files = Vec::new();
        for path in sockward_sys::file::glob(text).map_err(|e| e.to_string())? {
            if let Some(content) = private_file(&path)? {
                files.push((path.into_os_string(), content));
            }
        }
        Ok(files)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let found = interface::addresses().unwrap_or_default();
        found.into_iter().map(|found| found.address).collect()
    }
}

/// A command of the configuration, run by the user's shell.
pub(crate) fn shell<'a>(
    command: &OsStr,
    stdin: std::os::fd::BorrowedFd<'a>,
    stdout: std::os::fd::BorrowedFd<'a>,
    stderr: std::os::fd::BorrowedFd<'a>,
) -> Tool<'a> {
    let shell = std::env::var_os("SHELL").filter(|s| !s.is_empty()).unwrap_or_else(|| DEFAULT_SHELL.into());
    Tool {
        program: PathBuf::from(&shell),
        argv: vec![shell, "-c".into(), command.to_owned()],
        env: Vec::new(),
        stdin,
        stdout,
        stderr,
    }
}

/// Who runs this program, and where.
pub(crate) fn local() -> Result<Local, String> {
    let uid = identity::effective_uid();
    let account = Account::own().map_err(|e| format!("cannot look up uid {uid}: {e}"))?;
    let account = account.ok_or_else(|| format!("No user exists for uid {uid}"))?;
    Ok(Local {
        user: account.name,
        uid,
        home: account.home.into_os_string(),
        hostname: interface::hostname().to_string_lossy().into_owned(),
        version: crate::VERSION.to_owned(),
        sha1: sockward_crypto::sha1,
    })
}

/// Reads a file of the user's configuration; `None` if it is not there.
///
/// It must belong to the user or to root and be writable by nobody else: whoever writes it can have commands run.
pub(crate) fn private_file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // As OpenSSH: what cannot be read does not count.
        Err(e) => {
            log::debug!("cannot read {}: {e}", path.display());
            return Ok(None);
        }
    };
    let metadata = file.metadata().map_err(|e| format!("cannot look at {}: {e}", path.display()))?;
    let ours = metadata.uid() == 0 || metadata.uid() == identity::effective_uid();
    if !ours || metadata.mode() & 0o022 != 0 {
        return Err(format!("Bad owner or permissions on {}", path.display()));
    }
    read(file, path).map(Some)
}

/// Reads an opened configuration file.
pub(crate) fn read(file: File, path: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let limit = u64::try_from(CONFIG_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut content).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if content.len() > CONFIG_MAX {
        return Err(format!("{} is longer than {CONFIG_MAX} bytes", path.display()));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let path = std::env::temp_dir().join(format!("sockward-config-{}", std::process::id()));
        assert_eq!(private_file(&path), Ok(None));
        std::fs::write(&path, "Host x").unwrap();
        let mode = |bits| std::fs::set_permissions(&path, PermissionsExt::from_mode(bits)).unwrap();
        mode(0o644);
        assert_eq!(private_file(&path), Ok(Some(b"Host x".to_vec())));
        for bits in [0o664, 0o646] {
            mode(bits);
            assert!(private_file(&path).unwrap_err().starts_with("Bad owner or permissions"));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn commands_tell_by_their_status() {
        assert_eq!(ThisMachine.succeeds(OsStr::new("exit 0")), Ok(true));
        assert_eq!(ThisMachine.succeeds(OsStr::new("exit 3")), Ok(false));
    }
}
