//! `Reconnect`: what is made again after a connection is lost, when, and what ends the program all the same. The loop
//! in `process/` does it; what waits meanwhile is in `forwards/waiting.rs`.
//!
//! ```text
//!   logged in ─▶ lost ─▶ a pause ─▶ an attempt ─┬─ logged in: remote forwardings are taken back
//!                          ▲                    ├─ failed ──┐
//!                          └── twice as long ◀──┼───────────┘
//!                                               └─ host key changed, permission denied: the end
//! ```
//!
//! The first connection is as without it: whoever mistypes a name sees so at once.

use std::time::{Duration, Instant};

use sockward_config::choice::LogLevel;
use sockward_config::ssh::{StrictHostKeyChecking, Timeout, YesNoAsk};
use sockward_crypto::{Random, SystemRandom};
use sockward_drive::End;
use sockward_proto::{Error, KeepAlive};
use sockward_wire::transport::reason;

use crate::authenticate::Unlocked;
use crate::gate;
use crate::messages::{self, Stage};
use crate::plan::Plan;

/// The first pause: a server that restarts is soon back.
const FIRST: Duration = Duration::from_secs(1);

/// Pauses are never shorter on average: a server that refuses at once is not asked without end.
const LEAST: Duration = Duration::from_millis(200);

/// A connection that lasted so long was a good one: pauses begin small again.
const STABLE: Duration = Duration::from_secs(10);

/// How long an attempt may take from the first step to the login. A stock server waits for two minutes; there are
/// no people to wait for.
const ATTEMPT: Duration = Duration::from_secs(60);

/// ConnectTimeout of an attempt, where nothing else is said: the kernel would try for two minutes.
const CONNECT: u32 = 15;

/// ServerAliveInterval where nothing else is said. With [`COUNT_MAX`] a dead path is noticed 12 s after the last
/// sign of life.
const INTERVAL: Duration = Duration::from_secs(4);
const COUNT_MAX: u32 = 2;

/// Of OpenSSH's words, with which it sends whoever has tried MaxAuthTries times away.
const TOO_MANY: &[u8] = b"authentication failures";

/// What a login leaves to the next one.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    /// The plain key of a host that is fully trusted.
    pub(crate) host_key: Option<Vec<u8>>,
    /// Private keys that cannot be asked for again.
    pub(crate) unlocked: Unlocked,
}

/// Where a client that connects again stands.
pub(crate) struct Reconnect {
    /// For all attempts; none once it is in use.
    plan: Option<Plan>,
    backoff: Backoff,
    /// When the last login succeeded; none before the first.
    since: Option<Instant>,
    /// When the connection was lost, while there is none.
    lost: Option<Instant>,
}

impl Plan {
    /// Whether a lost connection is made again. A command, a shell and `-W` cannot be taken up where they were: with
    /// them a loss is the end.
    pub(crate) fn reconnects(&self) -> bool {
        let settings = &self.configuration.settings;
        let own_streams = settings.proxy_command.as_ref().is_some_and(|command| command.0 == "-");
        settings.reconnect
            && !self.has_session()
            && self.configuration.stdio_forward.is_none()
            && !own_streams
    }

    /// The plan for connecting again: nobody is asked anything, an unknown or changed host key is an end, and no
    /// attempt lasts for ever.
    pub(crate) fn again(&self) -> Plan {
        let mut plan = self.clone();
        let settings = &mut plan.configuration.settings;
        settings.batch_mode = true;
        settings.strict_host_key_checking = StrictHostKeyChecking::Yes;
        if settings.update_host_keys == YesNoAsk::Ask {
            settings.update_host_keys = YesNoAsk::No;
        }
        settings.connection_attempts = 1;
        settings.connect_timeout = Timeout(Some(settings.connect_timeout.0.unwrap_or(CONNECT)));
        let is_quiet = settings.log_level < LogLevel::Error;
        let lead = plan.far_command.take();
        plan.far_command = lead.map(|(program, argv)| (program, gate::for_attempts(argv, CONNECT, is_quiet)));
        plan
    }

    /// Whether and how a silent server is asked for a sign of life.
    pub(crate) fn keep_alive(&self) -> Option<KeepAlive> {
        let settings = &self.configuration.settings;
        let said = |name: &str| settings.sources.contains_key(name);
        if self.reconnects() && !said("ServerAliveInterval") {
            let count_max =
                if said("ServerAliveCountMax") { settings.server_alive_count_max } else { COUNT_MAX };
            return Some(KeepAlive { interval: INTERVAL, count_max: count_max.max(1) });
        }
        let interval = Duration::from_secs(settings.server_alive_interval.0.into());
        // OpenSSH gives up at once with a count of 0, where ours would never.
        let count_max = settings.server_alive_count_max.max(1);
        (!interval.is_zero()).then_some(KeepAlive { interval, count_max })
    }
}

