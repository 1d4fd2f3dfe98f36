//! From files to a configuration: which file, what it includes, and what holds for a server that an ordinary
//! user runs without one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sockward_config::ConfigError;
use sockward_config::algorithms::Algorithms;
use sockward_config::lookup::Lookup;
use sockward_config::sshd::{self, Config, IncludedFile};
use sockward_crypto::AlgorithmNames;
use sockward_sys::account::{Account, Group};
use sockward_sys::file::{self, Links};

use crate::host_keys;
use crate::options::Options;

/// The largest configuration file read.
const FILE_MAX: usize = 1 << 20;
/// The largest banner shown.
const BANNER_MAX: usize = 200 * 1024;
/// Where the configuration is, the first that is there.
const SYSTEM_FILES: [&str; 2] = ["/etc/sockward/sshd_config", "/etc/ssh/sshd_config"];

/// A configuration and where it came from.
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// The groups of `StreamLocalBindGroup` that exist. They are looked up with the configuration: later the
    /// monitor waits for nobody.
    pub(crate) groups: BTreeMap<String, u32>,
    /// An ordinary user runs us without a configuration: for whom, and with which key file.
    pub(crate) personal: Option<Personal>,
}

/// The server of one user.
pub(crate) struct Personal {
    pub(crate) user: String,
}

/// Why there is no configuration: one line each.
pub(crate) type Faults = Vec<String>;

/// Reads what the options name, or what is there.
pub(crate) fn load(options: &Options) -> Result<Settings, Faults> {
    let one = |e: String| vec![e];
    let directory = std::env::current_dir().map_err(|e| one(format!("current directory: {e}")))?;
    let is_root = sockward_sys::identity::effective_uid() == 0;
    let (name, bytes, personal) = match (&options.config, is_root) {
        (Some(path), _) => (path.display().to_string(), read(path).map_err(one)?, None),
        (None, true) => {
            let path = SYSTEM_FILES.iter().map(Path::new).find(|p| p.exists());
            let path = path.ok_or_else(|| {
                one(format!(
                    "no configuration: neither {} nor {} is there; give one with -f",
                    SYSTEM_FILES[0], SYSTEM_FILES[1]
                ))
            })?;
            (path.display().to_string(), read(path).map_err(one)?, None)
        }
        (None, false) => {
            let (text, personal) = personal_configuration(options).map_err(one)?;
            ("built-in".to_owned(), text.into_bytes(), Some(personal))
        }
    };
    let names = AlgorithmNames::available();
    let context = sshd::Context {
        algorithms: &algorithms(&names),
        lookup: &SystemLookup,
        directory: directory.as_os_str().as_bytes(),
        options: &options.lines,
        ports: &options.ports,
    };
    let config = sshd::parse(&name, &bytes, &mut include, &context)
        .map_err(|errors| errors.iter().map(ConfigError::to_string).collect::<Faults>())?;
    let groups = socket_groups(&config)?;
    Ok(Settings { config, groups, personal })
}

/// A group that is not there restricts nothing: the server does not start (or keeps what it had), and `-t` says so.
/// A name service that does not answer keeps the sockets from being made, not the administrator from coming in.
fn socket_groups(config: &Config) -> Result<BTreeMap<String, u32>, Faults> {
    let (mut groups, mut faults) = (BTreeMap::new(), Vec::new());
    for (name, source) in config.socket_groups() {
        let shown = name.escape_debug();
        match Group::by_name(&name) {
            Ok(Some(group)) => {
                groups.insert(name, group.gid);
            }
            Ok(None) => {
                faults.push(format!("{source}: StreamLocalBindGroup {shown}: there is no such group"))
            }
            Err(e) => log::warn!(
                "{source}: StreamLocalBindGroup {shown}: {e}: no sockets are made with it until a reload"
            ),
        }
    }
    if faults.is_empty() { Ok(groups) } else { Err(faults) }
}

/// An ordinary user's server: for that user alone, on a loopback port, with a key that is made once and kept.
fn personal_configuration(options: &Options) -> Result<(String, Personal), String> {
    let account = Account::own().map_err(|e| e.to_string())?.ok_or("your user id has no account")?;
    let own = account.home.join(".config/sockward/sshd_config");
    if own.exists() {
        let bytes = read(&own)?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{}: not UTF-8", own.display()))?;
        return Ok((text, Personal { user: account.name }));
    }
    let key = host_keys::default_path(&account.home);
    let given =
        |name: &str| options.lines.iter().any(|l| l.trim_start().to_ascii_lowercase().starts_with(name));
    if !given("hostkey") {
        host_keys::ensure(&key)?;
    }
    let text = format!(
        "Port 2222\nListenAddress 127.0.0.1\nHostKey {}\nAllowUsers {}\nPidFile none\n\
         Subsystem sftp /usr/lib/openssh/sftp-server\n",
        quoted(&key)?,
        account.name,
    );
    Ok((text, Personal { user: account.name }))
}

fn quoted(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\n', '\\']) => Ok(format!("\"{text}\"")),
        _ => Err(format!("{}: a path like this cannot stand in a configuration", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    file::read_small(path, FILE_MAX, Links::Follow).map_err(|e| format!("{}: {e}", path.display()))
}

/// What `Include` names, in lexical order.
fn include(pattern: &str) -> Result<Vec<IncludedFile>, String> {
    let mut files = Vec::new();
    for path in file::glob(pattern).map_err(|e| format!("{pattern}: {e}"))? {
        let bytes = read(&path)?;
        files.push(IncludedFile { name: path.display().to_string(), bytes });
    }
    Ok(files)
}

/// The text of a `Banner` file; none where it cannot be read, as in OpenSSH.
pub(crate) fn read_banner(path: &[u8]) -> Option<Vec<u8>> {
    file::read_small(&crate::path_of(path), BANNER_MAX, Links::Follow).ok()
}

/// Services and homes from the system's files.
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn env(&self, name: &OsStr) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn service(&self, name: &str) -> Option<u16> {
        sockward_sys::resolve::service(name)
    }

    fn home(&self, user: Option<&OsStr>) -> Option<OsString> {
        let account = match user {
            Some(name) => Account::by_name(name.to_str()?),
            None => Account::own(),
        };
        account.ok().flatten().map(|a| a.home.into_os_string())
    }
}

/// As the configuration wants them.
pub(crate) fn algorithms(names: &AlgorithmNames) -> Algorithms<'_> {
    Algorithms::all(&names.ciphers, &names.macs, &names.kex, &names.keys, &names.ca_signatures)
}

/// A file next to which nothing is assumed: absolute as it is, else from the present directory.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
