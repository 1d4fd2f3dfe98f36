//! The user's agent: which keys it holds, signatures by them. Each call waits for the agent, which may wait for its
//! user: for jobs.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use sockward_crypto::SignatureAlg;
use sockward_wire::Reader;
use sockward_wire::agent::{
    Answer, FLAG_RSA_SHA2_256, FLAG_RSA_SHA2_512, frame_length, request_identities, session_bind,
    sign_request,
};

/// A connected agent.
#[derive(Debug)]
pub(super) struct Agent(UnixStream);

/// A key that an agent holds: its blob and its comment.
pub(super) type Held = (Vec<u8>, String);

/// What ties an agent's signatures to one connection (OpenSSH PROTOCOL.agent, session-bind).
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// The server's key, as it was shown first.
    pub(crate) host_key: Vec<u8>,
    /// The session id.
    pub(crate) session_id: Vec<u8>,
    /// The server's signature over it.
    pub(crate) signature: Vec<u8>,
}

impl Agent {
    /// Connects to the socket at a path.
    pub(super) fn connect(path: &OsStr) -> io::Result<Self> {
        Ok(Agent(UnixStream::connect(path)?))
    }

    /// Tells which connection the signatures are for. An agent that does not know of such things refuses.
    pub(super) fn bind(&mut self, binding: &Binding) -> io::Result<bool> {
        let frame = session_bind(&binding.host_key, &binding.session_id, &binding.signature, false);
        self.ask(&frame, |answer| Ok(matches!(answer, Answer::Success)))
    }

    /// Its keys with their comments.
    pub(super) fn identities(&mut self) -> io::Result<Vec<Held>> {
        self.ask(&request_identities(), |answer| match answer {
            Answer::Identities(keys) => Ok(keys
                .iter()
                .map(|key| (key.key.to_vec(), key.comment.escape_ascii().to_string()))
                .collect()),
            Answer::Failure | Answer::Success | Answer::Signature(_) => Err("the agent shows no keys"),
        })
    }

    /// A signature by a key or certificate it holds, in the algorithm asked for and no other.
    pub(super) fn sign(&mut self, key: &[u8], data: &[u8], alg: SignatureAlg) -> io::Result<Vec<u8>> {
        let flags = match alg {
            SignatureAlg::RsaSha256 => FLAG_RSA_SHA2_256,
            SignatureAlg::RsaSha512 => FLAG_RSA_SHA2_512,
            _ => 0,
        };
        self.ask(&sign_request(key, data, flags), |answer| match answer {
            Answer::Signature(signature) => {
                let name = Reader::new(signature).string("signature algorithm").unwrap_or_default();
                if name == alg.name().as_bytes() {
                    Ok(signature.to_vec())
                } else {
                    Err("the agent returned an incorrect signature type")
                }
            }
            Answer::Failure | Answer::Success | Answer::Identities(_) => Err("agent refused operation"),
        })
    }

    fn ask<T>(
        &mut self,
        frame: &[u8],
        read: impl FnOnce(Answer<'_>) -> Result<T, &'static str>,
    ) -> io::Result<T> {
        self.0.write_all(frame)?;
        let mut head = [0; 4];
        self.0.read_exact(&mut head)?;
        let invalid = |e: sockward_wire::WireError| io::Error::new(io::ErrorKind::InvalidData, e.to_string());
        let length = frame_length(&head).map_err(invalid)?.unwrap_or_default();
        let mut body = vec![0; length.saturating_sub(head.len())];
        self.0.read_exact(&mut body)?;
        read(Answer::decode(&body).map_err(invalid)?).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_wire::Put;

    /// An agent that gives one answer.
    fn answering(body: Vec<u8>) -> Agent {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut frame = Vec::new();
        frame.put_string(&body);
        theirs.write_all(&frame).unwrap();
        // The socket stays open: the request has to go somewhere.
        std::mem::forget(theirs);
        Agent(ours)
    }

    #[test]
    fn another_algorithm_than_asked_for_is_refused() {
        let signature = |name: &str| {
            let mut blob = Vec::new();
            blob.put_string(name.as_bytes());
            blob.put_string(b"x");
            let mut body = vec![14];
            body.put_string(&blob);
            body
        };
        let sign = |name| answering(signature(name)).sign(b"k", b"d", SignatureAlg::RsaSha512);
        assert!(sign("rsa-sha2-512").is_ok());
        assert!(sign("ssh-rsa").is_err());
        assert!(answering(vec![5]).sign(b"k", b"d", SignatureAlg::Ed25519).is_err());
    }

    #[test]
    fn failures_and_nonsense_are_errors() {
        assert!(answering(vec![5]).identities().is_err());
        assert!(answering(vec![12, 255, 255, 255, 255]).identities().is_err());
        let binding = Binding { host_key: vec![], session_id: vec![], signature: vec![] };
        assert!(!answering(vec![5]).bind(&binding).unwrap());
        assert!(answering(vec![6]).bind(&binding).unwrap());
    }
}
