//! The service that is shared: one page over HTTP/1.0, to whoever asks. Not a web server.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

/// A request that takes longer is given up.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// The longest request line and header, together.
const REQUEST_MAX: u64 = 16 * 1024;

const PAGE: &str = "Hello from a service that knows no users.\nWho may read this is the socket's business.\n";

/// Serves on a free port of 127.0.0.1 from a thread of its own, to the process's end.
pub(super) fn serve() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::Builder::new().name("web".into()).spawn(move || {
        for stream in listener.incoming() {
            if let Err(error) = stream.and_then(answer) {
                log::debug!("web service: {error}");
            }
        }
    })?;
    Ok(port)
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    stream.set_write_timeout(Some(REQUEST_TIME))?;
    let mut request = BufReader::new(io::Read::take(&stream, REQUEST_MAX));
    let mut line = String::new();
    while request.read_line(&mut line)? > 0 && line.trim_end() != "" {
        line.clear();
    }
    let head =
        format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", PAGE.len());
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(PAGE.as_bytes())
}
