//! What happens, as lines of JSON in a file and in words on standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sockward_policy::By;
use sockward_privsep::helper::{Event, Peer};
use sockward_privsep::login::Connection;
use sockward_sys::time;

use crate::json::Object;

/// The record of one gate.
pub(crate) struct Audit {
    file: Option<File>,
    user: String,
    /// Tells the lines of one gate from another's.
    pid: u32,
}

impl Audit {
    /// Opens the file, made with mode 0600 if it is not there.
    pub(crate) fn open(path: Option<&Path>, user: &str) -> Result<Audit, String> {
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .map_err(|e| format!("{}: {e}", path.display()))
        };
        let file = path.map(open).transpose()?;
        Ok(Audit { file, user: user.to_owned(), pid: std::process::id() })
    }

    /// The gate has begun: whom the server says it serves, which nothing depends on.
    pub(crate) fn started(&mut self) -> io::Result<()> {
        let claimed = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let (command, connection) = (claimed("SSH_ORIGINAL_COMMAND"), claimed("SSH_CONNECTION"));
        if let Some(command) = &command {
            log::info!("the command \"{}\" is not run: this is a gate", command.escape_debug());
        }
        let mut object = self.object("start");
        if let Some(connection) = connection {
            object = object.text("connection", &connection);
        }
        if let Some(command) = command {
            object = object.text("original_command", &command);
        }
        self.write(object)
    }

    /// The gate ends.
    pub(crate) fn ended(&mut self, why: &str) -> io::Result<()> {
        let object = self.object("end").text("reason", why);
        self.write(object)
    }

    /// A fact that the helper tells. An error means that the record is not complete any more.
    pub(crate) fn event(&mut self, event: &Event) -> io::Result<()> {
        say(event);
        let object = match event {
            Event::Listen { at, result, by } => {
                let object = decided(self.object("listen").text("at", at), by.as_ref());
                with_result(object, result, "bound")
            }
            Event::Unlisten { at } => self.object("unlisten").text("at", at),
            Event::Open { connection, target, result, by } => {
                let object = numbered(self.object("open"), *connection).text("target", target);
                with_result(decided(object, by.as_ref()), result, "connected")
            }
            Event::Connection { connection, at, peer, refused, by } => {
                let object = numbered(self.object("connection"), *connection).text("at", at);
                let object = decided(with_peer(object, peer), by.as_ref());
                match refused {
                    None => object.text("result", "accepted"),
                    Some(why) => object.text("result", "refused").text("reason", why),
                }
            }
            Event::Closed { connection, what, received, sent, milliseconds } => {
                numbered(self.object("closed"), *connection)
                    .text("what", what)
                    .number("received", *received)
                    .number("sent", *sent)
                    .number("milliseconds", *milliseconds)
            }
            Event::Execute { what, result } => {
                with_result(self.object("execute").text("what", what), result, "run")
            }
        };
        self.write(object)
    }

    fn object(&self, event: &str) -> Object {
        let object = Object::new().number("time", time::unix_seconds()).number("gate", self.pid);
        object.text("user", &self.user).text("event", event)
    }

    /// One write for each line: several gates may share a file.
    fn write(&mut self, object: Object) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(object.finish().as_bytes()),
            None => Ok(()),
        }
    }
}

fn numbered(object: Object, connection: Connection) -> Object {
    match connection {
        Connection::Opened(n) => object.text("connection", &format!("opened-{n}")),
        Connection::Accepted(n) => object.text("connection", &format!("accepted-{n}")),
    }
}

fn decided(object: Object, by: Option<&By>) -> Object {
    match by {
        Some(by) => object.text("by", &by.to_string()),
        None => object,
    }
}

fn with_result(object: Object, result: &Result<String, String>, done: &str) -> Object {
    match result {
        Ok(real) => object.text("result", done).text("real", real),
        Err(why) => object.text("result", "refused").text("reason", why),
    }
}

fn with_peer(object: Object, peer: &Peer) -> Object {
    let object = object.text("peer", &peer.to_string());
    let number = |object: Object, name: &str, value: Option<i128>| match value {
        Some(value) => object.number(name, value),
        None => object,
    };
    let text = |object: Object, name: &str, value: &Option<String>| match value {
        Some(value) => object.text(name, value),
        None => object,
    };
    match peer {
        Peer::Address { uid, .. } => number(object, "uid", uid.map(Into::into)),
        Peer::Process { uid, gid: _, pid, command, executable } => {
            let object = number(object, "uid", uid.map(Into::into));
            let object = number(object, "pid", pid.map(Into::into));
            text(text(object, "command", command), "executable", executable)
        }
    }
}

fn say(event: &Event) {
    match event {
        Event::Listen { at, result: Ok(real), .. } => log::info!("listening on {at} ({real})"),
        Event::Listen { at, result: Err(why), .. } => log::warn!("listening on {at} refused: {why}"),
        Event::Unlisten { at } => log::info!("no longer listening on {at}"),
        Event::Open { target, result: Ok(_), .. } => log::info!(target: "verbose", "opened {target}"),
        Event::Open { target, result: Err(why), .. } => log::warn!("opening {target} refused: {why}"),
        Event::Connection { at, peer, refused: None, .. } => {
            log::info!(target: "verbose", "connection to {at} from {peer}");
        }
        Event::Connection { at, peer, refused: Some(why), .. } => {
            log::warn!("connection to {at} from {peer} refused: {why}");
        }
        Event::Closed { what, received, sent, .. } => {
            log::debug!("connection of {what} ended: {received} bytes in, {sent} out");
        }
        Event::Execute { what, result } => match result {
            Ok(_) => log::info!("{what} runs"),
            Err(why) => log::warn!("{what} refused: {why}"),
        },
    }
}
