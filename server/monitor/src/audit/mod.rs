//! The audit log (`AuditLog`): one record for each fact of a login. What is written comes from the monitor and from
//! the helpers; of the worker's word there are only the byte counts, marked as such. The records are described in
//! docs/audit.md.
//!
//! Nobody waits for the log: a record that cannot be written is counted, and the count is the next record.

mod record;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use sockward_config::sshd::{AuditLog, Effective};
use sockward_policy::By;
use sockward_privsep::helper::Event;
use sockward_sys::audit::AuditSink;
use sockward_sys::log::Facility;
use sockward_sys::time;

use crate::facts::Facts;
pub(crate) use record::CertificateName;
use record::{Fact, Record, Totals, Who};

/// More of the system's users are not told by name.
const USERS_MAX: usize = 1 << 20;

/// Refused logins that get a record each at once, and how long it takes until there is one more. The rest is
/// counted: who has no key fills no disk.
const REFUSALS_MAX: u32 = 100;
const ONE_MORE_REFUSAL: Duration = Duration::from_millis(500);
/// How long the end of a login waits for the last facts of its helper, which the user could stop.
const LAST_FACTS: Duration = Duration::from_secs(10);

/// The log, open or not.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    sink: Option<AuditSink>,
    /// Where it goes, to see what a reload changes.
    place: Option<AuditLog>,
    /// Names of the system's own users, as of the last (re)load: a directory server is not asked.
    users: BTreeMap<u32, String>,
    number: u64,
    /// Facts that helpers did not get to say.
    unsaid: u64,
    /// Records that were lost and of which the log does not tell yet.
    lost: u64,
    /// Logins that are over while their helpers still have facts of them to tell.
    endings: Vec<Ending>,
    /// When the last of the refusals that had a record each is forgotten.
    refusals_until: Option<Instant>,
    /// Refused logins without a record of their own.
    more_refused: u64,
}

/// The end of a login that waits for its last facts.
#[derive(Debug)]
struct Ending {
    subject: Rc<AuditSubject>,
    why: String,
    until: Instant,
}

/// Whose doing something was.
#[derive(Debug)]
pub(crate) struct AuditSubject {
    /// The connection's number, unique among all servers of this machine.
    pub(crate) connection: String,
    pub(crate) user: String,
    pub(crate) key: ShownKey,
    pub(crate) facts: Facts,
    since: Instant,
    totals: Cell<Totals>,
}

/// The key or certificate that somebody showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownKey {
    /// As the log has it; empty if there was none.
    pub(crate) described: String,
    /// The key's alone.
    pub(crate) fingerprint: Option<String>,
    pub(crate) certificate: Option<CertificateName>,
}

impl AuditSubject {
    pub(crate) fn new(connection: String, user: String, key: ShownKey, facts: Facts) -> Self {
        AuditSubject { connection, user, key, facts, since: Instant::now(), totals: Cell::default() }
    }
}

impl Audit {
    /// Opens what the configuration names, or opens it anew (SIGHUP). The error names the file; the old log stays.
    pub(crate) fn open(&mut self, values: &Effective) -> Result<(), String> {
        if values.audit_log != self.place {
            self.sink = match &values.audit_log {
                None => None,
                Some(AuditLog::File(path)) => {
                    let path = crate::path_of(path);
                    Some(AuditSink::file(&path).map_err(|e| format!("AuditLog {}: {e}", path.display()))?)
                }
                Some(AuditLog::Syslog) => {
                    let facility = Facility::from_name(values.syslog_facility.word());
                    Some(AuditSink::syslog(facility.unwrap_or(Facility::AUTH), "sockward-audit"))
                }
            };
            self.place.clone_from(&values.audit_log);
        } else if let Some(sink) = &mut self.sink {
            sink.reopen().map_err(|e| format!("AuditLog: {e}"))?;
        }
        self.users = if self.sink.is_some() { local_users() } else { BTreeMap::new() };
        Ok(())
    }

    /// Somebody has logged in, by this line.
    pub(crate) fn login(&mut self, subject: &AuditSubject, rule: Option<&By>) {
        self.write(subject, &Fact::login(rule));
    }

    /// Somebody was not let in, after so many refusals.
    pub(crate) fn refused(&mut self, subject: &AuditSubject, why: &str, count: u64, now: Instant) {
        if self.sink.is_none() {
            return;
        }
        // A bucket that each refusal fills by its share and time empties.
        let until = self.refusals_until.map_or(now, |until| until.max(now));
        if until.saturating_duration_since(now) > ONE_MORE_REFUSAL * REFUSALS_MAX {
            self.more_refused += 1;
            return;
        }
        self.refusals_until = Some(until + ONE_MORE_REFUSAL);
        self.write(subject, &Fact::refused_login(why, count));
    }

    /// A helper told a fact.
    pub(crate) fn event(&mut self, subject: &AuditSubject, event: &Event) {
        subject.totals.set(subject.totals.get().with(event));
        if self.sink.is_some() {
            let users = std::mem::take(&mut self.users);
            self.write(subject, &Fact::of(event, &users));
            self.users = users;
        }
    }

    /// A login is over. `more`: its helper is still there and has more to tell, which goes into the totals.
    pub(crate) fn end(&mut self, subject: &Rc<AuditSubject>, why: &str, more: bool, now: Instant) {
        match more && self.sink.is_some() {
            true => {
                let (subject, why) = (Rc::clone(subject), why.to_owned());
                self.endings.push(Ending { subject, why, until: now + LAST_FACTS });
            }
            false => self.write_end(subject, why),
        }
    }

