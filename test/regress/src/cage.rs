//! One script: a copy of the folder, programs under the names it looks for, a network and a process table of its
//! own (many ports are fixed, and what it leaves running ends with it), a limit on the time.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sockward_test_support::{TempDir, sockward, stock};

use crate::{Column, Script};

/// Where Debian's openssh-tests has the scripts.
pub const SCRIPTS: &str = "/usr/lib/openssh/regress";

/// The longest that a script may take: stock binaries need far less for any of the table.
const LIMIT: Duration = Duration::from_secs(600);

/// How many of the last lines of a log are shown.
const LINES: usize = 60;

/// What a script came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// "ok".
    Passed,
    /// It says that it does not apply here, and why.
    Skipped(String),
    /// It does not pass.
    Failed {
        /// What it complains of, in its words.
        complaints: Vec<String>,
        /// What it said, and the ends of the logs.
        said: String,
    },
}

/// Runs one script to its end.
#[must_use]
pub fn run(script: &Script, column: Column) -> Outcome {
    let dir = TempDir::new();
    let folder = prepare(dir.path(), script, column);
    let output = dir.join("output");
    let mut child = command(script, column, &folder, &dir.join("bin"), &output).spawn().unwrap();
    let status = wait(&mut child);
    let said = std::fs::read_to_string(&output).unwrap_or_default();
    let skipped = said.lines().find_map(|line| line.strip_prefix("SKIPPED:"));
    let passed = said.lines().last().is_some_and(|line| line.starts_with("ok "));
    match (status, skipped) {
        (Some(status), Some(why)) if status.success() => Outcome::Skipped(why.trim().to_owned()),
        (Some(status), None) if status.success() && passed => Outcome::Passed,
        (status, _) => {
            let how = status.map_or_else(|| format!("not done after {LIMIT:?}"), |s| s.to_string());
            let log = std::fs::read_to_string(folder.join("failed-regress.log")).unwrap_or_default();
            let complaints = log.lines().filter_map(|line| line.strip_prefix("FAIL: "));
            let mut complaints: Vec<String> = complaints.map(str::to_owned).collect();
            complaints.sort();
            complaints.dedup();
            let ended = status.is_some_and(|s| s.code() == Some(1)) && !log.contains("FATAL: ");
            // One that did not come to its end may have had more to say.
            let complaints = if ended { complaints } else { Vec::new() };
            Outcome::Failed { complaints, said: format!("{how}\n{}", logs(&folder, &output)) }
        }
    }
}

/// The copy, and the programs.
fn prepare(dir: &Path, script: &Script, column: Column) -> PathBuf {
    let done = Command::new("cp").arg("-a").arg(SCRIPTS).arg(dir).status().unwrap();
    assert!(done.success(), "{SCRIPTS} cannot be copied");
    let folder = dir.join("regress");
    // Without it no security keys are tried: they need a library for a device that is not there.
    let config = std::fs::read_to_string(folder.join("config.h")).unwrap();
    let config: String =
        config.lines().filter(|l| !l.contains("ENABLE_SK")).map(|l| format!("{l}\n")).collect();
    std::fs::write(folder.join("config.h"), config).unwrap();
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let theirs = stock("ssh");
    let (ssh, sshd) = match column {
        Column::S => (theirs.display().to_string(), sockward().to_owned()),
        Column::C => (format!("{} ssh", sockward().display()), stock("sshd")),
    };
    symlink(sshd, bin.join("sshd")).unwrap();
    // The scripts try whatever `ssh -Q` names: what both sides have.
    let shim = format!(
        "#!/bin/sh\n\
         for word; do\n\
         if [ \"$asked\" ]; then {0} -Q \"$word\" | grep -Fx -e \"$({1} ssh -Q \"$word\")\" | grep -Fxv -e {2}; exit; fi\n\
         if [ \"$word\" = -Q ]; then asked=yes; fi\n\
         done\n\
         exec {ssh} \"$@\"\n",
        theirs.display(),
        sockward().display(),
        script.leave_out,
    );
    program(&bin.join("ssh"), &shim);
    // login-timeout connects with it, and passes for nothing where it is not there.
    program(&bin.join("telnet"), "#!/bin/sh\nexec nc \"$1\" \"$2\"\n");
    folder
}

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn command(script: &Script, column: Column, folder: &Path, bin: &Path, output: &Path) -> Command {
    let sshd = match column {
        Column::S => bin.join("sshd"),
        Column::C => stock("sshd"),
    };
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    // The shell stays, as the first process of its table: it waits for those that lost their parent.
    // Some put programs into /run by their process numbers, which are the same in every table.
    command
        .arg("ip link set lo up; mount -t tmpfs -o mode=755 none /run; mkdir /run/sshd; \"$@\"; exit $?")
        .arg("-");
    command.arg("sh").arg(folder.join("test-exec.sh")).arg(folder);
    command.arg(folder.join(format!("{}.sh", script.name)));
    let path =
        [bin, Path::new("/usr/sbin"), Path::new("/usr/bin"), Path::new("/sbin"), Path::new("/bin"), folder];
    command.env("PATH", std::env::join_paths(path).unwrap());
    for (name, value) in [
        ("SUDO", Path::new("")),
        ("TEST_SHELL", Path::new("sh")),
        ("BUILDDIR", folder),
        ("OBJ", folder),
        ("TEST_SSH_SSH", &bin.join("ssh")),
        ("TEST_SSH_SSHD", &sshd),
        ("TEST_SSH_SFTPSERVER", Path::new("/usr/lib/openssh/sftp-server")),
        ("TEST_SSH_IPV6", Path::new("yes")),
        ("TEST_SSH_ECC", Path::new("yes")),
        ("TEST_SSH_PLINK", Path::new("plink")),
        ("TEST_SSH_PUTTYGEN", Path::new("puttygen")),
        ("TEST_SSH_UNSAFE_PERMISSIONS", Path::new("1")),
        ("TEST_SSH_PORT", Path::new("4242")),
    ] {
        command.env(name, value);
    }
    command.env_remove("SSH_AUTH_SOCK");
    let out = std::fs::File::create(output).unwrap();
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    command
}

/// None when the time is over; then it is killed, and everything in its namespaces with it.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The ends of what the script and its programs said.
fn logs(folder: &Path, output: &Path) -> String {
    let mut files = vec![output.to_owned()];
    for name in ["ssh.log", "sshd.log"] {
        files.push(folder.join(name));
    }
    let mut text = String::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let content = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = content.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        text += &format!("---- {} ----\n{}\n", file.file_name().unwrap().to_string_lossy(), last.join("\n"));
    }
    text
}
