//! What clients and their master say to each other. One message of the link each; streams follow one by one, each
//! with its descriptor.

use sockward_config::forward::Form;
use sockward_config::ssh::SessionType;
use sockward_wire::channel::Size;
use sockward_wire::{Put, Reader, WireError, WireResult};

use crate::sessions::{Request, Terminal};

/// Stands first in each message: a master may be older than the client.
const VERSION: u8 = 1;

/// Variables of one session; servers take far fewer.
const VARIABLES_MAX: u32 = 10_000;

/// From a client.
pub(crate) enum Ask {
    /// Are you there?
    Check,
    /// End.
    Exit,
    /// Take no more clients.
    Stop,
    /// Start a forwarding; the specification is an argument of -L, -R or -D.
    Forward(Form, Vec<u8>),
    /// Stop one.
    Cancel(Form, Vec<u8>),
    /// A session; three streams follow.
    Session(Request),
    /// `-W`, with its argument; two streams follow.
    Stdio(Vec<u8>),
    /// The descriptor that comes with it is the next stream.
    Stream,
    /// The terminal has another size.
    Window(Size),
}

/// From the master.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// The answer to `Check`: the process id.
    Alive(u32),
    /// As asked.
    Done,
    /// A forwarding listens on this port, which the server has chosen.
    Port(u32),
    /// It cannot be; why.
    Failed(String),
    /// The session runs, or standard streams are joined.
    Opened,
    /// It is over.
    Status(u8),
    /// For whoever sits at the session's terminal, as it is.
    Say(String),
}

impl Ask {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Ask::Check => out.put_u8(1),
            Ask::Exit => out.put_u8(2),
            Ask::Stop => out.put_u8(3),
            Ask::Forward(form, spec) => put_forward(4, *form, spec, &mut out),
            Ask::Cancel(form, spec) => put_forward(5, *form, spec, &mut out),
            Ask::Session(request) => {
                out.put_u8(6);
                put_session(request, &mut out);
            }
            Ask::Stdio(target) => {
                out.put_u8(7);
                out.put_string(target);
            }
            Ask::Stream => out.put_u8(8),
            Ask::Window(size) => {
                out.put_u8(9);
                put_size(*size, &mut out);
            }
        }
        out
    }

    pub(crate) fn decode(message: &[u8]) -> WireResult<Self> {
        let mut reader = opened(message)?;
        let ask = match reader.u8("kind")? {
            1 => Ask::Check,
            2 => Ask::Exit,
            3 => Ask::Stop,
            4 => Ask::Forward(form(&mut reader)?, reader.string("specification")?.to_vec()),
            5 => Ask::Cancel(form(&mut reader)?, reader.string("specification")?.to_vec()),
            6 => Ask::Session(session(&mut reader)?),
            7 => Ask::Stdio(reader.string("target")?.to_vec()),
            8 => Ask::Stream,
            9 => Ask::Window(size(&mut reader)?),
            _ => return Err(WireError::Invalid("kind")),
        };
        reader.finish("control message")?;
        Ok(ask)
    }
}

