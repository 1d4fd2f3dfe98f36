//! Connections that share one standard input and output: `UNIX-LISTEN:…,fork STDIO` and `nc -lk`. One stream holds no
//! borders between connections, so they are served one after another; what sorts them is a gate.

use std::os::fd::AsFd;
use std::time::Duration;

use sockward_sys::signal::Signals;
use sockward_sys::stream::{Kind, Wait, wait};

use crate::address::Address;
use crate::end::End;
use crate::failure::{Failure, Side, words};
use crate::flow::{Flow, Step, Tools};
use crate::listen::Listener;
use crate::solo::{Stop, accept, check};

/// How long an answer is waited for after a TCP client has said that it says no more: it may be gone for good,
/// which looks the same.
const TCP_LINGERS: Duration = Duration::from_millis(500);

/// What is different between the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// `relay`: ends when standard input has answered and ended.
    Relay,
    /// `nc -lk`: with pipes on both sides the first client's end is passed on, so that its answer can be complete.
    Netcat,
}

/// What nc says from the second connection on, where the first has used the pipes up.
const USED_UP: &str = "the pipes have ended with the first connection, so this one cannot be served; \
                       'sockward relay UNIX-LISTEN:PATH,fork TCP:HOST:PORT' serves any number";

/// How one connection ended.
struct Outcome {
    /// Standard input has ended.
    input_ended: bool,
    /// Standard output takes no more.
    output_ended: bool,
}

/// Serves one connection after another.
pub(crate) fn run(
    listener: &Listener,
    address: &Address,
    manner: Manner,
    signals: &Signals,
) -> Result<(), Stop> {
    let mut stdio = End::stdio()?;
    let pipes =
        [Some(stdio.source()), stdio.sink()].into_iter().all(|s| s.is_some_and(|s| s.kind() != Kind::File));
    let passes_ends = manner == Manner::Netcat && pipes;
    let mut tools = Tools::new();
    let (mut answered, mut used_up) = (false, false);
    loop {
        let connection = accept(listener, address, Side::First, signals)?;
        if used_up {
            log::error!("{}: {USED_UP}", address.text);
            continue;
        }
        let mut pair = Pair { connection, stdio: &mut stdio, passes_ends, answered: &mut answered };
        let outcome = pair.serve(&mut tools, signals)?;
        match manner {
            Manner::Relay if outcome.output_ended => {
                return Err(Failure::at(Side::Second, "stdio", "standard output takes no more").into());
            }
            Manner::Relay if outcome.input_ended && answered => return Ok(()),
            Manner::Relay => {}
            Manner::Netcat => used_up = outcome.output_ended || (outcome.input_ended && answered),
        }
    }
}

/// A connection and the streams it has for a while.
struct Pair<'a> {
    connection: End,
    stdio: &'a mut End,
    passes_ends: bool,
    /// Standard input has said something.
    answered: &'a mut bool,
}

impl Pair<'_> {
    fn serve(&mut self, tools: &mut Tools, signals: &Signals) -> Result<Outcome, Stop> {
        let Some(output) = self.stdio.sink() else {
            return Ok(Outcome { input_ended: false, output_ended: true });
        };
        let mut up = Flow::new(self.connection.source(), output);
        let mut down = Flow::new(self.stdio.source(), self.connection.source());
        let (mut up_over, mut down_over) = (false, false);
        let mut outcome = Outcome { input_ended: false, output_ended: false };
        loop {
            let up_step = match self.stdio.sink() {
                Some(output) if !up_over => up.step(self.connection.source(), output, tools),
                Some(_) | None => Ok(Step::Ended),
            };
            match &up_step {
                Ok(Step::Ended) if !up_over => {
                    up_over = true;
                    if self.passes_ends {
                        self.stdio.end_writing();
                        outcome.output_ended = true;
                    }
                }
                Ok(_) => {}
                Err(crate::flow::Broken::Source(_)) => up_over = true,
                Err(crate::flow::Broken::Sink(e)) => {
                    log::debug!("standard output: {}", words(e));
                    outcome.output_ended = true;
                    return Ok(outcome);
                }
            }
            let down_step = if down_over {
                Ok(Step::Ended)
            } else {
                down.step(self.stdio.source(), self.connection.source(), tools)
            };
            *self.answered |= down.moved() > 0;
            match &down_step {
                Ok(Step::Ended) if !down_over => {
                    down_over = true;
                    outcome.input_ended = true;
                    self.connection.end_writing();
                }
                Ok(_) => {}
                // The client is gone; what was for it is lost, as is where the next answer begins.
                Err(_) => return Ok(outcome),
            }
            if up_over && down_over {
                return Ok(outcome);
            }
            let moving = |step: &Result<Step, _>| matches!(step, Ok(Step::Moved(_)));
            if moving(&up_step) || moving(&down_step) {
                check(signals)?;
                continue;
            }
            if !self.wait(up_over, down_over, &up_step, &down_step, &down, signals)? {
                return Ok(outcome);
            }
        }
    }

    /// Waits for something to do. False: the client is gone.
    fn wait(
        &self,
        up_over: bool,
        down_over: bool,
        up: &Result<Step, crate::flow::Broken>,
        down: &Result<Step, crate::flow::Broken>,
        down_flow: &Flow,
        signals: &Signals,
    ) -> Result<bool, Stop> {
        let is = |step: &Result<Step, _>, wanted: Step| matches!(step, Ok(step) if *step == wanted);
        let read = !up_over && is(up, Step::WantsRead);
        let write = !down_over && is(down, Step::WantsWrite);
        let mut waits =
            vec![Wait::new(self.connection.source(), read, write), Wait::new(signals, true, false)];
        if let (Some(output), true) = (self.stdio.sink(), !up_over && is(up, Step::WantsWrite)) {
            waits.push(Wait::new(output, false, true));
        }
        if !down_over && is(down, Step::WantsRead) {
            waits.push(Wait::new(self.stdio.source(), true, false));
        }
        let tcp = self.connection.source().kind() == Kind::Tcp;
        let ready = wait(&mut waits, (tcp && up_over && !down_flow.holds()).then_some(TCP_LINGERS))?;
        let hung_up = waits.first().is_some_and(Wait::is_hung_up);
        drop(waits);
        check(signals)?;
        // A client that has hung up may have left something to read.
        let gone = hung_up && (up_over || !is(up, Step::WantsWrite)) && (up_over || !self.has_more());
        Ok(ready && !gone)
    }

    fn has_more(&self) -> bool {
        let now = Duration::ZERO;
        sockward_sys::fd::wait_readable(self.connection.source().as_fd(), now).unwrap_or(false)
    }
}
