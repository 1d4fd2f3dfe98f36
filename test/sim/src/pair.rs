//! Client and server joined by two pipes, with an application on each side that answers the standard
//! questions and keeps everything else for the test to look at.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sockward_crypto::{
    Cipher, ExchangeInput, KexMethod, KeyAlgorithm, KeyType, Mac, PrivateKey, SharedSecret, SystemRandom,
};
use sockward_proto::event::{AuthMethod, OpenQuestion};
use sockward_proto::{
    Algorithms, ChannelId, Config, Connection, Error, Event, HostSignature, Received, SignatureInput,
};

use crate::Pipe;

/// What a pair is made of.
pub struct Setup {
    /// The client's settings.
    pub client: Config,
    /// The server's settings.
    pub server: Config,
    /// The largest piece the pipes deliver.
    pub piece: usize,
    /// For the pipes' pieces.
    pub seed: u64,
    /// Whether the server's application lets everybody in and takes every channel, and the client's trusts.
    pub friendly: bool,
}

/// Everything this build can do, best first.
#[must_use]
pub fn algorithms() -> Algorithms {
    let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect();
    Algorithms {
        kex: KexMethod::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        host_key: names(&["ssh-ed25519"]),
        ciphers: Cipher::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        macs: Mac::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            client: Config::client(b"SSH-2.0-Simulated_client".to_vec(), algorithms()),
            server: Config::server(
                b"SSH-2.0-Simulated_server".to_vec(),
                algorithms(),
                "ssh-ed25519".to_owned(),
                [7; 16],
            ),
            piece: 1 << 20,
            seed: 1,
            friendly: true,
        }
    }
}

/// One side and what its application has seen.
pub struct Peer {
    /// The connection.
    pub conn: Connection,
    /// Events the pair did not answer by itself.
    pub events: Vec<Event>,
    /// Data received on each channel.
    pub data: HashMap<ChannelId, Vec<u8>>,
    /// Channels whose data is not credited: their readers have stalled.
    pub stalled: Vec<ChannelId>,
    /// Channels the peer opened and this side took.
    pub accepted: Vec<ChannelId>,
    /// Why the connection ended.
    pub error: Option<Error>,
    friendly: bool,
}

/// Client and server.
pub struct Pair {
    /// The client.
    pub client: Peer,
    /// The server.
    pub server: Peer,
    /// Client to server.
    pub c2s: Pipe,
    /// Server to client.
    pub s2c: Pipe,
    /// The clock.
    pub now: Instant,
    host_key: PrivateKey,
    cookies: u8,
}

impl Pair {
    /// A pair at its start: nothing has been delivered yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let now = Instant::now();
        let peer = |config: Config| Peer {
            conn: Connection::new(config, Box::new(SystemRandom::new()), now).unwrap(),
            events: Vec::new(),
            data: HashMap::new(),
            stalled: Vec::new(),
            accepted: Vec::new(),
            error: None,
            friendly: setup.friendly,
        };
        let mut client = peer(setup.client);
        client.conn.set_user("alex");
        Pair {
            client,
            server: peer(setup.server),
            c2s: Pipe::new(setup.piece, setup.seed),
            s2c: Pipe::new(setup.piece, setup.seed + 1),
            now,
            host_key: PrivateKey::generate(KeyType::Ed25519).unwrap(),
            cookies: 8,
        }
    }

    /// A pair that is logged in.
    #[must_use]
    pub fn open(setup: Setup) -> Self {
        let mut pair = Pair::new(setup);
        pair.run();
        assert!(pair.client.conn.is_open() && pair.server.conn.is_open(), "{:?}", pair.errors());
        pair
    }

    /// Why the two ended, if they did.
    #[must_use]
    pub fn errors(&self) -> (Option<&Error>, Option<&Error>) {
        (self.client.error.as_ref(), self.server.error.as_ref())
    }

    /// Delivers and lets both sides work until nothing moves any more.
    pub fn run(&mut self) {
        while self.step() {}
    }

    /// One piece in each direction. False when nothing moved.
    pub fn step(&mut self) -> bool {
        self.client.flush(&mut self.c2s);
        self.server.flush(&mut self.s2c);
        let moved = self.c2s.deliver() | self.s2c.deliver();
        self.receive_client();
        self.receive_server();
        moved || self.client.flush(&mut self.c2s) | self.server.flush(&mut self.s2c)
    }

    /// Moves the clock, then runs.
    pub fn wait(&mut self, by: Duration) {
        self.now += by;
        for peer in [&mut self.client, &mut self.server] {
            if let Err(e) = peer.conn.handle_timeout(self.now) {
                peer.error.get_or_insert(e);
            }
        }
        self.run();
    }

    /// Sends all of `bytes` on a channel of the client, running the pair as windows open.
    pub fn client_sends(&mut self, channel: ChannelId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.client.send(channel, rest);
            rest = &rest[n..];
            assert!(self.step() || n > 0, "no progress with {} bytes left; {:?}", rest.len(), self.errors());
        }
    }

    /// Opens a session channel from the client. Returns both sides' ids.
    pub fn open_channel(&mut self) -> (ChannelId, ChannelId) {
        let ours = self.client.conn.open_channel(&sockward_proto::event::OpenRequest::Session).unwrap();
        self.run();
        (ours, *self.server.accepted.last().expect("the server took the channel"))
    }

    fn receive_client(&mut self) {
        let mut input = std::mem::take(&mut self.s2c.arrived);
        self.client.receive(&mut input, self.now, |_| unreachable!("clients do not sign"));
        self.s2c.arrived = input;
    }

    fn receive_server(&mut self) {
        let mut input = std::mem::take(&mut self.c2s.arrived);
        let (key, cookies) = (&self.host_key, &mut self.cookies);
        self.server.receive(&mut input, self.now, |question| {
            *cookies += 1;
            sign(key, question, *cookies)
        });
        self.c2s.arrived = input;
    }
}

