//! Where a key is looked for, place by place, in OpenSSH's order: the administrator's lists (revoked? of a trusted
//! authority?), the user's files, then for a trusted authority its principals, then AuthorizedKeysCommand. Each
//! place is another process's to read; here is the order and what an answer means.

use sockward_config::sshd::{Effective, expand_program};
use sockward_config::tokens::{self, Table};
use sockward_policy::{Account, KeyOptions, Source};
use sockward_privsep::reader::{Asker, Command, FromReader, Guard, Search as Wanted, ToReader, Verdict};

use crate::auth::ServerSelf;
use crate::candidate::Candidate;
use crate::facts::Facts;

/// How long a program of the administrator's may take. `LoginGraceTime`, the bound people choose, is 120 s by default.
const COMMAND_SECONDS_MAX: u64 = 60;

/// Which of a connection's readers is asked; see `privsep::reader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Lives as long as the authentication.
    Account,
    /// As long.
    Guard,
    /// A new one for each question.
    Command,
}

/// What a search goes by.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) effective: &'a Effective,
    /// None: there is no such account, or it may not log in. No program is run for it.
    pub(crate) account: Option<&'a Account>,
    pub(crate) host: &'a str,
    pub(crate) facts: &'a Facts,
    pub(crate) server: ServerSelf,
}

/// One search.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) candidate: Candidate,
    place: Place,
    /// Where the certificate's authority stands in `TrustedUserCAKeys`.
    authority: Option<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    OpenLists,
    Lists,
    KeyFiles,
    PrincipalsFile,
    PrincipalsCommand,
    OwnName,
    KeysCommand,
    Nowhere,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    Ask(Job, Box<ToReader>),
    /// Found: the options of the line, of the certificate, or of both.
    Found(Vec<KeyOptions>),
    NotFound,
}

impl Search {
    /// Begins. `guarded`: the administrator's lists are open already.
    pub(crate) fn begin(candidate: Candidate, guarded: bool, ground: &Ground<'_>) -> (Self, Next) {
        let place = if guarded { Place::Lists } else { Place::OpenLists };
        let mut search = Search { candidate, place, authority: None };
        let next = search.look(ground);
        (search, next)
    }

    /// The line that lets in who has these options: the one in a file of keys or principals, else the authority's own.
    pub(crate) fn rule(&self, options: &[KeyOptions]) -> Option<Source> {
        let own = self.candidate.certificate.as_ref().map(|o| &o.source);
        let line = options.iter().map(|o| &o.source).find(|source| Some(*source) != own);
        line.or(self.authority.as_ref()).cloned()
    }

    /// A reader answers; none: that answers nothing that was asked.
    pub(crate) fn answered(&mut self, job: Job, answer: FromReader, ground: &Ground<'_>) -> Option<Next> {
        self.place = match (self.place, job, answer) {
            (Place::OpenLists, Job::Guard, FromReader::Became) => Place::Lists,
            (Place::Lists, Job::Guard, FromReader::Judged(Verdict::Revoked)) => Place::Nowhere,
            (Place::Lists, Job::Guard, FromReader::Judged(Verdict::Passed { authority })) => {
                self.authority = authority;
                Place::KeyFiles
            }
            (Place::KeyFiles, Job::Account, FromReader::Key { found: None }) => Place::PrincipalsFile,
            (Place::PrincipalsFile, Job::Account, FromReader::Key { found: None }) => {
                Place::PrincipalsCommand
            }
            (Place::PrincipalsCommand, Job::Command, FromReader::Key { found: None }) => Place::OwnName,
            (Place::KeysCommand, Job::Command, FromReader::Key { found: None }) => Place::Nowhere,
            (Place::KeyFiles, Job::Account, FromReader::Key { found: Some(line) })
            | (Place::KeysCommand, Job::Command, FromReader::Key { found: Some(line) }) => {
                return Some(self.line_found(*line, ground));
            }
            (Place::PrincipalsFile, Job::Account, FromReader::Key { found: Some(line) })
            | (Place::PrincipalsCommand, Job::Command, FromReader::Key { found: Some(line) }) => {
                return Some(self.found(Some(*line)));
            }
            _ => return None,
        };
        Some(self.look(ground))
    }

    /// A line holds the key or its authority. Whoever read it may be the user's: what decides is decided here again.
    fn line_found(&self, line: KeyOptions, ground: &Ground<'_>) -> Next {
        let user = ground.account.map_or("", |a| a.name.as_str());
        let holds = match &self.candidate.presented.certificate {
            Some(certificate) => line.cert_authority && certificate.is_for(&line, user),
            None => !line.cert_authority,
        };
        if holds { self.found(Some(line)) } else { Next::NotFound }
    }

    fn found(&self, line: Option<KeyOptions>) -> Next {
        Next::Found(line.into_iter().chain(self.candidate.certificate.clone()).collect())
    }

    /// From the present place on, the first that has something to ask.
    fn look(&mut self, ground: &Ground<'_>) -> Next {
        loop {
            let (asked, after) = self.here(ground);
            if let Some(next) = asked {
                return next;
            }
            self.place = after;
        }
    }

