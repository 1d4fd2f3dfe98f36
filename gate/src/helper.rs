//! The helper process: started from this very binary, told the permit, heard for the facts. It acts as this user;
//! nobody changes ids here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use sockward_policy::Permit;
use sockward_privsep::helper::{Event, FromHelper, Login, ToHelper};
use sockward_privsep::role::{Arguments, Role};
use sockward_privsep::{Channel, Outcome};
use sockward_sys::link::Link;
use sockward_sys::spawn::{self, Child, SelfExe};

/// How long the helper may take to remove its sockets.
const PATIENCE: Duration = Duration::from_secs(5);

/// The one login that a gate has.
const LOGIN: u64 = 0;

/// The helper and our link to it.
pub(crate) struct Helper {
    channel: Channel<ToHelper, FromHelper>,
    child: Child,
    buffer: Vec<u8>,
}

impl Helper {
    /// Starts it, and hands it the permit. Returns our end of the login's link beside it.
    pub(crate) fn start(permit: Permit, log_level: &str) -> io::Result<(Helper, Link)> {
        let (ours, theirs) = Link::pair()?;
        let title = format!("sockward: helper of a gate [{}]", permit.account.name);
        let arguments =
            Arguments { role: Role::Helper, ids: None, groups_of: None, log_level: log_level.to_owned() };
        let stderr = io::stderr();
        let role = spawn::Role {
            argv: arguments.to_args(&title),
            env: Vec::new(),
            // Where a panic's last words go; nothing else is written there.
            stderr: Some(stderr.as_fd()),
            descriptors: vec![theirs.as_fd()],
            // Out of reach of what ends this process: it removes the sockets first.
            new_session: true,
        };
        let child = SelfExe::open()?.spawn(&role).map_err(io::Error::other)?;
        let mut channel = Channel::new(ours);
        let (ours, theirs) = Link::pair()?;
        let connection = [const { String::new() }; 4];
        let login = Login { id: LOGIN, permit, connection, label: "gate".into() };
        channel.say(&ToHelper::Login(Box::new(login)), Some(theirs.into()))?;
        let buffer = Channel::<ToHelper, FromHelper>::buffer();
        Ok((Helper { channel, child, buffer }, ours))
    }

    /// Takes what the helper says and hands the facts on. False: it has gone.
    pub(crate) fn hear(&mut self, mut fact: impl FnMut(&Event) -> io::Result<()>) -> io::Result<bool> {
        loop {
            match self.channel.hear(&mut self.buffer)? {
                Outcome::Message(FromHelper::Event { event, .. }, _) => fact(&event)?,
                Outcome::Message(FromHelper::Lost { count }, _) => {
                    log::error!("{count} facts are not in the record: too much happened at once");
                }
                Outcome::Message(FromHelper::Log { error: true, text }, _) => log::error!("{text}"),
                Outcome::Message(FromHelper::Log { error: false, text }, _) => log::debug!("{text}"),
                Outcome::Message(FromHelper::SetGroup { id, .. }, _) => {
                    // Nobody here has more rights than the helper itself.
                    let error = Some("the group is not one of this user's".to_owned());
                    self.channel.say(&ToHelper::GroupSet { id, error }, None)?;
                }
                Outcome::Message(FromHelper::LoginEnded { .. } | FromHelper::Idle, _) => {}
                Outcome::Empty => return Ok(true),
                Outcome::End => return Ok(false),
            }
        }
    }

    /// Ends the login, hears the last facts and waits until the sockets are gone.
    pub(crate) fn end(mut self, mut fact: impl FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
        // A helper that does not listen is gone already.
        let _ = self.channel.say(&ToHelper::EndLogin { login: LOGIN }, None);
        let until = Instant::now() + PATIENCE;
        let mut over = false;
        while !over && Instant::now() < until {
            if !sockward_sys::fd::wait_readable(
                &self.channel,
                until.saturating_duration_since(Instant::now()),
            )? {
                break;
            }
            over = self.hear_last(&mut fact)?;
        }
        let Helper { channel, mut child, .. } = self;
        drop(channel);
        child.wait().map(drop)
    }

    /// True when there is nothing left.
    fn hear_last(&mut self, fact: &mut impl FnMut(&Event) -> io::Result<()>) -> io::Result<bool> {
        loop {
            match self.channel.hear(&mut self.buffer)? {
                Outcome::Message(FromHelper::Event { event, .. }, _) => fact(&event)?,
                Outcome::Message(FromHelper::Idle, _) | Outcome::End => return Ok(true),
                Outcome::Message(..) => {}
                Outcome::Empty => return Ok(false),
            }
        }
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
