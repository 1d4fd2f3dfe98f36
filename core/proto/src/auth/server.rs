//! The server's side: one request at a time goes to the application; the next is read after its answer.

use sockward_wire::auth::{Banner, Failure, InfoRequest, InfoResponse, Method, PkOk, Request, Success};
use sockward_wire::transport::{ServiceAccept, ServiceRequest};
use sockward_wire::{NameList, names, number};

use crate::error::{Error, Misbehaved, Result};
use crate::event::{AuthMethod, AuthQuestion, Event, Prompts};
use crate::question::{Dropped, Owed};
use crate::transport::Transport;

/// The state of one client's authentication, seen from the server.
#[derive(Debug, Default)]
pub(crate) struct ServerAuth {
    /// The service was asked for and granted.
    started: bool,
    /// The application is deciding.
    deciding: bool,
    /// Prompts are out, and whose answers are due.
    prompted: Option<Prompted>,
}

#[derive(Debug)]
struct Prompted {
    user: Vec<u8>,
    service: String,
}

/// The application's decision.
pub(crate) enum Verdict<'a> {
    Success,
    Failure { methods: &'a str, partial: bool },
    KeyAcceptable,
    Prompts(&'a Prompts),
}

impl ServerAuth {
    /// The application must answer before the next message is looked at.
    pub(crate) fn is_blocked(&self) -> bool {
        self.deciding
    }

    /// Takes one message.
    pub(crate) fn handle(
        &mut self,
        payload: &[u8],
        transport: &mut Transport,
        dropped: &Dropped,
    ) -> Result<Option<Event>> {
        match payload.first().copied().unwrap_or(0) {
            number::SERVICE_REQUEST => {
                let service = ServiceRequest::decode(payload)?.service;
                if service != names::service::USERAUTH {
                    return Err(Misbehaved::Service.into());
                }
                self.started = true;
                let mut out = Vec::new();
                ServiceAccept { service }.encode(&mut out);
                transport.send(&out)?;
                Ok(None)
            }
            number::USERAUTH_REQUEST if self.started => {
                let request = Request::decode(payload)?;
                // RFC 4252 §5: a new request abandons prompts that are still unanswered.
                self.prompted = None;
                let (user, service) = (request.user.to_vec(), request.service.to_owned());
                Ok(Some(self.ask(user, service, method(&request.method), dropped)))
            }
            number::USERAUTH_INFO_RESPONSE if self.started => {
                let unexpected = Misbehaved::Unexpected(number::USERAUTH_INFO_RESPONSE);
                let Prompted { user, service } = self.prompted.take().ok_or(unexpected)?;
                let answers = InfoResponse::decode(payload)?.responses.iter().map(|a| a.to_vec()).collect();
                Ok(Some(self.ask(user, service, AuthMethod::Responses(answers), dropped)))
            }
            other => Err(Misbehaved::Unexpected(other).into()),
        }
    }

    fn ask(&mut self, user: Vec<u8>, service: String, method: AuthMethod, dropped: &Dropped) -> Event {
        self.deciding = true;
        Event::AuthRequested(AuthQuestion {
            user,
            service,
            method,
            ticket: dropped.ticket(Owed::AuthFailure),
        })
    }

    /// Sends the decision on a question.
    pub(crate) fn answer(
        &mut self,
        question: AuthQuestion,
        verdict: &Verdict<'_>,
        transport: &mut Transport,
    ) -> Result<()> {
        question.ticket.redeem();
        let mut out = Vec::new();
        match (verdict, &question.method) {
            (Verdict::Success, _) => Success {}.encode(&mut out),
            (Verdict::Failure { methods, partial }, _) => failure(methods, *partial, &mut out)?,
            (Verdict::KeyAcceptable, AuthMethod::PublicKey { algorithm, key, signature: None, .. }) => {
                PkOk { algorithm, key }.encode(&mut out);
            }
            (Verdict::KeyAcceptable, _) => {
                return Err(Error::ApiMisuse("only the query for a key can be answered so"));
            }
            (Verdict::Prompts(prompts), AuthMethod::KeyboardInteractive | AuthMethod::Responses(_)) => {
                let list = prompts.prompts.iter().map(|(text, echo)| (text.as_slice(), *echo)).collect();
                InfoRequest { name: &prompts.name, instruction: &prompts.instruction, prompts: list }
                    .encode(&mut out);
                self.prompted = Some(Prompted { user: question.user, service: question.service });
            }
            (Verdict::Prompts(_), _) => {
                return Err(Error::ApiMisuse("only keyboard-interactive has prompts"));
            }
        }
        self.deciding = false;
        transport.send(&out)
    }

    /// The question was dropped: refused, and nothing can continue.
    pub(crate) fn refuse(&mut self, transport: &mut Transport) -> Result<()> {
        self.deciding = false;
        let mut out = Vec::new();
        failure("", false, &mut out)?;
        transport.send(&out)
    }

    /// Shows text before the login (RFC 4252 §5.4).
    pub(crate) fn banner(text: &[u8], transport: &mut Transport) -> Result<()> {
        let mut out = Vec::new();
        Banner { text, language: b"" }.encode(&mut out);
        transport.send(&out)
    }
}

fn failure(methods: &str, partial_success: bool, out: &mut Vec<u8>) -> Result<()> {
    Failure { methods: NameList::new(methods)?, partial_success }.encode(out);
    Ok(())
}

fn method(method: &Method<'_>) -> AuthMethod {
    match method {
        Method::None => AuthMethod::None,
        Method::PublicKey { algorithm, key, host_key, signature } => AuthMethod::PublicKey {
            algorithm: (*algorithm).to_owned(),
            key: key.to_vec(),
            host_key: host_key.map(<[u8]>::to_vec),
            signature: signature.map(<[u8]>::to_vec),
        },
        Method::Password { password, new_password } => AuthMethod::Password {
            password: password.to_vec(),
            new_password: new_password.map(<[u8]>::to_vec),
        },
        Method::KeyboardInteractive { .. } => AuthMethod::KeyboardInteractive,
        Method::Unknown(name) => AuthMethod::Unknown((*name).to_owned()),
    }
}
