//! The client's half of a key exchange: send a share, check the server's signature, ask about the key.

use sockward_crypto::{ClientSecret, Digest, ExchangeInput, KeyOrCert, SharedSecret, Verified, client_start};
use sockward_wire::number;
use sockward_wire::transport::KexEcdhReply;

use super::{Inits, Kex, KexEvent, Negotiated, NewKeys, State, share_message};
use crate::error::{Error, Result};
use crate::transport::Packets;

/// A key that the server proved to hold. Trust is for the application to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyOffer {
    /// The key or certificate as sent.
    pub key: Vec<u8>,
    /// The negotiated algorithm.
    pub algorithm: sockward_crypto::KeyAlgorithm,
    /// The signature over the exchange hash. That of the first exchange, whose hash is the session id, binds an
    /// agent to this connection (session-bind@openssh.com).
    pub signature: Vec<u8>,
}

/// Our share is out.
pub(super) struct ExpectReply {
    inits: Inits,
    negotiated: Box<Negotiated>,
    secret: ClientSecret,
    share: Vec<u8>,
}

/// The signature is good; the application says whether the key is.
pub(super) struct AwaitVerdict {
    negotiated: Box<Negotiated>,
    secret: SharedSecret,
    exchange_hash: Digest,
    host_key: Vec<u8>,
    /// Proof that the signature over the exchange hash was checked.
    _verified: Verified,
}

pub(super) fn begin(inits: Inits, negotiated: Box<Negotiated>, packets: &mut Packets) -> Result<ExpectReply> {
    let (secret, share) = client_start(negotiated.kex)?;
    packets.send(&share_message(number::KEX_INIT, &share))?;
    Ok(ExpectReply { inits, negotiated, secret, share })
}

impl Kex {
    pub(super) fn reply_received(
        &mut self,
        state: ExpectReply,
        payload: &[u8],
        packets: &mut Packets,
    ) -> Result<Option<KexEvent>> {
        let reply = KexEcdhReply::decode(payload)?;
        let ExpectReply { inits, negotiated, secret, share } = state;
        let secret = secret.finish(reply.share)?;
        let exchange_hash = ExchangeInput {
            client_version: &self.client_version,
            server_version: &self.server_version,
            client_kexinit: &inits.client,
            server_kexinit: &inits.server,
            host_key: reply.host_key,
            client_share: &share,
            server_share: reply.share,
            secret: &secret,
        }
        .hash(negotiated.kex.hash());
        let key = KeyOrCert::parse(reply.host_key)?;
        key.check_algorithm(negotiated.host_key)?;
        let verified = key.public_key().verify(
            negotiated.host_key.signature,
            exchange_hash.as_ref(),
            reply.signature,
        )?;
        let offer = HostKeyOffer {
            key: reply.host_key.to_vec(),
            algorithm: negotiated.host_key,
            signature: reply.signature.to_vec(),
        };
        let host_key = offer.key.clone();
        let known = self.trusted_host_key.as_ref() == Some(&host_key);
        let verdict = AwaitVerdict { negotiated, secret, exchange_hash, host_key, _verified: verified };
        if known {
            self.trust(verdict, packets)?;
            return Ok(None);
        }
        self.state = State::AwaitVerdict(Box::new(verdict));
        Ok(Some(KexEvent::HostKey(offer)))
    }

    /// The application trusts the key that was offered.
    pub(crate) fn accept_host_key(&mut self, packets: &mut Packets) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::AwaitVerdict(verdict) => self.trust(*verdict, packets),
            other => {
                self.state = other;
                Err(Error::ApiMisuse("no host key is waiting for a verdict"))
            }
        }
    }

    fn trust(&mut self, verdict: AwaitVerdict, packets: &mut Packets) -> Result<()> {
        let AwaitVerdict { negotiated, secret, exchange_hash, host_key, .. } = verdict;
        self.trusted_host_key = Some(host_key);
        let session_id = self.session_id.get_or_insert_with(|| exchange_hash.clone()).clone();
        let keys = NewKeys::derive(self.side, &negotiated, &secret, &exchange_hash, &session_id)?;
        self.switch(keys, negotiated, packets)
    }
}
