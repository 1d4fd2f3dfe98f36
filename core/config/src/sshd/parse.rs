//! From the text of sshd_config, and what it includes, to a [`Config`]. All errors are collected, each with its
//! place; with one or more there is no configuration.

use std::cell::RefCell;

use sockward_policy::Source;

use super::config::{Block, Config, GLOBAL, Line, apply, check};
use super::effective::Effective;
use super::keyword::{Args, Fault, Keyword, Kind, Scope};
use super::matching::Criterion;
use super::values::Pass;
use super::{not_yet, table};
use crate::algorithms::{Algorithms, Names};
use crate::choice::AddressFamily;
use crate::lookup::Lookup;
use crate::{ConfigError, lex};

/// OpenSSH's bound for files included in files.
const INCLUDE_DEPTH_MAX: usize = 16;

/// So that files which include one another twice do not take forever.
const INCLUDED_FILES_MAX: usize = 1024;

/// Where included files are that have no absolute name.
const INCLUDE_DIRECTORY: &str = "/etc/ssh/";

/// No more errors than anybody reads.
const ERRORS_MAX: usize = 100;

/// What reading a configuration needs to know.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The algorithms there are.
    pub algorithms: &'a Algorithms<'a>,
    /// Services and home directories.
    pub lookup: &'a dyn Lookup,
    /// The directory that relative file names start from, without a slash at the end.
    pub directory: &'a [u8],
    /// The arguments of `-o`, in order: they come before the file.
    pub options: &'a [String],
    /// The arguments of `-p`: with one or more, `Port` lines do not count.
    pub ports: &'a [u16],
}

/// A file that an `Include` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludedFile {
    /// Its name, for messages.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// Reads the files that a glob pattern names, in lexical order; none is not an error, one that cannot be read is.
pub type Loader<'l> = dyn FnMut(&str) -> Result<Vec<IncludedFile>, String> + 'l;

