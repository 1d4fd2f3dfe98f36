//! Authentication messages: RFC 4252, RFC 4256, and publickey-hostbound-v00@openssh.com.

use crate::macros::{body, messages};
use crate::{NameList, Put, Reader, WireError, WireResult, names, number};

messages! {
    /// RFC 4252 §5.1.
    Failure<'a> = USERAUTH_FAILURE {
        /// Methods that can continue.
        methods: NameList<'a>,
        /// The request was right but not enough.
        partial_success: bool,
    }
    /// RFC 4252 §5.1.
    Success = USERAUTH_SUCCESS {}
    /// RFC 4252 §5.4.
    Banner<'a> = USERAUTH_BANNER {
        /// To be shown.
        text: &'a [u8],
        /// RFC 3066 tag.
        language: &'a [u8],
    }
    /// RFC 4252 §7: this key would do.
    PkOk<'a> = USERAUTH_60 {
        /// As in the query.
        algorithm: &'a str,
        /// As in the query.
        key: &'a [u8],
    }
}

/// The start of a USERAUTH_REQUEST and its method (RFC 4252 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The login name, bytes as sent.
    pub user: &'a [u8],
    /// The service to start afterwards.
    pub service: &'a str,
    /// The method and its fields.
    pub method: Method<'a>,
}

/// The method-specific part of a USERAUTH_REQUEST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// RFC 4252 §5.2.
    None,
    /// RFC 4252 §7; a query when `signature` is none.
    PublicKey {
        /// The signature algorithm's name.
        algorithm: &'a str,
        /// The public key or certificate.
        key: &'a [u8],
        /// The host key the client saw, of publickey-hostbound-v00@openssh.com.
        host_key: Option<&'a [u8]>,
        /// Over [`signed_data`].
        signature: Option<&'a [u8]>,
    },
    /// RFC 4252 §8.
    Password {
        /// The password.
        password: &'a [u8],
        /// A new one, when the server asked to change it.
        new_password: Option<&'a [u8]>,
    },
    /// RFC 4256 §3.1.
    KeyboardInteractive {
        /// The client's hint at sub-methods.
        submethods: &'a [u8],
    },
    /// A method we do not know; its fields are not read.
    Unknown(&'a str),
}

/// The method name of keys bound to the host key seen (OpenSSH PROTOCOL 3).
pub const HOSTBOUND: &str = "publickey-hostbound-v00@openssh.com";

impl<'a> Request<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::USERAUTH_REQUEST)?;
        let user = r.string("userauth.user")?;
        let service = r.text("userauth.service")?;
        let method = match r.text("userauth.method")? {
            names::method::NONE => Method::None,
            names::method::PUBLICKEY => public_key(&mut r, false)?,
            HOSTBOUND => public_key(&mut r, true)?,
            names::method::PASSWORD => {
                let change = r.bool("userauth.change")?;
                let password = r.string("userauth.password")?;
                let new_password = if change { Some(r.string("userauth.new-password")?) } else { None };
                Method::Password { password, new_password }
            }
            names::method::KEYBOARD_INTERACTIVE => {
                r.string("userauth.language")?;
                Method::KeyboardInteractive { submethods: r.string("userauth.submethods")? }
            }
            other => return Ok(Request { user, service, method: Method::Unknown(other) }),
        };
        r.finish("userauth request")?;
        Ok(Request { user, service, method })
    }

    /// Appends the message, number included. Unknown methods have no fields to write.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::USERAUTH_REQUEST);
        out.put_string(self.user);
        out.put_string(self.service.as_bytes());
        out.put_string(self.method.name().as_bytes());
        match &self.method {
            Method::None | Method::Unknown(_) => {}
            Method::PublicKey { algorithm, key, host_key, signature } => {
                out.put_bool(signature.is_some());
                out.put_string(algorithm.as_bytes());
                out.put_string(key);
                if let Some(h) = host_key {
                    out.put_string(h);
                }
                if let Some(s) = signature {
                    out.put_string(s);
                }
            }
            Method::Password { password, new_password } => {
                out.put_bool(new_password.is_some());
                out.put_string(password);
                if let Some(n) = new_password {
                    out.put_string(n);
                }
            }
            Method::KeyboardInteractive { submethods } => {
                out.put_string(b"");
                out.put_string(submethods);
            }
        }
    }
}

impl<'a> Method<'a> {
    /// The method's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            Method::None => names::method::NONE,
            Method::PublicKey { host_key: Some(_), .. } => HOSTBOUND,
            Method::PublicKey { .. } => names::method::PUBLICKEY,
            Method::Password { .. } => names::method::PASSWORD,
            Method::KeyboardInteractive { .. } => names::method::KEYBOARD_INTERACTIVE,
            Method::Unknown(name) => name,
        }
    }
}

