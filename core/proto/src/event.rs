//! What a connection tells its application. Events own their data; channel data travels apart
//! ([`crate::Received::Data`]), where it stands in the receive buffer.

use sockward_wire::channel::Size;
use sockward_wire::probe::Asked;

use crate::channel::{ChannelId, GlobalId};
use crate::kex::{HostKeyOffer, Negotiated, SignatureInput};
use crate::question::Ticket;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// The peer's identification line arrived.
    PeerVersion(Vec<u8>),
    /// Client: may this host key be trusted?
    HostKey(HostKeyQuestion),
    /// Server: a host-key signature is needed.
    Signature(SignatureQuestion),
    /// New keys are in use; `first` once per connection.
    Keys {
        /// The first exchange has just ended.
        first: bool,
        /// What was agreed on.
        negotiated: Box<Negotiated>,
    },
    /// A DEBUG message of the peer.
    Debug {
        /// The peer wants a person to see it.
        always_display: bool,
        /// Its text, any bytes.
        text: Vec<u8>,
    },

    /// Client: authentication may begin.
    AuthReady,
    /// Client: the request was refused, or accepted in part.
    AuthFailed {
        /// Methods that can continue, joined by commas.
        methods: String,
        /// The request was right, another one is needed.
        partial: bool,
    },
    /// Client: the server would take this key.
    KeyAcceptable {
        /// As queried.
        algorithm: String,
        /// As queried.
        key: Vec<u8>,
    },
    /// Client: questions for the user (RFC 4256).
    Prompts(Prompts),
    /// Client: the server's banner.
    Banner(Vec<u8>),
    /// Client: logged in.
    Authenticated,
    /// Server: somebody asks to be let in.
    AuthRequested(AuthQuestion),

    /// A global request.
    Global(GlobalQuestion),
    /// The answer to our global request: the reply's fields, or none for failure.
    GlobalAnswered {
        /// Which request.
        id: GlobalId,
        /// Fields of a success.
        reply: Option<Vec<u8>>,
    },
    /// The peer wants a channel.
    OpenRequested(OpenQuestion),
    /// Our channel is open.
    Opened(ChannelId),
    /// Our channel was refused and is gone.
    OpenFailed {
        /// Which.
        channel: ChannelId,
        /// One of `wire::channel::open_failure`.
        reason: u32,
        /// The peer's words.
        text: Vec<u8>,
    },
    /// A request on a channel.
    Requested(RequestQuestion),
    /// The answer to our oldest unanswered request on the channel.
    RequestAnswered {
        /// Which.
        channel: ChannelId,
        /// Success or failure.
        ok: bool,
    },
    /// The window opened again after it was shut: data can be sent.
    Writable(ChannelId),
    /// The peer sends no more data.
    Eof(ChannelId),
    /// The peer has closed a channel whose CLOSE is held ([`crate::Connection::hold_close`]): it sends and takes no
    /// more data, and waits for our last requests and our CLOSE.
    PeerClosed(ChannelId),
    /// The channel is gone. What was received before is all there is.
    Closed(ChannelId),
}

/// May this host key be trusted? Dropped = refused.
#[derive(Debug)]
pub struct HostKeyQuestion {
    /// The key and its algorithm.
    pub offer: HostKeyOffer,
    pub(crate) ticket: Ticket,
}

/// A signature is needed. Dropped = the connection ends.
#[derive(Debug)]
pub struct SignatureQuestion {
    /// The hash input.
    pub input: SignatureInput,
    pub(crate) ticket: Ticket,
}

/// Somebody asks to be let in. Dropped = refused.
#[derive(Debug)]
pub struct AuthQuestion {
    /// The login name as sent.
    pub user: Vec<u8>,
    /// The service to start.
    pub service: String,
    /// How.
    pub method: AuthMethod,
    pub(crate) ticket: Ticket,
}

/// The method of an [`AuthQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// RFC 4252 §5.2.
    None,
    /// RFC 4252 §7; a query when there is no signature.
    PublicKey {
        /// Algorithm name.
        algorithm: String,
        /// Key or certificate.
        key: Vec<u8>,
        /// The host key the client saw (publickey-hostbound-v00@openssh.com).
        host_key: Option<Vec<u8>>,
        /// The signature.
        signature: Option<Vec<u8>>,
    },
    /// RFC 4252 §8.
    Password {
        /// The password.
        password: Vec<u8>,
        /// The new one.
        new_password: Option<Vec<u8>>,
    },
    /// RFC 4256 §3.1.
    KeyboardInteractive,
    /// RFC 4256 §3.4: answers to the prompts sent before.
    Responses(Vec<Vec<u8>>),
    /// A method we do not know.
    Unknown(String),
}

