//! Listeners on the server (`-R`): asking for them, and which target a connection to one belongs to. After a lost
//! connection the server may hold the old listener for a while: it is asked again and again, but not for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sockward_config::forward::{Form, Forward, Listen, Target};
use sockward_proto::event::{GlobalRequest, OpenRequest};
use sockward_proto::{Connection, Error, GlobalId, Result};
use sockward_wire::Reader;

use super::local;
use crate::reconnect::{Backoff, chance, shown as shown_time};

/// How long a listener that was there before the connection was lost is asked for: a server that probes its clients
/// has noticed by then.
const TAKE_BACK: Duration = Duration::from_secs(600);

/// The longest pause meanwhile.
const TAKE_BACK_EVERY: Duration = Duration::from_secs(10);

/// How the reasons end with which our server and a gate refuse to listen, for as long as their configuration is as it
/// is. They come in a DEBUG message before the answer, which has no room for words (RFC 4254 §4).
const PROHIBITED: &[&[u8]] = &[
    b"(PermitListen)",
    b"(PermitPeer)",
    b"(DisableForwarding)",
    b"(AllowTcpForwarding)",
    b"(AllowStreamLocalForwarding)",
];

/// The server's listeners of one connection.
#[derive(Default)]
pub(crate) struct Remote {
    forwards: Vec<Listening>,
    asked: HashMap<GlobalId, usize>,
    /// The server has just said that what it answers next is not permitted.
    prohibited: bool,
}

struct Listening {
    forward: Forward,
    /// The port, once the server has chosen one.
    allocated: Option<u16>,
    refused: bool,
    taking_back: Option<TakingBack>,
}

/// It listened before the connection was lost.
struct TakingBack {
    until: Instant,
    backoff: Backoff,
    /// It was refused: when to ask again.
    again: Option<Instant>,
}

/// A listener that is wanted again after the connection was lost; with the port that the server had chosen.
#[derive(Debug)]
pub(crate) struct Held {
    forward: Forward,
    allocated: Option<u16>,
}

/// What an answer of the server's means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It listens; on this port, if the server has chosen it.
    Listening(Option<u16>),
    /// It does not; what it was that was asked for.
    Refused(String),
    /// It does not yet; it is asked again. This has been said.
    Later,
}

impl Remote {
    /// Asks for a listener.
    pub(crate) fn ask(&mut self, forward: &Forward, conn: &mut Connection) -> Result<GlobalId> {
        self.forwards.push(Listening {
            forward: forward.clone(),
            allocated: None,
            refused: false,
            taking_back: None,
        });
        self.request(self.forwards.len() - 1, conn)
    }

    /// Asks for listeners that were there before the connection was lost.
    pub(crate) fn take_back(&mut self, held: Vec<Held>, conn: &mut Connection, now: Instant) -> Result<()> {
        for Held { forward, allocated } in held {
            let backoff = Backoff::new(TAKE_BACK_EVERY);
            let taking_back = Some(TakingBack { until: now + TAKE_BACK, backoff, again: None });
            self.forwards.push(Listening { forward, allocated, refused: false, taking_back });
            self.request(self.forwards.len() - 1, conn)?;
        }
        Ok(())
    }

    /// The connection is lost: what the server listened for, or was to.
    pub(super) fn leave(self) -> Vec<Held> {
        let wanted = self.forwards.into_iter().filter(|listening| !listening.refused);
        wanted.map(|Listening { forward, allocated, .. }| Held { forward, allocated }).collect()
    }

