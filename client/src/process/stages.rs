//! From stage to stage: setting out for the server or for a gate, the turns of each stage, and what follows when a
//! connection ends without anybody here wanting it. How the program ends is in `end.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sockward_drive::{End, Env, Net, Session, Status};

use super::end::Haste;
use super::{Exit, Process};
use crate::application::Application;
use crate::connect::{Connector, Step};
use crate::gate::{self, Meeting};
use crate::notice::Notice;
use crate::proxy::{self, Proxy};
use crate::reconnect::{self, Reconnect};
use crate::watched::Watched;
use crate::{FAILURE, handshake, messages};

/// The one session's number.
const SESSION: usize = 0;

/// How far the connection is.
pub(super) enum Stage {
    /// On its way.
    Connecting(Connector),
    /// On its way to a gate; until then, if that matters.
    Meeting(Box<Meeting>, Option<Instant>),
    /// There.
    Connected(Box<Connected>),
    /// Lost: the next attempt is made then.
    Away(Instant),
    /// Gone: the last bytes reach the standard streams.
    Over,
}

pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) app: Application,
    pub(super) proxy: Option<Proxy>,
    address: Option<SocketAddr>,
    /// ConnectTimeout: until then the server must have shown its key.
    deadline: Option<Instant>,
    /// Until then the server must have let us in.
    limit: Option<Instant>,
}

impl Connected {
    /// When it is too late for what has not happened yet.
    pub(super) fn too_late_at(&self) -> Option<Instant> {
        let silence = self.deadline.filter(|_| !self.app.has_met_the_server());
        let limit = self.limit.filter(|_| !self.app.is_logged_in());
        [silence, limit].into_iter().flatten().min()
    }
}

/// What a turn came to.
pub(super) enum Turn {
    Idle,
    /// There is more to do at once.
    Busy,
    End(Exit),
}

impl Process {
    /// Sets out for the server.
    pub(super) fn connect(&mut self) -> io::Result<()> {
        let token = Watched::Connector.token();
        if self.plan.is_via_gate() {
            // The first time the other ssh may ask and warn the user itself.
            let jobs = self.is_away().then_some(&self.jobs);
            let meeting = Meeting::start(&self.plan, self.poll.registry(), token, jobs);
            let meeting = meeting.map_err(io::Error::other)?;
            self.stage = Stage::Meeting(Box::new(meeting), self.limit());
            return Ok(());
        }
        if self.plan.has_proxy() {
            let (net, proxy) = proxy::start(&self.plan, &self.jobs).map_err(io::Error::other)?;
            let timeout = self.plan.configuration.settings.connect_timeout.0;
            let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
            return self.begin(net, Some(proxy), None, deadline);
        }
        self.stage = Stage::Connecting(Connector::new(Arc::clone(&self.plan), &self.jobs, token)?);
        Ok(())
    }

    /// The server is reached.
    fn begin(
        &mut self,
        net: Net,
        proxy: Option<Proxy>,
        address: Option<SocketAddr>,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let now = Instant::now();
        let session = handshake::start(&self.plan, net, SESSION, self.poll.registry(), now);
        let session = session.map_err(io::Error::other)?;
        let app = self.application(address);
        let connected = Connected { session, app, proxy, address, deadline, limit: self.limit() };
        self.stage = Stage::Connected(Box::new(connected));
        Ok(())
    }

    fn application(&self, address: Option<SocketAddr>) -> Application {
        Application::new(Arc::clone(&self.plan), self.jobs.clone(), address, self.kept.clone())
    }

    /// Until when an attempt that begins now may take.
    fn limit(&self) -> Option<Instant> {
        self.reconnect.as_ref()?.limit(Instant::now())
    }

    /// The gate is reached: there is nothing before the connection layer.
    fn begin_behind_gate(&mut self, net: Net, proxy: Proxy) -> io::Result<()> {
        let session = gate::session(net, SESSION, self.plan.keep_alive(), self.poll.registry())?;
        let mut app = self.application(None);
        app.behind_gate();
        let proxy = Some(proxy);
        let connected = Connected { session, app, proxy, address: None, deadline: None, limit: None };
        self.stage = Stage::Connected(Box::new(connected));
        Ok(())
    }

    pub(super) fn turn(&mut self, now: Instant) -> io::Result<Turn> {
        let more = self.is_away() && self.lasting.listeners.hold(now);
        match self.step(now)? {
            Turn::Idle if more => Ok(Turn::Busy),
            turn => Ok(turn),
        }
    }