impl Reconnect {
    /// Before the first connection. None: the plan does not want it.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let cap = Duration::from_secs(plan.configuration.settings.reconnect_max_delay.0.into());
        plan.reconnects().then(|| Reconnect {
            plan: Some(plan.again()),
            backoff: Backoff::new(cap),
            since: None,
            lost: None,
        })
    }

    /// The plan to go on with, once.
    pub(crate) fn plan(&mut self) -> Option<Plan> {
        self.plan.take()
    }

    /// Whether there was a login: from then on failures are no end.
    pub(crate) fn is_established(&self) -> bool {
        self.since.is_some()
    }

    /// Whether there was a connection and is none.
    pub(crate) fn is_away(&self) -> bool {
        self.lost.is_some()
    }

    /// Logged in. True the first time, and after each loss.
    pub(crate) fn arrived(&mut self, now: Instant, host: &str) -> bool {
        let new = self.since.is_none() || self.lost.is_some();
        if new {
            self.since = Some(now);
        }
        if let Some(lost) = self.lost.take() {
            log::info!("Reconnected to {host} after {}.", shown(now.saturating_duration_since(lost)));
        }
        new
    }

    /// The connection is lost, or an attempt has failed: until when to wait. Says so.
    pub(crate) fn leave(&mut self, now: Instant, host: &str) -> Instant {
        if self.lost.is_none() {
            self.lost = Some(now);
            if self.since.is_some_and(|since| now.saturating_duration_since(since) >= STABLE) {
                self.backoff.reset();
            }
        }
        let pause = self.backoff.pause(chance());
        log::info!("Reconnecting to {host} in {}.", shown(pause));
        now + pause
    }

    /// Until when an attempt that begins now may take.
    pub(crate) fn limit(&self, now: Instant) -> Option<Instant> {
        self.is_away().then(|| now + ATTEMPT)
    }
}

/// A connection that was logged in is lost: one line.
pub(crate) fn say_lost(end: &End, host: &str) {
    let why = match end {
        End::Lost => "closed by remote host".to_owned(),
        End::Done => "ended".to_owned(),
        End::Protocol(Error::Timeout) => "timeout, server not responding".to_owned(),
        End::Protocol(Error::Disconnected { reason, text }) => {
            format!("received disconnect {reason}: {}", messages::printable(text))
        }
        End::Protocol(other) => other.to_string(),
    };
    log::warn!("Connection to {host} lost: {why}.");
}

/// Whether time cannot mend what ended a connection at this stage.
pub(crate) fn is_final(end: &End, stage: Stage) -> bool {
    match end {
        End::Lost | End::Done => false,
        End::Protocol(error) => match error {
            Error::HostKeyRefused | Error::PeerIncompatible { .. } => true,
            // "Too many authentication failures" and the like; asking again gets a user locked out.
            Error::Disconnected { reason, text } => {
                let many = text.windows(TOO_MANY.len()).any(|words| words == TOO_MANY);
                stage == Stage::Login && (*reason == reason::NO_MORE_AUTH_METHODS_AVAILABLE || many)
            }
            Error::PeerMisbehaved(_)
            | Error::InvalidMessage(_)
            // Something else may answer at the address for a while: a hotel's network.
            | Error::Version(_)
            | Error::Crypto(_)
            | Error::Timeout
            | Error::SignatureRefused
            | Error::ApiMisuse(_) => false,
        },
    }
}

/// Pauses that grow to twice the last one, up to a cap, each with a random half: clients of one server do not come
/// all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// From the first pause to this one.
    pub(crate) fn new(cap: Duration) -> Self {
        let cap = cap.max(LEAST);
        Backoff { next: FIRST.min(cap), cap }
    }

    /// The next pause; `random` is any number.
    pub(crate) fn pause(&mut self, random: u32) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.cap);
        whole.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    fn reset(&mut self) {
        *self = Backoff::new(self.cap);
    }
}