    /// When to call [`Self::wake`] even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.forwards.iter().filter_map(Listening::again).min()
    }

    /// Asks again for what is due.
    pub(super) fn wake(&mut self, conn: &mut Connection, now: Instant) -> Result<()> {
        for n in 0..self.forwards.len() {
            if let Some(listening) = self.forwards.get_mut(n)
                && listening.again().is_some_and(|again| again <= now)
            {
                if let Some(taking_back) = &mut listening.taking_back {
                    taking_back.again = None;
                }
                self.request(n, conn)?;
            }
        }
        Ok(())
    }

    fn request(&mut self, n: usize, conn: &mut Connection) -> Result<GlobalId> {
        let listening = self.forwards.get(n).ok_or(Error::ApiMisuse("no such forwarding"))?;
        let forward = &listening.forward;
        let request = match &forward.listen {
            Listen::Tcp { port, .. } => GlobalRequest::TcpipForward {
                host: forward.listen.remote_address().unwrap_or_default().as_bytes().to_vec(),
                port: listening.allocated.unwrap_or(*port).into(),
            },
            Listen::Unix(path) => {
                GlobalRequest::StreamlocalForward { path: path.written().as_bytes().to_vec() }
            }
        };
        log::debug!(
            "Remote connections from {} forwarded to local address {}",
            shown(forward),
            local::target(&forward.target)
        );
        let id = conn.global_request(&request)?;
        self.asked.insert(id, n);
        Ok(id)
    }

    /// What is known of a forwarding: none if nobody asked for it or it was refused; the port if the server has
    /// chosen it.
    pub(crate) fn has(&self, forward: &Forward) -> Option<Option<u16>> {
        let listening = self.forwards.iter().find(|l| !l.refused && l.forward == *forward)?;
        Some(listening.allocated)
    }

    /// Has the server stop listening. False: it was not asked to listen there.
    pub(crate) fn cancel(&mut self, forward: &Forward, conn: &mut Connection) -> Result<bool> {
        let found = self.forwards.iter_mut().find(|l| !l.refused && l.forward.listen == forward.listen);
        let Some(listening) = found else { return Ok(false) };
        // Answers stand for places in the list: it stays, for nobody.
        listening.refused = true;
        let request = match &listening.forward.listen {
            Listen::Tcp { port, .. } => GlobalRequest::CancelTcpipForward {
                host: listening.forward.listen.remote_address().unwrap_or_default().as_bytes().to_vec(),
                port: listening.allocated.unwrap_or(*port).into(),
            },
            Listen::Unix(path) => {
                GlobalRequest::CancelStreamlocalForward { path: path.written().as_bytes().to_vec() }
            }
        };
        // Whatever the answer is, connections are refused from now on.
        conn.global_request(&request)?;
        Ok(true)
    }

    /// Whether answers are still to come, also to what is asked again after a while.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.asked.is_empty() || self.forwards.iter().any(|listening| listening.again().is_some())
    }

    /// The server has said something, maybe why it will refuse what it answers next.
    pub(crate) fn remarked(&mut self, text: &[u8]) {
        self.prohibited = PROHIBITED.iter().any(|reason| text.ends_with(reason));
    }

    /// The server has answered; none if the question was not ours.
    pub(crate) fn answered(&mut self, id: GlobalId, reply: Option<&[u8]>, now: Instant) -> Option<Answered> {
        let prohibited = std::mem::take(&mut self.prohibited);
        let listening = self.forwards.get_mut(self.asked.remove(&id)?)?;
        if prohibited {
            // Asking again does not help.
            listening.taking_back = None;
        }
        let word = if reply.is_some() { "success" } else { "failure" };
        log::debug!(
            "remote forward {word} for: listen {}, connect {}",
            shown(&listening.forward),
            local::target(&listening.forward.target)
        );
        let Some(fields) = reply else { return Some(listening.refuse(now)) };
        if listening.taking_back.take().is_some_and(|taking_back| taking_back.was_refused()) {
            log::info!("The server listens again: {}", listening.place());
        }
        if !listening.server_chooses() {
            return Some(Answered::Listening(None));
        }
        // RFC 4254 §7.1: the port that was chosen.
        let port = Reader::new(fields).u32("allocated port").ok().and_then(|port| u16::try_from(port).ok());
        match port.filter(|port| *port > 0) {
            Some(port) => {
                let target = local::target(&listening.forward.target);
                log::info!("Allocated port {port} for remote forward to {target}");
                listening.allocated = Some(port);
                Some(Answered::Listening(Some(port)))
            }
            None => {
                log::error!("Invalid allocated port for remote forward");
                Some(listening.refuse(now))
            }
        }
    }

    /// The target of a connection that the server announces. `None`: nobody asked for that listener.
    pub(crate) fn target(&self, kind: &OpenRequest) -> Option<&Target> {
        let matches = |listening: &&Listening| {
            !listening.refused
                && match (kind, &listening.forward.listen) {
                    (OpenRequest::ForwardedTcpip(ends), Listen::Tcp { port, .. }) => {
                        let host = listening.forward.listen.remote_address().unwrap_or_default();
                        let port = if *port == 0 { listening.allocated } else { Some(*port) };
                        host.as_bytes() == ends.host && port.map(u32::from) == Some(ends.port)
                    }
                    (OpenRequest::ForwardedStreamlocal { path }, Listen::Unix(listen)) => {
                        listen.written().as_bytes() == path
                    }
                    _ => false,
                }
        };
        self.forwards.iter().find(matches).map(|listening| &listening.forward.target)
    }
}

impl Listening {
    fn again(&self) -> Option<Instant> {
        self.taking_back.as_ref()?.again.filter(|_| !self.refused)
    }

    /// The server is asked for any port.
    fn server_chooses(&self) -> bool {
        self.allocated.is_none() && matches!(self.forward.listen, Listen::Tcp { port: 0, .. })
    }

    /// What messages call the listener.
    fn place(&self) -> String {
        match &self.forward.listen {
            Listen::Tcp { port, .. } => format!("listen port {}", self.allocated.unwrap_or(*port)),
            Listen::Unix(path) => format!("listen path {path}"),
        }
    }

