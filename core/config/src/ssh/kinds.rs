//! Keywords of ssh_config that take something small with a form of its own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use sockward_policy::PeerList;

use crate::ipqos::IpQos;
use crate::units;

use super::value::{Arguments, Printer, Value};

/// `AddKeysToAgent`. Lifetimes are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddKeysToAgent {
    /// No.
    No,
    /// Yes, for so long or for good.
    Yes(Option<u32>),
    /// The user is asked first.
    Ask,
    /// The agent asks before each use.
    Confirm(Option<u32>),
}

impl Value for AddKeysToAgent {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        let lifetime = match args.optional_text()? {
            Some(text) => Some(units::interval(&text).ok_or_else(|| format!("invalid time value '{text}'"))?),
            None => None,
        };
        match (&*word.to_ascii_lowercase(), lifetime) {
            ("confirm", lifetime) => Ok(AddKeysToAgent::Confirm(lifetime.filter(|&t| t > 0))),
            ("yes" | "true", None) => Ok(AddKeysToAgent::Yes(None)),
            ("no" | "false", None) => Ok(AddKeysToAgent::No),
            ("ask", None) => Ok(AddKeysToAgent::Ask),
            (time, None) => match units::interval(time) {
                Some(time) => Ok(AddKeysToAgent::Yes(Some(time).filter(|&t| t > 0))),
                None => Err(format!("'{word}' is not yes, no, ask, confirm or a time")),
            },
            (_, Some(_)) => Err(format!("a time can follow 'confirm' alone, not '{word}'")),
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self {
            AddKeysToAgent::No => out.line("false"),
            AddKeysToAgent::Yes(None) => out.line("true"),
            AddKeysToAgent::Yes(Some(time)) => out.line(time.to_string()),
            AddKeysToAgent::Ask => out.line("ask"),
            AddKeysToAgent::Confirm(None) => out.line("confirm"),
            AddKeysToAgent::Confirm(Some(time)) => out.line(format!("confirm {time}")),
        }
    }
}

/// `ControlPersist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPersist {
    /// The master ends with its first session.
    No,
    /// It stays.
    Yes,
    /// It stays for so many seconds without a session.
    For(u32),
}

impl Value for ControlPersist {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        match word.as_str() {
            "no" | "false" => Ok(ControlPersist::No),
            "yes" | "true" => Ok(ControlPersist::Yes),
            time => match units::interval(time) {
                Some(0) => Ok(ControlPersist::Yes),
                Some(seconds) => Ok(ControlPersist::For(seconds)),
                None => Err(format!("bad ControlPersist argument '{word}', expected yes, no or a time")),
            },
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self {
            ControlPersist::No => out.line("no"),
            ControlPersist::Yes => out.line("yes"),
            ControlPersist::For(seconds) => out.line(seconds.to_string()),
        }
    }
}

/// `EscapeChar`, `-e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscapeChar(pub Option<u8>);

impl EscapeChar {
    /// Reads one character, `^` and a letter, or `none`.
    pub(super) fn from_word(word: &[u8]) -> Option<Self> {
        match word {
            b"none" => Some(EscapeChar(None)),
            [c] => Some(EscapeChar(Some(*c))),
            [b'^', c @ 64..=127] => Some(EscapeChar(Some(c & 31))),
            _ => None,
        }
    }
}

impl Value for EscapeChar {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.word()?;
        EscapeChar::from_word(&word).ok_or_else(|| format!("bad escape character '{}'", word.escape_ascii()))
    }

    /// As vis(3) shows it.
    fn print(&self, out: &mut Printer<'_>) {
        match self.0 {
            None => out.line("none"),
            Some(c @ 0..=31) => out.line([b'\\', b'^', c | 64]),
            Some(127) => out.line("\\^?"),
            Some(b' ') => out.line("\\040"),
            Some(b'\\') => out.line("\\\\"),
            Some(c) => out.line([c]),
        }
    }
}

/// `ForwardAgent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardAgent {
    /// No.
    No,
    /// The agent that is used.
    Yes,
    /// The agent at this socket, or at the one the variable (`$NAME`) names.
    Socket(OsString),
}

impl Value for ForwardAgent {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let path = args.agent_socket()?;
        Ok(match path.to_str().map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "true") => ForwardAgent::Yes,
            Some("no" | "false") => ForwardAgent::No,
            _ => ForwardAgent::Socket(path),
        })
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self {
            ForwardAgent::No => out.line("no"),
            ForwardAgent::Yes => out.line("yes"),
            ForwardAgent::Socket(path) => path.print(out),
        }
    }
}

/// `IdentityAgent`: a socket, `none`, `SSH_AUTH_SOCK` or `$NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityAgent(pub OsString);

impl Value for IdentityAgent {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        args.agent_socket().map(IdentityAgent)
    }

    fn print(&self, out: &mut Printer<'_>) {
        self.0.print(out);
    }
}

/// `IPQoS`: of interactive sessions and of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpQosPair {
    /// With a terminal.
    pub interactive: IpQos,
    /// Without.
    pub bulk: IpQos,
}

impl Value for IpQosPair {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let class = |word: String| IpQos::parse(&word).ok_or_else(|| format!("bad IPQoS value '{word}'"));
        let interactive = class(args.text()?)?;
        let bulk = args.optional_text()?.map_or(Ok(interactive), class)?;
        Ok(IpQosPair { interactive, bulk })
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(format!("{} {}", self.interactive, self.bulk));
    }
}

