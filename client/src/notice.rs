//! What a program that runs this client is told (`sockward share` and `attach`): how its forwarding is, as facts.
//! Words for people are that program's; errors go to the log as always.

use std::sync::Arc;

/// Whoever is told. Called from the client's loop: it must not wait.
pub type Notify = Arc<dyn Fn(&Notice) + Send + Sync>;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Every forwarding is set up, and ForwardProbe has nothing against it. Once for each connection.
    Ready(Ready),
    /// A forwarding cannot be, and why. The program ends.
    Refused(String),
    /// The connection is lost and will be made again.
    Lost,
}

/// How a forwarding is set up: of the first one that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The far socket's real path, where the server tells it.
    pub place: Option<Vec<u8>>,
    /// The far port that was chosen, where the server chose one.
    pub port: Option<u16>,
    /// Who may connect to the listener: of a far one where the server tells it.
    pub who: Option<String>,
    /// Whether the far target may be connected to, as far as it is known; none of far listeners.
    pub reachable: Option<bool>,
}

/// Notices for nobody or somebody.
#[derive(Clone, Default)]
pub(crate) struct Notices(Option<Notify>);

impl Notices {
    /// For somebody.
    pub(crate) fn to(notify: Notify) -> Self {
        Notices(Some(notify))
    }

    /// Whether anybody is told.
    pub(crate) fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it.
    pub(crate) fn tell(&self, notice: &Notice) {
        if let Some(notify) = &self.0 {
            notify(notice);
        }
    }
}
