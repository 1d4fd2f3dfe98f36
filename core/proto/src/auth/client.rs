//! The client's side: one request at a time, each answered before the next.

use sockward_wire::auth::{Banner, Failure, InfoRequest, InfoResponse, Method, PkOk, Request, Success};
use sockward_wire::transport::{ServiceAccept, ServiceRequest};
use sockward_wire::{names, number};

use crate::error::{Error, Misbehaved, Result};
use crate::event::{Event, Prompts};
use crate::transport::Transport;

/// Which answer is due: message 60 means three things (RFC 4250 §4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// SERVICE_ACCEPT.
    Service,
    /// Nothing.
    Nothing,
    /// Success or failure.
    Verdict,
    /// PK_OK or failure.
    Key,
    /// Prompts, success or failure.
    Interactive,
}

/// The state of one client's authentication.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    asked: Asked,
    user: Vec<u8>,
}

/// A request of the application.
pub(crate) enum ClientRequest<'a> {
    None,
    Query { algorithm: &'a str, key: &'a [u8] },
    Signed { algorithm: &'a str, key: &'a [u8], signature: &'a [u8] },
    Password(&'a [u8]),
    KeyboardInteractive,
    Responses(&'a [Vec<u8>]),
}

impl ClientAuth {
    /// Asks for the service, once the first keys are in use.
    pub(crate) fn start(user: Vec<u8>, transport: &mut Transport) -> Result<Self> {
        let mut out = Vec::new();
        ServiceRequest { service: names::service::USERAUTH }.encode(&mut out);
        transport.send(&out)?;
        Ok(ClientAuth { asked: Asked::Service, user })
    }

    /// Takes one message; true in the second place = logged in.
    pub(crate) fn handle(&mut self, payload: &[u8]) -> Result<(Option<Event>, bool)> {
        let message = payload.first().copied().unwrap_or(0);
        let event = match (message, self.asked) {
            (number::USERAUTH_BANNER, _) => Event::Banner(Banner::decode(payload)?.text.to_vec()),
            (number::SERVICE_ACCEPT, Asked::Service) => {
                if ServiceAccept::decode(payload)?.service != names::service::USERAUTH {
                    return Err(Misbehaved::Service.into());
                }
                self.asked = Asked::Nothing;
                Event::AuthReady
            }
            (number::USERAUTH_SUCCESS, Asked::Verdict | Asked::Interactive) => {
                Success::decode(payload)?;
                return Ok((Some(Event::Authenticated), true));
            }
            (number::USERAUTH_FAILURE, Asked::Verdict | Asked::Key | Asked::Interactive) => {
                let failure = Failure::decode(payload)?;
                self.asked = Asked::Nothing;
                Event::AuthFailed {
                    methods: failure.methods.as_str().to_owned(),
                    partial: failure.partial_success,
                }
            }
            (number::USERAUTH_60, Asked::Key) => {
                let ok = PkOk::decode(payload)?;
                self.asked = Asked::Nothing;
                Event::KeyAcceptable { algorithm: ok.algorithm.to_owned(), key: ok.key.to_vec() }
            }
            (number::USERAUTH_60, Asked::Interactive) => Event::Prompts(prompts(payload)?),
            (other, _) => return Err(Misbehaved::Unexpected(other).into()),
        };
        Ok((Some(event), false))
    }

    /// Sends a request.
    pub(crate) fn request(&mut self, request: &ClientRequest<'_>, transport: &mut Transport) -> Result<()> {
        let answering = matches!(request, ClientRequest::Responses(_));
        if self.asked != if answering { Asked::Interactive } else { Asked::Nothing } {
            return Err(Error::ApiMisuse("an authentication request is under way already"));
        }
        let (method, asked) = match *request {
            ClientRequest::None => (Method::None, Asked::Verdict),
            ClientRequest::Query { algorithm, key } => {
                (Method::PublicKey { algorithm, key, host_key: None, signature: None }, Asked::Key)
            }
            ClientRequest::Signed { algorithm, key, signature } => {
                let signature = Some(signature);
                (Method::PublicKey { algorithm, key, host_key: None, signature }, Asked::Verdict)
            }
            ClientRequest::Password(password) => {
                (Method::Password { password, new_password: None }, Asked::Verdict)
            }
            ClientRequest::KeyboardInteractive => {
                (Method::KeyboardInteractive { submethods: b"" }, Asked::Interactive)
            }
            ClientRequest::Responses(answers) => {
                let mut out = Vec::new();
                InfoResponse { responses: answers.iter().map(Vec::as_slice).collect() }.encode(&mut out);
                return transport.send(&out);
            }
        };
        self.asked = asked;
        let mut out = Vec::new();
        Request { user: &self.user, service: names::service::CONNECTION, method }.encode(&mut out);
        transport.send(&out)
    }

    /// What the user is to sign for a key (RFC 4252 §7).
    pub(crate) fn signed_data(&self, session_id: &[u8], algorithm: &str, key: &[u8]) -> Vec<u8> {
        let service = names::service::CONNECTION;
        sockward_wire::auth::signed_data(session_id, &self.user, service, algorithm, key, None)
    }
}

fn prompts(payload: &[u8]) -> Result<Prompts> {
    let request = InfoRequest::decode(payload)?;
    Ok(Prompts {
        name: request.name.to_vec(),
        instruction: request.instruction.to_vec(),
        prompts: request.prompts.iter().map(|(text, echo)| (text.to_vec(), *echo)).collect(),
    })
}
