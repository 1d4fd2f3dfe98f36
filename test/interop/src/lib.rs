//! The same scenarios, ours and OpenSSH on either side: the table's frame and what several scenarios share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub use sockward_test_support as support;
use support::{Client, Kind, Origin, Running, Server, ServerSetup, Service, free_port, wait_until};

/// Writes a test for each scenario and each pair of client and server.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $crate::scenarios!(@pair ours_with_ours, Ours, Ours, $($name),*);
        $crate::scenarios!(@pair ours_with_openssh_sshd, Ours, OpenSsh, $($name),*);
        $crate::scenarios!(@pair openssh_ssh_with_ours, OpenSsh, Ours, $($name),*);
        $crate::scenarios!(@pair openssh_with_openssh, OpenSsh, OpenSsh, $($name),*);
    };
    (@pair $module:ident, $client:ident, $server:ident, $($name:ident),*) => {
        mod $module {
            use $crate::support::Kind;
            use $crate::Pair;
            $(
                #[test]
                fn $name() {
                    super::$name(Pair { client: Kind::$client, server: Kind::$server });
                }
            )*
        }
    };
}

/// Whose client and whose server.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The client.
    pub client: Kind,
    /// The server.
    pub server: Kind,
}

impl Pair {
    /// Whether one side at least is ours: the others show that the scenario itself is right.
    #[must_use]
    pub fn has_ours(self) -> bool {
        self.client == Kind::Ours || self.server == Kind::Ours
    }

    /// A server without special wishes.
    #[must_use]
    pub fn server(self) -> Server {
        self.server_with(&ServerSetup::default())
    }

    /// A server with some.
    #[must_use]
    pub fn server_with(self, setup: &ServerSetup) -> Server {
        let server = Server::start(self.server, setup);
        let user = server.user.name.clone();
        // A directory that the login may write to, for its sockets.
        std::fs::create_dir(server.dir.join("far")).unwrap();
        let _ = std::process::Command::new("chown").arg(&user).arg(server.dir.join("far")).status();
        std::fs::create_dir(server.dir.join("near")).unwrap();
        server
    }
}

/// One end of a forwarding: where to listen, or where to connect to.
#[derive(Clone, Debug)]
pub enum End {
    /// A port of 127.0.0.1.
    Port(u16),
    /// A socket.
    Path(PathBuf),
}

/// A stream of either kind.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A socket.
    Unix(UnixStream),
}

impl End {
    /// A free port, or a path in a directory.
    #[must_use]
    pub fn new(port: bool, directory: &Path, name: &str) -> Self {
        if port { End::Port(free_port()) } else { End::Path(directory.join(name)) }
    }

    /// As the listening part of `-L` and `-R`.
    #[must_use]
    pub fn listener(&self) -> String {
        match self {
            End::Port(port) => format!("127.0.0.1:{port}"),
            End::Path(path) => path.display().to_string(),
        }
    }

    /// An origin here.
    #[must_use]
    pub fn origin(port: bool, directory: &Path, service: Service) -> (Self, Origin) {
        match port {
            true => {
                let origin = Origin::tcp(service);
                (End::Port(origin.port), origin)
            }
            false => {
                let path = directory.join("origin");
                (End::Path(path.clone()), Origin::unix(&path, service))
            }
        }
    }

    /// Connects.
    pub fn connect(&self) -> std::io::Result<Stream> {
        Ok(match self {
            End::Port(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            End::Path(path) => Stream::Unix(UnixStream::connect(path)?),
        })
    }

    /// Waits until somebody listens.
    pub fn wait(&self) {
        wait_until(&format!("a listener at {self:?}"), || self.connect().is_ok());
    }
}

impl Stream {
    /// No more from us.
    pub fn end(&self) {
        match self {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(s) => s.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Reads all there is.
    #[must_use]
    pub fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// A second handle.
    #[must_use]
    pub fn twin(&self) -> Self {
        match self {
            Stream::Tcp(s) => Stream::Tcp(s.try_clone().unwrap()),
            Stream::Unix(s) => Stream::Unix(s.try_clone().unwrap()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.read(buf),
            Stream::Unix(s) => s.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.write(buf),
            Stream::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A forwarding that is up: connect to `near`, and what is connected to is the origin.
#[derive(Debug)]
pub struct Tunnel {
    /// Where to connect to.
    pub at: End,
    /// What is behind it.
    pub origin: Origin,
    /// The client.
    pub client: Running,
    /// The server.
    pub server: Server,
}

/// Which way a tunnel goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `-L`: the client listens.
    Local,
    /// `-R`: the server listens.
    Remote,
}

impl Tunnel {
    /// A tunnel from a port or a socket to a service on a port or a socket.
    #[must_use]
    pub fn new(pair: Pair, way: Way, from_port: bool, to_port: bool, service: Service) -> Self {
        Tunnel::with(pair, way, from_port, to_port, service, &[], &ServerSetup::default())
    }

    /// The same with options for the client and wishes for the server.
    #[must_use]
    pub fn with(
        pair: Pair,
        way: Way,
        from_port: bool,
        to_port: bool,
        service: Service,
        options: &[&str],
        setup: &ServerSetup,
    ) -> Self {
        let server = pair.server_with(setup);
        let (near, far) = (server.dir.join("near"), server.dir.join("far"));
        let (listening, target) = match way {
            Way::Local => (&near, &far),
            Way::Remote => (&far, &near),
        };
        let (to, origin) = End::origin(to_port, target, service);
        let at = End::new(from_port, listening, "listener");
        let flag = match way {
            Way::Local => "-L",
            Way::Remote => "-R",
        };
        let forward = format!("{}:{}", at.listener(), to.listener());
        let client = Client::new(pair.client, &server).args(options).args([flag, &forward]).forward();
        at.wait();
        Tunnel { at, origin, client, server }
    }

    /// One more connection through it.
    #[must_use]
    pub fn connect(&self) -> Stream {
        self.at.connect().unwrap()
    }
}
