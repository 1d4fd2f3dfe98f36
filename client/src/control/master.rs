//! The master's end: the control socket, the clients at it, and what each of them asks for, complete with its
//! streams. What is done about it is the login's business.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use sockward_config::forward::{Form, Forward, Target};
use sockward_sys::link::{Link, MESSAGE_MAX};
use sockward_sys::{identity, unix};
use sockward_wire::channel::Size;

use super::messages::{Ask, Tell};
use crate::connect::reason;
use crate::forwards::local;
use crate::plan::Plan;
use crate::sessions::{Request, Streams};
use crate::start::ThisMachine;
use crate::watched::Watched;

/// Clients at once; each may have one session, and servers give fewer.
const CLIENTS_MAX: usize = 1000;

/// Clients that wait to be accepted.
const BACKLOG: i32 = 64;

/// The listener's number among what is watched; clients come behind it.
const LISTENER: usize = 0;

/// The control socket and all clients. Nothing is there before [`Master::listen`].
#[derive(Default)]
pub(crate) struct Master {
    listener: Option<unix::Listener>,
    somebody_waits: bool,
    clients: HashMap<usize, Client>,
    next: usize,
    buffer: Vec<u8>,
}

struct Client {
    link: Link,
    ready: bool,
    /// What waits for its streams.
    incomplete: Option<Incomplete>,
    streams: Vec<OwnedFd>,
}

enum Incomplete {
    Session(Request),
    Stdio(Target),
}

/// What a client asks for.
pub(crate) enum Asked {
    Check,
    Exit,
    Stop,
    Forward(Form, Forward),
    Cancel(Form, Forward),
    Session(Request, Streams),
    Stdio(Target, OwnedFd, OwnedFd),
    Window(Size),
    /// It is gone.
    Gone,
}

