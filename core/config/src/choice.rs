//! Keywords that take one of a few words.

/// Defines an enum whose variants are words of a configuration file.
///
/// The first word of a variant is the one printed; words are compared without regard to the case of ASCII letters.
macro_rules! choices {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $first:literal $(| $other:literal)*,)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// All words taken, for messages.
            pub const WORDS: &'static [&'static str] = &[$($first, $($other,)*)+];

            /// Reads a word, whatever the case of its letters.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                $(if word.eq_ignore_ascii_case($first) $(|| word.eq_ignore_ascii_case($other))* {
                    return Some($name::$variant);
                })+
                None
            }

            /// The word that `-G` and `-T` print.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $first,)+
                }
            }
        }
    };
}

pub(crate) use choices;

choices! {
    /// How much is logged: `LogLevel`, `-v`, `-q`. Later is more.
    pub enum LogLevel {
        /// Nothing.
        Quiet = "QUIET" | "SILENT",
        /// What ends the program.
        Fatal = "FATAL",
        /// What went wrong.
        Error = "ERROR",
        /// The default.
        Info = "INFO",
        /// Some more.
        Verbose = "VERBOSE",
        /// For finding faults.
        Debug1 = "DEBUG" | "DEBUG1",
        /// More of it.
        Debug2 = "DEBUG2",
        /// All.
        Debug3 = "DEBUG3",
    }
}

choices! {
    /// `SyslogFacility`.
    pub enum SyslogFacility {
        /// System daemons.
        Daemon = "DAEMON",
        /// User programs.
        User = "USER",
        /// Authentication.
        Auth = "AUTH",
        /// Authentication, not for everyone's eyes.
        AuthPriv = "AUTHPRIV",
        /// For local use.
        Local0 = "LOCAL0",
        /// For local use.
        Local1 = "LOCAL1",
        /// For local use.
        Local2 = "LOCAL2",
        /// For local use.
        Local3 = "LOCAL3",
        /// For local use.
        Local4 = "LOCAL4",
        /// For local use.
        Local5 = "LOCAL5",
        /// For local use.
        Local6 = "LOCAL6",
        /// For local use.
        Local7 = "LOCAL7",
    }
}

choices! {
    /// `AddressFamily`.
    pub enum AddressFamily {
        /// Either.
        Any = "any",
        /// IPv4.
        Inet = "inet",
        /// IPv6.
        Inet6 = "inet6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_regard_to_case() {
        assert_eq!(LogLevel::from_word("debug"), Some(LogLevel::Debug1));
        assert_eq!(LogLevel::from_word("DeBuG3"), Some(LogLevel::Debug3));
        assert_eq!(LogLevel::from_word("loud"), None);
        assert_eq!(LogLevel::Debug1.word(), "DEBUG");
        assert!(LogLevel::Quiet < LogLevel::Info);
    }
}