/// Any number.
pub(crate) fn chance() -> u32 {
    let mut bytes = [0; 4];
    SystemRandom::new().fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// A time for people.
pub(crate) fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_differ_by_half() {
        let mut longest = Backoff::new(seconds(10));
        let mut shortest = longest.clone();
        for whole in [1, 2, 4, 8, 10, 10] {
            assert_eq!(longest.pause(u32::MAX), seconds(whole));
            assert_eq!(shortest.pause(0), seconds(whole) / 2);
        }
        longest.reset();
        assert_eq!(longest, Backoff::new(seconds(10)));
        let mut never_none = Backoff::new(Duration::ZERO);
        assert_eq!((never_none.pause(0), never_none.pause(u32::MAX)), (LEAST / 2, LEAST));
        let mut middle = Backoff::new(seconds(60));
        assert!((Duration::from_millis(500)..seconds(1)).contains(&middle.pause(chance() / 2)));
    }

    #[test]
    fn pauses_grow_until_a_connection_has_lasted() {
        let start = Instant::now();
        let mut reconnect = Reconnect::of(&crate::testing::plan(&["-N", "-oReconnect=yes"])).unwrap();
        assert!(!reconnect.is_established());
        assert!(reconnect.arrived(start, "h") && !reconnect.arrived(start + seconds(1), "h"));
        let pause = |reconnect: &mut Reconnect, at| reconnect.leave(at, "h") - at;
        let lost = start + seconds(2);
        assert!(pause(&mut reconnect, lost) <= seconds(1));
        assert!(reconnect.is_away());
        assert!((seconds(1)..=seconds(2)).contains(&pause(&mut reconnect, lost)));
        assert!(reconnect.arrived(lost + seconds(3), "h") && !reconnect.is_away());
        assert!((seconds(2)..=seconds(4)).contains(&pause(&mut reconnect, lost + seconds(4))));
        assert!(reconnect.arrived(lost + seconds(5), "h"));
        assert!(pause(&mut reconnect, lost + seconds(5) + STABLE) <= seconds(1));
    }

    #[test]
    fn forwardings_alone_are_taken_up_again() {
        let plan = |arguments: &[&str]| crate::testing::plan(arguments);
        let on = "-oReconnect=yes";
        assert!(plan(&["-N", on]).reconnects());
        for not in [&["-N"][..], &[on], &[on, "-T"], &[on, "-W", "h:1"], &[on, "-N", "-oProxyCommand=-"]] {
            assert!(!plan(not).reconnects(), "{not:?}");
            assert!(Reconnect::of(&plan(not)).is_none());
        }
    }

    #[test]
    fn a_dead_path_is_noticed_within_15_seconds_unless_somebody_says_otherwise() {
        let alive = |arguments: &[&str]| {
            let all = [&["-N", "-oReconnect=yes"], arguments].concat();
            let alive = crate::testing::plan(&all).keep_alive()?;
            // The last question's answer is waited for, too.
            Some(alive.interval * (alive.count_max + 1))
        };
        assert!(alive(&[]).is_some_and(|noticed| noticed < seconds(15)));
        assert_eq!(alive(&["-oServerAliveInterval=7"]), Some(seconds(28)));
        assert_eq!(alive(&["-oServerAliveInterval=0"]), None);
        assert_eq!(alive(&["-oServerAliveCountMax=1"]), Some(seconds(8)));
    }

    #[test]
    fn attempts_ask_nobody_and_end() {
        let first = crate::testing::plan(&["-N", "-oReconnect=yes", "-oStrictHostKeyChecking=no"]);
        let again = first.again().configuration.settings;
        assert!(again.batch_mode);
        assert_eq!(again.strict_host_key_checking, StrictHostKeyChecking::Yes);
        assert_eq!(again.connect_timeout, Timeout(Some(CONNECT)));
        assert_eq!(first.configuration.settings.connect_timeout, Timeout(None));
        let gate = crate::testing::plan(&["-oVia=gate", "-oReconnect=yes", "-L", "1:h:2"]).again();
        let (_, argv) = gate.far_command.unwrap();
        assert_eq!(argv[..3], ["ssh", "-oBatchMode=yes", "-oConnectTimeout=15"]);
        let gate = crate::testing::plan(&["-oVia=gate", "-oConnectTimeout=3", "-L", "1:h:2"]).again();
        assert!(!gate.far_command.unwrap().1.iter().any(|word| word == "-oConnectTimeout=15"));
    }

    #[test]
    fn what_time_cannot_mend_is_the_end() {
        let told = |reason, text: &str| {
            End::Protocol(Error::Disconnected { reason, text: text.as_bytes().to_vec() })
        };
        assert!(is_final(&End::Protocol(Error::HostKeyRefused), Stage::Login));
        assert!(is_final(&told(reason::NO_MORE_AUTH_METHODS_AVAILABLE, ""), Stage::Login));
        let many = told(reason::PROTOCOL_ERROR, "Too many authentication failures");
        assert!(is_final(&many, Stage::Login));
        for (end, stage) in [
            (End::Lost, Stage::Banner),
            (End::Protocol(Error::Timeout), Stage::Session),
            (many, Stage::Session),
            (told(reason::PROTOCOL_ERROR, "Not allowed at this time"), Stage::Login),
            (told(reason::TOO_MANY_CONNECTIONS, ""), Stage::Login),
        ] {
            assert!(!is_final(&end, stage), "{end:?}");
        }
    }
}
