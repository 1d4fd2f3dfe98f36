//! The server's half of a key exchange. The host key is not here: the whole hash input goes to whoever
//! holds it, who hashes for himself, signs and hands out the cookie of the next KEXINIT.

use sockward_crypto::{Digest, ExchangeInput, KeyAlgorithm, SharedSecret, server_respond};
use sockward_wire::transport::{KexEcdhInit, KexEcdhReply};

use super::{Inits, Kex, KexEvent, Negotiated, NewKeys, State};
use crate::error::{Error, Result};
use crate::transport::Packets;

/// Everything that goes into the exchange hash except the host key, which the signer adds (RFC 4253 §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureInput {
    /// V_C.
    pub client_version: Vec<u8>,
    /// V_S.
    pub server_version: Vec<u8>,
    /// I_C.
    pub client_kexinit: Vec<u8>,
    /// I_S; carries the cookie that the signer gave out.
    pub server_kexinit: Vec<u8>,
    /// The client's share.
    pub client_share: Vec<u8>,
    /// Our share.
    pub server_share: Vec<u8>,
    /// K, as encoded in the hash.
    pub secret: Vec<u8>,
    /// The key exchange method's name as negotiated: it decides the hash.
    pub method: String,
    /// Which key is to sign, and how.
    pub algorithm: KeyAlgorithm,
}

/// The signer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSignature {
    /// K_S.
    pub host_key: Vec<u8>,
    /// Over the exchange hash.
    pub signature: Vec<u8>,
    /// For our next KEXINIT.
    pub next_cookie: [u8; 16],
}

/// Both KEXINITs are there; the client's share is awaited.
pub(super) struct ExpectShare {
    inits: Inits,
    negotiated: Box<Negotiated>,
}

/// The signer is at work.
pub(super) struct AwaitSignature {
    inits: Inits,
    negotiated: Box<Negotiated>,
    client_share: Vec<u8>,
    server_share: Vec<u8>,
    secret: SharedSecret,
}

pub(super) fn begin(inits: Inits, negotiated: Box<Negotiated>) -> ExpectShare {
    ExpectShare { inits, negotiated }
}

impl Kex {
    pub(super) fn share_received(&mut self, state: ExpectShare, payload: &[u8]) -> Result<Option<KexEvent>> {
        let client_share = KexEcdhInit::decode(payload)?.share.to_vec();
        let ExpectShare { inits, negotiated } = state;
        let (server_share, secret) = server_respond(negotiated.kex, &client_share)?;
        let input = SignatureInput {
            client_version: self.client_version.clone(),
            server_version: self.server_version.clone(),
            client_kexinit: inits.client.clone(),
            server_kexinit: inits.server.clone(),
            client_share: client_share.clone(),
            server_share: server_share.clone(),
            secret: secret.encoded().to_vec(),
            method: negotiated.kex_name.clone(),
            algorithm: negotiated.host_key,
        };
        let state = AwaitSignature { inits, negotiated, client_share, server_share, secret };
        self.state = State::AwaitSignature(Box::new(state));
        Ok(Some(KexEvent::Signature(input)))
    }

    /// The signer has signed.
    pub(crate) fn signed(&mut self, answer: &HostSignature, packets: &mut Packets) -> Result<()> {
        let state = match std::mem::replace(&mut self.state, State::Idle) {
            State::AwaitSignature(state) => *state,
            other => {
                self.state = other;
                return Err(Error::ApiMisuse("no exchange is waiting for a signature"));
            }
        };
        let exchange_hash = self.exchange_hash(&state, &answer.host_key);
        self.cookie = Some(answer.next_cookie);
        let mut reply = Vec::new();
        KexEcdhReply { host_key: &answer.host_key, share: &state.server_share, signature: &answer.signature }
            .encode(&mut reply);
        packets.send(&reply)?;
        let session_id = self.session_id.get_or_insert_with(|| exchange_hash.clone()).clone();
        let keys = NewKeys::derive(self.side, &state.negotiated, &state.secret, &exchange_hash, &session_id)?;
        self.switch(keys, state.negotiated, packets)
    }

    fn exchange_hash(&self, state: &AwaitSignature, host_key: &[u8]) -> Digest {
        ExchangeInput {
            client_version: &self.client_version,
            server_version: &self.server_version,
            client_kexinit: &state.inits.client,
            server_kexinit: &state.inits.server,
            host_key,
            client_share: &state.client_share,
            server_share: &state.server_share,
            secret: &state.secret,
        }
        .hash(state.negotiated.kex.hash())
    }
}
