//! Ours, `forward-probe@sockward.dev`: what may be opened or listened on, asked before anybody uses it. A global
//! request; other servers refuse it as they refuse all that they do not know, and then nothing is known.
//!
//! ```text
//!   request:  string kind    "direct-tcpip", "direct-streamlocal@openssh.com", "tcpip-forward" or
//!                            "streamlocal-forward@openssh.com": what is asked about
//!             string host, uint32 port   or   string path
//!   success:  byte   status  see [`Status`]
//!             string text    why, for people; empty if it is allowed
//!             string place   where a socket really is; empty otherwise
//!             string who     who may connect to a listener, for people; empty otherwise
//! ```

use crate::{Put, Reader, WireError, WireResult, names};

/// What is asked about. `B` holds bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<B> {
    /// Whether it is about listening there. Otherwise it is about connecting.
    pub listen: bool,
    /// Where.
    pub at: At<B>,
}

/// A port or a socket, named as in the request that would do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At<B> {
    /// TCP.
    Tcp {
        /// Host or bind address.
        host: B,
        /// Port.
        port: u32,
    },
    /// A socket path.
    Path(B),
}

/// What a probe finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The policy allows it, and nothing that can be seen without trying speaks against it.
    Allowed,
    /// The policy does not allow it. Nothing is said of what is there.
    Prohibited,
    /// The policy allows it, and it would fail.
    Fails,
}

/// The fields of a REQUEST_SUCCESS to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub status: Status,
    /// Why, for people; empty if it is allowed.
    pub text: String,
    /// Where the socket really is; empty for a port, and if it is not allowed.
    pub place: Vec<u8>,
    /// Who may connect to the listener, for people; empty for a target.
    pub who: String,
}

impl<'a> Asked<&'a [u8]> {
    pub(crate) fn read(r: &mut Reader<'a>) -> WireResult<Self> {
        let (listen, tcp) = match r.text("probe.kind")? {
            names::channel::DIRECT_TCPIP => (false, true),
            names::channel::DIRECT_STREAMLOCAL => (false, false),
            names::global::TCPIP_FORWARD => (true, true),
            names::global::STREAMLOCAL_FORWARD => (true, false),
            _ => return Err(WireError::Invalid("probe.kind")),
        };
        let at = match tcp {
            true => At::Tcp { host: r.string("probe.host")?, port: r.u32("probe.port")? },
            false => At::Path(r.string("probe.path")?),
        };
        Ok(Asked { listen, at })
    }
}

impl<B: AsRef<[u8]>> Asked<B> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let kind = match (self.listen, &self.at) {
            (false, At::Tcp { .. }) => names::channel::DIRECT_TCPIP,
            (false, At::Path(_)) => names::channel::DIRECT_STREAMLOCAL,
            (true, At::Tcp { .. }) => names::global::TCPIP_FORWARD,
            (true, At::Path(_)) => names::global::STREAMLOCAL_FORWARD,
        };
        out.put_string(kind.as_bytes());
        match &self.at {
            At::Tcp { host, port } => {
                out.put_string(host.as_ref());
                out.put_u32(*port);
            }
            At::Path(path) => out.put_string(path.as_ref()),
        }
    }

    /// The host or path that is asked about.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match &self.at {
            At::Tcp { host: name, .. } | At::Path(name) => name.as_ref(),
        }
    }

    /// The same with other bytes.
    pub fn map<'s, C>(&'s self, bytes: impl FnOnce(&'s [u8]) -> C) -> Asked<C> {
        let at = match &self.at {
            At::Tcp { host, port } => At::Tcp { host: bytes(host.as_ref()), port: *port },
            At::Path(path) => At::Path(bytes(path.as_ref())),
        };
        Asked { listen: self.listen, at }
    }
}

impl Answer {
    /// Reads the fields of a REQUEST_SUCCESS.
    pub fn decode(fields: &[u8]) -> WireResult<Self> {
        let mut r = Reader::new(fields);
        let status = match r.u8("probe.status")? {
            0 => Status::Allowed,
            1 => Status::Prohibited,
            2 => Status::Fails,
            _ => return Err(WireError::Invalid("probe.status")),
        };
        let text = r.text("probe.text")?.to_owned();
        let place = r.string("probe.place")?.to_vec();
        let who = r.text("probe.who")?.to_owned();
        r.finish("probe answer")?;
        Ok(Answer { status, text, place, who })
    }

    /// The fields of a REQUEST_SUCCESS.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u8(match self.status {
            Status::Allowed => 0,
            Status::Prohibited => 1,
            Status::Fails => 2,
        });
        out.put_string(self.text.as_bytes());
        out.put_string(&self.place);
        out.put_string(self.who.as_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip_and_nothing_else_is_one() {
        for status in [Status::Allowed, Status::Prohibited, Status::Fails] {
            let (text, place, who) = ("no".to_owned(), b"/run/\xff".to_vec(), "alex".to_owned());
            let answer = Answer { status, text, place, who };
            let mut bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), Ok(answer));
            for end in 0..bytes.len() {
                assert!(Answer::decode(bytes.get(..end).unwrap()).is_err());
            }
            bytes.push(0);
            assert!(Answer::decode(&bytes).is_err(), "stray bytes pass");
            bytes.pop();
            *bytes.first_mut().unwrap() = 3;
            assert!(Answer::decode(&bytes).is_err(), "an unknown status passes");
        }
        assert!(Answer::decode(b"").is_err());
    }
}