/// Reads a configuration.
pub fn parse(
    name: &str,
    bytes: &[u8],
    loader: &mut Loader<'_>,
    context: &Context<'_>,
) -> Result<Config, Vec<ConfigError>> {
    let global = Block { parent: GLOBAL, criteria: Vec::new(), always: true };
    let mut parser = Parser {
        context,
        loader,
        lines: Vec::new(),
        blocks: vec![global],
        included: 0,
        modes: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    for option in context.options {
        parser.option(option);
    }
    parser.file(name, bytes, GLOBAL, 0);
    parser.finish()
}

struct Parser<'a, 'l> {
    context: &'a Context<'a>,
    loader: &'a mut Loader<'l>,
    lines: Vec<Line>,
    blocks: Vec<Block>,
    included: usize,
    /// The blocks with a StreamLocalBindMask, a StreamLocalBindMode.
    modes: Vec<(usize, &'static str)>,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
}

impl Parser<'_, '_> {
    fn option(&mut self, option: &str) {
        let source = Source::command_line();
        match lex::line(option.as_bytes()) {
            Err(e) => self.error(&source, &Fault::new(e.to_string())),
            Ok(None) => self.error(&source, &Fault::new("empty -o option, expected KEYWORD=VALUE")),
            Ok(Some(line)) if line.keyword.is("match") || line.keyword.is("include") => {
                let keyword = line.keyword.text();
                self.error(
                    &source,
                    &Fault::new(format!("{keyword} is not supported as a command-line option")),
                );
            }
            Ok(Some(line)) => self.line(&line, source, GLOBAL),
        }
    }

    /// Reads a file that is included in `outer` (the global section for the first file).
    fn file(&mut self, name: &str, bytes: &[u8], outer: usize, depth: usize) {
        let mut block = outer;
        for (number, raw) in lex::lines(bytes) {
            if self.errors.len() >= ERRORS_MAX {
                return;
            }
            let source = Source::new(name, number);
            match lex::line(raw) {
                Err(e) => self.error(&source, &Fault::new(e.to_string())),
                Ok(None) => {}
                Ok(Some(line)) if line.rest.is_empty() => {
                    let message = format!("no argument after keyword \"{}\"", line.keyword.text());
                    self.error(&source, &Fault::at(&line.keyword, message));
                }
                Ok(Some(line)) if line.keyword.is("match") => block = self.block(&line, &source, outer),
                Ok(Some(line)) if line.keyword.is("include") => self.include(&line, &source, block, depth),
                Ok(Some(line)) => self.line(&line, source, block),
            }
        }
    }

    fn block(&mut self, line: &lex::Line<'_>, source: &Source, parent: usize) -> usize {
        let words = line.words().map_err(|e| Fault::new(e.to_string()));
        let criteria = match words.and_then(|words| Criterion::parse_line(&words, self.context.lookup)) {
            Ok(criteria) => criteria,
            Err(fault) => {
                self.error(source, &fault);
                Vec::new()
            }
        };
        let in_always = self.blocks.get(parent).is_none_or(|p| p.always);
        let always = in_always && criteria == [Criterion::All];
        self.blocks.push(Block { parent, criteria, always });
        self.blocks.len() - 1
    }

    fn include(&mut self, line: &lex::Line<'_>, source: &Source, block: usize, depth: usize) {
        let words = match line.words() {
            Ok(words) => words,
            Err(e) => return self.error(source, &Fault::new(e.to_string())),
        };
        if words.is_empty() {
            return self.error(source, &Fault::new("Include missing filename argument"));
        }
        if depth >= INCLUDE_DEPTH_MAX {
            return self.error(source, &Fault::new("too many recursive configuration includes"));
        }
        for word in &words {
            let text = word.text();
            let pattern = match text.chars().next() {
                None => {
                    self.error(source, &Fault::at(word, "keyword Include empty argument"));
                    continue;
                }
                Some('/' | '~') => text.into_owned(),
                Some(_) => format!("{INCLUDE_DIRECTORY}{text}"),
            };
            match (self.loader)(&pattern) {
                Err(e) => self.error(source, &Fault::at(word, format!("Include {pattern}: {e}"))),
                Ok(files) => {
                    for file in files {
                        self.included += 1;
                        if self.included > INCLUDED_FILES_MAX {
                            let message = format!("more than {INCLUDED_FILES_MAX} included files");
                            return self.error(source, &Fault::at(word, message));
                        }
                        if self.errors.len() < ERRORS_MAX {
                            self.file(&file.name, &file.bytes, block, depth + 1);
                        }
                    }
                }
            }
        }
    }

    /// A line that sets a value.
    fn line(&mut self, line: &lex::Line<'_>, source: Source, block: usize) {
        let Some(keyword) = table::find(&line.keyword.bytes) else {
            let message = format!("bad configuration option: {}", line.keyword.text());
            return self.error(&source, &Fault::at(&line.keyword, message));
        };
        let global =
            keyword.scope == Scope::Global || table::GLOBAL_ALIASES.iter().any(|n| line.keyword.is(n));
        if global && self.blocks.get(block).is_some_and(|b| !b.always) {
            let message = format!("Directive '{}' is not allowed within a Match block", line.keyword.text());
            return self.error(&source, &Fault::at(&line.keyword, message));
        }
        let words = match line.words() {
            Ok(words) => words,
            Err(e) => return self.error(&source, &Fault::new(e.to_string())),
        };
        let warnings = RefCell::new(Vec::new());
        let args = Args::new(keyword.name, &words, line.rest, &source, self.context, &warnings);
        let read = match keyword.kind {
            Kind::Value { read, .. } => read(&args).map(Some),
            Kind::Absent { check, .. } => check(&args).map(|()| None),
            Kind::Deprecated => {
                args.warn(format!("deprecated option {}", keyword.name));
                Ok(None)
            }
        };
        let warn = |message| ConfigError::new(source.clone(), message);
        self.warnings.extend(warnings.take().into_iter().map(warn));
        match read {
            Err(fault) => self.error(&source, &fault),
            Ok(_) if not_yet::asks(keyword.name, &words) => {
                let message = format!(
                    "{} is not enforced by this version; remove the line to accept that, or wait for a later version",
                    keyword.name
                );
                self.error(&source, &Fault::at(&line.keyword, message));
            }
            Ok(None) => {}
            // Ports of the command line outweigh those of the file.
            Ok(Some(_)) if keyword.name == "Port" && !self.context.ports.is_empty() => {}
            Ok(Some(assign)) => {
                self.one_mode_per_block(keyword, &source, block);
                self.lines.push(Line { keyword, assign, source, block });
            }
        }
    }

    /// StreamLocalBindMask and StreamLocalBindMode say the same thing in two ways.
    fn one_mode_per_block(&mut self, keyword: &Keyword, source: &Source, block: usize) {
        let other = match keyword.name {
            "StreamLocalBindMask" => "StreamLocalBindMode",
            "StreamLocalBindMode" => "StreamLocalBindMask",
            _ => return,
        };
        if self.modes.contains(&(block, other)) {
            let message = format!("{} beside {other} in one block, leave one of them out", keyword.name);
            self.error(source, &Fault::new(message));
        }
        self.modes.push((block, keyword.name));
    }

    fn error(&mut self, source: &Source, fault: &Fault) {
        if self.errors.len() < ERRORS_MAX {
            let (source, message) = (source.clone(), fault.message.clone());
            self.errors.push(ConfigError { source, column: fault.column, message });
        }
    }

    fn finish(mut self) -> Result<Config, Vec<ConfigError>> {
        let mut global = match defaults(self.context) {
            Ok(values) => values,
            Err(e) => return Err(vec![e]),
        };
        let blocks = &self.blocks;
        let always = |l: &&Line| blocks.get(l.block).is_some_and(|b| b.always);
        apply(&mut global, Pass::Global, self.lines.iter().filter(always));
        if !self.context.ports.is_empty() {
            global.ports = self.context.ports.to_vec();
        }
        if let Err(e) =
            check(&global).and_then(|()| check_families(&global)).and_then(|()| check_methods(&global))
        {
            self.errors.push(e);
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Config { lines: self.lines, blocks: self.blocks, global, warnings: self.warnings })
    }
}

/// What the table says where nothing is written.
fn defaults(context: &Context<'_>) -> Result<Effective, ConfigError> {
    let mut values = Effective::blank();
    let algorithms = context.algorithms;
    let owned = |names: &Names<'_>| names.default.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    values.ciphers = owned(&algorithms.ciphers);
    values.macs = owned(&algorithms.macs);
    values.kex_algorithms = owned(&algorithms.kex);
    values.host_key_algorithms = owned(&algorithms.host_keys);
    values.pubkey_accepted_algorithms = owned(&algorithms.user_keys);
    values.ca_signature_algorithms = owned(&algorithms.ca_signatures);

    let warnings = RefCell::new(Vec::new());
    let mut lines = Vec::new();
    for keyword in table::keywords() {
        for default in keyword.default {
            let source = Source::new(format!("default of {}", keyword.name), 0);
            let words = lex::words(default.as_bytes())
                .map_err(|e| ConfigError::new(source.clone(), e.to_string()))?;
            let args = Args::new(keyword.name, &words, default.as_bytes(), &source, context, &warnings);
            if let Kind::Value { read, .. } = keyword.kind {
                let assign = read(&args).map_err(|fault| ConfigError::new(source.clone(), fault.message))?;
                lines.push(Line { keyword, assign, source, block: GLOBAL });
            }
        }
    }
    apply(&mut values, Pass::Default, &lines);
    values.sources.clear();
    Ok(values)
}

/// An address to listen on must be of the family that is listened on.
fn check_families(values: &Effective) -> Result<(), ConfigError> {
    for listen in &values.listen {
        let fits = match (listen.host.parse::<std::net::IpAddr>(), values.address_family) {
            (Ok(address), AddressFamily::Inet) => address.is_ipv4(),
            (Ok(address), AddressFamily::Inet6) => address.is_ipv6(),
            (Ok(_), AddressFamily::Any) | (Err(_), _) => true,
        };
        if !fits {
            let source = values.source("ListenAddress").cloned().unwrap_or_else(Source::command_line);
            let family = values.address_family.word();
            let message = format!("ListenAddress {} is not of AddressFamily {family}", listen.host);
            return Err(ConfigError::new(source, message));
        }
    }
    Ok(())
}

/// What must be gone through must be possible: as in OpenSSH, in the global section alone.
fn check_methods(values: &Effective) -> Result<(), ConfigError> {
    let methods = &values.authentication_methods;
    let keys = |list: &String| list.split(',').any(|method| method == "publickey");
    if values.pubkey_authentication || methods.is_empty() || !methods.iter().all(keys) {
        return Ok(());
    }
    let source = values.source("AuthenticationMethods").cloned().unwrap_or_else(Source::command_line);
    let message = "AuthenticationMethods cannot be satisfied with PubkeyAuthentication no";
    Err(ConfigError::new(source, message.to_owned()))
}
