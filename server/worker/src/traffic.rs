//! `IPQoS`: how the packets of a login's connection are marked, while a session has a terminal and otherwise.

use std::os::fd::AsFd;

use sockward_privsep::worker::TrafficClasses;
use sockward_sys::tcp::{self, Family};

/// The mark of one connection.
pub(crate) struct Traffic {
    classes: Option<TrafficClasses>,
    /// Whether it was last marked as interactive.
    interactive: Option<bool>,
}

impl Traffic {
    /// Nothing is marked yet. `None`: nothing will be.
    pub(crate) fn new(classes: Option<TrafficClasses>) -> Self {
        Traffic { classes, interactive: None }
    }

    /// Marks what is sent from now on, if that has changed.
    pub(crate) fn mark(&mut self, socket: impl AsFd, interactive: bool) {
        let Some(classes) = self.classes else { return };
        if self.interactive.replace(interactive) == Some(interactive) {
            return;
        }
        let family = if classes.ipv6 { Family::V6 } else { Family::V4 };
        let class = if interactive { classes.interactive } else { classes.bulk };
        if let Some(class) = class
            && let Err(e) = tcp::set_type_of_service_of(socket, family, class)
        {
            log::debug!("set IP_TOS {class:#04x}: {e}");
        }
    }
}
