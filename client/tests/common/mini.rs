//! A small server made of our own protocol core, for what a stock sshd without PAM does not do: passwords, questions,
//! and servers that behave badly. One connection, one thread.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Instant;

use sockward_crypto::{ExchangeInput, KeyType, PrivateKey, Random, SharedSecret, SystemRandom};
use sockward_proto::event::{AuthMethod, ChannelRequest, GlobalQuestion, GlobalRequest, Prompts};
use sockward_proto::{
    Algorithms, ChannelId, Config, Connection, Event, HostSignature, Received, SignatureInput,
};

/// What an authentication request is answered with.
pub enum Answer {
    Success,
    Failure { methods: &'static str, partial: bool },
    Prompts(Prompts),
}

/// How a server behaves.
pub struct Behaviour {
    /// Answers authentication requests.
    pub auth: Box<dyn FnMut(&AuthMethod) -> Answer + Send>,
    /// Sent on the session's channel, with status 0 and a close behind it.
    pub output: Vec<u8>,
    /// Closes the stream as soon as that has been said.
    pub goes_at_once: bool,
    /// The software version in the identification.
    pub version: &'static str,
    /// Whether terminals are given.
    pub terminals: bool,
    /// Host keys it says it has, beside its own.
    pub other_keys: Option<OtherKeys>,
}

/// Signatures of these keys for a session of this identifier; `None`: no answer at all.
pub type Prove = dyn Fn(&[Vec<u8>], &[u8]) -> Option<Vec<u8>> + Send;

/// What a server says about its host keys.
pub struct OtherKeys {
    /// Named after its own.
    pub named: Vec<Vec<u8>>,
    /// Answers the request to prove them.
    pub proof: Box<Prove>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            auth: Box::new(|_| Answer::Success),
            output: b"done\n".to_vec(),
            goes_at_once: false,
            version: "Mini",
            terminals: false,
            other_keys: None,
        }
    }
}

/// A server for one connection; the thread returns the requests of its session, as text.
pub struct Mini {
    pub port: u16,
    /// The line for a known_hosts file.
    pub known: String,
    thread: JoinHandle<Vec<String>>,
}

impl Mini {
    pub fn start(behaviour: Behaviour) -> Mini {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let line = sockward_crypto::write_public_line(key.public().blob(), "").unwrap();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            Serving::new(stream, key, behaviour).serve()
        });
        Mini { port, known: format!("[127.0.0.1]:{port} {line}\n"), thread }
    }

    pub fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

struct Serving {
    stream: TcpStream,
    conn: Connection,
    key: PrivateKey,
    behaviour: Behaviour,
    left: VecDeque<u8>,
    session: Option<ChannelId>,
    requests: Vec<String>,
    running: bool,
    done: bool,
    /// Dropped, they would be answered.
    unanswered: Vec<GlobalQuestion>,
}

fn cookie() -> [u8; 16] {
    let mut cookie = [0; 16];
    SystemRandom::new().fill(&mut cookie);
    cookie
}

impl Serving {
    fn new(stream: TcpStream, key: PrivateKey, behaviour: Behaviour) -> Self {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let algorithms = Algorithms {
            kex: names(&["mlkem768x25519-sha256"]),
            host_key: names(&["ssh-ed25519"]),
            ciphers: names(&["aes128-gcm@openssh.com"]),
            macs: names(&["hmac-sha2-256"]),
        };
        let identification = format!("SSH-2.0-{}", behaviour.version).into_bytes();
        let config = Config::server(identification, algorithms, "ssh-ed25519".to_owned(), cookie());
        let conn = Connection::new(config, Box::new(SystemRandom::new()), Instant::now()).unwrap();
        let left = behaviour.output.iter().copied().collect();
        Serving {
            stream,
            conn,
            key,
            behaviour,
            left,
            session: None,
            requests: Vec::new(),
            running: false,
            done: false,
            unanswered: Vec::new(),
        }
    }

