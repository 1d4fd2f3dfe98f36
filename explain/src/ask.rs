//! The answers: the permit of the login, worked out as the server works it out, and held against what is asked.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sockward_config::authorized_keys::{self, Civil, OptionContext};
use sockward_config::sshd::{ConnectionFacts, Effective, expand_user_file};
use sockward_monitor::Options;
use sockward_policy::address::Peer;
use sockward_policy::{
    self as policy, By, Decision, KeyOptions, ListKind, Permit, Reason, Refusal, SessionKind, Source,
};
use sockward_privsep::role;
use sockward_sys::file::{self, Links};
use sockward_sys::{account, identity, resolve, time};

use crate::question::Question;
use crate::{peer, sandbox};

/// More of a key file is not read.
const KEYS_MAX: usize = authorized_keys::FILE_MAX;

/// Answers on standard output; whether everything is allowed.
pub(crate) fn answer(question: &Question) -> Result<bool, Vec<String>> {
    let one = |e: String| vec![e];
    let options =
        Options { config: question.config.clone(), lines: question.lines.clone(), ..Options::default() };
    let config = sockward_monitor::configuration(&options)?;
    let found = account::Account::by_name(&question.user).map_err(|e| one(e.to_string()))?;
    let found = found.ok_or_else(|| one(format!("there is no user {}", question.user)))?;
    let groups = found.group_names().map_err(|e| one(e.to_string()))?;
    let host = question.from.map_or_else(|| "UNKNOWN".to_owned(), |a| a.to_string());
    let facts = ConnectionFacts {
        user: Some(question.user.as_bytes()),
        groups: &groups,
        host: Some(&host),
        address: question.from,
        ..ConnectionFacts::default()
    };
    let effective = config.effective(&facts).map_err(|e| one(e.to_string()))?;
    let login = policy::Account {
        name: found.name.clone(),
        uid: found.uid,
        gid: found.gid,
        home: found.home.into_os_string().into_vec(),
        shell: found.shell.into_os_string().into_vec(),
    };
    // Names are looked up before the rights to do so are gone.
    let peers: Vec<_> =
        question.peers.iter().map(|name| peer::Local::find(name)).collect::<Result<_, _>>().map_err(one)?;
    let blob = question.key.as_deref().map(public_key).transpose().map_err(one)?;
    if question.sandbox {
        sandbox::say(&effective);
    }
    become_user(&login);

    let from = Peer { address: question.from, host: &host };
    let mut allowed = true;
    if let Err(why) = effective.may_log_in(&question.user, &groups, &from) {
        println!("{} may not log in: {why}", question.user);
        allowed = false;
    }
    let keys = match &blob {
        None => Vec::new(),
        Some(blob) => vec![key_options(blob, &effective, &login).map_err(one)?],
    };
    if let Some(Err(why)) = keys.first().map(|key| key.admit(&from, time::unix_seconds())) {
        println!("the key may not be used: {why}");
        allowed = false;
    }
    let permit = effective.permit(login, &keys).map_err(|e| one(e.to_string()))?;
    for at in &question.listen {
        let granted = listen(&permit, at);
        allowed &= granted;
        for who in &peers {
            allowed &= granted && peer::connects(&permit, at, who);
        }
    }
    for target in &question.open {
        allowed &= open(&permit, target);
    }
    for command in &question.commands {
        allowed &= execute(&permit, command);
    }
    Ok(allowed)
}

/// The user's rights, for good; where that cannot be, the answers are those of whoever asks.
fn become_user(login: &policy::Account) {
    let became = role::become_user((login.uid, login.gid), Some(&login.name));
    if became.is_err() && identity::effective_uid() != login.uid {
        println!("(not as root: what the file system says is said for you, not for {})", login.name);
    }
}

/// Where a request leads: a path, or a host and a port.
pub(crate) enum Place {
    Path(Vec<u8>),
    Tcp(Vec<u8>, u16),
}

impl Place {
    /// As `-R` and `-L` take it: with a slash or without a port at the end it is a path.
    pub(crate) fn of(text: &OsStr) -> Place {
        let bytes = text.as_bytes();
        if let Some(name) = bytes.strip_prefix(b"unix:") {
            return Place::Path(name.to_vec());
        }
        let port = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u16>().ok());
        let split = bytes.iter().rposition(|&b| b == b':').and_then(|at| bytes.split_at_checked(at));
        match (split, port(bytes)) {
            _ if bytes.contains(&b'/') => Place::Path(bytes.to_vec()),
            (None, Some(port)) => Place::Tcp(b"localhost".to_vec(), port),
            (Some((host, [_, digits @ ..])), _) if port(digits).is_some() => {
                let host = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
                Place::Tcp(host.to_vec(), port(digits).unwrap_or(0))
            }
            _ => Place::Path(bytes.to_vec()),
        }
    }
}

fn listen(permit: &Permit, at: &OsStr) -> bool {
    let what = format!("listen on {}", at.display());
    match Place::of(at) {
        Place::Path(path) => {
            of_path(permit, &what, sockward_helper::explain_path(permit, ListKind::PermitListen, &path))
        }
        Place::Tcp(host, port) => say(permit, &what, policy::decide_listen_tcp(permit, &host, port)),
    }
}

