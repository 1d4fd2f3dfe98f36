//! The end of the program: the last words to the server, and waiting until what was received has reached the standard
//! streams.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;
use sockward_drive::Env;
use sockward_sys::signal::Signal;

use super::stages::{Connected, Stage};
use super::{EVENTS, Exit, Process, note};
use crate::jobs::Job;
use crate::messages;
use crate::proxy::Proxy;
use crate::trust::Learner;

/// How long the last packets may take on their way out.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// Whether anybody waits for what was received to be written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// A signal ends the program.
    Yes,
    No,
}

impl Process {
    /// Says good-bye, and waits until what was received has reached the standard streams.
    pub(super) fn finish(&mut self, exit: Exit, haste: Haste) -> io::Result<Exit> {
        let Stage::Connected(connected) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(exit);
        };
        let Connected { mut session, mut app, mut proxy, .. } = *connected;
        let had_session = app.is_logged_in();
        session.conn.disconnect("disconnected by user");
        self.until(Some(Instant::now() + GOOD_BYE), |_, events| {
            events.iter().for_each(|event| note(&mut session, event));
            session.flush_last()
        })?;
        if let Some(channel) = app.main_channel().filter(|_| haste == Haste::No) {
            self.until(None, |process, events| {
                events.iter().for_each(|event| note(&mut session, event));
                let Process { poll, buffers, .. } = process;
                let mut env = Env { registry: poll.registry(), buffers, now: Instant::now() };
                session.write_out(channel, &mut env, &mut app)
            })?;
        }
        let (mut outputs, learner) = app.into_last();
        outputs.extend(proxy.as_mut().and_then(Proxy::end));
        // Closes our ends of the pipes: the threads write what is in them, and end.
        drop(session);
        if haste == Haste::No {
            self.until(None, |_, _| {
                outputs.retain(|job: &Job<()>| job.poll().is_none());
                outputs.is_empty()
            })?;
            if let Some(job) = learner.and_then(Learner::end) {
                self.until(None, |_, _| job.poll().is_some())?;
            }
        }
        if had_session && self.plan.terminal {
            messages::session_closed(&self.plan);
        }
        Ok(exit)
    }

    /// Waits for something, until a time or until a signal says that this is enough.
    fn until(
        &mut self,
        end: Option<Instant>,
        mut done: impl FnMut(&mut Self, &Events) -> bool,
    ) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !done(self, &events) && end.is_none_or(|at| Instant::now() < at) {
            self.wait(&mut events, end)?;
            while let Some(signal) = self.signals.next()? {
                if !matches!(signal, Signal::WindowChange | Signal::Child) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
