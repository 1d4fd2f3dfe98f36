//! Requests and errors in words, for the log and for the SSH client.

use std::io;

use sockward_privsep::login::Endpoint;
use sockward_wire::SocketPath;

/// EMFILE and ENFILE: no more descriptors, of this process or of the system. Linux's numbers; std has no kinds.
const NO_DESCRIPTORS: [i32; 2] = [24, 23];

/// A target or a listener as it was asked for. Bounded, and without control characters.
pub(crate) fn endpoint(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Tcp { host, port } => {
            let host = host.get(..256).unwrap_or(host).escape_ascii().to_string();
            match host.as_str() {
                "" => format!("*:{port}"),
                host if host.contains(':') => format!("[{host}]:{port}"),
                host => format!("{host}:{port}"),
            }
        }
        Endpoint::Path(path) => match SocketPath::new(path.get(..4095).unwrap_or(path)) {
            Ok(path) => path.to_string(),
            Err(_) => path.get(..4095).unwrap_or(path).escape_ascii().to_string(),
        },
    }
}

/// A path of bytes.
pub(crate) fn path(path: &[u8]) -> String {
    endpoint(&Endpoint::Path(path.to_vec()))
}

/// The system's words, without the number that std adds.
pub(crate) fn error(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Whether it is for want of descriptors.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|n| NO_DESCRIPTORS.contains(&n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_they_were_made() {
        let tcp = |host: &str, port| Endpoint::Tcp { host: host.into(), port };
        for (asked, text) in [
            (tcp("localhost", 80), "localhost:80"),
            (tcp("::1", 70_000), "[::1]:70000"),
            (tcp("", 0), "*:0"),
            (tcp("a\nb", 1), "a\\nb:1"),
            (Endpoint::Path(b"/run/x".into()), "/run/x"),
            (Endpoint::Path(b"/run/\xff\n".into()), "/run/\\xff\\n"),
            (Endpoint::Path(b"".into()), ""),
            (Endpoint::Path(b"a\0".into()), "a\\x00"),
        ] {
            assert_eq!(endpoint(&asked), text);
        }
        assert!(endpoint(&tcp(&"\x01".repeat(100_000), 1)).len() < 1100);
        assert!(path(&[1; 100_000]).len() < 17_000);
    }

    #[test]
    fn errors_read_as_strerror_has_them() {
        assert_eq!(error(&io::Error::from_raw_os_error(111)), "Connection refused");
        assert_eq!(error(&io::Error::other("x")), "x");
        assert!(is_shortage(&io::Error::from_raw_os_error(24)));
        assert!(!is_shortage(&io::Error::from_raw_os_error(111)));
    }
}
