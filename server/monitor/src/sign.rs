//! Host-key signatures: the monitor hashes for itself what it signs (RFC 4253 §8).
//!
//! A worker that could name the hash could have anything signed, a replay of another session's exchange among
//! it. So the worker hands over the whole hash input, and the monitor checks that it is fresh: the server's
//! KEXINIT carries the one cookie that this connection was given and has not used. The first hash is the
//! session id, which user signatures are checked against.

use std::fmt;
use std::time::{Duration, Instant};

use sockward_crypto::{
    Digest, ExchangeInput, KexMethod, KeyAlgorithm, Random, SharedSecret, SignatureAlg, SystemRandom,
};
use sockward_privsep::worker::{SignRequest, ToWorker};
use sockward_wire::transport::KexInit;
use sockward_wire::{Put, names};

use crate::host_keys::HostKeys;

/// Key exchanges a connection may make at once; far above what limits by bytes lead to.
const BURST: u32 = 512;
/// One more each so often.
const REFILL: Duration = Duration::from_millis(25);

/// The signer of one connection.
#[derive(Debug)]
pub(crate) struct Signer {
    /// Given out and not used.
    cookie: Option<[u8; 16]>,
    session_id: Option<Digest>,
    host_key: Option<Vec<u8>>,
    /// How the last exchange was signed.
    algorithm: Option<KeyAlgorithm>,
    left: u32,
    refilled: Instant,
}

/// Why nothing was signed. Each ends the connection: an honest worker causes none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignError {
    /// The exchange does not carry the cookie this connection was given.
    Stale,
    /// The input is not one of a key exchange.
    Malformed(&'static str),
    /// There is no such key.
    NoKey(String),
    /// Too many exchanges in too little time.
    TooMany,
    /// The library could not sign.
    Crypto(sockward_crypto::CryptoError),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::Stale => {
                write!(f, "the key exchange to be signed does not carry this connection's cookie")
            }
            SignError::Malformed(what) => write!(f, "the key exchange to be signed has a malformed {what}"),
            SignError::NoKey(name) => write!(f, "no host key for {name}"),
            SignError::TooMany => write!(f, "too many key exchanges"),
            SignError::Crypto(e) => write!(f, "{e}"),
        }
    }
}

impl Signer {
    /// A signer and the cookie for the server's first KEXINIT.
    pub(crate) fn new(now: Instant) -> (Self, [u8; 16]) {
        let cookie = fresh_cookie();
        (
            Signer {
                cookie: Some(cookie),
                session_id: None,
                host_key: None,
                algorithm: None,
                left: BURST,
                refilled: now,
            },
            cookie,
        )
    }

    /// The first exchange's hash, once there is one.
    pub(crate) fn session_id(&self) -> Option<&Digest> {
        self.session_id.as_ref()
    }

    /// K_S of the first exchange, once there is one: what the client has seen.
    pub(crate) fn host_key(&self) -> Option<&[u8]> {
        self.host_key.as_deref()
    }

    /// Signs one key exchange.
    pub(crate) fn sign(
        &mut self,
        request: &SignRequest,
        keys: &HostKeys,
        now: Instant,
    ) -> Result<ToWorker, SignError> {
        self.spend(now)?;
        let init =
            KexInit::decode(&request.server_kexinit).map_err(|_| SignError::Malformed("server KEXINIT"))?;
        // Used up whatever comes of it: one cookie, one signature.
        if self.cookie.take() != Some(init.cookie) {
            return Err(SignError::Stale);
        }
        let method = KexMethod::from_name(&request.method).ok_or(SignError::Malformed("method"))?;
        let algorithm =
            KeyAlgorithm::from_name(&request.algorithm).ok_or(SignError::Malformed("host key algorithm"))?;
        let no_key = || SignError::NoKey(request.algorithm.clone());
        let key = keys.find(algorithm).ok_or_else(no_key)?;
        let shown = key.blob(algorithm).ok_or_else(no_key)?;
        let secret = SharedSecret::from_encoded(request.secret.clone()).map_err(SignError::Crypto)?;
        let hash = ExchangeInput {
            client_version: &request.client_version,
            server_version: &request.server_version,
            client_kexinit: &request.client_kexinit,
            server_kexinit: &request.server_kexinit,
            host_key: shown,
            client_share: &request.client_share,
            server_share: &request.server_share,
            secret: &secret,
        }
        .hash(method.hash());
        let signature = key.sign(algorithm.signature, hash.as_ref()).map_err(SignError::Crypto)?;
        self.session_id.get_or_insert(hash);
        self.host_key.get_or_insert_with(|| shown.to_vec());
        self.algorithm = Some(algorithm);
        let next_cookie = fresh_cookie();
        self.cookie = Some(next_cookie);
        Ok(ToWorker::Signed { host_key: shown.to_vec(), signature, next_cookie })
    }