    /// A helper has told its last fact of a login.
    pub(crate) fn last_fact(&mut self, subject: &Rc<AuditSubject>) {
        if let Some(index) = self.endings.iter().position(|e| Rc::ptr_eq(&e.subject, subject)) {
            let Ending { subject, why, .. } = self.endings.swap_remove(index);
            self.write_end(&subject, &why);
        }
    }

    /// Writes what waited for its time, or for the end of the server.
    pub(crate) fn keep_time(&mut self, now: Instant, the_end: bool) {
        while let Some(index) = self.endings.iter().position(|e| the_end || e.until <= now) {
            let Ending { subject, why, .. } = self.endings.swap_remove(index);
            self.write_end(&subject, &why);
        }
        if self.more_refused > 0 && (the_end || self.refusals_until.is_none_or(|until| until <= now)) {
            let count = std::mem::take(&mut self.more_refused);
            self.put(None, &Fact::more_refused(count));
        }
    }

    /// When there will be something to write.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let refusals = self.refusals_until.filter(|_| self.more_refused > 0);
        self.endings.iter().map(|e| e.until).chain(refusals).min()
    }

    fn write_end(&mut self, subject: &AuditSubject, why: &str) {
        self.write(subject, &Fact::end(why, subject.since.elapsed(), subject.totals.get()));
    }

    /// A helper could not tell so many facts: the monitor was behind.
    pub(crate) fn unsaid(&mut self, count: u64) {
        self.unsaid += count;
        self.say_losses();
    }

    /// Writes what waited for room.
    pub(crate) fn flush(&mut self) {
        if let Some(sink) = self.sink.as_mut().filter(|sink| sink.is_behind()) {
            sink.flush();
        }
        self.say_losses();
    }

    fn write(&mut self, subject: &AuditSubject, fact: &Fact<'_>) {
        self.say_losses();
        self.put(Some(subject), fact);
    }

    fn put(&mut self, subject: Option<&AuditSubject>, fact: &Fact<'_>) {
        let Some(sink) = &mut self.sink else { return };
        self.number += 1;
        let record = Record::new(self.number, time::rfc3339(SystemTime::now()), subject.map(Who::of), fact);
        match serde_json::to_string(&record) {
            Ok(line) => sink.write(&line),
            // Strings and numbers always can be written.
            Err(e) => log::error!("audit: {e}"),
        }
    }

    /// What is lost is said: in the log when it begins and when it is over, here as soon as there is room.
    fn say_losses(&mut self) {
        let Some(sink) = self.sink.as_mut().filter(|sink| !sink.is_behind()) else { return };
        let count = sink.take_dropped() + std::mem::take(&mut self.unsaid);
        if count > 0 && self.lost == 0 {
            log::error!("{count} audit records could not be written, and there may be more");
        }
        self.lost += count;
        if self.lost == 0 {
            return;
        }
        self.put(None, &Fact::lost(self.lost));
        if self.sink.as_mut().is_some_and(|sink| sink.take_dropped() > 0) {
            // Still no room: this one was no fact.
            self.number -= 1;
        } else {
            log::error!("{} audit records were lost", self.lost);
            self.lost = 0;
        }
    }
}

/// The users of /etc/passwd. What cannot be read has no names.
fn local_users() -> BTreeMap<u32, String> {
    let read = sockward_sys::file::read_small(
        std::path::Path::new("/etc/passwd"),
        USERS_MAX,
        sockward_sys::file::Links::Follow,
    );
    let text = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|e: io::Error| {
        log::warn!("/etc/passwd: {e}: the audit log names no users");
        String::new()
    });
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, name))
    };
    // The first of several names holds, as for getpwuid(3).
    text.lines().rev().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has no key fills no disk: so many refusals get a record each, the rest is counted and told later.
    #[test]
    fn a_flood_of_refusals_is_counted() {
        let path = std::env::temp_dir().join(format!("sockward-audit-{}", std::process::id()));
        let mut audit = Audit { sink: Some(AuditSink::file(&path).unwrap()), ..Audit::default() };
        let subject =
            AuditSubject::new("c".into(), "eve".into(), ShownKey::default(), Facts::new(None, None));
        let now = Instant::now();
        for _ in 0..REFUSALS_MAX + 1 + 500 {
            audit.refused(&subject, "no such user", 1, now);
        }
        let lines = |word: &str| {
            let text = std::fs::read_to_string(&path).unwrap();
            text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines("\"granted\":false").len(), REFUSALS_MAX as usize + 1);
        // With time there is room for more, and then the count.
        audit.keep_time(now + ONE_MORE_REFUSAL, false);
        audit.refused(&subject, "no such user", 1, now + ONE_MORE_REFUSAL);
        assert_eq!(lines("\"granted\":false").len(), REFUSALS_MAX as usize + 2);
        assert!(lines("refused_logins").is_empty());
        let then = audit.next_time().unwrap();
        audit.keep_time(then, false);
        let told = lines("\"event\":\"refused_logins\"");
        let told: Vec<_> = told.iter().filter(|line| line.contains("\"count\":500")).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(audit.next_time(), None);
        std::fs::remove_file(&path).unwrap();
    }
}
