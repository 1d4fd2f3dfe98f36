//! The command line of `sockward explain`.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use lexopt::Arg::{Long, Short};
use lexopt::{Parser, ValueExt};

use crate::ask;

/// Something was not allowed.
pub(crate) const REFUSED: u8 = 1;
/// The question itself could not be answered.
const WRONG: u8 = 255;

const HELP: &str = "\
usage: sockward explain [-f sshd_config] --user NAME [--from ADDRESS] [--key FILE.pub] QUESTION...

  --listen WHERE   may the login listen there (-R): /path, ~/path, name, [HOST:]PORT
  --open WHERE     may it open this (-L, -D, -W): /path, HOST:PORT
  --peer NAME      may this local user connect to what --listen names
  --command TEXT   what runs if the login asks for this command ('' is a shell)
  --sandbox        what confines the process that reads this login's network
  -f FILE          the configuration (none: as sshd)
  -o LINE          a line that comes before the configuration
  --from ADDRESS   where the login comes from
  --key FILE.pub   the key it logs in with: what its line in authorized_keys restricts counts too

Status: 0 allowed, 1 refused. Run it as root to be told what the file system says for that user.
";

/// What is asked.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) config: Option<PathBuf>,
    pub(crate) lines: Vec<String>,
    pub(crate) user: String,
    pub(crate) from: Option<IpAddr>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) listen: Vec<OsString>,
    pub(crate) open: Vec<OsString>,
    pub(crate) peers: Vec<String>,
    pub(crate) commands: Vec<OsString>,
    pub(crate) sandbox: bool,
}

/// Runs `explain` with these arguments, the first of which is the program's name.
#[must_use]
pub fn main(args: Vec<OsString>) -> u8 {
    let question = match parse(args) {
        Ok(Some(question)) => question,
        Ok(None) => {
            print!("{HELP}");
            return 0;
        }
        Err(why) => {
            eprint!("sockward explain: {why}\n{HELP}");
            return WRONG;
        }
    };
    match ask::answer(&question) {
        Ok(true) => 0,
        Ok(false) => REFUSED,
        Err(faults) => {
            for fault in faults {
                eprintln!("sockward explain: {fault}");
            }
            WRONG
        }
    }
}

fn parse(args: Vec<OsString>) -> Result<Option<Question>, String> {
    let mut parser = Parser::from_iter(args);
    let mut question = Question::default();
    read(&mut parser, &mut question).map_err(|e| e.to_string()).and_then(|help| {
        if help {
            return Ok(None);
        }
        if question.user.is_empty() {
            return Err("whose login? --user NAME".into());
        }
        if !question.peers.is_empty() && question.listen.is_empty() {
            return Err("--peer goes with --listen".into());
        }
        let asks = question.listen.len() + question.open.len() + question.commands.len();
        if asks == 0 && !question.sandbox {
            return Err("nothing was asked: --listen, --open, --command or --sandbox".into());
        }
        Ok(Some(question))
    })
}

fn read(parser: &mut Parser, question: &mut Question) -> Result<bool, lexopt::Error> {
    while let Some(arg) = parser.next()? {
        match arg {
            Short('f') => question.config = Some(parser.value()?.into()),
            Short('o') => question.lines.push(parser.value()?.string()?),
            Long("user") => question.user = parser.value()?.string()?,
            Long("from") => question.from = Some(parser.value()?.parse()?),
            Long("key") => question.key = Some(parser.value()?.into()),
            Long("listen") => question.listen.push(parser.value()?),
            Long("open") => question.open.push(parser.value()?),
            Long("peer") => question.peers.push(parser.value()?.string()?),
            Long("command") => question.commands.push(parser.value()?),
            Long("sandbox") => question.sandbox = true,
            Long("help") | Short('h') => return Ok(true),
            other => return Err(other.unexpected()),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Option<Question>, String> {
        parse(std::iter::once("explain").chain(args.iter().copied()).map(OsString::from).collect())
    }

    #[test]
    fn questions_are_read_and_what_is_no_question_is_named() {
        let question =
            read(&["-f", "/x", "--user=alex", "--from", "192.0.2.7", "--listen", "/run/x", "--peer=bob"]);
        let question = question.unwrap().unwrap();
        assert_eq!((question.user.as_str(), question.listen.len(), question.peers.len()), ("alex", 1, 1));
        for (args, why) in [
            (&["--listen", "/x"][..], "--user"),
            (&["--user", "a"], "nothing was asked"),
            (&["--user", "a", "--peer", "b", "--open", "x:1"], "--peer goes with"),
            (&["--user", "a", "--from", "nowhere"], "nowhere"),
        ] {
            let error = read(args).unwrap_err();
            assert!(error.contains(why), "{args:?}: {error}");
        }
        assert!(read(&["--help"]).unwrap().is_none());
    }
}
