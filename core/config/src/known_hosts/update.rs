//! UpdateHostKeys (ssh_config(5)): what a server's own list of its host keys changes in the lines of that host, and
//! the text of a file without the lines that no longer hold. Nothing is read, asked or proved here.
//!
//! The cases in which nothing is changed are OpenSSH's: lines that people wrote (patterns, longer lists of names,
//! markers) and keys that also stand for other names are left to them.

use super::{Entry, HmacSha1, HostPatterns, KnownHosts};
use crate::lex;
use sockward_policy::Source;

/// Under which names a host's lines stand ([`HostName::name`](super::HostName::name)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNames {
    /// Its name.
    pub host: String,
    /// Its address, where CheckHostIP has it recorded as well.
    pub address: Option<String>,
}

/// What the list comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'e> {
    /// Keys that no line of the host has, by their place in the list: the server has to prove them.
    pub new: Vec<usize>,
    /// Lines of the host with keys that the server does not have any more.
    pub old: Vec<&'e Entry>,
    /// Why nothing is to be changed.
    pub obstacle: Option<Obstacle>,
}

/// Why a host's lines are left as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A line of the host was written by hand: a marker, wildcards, more names than a host and its address.
    ByHand,
    /// One of the server's keys, or its address, stands for another name, too.
    OtherName,
    /// A key that is to go stands for another name, too.
    OldElsewhere,
}

/// Which of a host's names a line has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Has {
    host: bool,
    address: bool,
}

impl Has {
    fn any(self) -> bool {
        self.host || self.address
    }
}

impl HostNames {
    fn of(&self, hosts: &HostPatterns, hmac: HmacSha1) -> Has {
        let address = self.address.as_deref();
        Has {
            host: hosts.matches(&self.host, hmac),
            address: address.is_some_and(|address| hosts.matches(address, hmac)),
        }
    }

    /// Those that a line still has to be written for.
    fn missing(&self, has: Has) -> Vec<&str> {
        let host = Some(self.host.as_str()).filter(|_| !has.host);
        host.into_iter().chain(self.address.as_deref().filter(|_| !has.address)).collect()
    }
}

impl KnownHosts {
    /// Compares the lines, which must be those of the user's files alone, with all the keys a server says it has.
    #[must_use]
    pub fn compare<'e>(&'e self, names: &HostNames, keys: &[&[u8]]) -> Comparison<'e> {
        let mut found = Comparison::default();
        let mut known = vec![false; keys.len()];
        let mut note = |what| {
            found.obstacle.get_or_insert(what);
        };
        for entry in &self.entries {
            let at = keys.iter().position(|key| *key == entry.key);
            let has = names.of(&entry.hosts, self.hmac);
            if !has.any() {
                if at.is_some() {
                    note(Obstacle::OtherName);
                }
                continue;
            }
            if entry.marker.is_some() || is_by_hand(&entry.hosts) {
                note(Obstacle::ByHand);
                continue;
            }
            // A host and an address that are not this one's pair.
            if names.address.is_some() && is_pair(&entry.hosts) && !(has.host && has.address) {
                note(Obstacle::OtherName);
            }
            match at.and_then(|at| known.get_mut(at)) {
                Some(known) => *known = true,
                None => found.old.push(entry),
            }
        }
        let elsewhere = |entry: &Entry| {
            !names.of(&entry.hosts, self.hmac).any() && found.old.iter().any(|old| old.key == entry.key)
        };
        if self.entries.iter().any(elsewhere) {
            found.obstacle.get_or_insert(Obstacle::OldElsewhere);
        }
        found.new = (0..keys.len()).filter(|at| known.get(*at) == Some(&false)).collect();
        found
    }
}

/// The text of a file in which a host has just these keys: its lines with other keys are gone, and what
/// `line(names, key)` makes of the keys that have none stands at the end. Markers, other hosts, comments and what
/// cannot be read stay as they are. None if nothing changes.
#[must_use]
pub fn replaced(
    text: &[u8],
    names: &HostNames,
    keys: &[&[u8]],
    hmac: HmacSha1,
    mut line: impl FnMut(&[&str], &[u8]) -> String,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut standing = vec![Has::default(); keys.len()];
    let mut changed = false;
    for (number, raw) in lex::lines(text).filter(|_| !text.is_empty()) {
        if let Ok(Some(entry)) = Entry::parse(raw, Source::new("", number))
            && entry.marker.is_none()
            && let has = names.of(&entry.hosts, hmac)
            && has.any()
        {
            let at = keys.iter().position(|key| *key == entry.key);
            let Some(there) = at.and_then(|at| standing.get_mut(at)) else {
                changed = true;
                continue;
            };
            there.host |= has.host;
            there.address |= has.address;
        }
        out.extend_from_slice(raw);
        out.push(b'\n');
    }
    for (key, has) in keys.iter().zip(standing) {
        let missing = names.missing(has);
        if !missing.is_empty() {
            out.extend_from_slice(line(&missing, key).as_bytes());
            changed = true;
        }
    }
    changed.then_some(out)
}

/// Not what a client writes by itself.
fn is_by_hand(hosts: &HostPatterns) -> bool {
    match hosts {
        HostPatterns::Plain(list) => list.iter().any(|b| b"*?!".contains(b)) || commas(list) > 1,
        HostPatterns::Hashed { .. } => false,
    }
}

