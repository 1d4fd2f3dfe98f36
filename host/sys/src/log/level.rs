//! LogLevel and SyslogFacility: names, order, and what they are to the `log` crate and to syslog(3).

/// LogLevel of ssh_config(5) and sshd_config(5), from silent to most talkative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing at all.
    Quiet,
    /// Why the program ends.
    Fatal,
    /// What went wrong.
    Error,
    /// The default.
    Info,
    /// Key fingerprints, refused forwardings and the like.
    Verbose,
    /// Steps.
    Debug1,
    /// More of them.
    Debug2,
    /// All of them.
    Debug3,
}

impl LogLevel {
    pub(super) const ALL: [(&'static str, LogLevel); 9] = [
        ("QUIET", LogLevel::Quiet),
        ("FATAL", LogLevel::Fatal),
        ("ERROR", LogLevel::Error),
        ("INFO", LogLevel::Info),
        ("VERBOSE", LogLevel::Verbose),
        ("DEBUG1", LogLevel::Debug1),
        ("DEBUG2", LogLevel::Debug2),
        ("DEBUG3", LogLevel::Debug3),
        ("DEBUG", LogLevel::Debug1),
    ];

    /// The level of a name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<LogLevel> {
        LogLevel::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, level)| *level)
    }

    /// The name, as in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        LogLevel::ALL.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }

    /// The level of a number, the last one for those beyond.
    pub(super) fn from_number(number: u8) -> LogLevel {
        LogLevel::ALL
            .iter()
            .map(|(_, level)| *level)
            .find(|level| *level as u8 == number)
            .unwrap_or(LogLevel::Debug3)
    }

    /// The level of a record of the `log` crate.
    pub(super) fn of(metadata: &log::Metadata<'_>) -> LogLevel {
        match (metadata.level(), metadata.target()) {
            (_, "fatal") => LogLevel::Fatal,
            (_, "verbose") => LogLevel::Verbose,
            (_, "debug3") => LogLevel::Debug3,
            (log::Level::Error, _) => LogLevel::Error,
            (log::Level::Warn | log::Level::Info, _) => LogLevel::Info,
            (log::Level::Debug, _) => LogLevel::Debug1,
            (log::Level::Trace, _) => LogLevel::Debug2,
        }
    }

    pub(super) fn priority(self) -> i32 {
        match self {
            LogLevel::Fatal => libc::LOG_CRIT,
            LogLevel::Error => libc::LOG_ERR,
            LogLevel::Quiet | LogLevel::Info | LogLevel::Verbose => libc::LOG_INFO,
            LogLevel::Debug1 | LogLevel::Debug2 | LogLevel::Debug3 => libc::LOG_DEBUG,
        }
    }

    /// What OpenSSH puts before a message: debug levels always, the severe ones in syslog only.
    pub(super) fn prefix(self, syslog: bool) -> &'static str {
        match self {
            LogLevel::Fatal if syslog => "fatal: ",
            LogLevel::Error if syslog => "error: ",
            LogLevel::Debug1 => "debug1: ",
            LogLevel::Debug2 => "debug2: ",
            LogLevel::Debug3 => "debug3: ",
            LogLevel::Quiet | LogLevel::Fatal | LogLevel::Error | LogLevel::Info | LogLevel::Verbose => "",
        }
    }
}

/// SyslogFacility of sshd_config(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(pub(super) i32);

impl Facility {
    /// Where sshd files until its configuration says otherwise.
    pub const AUTH: Facility = Facility(libc::LOG_AUTH);

    const ALL: [(&'static str, i32); 12] = [
        ("DAEMON", libc::LOG_DAEMON),
        ("USER", libc::LOG_USER),
        ("AUTH", libc::LOG_AUTH),
        ("AUTHPRIV", libc::LOG_AUTHPRIV),
        ("LOCAL0", libc::LOG_LOCAL0),
        ("LOCAL1", libc::LOG_LOCAL1),
        ("LOCAL2", libc::LOG_LOCAL2),
        ("LOCAL3", libc::LOG_LOCAL3),
        ("LOCAL4", libc::LOG_LOCAL4),
        ("LOCAL5", libc::LOG_LOCAL5),
        ("LOCAL6", libc::LOG_LOCAL6),
        ("LOCAL7", libc::LOG_LOCAL7),
    ];

    /// The facility of a name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Facility> {
        Facility::ALL.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| Facility(*value))
    }

    /// As in a message's priority (RFC 3164 section 4.1.1), already multiplied by 8.
    pub(crate) fn code(self) -> u32 {
        self.0.unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (name, level) in LogLevel::ALL {
            assert_eq!(LogLevel::from_name(&name.to_lowercase()), Some(level));
        }
        assert_eq!(LogLevel::Debug1.name(), "DEBUG1");
        assert_eq!(LogLevel::from_name("LOUD"), None);
        assert_eq!(Facility::from_name("local7"), Some(Facility(libc::LOG_LOCAL7)));
        assert!(Facility::from_name("mail").is_none());
    }
}