    /// Proves to a client that has logged in that we hold the private keys of host keys (OpenSSH PROTOCOL 2.5).
    /// The keys must be ours, each once; what is signed is built here and can be nothing else. None: they are not, or
    /// there were too many requests, which a client can send through an honest worker.
    pub(crate) fn prove(
        &mut self,
        wanted: &[Vec<u8>],
        keys: &HostKeys,
        now: Instant,
    ) -> Result<Option<Vec<Vec<u8>>>, SignError> {
        if self.spend(now).is_err() {
            return Ok(None);
        }
        let (Some(session_id), Some(last)) = (self.session_id.as_ref(), self.algorithm) else {
            return Ok(None);
        };
        let mut signatures = Vec::new();
        for (i, blob) in wanted.iter().enumerate() {
            let Some(key) = keys.with_blob(blob).filter(|_| !wanted.iter().take(i).any(|b| b == blob)) else {
                return Ok(None);
            };
            let of_type = |a: &SignatureAlg| a.key_type() == key.key_type();
            // An RSA key signs as in the last exchange, if that was with one; else with the longest hash.
            let algorithm = Some(last.signature).filter(of_type);
            let Some(algorithm) = algorithm.or_else(|| SignatureAlg::ALL.into_iter().find(of_type)) else {
                return Ok(None);
            };
            let mut data = Vec::new();
            data.put_string(names::global::HOSTKEYS_PROVE.as_bytes());
            data.put_string(session_id.as_ref());
            data.put_string(blob);
            signatures.push(key.sign(algorithm, &data).map_err(SignError::Crypto)?);
        }
        Ok(Some(signatures))
    }

    fn spend(&mut self, now: Instant) -> Result<(), SignError> {
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = u32::try_from(elapsed.as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.refilled = now;
        }
        self.left = self.left.checked_sub(1).ok_or(SignError::TooMany)?;
        Ok(())
    }
}