/// What the holder of the host keys does: hash for himself, sign.
fn sign(key: &PrivateKey, input: &SignatureInput, cookie: u8) -> HostSignature {
    assert_eq!(input.algorithm, KeyAlgorithm::from_name("ssh-ed25519").unwrap());
    let host_key = key.public().blob().to_vec();
    let secret = SharedSecret::from_encoded(input.secret.clone()).unwrap();
    let hash = ExchangeInput {
        client_version: &input.client_version,
        server_version: &input.server_version,
        client_kexinit: &input.client_kexinit,
        server_kexinit: &input.server_kexinit,
        host_key: &host_key,
        client_share: &input.client_share,
        server_share: &input.server_share,
        secret: &secret,
    }
    .hash(KexMethod::from_name(&input.method).unwrap().hash());
    let signature = key.sign(input.algorithm.signature, hash.as_ref()).unwrap();
    HostSignature { host_key, signature, next_cookie: [cookie; 16] }
}

impl Peer {
    /// Sends what the window allows of `bytes`; returns how much that was.
    pub fn send(&mut self, channel: ChannelId, bytes: &[u8]) -> usize {
        let fill = |slots: &mut [std::io::IoSliceMut<'_>]| {
            let mut n = 0;
            for slot in slots {
                let len = slot.len().min(bytes.len() - n);
                slot[..len].copy_from_slice(&bytes[n..n + len]);
                n += len;
            }
            Ok::<_, ()>(n)
        };
        match self.conn.send_data(channel, None, bytes.len(), fill) {
            Ok(sent) => sent.unwrap_or(0),
            Err(e) => {
                self.error.get_or_insert(e);
                0
            }
        }
    }

    /// The reader of a stalled channel reads everything that waits.
    pub fn unstall(&mut self, channel: ChannelId) {
        self.stalled.retain(|c| *c != channel);
        let n = self.data.get(&channel).map_or(0, Vec::len);
        self.conn.consumed(channel, n).unwrap();
    }

    /// Takes the events of one kind out of those seen.
    pub fn take<T>(&mut self, mut pick: impl FnMut(Event) -> Result<T, Event>) -> Vec<T> {
        let mut found = Vec::new();
        for event in std::mem::take(&mut self.events) {
            match pick(event) {
                Ok(t) => found.push(t),
                Err(event) => self.events.push(event),
            }
        }
        found
    }

    fn flush(&mut self, pipe: &mut Pipe) -> bool {
        let Ok(out) = self.conn.pending_output() else { return false };
        let n = out.len();
        pipe.send(out);
        self.conn.output_written(n);
        n > 0
    }

    fn receive(
        &mut self,
        input: &mut Vec<u8>,
        now: Instant,
        mut sign: impl FnMut(&SignatureInput) -> HostSignature,
    ) {
        if self.conn.is_closed() {
            input.clear();
            return;
        }
        loop {
            match self.conn.recv(input, now) {
                Ok(Received::NeedMore) => break,
                Ok(Received::Blocked) => {
                    if !self.answer(&mut sign) {
                        break;
                    }
                }
                Ok(Received::Progress(n)) => {
                    input.drain(..n);
                }
                Ok(Received::Data { consumed, channel, data, .. }) => {
                    self.data.entry(channel).or_default().extend_from_slice(&input[data.clone()]);
                    if !self.stalled.contains(&channel) {
                        self.conn.consumed(channel, data.len()).unwrap();
                    }
                    input.drain(..consumed);
                }
                Err(e) => {
                    self.error.get_or_insert(e);
                    input.clear();
                    break;
                }
            }
            self.answer(&mut sign);
        }
        self.answer(&mut sign);
    }

    /// Answers the standard questions; true if there was one.
    fn answer(&mut self, sign: &mut impl FnMut(&SignatureInput) -> HostSignature) -> bool {
        let mut answered = false;
        while let Some(event) = self.conn.poll_event() {
            let result = match event {
                Event::Signature(q) => {
                    let signature = sign(&q.input);
                    self.conn.host_signature(q, &signature)
                }
                Event::HostKey(q) if self.friendly => self.conn.accept_host_key(q),
                Event::AuthReady if self.friendly => self.conn.auth_none(),
                Event::AuthRequested(q) if self.friendly && q.method == AuthMethod::None => {
                    self.conn.auth_success(q)
                }
                Event::OpenRequested(q) if self.friendly => self.take_channel(q),
                other => {
                    self.events.push(other);
                    continue;
                }
            };
            answered = true;
            if let Err(e) = result {
                self.error.get_or_insert(e);
            }
        }
        answered
    }

    fn take_channel(&mut self, question: OpenQuestion) -> Result<(), Error> {
        let id = self.conn.accept_channel(question)?;
        self.accepted.push(id);
        Ok(())
    }
}