    /// The server does not listen: is it asked again?
    fn refuse(&mut self, now: Instant) -> Answered {
        let what = self.place();
        match &mut self.taking_back {
            Some(taking_back) if now < taking_back.until && !self.refused => {
                let pause = taking_back.backoff.pause(chance());
                taking_back.again = Some(now + pause);
                log::warn!("The server does not listen yet: {what}; asking again in {}.", shown_time(pause));
                Answered::Later
            }
            Some(_) | None => {
                self.refused = true;
                Answered::Refused(what)
            }
        }
    }
}

impl TakingBack {
    fn was_refused(&self) -> bool {
        self.backoff != Backoff::new(TAKE_BACK_EVERY)
    }
}

/// What is listened on, as messages have it.
fn shown(forward: &Forward) -> String {
    match &forward.listen {
        Listen::Tcp { bind, port } => format!("{}:{port}", bind.as_deref().unwrap_or("LOCALHOST")),
        Listen::Unix(path) => format!("{path}:-2"),
    }
}

/// The remedy for a listener that a stock server cannot do with.
pub(crate) fn remedy(forward: &Forward, ours: bool) -> Option<String> {
    local::remedy(forward, Form::Remote, ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_config::lookup::NoLookup;
    use sockward_proto::event::TcpEnds;

    fn remote(specs: &[(&str, Option<u16>)]) -> Remote {
        let forwards = specs
            .iter()
            .map(|(spec, allocated)| Listening {
                forward: Forward::parse(spec.as_bytes(), Form::Remote, &NoLookup).unwrap(),
                allocated: *allocated,
                refused: false,
                taking_back: None,
            })
            .collect();
        Remote { forwards, ..Remote::default() }
    }

    fn tcp(host: &str, port: u32) -> OpenRequest {
        let host = host.as_bytes().to_vec();
        OpenRequest::ForwardedTcpip(TcpEnds { host, port, origin_host: vec![], origin_port: 1 })
    }

    #[test]
    fn connections_belong_to_the_listener_that_was_asked_for() {
        let mut remote = remote(&[
            ("80:a:1", None),
            ("*:80:b:2", None),
            ("0:c:3", Some(4000)),
            ("/s:d:4", None),
            ("0:e:5", None),
        ]);
        let target = |remote: &Remote, kind: &OpenRequest| remote.target(kind).map(local::target);
        assert_eq!(target(&remote, &tcp("localhost", 80)).as_deref(), Some("a:1"));
        assert_eq!(target(&remote, &tcp("", 80)).as_deref(), Some("b:2"));
        assert_eq!(target(&remote, &tcp("localhost", 4000)).as_deref(), Some("c:3"));
        for unknown in
            [tcp("localhost", 81), tcp("127.0.0.1", 80), tcp("localhost", 0), tcp("localhost", 70_000)]
        {
            assert_eq!(target(&remote, &unknown), None, "{unknown:?}");
        }
        let path = |path: &str| OpenRequest::ForwardedStreamlocal { path: path.into() };
        assert_eq!(target(&remote, &path("/s")).as_deref(), Some("d:4"));
        assert_eq!(target(&remote, &path("/t")), None);
        assert_eq!(target(&remote, &OpenRequest::Session), None);
        remote.forwards[0].refused = true;
        assert_eq!(target(&remote, &tcp("localhost", 80)), None);
        let held: Vec<_> = remote.leave().into_iter().map(|held| held.allocated).collect();
        assert_eq!(held, [None, Some(4000), None, None], "a chosen port is asked for by its number");
    }

    #[test]
    fn a_listener_is_taken_back_with_patience_but_not_for_ever() {
        let mut remote = remote(&[("80:a:1", None)]);
        let (listening, now) = (&mut remote.forwards[0], Instant::now());
        let taking_back =
            TakingBack { until: now + TAKE_BACK, backoff: Backoff::new(TAKE_BACK_EVERY), again: None };
        assert!(!taking_back.was_refused());
        listening.taking_back = Some(taking_back);
        assert_eq!(listening.refuse(now), Answered::Later);
        assert!(listening.again().is_some_and(|again| again > now && again <= now + TAKE_BACK_EVERY));
        assert!(listening.taking_back.as_ref().is_some_and(TakingBack::was_refused));
        assert_eq!(listening.refuse(now + TAKE_BACK), Answered::Refused("listen port 80".to_owned()));
        assert_eq!(listening.again(), None);
        assert!(remote.leave().is_empty());
    }

    #[test]
    fn a_listener_that_is_not_permitted_is_not_asked_for_again() {
        let mut remote = Remote::default();
        for (text, prohibited) in [
            ("not in the server's list (PermitListen)", true),
            ("listening is switched off (AllowTcpForwarding)", true),
            ("too many: the limit is 3 (MaxListeners)", false),
            ("somebody listens there", false),
        ] {
            remote.remarked(text.as_bytes());
            assert_eq!(remote.prohibited, prohibited, "{text}");
        }
    }
}
