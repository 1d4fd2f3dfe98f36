//! PermitPeer: which local users may connect to what a login listens on.
//!
//! Who a peer is the host layer says (SO_PEERCRED and SO_PEERGROUPS, sock_diag). The list is exact: the owner and
//! root are on it only if it names them.

use serde::{Deserialize, Serialize};

use crate::Source;

/// The id that stands for "some user outside this namespace": it identifies nobody.
pub const OVERFLOW_ID: u32 = 65534;

/// The most names of one list.
const ENTRIES_MAX: usize = 4096;

/// One list as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// Who may connect; empty is nobody.
    pub peers: Vec<PeerName>,
    /// Where it stands.
    pub source: Source,
}

/// A name on the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerName {
    /// A user.
    User(String),
    /// `@group`: whoever is in it.
    Group(String),
}

/// What is known of a peer that connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerFacts {
    /// The user id at the moment of its connect.
    pub uid: u32,
    /// All login names of that id.
    pub users: Vec<String>,
    /// The names of its groups.
    pub groups: Vec<String>,
}

impl PeerList {
    /// Reads the words of a list; a comma separates names as a blank does. `any` is `Ok(None)`: no list. The error
    /// says what is wrong.
    pub fn parse<'w>(
        words: impl IntoIterator<Item = &'w [u8]>,
        source: Source,
    ) -> Result<Option<Self>, String> {
        let names = words.into_iter().flat_map(|word| word.split(|byte| *byte == b','));
        let words: Vec<&[u8]> = names.take(ENTRIES_MAX + 1).collect();
        let peers = match words.as_slice() {
            [] => return Err("missing argument".into()),
            [b"any"] => return Ok(None),
            [b"none"] => Vec::new(),
            [..] if words.len() > ENTRIES_MAX => return Err(format!("more than {ENTRIES_MAX} entries")),
            names => names.iter().map(|n| PeerName::parse(n)).collect::<Result<_, _>>()?,
        };
        Ok(Some(PeerList { peers, source }))
    }

    /// Whether it names this peer.
    #[must_use]
    pub fn names(&self, peer: &PeerFacts) -> bool {
        self.peers.iter().any(|p| match p {
            PeerName::User(user) => peer.users.contains(user),
            PeerName::Group(group) => peer.groups.contains(group),
        })
    }

    /// The entries as written.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let none = self.peers.is_empty().then(|| "none".to_owned());
        none.into_iter().chain(self.peers.iter().map(|p| match p {
            PeerName::User(user) => user.clone(),
            PeerName::Group(group) => format!("@{group}"),
        }))
    }
}

impl PeerName {
    fn parse(word: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(word).map_err(|_| "a name is not UTF-8".to_owned())?;
        let (name, group) = text.strip_prefix('@').map_or((text, false), |name| (name, true));
        match name {
            "any" | "none" if !group => Err(format!("'{name}' must stand alone")),
            _ if name.is_empty() || name.contains(['@', ',', '*', '?', '!', '\0']) => {
                Err(format!("'{text}' is neither a user's name nor @ and a group's name"))
            }
            _ if group => Ok(PeerName::Group(name.to_owned())),
            _ => Ok(PeerName::User(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &str) -> Result<Option<PeerList>, String> {
        PeerList::parse(words.split_whitespace().map(str::as_bytes), Source::new("f", 1))
    }

    #[test]
    fn names_exactly() {
        let peer =
            PeerFacts { uid: 1001, users: vec!["bob".into()], groups: vec!["bob".into(), "vnc".into()] };
        for (words, named) in [
            ("bob", true),
            ("alex bob", true),
            ("@vnc", true),
            ("alex,@vnc", true),
            ("alex,root eve", false),
            ("vnc", false),
            ("@alex root", false),
            ("none", false),
        ] {
            assert_eq!(list(words).unwrap().unwrap().names(&peer), named, "{words}");
        }
        assert_eq!(list("any"), Ok(None));
        assert_eq!(list("bob @vnc").unwrap().unwrap().texts().collect::<Vec<_>>(), ["bob", "@vnc"]);
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        for bad in ["", "@", "b*", "!bob", "bob,", ",eve", "bob,,eve", "bob any", "bob,any", "none bob"] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }
}
