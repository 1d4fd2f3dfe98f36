//! What is said: one line for people, or a line of JSON for each event.

use std::io::{self, Write};

use sockward_client::{Notice, Ready};
use sockward_gate::json::Object;

use super::Program;

/// What stands in the lines whatever the client tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) program: Program,
    pub(super) json: bool,
    /// The host without the user.
    pub(super) host: String,
    /// What is shared; where it is brought.
    pub(super) near: String,
    /// The far socket or port, as it was written.
    pub(super) far: String,
}

/// Says it on standard output.
pub(super) struct Teller {
    words: Words,
    /// It was ready once.
    was_ready: bool,
}

impl Teller {
    pub(super) fn new(words: Words) -> Self {
        Teller { words, was_ready: false }
    }

    /// The client has something to tell.
    pub(super) fn tell(&mut self, notice: &Notice) {
        let line = match (notice, self.words.json) {
            (Notice::Ready(ready), true) => {
                let event = if self.was_ready { "reconnected" } else { "listening" };
                Some(self.words.event(event, ready))
            }
            (Notice::Ready(ready), false) if !self.was_ready => Some(self.words.line(ready)),
            (Notice::Refused(why), true) => Some(self.words.object("refused").text("why", why).finish()),
            (Notice::Lost, true) => Some(self.words.object("lost").finish()),
            // People read on standard error why.
            (Notice::Ready(_) | Notice::Refused(_) | Notice::Lost, false) => None,
        };
        self.was_ready |= matches!(notice, Notice::Ready(_));
        say(line);
    }

    /// The client has ended.
    pub(super) fn end(&mut self, status: u8) {
        say(self.words.json.then(|| self.words.object("end").number("status", status).finish()));
    }
}

fn say(line: Option<String>) {
    let Some(line) = line else { return };
    let mut out = io::stdout().lock();
    // Whoever does not listen any more misses nothing that matters.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

impl Words {
    fn object(&self, event: &str) -> Object {
        let program = match self.program {
            Program::Share => "share",
            Program::Attach => "attach",
        };
        let object = Object::new().text("event", event).text("program", program).text("host", &self.host);
        match self.program {
            Program::Share => object.text("target", &self.near),
            Program::Attach => object.text("local", &self.near),
        }
    }

    fn event(&self, event: &str, ready: &Ready) -> String {
        let mut object = self.object(event).text("far", &self.at(ready));
        if let Some(who) = &ready.who {
            object = object.text("may_connect", who);
        }
        if self.program == Program::Attach {
            object = object.text("reachable", reachable(ready));
        }
        object.text("use", &self.usage(ready)).finish()
    }

    fn line(&self, ready: &Ready) -> String {
        let Words { host, near, .. } = self;
        let (at, usage) = (self.at(ready), self.usage(ready));
        match self.program {
            Program::Share => {
                let who = ready.who.as_deref().unwrap_or("whom the server lets (it does not say)");
                format!("sharing {near} at {host}:{at}; may connect: {who}; use: {usage}\n")
            }
            Program::Attach => {
                let who = ready.who.as_deref().unwrap_or("you");
                let doubt = match ready.reachable {
                    Some(true) => "",
                    Some(false) => "; the far side does not let you connect",
                    None => "; whether the far side lets you connect shows when somebody does",
                };
                format!("attached {host}:{at} at {usage}; may connect: {who}{doubt}\n")
            }
        }
    }

    /// Where on the host it is.
    fn at(&self, ready: &Ready) -> String {
        match (&ready.place, ready.port) {
            (Some(place), _) => String::from_utf8_lossy(place).into_owned(),
            (None, Some(port)) => port.to_string(),
            (None, None) => self.far.clone(),
        }
    }

    /// How it is used.
    fn usage(&self, ready: &Ready) -> String {
        match self.program {
            Program::Share => format!("sockward attach {}:{}", self.host, self.at(ready)),
            Program::Attach => self.near.clone(),
        }
    }
}

fn reachable(ready: &Ready) -> &'static str {
    match ready.reachable {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(program: Program) -> Words {
        let (near, far) = ("localhost:5900".to_owned(), "~/alex.sock".to_owned());
        Words { program, json: false, host: "h".into(), near, far }
    }

    #[test]
    fn lines_say_where_who_and_how() {
        let known = Ready {
            place: Some(b"/home/alex/alex.sock".to_vec()),
            port: None,
            who: Some("alex (mode 0600)".into()),
            reachable: Some(true),
        };
        let nothing = Ready::default();
        for (program, ready, line) in [
            (
                Program::Share,
                &known,
                "sharing localhost:5900 at h:/home/alex/alex.sock; may connect: alex (mode 0600); \
                 use: sockward attach h:/home/alex/alex.sock\n",
            ),
            (
                Program::Share,
                &nothing,
                "sharing localhost:5900 at h:~/alex.sock; may connect: whom the server lets (it does not say); \
                 use: sockward attach h:~/alex.sock\n",
            ),
            (
                Program::Attach,
                &known,
                "attached h:/home/alex/alex.sock at localhost:5900; may connect: alex (mode 0600)\n",
            ),
            (
                Program::Attach,
                &nothing,
                "attached h:~/alex.sock at localhost:5900; may connect: you; whether the far side lets you connect \
                 shows when somebody does\n",
            ),
        ] {
            assert_eq!(words(program).line(ready), line);
        }
    }

    #[test]
    fn events_are_lines_of_json() {
        let words = words(Program::Share);
        let ready = Ready { port: Some(4000), who: Some("\"x\"".into()), ..Ready::default() };
        assert_eq!(
            words.event("listening", &ready),
            "{\"event\":\"listening\",\"program\":\"share\",\"host\":\"h\",\"target\":\"localhost:5900\",\
             \"far\":\"4000\",\"may_connect\":\"\\\"x\\\"\",\"use\":\"sockward attach h:4000\"}\n"
        );
    }
}