impl Tell {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Tell::Alive(pid) => {
                out.put_u8(1);
                out.put_u32(*pid);
            }
            Tell::Done => out.put_u8(2),
            Tell::Port(port) => {
                out.put_u8(3);
                out.put_u32(*port);
            }
            Tell::Failed(why) => {
                out.put_u8(4);
                out.put_string(why.as_bytes());
            }
            Tell::Opened => out.put_u8(5),
            Tell::Status(status) => {
                out.put_u8(6);
                out.put_u8(*status);
            }
            Tell::Say(text) => {
                out.put_u8(7);
                out.put_string(text.as_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(message: &[u8]) -> WireResult<Self> {
        let mut reader = opened(message)?;
        let tell = match reader.u8("kind")? {
            1 => Tell::Alive(reader.u32("pid")?),
            2 => Tell::Done,
            3 => Tell::Port(reader.u32("port")?),
            4 => Tell::Failed(reader.text("reason")?.to_owned()),
            5 => Tell::Opened,
            6 => Tell::Status(reader.u8("status")?),
            7 => Tell::Say(reader.text("text")?.to_owned()),
            _ => return Err(WireError::Invalid("kind")),
        };
        reader.finish("control message")?;
        Ok(tell)
    }
}

fn opened(message: &[u8]) -> WireResult<Reader<'_>> {
    let mut reader = Reader::new(message);
    match reader.u8("version")? {
        VERSION => Ok(reader),
        _ => Err(WireError::Invalid("version")),
    }
}

fn put_forward(kind: u8, form: Form, spec: &[u8], out: &mut Vec<u8>) {
    out.put_u8(kind);
    out.put_u8(match form {
        Form::Local => b'L',
        Form::Remote => b'R',
        Form::Dynamic => b'D',
    });
    out.put_string(spec);
}

fn form(reader: &mut Reader<'_>) -> WireResult<Form> {
    match reader.u8("form")? {
        b'L' => Ok(Form::Local),
        b'R' => Ok(Form::Remote),
        b'D' => Ok(Form::Dynamic),
        _ => Err(WireError::Invalid("form")),
    }
}

fn put_size(size: Size, out: &mut Vec<u8>) {
    for value in [size.columns, size.rows, size.width, size.height] {
        out.put_u32(value);
    }
}

fn size(reader: &mut Reader<'_>) -> WireResult<Size> {
    Ok(Size {
        columns: reader.u32("columns")?,
        rows: reader.u32("rows")?,
        width: reader.u32("width")?,
        height: reader.u32("height")?,
    })
}

fn put_session(request: &Request, out: &mut Vec<u8>) {
    out.put_bool(request.terminal.is_some());
    if let Some(terminal) = &request.terminal {
        out.put_string(&terminal.term);
        put_size(terminal.size, out);
        out.put_string(&terminal.modes);
        out.put_bool(terminal.insisted);
    }
    out.put_u32(u32::try_from(request.environment.len()).unwrap_or(u32::MAX));
    for (name, value) in &request.environment {
        out.put_string(name);
        out.put_string(value);
    }
    out.put_bool(request.kind == SessionType::Subsystem);
    out.put_string(&request.command);
    out.put_bool(request.escape.is_some());
    out.put_u8(request.escape.unwrap_or_default());
}

fn session(reader: &mut Reader<'_>) -> WireResult<Request> {
    let terminal = if reader.bool("terminal")? {
        Some(Terminal {
            term: reader.string("TERM")?.to_vec(),
            size: size(reader)?,
            modes: reader.string("modes")?.to_vec(),
            insisted: reader.bool("insisted")?,
        })
    } else {
        None
    };
    let variables = reader.u32("variables")?;
    if variables > VARIABLES_MAX {
        return Err(WireError::Invalid("variables"));
    }
    let mut environment = Vec::new();
    for _ in 0..variables {
        environment.push((reader.string("name")?.to_vec(), reader.string("value")?.to_vec()));
    }
    let kind = if reader.bool("subsystem")? { SessionType::Subsystem } else { SessionType::Default };
    let command = reader.string("command")?.to_vec();
    let (has_escape, escape) = (reader.bool("escape")?, reader.u8("escape")?);
    Ok(Request { terminal, environment, kind, command, escape: has_escape.then_some(escape) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let size = Size { columns: 80, rows: 24, width: 0, height: 0 };
        let terminal = Some(Terminal { term: b"vt52".to_vec(), size, modes: vec![0], insisted: true });
        let request = |terminal| Request {
            terminal,
            environment: vec![(b"A".to_vec(), b"b\xff".to_vec())],
            kind: SessionType::Subsystem,
            command: b"sftp".to_vec(),
            escape: Some(b'~'),
        };
        for ask in [
            Ask::Check,
            Ask::Exit,
            Ask::Stop,
            Ask::Forward(Form::Dynamic, b"1".to_vec()),
            Ask::Cancel(Form::Remote, b"/s:h:1".to_vec()),
            Ask::Session(request(terminal)),
            Ask::Session(request(None)),
            Ask::Stdio(b"h:1".to_vec()),
            Ask::Stream,
            Ask::Window(size),
        ] {
            let bytes = ask.encode();
            assert_eq!(Ask::decode(&bytes).unwrap().encode(), bytes);
            for len in 0..bytes.len() {
                assert!(Ask::decode(&bytes[..len]).is_err());
            }
        }
        for tell in [
            Tell::Alive(7),
            Tell::Done,
            Tell::Port(8080),
            Tell::Failed("no".to_owned()),
            Tell::Opened,
            Tell::Status(255),
            Tell::Say("~?\r\n".to_owned()),
        ] {
            assert_eq!(Tell::decode(&tell.encode()).unwrap(), tell);
        }
        assert!(Tell::decode(&[VERSION + 1, 2]).is_err());
    }
}
