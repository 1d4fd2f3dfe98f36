//! The form of a record: a JSON object on one line. Fields that say nothing are left out. Changing the meaning of
//! one, or leaving one out that was there, makes a new version; adding one does not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use sockward_policy::By;
use sockward_privsep::helper::{Event, Peer};
use sockward_privsep::login::Connection;

use super::AuditSubject;

/// The version of the records.
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    v: u32,
    time: String,
    /// Counts the records of this server process, so that a gap shows.
    number: u64,
    #[serde(flatten)]
    fact: &'a Fact<'a>,
    #[serde(flatten)]
    who: Option<Who<'a>>,
}

/// Whose doing it was: facts of the monitor.
#[derive(Debug, Serialize)]
pub(super) struct Who<'a> {
    connection: &'a str,
    ssh_user: &'a str,
    /// Empty where a refused client showed none.
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a CertificateName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
}

/// What happened.
#[derive(Debug, Default, Serialize)]
pub(super) struct Fact<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<bool>,
    /// The line that decided; "default" where none is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    /// A listener or a target: a closed connection does not say which of them it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    /// Where it really is.
    #[serde(skip_serializing_if = "Option::is_none")]
    real: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    /// The forwarded connection, unique in its SSH connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<PeerRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Totals>,
}

/// Of a certificate: what its authority calls it, and the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CertificateName {
    pub(crate) id: String,
    pub(crate) serial: u64,
    /// The authority's fingerprint.
    pub(crate) ca: String,
}

/// What a login came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Totals {
    listeners: u64,
    accepted: u64,
    opened: u64,
    refused: u64,
    bytes: Bytes,
}

impl Totals {
    /// With one more fact.
    pub(super) fn with(mut self, event: &Event) -> Self {
        let (count, granted) = match event {
            Event::Listen { result, .. } => (&mut self.listeners, result.is_ok()),
            Event::Open { result, .. } => (&mut self.opened, result.is_ok()),
            Event::Connection { refused, .. } => (&mut self.accepted, refused.is_none()),
            Event::Closed { received, sent, .. } => {
                self.bytes.from_client = self.bytes.from_client.saturating_add(*received);
                self.bytes.to_client = self.bytes.to_client.saturating_add(*sent);
                return self;
            }
            Event::Unlisten { .. } | Event::Execute { .. } => return self,
        };
        let count = if granted { count } else { &mut self.refused };
        *count = count.saturating_add(1);
        self
    }
}

/// Who connected to a listener.
#[derive(Debug, Default, Serialize)]
struct PeerRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

/// By the worker's count.
#[derive(Clone, Copy, Debug, Serialize)]
struct Bytes {
    said_by: &'static str,
    from_client: u64,
    to_client: u64,
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes { said_by: "worker", from_client: 0, to_client: 0 }
    }
}

impl<'a> Record<'a> {
    pub(super) fn new(number: u64, time: String, who: Option<Who<'a>>, fact: &'a Fact<'a>) -> Self {
        Record { v: VERSION, time, number, fact, who }
    }
}

impl<'a> Who<'a> {
    pub(super) fn of(subject: &'a AuditSubject) -> Self {
        Who {
            connection: &subject.connection,
            ssh_user: &subject.user,
            key: &subject.key.described,
            fingerprint: subject.key.fingerprint.as_deref(),
            certificate: subject.key.certificate.as_ref(),
            source_address: subject.facts.peer.map(|peer| peer.ip().to_string()),
            source_port: subject.facts.peer.map(|peer| peer.port()),
        }
    }
}

impl<'a> Fact<'a> {
    /// `rule`: the line that lets the key in.
    pub(super) fn login(rule: Option<&By>) -> Self {
        Fact { event: "login", granted: Some(true), rule: rule.map(By::to_string), ..Fact::default() }
    }

    /// A client that asked for a user and got nowhere, after so many refusals.
    pub(super) fn refused_login(why: &'a str, count: u64) -> Self {
        Fact {
            event: "login",
            granted: Some(false),
            reason: Some(why),
            count: Some(count),
            ..Fact::default()
        }
    }