    /// What is to be asked at the present place, and the place after it.
    fn here(&self, ground: &Ground<'_>) -> (Option<Next>, Place) {
        let values = ground.effective;
        let presented = &self.candidate.presented;
        let trusted = presented.certificate.as_ref().filter(|_| self.authority.is_some());
        let ask = |job, question| Some(Next::Ask(job, Box::new(question)));
        match self.place {
            Place::OpenLists => {
                let lists = Guard {
                    uid: ground.server.worker.0,
                    gid: ground.server.worker.1,
                    revoked: values.revoked_keys.clone(),
                    authorities: values.trusted_user_ca_keys.clone(),
                };
                let none = lists.revoked.is_empty() && lists.authorities.is_none();
                let question = ToReader::Guard(Box::new(lists));
                (ask(Job::Guard, question).filter(|_| !none), Place::KeyFiles)
            }
            Place::Lists => (ask(Job::Guard, ToReader::Judge(Box::new(presented.clone()))), Place::KeyFiles),
            Place::KeyFiles => {
                let question = ToReader::FindKey(Box::new(presented.clone()));
                let any = !values.authorized_keys_files.is_empty();
                (ask(Job::Account, question).filter(|_| any), Place::PrincipalsFile)
            }
            Place::PrincipalsFile => {
                let trusted = trusted.filter(|_| values.authorized_principals_file.is_some());
                let question = trusted.and_then(|c| {
                    ask(Job::Account, ToReader::FindPrincipal { principals: c.principals.clone() })
                });
                (question, Place::PrincipalsCommand)
            }
            Place::PrincipalsCommand => {
                let command = trusted.and_then(|c| {
                    let command = values.authorized_principals_command.as_ref()?;
                    let user = values.authorized_principals_command_user.as_ref()?;
                    let wanted = Wanted::Principal(c.principals.clone());
                    self.command("AuthorizedPrincipalsCommand", command, user, wanted, ground)
                });
                (command, Place::OwnName)
            }
            Place::OwnName => {
                let listed = values.authorized_principals_file.is_some()
                    || values.authorized_principals_command.is_some();
                let name = ground.account.map(|a| a.name.as_bytes());
                let own = trusted.is_some_and(|c| c.names_one_of(name));
                ((own && !listed).then(|| self.found(None)), Place::KeysCommand)
            }
            Place::KeysCommand => {
                let command = values.authorized_keys_command.as_ref().and_then(|command| {
                    let user = values.authorized_keys_command_user.as_ref()?;
                    let wanted = Wanted::Key(presented.clone());
                    self.command("AuthorizedKeysCommand", command, user, wanted, ground)
                });
                (command, Place::Nowhere)
            }
            Place::Nowhere => (Some(Next::NotFound), Place::Nowhere),
        }
    }

    /// The question to run a program for an account; none where there is no account.
    fn command(
        &self,
        keyword: &str,
        command: &[u8],
        run_as: &str,
        search: Wanted,
        ground: &Ground<'_>,
    ) -> Option<Next> {
        let account = ground.account?;
        let argv = self.expand(keyword, command, run_as, account, ground).map_err(|e| {
            log::error!("{keyword}: {e}");
        });
        let (argv, run_as) = argv.ok()?;
        let asker = Asker {
            user: account.name.clone(),
            address: ground.facts.address(),
            host: ground.host.to_owned(),
        };
        let seconds = COMMAND_SECONDS_MAX;
        let command = Command { keyword: keyword.to_owned(), run_as, argv, seconds, search, asker };
        Some(Next::Ask(Job::Command, Box::new(ToReader::Run(Box::new(command)))))
    }

    /// A program's line and its user with the tokens of sshd_config(5) filled in.
    fn expand(
        &self,
        keyword: &str,
        command: &[u8],
        run_as: &str,
        account: &Account,
        ground: &Ground<'_>,
    ) -> Result<(Vec<Vec<u8>>, String), String> {
        let candidate = &self.candidate;
        let base64 = |line: String| line.split_once(' ').map_or_else(String::new, |(_, key)| key.to_owned());
        let (key, fingerprint) = (base64(candidate.line()), candidate.public_key().fingerprint());
        let (endpoints, uid) = (ground.facts.ssh_connection().join(" "), account.uid.to_string());
        let mut table: Vec<(u8, &[u8])> = vec![
            (b'C', endpoints.as_bytes()),
            // There are no routing domains.
            (b'D', b""),
            (b'U', uid.as_bytes()),
            (b'u', account.name.as_bytes()),
            (b'h', &account.home),
            (b't', candidate.type_name().as_bytes()),
            (b'f', fingerprint.as_bytes()),
            (b'k', key.as_bytes()),
        ];
        let cert = candidate.cert();
        let serial = cert.map_or_else(String::new, |c| c.serial.to_string());
        let authority = cert.map_or_else(String::new, |c| {
            base64(sockward_crypto::write_public_line(c.authority.blob(), "").unwrap_or_default())
        });
        let authority_fingerprint = cert.map_or_else(String::new, |c| c.authority.fingerprint());
        if let Some(cert) = cert {
            table.extend([
                (b'F', authority_fingerprint.as_bytes()),
                (b'T', cert.authority.key_type().name().as_bytes()),
                (b'K', authority.as_bytes()),
                (b'i', cert.key_id.as_slice()),
                (b's', serial.as_bytes()),
            ]);
        }
        let table: &Table<'_> = &table;
        let mut argv = expand_program(command, table).map_err(|e| e.to_string())?;
        if argv.len() == 1 && keyword == "AuthorizedKeysCommand" {
            // As in OpenSSH, since before there were tokens.
            argv.push(account.name.clone().into_bytes());
        }
        let run_as = tokens::percent(run_as.as_bytes(), &[(b'u', account.name.as_bytes())])
            .map_err(|e| e.to_string())?;
        Ok((argv, String::from_utf8_lossy(&run_as).into_owned()))
    }
}
