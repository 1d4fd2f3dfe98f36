//! Which method of authentication comes next: the user's order, what the server can go on with, what has been
//! given up. As in OpenSSH a list of the server's that differs from the last one starts the order anew.

use std::collections::BTreeSet;

use sockward_config::ssh::{PubkeyAuthentication, Settings};
use sockward_wire::names::method;

use crate::trust::Trust;

/// A method that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    PublicKey,
    KeyboardInteractive,
    Password,
}

impl Method {
    /// The order that is used when the user gives none.
    const ALL: [Method; 3] = [Method::PublicKey, Method::KeyboardInteractive, Method::Password];

    pub(super) fn name(self) -> &'static str {
        match self {
            Method::PublicKey => method::PUBLICKEY,
            Method::KeyboardInteractive => method::KEYBOARD_INTERACTIVE,
            Method::Password => method::PASSWORD,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Method::ALL.into_iter().find(|m| m.name() == name)
    }
}

/// The methods of one login.
#[derive(Debug)]
pub(super) struct Methods {
    enabled: BTreeSet<Method>,
    preferred: Vec<Method>,
    /// The server's last list.
    supported: Option<String>,
    /// How far the order has been gone through.
    next: usize,
    current: Option<Method>,
}

impl Methods {
    /// What the configuration allows towards a host that is trusted so far.
    pub(super) fn new(settings: &Settings, trust: Trust) -> Self {
        let mut enabled = BTreeSet::new();
        if settings.pubkey_authentication != PubkeyAuthentication::No {
            enabled.insert(Method::PublicKey);
        }
        for (method, wanted, what) in [
            (Method::KeyboardInteractive, settings.kbd_interactive_authentication, "Keyboard-interactive"),
            (Method::Password, settings.password_authentication, "Password"),
        ] {
            match trust {
                Trust::Unsafe if wanted => {
                    log::error!("{what} authentication is disabled to avoid man-in-the-middle attacks.");
                }
                _ if wanted && !settings.batch_mode => drop(enabled.insert(method)),
                _ => {}
            }
        }
        let preferred = match &settings.preferred_authentications {
            None => Method::ALL.to_vec(),
            Some(list) => list.split(',').filter_map(Method::from_name).collect(),
        };
        Methods { enabled, preferred, supported: None, next: 0, current: None }
    }

    /// The method to try, from a list of names joined by commas; an empty one means that all may be tried.
    pub(super) fn choose(&mut self, list: &str) -> Option<Method> {
        let serves = |method: Method| list.is_empty() || list.split(',').any(|name| name == method.name());
        if self.supported.as_deref() != Some(list) {
            self.supported = Some(list.to_owned());
            self.next = 0;
            self.current = None;
        } else if self.current.is_some_and(|current| self.enabled.contains(&current)) {
            return self.current;
        }
        self.current = None;
        while let Some(&method) = self.preferred.get(self.next) {
            self.next += 1;
            if serves(method) && self.enabled.contains(&method) {
                log::debug!("Next authentication method: {}", method.name());
                self.current = Some(method);
                return self.current;
            }
        }
        log::debug!("No more authentication methods to try.");
        None
    }

    /// The method under way.
    pub(super) fn current(&self) -> Option<Method> {
        self.current
    }

    /// Gives a method up.
    pub(super) fn disable(&mut self, method: Method) {
        self.enabled.remove(&method);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn methods(preferred: &[Method]) -> Methods {
        Methods {
            enabled: Method::ALL.into_iter().collect(),
            preferred: preferred.to_vec(),
            supported: None,
            next: 0,
            current: None,
        }
    }

    #[test]
    fn a_method_stays_until_it_is_given_up() {
        let mut methods = methods(&Method::ALL);
        let list = "publickey,password";
        assert_eq!(methods.choose(list), Some(Method::PublicKey));
        assert_eq!(methods.choose(list), Some(Method::PublicKey));
        methods.disable(Method::PublicKey);
        assert_eq!(methods.choose(list), Some(Method::Password));
        methods.disable(Method::Password);
        assert_eq!(methods.choose(list), None);
    }

    #[test]
    fn another_list_starts_anew_with_what_is_left() {
        let mut methods = methods(&[Method::Password, Method::PublicKey]);
        assert_eq!(methods.choose("publickey,password"), Some(Method::Password));
        methods.disable(Method::Password);
        assert_eq!(methods.choose("password"), None);
        assert_eq!(methods.choose("publickey"), Some(Method::PublicKey));
        assert_eq!(methods.choose(""), Some(Method::PublicKey));
        assert_eq!(methods.choose("hostbased"), None);
    }
}
