//! Many names to ids at once, in a child: whoever serves others must not wait for a directory server.

use std::io;

use super::{Account, Group};
use crate::resolve::{NotResolved, Pending};

/// What stands behind names, in the order in which they were asked for. `None` is a name of nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// The ids of the users.
    pub users: Vec<Option<u32>>,
    /// The ids of the groups.
    pub groups: Vec<Option<u32>>,
    /// The groups that the name service has for the account of the uid that was asked for.
    pub member_of: Vec<u32>,
}

/// Starts to look up users and groups by name, and the groups of a uid's account.
pub fn identities(
    users: Vec<String>,
    groups: Vec<String>,
    uid: Option<u32>,
) -> io::Result<Pending<Identities>> {
    Pending::start(
        move || ask(&users, &groups, uid).map(|found| encode(&found)).map_err(|e| NotResolved(e.to_string())),
        decode,
    )
}

fn ask(users: &[String], groups: &[String], uid: Option<u32>) -> io::Result<Identities> {
    let user = |name: &String| Ok(Account::by_name(name)?.map(|a| a.uid));
    let group = |name: &String| Ok(Group::by_name(name)?.map(|g| g.gid));
    let account = uid.map(Account::by_uid).transpose()?.flatten();
    Ok(Identities {
        users: users.iter().map(user).collect::<io::Result<_>>()?,
        groups: groups.iter().map(group).collect::<io::Result<_>>()?,
        member_of: account.map(|a| a.groups()).transpose()?.unwrap_or_default(),
    })
}

/// A line for each list; `-` is nobody.
fn encode(found: &Identities) -> String {
    let line = |ids: &[Option<u32>]| {
        let words: Vec<_> = ids.iter().map(|id| id.map_or("-".to_owned(), |id| id.to_string())).collect();
        words.join(" ")
    };
    let member_of: Vec<_> = found.member_of.iter().copied().map(Some).collect();
    format!("{}\n{}\n{}\n", line(&found.users), line(&found.groups), line(&member_of))
}

fn decode(text: &str) -> Option<Identities> {
    let ids = |line: &str| -> Option<Vec<Option<u32>>> {
        line.split_whitespace()
            .map(|word| if word == "-" { Some(None) } else { word.parse().ok().map(Some) })
            .collect()
    };
    // The last newline shows that nothing is missing.
    let [users, groups, member_of, ""] = text.split('\n').collect::<Vec<_>>()[..] else { return None };
    let member_of = ids(member_of)?.into_iter().collect::<Option<_>>()?;
    Some(Identities { users: ids(users)?, groups: ids(groups)?, member_of })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::alone;
    use std::time::Duration;

    #[test]
    fn names_and_memberships_are_found_in_a_child() {
        alone(|| {
            let names = |all: &[&str]| all.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
            let asked =
                identities(names(&["root", "no-such-user"]), names(&["no-such-group", "daemon"]), Some(0));
            let mut asked = asked.unwrap();
            let found = loop {
                assert!(crate::fd::wait_readable(&asked, Duration::from_secs(60)).unwrap());
                if let Some(answer) = asked.poll().unwrap() {
                    break answer.unwrap();
                }
            };
            let daemon = Group::by_name("daemon").unwrap().unwrap().gid;
            assert_eq!(found.users, [Some(0), None]);
            assert_eq!(found.groups, [None, Some(daemon)]);
            assert!(found.member_of.contains(&0));
        });
    }

    #[test]
    fn what_is_cut_short_is_no_answer() {
        let found = Identities { users: vec![Some(1), None], groups: Vec::new(), member_of: vec![4, 5] };
        let text = encode(&found);
        assert_eq!(decode(&text), Some(found));
        for length in 0..text.len() {
            assert_eq!(decode(&text[..length]), None, "{length}");
        }
        assert_eq!(decode("1\n\n-\n"), None, "a group of nobody");
    }
}
