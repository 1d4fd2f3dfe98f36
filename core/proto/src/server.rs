//! What only a server does: have its key sign, let users in. Mirror of `client.rs`.

use crate::auth::{ServerAuth, Verdict};
use crate::connection::{Connection, Phase};
use crate::error::{Error, Result};
use crate::event::{AuthQuestion, Prompts, SignatureQuestion};
use crate::kex::HostSignature;

use sockward_wire::global::RequestKind;

impl Connection {
    /// The holder of the host keys signed: the exchange goes on.
    pub fn host_signature(&mut self, question: SignatureQuestion, answer: &HostSignature) -> Result<()> {
        question.ticket.redeem();
        let result = self.transport.signed(answer);
        self.check(result)
    }

    /// Lets the user in: the connection layer starts.
    pub fn auth_success(&mut self, question: AuthQuestion) -> Result<()> {
        self.auth_answer(question, &Verdict::Success)?;
        self.authenticated();
        Ok(())
    }

    /// Refuses, or with `partial` asks for one more method. `methods`: those that can continue, joined by commas.
    pub fn auth_failure(&mut self, question: AuthQuestion, methods: &str, partial: bool) -> Result<()> {
        self.auth_answer(question, &Verdict::Failure { methods, partial })
    }

    /// The key that was queried would do.
    pub fn auth_key_acceptable(&mut self, question: AuthQuestion) -> Result<()> {
        self.auth_answer(question, &Verdict::KeyAcceptable)
    }

    /// Has the user prompted; the answers come as another [`AuthQuestion`].
    pub fn auth_prompts(&mut self, question: AuthQuestion, prompts: &Prompts) -> Result<()> {
        self.auth_answer(question, &Verdict::Prompts(prompts))
    }

    /// Shows text before the login.
    pub fn send_banner(&mut self, text: &[u8]) -> Result<()> {
        let result = ServerAuth::banner(text, &mut self.transport);
        self.check(result)
    }

    /// Tells the client all host keys, so that it can learn those it does not know (OpenSSH PROTOCOL 2.5).
    pub fn tell_host_keys(&mut self, keys: &[Vec<u8>]) -> Result<()> {
        let (channels, mut cx) = self.channel_layer();
        let kind = RequestKind::HostKeys(keys.iter().map(Vec::as_slice).collect());
        let result = channels.tell_global(kind, &mut cx);
        self.check(result)
    }

    fn auth_answer(&mut self, question: AuthQuestion, verdict: &Verdict<'_>) -> Result<()> {
        let Phase::ServerAuth(auth) = &mut self.phase else {
            return Err(Error::ApiMisuse("nobody is being authenticated"));
        };
        let result = auth.answer(question, verdict, &mut self.transport);
        self.check(result)
    }
}
