//! What only a client does: trust a host key, log in, ask for listeners. Mirror of `server.rs`.

use sockward_wire::global::RequestKind;

use crate::auth::ClientRequest;
use crate::connection::{Connection, Phase};
use crate::error::{Error, Result};
use crate::event::HostKeyQuestion;

impl Connection {
    /// The login name for authentication; to be set before the first keys are in use.
    pub fn set_user(&mut self, user: impl Into<Vec<u8>>) {
        self.user = user.into();
    }

    /// The host key is trusted: the exchange goes on.
    pub fn accept_host_key(&mut self, question: HostKeyQuestion) -> Result<()> {
        question.ticket.redeem();
        let result = self.transport.accept_host_key();
        self.check(result)
    }

    /// The signature algorithms the server takes, joined by commas, if it told (RFC 8308 §3.1).
    #[must_use]
    pub fn server_sig_algs(&self) -> Option<&str> {
        self.transport.extensions.server_sig_algs.as_deref()
    }

    /// Asks which methods there are; the failure tells.
    pub fn auth_none(&mut self) -> Result<()> {
        self.auth_request(&ClientRequest::None)
    }

    /// Asks whether a key would do.
    pub fn auth_query(&mut self, algorithm: &str, key: &[u8]) -> Result<()> {
        self.auth_request(&ClientRequest::Query { algorithm, key })
    }

    /// The bytes to sign with a key; then call [`Self::auth_signed`].
    pub fn auth_data_to_sign(&self, algorithm: &str, key: &[u8]) -> Result<Vec<u8>> {
        match (&self.phase, self.session_id()) {
            (Phase::ClientAuth(auth), Some(session_id)) => Ok(auth.signed_data(session_id, algorithm, key)),
            _ => Err(Error::ApiMisuse("authentication is not under way")),
        }
    }

    /// Authenticates with a key and a signature over [`Self::auth_data_to_sign`].
    pub fn auth_signed(&mut self, algorithm: &str, key: &[u8], signature: &[u8]) -> Result<()> {
        self.auth_request(&ClientRequest::Signed { algorithm, key, signature })
    }

    /// Authenticates with a password.
    pub fn auth_password(&mut self, password: &[u8]) -> Result<()> {
        self.auth_request(&ClientRequest::Password(password))
    }

    /// Asks for prompts (RFC 4256).
    pub fn auth_interactive(&mut self) -> Result<()> {
        self.auth_request(&ClientRequest::KeyboardInteractive)
    }

    /// Answers prompts, in their order.
    pub fn auth_responses(&mut self, answers: &[Vec<u8>]) -> Result<()> {
        self.auth_request(&ClientRequest::Responses(answers))
    }

    /// Promises that no session will be opened any more (OpenSSH PROTOCOL 2.2).
    pub fn no_more_sessions(&mut self) -> Result<()> {
        let (channels, mut cx) = self.channel_layer();
        let result = channels.tell_global(RequestKind::NoMoreSessions, &mut cx);
        self.check(result)
    }

    fn auth_request(&mut self, request: &ClientRequest<'_>) -> Result<()> {
        let Phase::ClientAuth(auth) = &mut self.phase else {
            return Err(Error::ApiMisuse("authentication is not under way"));
        };
        let result = auth.request(request, &mut self.transport);
        self.check(result)
    }
}
