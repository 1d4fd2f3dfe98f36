//! Keywords whose lines add up, and lists with a form of their own.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sockward_policy::HostPort;
use sockward_wire::pattern;

use crate::forward::{self, Form};
use crate::{lex, units};

use super::value::{Arguments, Printer, Value};

/// `IdentityFile`, `-i` and `CertificateFile`: every line adds one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles(pub Vec<KeyFile>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// As written: `~`, tokens and variables are still there; `none` stands for no file.
    pub path: OsString,
    /// Whether the user named it, on the command line or in a file of theirs: then it is tried before an agent's keys.
    pub by_user: bool,
}

impl KeyFiles {
    /// OpenSSH's SSH_MAX_IDENTITY_FILES; servers hang up long before.
    const MAX: usize = 100;

    /// Files that are tried when none is named.
    pub(super) fn usual(names: &[&str]) -> Self {
        let file = |name: &&str| KeyFile { path: name.into(), by_user: false };
        KeyFiles(names.iter().map(file).collect())
    }

    /// Adds a file unless it is there already.
    pub(super) fn add(&mut self, file: KeyFile) -> Result<bool, String> {
        if self.0.contains(&file) {
            return Ok(false);
        }
        if self.0.len() >= KeyFiles::MAX {
            return Err(format!("too many files specified (max {})", KeyFiles::MAX));
        }
        self.0.push(file);
        Ok(true)
    }
}

impl Value for KeyFiles {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let path = OsString::from_vec(args.word()?);
        Ok(KeyFiles(vec![KeyFile { path, by_user: args.by_user }]))
    }

    fn take(slot: &mut Option<Self>, args: &mut Arguments<'_>) -> Result<bool, String> {
        let line = KeyFiles::parse(args)?;
        let mut added = false;
        if args.active {
            let files = slot.get_or_insert_default();
            for file in line.0 {
                added |= files.add(file)?;
            }
        }
        Ok(added)
    }

    fn print(&self, out: &mut Printer<'_>) {
        for file in &self.0 {
            out.line(file.path.as_bytes());
        }
    }
}

/// `LocalForward`, `RemoteForward` or `DynamicForward`: every line adds one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwards(pub Vec<forward::Forward>);

impl Forwards {
    /// Adds a forwarding unless it is there already.
    pub(super) fn add(&mut self, forward: forward::Forward) {
        if !self.0.contains(&forward) {
            self.0.push(forward);
        }
    }
}

impl Value for Forwards {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let form = match args.keyword {
            "RemoteForward" => Form::Remote,
            "DynamicForward" => Form::Dynamic,
            _ => Form::Local,
        };
        let first = args.word()?;
        let second = if form == Form::Dynamic { None } else { args.optional()? };
        let forward = forward::Forward::parse_words(&first, second.as_deref(), form, args.lookup);
        forward.map(|f| Forwards(vec![f])).map_err(|e| format!("bad forwarding specification: {e}"))
    }

    fn take(slot: &mut Option<Self>, args: &mut Arguments<'_>) -> Result<bool, String> {
        let line = Forwards::parse(args)?;
        if args.active {
            let forwards = slot.get_or_insert_default();
            line.0.into_iter().for_each(|f| forwards.add(f));
        }
        Ok(args.active)
    }

    fn print(&self, out: &mut Printer<'_>) {
        for forward in &self.0 {
            let (listen, target) = (forward.listen.to_spec(), forward.target.to_spec());
            let words = [listen, target];
            out.line(lex::join(words.iter().map(Vec::as_slice).filter(|w| !w.is_empty())));
        }
    }
}

/// `SendEnv`: patterns of variables to send. Every line adds some; `-pattern` takes away what matches it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendEnv(pub Vec<OsString>);

impl SendEnv {
    /// Whether a variable is to be sent.
    #[must_use]
    pub fn sends(&self, name: &[u8]) -> bool {
        self.0.iter().any(|p| pattern::matches(p.as_bytes(), name))
    }
}

impl Value for SendEnv {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = args.rest_of_words().collect();
        if words.is_empty() {
            return Err("missing argument".to_owned());
        }
        if words.iter().any(|w| w.is_empty() || w.contains(&b'=')) {
            return Err("invalid environment name".to_owned());
        }
        Ok(SendEnv(words.into_iter().map(OsString::from_vec).collect()))
    }

    fn take(slot: &mut Option<Self>, args: &mut Arguments<'_>) -> Result<bool, String> {
        let line = SendEnv::parse(args)?;
        if args.active {
            let sent = slot.get_or_insert_default();
            for word in line.0 {
                match word.as_bytes().strip_prefix(b"-") {
                    Some(cleared) => sent.0.retain(|p| !pattern::matches(cleared, p.as_bytes())),
                    None => sent.0.push(word),
                }
            }
        }
        Ok(args.active)
    }

    fn print(&self, out: &mut Printer<'_>) {
        for pattern in &self.0 {
            out.line(pattern.as_bytes());
        }
    }
}

