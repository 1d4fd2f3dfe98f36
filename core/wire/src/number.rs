//! The one message table: number, name, who may send it and in which phase (RFC 4250 §4.1, OpenSSH
//! PROTOCOL for 192 and 193). `proto` checks each received message against it.

/// Which side may send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client alone.
    Client,
    /// The server alone.
    Server,
    /// Both sides.
    Either,
}

/// In which phase a message may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// At any time, except where strict key exchange forbids it (OpenSSH PROTOCOL 1.9).
    Any,
    /// Between the first KEXINIT of an exchange and NEWKEYS.
    KeyExchange,
    /// After the first key exchange: before a service is up.
    Service,
    /// While authenticating.
    Authentication,
    /// Once authenticated.
    Connection,
}

macro_rules! table {
    ($( $number:literal $name:ident $sender:ident $phase:ident, )*) => {
        $(
            #[doc = concat!("SSH_MSG_", stringify!($name))]
            pub const $name: u8 = $number;
        )*

        /// One row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Row {
            /// The message number.
            pub number: u8,
            /// Its name without SSH_MSG_.
            pub name: &'static str,
            /// Who may send it.
            pub sender: Sender,
            /// When it may come.
            pub phase: Phase,
        }

        /// Every message we know, by number.
        pub const TABLE: &[Row] = &[
            $( Row { number: $number, name: stringify!($name), sender: Sender::$sender, phase: Phase::$phase }, )*
        ];
    };
}

table! {
    1 DISCONNECT Either Any,
    2 IGNORE Either Any,
    3 UNIMPLEMENTED Either Any,
    4 DEBUG Either Any,
    5 SERVICE_REQUEST Client Service,
    6 SERVICE_ACCEPT Server Service,
    7 EXT_INFO Either Service,
    20 KEXINIT Either Any,
    21 NEWKEYS Either KeyExchange,
    30 KEX_INIT Client KeyExchange,
    31 KEX_REPLY Server KeyExchange,
    50 USERAUTH_REQUEST Client Authentication,
    51 USERAUTH_FAILURE Server Authentication,
    52 USERAUTH_SUCCESS Server Authentication,
    53 USERAUTH_BANNER Server Authentication,
    // 60 is PK_OK, INFO_REQUEST or PASSWD_CHANGEREQ, by the method under way.
    60 USERAUTH_60 Server Authentication,
    61 USERAUTH_INFO_RESPONSE Client Authentication,
    80 GLOBAL_REQUEST Either Connection,
    81 REQUEST_SUCCESS Either Connection,
    82 REQUEST_FAILURE Either Connection,
    90 CHANNEL_OPEN Either Connection,
    91 CHANNEL_OPEN_CONFIRMATION Either Connection,
    92 CHANNEL_OPEN_FAILURE Either Connection,
    93 CHANNEL_WINDOW_ADJUST Either Connection,
    94 CHANNEL_DATA Either Connection,
    95 CHANNEL_EXTENDED_DATA Either Connection,
    96 CHANNEL_EOF Either Connection,
    97 CHANNEL_CLOSE Either Connection,
    98 CHANNEL_REQUEST Either Connection,
    99 CHANNEL_SUCCESS Either Connection,
    100 CHANNEL_FAILURE Either Connection,
    192 PING Either Connection,
    193 PONG Either Connection,
}

/// The table row of a message number, none for numbers we do not know.
#[must_use]
pub fn row(number: u8) -> Option<&'static Row> {
    TABLE.iter().find(|r| r.number == number)
}

/// The name of a message number for logs and errors.
#[must_use]
pub fn name(number: u8) -> &'static str {
    row(number).map_or("unknown", |r| r.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascending() {
        assert!(TABLE.windows(2).all(|w| w[0].number < w[1].number));
    }
}
