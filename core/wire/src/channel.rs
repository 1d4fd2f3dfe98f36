//! Connection-layer messages about channels: RFC 4254 §5 and §6, OpenSSH PROTOCOL 2.4.

use crate::macros::{body, messages};
use crate::{Put, Reader, WireResult, names, number};

messages! {
    /// RFC 4254 §5.1.
    OpenFailure<'a> = CHANNEL_OPEN_FAILURE {
        /// The opener's channel number.
        recipient: u32,
        /// One of [`open_failure`].
        reason: u32,
        /// For people.
        description: &'a [u8],
        /// RFC 3066 tag.
        language: &'a [u8],
    }
    /// RFC 4254 §5.2.
    WindowAdjust = CHANNEL_WINDOW_ADJUST {
        /// The receiver's channel number.
        recipient: u32,
        /// Bytes that may be sent in addition.
        bytes: u32,
    }
    /// RFC 4254 §5.2.
    Data<'a> = CHANNEL_DATA {
        /// The receiver's channel number.
        recipient: u32,
        /// The data.
        data: &'a [u8],
    }
    /// RFC 4254 §5.2.
    ExtendedData<'a> = CHANNEL_EXTENDED_DATA {
        /// The receiver's channel number.
        recipient: u32,
        /// 1 is stderr; nothing else is defined.
        kind: u32,
        /// The data.
        data: &'a [u8],
    }
    /// RFC 4254 §5.3.
    Eof = CHANNEL_EOF {
        /// The receiver's channel number.
        recipient: u32,
    }
    /// RFC 4254 §5.3.
    Close = CHANNEL_CLOSE {
        /// The receiver's channel number.
        recipient: u32,
    }
    /// RFC 4254 §5.4.
    Success = CHANNEL_SUCCESS {
        /// The receiver's channel number.
        recipient: u32,
    }
    /// RFC 4254 §5.4.
    Failure = CHANNEL_FAILURE {
        /// The receiver's channel number.
        recipient: u32,
    }
    /// RFC 4254 §5.1. None of our channel types adds fields.
    OpenConfirmation = CHANNEL_OPEN_CONFIRMATION {
        /// The opener's channel number.
        recipient: u32,
        /// The confirmer's channel number.
        sender: u32,
        /// Bytes the opener may send at first.
        window: u32,
        /// The largest data the confirmer takes in one message.
        max_packet: u32,
    }
}

/// SSH_EXTENDED_DATA_STDERR.
pub const STDERR: u32 = 1;

/// Reasons of an OPEN_FAILURE (RFC 4254 §5.1).
pub mod open_failure {
    /// Policy says no.
    pub const ADMINISTRATIVELY_PROHIBITED: u32 = 1;
    /// The target did not answer.
    pub const CONNECT_FAILED: u32 = 2;
    /// No such channel type.
    pub const UNKNOWN_CHANNEL_TYPE: u32 = 3;
    /// No room.
    pub const RESOURCE_SHORTAGE: u32 = 4;
}

/// RFC 4254 §5.1: asks for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// The opener's channel number.
    pub sender: u32,
    /// Bytes the other side may send at first.
    pub window: u32,
    /// The largest data the opener takes in one message.
    pub max_packet: u32,
    /// What kind of channel, with its fields.
    pub kind: OpenKind<'a>,
}