fn fresh_cookie() -> [u8; 16] {
    let mut cookie = [0; 16];
    SystemRandom::new().fill(&mut cookie);
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockward_crypto::{HashAlg, KeyType, PrivateKey, PublicKey};
    use sockward_wire::NameList;

    fn kexinit(cookie: [u8; 16]) -> Vec<u8> {
        let list = NameList::NONE;
        let mut out = Vec::new();
        KexInit {
            cookie,
            kex: list,
            host_key: list,
            cipher_c2s: list,
            cipher_s2c: list,
            mac_c2s: list,
            mac_s2c: list,
            compression_c2s: list,
            compression_s2c: list,
            languages_c2s: b"",
            languages_s2c: b"",
            first_kex_packet_follows: false,
            reserved: 0,
        }
        .encode(&mut out);
        out
    }

    fn request(cookie: [u8; 16]) -> SignRequest {
        SignRequest {
            client_version: b"SSH-2.0-c".into(),
            server_version: b"SSH-2.0-s".into(),
            client_kexinit: kexinit([1; 16]),
            server_kexinit: kexinit(cookie),
            client_share: vec![2; 32],
            server_share: vec![3; 32],
            secret: vec![0, 0, 0, 1, 9],
            method: "curve25519-sha256".into(),
            algorithm: "ssh-ed25519".into(),
        }
    }

    fn keys() -> HostKeys {
        HostKeys::of(vec![PrivateKey::generate(KeyType::Ed25519).unwrap()])
    }

    #[test]
    fn the_signature_is_over_the_hash_of_the_whole_input() {
        let (keys, now) = (keys(), Instant::now());
        let (mut signer, cookie) = Signer::new(now);
        let request = request(cookie);
        let Ok(ToWorker::Signed { host_key, signature, .. }) = signer.sign(&request, &keys, now) else {
            panic!()
        };
        let secret = SharedSecret::from_encoded(request.secret.clone()).unwrap();
        let hash = ExchangeInput {
            client_version: &request.client_version,
            server_version: &request.server_version,
            client_kexinit: &request.client_kexinit,
            server_kexinit: &request.server_kexinit,
            host_key: &host_key,
            client_share: &request.client_share,
            server_share: &request.server_share,
            secret: &secret,
        }
        .hash(HashAlg::Sha256);
        let algorithm = KeyAlgorithm::from_name("ssh-ed25519").unwrap();
        let _verified = PublicKey::from_blob(&host_key)
            .unwrap()
            .verify(algorithm.signature, hash.as_ref(), &signature)
            .unwrap();
        assert_eq!(signer.session_id(), Some(&hash));
    }

    #[test]
    fn each_cookie_is_good_for_one_signature_of_its_own_connection() {
        let (keys, now) = (keys(), Instant::now());
        let (mut first, cookie) = Signer::new(now);
        let (mut second, _) = Signer::new(now);
        let exchange = request(cookie);
        // What a second worker saw of the first one's exchange is of no use to it.
        assert_eq!(second.sign(&exchange, &keys, now), Err(SignError::Stale));
        let Ok(ToWorker::Signed { next_cookie, .. }) = first.sign(&exchange, &keys, now) else { panic!() };
        assert_eq!(first.sign(&exchange, &keys, now), Err(SignError::Stale), "a replay");
        let (mut third, cookie) = Signer::new(now);
        assert!(third.sign(&request(cookie), &keys, now).is_ok());
        assert_ne!(next_cookie, cookie);
    }

    #[test]
    fn the_session_id_is_the_first_hash_for_good() {
        let (keys, now) = (keys(), Instant::now());
        let (mut signer, mut cookie) = Signer::new(now);
        let mut first = None;
        for _ in 0..3 {
            let Ok(ToWorker::Signed { next_cookie, .. }) = signer.sign(&request(cookie), &keys, now) else {
                panic!()
            };
            cookie = next_cookie;
            let id = signer.session_id().cloned();
            assert_eq!(*first.get_or_insert_with(|| id.clone()), id);
        }
    }

    #[test]
    fn proofs_are_over_what_is_built_here_and_for_our_keys_alone() {
        let keys = HostKeys::of(vec![
            PrivateKey::generate(KeyType::Ed25519).unwrap(),
            PrivateKey::generate(KeyType::EcdsaP256).unwrap(),
        ]);
        let now = Instant::now();
        let (mut signer, cookie) = Signer::new(now);
        let ours = keys.public();
        assert_eq!(signer.prove(&ours, &keys, now), Ok(None), "there is no session yet");
        signer.sign(&request(cookie), &keys, now).unwrap();
        let session_id = signer.session_id().cloned().unwrap();
        let signatures = signer.prove(&ours, &keys, now).unwrap().unwrap();
        for (blob, signature) in ours.iter().zip(&signatures) {
            let mut data = Vec::new();
            for part in [&b"hostkeys-prove-00@openssh.com"[..], session_id.as_ref(), blob] {
                data.put_string(part);
            }
            let key = PublicKey::from_blob(blob).unwrap();
            let algorithm = KeyAlgorithm::from_name(key.key_type().name()).unwrap().signature;
            let _verified = key.verify(algorithm, &data, signature).unwrap();
        }
        let stranger = PrivateKey::generate(KeyType::Ed25519).unwrap().public().blob().to_vec();
        for wanted in [vec![stranger], vec![ours[0].clone(), ours[0].clone()], vec![Vec::new()]] {
            assert_eq!(signer.prove(&wanted, &keys, now), Ok(None));
        }
        let refused = |signer: &mut Signer| signer.prove(&ours, &keys, now) == Ok(None);
        assert!((0..BURST).any(|_| refused(&mut signer)), "a flood of proofs does not end");
    }

    #[test]
    fn a_flood_of_signatures_ends() {
        let (keys, mut now) = (keys(), Instant::now());
        let (mut signer, mut cookie) = Signer::new(now);
        let mut signed = 0;
        let error = loop {
            match signer.sign(&request(cookie), &keys, now) {
                Ok(ToWorker::Signed { next_cookie, .. }) => cookie = next_cookie,
                Ok(other) => panic!("{other:?}"),
                Err(e) => break e,
            }
            signed += 1;
        };
        assert_eq!((signed, error), (BURST, SignError::TooMany));
        now += 10 * REFILL;
        assert!(signer.sign(&request(cookie), &keys, now).is_ok());
    }

    #[test]
    fn a_key_we_do_not_have_does_not_sign() {
        let now = Instant::now();
        let (mut signer, cookie) = Signer::new(now);
        let request = SignRequest { algorithm: "rsa-sha2-512".into(), ..request(cookie) };
        assert_eq!(signer.sign(&request, &keys(), now), Err(SignError::NoKey("rsa-sha2-512".into())));
    }
}