impl Master {
    /// Makes the control socket. An error is for people.
    pub(crate) fn listen(&mut self, plan: &Plan, registry: &Registry) -> Result<(), String> {
        let Some(path) = plan.control_path() else { return Ok(()) };
        let shown = path.display();
        let place = local::place(path)?;
        let exists = || format!("ControlSocket {shown} already exists, disabling multiplexing");
        let old = match unix::Occupant::look(&place).map_err(|e| local::why(&e))? {
            Some(old) => Some(stale(old).map_err(|e| reason(&e))?.ok_or_else(exists)?),
            None => None,
        };
        let newborn = unix::Newborn::bind_links(place).map_err(|e| local::why(&e))?;
        let listener = newborn.publish(0o600, BACKLOG, old).map_err(|e| match e {
            unix::BirthError::Exists => exists(),
            other => format!("cannot make the control socket {shown}: {}", local::why(&other)),
        })?;
        log::debug!("setting up multiplex master socket");
        let fd = listener.as_fd().as_raw_fd();
        let token = Watched::Control(LISTENER).token();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE).map_err(|e| reason(&e))?;
        self.listener = Some(listener);
        self.somebody_waits = true;
        self.next = LISTENER + 1;
        self.buffer = vec![0; MESSAGE_MAX];
        Ok(())
    }

    /// Takes no more clients; the socket goes.
    pub(crate) fn stop(&mut self) {
        self.listener = None;
    }

    /// The poller says something of the n-th.
    pub(crate) fn ready(&mut self, n: usize) {
        if n == LISTENER {
            self.somebody_waits = true;
        } else if let Some(client) = self.clients.get_mut(&n) {
            client.ready = true;
        }
    }

    /// Says something to a client. One that does not listen is let go when it ends.
    pub(crate) fn tell(&mut self, client: usize, what: &Tell) {
        if let Some(client) = self.clients.get(&client)
            && let Err(e) = client.link.send(&what.encode(), None)
        {
            log::debug!("control client: {}", reason(&e));
        }
    }

    /// The next thing that a client asks for.
    pub(crate) fn asked(&mut self, registry: &Registry) -> Option<(usize, Asked)> {
        self.accept(registry);
        let Master { clients, buffer, .. } = self;
        for (n, client) in clients.iter_mut().filter(|(_, client)| client.ready) {
            let n = *n;
            match client.read(buffer) {
                Ok(None) => {}
                Ok(Some(asked)) => return Some((n, asked)),
                Err(why) => {
                    log::debug!("control client {n}: {why}");
                    self.clients.remove(&n);
                    return Some((n, Asked::Gone));
                }
            }
        }
        None
    }

    fn accept(&mut self, registry: &Registry) {
        while let Some(listener) = self.listener.as_ref().filter(|_| self.somebody_waits) {
            match listener.accept() {
                Ok(socket) if self.clients.len() < CLIENTS_MAX => match self.admit(socket, registry) {
                    Ok(()) => {}
                    Err(e) => log::error!("control client: {e}"),
                },
                Ok(_) => log::error!("too many control clients"),
                Err(e) => {
                    self.somebody_waits = false;
                    if e.kind() != io::ErrorKind::WouldBlock {
                        log::error!("accept: {}", reason(&e));
                    }
                }
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd, registry: &Registry) -> io::Result<()> {
        let uid = unix::peer(&socket)?.uid;
        if uid != Some(0) && uid != Some(identity::effective_uid()) {
            return Err(io::Error::other("it belongs to somebody else"));
        }
        let link = Link::from_fd(socket)?;
        let token = Watched::Control(self.next).token();
        registry.register(&mut SourceFd(&link.as_fd().as_raw_fd()), token, Interest::READABLE)?;
        let client = Client { link, ready: true, incomplete: None, streams: Vec::new() };
        self.clients.insert(self.next, client);
        self.next += 1;
        Ok(())
    }
}

impl Client {
    /// Reads up to something complete. The error says why it is let go.
    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<Asked>, String> {
        loop {
            let received = match self.link.recv(buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return Err("gone".to_owned()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return Ok(None);
                }
                Err(e) => return Err(reason(&e)),
            };
            let message = buffer.get(..received.len).unwrap_or_default();
            let ask = Ask::decode(message).map_err(|e| e.to_string())?;
            if let Some(asked) = self.take(ask, received.fd)? {
                return Ok(Some(asked));
            }
        }
    }

    fn take(&mut self, ask: Ask, fd: Option<OwnedFd>) -> Result<Option<Asked>, String> {
        Ok(Some(match ask {
            Ask::Check => Asked::Check,
            Ask::Exit => Asked::Exit,
            Ask::Stop => Asked::Stop,
            Ask::Forward(form, spec) => Asked::Forward(form, forward(form, &spec)?),
            Ask::Cancel(form, spec) => Asked::Cancel(form, forward(form, &spec)?),
            Ask::Window(size) => Asked::Window(size),
            Ask::Session(request) => {
                self.incomplete = Some(Incomplete::Session(request));
                return Ok(None);
            }
            Ask::Stdio(target) => {
                let target = Target::parse_stdio(&target, &ThisMachine).map_err(|e| e.to_string())?;
                self.incomplete = Some(Incomplete::Stdio(target));
                return Ok(None);
            }
            Ask::Stream => {
                let wanted = match &self.incomplete {
                    Some(Incomplete::Session(_)) => 3,
                    Some(Incomplete::Stdio(_)) => 2,
                    None => return Err("a stream that nobody wants".to_owned()),
                };
                self.streams.push(fd.ok_or("a stream without a descriptor")?);
                if self.streams.len() < wanted {
                    return Ok(None);
                }
                return self.complete();
            }
        }))
    }

    fn complete(&mut self) -> Result<Option<Asked>, String> {
        let mut streams = std::mem::take(&mut self.streams).into_iter();
        let (input, output, error) = (streams.next(), streams.next(), streams.next());
        match (self.incomplete.take(), output, error) {
            (Some(Incomplete::Session(request)), Some(output), Some(error)) => {
                Ok(Some(Asked::Session(request, Streams { input, output, error })))
            }
            (Some(Incomplete::Stdio(target)), Some(output), None) => {
                Ok(input.map(|input| Asked::Stdio(target, input, output)))
            }
            _ => Err("streams are missing".to_owned()),
        }
    }
}

/// A socket that nobody listens at may be replaced. Waits a moment to be sure.
fn stale(old: unix::Occupant) -> io::Result<Option<unix::Replaceable>> {
    let unix::FirstLook::Unsure(mut probe) = old.probe()? else { return Ok(None) };
    loop {
        std::thread::sleep(probe.due().saturating_duration_since(Instant::now()));
        match probe.again()? {
            unix::SecondLook::NotYet(again) => probe = again,
            unix::SecondLook::Live => return Ok(None),
            unix::SecondLook::Stale(old) => return Ok(Some(old)),
        }
    }
}

fn forward(form: Form, spec: &[u8]) -> Result<Forward, String> {
    Forward::parse(spec, form, &ThisMachine).map_err(|e| e.to_string())
}
