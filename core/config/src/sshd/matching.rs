//! `Match`: the criteria of a line, and the facts of a connection that they are asked of.

use std::net::IpAddr;

use sockward_policy::AddressList;
use sockward_wire::pattern::{self, ListMatch};

use super::keyword::Fault;
use crate::lex::Word;
use crate::lookup::{self, Lookup};

/// What `Match` can ask of a connection. What is `None` matches nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFacts<'a> {
    /// The name to log in as; none before it is known.
    pub user: Option<&'a [u8]>,
    /// Whether there is no account of that name.
    pub invalid_user: bool,
    /// The names of the account's groups, primary and supplementary.
    pub groups: &'a [String],
    /// The other end's verified name with `UseDNS yes`, else its address as text, else UNKNOWN.
    pub host: Option<&'a str>,
    /// The other end's address; none on pipes.
    pub address: Option<IpAddr>,
    /// The address that the connection came in on; none on pipes.
    pub local_address: Option<IpAddr>,
    /// The port that the connection came in on.
    pub local_port: Option<u16>,
    /// The routing domain: there are none, except in `-C rdomain=`.
    pub routing_domain: Option<&'a str>,
}

/// One condition of a `Match` line. All of a line must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Criterion {
    All,
    InvalidUser,
    User(Vec<u8>),
    Group(Vec<u8>),
    Host(Vec<u8>),
    Address(AddressList),
    LocalAddress(AddressList),
    LocalPort(u16),
    RDomain(Vec<u8>),
}

impl Criterion {
    /// Reads the words of a `Match` line.
    pub(super) fn parse_line(words: &[Word], lookup: &dyn Lookup) -> Result<Vec<Self>, Fault> {
        let mut criteria = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word.is("all") {
                if !criteria.is_empty() || words.next().is_some() {
                    return Err(Fault::at(word, "'all' cannot be combined with other Match attributes"));
                }
                return Ok(vec![Criterion::All]);
            }
            if word.is("invalid-user") {
                criteria.push(Criterion::InvalidUser);
                continue;
            }
            let (name, value) = match word.bytes.iter().position(|&b| b == b'=') {
                Some(at) => {
                    let (name, value) = word.bytes.split_at_checked(at).unwrap_or_default();
                    (name, Some(value.get(1..).unwrap_or_default()))
                }
                None => (word.bytes.as_slice(), words.next().map(|w| w.bytes.as_slice())),
            };
            criteria.push(Self::parse(word, name, value.unwrap_or_default(), lookup)?);
        }
        if criteria.is_empty() {
            return Err(Fault::new("one or more attributes required for Match"));
        }
        Ok(criteria)
    }

    fn parse(word: &Word, name: &[u8], value: &[u8], lookup: &dyn Lookup) -> Result<Self, Fault> {
        let name = name.to_ascii_lowercase();
        if value.is_empty() {
            return Err(Fault::at(word, format!("missing Match criteria for {}", word.text())));
        }
        let addresses = |value| {
            AddressList::parse(value)
                .map_err(|e| Fault::at(word, format!("invalid Match {} argument: {e}", word.text())))
        };
        Ok(match name.as_slice() {
            b"user" => Criterion::User(value.to_vec()),
            b"group" => Criterion::Group(value.to_vec()),
            b"host" => Criterion::Host(value.to_ascii_lowercase()),
            b"address" => Criterion::Address(addresses(value)?),
            b"localaddress" => Criterion::LocalAddress(addresses(value)?),
            b"localport" => {
                let value = String::from_utf8_lossy(value);
                let port = lookup::port(&value, lookup);
                let invalid = || Fault::at(word, format!("invalid LocalPort '{value}' on Match line"));
                Criterion::LocalPort(port.ok_or_else(invalid)?)
            }
            b"rdomain" => Criterion::RDomain(value.to_vec()),
            _ => return Err(Fault::at(word, format!("unsupported Match attribute {}", word.text()))),
        })
    }

    pub(super) fn holds(&self, facts: &ConnectionFacts<'_>) -> bool {
        let listed = |list: &[u8], text: &[u8]| pattern::matches_joined(list, text) == ListMatch::Yes;
        let address = |list: &AddressList, address: Option<IpAddr>| {
            address.is_some_and(|a| list.matches(a) == ListMatch::Yes)
        };
        match self {
            Criterion::All => true,
            Criterion::InvalidUser => facts.invalid_user,
            Criterion::User(list) => facts.user.is_some_and(|user| listed(list, user)),
            Criterion::Group(list) => group_listed(list, facts.groups),
            Criterion::Host(list) => {
                facts.host.is_some_and(|host| listed(list, host.to_ascii_lowercase().as_bytes()))
            }
            Criterion::Address(list) => address(list, facts.address),
            Criterion::LocalAddress(list) => address(list, facts.local_address),
            Criterion::LocalPort(port) => facts.local_port == Some(*port),
            Criterion::RDomain(list) => facts.routing_domain.is_some_and(|d| listed(list, d.as_bytes())),
        }
    }
}

/// One group is listed and none is negated.
fn group_listed(list: &[u8], groups: &[String]) -> bool {
    let mut found = false;
    for group in groups {
        match pattern::matches_joined(list, group.as_bytes()) {
            ListMatch::Negated => return false,
            ListMatch::Yes => found = true,
            ListMatch::No => {}
        }
    }
    found
}

