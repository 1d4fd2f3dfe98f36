//! Programs that the invoking user has configured and that belong to his terminal: proxy commands, askpass.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::exec::{Plan, Program, run};
use super::{Child, SpawnError};

/// A program that runs in this process's session, working directory and environment. It can ask its user on
/// the terminal and gets the terminal's signals.
#[derive(Clone, Debug)]
pub struct Tool<'a> {
    /// The file to execute; no search along PATH.
    pub program: PathBuf,
    /// All arguments, the first being the name it is called by.
    pub argv: Vec<OsString>,
    /// Put into the environment, or in the place of what is there.
    pub env: Vec<(OsString, OsString)>,
    /// Descriptor 0.
    pub stdin: BorrowedFd<'a>,
    /// Descriptor 1.
    pub stdout: BorrowedFd<'a>,
    /// Descriptor 2.
    pub stderr: BorrowedFd<'a>,
}

impl Tool<'_> {
    /// Starts it; returns when it was executed.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        // A name that holds "=" (some shells keep such things) cannot be handed on.
        let sound = |name: &OsString| !name.is_empty() && !name.as_encoded_bytes().contains(&b'=');
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| sound(name) && !self.env.iter().any(|(n, _)| n == name))
            .collect();
        env.extend(self.env.iter().cloned());
        run(&Plan {
            program: Program::Path(self.program.as_os_str()),
            argv: &self.argv,
            env: &env,
            descriptors: &[self.stdin, self.stdout, self.stderr],
            new_session: false,
            controlling_terminal: false,
            directory: None,
            umask: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;
    use crate::spawn::Exit;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn it_shares_session_directory_and_environment() {
        let null = fd::dev_null().unwrap();
        let (out_r, out_w) = fd::pipe().unwrap();
        let tool = Tool {
            program: "/bin/sh".into(),
            argv: ["sh", "-c", "read x; echo $MORE; pwd; ps -o sid= -p $$; echo $PATH; ls /proc/$$/fd"]
                .map(Into::into)
                .to_vec(),
            env: vec![("MORE".into(), "this".into())],
            stdin: null.as_fd(),
            stdout: out_w.as_fd(),
            stderr: null.as_fd(),
        };
        let mut child = tool.spawn().unwrap();
        drop(out_w);
        let mut text = String::new();
        std::fs::File::from(out_r).read_to_string(&mut text).unwrap();
        // Not getsid(2) of rustix: it takes 0, a leader outside our pid namespace, for impossible.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let session = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(3)).unwrap();
        let here = std::env::current_dir().unwrap();
        let path = std::env::var("PATH").unwrap();
        let expected = format!("this\n{}\n{session}\n{path}\n0\n1\n2\n", here.display());
        assert_eq!(text.replace(' ', ""), expected.replace(' ', ""));
        assert_eq!(child.wait().unwrap(), Exit::Code(0));
    }
}