    /// Refused logins that were too many for a record each.
    pub(super) fn more_refused(count: u64) -> Self {
        Fact { event: "refused_logins", count: Some(count), ..Fact::default() }
    }

    pub(super) fn end(why: &'a str, lasted: Duration, totals: Totals) -> Self {
        let milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        let (milliseconds, totals) = (Some(milliseconds), Some(totals));
        Fact { event: "end", reason: Some(why), milliseconds, totals, ..Fact::default() }
    }

    pub(super) fn lost(count: u64) -> Self {
        Fact { event: "lost", count: Some(count), ..Fact::default() }
    }

    pub(super) fn of(event: &'a Event, users: &'a BTreeMap<u32, String>) -> Self {
        match event {
            Event::Listen { at, result, by } => {
                Fact { event: "listen", listener: Some(at), ..Fact::decided(result, by.as_ref()) }
            }
            Event::Unlisten { at } => Fact { event: "unlisten", listener: Some(at), ..Fact::default() },
            Event::Open { connection, target, result, by } => Fact {
                event: "open",
                target: Some(target),
                forwarded: result.is_ok().then(|| name(*connection)),
                ..Fact::decided(result, by.as_ref())
            },
            Event::Connection { connection, at, peer, refused, by } => Fact {
                event: "connection",
                listener: Some(at),
                granted: Some(refused.is_none()),
                reason: refused.as_deref(),
                rule: by.as_ref().map(By::to_string),
                forwarded: refused.is_none().then(|| name(*connection)),
                peer: Some(PeerRecord::of(peer, users)),
                ..Fact::default()
            },
            Event::Closed { connection, what, received, sent, milliseconds } => Fact {
                event: "closed",
                what: Some(what),
                forwarded: Some(name(*connection)),
                bytes: Some(Bytes { from_client: *received, to_client: *sent, ..Bytes::default() }),
                milliseconds: Some(*milliseconds),
                ..Fact::default()
            },
            Event::Execute { what, result } => {
                Fact { event: "execute", command: Some(what), ..Fact::decided(result, None) }
            }
        }
    }

    fn decided(result: &'a Result<String, String>, by: Option<&By>) -> Self {
        let rule = by.map(By::to_string);
        match result {
            Ok(real) => Fact { granted: Some(true), real: Some(real), rule, ..Fact::default() },
            Err(why) => Fact { granted: Some(false), reason: Some(why), rule, ..Fact::default() },
        }
    }
}

impl<'a> PeerRecord<'a> {
    fn of(peer: &'a Peer, users: &'a BTreeMap<u32, String>) -> Self {
        let user = |uid: &Option<u32>| uid.and_then(|uid| users.get(&uid)).map(String::as_str);
        match peer {
            Peer::Address { from, uid } => PeerRecord {
                uid: *uid,
                user: user(uid),
                address: Some(from.ip().to_string()),
                port: Some(from.port()),
                ..PeerRecord::default()
            },
            Peer::Process { uid, gid, pid, command, executable } => PeerRecord {
                uid: *uid,
                user: user(uid),
                gid: *gid,
                pid: *pid,
                command: command.as_deref(),
                executable: executable.as_deref(),
                ..PeerRecord::default()
            },
        }
    }
}

