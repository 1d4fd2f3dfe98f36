//! The escape character of a terminal session (ssh(1), ESCAPE CHARACTERS): what is typed after a line end and the
//! character is for this program, not for the server.

/// What a person typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// For the server.
    Data(Vec<u8>),
    /// For us.
    Command(Command),
}

/// What can be asked of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `~.`: end the connection.
    Terminate,
    /// `~^Z`: stop this process.
    Suspend,
    /// `~#`: list forwarded connections.
    List,
    /// `~R`: exchange keys.
    Rekey,
    /// `~v`: more messages.
    Louder,
    /// `~V`: fewer messages.
    Quieter,
    /// `~B`: send a BREAK (RFC 4335).
    Break,
    /// `~?`: list these.
    Help,
    /// `~&`, `~C`: not there.
    Unavailable(u8),
}

/// How long a BREAK lasts, in milliseconds: OpenSSH's.
pub(crate) const BREAK: u32 = 1000;

/// Whose session it is that something is typed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This program's own.
    Own,
    /// Another client's, over this program's connection.
    Shared,
}

/// Finds commands in what is typed.
#[derive(Clone, Debug)]
pub(crate) struct Escapes {
    character: u8,
    at_line_start: bool,
    pending: bool,
}

impl Escapes {
    /// At the start of a session, which counts as the start of a line.
    pub(crate) fn new(character: u8) -> Self {
        Escapes { character, at_line_start: true, pending: false }
    }

    /// Takes what was typed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut out = Vec::new();
        let mut data = Vec::new();
        for &byte in bytes {
            if self.pending {
                self.pending = false;
                if let Some(command) = command(byte) {
                    if !data.is_empty() {
                        out.push(Typed::Data(std::mem::take(&mut data)));
                    }
                    out.push(Typed::Command(command));
                    continue;
                }
                if byte != self.character {
                    data.push(self.character);
                }
            } else if self.at_line_start && byte == self.character {
                self.pending = true;
                continue;
            }
            self.at_line_start = matches!(byte, b'\r' | b'\n');
            data.push(byte);
        }
        if !data.is_empty() {
            out.push(Typed::Data(data));
        }
        out
    }
}

fn command(byte: u8) -> Option<Command> {
    const CONTROL_Z: u8 = b'Z' - 64;
    Some(match byte {
        b'.' => Command::Terminate,
        CONTROL_Z => Command::Suspend,
        b'#' => Command::List,
        b'R' => Command::Rekey,
        b'B' => Command::Break,
        b'v' => Command::Louder,
        b'V' => Command::Quieter,
        b'?' => Command::Help,
        b'&' | b'C' => Command::Unavailable(byte),
        _ => return None,
    })
}

/// What `~?` shows; `c` is the escape character.
pub(crate) fn help(c: char, whose: Whose) -> String {
    let (ends, own) = match whose {
        Whose::Own => (
            "terminate connection (and any multiplexed sessions)",
            format!(
                "\x20{c}V/v - decrease/increase verbosity (LogLevel)\r\n\
                 \x20{c}^Z  - suspend ssh\r\n"
            ),
        ),
        Whose::Shared => ("terminate session", String::new()),
    };
    format!(
        "{c}?\r\nSupported escape sequences:\r\n\
         \x20{c}.   - {ends}\r\n\
         \x20{c}B   - send a BREAK to the remote system\r\n\
         \x20{c}R   - request rekey\r\n\
         {own}\
         \x20{c}#   - list forwarded connections\r\n\
         \x20{c}?   - this message\r\n\
         \x20{c}{c}   - send the escape character by typing it twice\r\n\
         (Note that escapes are only recognized immediately after newline.)\r\n"
    )
}

/// What is said of one that is not there, or not there for this session.
pub(crate) fn unavailable(c: char, command: Command, whose: Whose) -> String {
    let typed = match command {
        Command::Suspend => "^Z".to_owned(),
        Command::Louder => "v".to_owned(),
        Command::Quieter => "V".to_owned(),
        Command::Terminate => ".".to_owned(),
        Command::List => "#".to_owned(),
        Command::Rekey => "R".to_owned(),
        Command::Break => "B".to_owned(),
        Command::Help => "?".to_owned(),
        Command::Unavailable(byte) => char::from(byte).to_string(),
    };
    let to = if whose == Whose::Shared { " to multiplexed sessions" } else { "" };
    format!("{c}{typed} escape not available{to}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(escapes: &mut Escapes, text: &str) -> (String, Vec<Command>) {
        let (mut data, mut commands) = (Vec::new(), Vec::new());
        for piece in escapes.feed(text.as_bytes()) {
            match piece {
                Typed::Data(bytes) => data.extend(bytes),
                Typed::Command(command) => commands.push(command),
            }
        }
        (String::from_utf8(data).unwrap(), commands)
    }

    #[test]
    fn commands_count_after_a_line_end_alone() {
        for (typed, data, commands) in [
            ("~.", "", &[Command::Terminate][..]),
            ("a~.", "a~.", &[]),
            ("a\r~.", "a\r", &[Command::Terminate]),
            ("~~.", "~.", &[]),
            ("~x", "~x", &[]),
            ("~#~#", "", &[Command::List, Command::List]),
            ("~?ab\n~\u{1a}", "ab\n", &[Command::Help, Command::Suspend]),
            ("~&~B", "", &[Command::Unavailable(b'&'), Command::Break]),
        ] {
            let got = feed(&mut Escapes::new(b'~'), typed);
            assert_eq!((got.0.as_str(), got.1.as_slice()), (data, commands), "{typed:?}");
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let mut escapes = Escapes::new(b'%');
        assert_eq!(feed(&mut escapes, "x\r"), ("x\r".to_owned(), vec![]));
        assert_eq!(feed(&mut escapes, "%"), (String::new(), vec![]));
        assert_eq!(feed(&mut escapes, "."), (String::new(), vec![Command::Terminate]));
        assert_eq!(feed(&mut escapes, "~."), ("~.".to_owned(), vec![]));
    }

    #[test]
    fn a_shared_session_is_offered_what_concerns_it() {
        let (own, shared) = (help('%', Whose::Own), help('%', Whose::Shared));
        assert!(own.contains(" %^Z  - suspend") && own.contains(" %V/v - "), "{own}");
        assert!(!shared.contains("^Z") && !shared.contains("V/v"), "{shared}");
        assert!(shared.contains(" %.   - terminate session\r\n %B   - "), "{shared}");
        let suspend = unavailable('%', Command::Suspend, Whose::Shared);
        assert_eq!(suspend, "%^Z escape not available to multiplexed sessions\r\n");
        assert_eq!(unavailable('~', Command::Unavailable(b'C'), Whose::Own), "~C escape not available\r\n");
    }
}
