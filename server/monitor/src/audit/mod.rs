//! The audit log (`AuditLog`): one record for each fact of a login. What is written comes from the monitor and from
//! the helpers; of the worker's word there are only the byte counts, marked as such. The records are described in
//! docs/audit.md.
//!
//! Nobody waits for the log: a record that cannot be written is counted, and the count is the next record.

mod record;

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use sockward_config::sshd::{AuditLog, Effective};
use sockward_privsep::helper::Event;
use sockward_sys::audit::AuditSink;
use sockward_sys::log::Facility;
use sockward_sys::time;

use crate::facts::Facts;
use record::{Fact, Record, Who};

/// More of the system's users are not told by name.
const USERS_MAX: usize = 1 << 20;

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
}

/// Whose doing something was.
#[derive(Clone, Debug)]
pub(crate) struct AuditSubject {
    /// The connection's number, unique among all servers of this machine.
    pub(crate) connection: String,
    pub(crate) user: String,
    /// The key or certificate.
    pub(crate) key: String,
    pub(crate) facts: Facts,
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

    /// Somebody has logged in.
    pub(crate) fn login(&mut self, subject: &AuditSubject) {
        self.write(subject, &Fact::login());
    }

    /// A helper told a fact.
    pub(crate) fn event(&mut self, subject: &AuditSubject, event: &Event) {
        if self.sink.is_some() {
            let users = std::mem::take(&mut self.users);
            self.write(subject, &Fact::of(event, &users));
            self.users = users;
        }
    }

    /// A login is over.
    pub(crate) fn end(&mut self, subject: &AuditSubject, why: &str) {
        self.write(subject, &Fact::end(why));
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

    /// What is lost is said as soon as there is room.
    fn say_losses(&mut self) {
        let Some(sink) = self.sink.as_mut().filter(|sink| !sink.is_behind()) else { return };
        let count = sink.take_dropped() + std::mem::take(&mut self.unsaid);
        if count > 0 {
            log::error!("{count} audit records were lost");
            self.put(None, &Fact::lost(count));
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
