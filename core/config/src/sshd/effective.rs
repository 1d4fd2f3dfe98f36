//! The values of sshd_config as they hold for a server or one connection, typed. Each field is one keyword of
//! `table`; its meaning and default stand there.

use std::collections::BTreeMap;

use sockward_policy::{Conflict, Direction, GatewayPorts, PeerList, RuleList, Source, Unlink, Variable};

use super::values::{
    AuditLog, ChannelTimeout, GroupPattern, HostKeyFile, Isolation, ListenAddress, MaxStartups, Pass,
    RekeyLimit, RootLogin, SocketMode, SubsystemLine, UserEnvironment, UserPattern,
};
use crate::choice::{AddressFamily, LogLevel, SyslogFacility};
use crate::ipqos::IpQos;

/// All values that hold. Paths are absolute where the file is the server's, and templates where it is the user's.
#[derive(Clone, Debug)]
pub struct Effective {
    /// `Port`, or `-p`.
    pub ports: Vec<u16>,
    /// `AddressFamily`.
    pub address_family: AddressFamily,
    /// `ListenAddress`; none is all addresses. See [`Effective::listeners`].
    pub listen: Vec<ListenAddress>,
    /// `LoginGraceTime` in seconds; 0 is no limit.
    pub login_grace_time: u32,
    /// `MaxAuthTries`.
    pub max_auth_tries: u32,
    /// `MaxSessions`.
    pub max_sessions: u32,
    /// `MaxListeners`.
    pub max_listeners: Option<u32>,
    /// `MaxForwardedConnections`.
    pub max_forwarded_connections: Option<u32>,
    /// `ClientAliveInterval` in seconds; 0 is off.
    pub client_alive_interval: u32,
    /// `ClientAliveCountMax`; 0 never ends a connection.
    pub client_alive_count_max: u32,
    /// `RequiredRSASize` in bits.
    pub required_rsa_size: u32,
    /// `StreamLocalBindMask` and `StreamLocalBindMode`.
    pub socket_mode: SocketMode,
    /// `StreamLocalBindGroup`.
    pub socket_group: Option<String>,
    /// `StreamLocalBindUnlink`.
    pub unlink: Unlink,
    /// `StreamLocalConflict`.
    pub conflict: Conflict,
    /// `UnusedConnectionTimeout` in seconds; 0 is none.
    pub unused_connection_timeout: u32,
    /// `PermitRootLogin`.
    pub permit_root_login: RootLogin,
    /// `PubkeyAuthentication`.
    pub pubkey_authentication: bool,
    /// `PermitTTY`.
    pub permit_tty: bool,
    /// `StrictModes`.
    pub strict_modes: bool,
    /// `TCPKeepAlive`.
    pub tcp_keep_alive: bool,
    /// `UseDNS`.
    pub use_dns: bool,
    /// `RefuseConnection`.
    pub refuse_connection: bool,
    /// `GatewayPorts`.
    pub gateway_ports: GatewayPorts,
    /// `AllowTcpForwarding`.
    pub allow_tcp_forwarding: Direction,
    /// `AllowStreamLocalForwarding`.
    pub allow_streamlocal_forwarding: Direction,
    /// `DisableForwarding`.
    pub disable_forwarding: bool,
    /// `WorkerIsolation`; none is by whether the server runs as root.
    pub worker_isolation: Option<Isolation>,
    /// `PidFile`.
    pub pid_file: Option<Vec<u8>>,
    /// `Banner`.
    pub banner: Option<Vec<u8>>,
    /// `VersionAddendum`, empty for none.
    pub version_addendum: String,
    /// `ForceCommand`.
    pub force_command: Option<Vec<u8>>,
    /// `AuditLog`.
    pub audit_log: Option<AuditLog>,
    /// `Ciphers`, resolved: in order of preference, never empty.
    pub ciphers: Vec<String>,
    /// `MACs`, resolved.
    pub macs: Vec<String>,
    /// `KexAlgorithms`, resolved.
    pub kex_algorithms: Vec<String>,
    /// `HostKeyAlgorithms`, resolved.
    pub host_key_algorithms: Vec<String>,
    /// `PubkeyAcceptedAlgorithms`, resolved.
    pub pubkey_accepted_algorithms: Vec<String>,
    /// `CASignatureAlgorithms`, resolved.
    pub ca_signature_algorithms: Vec<String>,
    /// `TrustedUserCAKeys`.
    pub trusted_user_ca_keys: Option<Vec<u8>>,
    /// `AuthorizedPrincipalsFile`, a template.
    pub authorized_principals_file: Option<Vec<u8>>,
    /// `AuthorizedKeysCommand`: a program and its arguments, templates.
    pub authorized_keys_command: Option<Vec<u8>>,
    /// `AuthorizedKeysCommandUser`.
    pub authorized_keys_command_user: Option<String>,
    /// `AuthorizedPrincipalsCommand`.
    pub authorized_principals_command: Option<Vec<u8>>,
    /// `AuthorizedPrincipalsCommandUser`.
    pub authorized_principals_command_user: Option<String>,
    /// `LogLevel`.
    pub log_level: LogLevel,
    /// `SyslogFacility`.
    pub syslog_facility: SyslogFacility,
    /// `AuthorizedKeysFile`, templates (`expand_user_file`); none at all with `none`.
    pub authorized_keys_files: Vec<Vec<u8>>,
    /// `RevokedKeys`.
    pub revoked_keys: Vec<Vec<u8>>,
    /// `HostKey`.
    pub host_keys: Vec<HostKeyFile>,
    /// `HostCertificate`.
    pub host_certificates: Vec<Vec<u8>>,
    /// `AllowUsers`.
    pub allow_users: Vec<UserPattern>,
    /// `DenyUsers`.
    pub deny_users: Vec<UserPattern>,
    /// `AllowGroups`.
    pub allow_groups: Vec<GroupPattern>,
    /// `DenyGroups`.
    pub deny_groups: Vec<GroupPattern>,
    /// `AcceptEnv`: patterns.
    pub accept_env: Vec<Vec<u8>>,
    /// `SetEnv`.
    pub set_env: Vec<Variable>,
    /// `AuthenticationMethods`: lists of methods; empty is `any`.
    pub authentication_methods: Vec<String>,
    /// `ChannelTimeout`: patterns of channel types and seconds.
    pub channel_timeouts: Vec<ChannelTimeout>,
    /// `Subsystem`.
    pub subsystems: Vec<SubsystemLine>,
    /// `MaxStartups`.
    pub max_startups: MaxStartups,
    /// `PerSourceMaxStartups`.
    pub per_source_max_startups: Option<u32>,
    /// `PerSourceNetBlockSize`: leading bits of an IPv4 and an IPv6 address.
    pub per_source_net_block_size: (u8, u8),
    /// `IPQoS` of interactive sessions and of everything else.
    pub ip_qos: (IpQos, IpQos),
    /// `RekeyLimit`.
    pub rekey_limit: RekeyLimit,
    /// `PermitOpen`; none is `any` by default.
    pub permit_open: Option<RuleList>,
    /// `PermitListen`; none is `any` by default.
    pub permit_listen: Option<RuleList>,
    /// `PermitPeer`; none is `any`.
    pub permit_peer: Option<PeerList>,
    /// `PermitUserEnvironment`.
    pub permit_user_environment: UserEnvironment,
    /// `PubkeyAuthOptions touch-required`.
    pub touch_required: bool,
    /// `PubkeyAuthOptions verify-required`.
    pub verify_required: bool,
    /// Where each keyword that was set stands, by the name of its row in the table.
    pub(super) sources: BTreeMap<&'static str, Source>,
}