    fn serve(mut self) -> Vec<String> {
        let mut input = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            self.flush();
            if self.done && self.behaviour.goes_at_once {
                return self.requests;
            }
            let n = self.stream.read(&mut buffer).unwrap_or(0);
            if n == 0 {
                return self.requests;
            }
            input.extend_from_slice(&buffer[..n]);
            let mut used = 0;
            loop {
                let Ok(received) = self.conn.recv(&mut input[used..], Instant::now()) else {
                    return self.requests;
                };
                match received {
                    Received::Progress(n) => used += n,
                    Received::Data { consumed, channel, data, .. } => {
                        used += consumed;
                        self.conn.consumed(channel, data.len()).unwrap();
                    }
                    Received::NeedMore => break,
                    Received::Blocked => panic!("a question was left open"),
                }
                while let Some(event) = self.conn.poll_event() {
                    self.event(event);
                }
            }
            input.drain(..used);
            self.send();
        }
    }

    fn flush(&mut self) {
        let out = self.conn.pending_output().unwrap().to_vec();
        if self.stream.write_all(&out).is_ok() {
            self.conn.output_written(out.len());
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Signature(question) => {
                let answer = sign(&question.input, &self.key);
                self.conn.host_signature(question, &answer).unwrap();
            }
            Event::AuthRequested(question) => match (self.behaviour.auth)(&question.method) {
                Answer::Success => {
                    self.conn.auth_success(question).unwrap();
                    if let Some(other) = &self.behaviour.other_keys {
                        let mut keys = vec![self.key.public().blob().to_vec()];
                        keys.extend(other.named.iter().cloned());
                        self.conn.tell_host_keys(&keys).unwrap();
                    }
                }
                Answer::Failure { methods, partial } => {
                    self.conn.auth_failure(question, methods, partial).unwrap();
                }
                Answer::Prompts(prompts) => self.conn.auth_prompts(question, &prompts).unwrap(),
            },
            Event::Global(question) => self.global(question),
            Event::OpenRequested(question) => {
                self.session = Some(self.conn.accept_channel(question).unwrap());
            }
            Event::Requested(question) => {
                self.requests.push(format!("{:?}", question.request));
                let ok = match &question.request {
                    ChannelRequest::Pty { .. } => self.behaviour.terminals,
                    ChannelRequest::Exec(_) | ChannelRequest::Shell => {
                        self.running = true;
                        true
                    }
                    _ => true,
                };
                self.conn.answer_request(question, ok).unwrap();
            }
            _ => {}
        }
    }

    fn global(&mut self, question: GlobalQuestion) {
        let (GlobalRequest::HostKeysProve(keys), Some(other)) =
            (&question.request, &self.behaviour.other_keys)
        else {
            return;
        };
        self.requests.push(format!("prove {} keys", keys.len()));
        match (other.proof)(keys, self.conn.session_id().unwrap()) {
            Some(proof) => self.conn.answer_global(question, Some(proof)).unwrap(),
            None => self.unanswered.push(question),
        }
    }

    /// Sends what the window lets through, then the status and the close.
    fn send(&mut self) {
        let Some(channel) = self.session.filter(|_| self.running && !self.done) else { return };
        while !self.left.is_empty() && self.conn.sendable(channel) > 0 {
            let want = self.conn.sendable(channel).min(self.left.len()).min(65_536);
            let left = &mut self.left;
            let fill = |slices: &mut [std::io::IoSliceMut<'_>]| {
                let mut n = 0;
                for slice in slices {
                    n += left.read(slice).unwrap();
                }
                Ok::<usize, ()>(n)
            };
            self.conn.send_data(channel, None, want, fill).unwrap().unwrap();
            self.flush();
        }
        if self.left.is_empty() {
            self.conn.request(channel, &ChannelRequest::ExitStatus(0), false).unwrap();
            self.conn.close_channel(channel).unwrap();
            self.done = true;
        }
    }
}

fn sign(input: &SignatureInput, key: &PrivateKey) -> HostSignature {
    let secret = SharedSecret::from_encoded(input.secret.clone()).unwrap();
    let method = sockward_crypto::KexMethod::from_name(&input.method).unwrap();
    let hash = ExchangeInput {
        client_version: &input.client_version,
        server_version: &input.server_version,
        client_kexinit: &input.client_kexinit,
        server_kexinit: &input.server_kexinit,
        host_key: key.public().blob(),
        client_share: &input.client_share,
        server_share: &input.server_share,
        secret: &secret,
    }
    .hash(method.hash());
    let signature = key.sign(input.algorithm.signature, hash.as_ref()).unwrap();
    HostSignature { host_key: key.public().blob().to_vec(), signature, next_cookie: cookie() }
}