/// Prompts of keyboard-interactive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts {
    /// A title.
    pub name: Vec<u8>,
    /// Text before the prompts.
    pub instruction: Vec<u8>,
    /// Each prompt, and whether the answer may be shown.
    pub prompts: Vec<(Vec<u8>, bool)>,
}

/// A global request. Dropped = refused.
#[derive(Debug)]
pub struct GlobalQuestion {
    /// What is asked.
    pub request: GlobalRequest,
    pub(crate) ticket: Ticket,
}

/// The global requests that concern an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GlobalRequest {
    /// Listen on a TCP port; a request for port 0 is answered with the port.
    TcpipForward {
        /// Address as asked.
        host: Vec<u8>,
        /// Port as asked.
        port: u32,
    },
    /// Stop it.
    CancelTcpipForward {
        /// Address as asked.
        host: Vec<u8>,
        /// The port that was bound.
        port: u32,
    },
    /// Listen on a socket path.
    StreamlocalForward {
        /// Path as asked, any bytes.
        path: Vec<u8>,
    },
    /// Stop it.
    CancelStreamlocalForward {
        /// Path as asked.
        path: Vec<u8>,
    },
    /// May this be opened or listened on? Answered by a [`sockward_wire::probe::Answer`].
    ForwardProbe(Asked<Vec<u8>>),
    /// The server's host keys.
    HostKeys(Vec<Vec<u8>>),
    /// Prove these host keys.
    HostKeysProve(Vec<Vec<u8>>),
}

/// The peer wants a channel. Dropped = refused.
#[derive(Debug)]
pub struct OpenQuestion {
    /// What kind.
    pub kind: OpenRequest,
    pub(crate) remote: u32,
    pub(crate) window: u32,
    pub(crate) max_packet: u32,
    pub(crate) ticket: Ticket,
}

/// What a channel is for; used to open one and to ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenRequest {
    /// A command, shell or subsystem.
    Session,
    /// Client to server: connect there.
    DirectTcpip(TcpEnds),
    /// Server to client: somebody connected to that listener.
    ForwardedTcpip(TcpEnds),
    /// Client to server: connect there.
    DirectStreamlocal {
        /// The path, any bytes.
        path: Vec<u8>,
        /// Only if this user of the server's, by name or number, is the one who listens there.
        owner: Option<Vec<u8>>,
    },
    /// Server to client: somebody connected to that listener.
    ForwardedStreamlocal {
        /// The path as asked for.
        path: Vec<u8>,
    },
}

/// Addresses in TCP channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpEnds {
    /// Target or listener address.
    pub host: Vec<u8>,
    /// Its port.
    pub port: u32,
    /// Who connected, in the opener's words.
    pub origin_host: Vec<u8>,
    /// Its port.
    pub origin_port: u32,
}

/// A request on a channel. Dropped = refused.
#[derive(Debug)]
pub struct RequestQuestion {
    /// On which channel.
    pub channel: ChannelId,
    /// What is asked.
    pub request: ChannelRequest,
    pub(crate) ticket: Ticket,
}

/// Channel requests that concern an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelRequest {
    /// A terminal.
    Pty {
        /// TERM.
        term: Vec<u8>,
        /// Size.
        size: Size,
        /// Encoded modes.
        modes: Vec<u8>,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The login shell.
    Shell,
    /// A command for the shell.
    Exec(Vec<u8>),
    /// A subsystem by name.
    Subsystem(Vec<u8>),
    /// The terminal's new size.
    WindowChange(Size),
    /// A break on the terminal's line, for so many milliseconds.
    Break(u32),
    /// A signal by name, without SIG.
    Signal(Vec<u8>),
    /// How the command ended.
    ExitStatus(u32),
    /// The signal that ended it, without SIG.
    ExitSignal {
        /// Name.
        name: Vec<u8>,
        /// Whether a core was dumped.
        core_dumped: bool,
        /// For people.
        message: Vec<u8>,
    },
    /// The peer reads no more.
    Eow,
}