/// A host and its address in one line.
fn is_pair(hosts: &HostPatterns) -> bool {
    matches!(hosts, HostPatterns::Plain(list) if commas(list) == 1)
}

fn commas(list: &[u8]) -> usize {
    list.iter().filter(|b| **b == b',').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known_hosts::{hashed_line, plain_line};
    use sockward_wire::Put;

    fn key(seed: u8) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-ed25519");
        blob.put_string(&[seed; 32]);
        blob
    }

    fn hmac(key: &[u8; 20], data: &[u8]) -> [u8; 20] {
        let mut sum = *key;
        data.iter().zip((0..20).cycle()).for_each(|(b, i)| sum[i] = sum[i].wrapping_mul(31).wrapping_add(*b));
        sum
    }

    fn line(names: &[&str], seed: u8) -> String {
        plain_line(names, "ssh-ed25519", &key(seed))
    }

    fn names(address: Option<&str>) -> HostNames {
        HostNames { host: "[h]:22022".to_owned(), address: address.map(str::to_owned) }
    }

    type Found = (Vec<usize>, Vec<u32>, Option<Obstacle>);

    fn compared(text: &str, address: Option<&str>, seeds: &[u8]) -> Found {
        let mut known = KnownHosts::new(hmac);
        known.read("known", text.as_bytes());
        let keys: Vec<Vec<u8>> = seeds.iter().map(|seed| key(*seed)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let found = known.compare(&names(address), &keys);
        (found.new, found.old.iter().map(|entry| entry.source.line).collect(), found.obstacle)
    }

    #[test]
    fn keys_are_new_known_or_old() {
        let (one, two) = (line(&["[h]:22022"], 1), line(&["[h]:22022"], 2));
        let hidden = hashed_line("[h]:22022", [7; 20], hmac, "ssh-ed25519", &key(3));
        let text = format!("# mine\n{one}{two}{hidden}other {}", line(&["h"], 9).trim_start_matches("h "));
        assert_eq!(compared(&text, None, &[1, 2, 3]), (vec![], vec![], None));
        assert_eq!(compared(&text, None, &[4, 1, 3, 5]), (vec![0, 3], vec![3], None));
        assert_eq!(compared("", None, &[1]), (vec![0], vec![], None));
    }

    #[test]
    fn what_people_wrote_and_what_others_share_is_left_alone() {
        let own = line(&["[h]:22022"], 1);
        for (more, wanted) in [
            (line(&["[h]:22022,a,b"], 1), Obstacle::ByHand),
            (line(&["[h*"], 8), Obstacle::ByHand),
            (format!("@cert-authority {}", line(&["[h]:22022"], 8)), Obstacle::ByHand),
            (format!("@revoked {}", line(&["[h]:22022"], 8)), Obstacle::ByHand),
            (line(&["other"], 2), Obstacle::OtherName),
            (hashed_line("other", [7; 20], hmac, "ssh-ed25519", &key(1)), Obstacle::OtherName),
            (format!("{}{}", line(&["[h]:22022"], 3), line(&["other"], 3)), Obstacle::OldElsewhere),
        ] {
            assert_eq!(compared(&format!("{own}{more}"), None, &[1, 2]).2, Some(wanted), "{more}");
        }
        let pair = line(&["[h]:22022", "[192.0.2.1]:22022"], 1);
        assert_eq!(compared(&pair, Some("[192.0.2.1]:22022"), &[1, 2]).2, None);
        assert_eq!(compared(&pair, Some("[192.0.2.9]:22022"), &[1, 2]).2, Some(Obstacle::OtherName));
    }

    #[test]
    fn a_file_keeps_all_that_is_not_about_this_host() {
        let before = format!(
            "# a comment\n\nnot a line\n@revoked * {}\n{}{}{}other {}",
            line(&["x"], 9).trim_start_matches("x "),
            line(&["[h]:22022"], 1),
            line(&["[h]:22022"], 2),
            line(&["h"], 2),
            "ssh-ed25519 AAAA bad"
        );
        let (one, three) = (key(1), key(3));
        let write = |names: &[&str], key: &[u8]| plain_line(names, "ssh-ed25519", key);
        let after = replaced(before.as_bytes(), &names(None), &[&one, &three], hmac, write).unwrap();
        let gone = before.replace(&line(&["[h]:22022"], 2), "");
        assert_eq!(String::from_utf8(after.clone()).unwrap(), format!("{gone}\n{}", line(&["[h]:22022"], 3)));
        assert_eq!(replaced(&after, &names(None), &[&one, &three], hmac, write), None);
        // The address gets what it lacks; a file that is not the first keeps none of the host's keys.
        let text = line(&["[h]:22022"], 1);
        let more =
            replaced(text.as_bytes(), &names(Some("[192.0.2.1]:22022")), &[&one], hmac, write).unwrap();
        assert_eq!(String::from_utf8(more).unwrap(), text.clone() + &line(&["[192.0.2.1]:22022"], 1));
        assert_eq!(replaced(text.as_bytes(), &names(None), &[], hmac, write), Some(vec![]));
        let new = replaced(b"", &names(None), &[&one], hmac, write).unwrap();
        assert_eq!(String::from_utf8(new).unwrap(), text);
    }
}