fn name(connection: Connection) -> String {
    match connection {
        Connection::Opened(number) => format!("opened-{number}"),
        Connection::Accepted(number) => format!("accepted-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::ShownKey;
    use crate::facts::Facts;
    use sockward_policy::Source;

    fn line(fact: &Fact<'_>) -> String {
        let facts = Facts::new(Some("192.0.2.7:4242".parse().unwrap()), None);
        let key = ShownKey { described: "ED25519 SHA256:x".into(), ..ShownKey::default() };
        let subject = AuditSubject::new("c-1".into(), "alex".into(), key, facts);
        serde_json::to_string(&Record::new(7, "T".into(), Some(Who::of(&subject)), fact)).unwrap()
    }

    const TAIL: &str = "\"connection\":\"c-1\",\"ssh_user\":\"alex\",\"key\":\"ED25519 SHA256:x\",\
                        \"source_address\":\"192.0.2.7\",\"source_port\":4242}";

    #[test]
    fn records_are_one_line_each_whatever_is_in_them() {
        let users = BTreeMap::from([(1001, "bob".to_owned())]);
        let peer = Peer::Process {
            uid: Some(1001),
            gid: Some(7),
            pid: Some(99),
            command: Some("c\"url\n".into()),
            executable: None,
        };
        let event = Event::Connection {
            connection: Connection::Accepted(3),
            at: "/run/x".into(),
            peer,
            refused: Some("no".into()),
            by: Some(By::Rule(Source::new("/etc/ssh/sshd_config", 9))),
        };
        assert_eq!(
            line(&Fact::of(&event, &users)),
            format!(
                "{{\"v\":1,\"time\":\"T\",\"number\":7,\"event\":\"connection\",\"granted\":false,\
                 \"rule\":\"/etc/ssh/sshd_config:9\",\"reason\":\"no\",\"listener\":\"/run/x\",\
                 \"peer\":{{\"uid\":1001,\"user\":\"bob\",\"gid\":7,\"pid\":99,\"command\":\"c\\\"url\\n\"}},{TAIL}"
            )
        );
        let closed = Event::Closed {
            connection: Connection::Opened(4),
            what: "h:1".into(),
            received: 5,
            sent: 6,
            milliseconds: 7,
        };
        assert_eq!(
            line(&Fact::of(&closed, &users)),
            format!(
                "{{\"v\":1,\"time\":\"T\",\"number\":7,\"event\":\"closed\",\"what\":\"h:1\",\
                 \"forwarded\":\"opened-4\",\"bytes\":{{\"said_by\":\"worker\",\"from_client\":5,\"to_client\":6}},\
                 \"milliseconds\":7,{TAIL}"
            )
        );
    }

    #[test]
    fn a_certificate_and_the_totals_of_a_login() {
        let certificate = CertificateName { id: "alex\n".into(), serial: 7, ca: "SHA256:ca".into() };
        let key = ShownKey {
            described: "ED25519-CERT SHA256:x".into(),
            fingerprint: Some("SHA256:x".into()),
            certificate: Some(certificate),
        };
        let subject = AuditSubject::new("c-1".into(), "alex".into(), key, Facts::new(None, None));
        let closed = |received| Event::Closed {
            connection: Connection::Opened(4),
            what: "h:1".into(),
            received,
            sent: 6,
            milliseconds: 7,
        };
        let refused = Event::Listen { at: "/x".into(), result: Err("no".into()), by: None };
        let totals = [closed(5), closed(u64::MAX), refused].iter().fold(Totals::default(), Totals::with);
        let end = Fact::end("gone", Duration::from_millis(1500), totals);
        assert_eq!(
            serde_json::to_string(&Record::new(7, "T".into(), Some(Who::of(&subject)), &end)).unwrap(),
            format!(
                "{{\"v\":1,\"time\":\"T\",\"number\":7,\"event\":\"end\",\"reason\":\"gone\",\
                 \"milliseconds\":1500,\"totals\":{{\"listeners\":0,\"accepted\":0,\"opened\":0,\"refused\":1,\
                 \"bytes\":{{\"said_by\":\"worker\",\"from_client\":{},\"to_client\":12}}}},\
                 \"connection\":\"c-1\",\"ssh_user\":\"alex\",\"key\":\"ED25519-CERT SHA256:x\",\
                 \"fingerprint\":\"SHA256:x\",\"certificate\":{{\"id\":\"alex\\n\",\"serial\":7,\"ca\":\"SHA256:ca\"}}}}",
                u64::MAX
            )
        );
    }
}
