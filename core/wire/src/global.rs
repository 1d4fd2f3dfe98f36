//! Global requests and their answers: RFC 4254 §4 and §7.1, OpenSSH PROTOCOL 2.2–2.5.

use crate::macros::body;
use crate::probe::Asked;
use crate::{Put, Reader, WireResult, names, number};

/// RFC 4254 §4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Whether an answer is due.
    pub want_reply: bool,
    /// What is asked.
    pub kind: RequestKind<'a>,
}

/// A global request with its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind<'a> {
    /// RFC 4254 §7.1.
    TcpipForward {
        /// Address to bind: "" = all, "localhost" = loopback.
        host: &'a [u8],
        /// Port to bind, 0 = any.
        port: u32,
    },
    /// RFC 4254 §7.1.
    CancelTcpipForward {
        /// As asked for.
        host: &'a [u8],
        /// The port that was bound.
        port: u32,
    },
    /// OpenSSH PROTOCOL 2.4.
    StreamlocalForward {
        /// Path to bind.
        path: &'a [u8],
    },
    /// OpenSSH PROTOCOL 2.4.
    CancelStreamlocalForward {
        /// As asked for.
        path: &'a [u8],
    },
    /// Ours: may this be opened or listened on? A success carries a [`crate::probe::Answer`].
    ForwardProbe(Asked<&'a [u8]>),
    /// Asks for any answer.
    KeepAlive,
    /// OpenSSH PROTOCOL 2.2.
    NoMoreSessions,
    /// OpenSSH PROTOCOL 2.5: the server's host keys.
    HostKeys(Vec<&'a [u8]>),
    /// OpenSSH PROTOCOL 2.5: prove these keys.
    HostKeysProve(Vec<&'a [u8]>),
    /// A request we do not know; its fields are not read.
    Unknown(&'a str),
}

impl<'a> RequestKind<'a> {
    /// The request's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            RequestKind::TcpipForward { .. } => names::global::TCPIP_FORWARD,
            RequestKind::CancelTcpipForward { .. } => names::global::CANCEL_TCPIP_FORWARD,
            RequestKind::StreamlocalForward { .. } => names::global::STREAMLOCAL_FORWARD,
            RequestKind::CancelStreamlocalForward { .. } => names::global::CANCEL_STREAMLOCAL_FORWARD,
            RequestKind::ForwardProbe(_) => names::global::FORWARD_PROBE,
            RequestKind::KeepAlive => names::global::KEEPALIVE,
            RequestKind::NoMoreSessions => names::global::NO_MORE_SESSIONS,
            RequestKind::HostKeys(_) => names::global::HOSTKEYS,
            RequestKind::HostKeysProve(_) => names::global::HOSTKEYS_PROVE,
            RequestKind::Unknown(name) => name,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::GLOBAL_REQUEST)?;
        let name = r.text("global-request.type")?;
        let want_reply = r.bool("global-request.want-reply")?;
        let kind = match name {
            names::global::TCPIP_FORWARD => {
                RequestKind::TcpipForward { host: r.string("forward.host")?, port: r.u32("forward.port")? }
            }
            names::global::CANCEL_TCPIP_FORWARD => RequestKind::CancelTcpipForward {
                host: r.string("forward.host")?,
                port: r.u32("forward.port")?,
            },
            names::global::STREAMLOCAL_FORWARD => {
                RequestKind::StreamlocalForward { path: r.string("forward.path")? }
            }
            names::global::CANCEL_STREAMLOCAL_FORWARD => {
                RequestKind::CancelStreamlocalForward { path: r.string("forward.path")? }
            }
            names::global::FORWARD_PROBE => RequestKind::ForwardProbe(Asked::read(&mut r)?),
            names::global::KEEPALIVE => RequestKind::KeepAlive,
            names::global::NO_MORE_SESSIONS => RequestKind::NoMoreSessions,
            names::global::HOSTKEYS => RequestKind::HostKeys(keys(&mut r)?),
            names::global::HOSTKEYS_PROVE => RequestKind::HostKeysProve(keys(&mut r)?),
            other => return Ok(Request { want_reply, kind: RequestKind::Unknown(other) }),
        };
        r.finish("global request")?;
        Ok(Request { want_reply, kind })
    }

    /// Appends the message, number included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::GLOBAL_REQUEST);
        out.put_string(self.kind.name().as_bytes());
        out.put_bool(self.want_reply);
        match &self.kind {
            RequestKind::TcpipForward { host, port } | RequestKind::CancelTcpipForward { host, port } => {
                out.put_string(host);
                out.put_u32(*port);
            }
            RequestKind::StreamlocalForward { path } | RequestKind::CancelStreamlocalForward { path } => {
                out.put_string(path);
            }
            RequestKind::ForwardProbe(asked) => asked.write(out),
            RequestKind::HostKeys(keys) | RequestKind::HostKeysProve(keys) => {
                keys.iter().for_each(|k| out.put_string(k));
            }
            RequestKind::KeepAlive | RequestKind::NoMoreSessions | RequestKind::Unknown(_) => {}
        }
    }
}

/// Keys up to the end of the message; their number is bounded by the packet's size.
fn keys<'a>(r: &mut Reader<'a>) -> WireResult<Vec<&'a [u8]>> {
    let mut out = Vec::new();
    while !r.is_empty() {
        out.push(r.string("hostkeys.key")?);
    }
    Ok(out)
}

/// REQUEST_SUCCESS with the fields its request defines (RFC 4254 §4).
pub fn encode_success(fields: &[u8], out: &mut Vec<u8>) {
    out.put_u8(number::REQUEST_SUCCESS);
    out.put_raw(fields);
}

/// The fields of a REQUEST_SUCCESS.
pub fn decode_success(payload: &[u8]) -> WireResult<&[u8]> {
    Ok(body(payload, number::REQUEST_SUCCESS)?.rest())
}

/// REQUEST_FAILURE.
pub fn encode_failure(out: &mut Vec<u8>) {
    out.put_u8(number::REQUEST_FAILURE);
}

/// Checks a REQUEST_FAILURE.
pub fn decode_failure(payload: &[u8]) -> WireResult<()> {
    body(payload, number::REQUEST_FAILURE)?.finish("request failure")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::At;

    #[test]
    fn every_request_round_trips() {
        for kind in [
            RequestKind::TcpipForward { host: b"", port: 0 },
            RequestKind::CancelTcpipForward { host: b"localhost", port: 8080 },
            RequestKind::StreamlocalForward { path: b"/run/a" },
            RequestKind::CancelStreamlocalForward { path: b"/run/a" },
            RequestKind::ForwardProbe(Asked { listen: false, at: At::Tcp { host: b"localhost", port: 80 } }),
            RequestKind::ForwardProbe(Asked { listen: false, at: At::Path(b"/run/\xff") }),
            RequestKind::ForwardProbe(Asked { listen: true, at: At::Tcp { host: b"", port: 0 } }),
            RequestKind::ForwardProbe(Asked { listen: true, at: At::Path(b"/run/a") }),
            RequestKind::KeepAlive,
            RequestKind::NoMoreSessions,
            RequestKind::HostKeys(vec![b"a", b"bc"]),
            RequestKind::HostKeysProve(vec![]),
        ] {
            let req = Request { want_reply: true, kind };
            let mut out = Vec::new();
            req.encode(&mut out);
            assert_eq!(Request::decode(&out), Ok(req));
        }
    }
}