/// A connection as `-C` describes it, for `-T`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestSpec {
    /// `user=`.
    pub user: Option<String>,
    /// `host=`.
    pub host: Option<String>,
    /// `addr=`.
    pub address: Option<IpAddr>,
    /// `laddr=`.
    pub local_address: Option<IpAddr>,
    /// `lport=`.
    pub local_port: Option<u16>,
    /// `rdomain=`.
    pub routing_domain: Option<String>,
    /// `invalid-user`.
    pub invalid_user: bool,
}

impl TestSpec {
    /// Reads one `-C` argument into it; several add up. The error says what is wrong.
    pub fn read(&mut self, spec: &str, lookup: &dyn Lookup) -> Result<(), String> {
        for item in spec.split(',').filter(|item| !item.is_empty()) {
            let invalid = || format!("invalid test mode specification {item}");
            let address = |value: &str| {
                value.parse().map(Some).map_err(|_| format!("{}: '{value}' is not an IP address", invalid()))
            };
            match item.split_once('=') {
                Some(("user", value)) => self.user = Some(value.to_owned()),
                Some(("host", value)) => self.host = Some(value.to_owned()),
                Some(("addr", value)) => self.address = address(value)?,
                Some(("laddr", value)) => self.local_address = address(value)?,
                Some(("lport", value)) => {
                    let port = lookup::port(value, lookup);
                    self.local_port = Some(port.ok_or_else(|| format!("invalid port '{value}' in {item}"))?);
                }
                Some(("rdomain", value)) => self.routing_domain = Some(value.to_owned()),
                None if item == "invalid-user" => self.invalid_user = true,
                Some(_) | None => return Err(invalid()),
            }
        }
        Ok(())
    }

    /// The facts it describes. The groups of the user are the caller's to look up.
    #[must_use]
    pub fn facts<'a>(&'a self, groups: &'a [String]) -> ConnectionFacts<'a> {
        ConnectionFacts {
            user: self.user.as_ref().map(String::as_bytes),
            invalid_user: self.invalid_user,
            groups,
            host: self.host.as_deref(),
            address: self.address,
            local_address: self.local_address,
            local_port: self.local_port,
            routing_domain: self.routing_domain.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex;
    use crate::lookup::NoLookup;

    fn parse(line: &str) -> Result<Vec<Criterion>, String> {
        let words = lex::words(line.as_bytes()).unwrap();
        Criterion::parse_line(&words, &NoLookup).map_err(|fault| fault.message)
    }

    #[test]
    fn criteria_hold_all_together() {
        let groups = ["users".to_owned(), "vnc".to_owned()];
        let facts = ConnectionFacts {
            user: Some(b"alex"),
            groups: &groups,
            host: Some("WWW.example.com"),
            address: Some("192.0.2.7".parse().unwrap()),
            local_address: Some("10.0.0.1".parse().unwrap()),
            local_port: Some(22),
            ..ConnectionFacts::default()
        };
        for (line, holds) in [
            ("all", true),
            ("user alex", true),
            ("User=alex,bob", true),
            ("user *,!alex", false),
            ("user Alex", false),
            ("group vnc", true),
            ("group vnc,!users", false),
            ("group wheel", false),
            ("host *.Example.com", true),
            ("address 192.0.2.0/24", true),
            ("address 192.0.2.0/24,!192.0.2.7", false),
            ("localaddress 10.0.0.1 localport 22", true),
            ("localaddress 10.0.0.1 localport 23", false),
            ("user alex address 198.51.100.0/24", false),
            ("rdomain *", false),
            ("invalid-user", false),
            ("user all", false),
        ] {
            let criteria = parse(line).unwrap();
            assert_eq!(criteria.iter().all(|c| c.holds(&facts)), holds, "{line}");
        }
        let nothing = ConnectionFacts::default();
        for line in [
            "user *",
            "group *",
            "host *",
            "address 0.0.0.0/0,*",
            "localaddress *",
            "localport 0",
            "rdomain *",
        ] {
            assert!(!parse(line).unwrap().iter().all(|c| c.holds(&nothing)), "{line}");
        }
    }

    #[test]
    fn bad_lines() {
        for (line, message) in [
            ("", "one or more attributes required for Match"),
            ("user", "missing Match criteria for user"),
            ("user=", "missing Match criteria for user="),
            ("all user alex", "'all' cannot be combined with other Match attributes"),
            ("user alex all", "'all' cannot be combined with other Match attributes"),
            ("exec true", "unsupported Match attribute exec"),
            ("localport ssh", "invalid LocalPort 'ssh' on Match line"),
        ] {
            assert_eq!(parse(line), Err(message.to_owned()), "{line}");
        }
        for mask in ["10.0.1.0/8", "10.0.0.1/24", "2000:aa:bb:01::/56"] {
            assert!(parse(&format!("address {mask}")).is_err(), "{mask}");
            assert!(parse(&format!("localaddress {mask}")).is_err(), "{mask}");
        }
    }

    #[test]
    fn test_specifications() {
        let mut spec = TestSpec::default();
        spec.read("user=u1,host=h1,addr=1.2.3.4,laddr=::1,lport=2222,", &NoLookup).unwrap();
        spec.read("rdomain=r,invalid-user", &NoLookup).unwrap();
        let facts = spec.facts(&[]);
        assert_eq!(facts.user, Some(&b"u1"[..]));
        assert_eq!((facts.host, facts.local_port, facts.routing_domain), (Some("h1"), Some(2222), Some("r")));
        assert!(facts.invalid_user);
        for bad in ["user", "addr=somewhere", "lport=x", "port=22", "invalid-user=1"] {
            assert!(TestSpec::default().read(bad, &NoLookup).is_err(), "{bad}");
        }
    }
}
