//! The life of a connection in the monitor: accepted, given to a worker, let in or not, ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use mio::Interest;
use sockward_crypto::{Random, SystemRandom};
use sockward_privsep::reader::ToReader;
use sockward_privsep::role::Role;
use sockward_privsep::worker::{AuthAnswer, Control, LoggedIn, ToWorker, TrafficClasses};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;
use sockward_sys::{fd, tcp};
use sockward_wire::transport::reason;

use crate::audit::AuditSubject;
use crate::auth::{Accepted, Step};
use crate::connection::{Connection, LoginRef};
use crate::facts::Facts;
use crate::helpers::Helper;
use crate::search::Job;
use crate::server::{Carrier, MESSAGES_AT_ONCE, Server, Source, again, watch};
use crate::startups::PerSource;

/// Connections taken off one listener before others have their turn.
const ACCEPTS_AT_ONCE: usize = 64;
/// How long a worker may take to end a connection whose client was told why.
const GOODBYE: Duration = Duration::from_secs(10);

impl Server {
    /// Takes new connections.
    pub(crate) fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_AT_ONCE {
            let Some(listener) = self.listeners.get(index) else { return };
            let (socket, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    log::error!("accept: {e}");
                    return;
                }
            };
            let facts = Facts::new(Some(peer), tcp::local_address(&socket).ok().flatten());
            if let Err(e) = self.admit(socket, facts) {
                log::error!("connection from {facts}: {e}");
            }
            if self.single {
                self.listeners.clear();
            }
        }
        // More may wait, and an edge tells of them but once.
        if let Some(listener) = self.listeners.get(index) {
            let fd = listener.as_fd();
            let again = self.poll.registry().reregister(
                &mut mio::unix::SourceFd(&std::os::fd::AsRawFd::as_raw_fd(&fd)),
                Source::Listener(index).token(),
                Interest::READABLE,
            );
            if let Err(e) = again {
                log::error!("listener: {e}");
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, facts: Facts) -> io::Result<()> {
        let values = self.settings.config.global();
        let mut dice = [0; 4];
        SystemRandom::new().fill(&mut dice);
        let dice = u32::from_ne_bytes(dice) % 100;
        let per_source = self.per_source();
        if !self.startups.admits(values.max_startups, per_source, facts.address(), dice) {
            log::info!("drop connection from {facts} past MaxStartups");
            // What the client sees, if there is room; it is closed in any case.
            let _ = fd::write(&socket, b"Exceeded MaxStartups\r\n");
            return Ok(());
        }
        tcp::set_nodelay(&socket)?;
        tcp::set_keepalive(&socket, values.tcp_keep_alive)?;
        let kept = fd::duplicate(&socket)?;
        self.begin(socket, None, facts, Some(kept))
    }

    pub(crate) fn per_source(&self) -> PerSource {
        let values = self.settings.config.global();
        PerSource { max: values.per_source_max_startups, block: values.per_source_net_block_size }
    }

    /// Gives a connection to a worker.
    pub(crate) fn begin(
        &mut self,
        read: OwnedFd,
        write: Option<OwnedFd>,
        facts: Facts,
        kept: Option<OwnedFd>,
    ) -> io::Result<()> {
        let (link, worker, carrier) = match self.carriers.is_empty() {
            true => {
                let started = self.processes.worker(Role::Worker)?;
                (started.channel, Some(started.child), None)
            }
            false => {
                let (ours, theirs) = Link::pair()?;
                let carrier = self.carry(theirs)?;
                (Channel::new(ours), None, Some(carrier))
            }
        };
        let (mut connection, start) = Connection::new(facts, link, &self.identification, &self.world());
        connection.worker = worker;
        connection.carrier = carrier;
        connection.socket = kept;
        if let Some(write) = write {
            connection.link.say(&ToWorker::WriteEnd, Some(write))?;
        }
        connection.link.say(&ToWorker::Start(Box::new(start)), Some(read))?;
        let grace = u64::from(self.settings.config.global().login_grace_time);
        connection.deadline = (grace > 0).then(|| self.now + Duration::from_secs(grace));
        let index = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        watch(
            &self.poll,
            connection.link.as_fd(),
            Source::Worker(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.deadlines.extend(connection.deadline.map(|at| (at, index)));
        connection.seat = Some(self.startups.enter(facts.address(), self.per_source()));
        log::info!(target: "verbose", "Connection from {facts}");
        if index == self.connections.len() {
            self.connections.push(None);
        }
        if let Some(slot) = self.connections.get_mut(index) {
            *slot = Some(Box::new(connection));
        }
        Ok(())
    }

    /// Hands a connection's link to the shared worker with the fewest.
    fn carry(&mut self, link: Link) -> io::Result<usize> {
        let least = self.carriers.iter_mut().enumerate().min_by_key(|(_, c)| c.load);
        let (index, carrier) = least.ok_or_else(|| io::Error::other("no worker"))?;
        match carrier.process.channel.say(&Control::Connection, Some(link.into())) {
            Ok(()) => {
                carrier.load += 1;
                Ok(index)
            }
            Err(e) => {
                self.replace_carrier(index)?;
                Err(e)
            }
        }
    }

    /// Starts the shared workers.
    pub(crate) fn start_carriers(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let process = self.processes.worker(Role::SharedWorker)?;
            self.carriers.push(Carrier { process, load: 0 });
        }
        Ok(())
    }

    fn replace_carrier(&mut self, index: usize) -> io::Result<()> {
        let fresh = Carrier { process: self.processes.worker(Role::SharedWorker)?, load: 0 };
        if let Some(slot) = self.carriers.get_mut(index) {
            let old = std::mem::replace(slot, fresh);
            self.bury(old.process.child);
        }
        Ok(())
    }

    /// Takes what a connection's worker says.
    pub(crate) fn hear_worker(&mut self, index: usize) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
            let link = &mut connection.link;
            let heard = link.flush().and_then(|()| link.hear(&mut self.message));
            let steps = match heard {
                Ok(Outcome::Message(message, None)) => connection.worker_said(message, &self.world()),
                Ok(Outcome::Message(_, Some(_))) => Err("a descriptor from a worker".to_owned()),
                Ok(Outcome::Empty) => {
                    self.put_back(index, connection);
                    return;
                }
                Ok(Outcome::End) => {
                    self.put_back(index, connection);
                    return self.ended(index);
                }
                Err(e) => Err(e.to_string()),
            };
            self.put_back(index, connection);
            match steps {
                Ok(steps) => self.take_steps(index, steps),
                Err(why) => return self.distrust(index, &why),
            }
        }
        // Its turn comes again with the others'.
        let Some(connection) = self.connections.get(index).and_then(Option::as_ref) else { return };
        if again(&self.poll, connection.link.as_fd(), Source::Worker(index)).is_err() {
            self.ended(index);
        }
    }

    fn put_back(&mut self, index: usize, connection: Box<Connection>) {
        if let Some(slot) = self.connections.get_mut(index) {
            *slot = Some(connection);
        }
    }

    /// Takes what one of a connection's readers says.
    pub(crate) fn hear_reader(&mut self, job: Job, index: usize) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
            let Some(reader) = connection.readers.of(job) else {
                self.put_back(index, connection);
                return;
            };
            let channel = &mut reader.channel;
            let heard = channel.flush().and_then(|()| channel.hear(&mut self.message));
            let steps = match heard {
                Ok(Outcome::Message(message, None)) => connection.reader_said(job, message, &self.world()),
                Ok(Outcome::Empty) => {
                    self.put_back(index, connection);
                    return;
                }
                Ok(Outcome::Message(_, Some(_)) | Outcome::End) | Err(_) => {
                    vec![Step::End("the process that reads key files has gone".into())]
                }
            };
            self.put_back(index, connection);
            self.take_steps(index, steps);
        }
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        if let Some(reader) = connection.readers.of(job)
            && again(&self.poll, reader.channel.as_fd(), Source::Reader(job, index)).is_err()
        {
            self.send_away(index, "the server cannot go on");
        }
    }

    fn take_steps(&mut self, index: usize, steps: Vec<Step>) {
        for step in steps {
            let result = match step {
                Step::Ask(job, question) => self.ask_reader(index, job, &question),
                Step::Answer(answer) => self.tell_worker(index, &ToWorker::Auth(answer), None),
                Step::Banner(text) => self.tell_worker(index, &ToWorker::Banner(text), None),
                Step::LogIn(accepted) => self.log_in(index, *accepted),
                Step::End(why) => {
                    self.send_away(index, &why);
                    return;
                }
            };
            if let Err(e) = result {
                log::error!("{e}");
                self.send_away(index, "the server cannot go on");
                return;
            }
        }
    }

    fn connection(&mut self, index: usize) -> io::Result<&mut Connection> {
        let slot = self.connections.get_mut(index).and_then(Option::as_mut);
        slot.map(Box::as_mut).ok_or_else(|| io::Error::other("the connection is gone"))
    }

    fn tell_worker(&mut self, index: usize, message: &ToWorker, fd: Option<OwnedFd>) -> io::Result<()> {
        self.connection(index)?.link.say(message, fd)
    }

    fn ask_reader(&mut self, index: usize, job: Job, question: &ToReader) -> io::Result<()> {
        if job == Job::Command
            && let Some(last) = self.connection(index)?.readers.of(job).take()
        {
            // Each runs one program.
            self.bury(last.child);
        }
        if self.connection(index)?.readers.of(job).is_none() {
            let reader = self.processes.reader()?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            watch(&self.poll, reader.channel.as_fd(), Source::Reader(job, index), interest)?;
            *self.connection(index)?.readers.of(job) = Some(reader);
        }
        match self.connection(index)?.readers.of(job) {
            Some(reader) => reader.channel.say(question, None),
            None => Err(io::Error::other("no reader")),
        }
    }

    /// Hands the login to the user's helper and tells the worker.
    fn log_in(&mut self, index: usize, accepted: Accepted) -> io::Result<()> {
        let Accepted { mut permit, groups, effective, key, rule } = accepted;
        if let Some(group) = permit.birth.group.as_mut().filter(|group| group.by_administrator) {
            group.gid = self.settings.groups.get(&group.name).copied();
        }
        let connection = self.connection(index)?;
        let facts = connection.facts;
        let user = permit.account.name.clone();
        let addresses = facts.ssh_connection();
        let described = key.described.clone();
        let subject = Rc::new(AuditSubject::new(self.connection_number(), user.clone(), key, facts));
        let poll = &self.poll;
        let watch = |helper: &Helper, index| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            watch(poll, helper.process.channel.as_fd(), Source::Helper(index), interest)
        };
        let handed = self.helpers.log_in(permit, groups, addresses, &subject, &self.processes, watch)?;
        self.audit.login(&subject, rule.as_ref());
        log::info!("Accepted publickey for {user} from {facts} ssh2: {described}");
        let connection = self.connection(index)?;
        let seat = connection.seat.take();
        let deadline = connection.deadline.take();
        connection.socket = None;
        let readers = std::mem::take(&mut connection.readers);
        connection.login = Some(LoginRef { helper: handed.helper, id: handed.login, user, subject });
        self.deadlines.remove(&(deadline.unwrap_or(self.now), index));
        if let Some(seat) = seat {
            self.startups.leave(seat);
        }
        for reader in readers.into_children() {
            self.bury(reader);
        }
        let traffic = facts.local.map(|address| TrafficClasses {
            ipv6: address.is_ipv6(),
            interactive: effective.ip_qos.0.0,
            bulk: effective.ip_qos.1.0,
        });
        let logged_in = LoggedIn {
            alive_interval: u64::from(effective.client_alive_interval),
            alive_count_max: effective.client_alive_count_max,
            channel_timeouts: effective
                .channel_timeouts
                .iter()
                .map(|t| (t.channel.clone(), u64::from(t.seconds)))
                .collect(),
            unused_timeout: u64::from(effective.unused_connection_timeout),
            host_keys: self.keys.public(),
            traffic,
        };
        let success = ToWorker::Auth(AuthAnswer::Success(Box::new(logged_in)));
        self.tell_worker(index, &success, Some(handed.link))
    }

    /// The number of a connection for the audit.
    fn connection_number(&mut self) -> String {
        self.next_connection += 1;
        format!("{:x}-{:x}-{}", self.started, std::process::id(), self.next_connection)
    }

    /// `LoginGraceTime` is over.
    pub(crate) fn grace_over(&mut self, index: usize) {
        let Ok(connection) = self.connection(index) else { return };
        if !connection.sent_away {
            log::info!("Timeout before authentication for connection from {}", connection.facts);
            connection.refusal = Some("LoginGraceTime is over".to_owned());
        }
        if let Some(at) = connection.deadline.take() {
            self.deadlines.remove(&(at, index));
        }
        self.forget(index);
    }

    /// Ends a connection with a word to the client. Nobody logs in on it any more, whatever its worker does.
    fn send_away(&mut self, index: usize, why: &str) {
        let until = self.now + GOODBYE;
        let Ok(connection) = self.connection(index) else { return };
        let (readers, before) = (std::mem::take(&mut connection.readers), connection.deadline.replace(until));
        connection.sent_away = true;
        connection.refusal = Some(why.to_owned());
        log::info!("Disconnecting {}: {why}", connection.who());
        let text = if why.contains("attempts") { "Too many authentication failures" } else { why };
        let goodbye = ToWorker::Disconnect { reason: reason::PROTOCOL_ERROR, text: text.to_owned() };
        // The worker ends the connection; if it does not, the deadline does.
        let told = connection.link.say(&goodbye, None);
        if let Some(at) = before {
            self.deadlines.remove(&(at, index));
        }
        self.deadlines.insert((until, index));
        for reader in readers.into_children() {
            self.bury(reader);
        }
        if told.is_err() {
            self.forget(index);
        }
    }

    /// A worker said what no honest worker says.
    fn distrust(&mut self, index: usize, why: &str) {
        let Ok(connection) = self.connection(index) else { return };
        log::error!("worker of {} is not to be trusted: {why}", connection.who());
        connection.last_word = Some(format!("its worker is not to be trusted: {why}"));
        let carrier = connection.carrier;
        if let Some(worker) = &connection.worker {
            let _ = worker.kill();
        }
        if let Some(carrier) = carrier.and_then(|c| self.carriers.get(c)) {
            // All connections that it carries end with it: it could have altered any of them.
            let _ = carrier.process.child.kill();
        }
        self.forget(index);
    }

    /// The worker's link has ended.
    fn ended(&mut self, index: usize) {
        let Ok(connection) = self.connection(index) else { return };
        let phase = if connection.login.is_some() { "" } else { " [preauth]" };
        let why =
            connection.last_word.get_or_insert_with(|| "the worker process has gone".to_owned()).clone();
        log::info!("Connection closed by {}{phase}: {why}", connection.who());
        self.forget(index);
    }

    /// Lets go of a connection and of everything that was started for it.
    fn forget(&mut self, index: usize) {
        let Some(mut connection) = self.connections.get_mut(index).and_then(Option::take) else { return };
        if let Some(at) = connection.deadline {
            self.deadlines.remove(&(at, index));
        }
        if let Some(seat) = connection.seat.take() {
            self.startups.leave(seat);
        }
        if let Some(login) = &connection.login {
            let why = connection.last_word.as_deref().unwrap_or("the server ended it");
            let more = self.helpers.end_login(login.helper, login.id);
            self.audit.end(&login.subject, why, more, self.now);
        } else if let Some((user, key, why, refusals)) = connection.refused() {
            let subject = AuditSubject::new(self.connection_number(), user, key, connection.facts);
            self.audit.refused(&subject, &why, refusals, self.now);
        }
        if let Some(socket) = &connection.socket {
            // A worker that has been taken over may still hold it.
            let _ = tcp::shutdown(socket);
        }
        for reader in connection.readers.into_children() {
            self.bury(reader);
        }
        if let Some(worker) = connection.worker {
            self.bury(worker);
        }
        if let Some(carrier) = connection.carrier
            && let Some(entry) = self.carriers.get_mut(carrier)
        {
            entry.load = entry.load.saturating_sub(1);
            if matches!(entry.process.child.try_wait(), Ok(Some(_)))
                && let Err(e) = self.replace_carrier(carrier)
            {
                log::error!("cannot start a worker: {e}");
            }
        }
        if self.single {
            self.end(if connection.login.is_some() { 0 } else { 255 });
        }
    }
}