    fn step(&mut self, now: Instant) -> io::Result<Turn> {
        match &mut self.stage {
            Stage::Connecting(connector) => match connector.step(self.poll.registry(), now) {
                Step::Waiting => Ok(Turn::Idle),
                Step::Failed => self.failed(now),
                Step::Connected { socket, address, deadline } => {
                    let begun = self.begin(Net::socket(socket), None, Some(address), deadline);
                    self.begun(begun, now)
                }
            },
            Stage::Meeting(meeting, limit) => match meeting.step(now) {
                Ok(false) if limit.is_none_or(|at| now < at) => Ok(Turn::Idle),
                Ok(false) => {
                    log::error!("no gate answered in time");
                    self.failed(now)
                }
                Ok(true) => {
                    let Stage::Meeting(meeting, _) = std::mem::replace(&mut self.stage, Stage::Over) else {
                        return Ok(Turn::Idle);
                    };
                    let (net, proxy) = meeting.into_stream(self.poll.registry());
                    let begun = self.begin_behind_gate(net, proxy);
                    self.begun(begun, now)
                }
                Err(none) if none.is_final && self.is_away() => {
                    log::error!(target: "fatal", "{}", none.why);
                    self.plan.notices.tell(&Notice::Refused(none.why));
                    self.finish(FAILURE, Haste::Yes).map(Turn::End)
                }
                Err(none) => self.begun(Err(io::Error::other(none.why)), now),
            },
            Stage::Connected(_) => self.work(now),
            Stage::Away(until) if now < *until => Ok(Turn::Idle),
            Stage::Away(_) => {
                let begun = self.connect();
                self.begun(begun, now)
            }
            Stage::Over => Ok(Turn::End(FAILURE)),
        }
    }

    /// An attempt has got one step further, or not.
    fn begun(&mut self, begun: io::Result<()>, now: Instant) -> io::Result<Turn> {
        match begun {
            Ok(()) => Ok(Turn::Busy),
            Err(e) if self.is_away() => {
                log::error!("{e}");
                self.failed(now)
            }
            Err(e) => Err(e),
        }
    }

    /// An attempt has failed; why has been said.
    fn failed(&mut self, now: Instant) -> io::Result<Turn> {
        if self.is_away() {
            self.leave(now);
            return Ok(Turn::Idle);
        }
        self.finish(FAILURE, Haste::Yes).map(Turn::End)
    }

    fn work(&mut self, now: Instant) -> io::Result<Turn> {
        let Stage::Connected(connected) = &mut self.stage else { return Ok(Turn::Idle) };
        if connected.too_late_at().is_some_and(|at| at <= now) {
            messages::too_late(connected.address);
            return self.failed(now);
        }
        let Connected { session, app, .. } = &mut **connected;
        let mut env = Env { registry: self.poll.registry(), buffers: &mut self.buffers, now };
        let result = session.work(&mut env, app).and_then(|status| {
            // What the events led to; what it has to say to the server goes out with the next work.
            let turned = app.turn(session, &mut env, &mut self.lasting);
            turned.map(|()| status).map_err(End::Protocol)
        });
        if let Some(reconnect) = self.reconnect.as_mut().filter(|_| app.is_logged_in())
            && reconnect.arrived(now, self.plan.host())
        {
            self.kept.host_key = app.host_key();
        }
        if let Some(exit) = app.exit() {
            return self.finish(exit, Haste::No).map(Turn::End);
        }
        match result {
            Ok(Status::Idle) if !session.can_flush() => Ok(Turn::Idle),
            Ok(Status::Idle | Status::Busy) => Ok(Turn::Busy),
            Err(end) => self.ended(&end, now),
        }
    }

    /// The connection has ended without anybody here wanting it.
    fn ended(&mut self, end: &End, now: Instant) -> io::Result<Turn> {
        let Stage::Connected(connected) = &self.stage else { return Ok(Turn::Idle) };
        let (app, host) = (&connected.app, self.plan.host());
        let again = self.reconnect.as_ref().is_some_and(Reconnect::is_established)
            && !app.is_stopped()
            && !reconnect::is_final(end, app.stage());
        if again && app.is_logged_in() {
            reconnect::say_lost(end, host);
            self.plan.notices.tell(&Notice::Lost);
        } else if self.plan.is_via_gate() {
            messages::gate_ended(end, host);
        } else {
            messages::ended(end, app.stage(), host, connected.address);
        }
        if again {
            self.leave(now);
            return Ok(Turn::Idle);
        }
        self.finish(FAILURE, Haste::No).map(Turn::End)
    }

    /// The connection is lost, or an attempt to make it again has failed: what is left of it goes, and after a pause
    /// there is another attempt.
    fn leave(&mut self, now: Instant) {
        // One that had the time of an attempt to end and did not is ended.
        self.retired.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        for child in &self.retired {
            let _ = child.kill();
        }
        let proxy = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Connected(connected) => {
                let Connected { mut session, app, proxy, .. } = *connected;
                // A last word, if one is due and goes out at once.
                session.flush_last();
                app.leave(&mut self.lasting, now);
                proxy
            }
            Stage::Meeting(meeting, _) => Some(meeting.into_proxy()),
            Stage::Connecting(_) | Stage::Away(_) | Stage::Over => None,
        };
        self.retired.extend(proxy.and_then(Proxy::retire));
        let Some(reconnect) = &mut self.reconnect else { return };
        if let Some(again) = reconnect.plan() {
            self.plan = Arc::new(again);
        }
        self.stage = Stage::Away(reconnect.leave(now, self.plan.host()));
    }
}