fn public_key<'a>(r: &mut Reader<'a>, bound: bool) -> WireResult<Method<'a>> {
    let signed = r.bool("userauth.signed")?;
    let algorithm = r.text("userauth.algorithm")?;
    let key = r.string("userauth.key")?;
    let host_key = if bound { Some(r.string("userauth.host-key")?) } else { None };
    let signature = if signed { Some(r.string("userauth.signature")?) } else { None };
    Ok(Method::PublicKey { algorithm, key, host_key, signature })
}

/// What a user signs: the session id and the request up to the signature (RFC 4252 §7).
#[must_use]
pub fn signed_data(
    session_id: &[u8],
    user: &[u8],
    service: &str,
    algorithm: &str,
    key: &[u8],
    host_key: Option<&[u8]>,
) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(session_id);
    // The same fields as the request, with "signed" true and an empty signature cut off again.
    let method = Method::PublicKey { algorithm, key, host_key, signature: Some(b"") };
    Request { user, service, method }.encode(&mut out);
    out.truncate(out.len().saturating_sub(4));
    out
}

/// RFC 4256 §3.2: questions of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoRequest<'a> {
    /// A title.
    pub name: &'a [u8],
    /// Text before the prompts.
    pub instruction: &'a [u8],
    /// Each prompt and whether the answer may be echoed.
    pub prompts: Vec<(&'a [u8], bool)>,
}

/// RFC 4256 §3.4: the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoResponse<'a> {
    /// One for each prompt.
    pub responses: Vec<&'a [u8]>,
}

/// More prompts than any server asks at once.
const MAX_PROMPTS: u32 = 64;

impl<'a> InfoRequest<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::USERAUTH_60)?;
        let name = r.string("info-request.name")?;
        let instruction = r.string("info-request.instruction")?;
        r.string("info-request.language")?;
        let n = r.u32("info-request.count")?;
        if n > MAX_PROMPTS {
            return Err(WireError::TooLong("info-request.count"));
        }
        let mut prompts = Vec::new();
        for _ in 0..n {
            prompts.push((r.string("info-request.prompt")?, r.bool("info-request.echo")?));
        }
        r.finish("info-request")?;
        Ok(InfoRequest { name, instruction, prompts })
    }

    /// Appends the message, number included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::USERAUTH_60);
        out.put_string(self.name);
        out.put_string(self.instruction);
        out.put_string(b"");
        out.put_u32(u32::try_from(self.prompts.len()).unwrap_or(MAX_PROMPTS));
        for (prompt, echo) in &self.prompts {
            out.put_string(prompt);
            out.put_bool(*echo);
        }
    }
}

impl<'a> InfoResponse<'a> {
    /// Reads the message, number included.
    pub fn decode(payload: &'a [u8]) -> WireResult<Self> {
        let mut r: Reader<'a> = body(payload, number::USERAUTH_INFO_RESPONSE)?;
        let n = r.u32("info-response.count")?;
        if n > MAX_PROMPTS {
            return Err(WireError::TooLong("info-response.count"));
        }
        let mut responses = Vec::new();
        for _ in 0..n {
            responses.push(r.string("info-response.answer")?);
        }
        r.finish("info-response")?;
        Ok(InfoResponse { responses })
    }

    /// Appends the message, number included.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(number::USERAUTH_INFO_RESPONSE);
        out.put_u32(u32::try_from(self.responses.len()).unwrap_or(MAX_PROMPTS));
        for answer in &self.responses {
            out.put_string(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(req: &Request<'_>) {
        let mut out = Vec::new();
        req.encode(&mut out);
        assert_eq!(Request::decode(&out).as_ref(), Ok(req));
    }

    #[test]
    fn every_method_round_trips() {
        for method in [
            Method::None,
            Method::PublicKey { algorithm: "ssh-ed25519", key: b"k", host_key: None, signature: None },
            Method::PublicKey { algorithm: "a", key: b"k", host_key: Some(b"h"), signature: Some(b"s") },
            Method::Password { password: b"p", new_password: Some(b"n") },
            Method::KeyboardInteractive { submethods: b"" },
            Method::Unknown("gssapi-with-mic"),
        ] {
            round(&Request { user: b"alex", service: names::service::CONNECTION, method });
        }
    }

    #[test]
    fn the_signed_data_is_the_session_id_and_the_request_without_its_signature() {
        let data = signed_data(b"ID", b"alex", "ssh-connection", "ssh-ed25519", b"KEY", None);
        let mut expected = Vec::new();
        expected.put_string(b"ID");
        expected.put_u8(50);
        for s in ["alex", "ssh-connection", "publickey"] {
            expected.put_string(s.as_bytes());
        }
        expected.put_bool(true);
        expected.put_string(b"ssh-ed25519");
        expected.put_string(b"KEY");
        assert_eq!(data, expected);
    }
}