impl Effective {
    /// Where a keyword was set (its name as the manual page writes it, whatever the case); none by default.
    #[must_use]
    pub fn source(&self, keyword: &str) -> Option<&Source> {
        self.sources.iter().find(|(name, _)| name.eq_ignore_ascii_case(keyword)).map(|(_, source)| source)
    }

    /// The addresses and ports to listen on, in order. A host is an address or a name to resolve.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, u16)> {
        let wildcards: &[&str] = match self.address_family {
            AddressFamily::Any => &["::", "0.0.0.0"],
            AddressFamily::Inet => &["0.0.0.0"],
            AddressFamily::Inet6 => &["::"],
        };
        if self.listen.is_empty() {
            let each =
                |port: &u16| wildcards.iter().map(|host| ((*host).to_owned(), *port)).collect::<Vec<_>>();
            return self.ports.iter().flat_map(each).collect();
        }
        let ports = |port: Option<u16>| port.map_or_else(|| self.ports.clone(), |p| vec![p]);
        self.listen.iter().flat_map(|l| ports(l.port).into_iter().map(|p| (l.host.clone(), p))).collect()
    }

    /// Values of no meaning, that the defaults of the table take the place of.
    pub(super) fn blank() -> Self {
        Effective {
            ports: Vec::new(),
            address_family: AddressFamily::Any,
            listen: Vec::new(),
            login_grace_time: 0,
            max_auth_tries: 0,
            max_sessions: 0,
            max_listeners: None,
            max_forwarded_connections: None,
            client_alive_interval: 0,
            client_alive_count_max: 0,
            required_rsa_size: 0,
            socket_mode: SocketMode { mask: None, mode: None, pass: Pass::Default },
            socket_group: None,
            unlink: Unlink::Stale,
            conflict: Conflict::Refuse,
            unused_connection_timeout: 0,
            permit_root_login: RootLogin::No,
            pubkey_authentication: false,
            permit_tty: false,
            strict_modes: true,
            tcp_keep_alive: false,
            use_dns: false,
            refuse_connection: false,
            gateway_ports: GatewayPorts::No,
            allow_tcp_forwarding: Direction::No,
            allow_streamlocal_forwarding: Direction::No,
            disable_forwarding: true,
            worker_isolation: None,
            pid_file: None,
            banner: None,
            version_addendum: String::new(),
            force_command: None,
            audit_log: None,
            ciphers: Vec::new(),
            macs: Vec::new(),
            kex_algorithms: Vec::new(),
            host_key_algorithms: Vec::new(),
            pubkey_accepted_algorithms: Vec::new(),
            ca_signature_algorithms: Vec::new(),
            trusted_user_ca_keys: None,
            authorized_principals_file: None,
            authorized_keys_command: None,
            authorized_keys_command_user: None,
            authorized_principals_command: None,
            authorized_principals_command_user: None,
            log_level: LogLevel::Info,
            syslog_facility: SyslogFacility::Auth,
            authorized_keys_files: Vec::new(),
            revoked_keys: Vec::new(),
            host_keys: Vec::new(),
            host_certificates: Vec::new(),
            allow_users: Vec::new(),
            deny_users: Vec::new(),
            allow_groups: Vec::new(),
            deny_groups: Vec::new(),
            accept_env: Vec::new(),
            set_env: Vec::new(),
            authentication_methods: Vec::new(),
            channel_timeouts: Vec::new(),
            subsystems: Vec::new(),
            max_startups: MaxStartups { start: 0, rate: 0, full: 0 },
            per_source_max_startups: None,
            per_source_net_block_size: (0, 0),
            ip_qos: (IpQos::INTERACTIVE, IpQos::BULK),
            rekey_limit: RekeyLimit { bytes: 0, seconds: None },
            permit_open: None,
            permit_listen: None,
            permit_peer: None,
            permit_user_environment: UserEnvironment::No,
            touch_required: false,
            verify_required: false,
            sources: BTreeMap::new(),
        }
    }
}
