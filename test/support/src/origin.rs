//! Small services to forward to, on a TCP port or a socket of the test's own.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a service does with a connection.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    /// Sends back what it gets until the end.
    Echo,
    /// Reads to the end, then answers with the number of bytes: shows that half-close is carried.
    CountToEnd,
    /// Says this at once and ends its half, then reads to the end.
    Greet(&'static str),
    /// Never reads.
    Stall,
    /// Answers one HTTP request with this page.
    Page(&'static str),
    /// Sends so many bytes of [`Origin::pattern`], then ends.
    Send(usize),
}

/// A running service.
#[derive(Debug)]
pub struct Origin {
    /// The port, where it is on one.
    pub port: u16,
    /// The socket, where it is on one.
    pub path: PathBuf,
    served: Arc<AtomicUsize>,
}

trait Stream: Read + Write + Send {
    fn end(&self);
}

impl Stream for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Origin {
    /// A service on a port of 127.0.0.1.
    #[must_use]
    pub fn tcp(service: Service) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                serve(stream, service, &count);
            }
        });
        Origin { port, path: PathBuf::new(), served }
    }

    /// A service on a socket.
    #[must_use]
    pub fn unix(path: &Path, service: Service) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(path, mode).unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, service, &count);
            }
        });
        Origin { port: 0, path: path.to_owned(), served }
    }

    /// How many connections came.
    #[must_use]
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Bytes that show what was lost, doubled or mixed.
    #[must_use]
    pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            out.extend_from_slice(&(state ^ state >> 31).to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

fn serve(mut stream: impl Stream + 'static, service: Service, served: &Arc<AtomicUsize>) {
    served.fetch_add(1, Ordering::Relaxed);
    std::thread::spawn(move || {
        let _ = answer(&mut stream, service);
    });
}

fn answer(stream: &mut impl Stream, service: Service) -> std::io::Result<()> {
    let mut buffer = vec![0; 65536];
    match service {
        Service::Echo => loop {
            match stream.read(&mut buffer)? {
                0 => {
                    stream.end();
                    return Ok(());
                }
                n => stream.write_all(&buffer[..n])?,
            }
        },
        Service::CountToEnd => {
            let mut total = 0;
            loop {
                match stream.read(&mut buffer)? {
                    0 => return write!(stream, "{total}"),
                    n => total += n,
                }
            }
        }
        Service::Greet(text) => {
            stream.write_all(text.as_bytes())?;
            stream.end();
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        }
        Service::Stall => loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        },
        Service::Page(text) => {
            let mut request = Vec::new();
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    n => request.extend_from_slice(&buffer[..n]),
                }
            }
            let length = text.len();
            write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{text}")?;
            stream.end();
            Ok(())
        }
        Service::Send(len) => {
            stream.write_all(&Origin::pattern(len as u64, len))?;
            stream.end();
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        }
    }
}

/// Runs curl, quietly, with a limit on the time.
pub fn curl(args: &[&str]) -> Output {
    Command::new("curl").args(["-sS", "--max-time", "20"]).args(args).output().unwrap()
}
