//! The client's configuration: ssh_config(5) and the command line of ssh(1).
//!
//! Nothing is opened, run or looked up here; a [`Machine`] answers. Whether a file may be trusted (its owner and
//! mode) is for who opens it.
//!
//! ```text
//!   arguments ─ parse_arguments ─▶ Invocation { options, host, command, … }     command_line
//!                                      │  the user's file, then the system's   reader, criteria
//!                                      ▼        (again, if Match final asks)
//!                                   Options ── defaults, tokens ──▶ Configuration   configuration, expand
//!                                                                     │
//!              keywords: settings (the table), value, kinds, lists    ├─ dump()     for -G
//!                                                                     └─ missing()  what is not built yet
//! ```

mod algorithms;
mod command_line;
mod configuration;
mod criteria;
mod destination;
mod expand;
mod jump;
mod kinds;
mod lists;
mod machine;
mod not_yet;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod usage;
mod value;
mod words;

pub use algorithms::AlgorithmNames;
pub use command_line::{Action, CommandLineError, ConfigFile, ControlCommand, Invocation, parse_arguments};
pub use configuration::{AgentSocket, CONFIG_MAX, ConfigFiles, Configuration, fuzz_ssh_config, load};
pub use destination::{Destination, is_safe_host, is_safe_user};
pub use expand::Tokens;
pub use jump::{JumpCommand, ProxyJump};
pub use kinds::{
    AddKeysToAgent, BindMask, ControlPersist, EscapeChar, ForwardAgent, IdentityAgent, IpQosPair,
    KeystrokeInterval, PermitPeer, RekeyLimit, TunnelDevice, VersionAddendum,
};
pub use lists::{ChannelTimeouts, Forwards, KeyFile, KeyFiles, PermitRemoteOpen, SendEnv, SetEnv};
pub use machine::{Local, Machine};
pub use not_yet::{NOT_YET, Remark, Severity, missing};
pub use settings::{KEYWORDS, Keyword, Options, Settings, Shown};
pub use usage::{QUERIES, Query, USAGE};
pub use value::{Command, Port, Seconds, Timeout, Words};
pub use words::{
    Canonicalize, ControlMaster, FingerprintHash, ForwardProbe, PubkeyAuthentication, RequestTty,
    SessionType, StrictHostKeyChecking, Transport, Tunnel, Via, YesNoAsk,
};