/// `SetEnv`: variables to send, as `NAME=VALUE`. The first line is the whole list, and the first value of a name
/// counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetEnv(pub Vec<(OsString, OsString)>);

impl Value for SetEnv {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let mut set = SetEnv::default();
        for word in args.rest_of_words() {
            let at = word.iter().position(|&b| b == b'=').filter(|&at| at > 0);
            let (name, value) =
                at.and_then(|at| word.split_at_checked(at)).ok_or("invalid SetEnv, expected NAME=VALUE")?;
            if !set.0.iter().any(|(n, _)| n.as_bytes() == name) {
                let value = value.get(1..).unwrap_or_default();
                set.0.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())));
            }
        }
        if set.0.is_empty() { Err("missing argument".to_owned()) } else { Ok(set) }
    }

    fn print(&self, out: &mut Printer<'_>) {
        for (name, value) in &self.0 {
            out.line([name.as_bytes(), b"=", value.as_bytes()].concat());
        }
    }
}

/// `PermitRemoteOpen`: where `-R port` without a target (SOCKS) may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermitRemoteOpen {
    /// Anywhere.
    Any,
    /// Nowhere.
    None,
    /// To these, each with the word it was written as.
    List(Vec<(OsString, HostPort)>),
}

impl PermitRemoteOpen {
    /// Whether a connection to `host` and `port` may be made.
    #[must_use]
    pub fn permits(&self, host: &[u8], port: u16) -> bool {
        match self {
            PermitRemoteOpen::Any => true,
            PermitRemoteOpen::None => false,
            PermitRemoteOpen::List(list) => list.iter().any(|(_, permitted)| permitted.opens(host, port)),
        }
    }
}

impl Value for PermitRemoteOpen {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = args.rest_of_words().collect();
        let alone = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"any") || word.eq_ignore_ascii_case(b"none");
        match words.as_slice() {
            [] => return Err("missing argument".to_owned()),
            [only] if only.eq_ignore_ascii_case(b"any") => return Ok(PermitRemoteOpen::Any),
            [only] if only.eq_ignore_ascii_case(b"none") => return Ok(PermitRemoteOpen::None),
            all if all.iter().any(alone) => return Err("'any' and 'none' must appear alone".to_owned()),
            _ => {}
        }
        let lookup = args.lookup;
        let service = |name: &str| lookup.service(name);
        let mut list = Vec::new();
        for word in words {
            let permitted = HostPort::parse(&word, &service).map_err(|e| e.to_string())?;
            list.push((OsString::from_vec(word), permitted));
        }
        Ok(PermitRemoteOpen::List(list))
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self {
            PermitRemoteOpen::Any => out.line("any"),
            PermitRemoteOpen::None => out.line("none"),
            PermitRemoteOpen::List(list) => {
                let words: Vec<&[u8]> = list.iter().map(|(word, _)| word.as_bytes()).collect();
                out.line(words.join(&b' '));
            }
        }
    }
}

/// `ChannelTimeout`: kinds of channels and seconds without traffic after which they are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelTimeouts(pub Vec<(String, u32)>);

impl Value for ChannelTimeouts {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let first = args.text()?;
        if first.eq_ignore_ascii_case("none") {
            return Ok(ChannelTimeouts::default());
        }
        let mut timeouts = ChannelTimeouts::default();
        let mut next = Some(first);
        while let Some(word) = next {
            let (kind, time) = word.split_once('=').filter(|(kind, _)| !kind.is_empty()).unwrap_or_default();
            let seconds = units::interval(time).ok_or_else(|| format!("invalid channel timeout '{word}'"))?;
            timeouts.0.push((kind.to_owned(), seconds));
            next = args.optional_text()?;
        }
        Ok(timeouts)
    }

    fn print(&self, out: &mut Printer<'_>) {
        let words: Vec<String> = self.0.iter().map(|(kind, seconds)| format!("{kind}={seconds}")).collect();
        out.line(if words.is_empty() { "none".to_owned() } else { words.join(" ") });
    }
}