/// A channel type with the fields it adds to CHANNEL_OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenKind<'a> {
    /// RFC 4254 §6.1.
    Session,
    /// RFC 4254 §7.2: connect to `host` and `port`.
    DirectTcpip(TcpPair<'a>),
    /// RFC 4254 §7.2: somebody connected to the listener `host` and `port`.
    ForwardedTcpip(TcpPair<'a>),
    /// OpenSSH PROTOCOL 2.4: connect to this socket path.
    DirectStreamlocal {
        /// The path.
        path: &'a [u8],
    },
    /// Ours: the same, if whoever listens there is this user.
    DirectStreamlocalOwner {
        /// The path.
        path: &'a [u8],
        /// A user of the far host, by name or number.
        owner: &'a [u8],
    },
    /// OpenSSH PROTOCOL 2.4: somebody connected to this listener.
    ForwardedStreamlocal {
        /// The path as it was asked for.
        path: &'a [u8],
    },
    /// A type we do not know.
    Unknown(&'a str),
}

/// The addresses in the TCP channel types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpPair<'a> {
    /// Where to connect to, or where was listened.
    pub host: &'a [u8],
    /// Its port.
    pub port: u32,
    /// Who connected, as the sender says: not to be trusted.
    pub origin_host: &'a [u8],
    /// Its port.
    pub origin_port: u32,
}

impl<'a> TcpPair<'a> {
    fn read(r: &mut Reader<'a>) -> WireResult<Self> {
        Ok(TcpPair {
            host: r.string("open.host")?,
            port: r.u32("open.port")?,
            origin_host: r.string("open.origin-host")?,
            origin_port: r.u32("open.origin-port")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_string(self.host);
        out.put_u32(self.port);
        out.put_string(self.origin_host);
        out.put_u32(self.origin_port);
    }
}

impl<'a> OpenKind<'a> {
    /// The type's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            OpenKind::Session => names::channel::SESSION,
            OpenKind::DirectTcpip(_) => names::channel::DIRECT_TCPIP,
            OpenKind::ForwardedTcpip(_) => names::channel::FORWARDED_TCPIP,
            OpenKind::DirectStreamlocal { .. } => names::channel::DIRECT_STREAMLOCAL,
            OpenKind::DirectStreamlocalOwner { .. } => names::channel::DIRECT_STREAMLOCAL_OWNER,
            OpenKind::ForwardedStreamlocal { .. } => names::channel::FORWARDED_STREAMLOCAL,
            OpenKind::Unknown(name) => name,
        }
    }
}

impl<'a> Open<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::CHANNEL_OPEN)?;
        let name = r.text("open.type")?;
        let sender = r.u32("open.sender")?;
        let window = r.u32("open.window")?;
        let max_packet = r.u32("open.max-packet")?;
        let kind = match name {
            names::channel::SESSION => OpenKind::Session,
            names::channel::DIRECT_TCPIP => OpenKind::DirectTcpip(TcpPair::read(&mut r)?),
            names::channel::FORWARDED_TCPIP => OpenKind::ForwardedTcpip(TcpPair::read(&mut r)?),
            names::channel::DIRECT_STREAMLOCAL => {
                let path = r.string("open.path")?;
                // "string reserved", "uint32 reserved": sent empty, ignored.
                r.string("open.reserved")?;
                r.u32("open.reserved")?;
                OpenKind::DirectStreamlocal { path }
            }
            names::channel::DIRECT_STREAMLOCAL_OWNER => OpenKind::DirectStreamlocalOwner {
                path: r.string("open.path")?,
                owner: r.string("open.owner")?,
            },
            names::channel::FORWARDED_STREAMLOCAL => {
                let path = r.string("open.path")?;
                r.string("open.reserved")?;
                OpenKind::ForwardedStreamlocal { path }
            }
            other => return Ok(Open { sender, window, max_packet, kind: OpenKind::Unknown(other) }),
        };
        r.finish("channel open")?;
        Ok(Open { sender, window, max_packet, kind })
    }

    /// Appends the message, number included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::CHANNEL_OPEN);
        out.put_string(self.kind.name().as_bytes());
        out.put_u32(self.sender);
        out.put_u32(self.window);
        out.put_u32(self.max_packet);
        match &self.kind {
            OpenKind::Session | OpenKind::Unknown(_) => {}
            OpenKind::DirectTcpip(pair) | OpenKind::ForwardedTcpip(pair) => pair.write(out),
            OpenKind::DirectStreamlocal { path } => {
                out.put_string(path);
                out.put_string(b"");
                out.put_u32(0);
            }
            OpenKind::DirectStreamlocalOwner { path, owner } => {
                out.put_string(path);
                out.put_string(owner);
            }
            OpenKind::ForwardedStreamlocal { path } => {
                out.put_string(path);
                out.put_string(b"");
            }
        }
    }
}