/// `RekeyLimit`. The parts are set one by one: a line with bytes alone leaves the time to a later line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RekeyLimit {
    bytes: Option<u64>,
    seconds: Option<u32>,
}

impl RekeyLimit {
    /// After so many bytes in one direction; `None` is the cipher's own limit.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.bytes.filter(|&b| b > 0)
    }

    /// After so many seconds.
    #[must_use]
    pub fn seconds(&self) -> Option<u32> {
        self.seconds.filter(|&s| s > 0)
    }
}

impl Value for RekeyLimit {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let bytes = Some(units::rekey_bytes(&args.text()?)?);
        let seconds = args.optional_text()?.map_or(Ok(None), |word| units::rekey_seconds(&word))?;
        Ok(RekeyLimit { bytes, seconds })
    }

    fn take(slot: &mut Option<Self>, args: &mut Arguments<'_>) -> Result<bool, String> {
        let line = Self::parse(args)?;
        if !args.active {
            return Ok(false);
        }
        let limit = slot.get_or_insert_default();
        let before = *limit;
        limit.bytes = limit.bytes.or(line.bytes);
        limit.seconds = limit.seconds.or(line.seconds);
        Ok(*limit != before)
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(format!("{} {}", self.bytes.unwrap_or(0), self.seconds.unwrap_or(0)));
    }
}

/// `TunnelDevice`, `-w`: numbers of devices here and there; `None` is the next free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelDevice {
    /// On this machine.
    pub local: Option<u32>,
    /// On the server.
    pub remote: Option<u32>,
}

impl TunnelDevice {
    /// OpenSSH's SSH_TUNID_MAX.
    const MAX: u32 = 0x7fff_fffd;

    /// Reads `local[:remote]`, each a number or `any`.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        let device = |text: &str| match text {
            any if any.eq_ignore_ascii_case("any") => Some(None),
            number if number.bytes().all(|b| b.is_ascii_digit()) => {
                number.parse().ok().filter(|&n| n <= TunnelDevice::MAX).map(Some)
            }
            _ => None,
        };
        let (local, remote) = word.split_once(':').unwrap_or((word, "any"));
        Some(TunnelDevice { local: device(local)?, remote: device(remote)? })
    }
}

impl Value for TunnelDevice {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        TunnelDevice::from_word(&word).ok_or_else(|| format!("bad tun device '{word}'"))
    }

    fn print(&self, out: &mut Printer<'_>) {
        let text = |device: Option<u32>| device.map_or("any".to_owned(), |n| n.to_string());
        out.line(format!("{}:{}", text(self.local), text(self.remote)));
    }
}

/// `StreamLocalBindMask`: the mask for the mode of sockets bound on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindMask(pub u32);

impl Value for BindMask {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        let octal = word.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let mask = u32::from_str_radix(&word, 8).ok().filter(|&m| octal && m <= 0o777);
        mask.map(BindMask).ok_or_else(|| format!("bad mask '{word}', expected an octal number up to 0777"))
    }

    fn print(&self, out: &mut Printer<'_>) {
        out.line(format!("0{:o}", self.0));
    }
}

/// `ObscureKeystrokeTiming`: the interval in milliseconds, 0 for not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeystrokeInterval(pub u32);

impl KeystrokeInterval {
    /// OpenSSH's SSH_KEYSTROKE_DEFAULT_INTERVAL_MS.
    const DEFAULT: u32 = 20;
}

impl Value for KeystrokeInterval {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let word = args.text()?;
        let milliseconds = match word.as_str() {
            "yes" | "true" => Some(Self::DEFAULT),
            "no" | "false" => Some(0),
            other => other
                .strip_prefix("interval:")
                .and_then(|n| n.parse().ok())
                .filter(|n| (1..=1000).contains(n)),
        };
        let expected =
            || format!("unsupported argument '{word}', expected yes, no or interval:1 to interval:1000");
        milliseconds.map(KeystrokeInterval).ok_or_else(expected)
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self.0 {
            0 => out.line("no"),
            Self::DEFAULT => out.line("yes"),
            other => out.line(format!("interval:{other}")),
        }
    }
}

/// `PermitPeer`: who may connect to the listeners of this client's forwardings on loopback TCP ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermitPeer {
    /// The user who runs the client, and root.
    OwnUser,
    /// Everyone.
    Any,
    /// These.
    List(PeerList),
}

impl Value for PermitPeer {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let words: Vec<Vec<u8>> = args.rest_of_words().collect();
        let list = PeerList::parse(words.iter().map(Vec::as_slice), args.source.clone())?;
        Ok(list.map_or(PermitPeer::Any, PermitPeer::List))
    }

    fn print(&self, out: &mut Printer<'_>) {
        match self {
            PermitPeer::OwnUser => {}
            PermitPeer::Any => out.line("any"),
            PermitPeer::List(list) => out.line(list.texts().collect::<Vec<_>>().join(" ")),
        }
    }
}

/// `VersionAddendum`: what follows the version in the identification line (RFC 4253 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionAddendum(pub OsString);

impl Value for VersionAddendum {
    fn parse(args: &mut Arguments<'_>) -> Result<Self, String> {
        let text = args.raw().split(|&b| b == b'#').next().unwrap_or_default().trim_ascii_end();
        match text {
            [] => Err("missing argument".to_owned()),
            text if text.iter().any(u8::is_ascii_control) => {
                Err("control characters cannot be sent".to_owned())
            }
            text => Ok(VersionAddendum(OsStr::from_bytes(text).to_owned())),
        }
    }

    fn print(&self, out: &mut Printer<'_>) {
        self.0.print(out);
    }
}
