//! The keyword table: one row per keyword of ssh_config(5), of OpenSSH 9.2 to 10.x and our own.
//!
//! A row gives the spelling, other spellings, when `-G` prints it, the field and its type, the default, and a line
//! of documentation. From the rows come the two structs ([`Options`], as collected; [`Settings`], defaults filled
//! in), the parser's and the printer's table ([`KEYWORDS`]). Rows stand in the order of stock's `-G`.
//!
//! Whether something is done about a value is not said here: see `not_yet`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use sockward_policy::Source;

use crate::choice::{AddressFamily, LogLevel, SyslogFacility};
use crate::ipqos::IpQos;

use super::algorithms::AlgorithmNames;
use super::jump::ProxyJump;
use super::kinds::{
    AddKeysToAgent, BindMask, ControlPersist, EscapeChar, ForwardAgent, IdentityAgent, IpQosPair,
    KeystrokeInterval, PermitPeer, RekeyLimit, TunnelDevice, VersionAddendum,
};
use super::lists::{ChannelTimeouts, Forwards, KeyFiles, PermitRemoteOpen, SendEnv, SetEnv};
use super::value::{Arguments, Command, Port, Printer, Seconds, Timeout, Value, Words};
use super::words::{
    Canonicalize, ControlMaster, FingerprintHash, ForwardProbe, PubkeyAuthentication, RequestTty,
    SessionType, StrictHostKeyChecking, Transport, Tunnel, Via, YesNoAsk,
};
use crate::algorithms::Algorithms;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    /// As ssh_config(5) spells it.
    pub name: &'static str,
    /// Older and other spellings.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub doc: &'static str,
    /// When `-G` prints it.
    pub shown: Shown,
    pub(super) take: fn(&mut Options, &mut Arguments<'_>) -> Result<bool, String>,
    pub(super) print: fn(&Settings, &mut Printer<'_>),
}

/// When `-G` prints a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Always, if it has a value.
    Always,
    /// If the value is not the default: keywords that are newer than OpenSSH 9.2, or ours.
    IfChanged,
    /// Never by the table: the first lines of `-G` are printed from what the values led to.
    Apart,
}

macro_rules! settings {
    ($algorithms:ident; $(
        $name:literal $(| $alias:literal)* $shown:ident
            $field:ident: $ty:ty = $default:expr, $doc:literal $(, via $take:path)?;
    )+) => {
        /// What the command line and the files have said so far; `None` where nothing was said.
        #[derive(Clone, Debug, Default)]
        pub struct Options {
            $(#[doc = $doc] pub $field: Option<$ty>,)+
            /// Which line gave a keyword (as the table spells it) its value.
            pub sources: BTreeMap<&'static str, Source>,
        }

        /// What holds for one connection.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $(#[doc = $doc] pub $field: $ty,)+
            /// Which line gave a keyword (as the table spells it) its value; none for defaults and for flags.
            pub sources: BTreeMap<&'static str, Source>,
        }

        impl Options {
            /// Fills in the defaults.
            #[must_use]
            pub fn fill(self, $algorithms: &Algorithms<'_>) -> Settings {
                Settings { $($field: self.$field.unwrap_or_else(|| $default),)+ sources: self.sources }
            }
        }

        /// The table.
        pub const KEYWORDS: &[Keyword] = &[$(Keyword {
            name: $name,
            aliases: &[$($alias),*],
            doc: $doc,
            shown: Shown::$shown,
            take: settings!(@take $field $($take)?),
            print: |settings, out| settings.$field.print(out),
        },)+];
    };
    (@take $field:ident) => { |options, args| Value::take(&mut options.$field, args) };
    (@take $field:ident $take:path) => { $take };
}

