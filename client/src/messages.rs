//! What the user is told when a connection ends, in ssh's words, and text of the server's on standard error.

use std::io::{self, Write};
use std::net::SocketAddr;

use sockward_config::choice::LogLevel;
use sockward_drive::End;
use sockward_proto::Error;
use sockward_wire::VersionError;

use crate::plan::Plan;

/// How far a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The server's identification line had not come.
    Banner,
    /// Keys were exchanged or a login was under way.
    Login,
    /// The login had succeeded.
    Session,
}

/// The server's address as messages have it: a proxy hides it.
pub(crate) fn peer(address: Option<SocketAddr>) -> String {
    match address {
        Some(address) => format!("{} port {}", address.ip(), address.port()),
        None => "UNKNOWN port 65535".to_owned(),
    }
}

/// A connection has ended without anybody wanting it.
pub(crate) fn ended(end: &End, stage: Stage, host: &str, address: Option<SocketAddr>) {
    match end {
        End::Lost => lost(stage, host, address),
        End::Protocol(error) => failed(error, stage, host, address),
        End::Done => {}
    }
}

/// The connection layer to a gate is over.
pub(crate) fn gate_ended(end: &End, host: &str) {
    match end {
        End::Lost => log::error!("the gate at {host} has gone"),
        End::Protocol(Error::Disconnected { text, .. }) => {
            log::error!("the gate at {host} has ended: {}", String::from_utf8_lossy(text).escape_debug());
        }
        End::Protocol(Error::Timeout) => log::error!("the gate at {host} does not respond"),
        End::Protocol(error) => log::error!("the gate at {host}: {error}"),
        End::Done => {}
    }
}

/// ConnectTimeout is over.
pub(crate) fn too_late(address: Option<SocketAddr>) {
    log::error!("Connection timed out during banner exchange");
    log::error!("Connection to {} timed out", peer(address));
}

/// A session at a terminal is over.
pub(crate) fn session_closed(plan: &Plan) {
    if plan.configuration.settings.log_level >= LogLevel::Info {
        to_terminal(&format!("Connection to {} closed.\r\n", plan.host()));
    }
}

/// A session at a terminal, over another client's connection, is over.
pub(crate) fn shared_session_closed(plan: &Plan) {
    if plan.configuration.settings.log_level >= LogLevel::Info {
        to_terminal(&format!("Shared connection to {} closed.\r\n", plan.host()));
    }
}

/// The stream ended without a word.
fn lost(stage: Stage, host: &str, address: Option<SocketAddr>) {
    match stage {
        Stage::Banner => {
            log::error!("kex_exchange_identification: Connection closed by remote host");
            log::error!("Connection closed by {}", peer(address));
        }
        Stage::Login => log::error!("Connection closed by {}", peer(address)),
        Stage::Session => to_terminal(&format!("Connection to {host} closed by remote host.\r\n")),
    }
}

/// The protocol could not go on.
fn failed(error: &Error, stage: Stage, host: &str, address: Option<SocketAddr>) {
    let at = peer(address);
    match error {
        Error::Disconnected { reason, text } => {
            let text = String::from_utf8_lossy(text);
            log::error!("Received disconnect from {at}:{reason}: {text}");
            log::error!("Disconnected from {at}");
        }
        Error::PeerIncompatible { what, offer } => {
            log::error!("Unable to negotiate with {at}: no matching {what} found. Their offer: {offer}");
        }
        Error::Version(VersionError::WrongVersion(line)) => {
            log::error!("Protocol major versions differ: 2 vs. \"{}\"", line.escape_ascii());
            log::error!("banner exchange: Connection to {at}: could not read protocol version");
        }
        Error::Version(error) => {
            log::error!("{error}");
            log::error!("banner exchange: Connection to {at}: invalid format");
        }
        Error::HostKeyRefused => log::error!("Host key verification failed."),
        Error::Timeout => log::info!("Timeout, server {host} not responding."),
        Error::Crypto(sockward_crypto::CryptoError::BadMac) => {
            log::error!("Corrupted MAC on input.");
            log::error!("ssh_dispatch_run_fatal: Connection to {at}: message authentication code incorrect");
        }
        Error::PeerMisbehaved(_) if stage == Stage::Session => {
            log::error!("Bad packet of {host}: {error}");
            log::error!("ssh_dispatch_run_fatal: Connection to {at}: {error}");
        }
        other => log::error!("ssh_dispatch_run_fatal: Connection to {at}: {other}"),
    }
}

/// Says something to whoever sits there, wherever messages go: how a session ended, what `~?` shows.
pub(crate) fn to_terminal(text: &str) {
    write_stderr(text.as_bytes());
}

/// Writes text of the server's (its banner, questions) to standard error as it is, but for what could drive the
/// terminal. A line end is put behind it where there is none.
pub(crate) fn show(text: &[u8]) {
    let mut shown = sanitized(text);
    if !shown.ends_with(b"\n") {
        shown.push(b'\n');
    }
    write_stderr(&shown);
}

/// The banner: as it is, with nothing put behind it.
pub(crate) fn show_banner(text: &[u8]) {
    write_stderr(&sanitized(text));
}

fn write_stderr(text: &[u8]) {
    // Nobody is left to be told if this fails.
    let _ = io::stderr().write_all(text);
}

/// Control characters as OpenSSH shows them (vis(3), octal); line ends and tabs stay.
fn sanitized(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).as_bytes();
            if c.is_control() && !matches!(c, '\n' | '\r' | '\t') {
                octal(bytes, &mut out)
            } else {
                out.extend(bytes)
            }
        }
        octal(chunk.invalid(), &mut out);
    }
    out
}

/// Text of the server's in a line of ours.
pub(crate) fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(&sanitized(text)).replace(['\n', '\r', '\t'], " ")
}

fn octal(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend(format!("\\{byte:03o}").into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_is_shown_as_it_is_but_drives_no_terminal() {
        assert_eq!(sanitized("Grüße\n\tAlex\r\n".as_bytes()), "Grüße\n\tAlex\r\n".as_bytes());
        assert_eq!(sanitized(b"a\x1b[2J\xff\xc2\x9b\0"), b"a\\033[2J\\377\\302\\233\\000");
    }

    #[test]
    fn a_proxy_hides_the_address() {
        assert_eq!(peer("192.0.2.1:22".parse().ok()), "192.0.2.1 port 22");
        assert_eq!(peer(None), "UNKNOWN port 65535");
    }
}