fn open(permit: &Permit, target: &OsStr) -> bool {
    let what = format!("open {}", target.display());
    match Place::of(target) {
        Place::Path(path) => {
            let result = sockward_helper::explain_path(permit, ListKind::PermitOpen, &path);
            let real = result.as_ref().ok().map(|(real, _)| real.clone());
            of_path(permit, &what, result) && real.is_some_and(|real| there(permit, &real))
        }
        Place::Tcp(host, port) => say(permit, &what, policy::decide_open_tcp(permit, &host, port)),
    }
}

/// Whether what is there now can be connected to. Nothing is; that is for the service to change, not the rules.
fn there(permit: &Permit, real: &[u8]) -> bool {
    let (name, path) = (&permit.account.name, Path::new(OsStr::from_bytes(real)));
    let why = match path.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("  nothing is there now");
            return true;
        }
        Err(e) => e.to_string(),
        Ok(metadata) if !metadata.file_type().is_socket() => "what is there is not a socket".to_owned(),
        Ok(metadata) if metadata.nlink() > 1 && policy::names_some_paths(permit, ListKind::PermitOpen) => {
            "the socket has a second name (a hard link), which the list may leave out".to_owned()
        }
        Ok(metadata) if !file::may_write(path) => {
            let (mode, owner, group) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            format!("the socket's mode is {mode:04o}, its owner {owner}, its group {group}")
        }
        Ok(_) => return true,
    };
    println!("{name} cannot connect to it: {why}");
    false
}

fn execute(permit: &Permit, command: &OsStr) -> bool {
    let kind = if command.is_empty() { SessionKind::Shell } else { SessionKind::Exec(command.as_bytes()) };
    let what =
        if command.is_empty() { "run a shell".to_owned() } else { format!("run {}", command.display()) };
    let decision = policy::decide_session(permit, kind);
    if let Decision::Allowed { grant, .. } = &decision
        && grant.original.is_some()
    {
        let runs = grant.command.as_deref().unwrap_or_default().escape_ascii();
        println!("what runs instead is: {runs}");
    }
    say(permit, &what, decision)
}

fn of_path(permit: &Permit, what: &str, result: Result<(Vec<u8>, By), sockward_helper::PathRefused>) -> bool {
    let name = &permit.account.name;
    match result {
        Ok((real, by)) => {
            println!("{name} may {what} (really {}): allowed by {by}", real.escape_ascii());
            true
        }
        Err(refused) => {
            println!("{name} may not {what}: {}", refused.why);
            if let Some(remedy) = refused.reason.as_ref().and_then(remedy) {
                println!("  to change that: {remedy}");
            }
            false
        }
    }
}

/// Says a decision; whether it allows.
fn say<T>(permit: &Permit, what: &str, decision: Decision<T>) -> bool {
    let name = &permit.account.name;
    match decision {
        Decision::Allowed { by, .. } => {
            println!("{name} may {what}: allowed by {by}");
            true
        }
        Decision::Refused(Refusal { by, why }) => {
            println!("{name} may not {what}: {}", Refusal { by, why: why.clone() });
            if let Some(remedy) = remedy(&why) {
                println!("  to change that: {remedy}");
            }
            false
        }
    }
}

/// What would have to be written otherwise.
pub(crate) fn remedy(why: &Reason) -> Option<String> {
    Some(match why {
        Reason::Direction(switch, _) => {
            format!("{} in the line named must leave this direction", switch.name())
        }
        Reason::NotListed(list) => format!("add it to the {} list of the line named", list.name()),
        Reason::ForcedCommand(list) => {
            format!("beside a forced command, name the sockets in a {} list of the same file", list.name())
        }
        Reason::PeersNeedLoopback => "listen on a loopback address, or take PermitPeer out".into(),
        Reason::PeerNotListed => "add the user, or @ and a group, to the PermitPeer line named".into(),
        Reason::PeerUnknown => return None,
        Reason::NoExecution => "WorkerIsolation connection".into(),
        Reason::NoSubsystem => "a Subsystem line of that name".into(),
        Reason::NoTty => "PermitTTY yes, or a key line with pty".into(),
        Reason::Limit(limited, _) => format!("a higher {}", limited.name()),
    })
}

/// The key of a .pub file.
fn public_key(path: &Path) -> Result<Vec<u8>, String> {
    let bytes =
        file::read_small(path, KEYS_MAX, Links::Follow).map_err(|e| format!("{}: {e}", path.display()))?;
    let key = authorized_keys::entries(&bytes).find_map(|entry| entry.key.ok());
    key.map(|key| key.blob).ok_or_else(|| format!("{}: there is no public key in it", path.display()))
}

/// What the first line with this key says.
fn key_options(blob: &[u8], effective: &Effective, login: &policy::Account) -> Result<KeyOptions, String> {
    for template in &effective.authorized_keys_files {
        let path = expand_user_file(template, login).map_err(|e| e.to_string())?;
        let path = std::path::PathBuf::from(OsString::from_vec(path));
        let Ok(content) = file::read_small(&path, KEYS_MAX, Links::Follow) else { continue };
        for entry in authorized_keys::entries(&content) {
            let Ok(key) = entry.key else { continue };
            if key.blob == blob {
                let source = Source::new(path.display().to_string(), entry.line);
                let context = OptionContext { services: &|name| resolve::service(name), local_time: &local };
                return key
                    .options(source, &context)
                    .map_err(|e| format!("{}:{}: {e}", path.display(), entry.line));
            }
        }
    }
    Err("no line of the user's key files holds that key (as far as they can be read)".into())
}

fn local(civil: &Civil) -> Option<u64> {
    time::local_seconds(civil.year, [civil.month, civil.day], [civil.hour, civil.minute, civil.second])
}