settings! { algorithms;
    "User" Apart user: Option<String> = None, "the login on the server; by default the local user's name";
    "Hostname" Apart hostname: Option<String> = None, "the name or address to connect to; %h is the one given";
    "Port" Apart port: Option<Port> = None, "the server's TCP port, by default 22";

    // Flags.
    "AddressFamily" Always address_family: AddressFamily = AddressFamily::Any, "which addresses to connect to";
    "BatchMode" Always batch_mode: bool = false, "ask the user nothing";
    "CanonicalizeFallbackLocal" Always canonicalize_fallback_local: bool = true,
        "look a name up as it is if no canonical form is found";
    "CanonicalizeHostname" Always canonicalize_hostname: Canonicalize = Canonicalize::No,
        "try suffixes to find a host's full name";
    "CheckHostIP" Always check_host_ip: bool = false, "look the address up in known_hosts too";
    "Compression" Always compression: bool = false, "compress";
    "ControlMaster" Always control_master: ControlMaster = ControlMaster::No,
        "share one connection between sessions";
    "EnableSSHKeysign" Always enable_ssh_keysign: bool = false, "use ssh-keysign(8)";
    "ClearAllForwardings" Always clear_all_forwardings: bool = false, "drop all forwardings; the default with -W";
    "ExitOnForwardFailure" Always exit_on_forward_failure: bool = false,
        "end if a forwarding cannot be set up; the default with -W";
    "FingerprintHash" Always fingerprint_hash: FingerprintHash = FingerprintHash::Sha256,
        "how fingerprints are shown";
    "ForwardX11" Always forward_x11: bool = false, "forward X11";
    "ForwardX11Trusted" Always forward_x11_trusted: bool = false, "without X11's security extension";
    "GatewayPorts" Always gateway_ports: bool = false, "let other hosts connect to local forwardings";
    "GSSAPIAuthentication" Always gssapi_authentication: bool = false, "log in with GSSAPI";
    "GSSAPIDelegateCredentials" Always gssapi_delegate_credentials: bool = false, "pass GSSAPI credentials on";
    "HashKnownHosts" Always hash_known_hosts: bool = false, "hash names that are added to known_hosts";
    "HostbasedAuthentication" Always hostbased_authentication: bool = false, "log in with this host's key";
    "IdentitiesOnly" Always identities_only: bool = false, "use only the keys of the configuration";
    "KbdInteractiveAuthentication" | "ChallengeResponseAuthentication" | "SKeyAuthentication"
        | "TISAuthentication" Always kbd_interactive_authentication: bool = true, "log in by answering questions";
    "NoHostAuthenticationForLocalhost" Always no_host_authentication_for_localhost: bool = false,
        "accept any host key of this machine";
    "PasswordAuthentication" Always password_authentication: bool = true, "log in with a password";
    "PermitLocalCommand" Always permit_local_command: bool = false, "allow LocalCommand";
    "ProxyUseFdpass" Always proxy_use_fdpass: bool = false, "the proxy command passes a connected descriptor";
    "PubkeyAuthentication" | "DSAAuthentication"
        Always pubkey_authentication: PubkeyAuthentication = PubkeyAuthentication::Yes, "log in with a key";
    "RequestTTY" Always request_tty: RequestTty = RequestTty::Auto, "ask for a terminal";
    "SessionType" Always session_type: SessionType = SessionType::Default,
        "shell or command, subsystem, or none";
    "StdinNull" Always stdin_null: bool = false, "read nothing from standard input";
    "ForkAfterAuthentication" Always fork_after_authentication: bool = false,
        "go to the background after login";
    "StreamLocalBindUnlink" Always stream_local_bind_unlink: bool = false,
        "remove a socket that is in the way of a local forwarding";
    "StrictHostKeyChecking" Always strict_host_key_checking: StrictHostKeyChecking = StrictHostKeyChecking::Ask,
        "what to do about unknown and changed host keys";
    "TCPKeepAlive" | "KeepAlive" Always tcp_keep_alive: bool = true, "let TCP probe the connection";
    "Tunnel" Always tunnel: Tunnel = Tunnel::No, "forward a tunnel device";
    "VerifyHostKeyDNS" Always verify_host_key_dns: YesNoAsk = YesNoAsk::No, "look host keys up in DNS";
    "VisualHostKey" Always visual_host_key: bool = false, "show host keys as pictures";
    "UpdateHostKeys" Always update_host_keys: YesNoAsk = YesNoAsk::No, "learn the other keys of a known server";
    "EnableEscapeCommandline" Always enable_escape_command_line: bool = false, "allow the ~C command line";
    "WarnWeakCrypto" IfChanged warn_weak_crypto: bool = true, "warn of key exchanges that are not post-quantum",
        via warn_weak_crypto;

    // Numbers.
    "CanonicalizeMaxDots" Always canonicalize_max_dots: u32 = 1, "names with more dots are canonical";
    "ConnectionAttempts" Always connection_attempts: u32 = 1, "tries to connect, one a second";
    "ForwardX11Timeout" Always forward_x11_timeout: Seconds = Seconds(1200), "how long X11 is forwarded";
    "NumberOfPasswordPrompts" Always number_of_password_prompts: u32 = 3, "tries to give a password";
    "ServerAliveCountMax" Always server_alive_count_max: u32 = 3, "unanswered probes before giving up";
    "ServerAliveInterval" | "ProtocolKeepAlives" | "SetupTimeOut"
        Always server_alive_interval: Seconds = Seconds(0), "seconds of silence before the server is probed";
    "RequiredRSASize" Always required_rsa_size: u32 = 1024, "the fewest bits of an RSA key";
    "ObscureKeystrokeTiming" IfChanged obscure_keystroke_timing: KeystrokeInterval = KeystrokeInterval(0),
        "hide the rhythm of typing";

    // Text.
    "BindAddress" Always bind_address: Option<String> = None, "the local address to connect from";
    "BindInterface" Always bind_interface: Option<OsString> = None, "the interface to connect from";
    "Ciphers" Always ciphers: AlgorithmNames = AlgorithmNames::default_of(&algorithms.ciphers), "ciphers";
    "ControlPath" Always control_path: Option<OsString> = None, "the control socket, or none";
    "HostKeyAlgorithms" Always host_key_algorithms: AlgorithmNames =
        AlgorithmNames::default_of(&algorithms.host_keys), "signatures a host may prove itself with";
    "HostKeyAlias" Always host_key_alias: Option<String> = None, "the name to look the host key up by";
    "HostbasedAcceptedAlgorithms" | "HostbasedKeyTypes" Always hostbased_accepted_algorithms: AlgorithmNames =
        AlgorithmNames::default_of(&algorithms.host_keys), "signatures for logging in with this host's key";
    "IdentityAgent" Always identity_agent: Option<IdentityAgent> = None, "the agent's socket";
    "IgnoreUnknown" Always ignore_unknown: Option<String> = None, "patterns of keywords that may be unknown";
    "KbdInteractiveDevices" Always kbd_interactive_devices: Option<String> = None, "kinds of questions to answer";
    "KexAlgorithms" Always kex_algorithms: AlgorithmNames = AlgorithmNames::default_of(&algorithms.kex),
        "key exchanges";
    "CASignatureAlgorithms" Always ca_signature_algorithms: AlgorithmNames =
        AlgorithmNames::default_of(&algorithms.ca_signatures), "signatures under host certificates";
    "LocalCommand" Always local_command: Option<Command> = None, "run here after login, if permitted";
    "RemoteCommand" Always remote_command: Option<Command> = None, "run on the server";
    "LogLevel" Always log_level: LogLevel = LogLevel::Info, "how much is said";
    "MACs" Always macs: AlgorithmNames = AlgorithmNames::default_of(&algorithms.macs),
        "message authentication codes";
    "PKCS11Provider" | "SmartcardDevice" Always pkcs11_provider: Option<OsString> = None, "a smart card's library";
    "SecurityKeyProvider" Always security_key_provider: Option<OsString> = None, "a security key's library";
    "PreferredAuthentications" Always preferred_authentications: Option<String> = None,
        "methods of logging in, in order";
    "PubkeyAcceptedAlgorithms" | "PubkeyAcceptedKeyTypes" Always pubkey_accepted_algorithms: AlgorithmNames =
        AlgorithmNames::default_of(&algorithms.user_keys), "signatures for logging in with a key";
    "XAuthLocation" Always xauth_location: OsString = "/usr/bin/xauth".into(), "the xauth(1) program";
    "KnownHostsCommand" Always known_hosts_command: Option<Command> = None, "prints known hosts";
    "Tag" Always tag: Option<String> = None, "a name for Match tagged";
    "VersionAddendum" Always version_addendum: Option<VersionAddendum> = None,
        "text after the version in the identification line";

    // Forwardings and files.
    "DynamicForward" Always dynamic_forwards: Forwards = Forwards::default(), "listen here and serve SOCKS";
    "LocalForward" Always local_forwards: Forwards = Forwards::default(), "listen here, connect from the server";
    "RemoteForward" Always remote_forwards: Forwards = Forwards::default(),
        "listen on the server, connect from here";
    "IdentityFile" | "IdentityFile2" Always identity_files: KeyFiles = KeyFiles::usual(USUAL_IDENTITIES),
        "a private key to log in with";
    "CanonicalDomains" Always canonical_domains: Words = Words::default(), "suffixes for CanonicalizeHostname";
    "CertificateFile" Always certificate_files: KeyFiles = KeyFiles::default(), "a certificate to log in with";
    "GlobalKnownHostsFile" Always global_known_hosts_files: Words =
        Words(vec!["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()]),
        "the machine's lists of host keys";
    "UserKnownHostsFile" Always user_known_hosts_files: Words =
        Words(vec![USUAL_KNOWN_HOSTS.into(), "~/.ssh/known_hosts2".into()]), "the user's lists of host keys";
    "RevokedHostKeys" IfChanged revoked_host_keys: Words = Words::default(), "host keys that are never accepted";
    "SendEnv" Always send_env: SendEnv = SendEnv::default(), "variables to send to the server";
    "SetEnv" Always set_env: SetEnv = SetEnv::default(), "variables to send, with their values";
    "LogVerbose" Always log_verbose: Words = Words::default(), "places in OpenSSH's source to log in detail";
    "ChannelTimeout" IfChanged channel_timeout: ChannelTimeouts = ChannelTimeouts::default(),
        "close channels without traffic";

    // The rest.
    "PermitRemoteOpen" Always permit_remote_open: PermitRemoteOpen = PermitRemoteOpen::Any,
        "where remote SOCKS forwardings may connect";
    "AddKeysToAgent" Always add_keys_to_agent: AddKeysToAgent = AddKeysToAgent::No, "give used keys to the agent";
    "ForwardAgent" Always forward_agent: ForwardAgent = ForwardAgent::No, "let the server use the agent";
    "ConnectTimeout" Always connect_timeout: Timeout = Timeout(None), "seconds to connect and exchange keys";
    "TunnelDevice" Always tunnel_device: TunnelDevice = TunnelDevice { local: None, remote: None },
        "which tunnel devices";
    "CanonicalizePermittedCNAMEs" Always canonicalize_permitted_cnames: Words = Words::default(),
        "aliases to follow";
    "ControlPersist" Always control_persist: ControlPersist = ControlPersist::No,
        "keep the master when its session ends";
    "EscapeChar" Always escape_char: EscapeChar = EscapeChar(Some(b'~')), "starts commands at a terminal";
    "IPQoS" Always ip_qos: IpQosPair = IpQosPair { interactive: IpQos::INTERACTIVE, bulk: IpQos::BULK },
        "traffic classes";
    "RekeyLimit" Always rekey_limit: RekeyLimit = RekeyLimit::default(), "when to exchange keys again";
    "StreamLocalBindMask" Always stream_local_bind_mask: BindMask = BindMask(0o177),
        "the mask for the mode of local sockets";
    "SyslogFacility" Always syslog_facility: SyslogFacility = SyslogFacility::User, "where -y logs to";
    "ProxyCommand" Always proxy_command: Option<Command> = None,
        "a command whose standard streams reach the server";
    "ProxyJump" Always proxy_jump: Option<ProxyJump> = None, "hosts to go through", via ProxyJump::take_line;

    // Ours.
    "ForwardProbe" IfChanged forward_probe: ForwardProbe = ForwardProbe::No,
        "see whether the far end of a forwarding can be reached";
    "Reconnect" IfChanged reconnect: bool = false, "connect again after the connection is lost";
    "ReconnectMaxDelay" IfChanged reconnect_max_delay: Seconds = Seconds(60),
        "the longest pause between two attempts to connect again";
    "ReconnectWait" IfChanged reconnect_wait: Timeout = Timeout(Some(30)),
        "how long new connections to local forwardings wait while the server is away";
    "TargetOwner" IfChanged target_owner: Option<String> = None,
        "the user who must be listening at the far socket of a local forwarding";
    "PermitPeer" IfChanged permit_peer: PermitPeer = PermitPeer::OwnUser,
        "local users and @groups who may connect to forwarded loopback ports";
    "Via" IfChanged via: Via = Via::Server, "what forwards on the far side: the server or a gate";
    "Transport" IfChanged transport: Transport = Transport::Own, "which program speaks SSH";
}

/// The private keys that are tried if none is named.
const USUAL_IDENTITIES: &[&str] =
    &["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ecdsa_sk", "~/.ssh/id_ed25519", "~/.ssh/id_ed25519_sk"];

/// The first of the user's lists of host keys.
pub(super) const USUAL_KNOWN_HOSTS: &str = "~/.ssh/known_hosts";

impl Keyword {
    /// The row of a keyword, whatever the case of its letters.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Keyword> {
        let is = |other: &str| other.eq_ignore_ascii_case(name);
        KEYWORDS.iter().find(|row| is(row.name) || row.aliases.iter().any(|a| is(a)))
    }

    /// What `-G` would print of its value.
    pub(super) fn printed(&self, settings: &Settings) -> Vec<u8> {
        let mut out = Vec::new();
        (self.print)(settings, &mut Printer::new(self.name, &mut out));
        out
    }
}

/// `no-pq-kex` says no to the one kind of warning there is.
fn warn_weak_crypto(options: &mut Options, args: &mut Arguments<'_>) -> Result<bool, String> {
    let word = args.text()?;
    let value = match &*word.to_ascii_lowercase() {
        "yes" | "true" => true,
        "no" | "false" | "no-pq-kex" => false,
        _ => return Err(format!("unsupported option '{word}', expected yes, no or no-pq-kex")),
    };
    let taken = args.active && options.warn_weak_crypto.is_none();
    if taken {
        options.warn_weak_crypto = Some(value);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_there_once() {
        let mut seen = std::collections::BTreeSet::new();
        for row in KEYWORDS {
            for name in std::iter::once(&row.name).chain(row.aliases) {
                assert!(seen.insert(name.to_ascii_lowercase()), "{name}");
            }
            assert!(row.doc.len() > 4 && !row.doc.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn found_in_any_case() {
        assert_eq!(
            Keyword::find("challengeRESPONSEauthentication").map(|k| k.name),
            Some("KbdInteractiveAuthentication")
        );
        assert!(Keyword::find("NoSuch").is_none());
    }
}