/// RFC 4254 §5.4: a request on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The receiver's channel number.
    pub recipient: u32,
    /// Whether SUCCESS or FAILURE is due.
    pub want_reply: bool,
    /// What is asked.
    pub kind: RequestKind<'a>,
}

/// A channel request with its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind<'a> {
    /// RFC 4254 §6.2.
    Pty(Pty<'a>),
    /// RFC 4254 §6.4.
    Env {
        /// Variable name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// RFC 4254 §6.5.
    Shell,
    /// RFC 4254 §6.5.
    Exec {
        /// For the login shell's `-c`.
        command: &'a [u8],
    },
    /// RFC 4254 §6.5.
    Subsystem {
        /// Its name.
        name: &'a [u8],
    },
    /// RFC 4254 §6.7.
    WindowChange(Size),
    /// RFC 4335.
    Break {
        /// How long, in milliseconds.
        milliseconds: u32,
    },
    /// RFC 4254 §6.9.
    Signal {
        /// Name without SIG.
        name: &'a [u8],
    },
    /// RFC 4254 §6.10.
    ExitStatus {
        /// As waitpid tells it.
        status: u32,
    },
    /// RFC 4254 §6.10.
    ExitSignal {
        /// Name without SIG.
        name: &'a [u8],
        /// Whether a core was dumped.
        core_dumped: bool,
        /// For people.
        message: &'a [u8],
    },
    /// OpenSSH PROTOCOL 2.1: the sender reads no more.
    Eow,
    /// keepalive@openssh.com on a channel: asks for any answer.
    KeepAlive,
    /// A request we do not know; its fields are not read.
    Unknown(&'a str),
}

/// The fields of a pty-req.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pty<'a> {
    /// The TERM variable.
    pub term: &'a [u8],
    /// Its size.
    pub size: Size,
    /// Encoded modes (RFC 4254 §8).
    pub modes: &'a [u8],
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Characters a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
    /// Pixels, or 0.
    pub width: u32,
    /// Pixels, or 0.
    pub height: u32,
}

impl Size {
    fn read(r: &mut Reader<'_>) -> WireResult<Self> {
        Ok(Size {
            columns: r.u32("size.columns")?,
            rows: r.u32("size.rows")?,
            width: r.u32("size.width")?,
            height: r.u32("size.height")?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        for v in [self.columns, self.rows, self.width, self.height] {
            out.put_u32(v);
        }
    }
}

impl<'a> RequestKind<'a> {
    /// The request's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            RequestKind::Pty(_) => names::request::PTY,
            RequestKind::Env { .. } => names::request::ENV,
            RequestKind::Shell => names::request::SHELL,
            RequestKind::Exec { .. } => names::request::EXEC,
            RequestKind::Subsystem { .. } => names::request::SUBSYSTEM,
            RequestKind::WindowChange(_) => names::request::WINDOW_CHANGE,
            RequestKind::Break { .. } => names::request::BREAK,
            RequestKind::Signal { .. } => names::request::SIGNAL,
            RequestKind::ExitStatus { .. } => names::request::EXIT_STATUS,
            RequestKind::ExitSignal { .. } => names::request::EXIT_SIGNAL,
            RequestKind::Eow => names::request::EOW,
            RequestKind::KeepAlive => names::global::KEEPALIVE,
            RequestKind::Unknown(name) => name,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::CHANNEL_REQUEST)?;
        let recipient = r.u32("request.recipient")?;
        let name = r.text("request.type")?;
        let want_reply = r.bool("request.want-reply")?;
        let kind = match name {
            names::request::PTY => {
                let term = r.string("pty.term")?;
                let size = Size::read(&mut r)?;
                RequestKind::Pty(Pty { term, size, modes: r.string("pty.modes")? })
            }
            names::request::ENV => {
                RequestKind::Env { name: r.string("env.name")?, value: r.string("env.value")? }
            }
            names::request::SHELL => RequestKind::Shell,
            names::request::EXEC => RequestKind::Exec { command: r.string("exec.command")? },
            names::request::SUBSYSTEM => RequestKind::Subsystem { name: r.string("subsystem.name")? },
            names::request::WINDOW_CHANGE => RequestKind::WindowChange(Size::read(&mut r)?),
            names::request::BREAK => RequestKind::Break { milliseconds: r.u32("break.length")? },
            names::request::SIGNAL => RequestKind::Signal { name: r.string("signal.name")? },
            names::request::EXIT_STATUS => RequestKind::ExitStatus { status: r.u32("exit.status")? },
            names::request::EXIT_SIGNAL => {
                let name = r.string("exit.signal")?;
                let core_dumped = r.bool("exit.core")?;
                let message = r.string("exit.message")?;
                r.string("exit.language")?;
                RequestKind::ExitSignal { name, core_dumped, message }
            }
            names::request::EOW => RequestKind::Eow,
            names::global::KEEPALIVE => RequestKind::KeepAlive,
            other => return Ok(Request { recipient, want_reply, kind: RequestKind::Unknown(other) }),
        };
        r.finish("channel request")?;
        Ok(Request { recipient, want_reply, kind })
    }

    /// Appends the message, number included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::CHANNEL_REQUEST);
        out.put_u32(self.recipient);
        out.put_string(self.kind.name().as_bytes());
        out.put_bool(self.want_reply);
        match &self.kind {
            RequestKind::Pty(pty) => {
                out.put_string(pty.term);
                pty.size.write(out);
                out.put_string(pty.modes);
            }
            RequestKind::Env { name, value } => {
                out.put_string(name);
                out.put_string(value);
            }
            RequestKind::Exec { command } => out.put_string(command),
            RequestKind::Subsystem { name } | RequestKind::Signal { name } => out.put_string(name),
            RequestKind::WindowChange(size) => size.write(out),
            RequestKind::Break { milliseconds } => out.put_u32(*milliseconds),
            RequestKind::ExitStatus { status } => out.put_u32(*status),
            RequestKind::ExitSignal { name, core_dumped, message } => {
                out.put_string(name);
                out.put_bool(*core_dumped);
                out.put_string(message);
                out.put_string(b"");
            }
            RequestKind::Shell | RequestKind::Eow | RequestKind::KeepAlive | RequestKind::Unknown(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_type_round_trips() {
        let pair = TcpPair { host: b"localhost", port: 80, origin_host: b"127.0.0.1", origin_port: 4242 };
        for kind in [
            OpenKind::Session,
            OpenKind::DirectTcpip(pair.clone()),
            OpenKind::ForwardedTcpip(pair),
            OpenKind::DirectStreamlocal { path: b"/run/\xff.sock" },
            OpenKind::DirectStreamlocalOwner { path: b"/run/\xff.sock", owner: b"alex" },
            OpenKind::ForwardedStreamlocal { path: b"/run/a" },
        ] {
            let open = Open { sender: 1, window: 2, max_packet: 3, kind };
            let mut out = Vec::new();
            open.encode(&mut out);
            assert_eq!(Open::decode(&out), Ok(open));
            out.push(0);
            assert!(Open::decode(&out).is_err(), "stray bytes pass");
        }
    }

    #[test]
    fn every_request_round_trips() {
        let size = Size { columns: 80, rows: 24, width: 0, height: 0 };
        for kind in [
            RequestKind::Pty(Pty { term: b"xterm", size, modes: b"\0" }),
            RequestKind::Env { name: b"LANG", value: b"C" },
            RequestKind::Shell,
            RequestKind::Exec { command: b"true" },
            RequestKind::Subsystem { name: b"sftp" },
            RequestKind::WindowChange(size),
            RequestKind::Break { milliseconds: 500 },
            RequestKind::Signal { name: b"TERM" },
            RequestKind::ExitStatus { status: 44 },
            RequestKind::ExitSignal { name: b"KILL", core_dumped: false, message: b"" },
            RequestKind::Eow,
            RequestKind::KeepAlive,
        ] {
            let req = Request { recipient: 7, want_reply: true, kind };
            let mut out = Vec::new();
            req.encode(&mut out);
            assert_eq!(Request::decode(&out), Ok(req));
        }
    }
}
