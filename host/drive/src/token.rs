//! What an event of the poller is about, packed into its token: a session, one of its pumps, and which of
//! the pump's descriptors; or something of the application's own.

use mio::Token;

/// Decoded form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Something the application registered, by its own number.
    App(usize),
    /// A session's network descriptor: the one read from, or the one written to where they differ.
    Net {
        /// Which session.
        session: usize,
        /// The descriptor written to.
        write: bool,
    },
    /// A descriptor of a pump.
    Pump {
        /// Which session.
        session: usize,
        /// Which of its pumps.
        pump: usize,
        /// Which descriptor.
        role: Role,
    },
}

/// The descriptors a pump can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A socket, both directions.
    Socket,
    /// Read from: becomes channel data.
    Input,
    /// Written to: channel data.
    Output,
    /// The same for extended data, read or written.
    Error,
}

const KIND_BITS: u32 = 4;
const SESSION_BITS: u32 = 28;
const PUMP_BITS: u32 = 32;
const _: () = assert!(KIND_BITS + SESSION_BITS + PUMP_BITS == usize::BITS);

const APP: usize = 0;
const NET_READ: usize = 1;
const NET_WRITE: usize = 2;
const PUMP_SOCKET: usize = 3;
const PUMP_INPUT: usize = 4;
const PUMP_OUTPUT: usize = 5;
const PUMP_ERROR: usize = 6;

impl Subject {
    /// The token that stands for it.
    #[must_use]
    pub fn token(self) -> Token {
        let (kind, session, low) = match self {
            Subject::App(n) => (APP, 0, n),
            Subject::Net { session, write: false } => (NET_READ, session, 0),
            Subject::Net { session, write: true } => (NET_WRITE, session, 0),
            Subject::Pump { session, pump, role } => (
                match role {
                    Role::Socket => PUMP_SOCKET,
                    Role::Input => PUMP_INPUT,
                    Role::Output => PUMP_OUTPUT,
                    Role::Error => PUMP_ERROR,
                },
                session,
                pump,
            ),
        };
        Token(low << (KIND_BITS + SESSION_BITS) | session << KIND_BITS | kind)
    }

    /// What a token stands for; none for one we never made.
    #[must_use]
    pub fn of(token: Token) -> Option<Self> {
        let session = token.0 >> KIND_BITS & ((1 << SESSION_BITS) - 1);
        let low = token.0 >> (KIND_BITS + SESSION_BITS);
        let pump = |role| Subject::Pump { session, pump: low, role };
        Some(match token.0 & ((1 << KIND_BITS) - 1) {
            APP => Subject::App(low),
            NET_READ => Subject::Net { session, write: false },
            NET_WRITE => Subject::Net { session, write: true },
            PUMP_SOCKET => pump(Role::Socket),
            PUMP_INPUT => pump(Role::Input),
            PUMP_OUTPUT => pump(Role::Output),
            PUMP_ERROR => pump(Role::Error),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for role in [Role::Socket, Role::Input, Role::Output, Role::Error] {
            let subject = Subject::Pump { session: 77, pump: 123_456, role };
            assert_eq!(Subject::of(subject.token()), Some(subject));
        }
        for subject in [
            Subject::App(9),
            Subject::Net { session: 3, write: true },
            Subject::Net { session: 0, write: false },
        ] {
            assert_eq!(Subject::of(subject.token()), Some(subject));
        }
    }
}
