//! Monitor and worker. One link for each SSH connection, which is that connection's identity; a shared worker
//! has a control link besides, over which those links come.
//!
//! The worker reads the network and may have been taken over. What it says of itself is taken for that; the
//! facts (addresses, user, session id) are the monitor's own.

use serde::{Deserialize, Serialize};

/// What the monitor says to a shared worker. Each message brings a connection's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A new connection; its link is the descriptor.
    Connection,
}

/// What a shared worker says on its control link: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nothing {}

/// What the monitor says on a connection's link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Begin. The descriptor is the connection, or its reading end when [`ToWorker::WriteEnd`] comes before.
    Start(Box<Start>),
    /// The descriptor is what packets are written to, where that is not the one they are read from (`sshd -i`).
    WriteEnd,
    /// The host key has signed.
    Signed {
        /// K_S.
        host_key: Vec<u8>,
        /// Over the exchange hash.
        signature: Vec<u8>,
        /// For the server's next KEXINIT.
        next_cookie: [u8; 16],
    },
    /// To [`FromWorker::Prove`]: a signature for each key, in order; none if not all of them are ours.
    Proved(Option<Vec<Vec<u8>>>),
    /// Text to show before the login.
    Banner(Vec<u8>),
    /// The answer to the one authentication request under way.
    Auth(AuthAnswer),
    /// Say this to the client and end.
    Disconnect {
        /// One of `wire::transport::reason`.
        reason: u32,
        /// For the client.
        text: String,
    },
}

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The cookie of the first KEXINIT.
    pub cookie: [u8; 16],
    /// Our identification line.
    pub identification: String,
    /// `KexAlgorithms`.
    pub kex: Vec<String>,
    /// `HostKeyAlgorithms`, those that there are keys for.
    pub host_key: Vec<String>,
    /// `Ciphers`.
    pub ciphers: Vec<String>,
    /// `MACs`.
    pub macs: Vec<String>,
    /// `PubkeyAcceptedAlgorithms`, for server-sig-algs.
    pub user_key: String,
    /// `RekeyLimit`: bytes.
    pub rekey_bytes: Option<u64>,
    /// `RekeyLimit`: seconds.
    pub rekey_seconds: Option<u64>,
}

/// The answer to an authentication request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthAnswer {
    /// Refused, or (`partial`) one more method is needed.
    Failure {
        /// Methods that can continue, joined by commas.
        methods: String,
        /// The request was right.
        partial: bool,
    },
    /// The key that was queried would do.
    KeyAcceptable,
    /// Logged in. The descriptor is the login's link to its helper.
    Success(Box<LoggedIn>),
}

/// What a worker needs to know of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// `ClientAliveInterval`, seconds; 0 = off.
    pub alive_interval: u64,
    /// `ClientAliveCountMax`.
    pub alive_count_max: u32,
    /// `ChannelTimeout`: patterns of channel types, or "global", and seconds; 0 = none.
    pub channel_timeouts: Vec<(String, u64)>,
    /// `UnusedConnectionTimeout`, seconds; 0 = none.
    pub unused_timeout: u64,
    /// All host keys, for the client to learn.
    pub host_keys: Vec<Vec<u8>>,
    /// `IPQoS`; none where the connection is no TCP socket.
    pub traffic: Option<TrafficClasses>,
}

/// `IPQoS` of one connection: bytes for IP_TOS or IPV6_TCLASS; none leaves what the system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficClasses {
    /// Whether the packets are IPv6.
    pub ipv6: bool,
    /// While a session has a terminal.
    pub interactive: Option<u8>,
    /// Otherwise.
    pub bulk: Option<u8>,
}

/// What a worker says on a connection's link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// Sign this key exchange.
    Sign(Box<SignRequest>),
    /// After the login: the client asks for proof that we have the private keys of these host keys.
    Prove {
        /// As the client sent them.
        keys: Vec<Vec<u8>>,
    },
    /// Somebody asks to be let in.
    Auth(Box<AuthRequest>),
    /// A line for the log, marked as the worker's word.
    Log {
        /// How important.
        level: LogLevel,
        /// The text.
        text: String,
    },
    /// The connection has ended.
    Ended {
        /// Why, for the log.
        why: String,
    },
}

/// How important a worker's log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    /// ERROR.
    Error,
    /// INFO.
    Info,
    /// VERBOSE.
    Verbose,
    /// DEBUG.
    Debug,
    /// DEBUG2 and DEBUG3.
    Trace,
}

/// The whole hash input of a key exchange (RFC 4253 §8): the monitor hashes for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignRequest {
    /// V_C.
    pub client_version: Vec<u8>,
    /// V_S.
    pub server_version: Vec<u8>,
    /// I_C.
    pub client_kexinit: Vec<u8>,
    /// I_S.
    pub server_kexinit: Vec<u8>,
    /// The client's share.
    pub client_share: Vec<u8>,
    /// Our share.
    pub server_share: Vec<u8>,
    /// K, as it goes into the hash.
    pub secret: Vec<u8>,
    /// The key exchange method's name.
    pub method: String,
    /// The host-key algorithm's name.
    pub algorithm: String,
}

/// A request to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthRequest {
    /// The login name as sent.
    pub user: Vec<u8>,
    /// The service as sent.
    pub service: String,
    /// How.
    pub method: AuthMethod,
}

/// The method of an [`AuthRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthMethod {
    /// Asks which methods there are.
    None,
    /// A key; a query when there is no signature.
    PublicKey {
        /// The algorithm's name.
        algorithm: String,
        /// The key or certificate.
        key: Vec<u8>,
        /// The host key that the client saw, of publickey-hostbound.
        host_key: Option<Vec<u8>>,
        /// The signature.
        signature: Option<Vec<u8>>,
    },
    /// Anything else, by name.
    Other(String),
}
